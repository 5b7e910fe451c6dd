"""The page of one stream: its history as plots, its runs, rejects, holes, drift and cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from etl.loaders.listing import Listed
from etl.loaders.stream_history import StreamHistory
from etl.service.page.budget import ClassUse
from etl.service.page.overview import Line, Overview
from etl.service.page.plots import Axes, Form, Plot, Point, Series, Unit, plot
from etl.service.page.rejects import Reject, reject_of
from etl.service.page.runs import ListedRun, listed_run
from etl.streams.queries import stream_named

# How many parts the plots have, at most.
PARTS = 120
SHOWN_RUNS = 10
SHOWN_REJECTS = 5
SHOWN_COMPARED = 20
SHOWN_HOLES = 50

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StreamPage:
    """All that is shown of a stream of a project.

    line: as on the first page. others: the other projects that have the stream. about: what the
    stream is; tables: those it fills. length: how far back the plots go, as the address has it.
    uses: the classes of requests that it draws from. unlimited: whether the plan has no limits.
    is_query: whether it is a configured query.
    """

    at: datetime
    line: Line
    others: tuple[int, ...]
    about: str
    tables: tuple[str, ...]
    length: str
    since: datetime
    lag: Plot
    written: Plot
    requests: Plot
    history: StreamHistory
    runs: Sequence[ListedRun]
    more_runs: bool
    rejects: Sequence[Reject]
    uses: tuple[ClassUse, ...]
    unlimited: bool
    is_query: bool

    @property
    def total_requests(self) -> int:
        """How many requests its runs took in this time."""
        return sum(cost.requests for cost in self.history.costs)


@dataclass(frozen=True, slots=True)
class Found:
    """What was read for the page. runs, rejects: the latest ones."""

    history: StreamHistory
    runs: Listed
    rejects: Listed


def stream_page(
    overview: Overview, line: Line, length: str, found: Found, *, unlimited: bool
) -> StreamPage:
    """Return the page of a stream, which is `line` of the first page."""
    stream = stream_named(line.stream)
    classes = {
        name
        for resource in (() if stream is None else stream.resources)
        for name in (*resource.budget_classes, *resource.retrieve_classes)
    }
    history = found.history
    return StreamPage(
        at=history.until,
        line=line,
        others=tuple(
            other.project_id
            for other in overview.lines
            if other.stream == line.stream and other.project_id != line.project_id
        ),
        about="" if stream is None else stream.about,
        tables=() if stream is None else tuple(table.name for table in stream.tables),
        length=length,
        since=history.since,
        lag=lag_plot(history, line.complete_until),
        written=written_plot(history),
        requests=requests_plot(history),
        history=history,
        runs=[listed_run(run, found.runs.at) for run in found.runs.rows],
        more_runs=found.runs.older,
        rejects=[reject_of(row) for row in found.rejects.rows],
        uses=tuple(use for use in overview.uses if use.name in classes),
        unlimited=unlimited,
        is_query=stream is not None and stream.query is not None,
    )


def lag_plot(history: StreamHistory, complete_until: datetime | None) -> Plot:
    """Return how far behind the source the copy was: it grows until a run ends, then falls."""
    points = []
    for part in history.lag:
        if part.worst is not None:
            points.append(_lag(part.first_at, part.worst))
        points.append(_lag(part.last_at, part.left))
    if complete_until is not None:
        if not points and complete_until <= history.since:
            points.append(_lag(history.since, history.since - complete_until))
        points.append(_lag(history.until, history.until - complete_until))
    return plot("lag", _axes(history, Unit.SECONDS, "lag"), [Series("lag", points)])


def written_plot(history: StreamHistory) -> Plot:
    """Return how many rows were inserted and changed since the beginning, added up."""
    axes = _axes(history, Unit.ROWS, "rows written, added up")
    inserted = _added_up(history, ((part.number, part.rows_inserted) for part in history.work))
    changed = _added_up(history, ((part.number, part.rows_updated) for part in history.work))
    series = [Series("inserted", inserted, Form.STEPS), Series("changed", changed, Form.STEPS)]
    return plot("written", axes, series)


def requests_plot(history: StreamHistory) -> Plot:
    """Return how many requests were sent in each part."""
    points = [
        Point(_end(history, part.number), part.requests, _end(history, part.number - 1))
        for part in history.work
    ]
    axes = _axes(history, Unit.REQUESTS, "requests sent")
    return plot("requests", axes, [Series("requests", points, Form.BARS)])


def _axes(history: StreamHistory, unit: Unit, title: str) -> Axes:
    return Axes(history.since, history.until, unit, title)


def _lag(at: datetime, lag: timedelta) -> Point:
    return Point(at, max(0.0, lag.total_seconds()))


def _added_up(history: StreamHistory, counts: Iterable[tuple[int, int]]) -> list[Point]:
    total, points = 0, [Point(history.since, 0)]
    for number, count in counts:
        total += count
        points.append(Point(_end(history, number), total))
    if points[-1].at < history.until:
        points.append(Point(history.until, total))
    return points


def _end(history: StreamHistory, number: int) -> datetime:
    """Return where a part ends."""
    return min(history.until, history.since + history.step * (number + 1))
