"""A server with sliding windows never refuses a request that the budget allows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from etl.core.budget import (
    CLICKHOUSE,
    CRUD,
    PLANS,
    RECORDINGS_LIST,
    SLACK,
    Limit,
    about,
    share_of,
    wait_of,
    wait_s,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LIMITS = st.lists(st.builds(Limit, st.integers(1, 8), st.integers(1, 60)), min_size=1, max_size=3)
SECONDS = st.floats(0, 30, allow_nan=False)


def _spent(
    limits: Sequence[Limit], sent: Sequence[datetime]
) -> list[tuple[Limit, datetime | None]]:
    latest = sorted(sent, reverse=True)
    return [
        (limit, latest[limit.requests - 1] if len(latest) >= limit.requests else None)
        for limit in limits
    ]


@given(LIMITS, st.lists(st.tuples(SECONDS, st.floats(0, 1, exclude_max=True)), max_size=60))
def test_a_server_that_counts_over_sliding_windows_never_refuses(
    limits: list[Limit], wanted: list[tuple[float, float]]
) -> None:
    """Requests are made at any time and reach the server a little later, each with its own delay.

    The server counts the requests of the last seconds of each window, as PostHog does.
    """
    now = NOW
    sent: list[datetime] = []
    received: list[datetime] = []
    for pause_s, lateness in wanted:
        now += timedelta(seconds=pause_s)
        now += timedelta(seconds=wait_s(now, _spent(limits, sent), None))
        sent.append(now)
        arrived = now + SLACK * lateness
        for limit in limits:
            since = arrived - timedelta(seconds=limit.window_s)
            assert sum(since < at <= arrived for at in received) < limit.requests
        received.append(arrived)


@given(LIMITS, st.lists(st.tuples(SECONDS, st.floats(0, 1)), max_size=60))
def test_after_the_wait_the_request_may_go(
    limits: list[Limit], wanted: list[tuple[float, float]]
) -> None:
    """No request waits twice, or longer than the longest window."""
    now = NOW
    sent: list[datetime] = []
    for pause_s, _ in wanted:
        now += timedelta(seconds=pause_s)
        wait = wait_s(now, _spent(limits, sent), None)
        assert wait <= max(limit.window_s for limit in limits) + SLACK.total_seconds()
        now += timedelta(seconds=wait)
        assert wait_s(now, _spent(limits, sent), None) == 0.0
        sent.append(now)


def test_a_request_goes_at_once_while_there_is_room() -> None:
    """Fewer requests than the limit were sent, or the one that counts is long ago."""
    limit = Limit(2, 60)
    assert wait_s(NOW, [], None) == 0.0
    assert wait_s(NOW, [(limit, None)], None) == 0.0
    assert wait_s(NOW, [(limit, NOW - timedelta(seconds=61))], None) == 0.0


def test_the_longest_of_all_waits_counts() -> None:
    """All limits of all classes apply together, and so does the server's own wait."""
    spent = [
        (Limit(1, 60), NOW - timedelta(seconds=50)),
        (Limit(5, 3600), NOW - timedelta(seconds=3000)),
    ]
    assert wait_s(NOW, spent, None) == 600 + SLACK.total_seconds()
    assert wait_s(NOW, spent, NOW + timedelta(seconds=900)) == 900
    assert wait_s(NOW, spent, NOW - timedelta(seconds=900)) == 600 + SLACK.total_seconds()


def test_a_wait_names_the_limit_that_is_free_last() -> None:
    """None of them if the server's own wait is longer."""
    spent = [
        (Limit(1, 60), NOW - timedelta(seconds=50)),
        (Limit(5, 3600), NOW - timedelta(seconds=3000)),
        (Limit(9, 3600), None),
    ]
    assert wait_of(NOW, spent, None) == (600 + SLACK.total_seconds(), 1)
    assert wait_of(NOW, spent, NOW + timedelta(seconds=900)) == (900, None)


def test_a_limit_has_a_name_that_people_know() -> None:
    """In full, and short enough for a terminal."""
    assert about(RECORDINGS_LIST, Limit(60, 3600)) == (
        "PostHog's hourly limit for the list of recordings",
        "PostHog's hourly limit",
    )
    assert about(CRUD, Limit(480, 60))[0] == "PostHog's limit per minute for other endpoints"
    assert about(share_of(CLICKHOUSE), Limit(60, 3600)) == (
        "verification's share of the hourly limit for analytics endpoints",
        "verification's share of the hourly limit",
    )


def test_every_plan_limits_every_class_over_minute_and_hour() -> None:
    """As in PostHog's source. The plan without limits is called unlimited."""
    for name in ("free", "paid", "enterprise"):
        for class_name in (RECORDINGS_LIST, CLICKHOUSE, CRUD):
            assert [limit.window_s for limit in PLANS[name][class_name]] == [60, 3600]
    assert PLANS["free"][RECORDINGS_LIST] == (Limit(12, 60), Limit(60, 3600))
    assert PLANS["unlimited"] == {}
