"""When a sync reads what is in no window: far ahead of now, and before `start`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.coverage import Coverage, Span
from etl.core.outliers import (
    ahead_was_read,
    dates_before,
    is_ahead_due,
    is_look_before_due,
    known_before,
    looked_before,
)
from etl.core.window import LONG_AGO
from tests.unit.core.spans import united

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
START = datetime(2020, 1, 1, tzinfo=UTC)
HOUR, DAY, TICK = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
INSTANTS = st.integers(0, 36 * 365 * 24).map(
    lambda hours: datetime(1990, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
)
SPANS = st.lists(
    st.builds(lambda a, b: Span(min(a, b), max(a, b) + TICK), INSTANTS, INSTANTS), max_size=4
)


@given(st.integers(0, 100), st.timedeltas(timedelta(0), 3 * DAY))
def test_what_lies_ahead_costs_one_request_an_hour_on_average_and_is_read_daily(
    requests: int, passed: timedelta
) -> None:
    """However many pages it has."""
    due = is_ahead_due(ahead_was_read(NOW, requests), NOW + passed)
    assert due == (passed >= min(max(1, requests) * HOUR, DAY))


@pytest.mark.parametrize(
    "mark",
    [None, {}, {"at": None}, {"at": "soon"}, {"at": 7}, "x", {"at": (NOW + 9 * DAY).isoformat()}],
    ids=str,
)
def test_a_mark_that_cannot_be_right_counts_as_none(mark: Any) -> None:
    """A time in the future was written by a wrong clock."""
    traits = {"ahead": mark, "before_start": mark, "date_filter": "honoured"}
    assert is_ahead_due(traits, NOW)
    assert is_look_before_due(traits, NOW)
    assert known_before(traits, START, Coverage()) is None


@pytest.mark.parametrize("found", ["ignored", "refused"])
def test_a_server_that_shows_every_date_is_not_asked(found: str) -> None:
    """It lists everything in any case."""
    assert not is_ahead_due({"date_filter": found}, NOW)
    assert not is_look_before_due({"date_filter": found}, NOW)


@given(SPANS, INSTANTS)
def test_what_lies_before_start_is_looked_for_below_what_is_complete_there(
    spans: list[Span], start: datetime
) -> None:
    """The dates asked for never touch what is complete up to `start`."""
    complete = united(spans)
    dates = dates_before(start, complete)
    assert dates is not None
    assert dates.since == LONG_AGO
    assert dates.until < start
    assert complete.covers(Span(dates.until + TICK, start)) or dates.until + TICK == start
    assert not complete.covers(Span(dates.until, start))


@given(SPANS, INSTANTS, INSTANTS)
def test_the_hint_is_given_until_what_was_found_is_loaded(
    spans: list[Span], start: datetime, found: datetime
) -> None:
    """A failed check keeps it; a check that finds nothing removes it."""
    complete = united(spans)
    traits = looked_before({}, NOW, found, answered=True)
    loaded = any(since <= found < until for since, until in complete.spans)
    expected = found if found < start and not loaded else None
    assert known_before(traits, start, complete) == expected
    failed = looked_before(traits, NOW + DAY, None, answered=False)
    assert known_before(failed, start, complete) == expected
    nothing = looked_before(traits, NOW + DAY, None, answered=True)
    assert known_before(nothing, start, complete) is None
    assert not is_look_before_due(nothing, NOW + DAY + HOUR)
