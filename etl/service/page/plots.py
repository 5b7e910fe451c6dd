"""Plots: from points in time to the places of lines, bars and axes in a frame. Pure.

The frame is WIDTH wide and HEIGHT high; (0, 0) is its upper left corner. The page stretches it to
the width of the screen, so texts are placed in percent of the width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from etl.service.page import words

WIDTH, HEIGHT = 1000, 130
_DAY = timedelta(days=1)
# No more than this many labels fit the narrowest phone.
_MOST_TIMES = 5
_MOST_VALUES = 4
_STEPS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)
) + tuple(timedelta(days=days) for days in (1, 2, 5, 7, 14, 30, 60, 90, 180, 365, 730, 1825))
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_SPANS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE_S * step for step in (1, 2, 5, 10, 15, 30)),
    *(_HOUR_S * step for step in (1, 2, 3, 6, 12)),
    *(_DAY_S * step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)),
)


class Unit(StrEnum):
    """What a value is. The name is that of one thing that is counted."""

    SECONDS = "seconds"
    ROWS = "row"
    REQUESTS = "request"

    def said(self, value: float) -> str:
        """Say a value with its unit."""
        if self is Unit.SECONDS:
            return words.span(value)
        return words.plural(round(value), self.value)


class Form(StrEnum):
    """How a series is drawn. STEPS: a value stays until the next one."""

    LINE = "line"
    STEPS = "steps"
    BARS = "bars"


@dataclass(frozen=True, slots=True)
class Point:
    """A value at an instant. since: where its bar begins; None for other forms."""

    at: datetime
    value: float
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points in the order of time, under a name that the legend and the table say."""

    name: str
    points: Sequence[Point]
    form: Form = Form.LINE


@dataclass(frozen=True, slots=True)
class Axes:
    """The range of time, the unit, and what the values are in words.

    limit: a value that is marked by a line across the frame, in words `limit_name`.
    """

    since: datetime
    until: datetime
    unit: Unit
    title: str
    limit: float | None = None
    limit_name: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A text on an axis. place: in percent of the width, or a height in the frame.

    anchor: which end of the text is there: start, middle or end.
    """

    place: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar in the frame, and what it says."""

    x: float
    y: float
    width: float
    height: float
    said: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A series in the frame. path: of a line, as SVG has it; bars: of a series of bars."""

    name: str
    path: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table behind a plot: an instant, and what each series says there."""

    at: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """All that a plot shows.

    key: part of the ids within the page. desc: the plot in words. is_empty: whether there is
    nothing to see, because no value is more than 0.
    """

    key: str
    axes: Axes
    desc: str
    times: tuple[Label, ...]
    values: tuple[Label, ...]
    limit_y: float | None
    series: tuple[Drawn, ...]
    figures: tuple[Figure, ...]
    is_empty: bool


def plot(key: str, axes: Axes, series: Sequence[Series]) -> Plot:
    """Return the plot of `series`; what is outside of the range of time is left out."""
    shown = [Series(each.name, _within(axes, each.points), each.form) for each in series]
    values = [point.value for each in shown for point in each.points]
    ticks = value_ticks(max([*values, axes.limit or 0.0]), axes.unit)
    top = ticks[-1]
    return Plot(
        key=key,
        axes=axes,
        desc=_desc(axes, shown),
        times=_time_labels(axes),
        values=tuple(Label(down(tick, top), axes.unit.said(tick)) for tick in ticks),
        limit_y=None if axes.limit is None else down(axes.limit, top),
        series=tuple(_drawn(axes, each, top) for each in shown),
        figures=_figures(axes, shown),
        is_empty=not any(values),
    )


def across(at: datetime, since: datetime, until: datetime) -> float:
    """Return where an instant is in the frame, from 0 to WIDTH; the later the further right."""
    if until <= since:
        return 0.0
    return WIDTH * min(1.0, max(0.0, (at - since) / (until - since)))


def down(value: float, top: float) -> float:
    """Return where a value is in the frame, from HEIGHT (0) to 0 (`top`); the larger the higher."""
    if top <= 0:
        return float(HEIGHT)
    return HEIGHT * (1.0 - min(1.0, max(0.0, value / top)))


def value_ticks(most: float, unit: Unit) -> list[float]:
    """Return even ticks from 0 to at least `most`, two at least, in steps that people count in."""
    step = _step(most / _MOST_VALUES, unit)
    return [step * number for number in range(max(1, math.ceil(most / step)) + 1)]


def _step(least: float, unit: Unit) -> float:
    if unit is Unit.SECONDS:
        longest = _SPANS_S[-1]
        return next(
            (step for step in _SPANS_S if step >= least), longest * math.ceil(least / longest)
        )
    scale = 10.0 ** max(0, math.floor(math.log10(max(least, 1.0))))
    return next(step for factor in (1, 2, 5, 10, 20) if (step := factor * scale) >= least)


def time_ticks(since: datetime, until: datetime) -> list[datetime]:
    """Return even instants within the range, at round times of UTC; at most _MOST_TIMES."""
    length = until - since
    step = next((each for each in _STEPS if length / each <= _MOST_TIMES), _STEPS[-1])
    origin = datetime(2001, 1, 1, tzinfo=UTC)  # a Monday, so that weeks begin on one
    tick = origin + step * -((origin - since) // step)
    ticks: list[datetime] = []
    while tick <= until and len(ticks) < _MOST_TIMES:
        ticks.append(tick)
        tick += step
    return ticks


def _within(axes: Axes, points: Sequence[Point]) -> list[Point]:
    return [point for point in points if axes.since <= point.at <= axes.until]


def _time_labels(axes: Axes) -> tuple[Label, ...]:
    ticks = time_ticks(axes.since, axes.until)
    daily = len(ticks) > 1 and ticks[1] - ticks[0] >= _DAY
    labels = []
    for tick in ticks:
        place = 100 * across(tick, axes.since, axes.until) / WIDTH
        anchor = "start" if place < 6 else "end" if place > 94 else "middle"
        here = tick.astimezone(UTC)
        labels.append(Label(place, here.strftime("%-d %b" if daily else "%H:%M"), anchor))
    return tuple(labels)


def _drawn(axes: Axes, series: Series, top: float) -> Drawn:
    if series.form is Form.BARS:
        return Drawn(series.name, "", tuple(_bars(axes, series.points, top)))
    places = [
        (across(point.at, axes.since, axes.until), down(point.value, top))
        for point in series.points
    ]
    parts = []
    for at, (x, y) in enumerate(places):
        if at and series.form is Form.STEPS:
            parts.append(f"H{x:.1f}V{y:.1f}")
        else:
            parts.append(f"{'L' if at else 'M'}{x:.1f} {y:.1f}")
    if len(places) == 1:
        parts.append("h0")  # a dot
    return Drawn(series.name, "".join(parts), ())


def _bars(axes: Axes, points: Sequence[Point], top: float) -> list[Bar]:
    bars = []
    for point in points:
        if not point.value:
            continue
        left = across(point.since or point.at, axes.since, axes.until)
        right = across(point.at, axes.since, axes.until)
        y = down(point.value, top)
        said = f"{_instant(axes, point.since or point.at)}: {axes.unit.said(point.value)}"
        width = max(1.0, right - left - 1)
        bars.append(Bar(min(left, WIDTH - width), y, width, HEIGHT - y, said))
    return bars


def _figures(axes: Axes, series: Sequence[Series]) -> tuple[Figure, ...]:
    """Return the figures, the latest first; several values of one instant together."""
    by_name: list[dict[datetime, list[str]]] = []
    for each in series:
        found: dict[datetime, list[str]] = {}
        for point in each.points:
            found.setdefault(point.since or point.at, []).append(axes.unit.said(point.value))
        by_name.append(found)
    instants = sorted({at for found in by_name for at in found}, reverse=True)
    return tuple(
        Figure(
            _instant(axes, at),
            tuple(", then ".join(found.get(at, [words.NONE])) for found in by_name),
        )
        for at in instants
    )


def _desc(axes: Axes, series: Sequence[Series]) -> str:
    """Return what a plot shows, in words."""
    said = [f"From {_instant(axes, axes.since)} to {_instant(axes, axes.until)}"]
    for each in series:
        if not each.points:
            said.append(f"{each.name}: nothing is known")
            continue
        least = min(point.value for point in each.points)
        most = max(point.value for point in each.points)
        last = each.points[-1].value
        least_said, most_said, last_said = map(axes.unit.said, (least, most, last))
        said.append(f"{each.name}: {least_said} to {most_said}, in the end {last_said}")
    if axes.limit is not None:
        said.append(f"{axes.limit_name}: {axes.unit.said(axes.limit)}")
    return "; ".join(said) + "."


def _instant(axes: Axes, at: datetime) -> str:
    pattern = "%H:%M UTC" if axes.until - axes.since < _DAY / 2 else "%-d %b %Y %H:%M UTC"
    return at.astimezone(UTC).strftime(pattern)
