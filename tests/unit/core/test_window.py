"""Windows own every instant exactly once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.coverage import Coverage, Span
from etl.core.window import AHEAD, LATENESS, LONGEST_SESSION, MARGIN, Window, tail_window
from tests.support.examples import MANY
from tests.unit.core.spans import united

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
INSTANTS = st.builds(
    lambda seconds, hours: datetime.fromtimestamp(seconds, timezone(timedelta(hours=hours))),
    st.integers(1_400_000_000, 2_000_000_000),
    st.integers(-12, 14),
)
AGES = st.timedeltas(timedelta(0), timedelta(days=3650))


@given(st.lists(INSTANTS, min_size=2, max_size=8, unique=True), INSTANTS)
def test_every_start_belongs_to_exactly_one_of_adjacent_windows(
    edges: list[datetime], started_at: datetime
) -> None:
    """Also at an edge, and in any zone."""
    edges = sorted({at.astimezone(UTC) for at in edges})
    windows = [
        *(Window(since, until) for since, until in pairwise(edges)),
        Window(edges[-1]),
    ]
    for at in (started_at, *edges):
        owners = sum(window.loads(at) for window in windows)
        assert owners == (1 if at >= edges[0] else 0)


@given(INSTANTS, st.timedeltas(timedelta(microseconds=1), timedelta(days=400)), INSTANTS)
def test_asked_holds_every_session_loaded_whole(
    since: datetime, length: timedelta, now: datetime
) -> None:
    """From a longest session, plus lateness, before the window to the same after it."""
    window = Window(since, since + length)
    date_from, date_to = window.asked(now)
    assert date_from <= since - LONGEST_SESSION - LATENESS
    assert date_to >= since + length + LONGEST_SESSION + LATENESS


SESSIONS = st.lists(
    st.lists(st.integers(0, 24 * 60), min_size=1, max_size=4, unique=True).map(sorted),
    max_size=12,
)


@MANY
@given(
    st.lists(st.tuples(st.integers(0, 10 * 24 * 60), st.sampled_from(range(12))), max_size=12),
    SESSIONS,
    st.lists(st.integers(0, 12 * 24), min_size=2, max_size=6, unique=True).map(sorted),
    st.booleans(),
)
def test_every_session_is_loaded_whole_by_the_window_it_starts_in_and_by_no_other_window(
    begins: list[tuple[int, int]], shapes: list[list[int]], edges: list[int], chained: bool
) -> None:
    """The server adds up only pieces that start within the dates asked for, both included.

    Also if a reading goes on to older windows: what it loads of them is whole too. If only starts
    have to be true, nothing is asked for above the window.
    """
    minute = timedelta(minutes=1)
    sessions = [
        [NOW + (begin + piece) * minute for piece in shapes[shape % len(shapes)]]
        for begin, shape in begins
        if shapes
    ]
    bounds = [NOW + hour * timedelta(hours=1) for hour in edges]
    for since, until in pairwise(bounds):
        window = Window(since, until, bounds[0] if chained else None)
        asked = window.asked(NOW)
        for pieces in sessions:
            shown = [at for at in pieces if asked.since <= at <= asked.until]
            loaded = bool(shown) and window.loads(shown[0])
            assert loaded == (window.reach <= pieces[0] < until)
            if loaded:
                assert shown == pieces
        of_starts = Window(since, until, starts_only=True)
        asked = of_starts.asked(NOW)
        assert asked.until == until
        for pieces in sessions:
            shown = [at for at in pieces if asked.since <= at <= asked.until]
            loaded = bool(shown) and of_starts.loads(shown[0])
            assert loaded == (since <= pieces[0] < until)
            assert not loaded or shown[0] == pieces[0]


def test_the_moving_end_asks_beyond_now() -> None:
    """Browsers whose clocks run ahead start sessions in the future; the tail owns these too."""
    window = Window(NOW - timedelta(hours=1))
    assert window.asked(NOW) == (NOW - timedelta(hours=1) - MARGIN, NOW + AHEAD)
    assert window.loads(NOW + AHEAD)


def test_a_session_without_a_start_is_loaded_by_every_window() -> None:
    """Loading it twice does no harm."""
    assert Window(NOW, NOW + timedelta(days=1)).loads(None)
    assert Window(NOW).loads(None)


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (NOW.replace(tzinfo=None), None),
        (NOW, (NOW + timedelta(1)).replace(tzinfo=None)),
        (NOW, NOW),
        (NOW, NOW - timedelta(1)),
    ],
)
def test_a_window_has_aware_bounds_in_order(since: datetime, until: datetime | None) -> None:
    """Anything else is a defect of ours and raises at once."""
    with pytest.raises(ValueError, match="window"):
        Window(since, until)


def test_the_first_sync_reads_everything_since_the_start() -> None:
    """There is no watermark yet."""
    assert tail_window(None, NOW, Coverage(), timedelta(hours=72)) == Window(NOW)


@given(INSTANTS, INSTANTS, st.lists(st.tuples(INSTANTS, INSTANTS), max_size=4), AGES)
def test_a_later_sync_reads_again_what_is_known_and_young_and_makes_no_hole(
    tail_until: datetime, start: datetime, ends: list[tuple[datetime, datetime]], age: timedelta
) -> None:
    """Recordings change after they were first seen, also those from before the start."""
    complete = united(Span(*pair) for pair in ends)
    window = tail_window(tail_until, start, complete, age)
    assert window.until is None
    assert tail_until - age <= window.since <= tail_until
    assert window.since <= max(start, tail_until - age)
    young_and_known = complete.within(Span(tail_until - age, tail_until))
    assert all(window.since <= span.since for span in young_and_known)
    firsts = [span.since for span in young_and_known[:1]]
    assert window.since in (start, tail_until - age, tail_until, *firsts)
