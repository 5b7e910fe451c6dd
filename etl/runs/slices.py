"""Verify the past slice by slice, within a share of the request budget."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from etl.core.budget import Limits, share_of
from etl.core.coverage import Span, joined
from etl.core.forecast import by_offset
from etl.core.slices import (
    ABOUT_A_DAY,
    Budget,
    Cell,
    checked,
    days_of,
    due_lists,
    latest_looks,
    next_slice,
)
from etl.core.stream import VERIFY_DEEP, VERIFY_SLICE, Mode, Stream
from etl.errors import EtlError
from etl.loaders.history import Watermark
from etl.loaders.leases import Unit
from etl.runs.comparing import CompareCheckpoint, Request
from etl.runs.report import Report, ending_of
from etl.runs.verify import verify_stream
from etl.runs.work import Assignment, Tools

_log = structlog.get_logger(__name__)


class Pace(Struct, frozen=True):
    """How much is verified.

    every: within this all of the past has its turn. limits: of requests, those of the share with
    them. repair: whether what differs is loaded again.
    """

    every: timedelta
    limits: Limits
    repair: bool = False


async def streams_due(
    tools: Tools, streams: Sequence[Stream], project_id: int, pace: Pace
) -> list[Stream]:
    """Return the streams of which something is verified now. Raises DestinationError.

    A stream that is read by the day is one of them always: see `verify_slice`.
    """
    latest = await tools.looks.latest(project_id)
    now = await tools.history.database_now()
    by_day, lists = set[str](), dict[str, datetime | None]()
    for stream in streams:
        if stream.query is not None:
            continue  # no list shows its rows
        watermark = await tools.history.watermark(Unit(project_id, stream.name))
        if _is_read_by_day(stream, watermark):
            by_day.add(stream.name)
        elif watermark.tail_until is not None or stream.mode is Mode.ROTATION:
            lists[stream.name] = latest.get(stream.name)
    chosen = by_day | set(due_lists(lists, now, pace.every))
    return [stream for stream in streams if stream.name in chosen]


def _is_read_by_day(stream: Stream, watermark: Watermark) -> bool:
    filters = (watermark.traits or {}).get("date_filter") not in ("refused", "ignored")
    return stream.mode is Mode.WINDOWS and filters


async def verify_slice(given: Assignment, request: Request, pace: Pace) -> list[Report]:
    """Verify what of a stream has its turn now; one report for each stretch of time.

    A slice that was interrupted comes first, then what was not repaired. A list without windows is
    verified as a whole, if the share of the budget is enough for it. Never raises EtlError. Safe to
    repeat.
    """
    reports: list[Report] = []
    try:
        watermark = await given.tools.history.watermark(Unit(given.project_id, given.stream.name))
        if not _is_read_by_day(given.stream, watermark):
            return await _verify_list(given, request, watermark, pace)
        left = await _interrupted(given, watermark)
        if left is not None:
            reports.append(await _verify(given, request, left, watermark, pace))
        if not any(each.ending.cause for each in reports):
            again = await _unrepaired(given, watermark, pace)
            for span in [*again, *await _next_slice(given, watermark, pace)]:
                reports.append(await _verify(given, request, span, watermark, pace))
                if reports[-1].ending.cause:
                    break
    except EtlError as exc:
        unit = Report(given.project_id, given.stream.name, VERIFY_SLICE, ending_of(exc))
        return [*reports, unit]
    return reports


async def _verify_list(
    given: Assignment, request: Request, watermark: Watermark, pace: Pace
) -> list[Report]:
    """Verify all of a list; of recordings without dates all but what every sync reads again."""
    if not await _is_affordable(given, watermark, pace):
        return []
    if given.stream.mode is not Mode.WINDOWS:
        return [await verify_stream(given, request, repair=pace.repair)]
    since, until = watermark.complete.since, _verified_until(given, watermark)
    if since is None or until is None or since >= until:
        return []
    span = await _interrupted(given, watermark) or Span(since, until)
    return [await _verify(given, request, span, watermark, pace)]


async def _verify(
    given: Assignment, request: Request, span: Span, watermark: Watermark, pace: Pace
) -> Report:
    """Verify a stretch of time; the lowest one with the records that have no start."""
    since = None if span.since == watermark.complete.since else span.since
    return await verify_stream(
        given, replace(request, since=since, until=span.until), repair=pace.repair
    )


async def _interrupted(given: Assignment, watermark: Watermark) -> Span | None:
    """Return the stretch of time that an earlier slice did not finish."""
    unit = Unit(given.project_id, given.stream.name, VERIFY_SLICE)
    try:
        kept = msgspec.convert(await given.tools.looks.position(unit), CompareCheckpoint)
    except ValueError:
        return None
    since = kept.since or watermark.complete.since
    return None if since is None or kept.until is None else Span(since, kept.until)


async def _unrepaired(given: Assignment, watermark: Watermark, pace: Pace) -> list[Span]:
    """Return the stretches of time with differences that an earlier slice did not repair.

    Each has its turn again once a day: the repair was broken off, perhaps because the reading had
    spent the share. They are short, so that something of the share is left for the repair.
    """
    tools, stream = given.tools, given.stream
    until = _verified_until(given, watermark)
    if not pace.repair or until is None or await _share_left(tools, stream, pace.limits) == 0:
        return []
    found = await tools.looks.differing(given.project_id, stream.name, ABOUT_A_DAY)
    return [
        part
        for span in joined(found)
        if span.since < until
        for part in watermark.complete.within(Span(span.since, min(span.until, until)))
    ]


async def _next_slice(given: Assignment, watermark: Watermark, pace: Pace) -> list[Span]:
    """Return the stretches of time that have their turn now, within what is left of the share."""
    tools, stream, options = given.tools, given.stream, given.options
    left = await _share_left(tools, stream, pace.limits)
    until = _verified_until(given, watermark)
    if left == 0 or until is None:
        return []
    days = days_of(watermark.complete, until)
    table = stream.tables[0]
    rows = await tools.looks.rows_by_day(given.project_id, table.name, table.started or "", days)
    looks = latest_looks(await tools.looks.of(given.project_id, stream.name))
    cells = [Cell(*each) for each in zip(days, rows, checked(days, looks), strict=True)]
    now = await tools.history.database_now()
    chosen = next_slice(cells, now, pace.every, Budget(left, options.page_size_records))
    _log.info("slice.chosen", stream=stream.name, spans=[str(span) for span in chosen])
    return chosen


def _verified_until(given: Assignment, watermark: Watermark) -> datetime | None:
    """Return up to which start recordings are verified; None: nothing was read yet.

    What every sync reads again is left out: it would differ from one sync to the next.
    """
    tail = watermark.tail_until or watermark.complete.until
    return None if tail is None else tail - given.options.lookback.grades[0].age


async def _is_affordable(given: Assignment, watermark: Watermark, pace: Pace) -> bool:
    """Tell whether the share is enough for all of a list, by what it took before."""
    tools, stream, options = given.tools, given.stream, given.options
    left = await _share_left(tools, stream, pace.limits)
    units = [VERIFY_SLICE, VERIFY_DEEP, *([] if stream.mode is Mode.WINDOWS else [stream.unit])]
    takes = await tools.looks.last_requests(given.project_id, stream.name, units)
    if takes is None and stream.mode is Mode.WINDOWS:
        unit = Unit(given.project_id, stream.name)
        rows = await tools.history.count_started(unit, stream, watermark.complete.spans)
        clamp = (watermark.traits or {}).get("clamp")
        takes = by_offset(rows, options.page_size_records, clamp)
    if left is None or (takes or 1) <= left:
        return True
    _log.warning("slice.postponed", stream=stream.name, requests=takes, left=left)
    return False


async def _share_left(tools: Tools, stream: Stream, limits: Limits) -> int | None:
    """Return how many requests are left of the share of this hour; None: there is no limit."""
    names = [share_of(name) for name in stream.budget_classes]
    spent = await tools.budget.spent(names)
    left = [limit.requests - len(spent[name]) for name in names for limit in limits.get(name, ())]
    return max(0, min(left)) if left else None
