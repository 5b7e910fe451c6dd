"""Complete stretches and holes, compared with a simple set of minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.coverage import Span, split
from tests.support.examples import MANY
from tests.unit.core.spans import united

BEGIN = datetime(2026, 5, 4, tzinfo=UTC)
LAST = 60


def _at(minute: int) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def _minutes(span: Span) -> set[int]:
    return {n for n in range(LAST) if span.since <= _at(n) < span.until}


SPANS = st.builds(
    lambda a, b: Span(_at(min(a, b)), _at(max(a, b))), st.integers(0, LAST), st.integers(0, LAST)
)


@MANY
@given(st.lists(SPANS, max_size=8), SPANS)
def test_holes_and_what_is_covered_are_the_whole(spans: list[Span], within: Span) -> None:
    """Each instant is in exactly one of them."""
    coverage = united(spans)
    holes = coverage.holes(within)
    missing = set().union(*(_minutes(hole) for hole in holes), set())
    held = set().union(*(_minutes(span) for span in coverage.spans), set())
    assert missing == _minutes(within) - held
    assert united(holes).spans == holes
    if within.since < within.until:
        assert coverage.covers(within) == (not holes)


@MANY
@given(st.lists(SPANS, max_size=8), SPANS, st.integers(1, 20))
def test_closing_every_window_of_every_hole_leaves_none(
    spans: list[Span], within: Span, length: int
) -> None:
    """Whatever the window length of the backfill."""
    coverage = united(spans)
    windows = [w for h in coverage.holes(within) for w in split(h, timedelta(minutes=length))]
    assert united([*coverage.spans, *windows]).holes(within) == ()


@MANY
@given(
    st.integers(-300_000_000, 4_000_000_000),
    st.timedeltas(timedelta(0), timedelta(days=900)),
    st.timedeltas(timedelta(hours=6), timedelta(days=90)),
    st.integers(-12, 14),
)
def test_windows_meet_without_gap_and_are_cut_on_one_grid(
    second: int, length: timedelta, window: timedelta, zone: int
) -> None:
    """For any ends and zone: another call finds the same edges, and so the checkpoints."""
    since = datetime.fromtimestamp(second, timezone(timedelta(hours=zone)))
    span = Span(since, since + length)
    pieces = split(span, window)
    assert all(a.until == b.since for a, b in pairwise(pieces))
    assert all(timedelta(0) < piece.until - piece.since <= window for piece in pieces)
    if pieces:
        assert (pieces[0].since, pieces[-1].until) == span
    else:
        assert not length
    longer = split(Span(since - window * 2, since + length + window), window)
    edges = {piece.since for piece in longer}
    assert all(piece.since in edges for piece in pieces[1:])


def test_a_window_without_length_is_refused() -> None:
    """It would loop for ever."""
    with pytest.raises(ValueError, match="length"):
        split(Span(_at(0), _at(1)), timedelta(0))


@given(SPANS, st.integers(-12, 14))
def test_a_span_survives_its_name_whatever_the_zone(span: Span, zone: int) -> None:
    """The name of a unit is the same in every zone."""
    there = Span(*(at.astimezone(timezone(timedelta(hours=zone))) for at in span))
    assert str(there) == str(span)
    assert Span.parse(str(there)) == span
