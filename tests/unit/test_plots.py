"""Plots: every point is in the frame, and its place says how late and how much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.budget import Limit
from etl.loaders.budget import Used
from etl.loaders.stream_history import LagPart, StreamHistory, WorkPart
from etl.service.page.budget import uses
from etl.service.page.plots import (
    HEIGHT,
    WIDTH,
    Axes,
    Form,
    Point,
    Series,
    Unit,
    across,
    down,
    plot,
    time_ticks,
    value_ticks,
)
from etl.service.page.stream import lag_plot, requests_plot, written_plot

NOW = datetime(2026, 11, 21, 15, 7, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANTS = st.timedeltas(timedelta(0), timedelta(days=3650)).map(lambda age: NOW - age)
LENGTHS = st.timedeltas(timedelta(minutes=1), timedelta(days=2000))
VALUES = st.floats(0, 1e12)
UNITS = st.sampled_from(Unit)


@given(st.lists(st.tuples(INSTANTS, VALUES), max_size=20), INSTANTS, LENGTHS, UNITS)
def test_every_point_is_inside_the_frame(
    given_points: list[tuple[datetime, float]], since: datetime, length: timedelta, unit: Unit
) -> None:
    """Whatever the values; what is outside of the time is left out."""
    points = [Point(at, value, at - length / 9) for at, value in sorted(given_points)]
    axes = Axes(since, since + length, unit, "something")
    for form in Form:
        found = plot("a", axes, [Series("one", points, form)])
        (series,) = found.series
        for bar in series.bars:
            assert bar.x >= 0
            assert bar.y >= 0
            assert bar.y + bar.height == pytest.approx(HEIGHT)
            assert bar.x + bar.width <= WIDTH
        places = [float(part) for part in numbers(series.path)]
        assert all(0 <= place <= WIDTH for place in places)
        inside = [point for point in points if since <= point.at <= since + length]
        assert len(found.figures) == len({point.at for point in inside})
        assert found.is_empty == (not any(point.value for point in inside))
        assert all(0 <= label.place <= 100 for label in found.times)
        assert all(0 <= label.place <= HEIGHT for label in found.values)


def numbers(path: str) -> list[str]:
    """Return the numbers of a path."""
    for letter in "MLHVh":
        path = path.replace(letter, " ")
    return path.split()


@given(INSTANTS, INSTANTS, INSTANTS, LENGTHS)
def test_the_later_the_further_right(
    one: datetime, other: datetime, since: datetime, length: timedelta
) -> None:
    """Within the frame and at its edges."""
    early, late = sorted((one, other))
    places = [across(at, since, since + length) for at in (early, late)]
    assert 0 <= places[0] <= places[1] <= WIDTH


@given(VALUES, VALUES, VALUES)
def test_the_more_the_higher(one: float, other: float, top: float) -> None:
    """The axis of an SVG points down."""
    little, much = sorted((one, other))
    assert 0 <= down(much, top) <= down(little, top) <= HEIGHT


@given(VALUES, UNITS)
def test_ticks_are_even_and_reach_beyond_the_largest_value(most: float, unit: Unit) -> None:
    """There are few of them, so their labels have room."""
    ticks = value_ticks(most, unit)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] == 0
    assert ticks[-1] >= most
    steps = {round(after - before, 3) for before, after in pairwise(ticks)}
    assert len(steps) == 1


@given(INSTANTS, LENGTHS)
def test_times_are_within_the_range_and_few(since: datetime, length: timedelta) -> None:
    """At round times of UTC."""
    ticks = time_ticks(since, since + length)
    assert len(ticks) <= 6
    assert ticks == sorted(ticks)
    assert all(since <= tick <= since + length for tick in ticks)
    assert all(tick.second == 0 for tick in ticks)


@pytest.mark.parametrize(
    ("most", "unit", "labels"),
    [
        (5_400, Unit.SECONDS, ["0 s", "30 min", "1 h", "1.5 h"]),
        (0, Unit.ROWS, ["0 rows", "1 row"]),
        (7, Unit.REQUESTS, ["0 requests", "2 requests", "4 requests", "6 requests", "8 requests"]),
        (30 * 86_400, Unit.SECONDS, ["0 s", "10 d", "20 d", "30 d"]),
    ],
)
def test_values_are_labelled_with_their_unit(most: float, unit: Unit, labels: list[str]) -> None:
    """In steps that people count in."""
    assert [unit.said(tick) for tick in value_ticks(most, unit)] == labels


def history(lag: list[LagPart], work: list[WorkPart]) -> StreamHistory:
    """Return a history of ten hours in ten parts."""
    hour = timedelta(hours=1)
    return StreamHistory(NOW - 10 * hour, NOW, hour, lag, work, (), ())


def test_the_lag_grows_until_a_run_ends_and_goes_on_growing_now() -> None:
    """Where no run has noted it, nothing is drawn."""
    ended, minute = NOW - timedelta(hours=2), timedelta(minutes=1)
    found = lag_plot(history([LagPart(ended, ended, 30 * minute, minute)], []), ended - minute)
    assert [(each.at, each.values) for each in found.figures] == [
        ("15:07 UTC", ("2 h",)),
        ("13:07 UTC", ("30 min, then 1 min",)),
    ]
    assert lag_plot(history([], []), None).is_empty
    behind = lag_plot(history([], []), NOW - DAY)
    assert [each.values for each in behind.figures] == [("1 d",), ("14 h",)]


def test_rows_are_added_up_and_requests_are_not() -> None:
    """Rows are two lines, requests are bars."""
    parts = [WorkPart(1, 5, 0, 3), WorkPart(4, 2, 1, 7)]
    written = written_plot(history([], parts))
    assert [each.values for each in written.figures] == [
        ("7 rows", "1 row"),
        ("7 rows", "1 row"),
        ("5 rows", "0 rows"),
        ("0 rows", "0 rows"),
    ]
    assert "inserted: 0 rows to 7 rows, in the end 7 rows" in written.desc
    sent = requests_plot(history([], parts))
    assert [bar.said for bar in sent.series[0].bars] == [
        "06:07 UTC: 3 requests",
        "09:07 UTC: 7 requests",
    ]


def test_requests_of_a_class_are_used_and_left() -> None:
    """At each minute those of the hour before; and when there is room again if none is left."""
    by_minute = {NOW - timedelta(minutes=minutes): 2 for minutes in (95, 61, 50, 1)}
    used = Used(
        by_minute=by_minute,
        in_window={60: 2, 3600: 4},
        oldest_at={60: NOW - timedelta(seconds=20), 3600: NOW - timedelta(minutes=50)},
        blocked_until=None,
    )
    limits = {"crud": (Limit(2, 60), Limit(10, 3600))}
    (use,) = uses(limits, {"crud": used}, NOW)
    assert [(room.per, room.used, room.left) for room in use.rooms] == [
        ("hour", 4, 6),
        ("minute", 2, 0),
    ]
    assert use.rooms[0].next_at is None
    assert use.rooms[1].next_at == NOW + timedelta(seconds=40, milliseconds=250)
    (lowered,) = uses({"crud": (Limit(3, 3600),)}, {"crud": used}, NOW)
    assert (lowered.rooms[0].left, lowered.rooms[0].next_at) == (0, None)
    at = {each.at: each.values[0] for each in use.plot.figures}
    assert at["15:07 UTC"] == "4 requests"
    assert at["14:33 UTC"] == "4 requests"
    assert at["14:32 UTC"] == "6 requests"
    assert at["14:08 UTC"] == "4 requests"
    assert use.plot.limit_y is not None
