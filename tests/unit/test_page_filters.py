"""What the pages of runs and rejects are asked for, by their address."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from etl.core.statuses import Chosen
from etl.loaders.listing import Turn
from etl.service.page.filters import (
    BadFilter,
    Given,
    read_length,
    read_rejects,
    read_runs,
)

NOW = datetime(2026, 11, 21, 15, 7, tzinfo=UTC)
STREAMS = ("session_recordings", "groups")


def of(address: str) -> Given:
    """Return the filters of an address."""
    return tuple(URL(address, encoded=True).query.items())


def test_runs_are_filtered_as_by_the_command() -> None:
    """By the same dates; what a form leaves empty is no filter."""
    address = "runs?stream=groups&status=failed&status=partial&project=7&since=30d&until="
    asked = read_runs(of(address), STREAMS, NOW)
    midnight = NOW.replace(hour=0, minute=0)
    assert asked.chosen == Chosen(
        ("groups",), ("failed", "partial"), midnight - timedelta(days=30), None
    )
    assert asked.projects == (7,)
    assert asked.turn is None
    assert asked.address("runs") == address.removesuffix("&until=")
    assert read_runs((), STREAMS, NOW).chosen.is_all
    assert read_runs(of("runs?stream=query:gone"), STREAMS, NOW).chosen.streams == ("query:gone",)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            "stream=group",
            "There is no stream 'group' (did you mean groups?). `posthog-etl streams` lists them",
        ),
        (
            "status=fail",
            "There is no status 'fail' (did you mean failed?). It is one of running, succeeded, "
            "partial, paused, failed",
        ),
        ("project=x", "project 'x' is not a number. Give the number of a project"),
        ("project=99999999999999999999", "project '99999999999999999999' is not a number. Give"),
        ("since=soon", "since 'soon' is not a date; write 2026-01-31, 2026-01-31T12:00Z, 30d, 2h"),
        ("since=1h&until=2h", "since 2026-11-21 14:07 is not before until 2026-11-21 13:07. Give"),
        (
            "strem=groups",
            "There is no filter 'strem' (did you mean stream?). Filters: stream, status, project, "
            "since, until",
        ),
        ("older=xyz", "This address was cut or changed. Begin again at the newest page"),
        ("older=WzEsMl0", "This address was cut or changed. Begin again at the newest page"),
        ("stream=%00", "stream holds a zero character. Leave it out"),
    ],
)
def test_a_bad_filter_is_one_line_with_a_remedy(query: str, said: str) -> None:
    """The same for rejects, as far as these have the filter."""
    with pytest.raises(BadFilter) as raised:
        read_runs(of(f"runs?{query}"), STREAMS, NOW)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_rejects_and_plots_have_filters_of_their_own() -> None:
    """Others are refused."""
    assert read_rejects(of("rejects?show=all"), STREAMS).resolved
    assert not read_rejects((), STREAMS).resolved
    for query in ("show=some", "status=failed"):
        with pytest.raises(BadFilter):
            read_rejects(of(f"rejects?{query}"), STREAMS)
    assert read_length(()) == "7d"
    assert read_length(of("x?over=90d")) == "90d"
    with pytest.raises(BadFilter, match=r"go back '2y'\. It is one of 1d, 7d, 30d, 90d"):
        read_length(of("x?over=2y"))


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(0, 2**63 - 1),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")),
)
def test_a_turn_goes_through_an_address_whole(at: datetime, project: int, text: str) -> None:
    """Whatever the key of a record holds."""
    asked = read_rejects(of("rejects?stream=groups"), STREAMS)
    for key in ((at, project, "groups", text), (at, project, text, "")):
        turn = Turn(key, newer=project % 2 == 0)
        again = read_rejects(of(asked.address("rejects", turn)), STREAMS)
        assert again.turn == turn
        assert again.chosen == asked.chosen
    run = Turn((at, str(uuid.UUID(int=project))))
    assert read_runs(of(read_runs((), (), NOW).address("runs", run)), (), NOW).turn == run
