"""A window that is too long for the server is read in stretches, and nothing is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from etl.core.stretch import SHORTEST, first_stretch, next_stretch, shorter
from etl.core.window import FAR_AHEAD, MARGIN, Window

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
LENGTHS = st.timedeltas(TICK, timedelta(days=60))
LOWS = st.lists(st.floats(0, 1), max_size=12)
WINDOWS = st.builds(
    lambda ago, length, reach, moves: Window(
        NOW - ago,
        None if moves else NOW - ago + length,
        also_since=NOW - ago - reach if reach else None,
    ),
    LENGTHS,
    LENGTHS,
    st.one_of(st.just(timedelta(0)), LENGTHS),
    st.booleans(),
)


@given(WINDOWS, st.timedeltas(3 * SHORTEST, timedelta(days=90)), LOWS)
def test_stretches_hold_every_start_of_the_window_once_it_is_read(
    window: Window, manages: timedelta, lows: list[float]
) -> None:
    """Whatever the server manages, and however far it got before it gave up."""
    top = window.until or NOW
    stretch, longest, known = window, top - window.reach, window.until
    shortened = 0
    while True:
        length = (stretch.until or NOW) - stretch.reach
        if length > manages:
            # The server may have shown a part of it, newest first, before it gave up.
            share = lows[shortened] if shortened < len(lows) else 0.0
            low = (stretch.until or NOW) - share * length if share else None
            found = shorter(stretch, low, NOW)
            assert found is not None
            half, longest = found
            # The next stretch begins where the shown part ends.
            assert half.until == known or (low is not None and half.until == low + TICK)
            known, stretch, shortened = half.until, half, shortened + 1
            assert length / 2 <= longest < length
            assert (half.until or NOW) - half.reach <= longest
            assert shortened < 40
            continue
        following = next_stretch(window, stretch, longest)
        if following is None:
            break
        assert following.until == stretch.since
        assert following.until - following.since <= longest
        stretch, known = following, following.until
    assert stretch.since == window.reach or stretch is window


@given(WINDOWS)
def test_a_stretch_is_halved_down_to_an_hour_and_no_further(window: Window) -> None:
    """Each request asks for less time, so none is repeated, and they come to an end."""
    asked, stretch = [window.asked(NOW)], window
    while found := shorter(stretch, None, NOW):
        stretch, longest = found
        assert longest >= SHORTEST
        assert stretch.asked(NOW).since == stretch.since - MARGIN
        asked.append(stretch.asked(NOW))
    spans = [until - since for since, until in asked]
    assert spans == sorted(set(spans), reverse=True)
    assert (stretch.until or NOW) - stretch.reach <= SHORTEST


@given(WINDOWS, st.timedeltas(SHORTEST, timedelta(days=200)))
def test_a_new_window_begins_with_the_length_that_worked(
    window: Window, longest: timedelta
) -> None:
    """If it is no longer than that, it is read at once."""
    stretch = first_stretch(window, longest, NOW)
    top = window.until or NOW
    if stretch is None:
        assert top - window.reach <= longest
    else:
        assert (stretch.since, stretch.until) == (top - longest, window.until)
    assert first_stretch(window, None, NOW) is None


def test_what_lies_ahead_is_never_cut_into_stretches() -> None:
    """It spans decades and is nearly empty."""
    assert shorter(Window(NOW, FAR_AHEAD), None, NOW) is None
    assert first_stretch(Window(NOW, FAR_AHEAD), SHORTEST, NOW) is None
