"""How many requests a reading will take: for `plan`, and for a run before it begins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from etl.core.coverage import Span
from etl.core.expected import Counted
from etl.core.forecast import Forecast, by_cursor
from etl.core.stream import Resource, Stream
from etl.core.window import FAR_AHEAD, Window
from etl.extractors.snapshot import PARENTS_AT_ONCE
from etl.loaders.history import Watermark
from etl.loaders.leases import Unit
from etl.loaders.parents import Parent
from etl.runs.work import RunOptions, Tools


def front_will_do(tools: Tools, traits: Mapping[str, Any] | None) -> bool:
    """Tell whether of a server that ignores dates only the front is read."""
    counted = Counted.of(traits)
    return counted is not None and counted.front_will_do(tools.client.source_now)


async def known_rows(
    tools: Tools,
    stream: Stream,
    unit: Unit,
    window: Window,
    watermark: Watermark,
    until: datetime | None = None,
) -> tuple[int, int, bool]:
    """Return how many known rows a window has, how many are below it, and whether that is all.

    until: where reading begins, None if that is where the dates asked for end. Below the window
    counts what its margin shows. Raises DestinationError.
    """
    asked, complete = window.asked(tools.client.now), watermark.complete
    span, below = Span(window.since, until or asked.until), Span(asked.since, window.since)
    rows = await tools.history.count_started(unit, stream, complete.within(span))
    older = await tools.history.count_started(unit, stream, complete.within(below))
    return rows, older, complete.covers(span) and complete.covers(below)


async def forecast_ahead(
    tools: Tools, options: RunOptions, stream: Stream, unit: Unit, since: datetime, *, exact: bool
) -> Forecast:
    """Return what it takes to read what lies ahead of `since`. Raises DestinationError."""
    rows = await tools.history.count_started(unit, stream, [Span(since, FAR_AHEAD)])
    return Forecast(by_cursor(rows, 0, options.page_size_records), exact)


def was_read(stream: Stream, watermark: Watermark) -> bool:
    """Tell whether a snapshot was read, so that it is known how many requests it takes."""
    took = (watermark.traits or {}).get("took")
    return isinstance(took, list) and len(took) == len(stream.resources)


async def forecast_snapshot(
    tools: Tools,
    stream: Stream,
    project_id: int,
    watermark: Watermark,
    *,
    spares: bool = True,
) -> Forecast:
    """Return how many requests a snapshot takes: what the last one took, for as many parents.

    A lower bound before the first one. spares: whether it leaves out lists whose parent is
    unchanged. Raises DestinationError.
    """
    if not was_read(stream, watermark):
        return Forecast(sum(len(r.lists) for r in stream.resources if r.parents is None), False)
    took = (watermark.traits or {})["took"]
    requests, exact = 0, True
    for resource, (pages, parents) in zip(stream.resources, took, strict=True):
        if resource.growth is not None:
            growing = await _forecast_growing(tools, stream, resource, project_id)
            requests, exact = requests + growing.requests, exact and growing.exact
        elif resource.parents is None:
            requests += pages
        elif resource.skips:
            known, unread = await tools.parents.pages(
                project_id, stream.name, resource.parents, spares=spares
            )
            requests += known + unread * len(resource.lists)
            exact = exact and unread == 0
        else:
            now = await tools.parents.count(project_id, resource.parents)
            requests += round(pages * now / parents) if parents else now * len(resource.lists)
    return Forecast(requests, exact)


async def _forecast_growing(
    tools: Tools, stream: Stream, resource: Resource, project_id: int
) -> Forecast:
    """Return what it takes to read what is new in lists that grow.

    A list that was never read takes one request at least. Raises DestinationError.
    """
    unit, latest = Unit(project_id, stream.name), tools.client.clocks.latest
    forecast = Forecast(0, exact=True)
    async for parent in _parents(tools, resource, project_id):
        state = await tools.growing.state(unit, resource, parent)
        bound = state.bound(latest)
        if bound is None:
            forecast += Forecast(1, exact=False)
            continue
        newer, any_older = await tools.growing.count(unit, resource, parent, bound)
        forecast += Forecast(state.requests(newer, any_older=any_older), exact=True)
    return forecast


async def _parents(tools: Tools, resource: Resource, project_id: int) -> AsyncIterator[Parent]:
    """Yield the parents of a resource; an empty one if it has none."""
    parents, place = resource.parents, None
    if parents is None:
        yield {}
        return
    while found := await tools.parents.after(project_id, parents, place, PARENTS_AT_ONCE):
        for parent in found:
            yield parent
        place = [found[-1][name] for name in parents.fields]


def forecast_query() -> Forecast:
    """Return what a query takes at least: how many pages there are shows only at its end."""
    return Forecast(1, exact=False)
