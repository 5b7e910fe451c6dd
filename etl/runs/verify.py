"""Verify a stream: compare it, repair it if asked to, and compare what differed once more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from etl.core.coverage import Span, joined, split
from etl.core.guard import Guard
from etl.core.reconciling import Found
from etl.core.stream import REPAIR, Mode
from etl.core.window import MARGIN
from etl.errors import EXIT_SUCCEEDED, EtlError
from etl.loaders.leases import Lease, Unit
from etl.loaders.reconciliations import PART
from etl.runs.comparing import (
    CompareRotation,
    CompareSnapshot,
    CompareWindows,
    Comparing,
    Request,
)
from etl.runs.repairing import RepairRotation, RepairSnapshot, RepairWindows
from etl.runs.report import FAILED, HELD, PAUSED, Report, ending_of
from etl.runs.sync import execute_unit
from etl.runs.work import Assignment

COMMAND = "verify"
# If more rows differ, their windows are read again.
_MOST_BY_ID = 1000

_COMPARE: dict[Mode, type[Comparing]] = {
    Mode.WINDOWS: CompareWindows,
    Mode.SNAPSHOT: CompareSnapshot,
    Mode.ROTATION: CompareRotation,
}
# Nothing is marked deleted by a comparison, so nothing has to be guarded.
_UNGUARDED = Guard(rows=sys.maxsize)


async def verify_stream(given: Assignment, request: Request, *, repair: bool) -> Report:
    """Compare a stream of a project, and repair it. Never raises EtlError.

    Safe to repeat: an interrupted comparison goes on.
    """
    report = await _compare(given, request)
    found = report.found
    if not repair or found is None or not found.differences:
        return report
    try:
        repaired = await _repair(given, replace(request, before=found))
    except EtlError as exc:
        report.ending = ending_of(exc)
        return report
    for each in repaired.reports:
        report.rows_inserted += each.rows_inserted
        report.rows_updated += each.rows_updated
        _add(report, each)
    endings = [each.ending for each in repaired.reports]
    broken = next((each for each in endings if each.status in (FAILED, PAUSED, HELD)), None)
    if broken is not None:
        report.ending = broken
        return report
    after = await _compare(given, repaired.then)
    _add(report, after)
    if after.found is not None:
        # It judges a repair that was not sure of itself, too.
        found.repaired = not after.found.differences
    if found.repaired and after.ending.exit_code == EXIT_SUCCEEDED:
        report.ending = after.ending
    else:
        reasons = [each.reason for each in (*endings, after.ending) if each.reason]
        report.ending = replace(after.ending, reason=". ".join(reasons))
    return report


class _Repaired(NamedTuple):
    """What a repair did, and how it is compared once more."""

    reports: list[Report]
    then: Request


def _add(report: Report, later: Report) -> None:
    report.requests += later.requests
    report.bytes_read += later.bytes_read
    report.seconds += later.seconds
    report.waited_s += later.waited_s


async def _compare(given: Assignment, request: Request) -> Report:
    works: list[Comparing] = []

    def make(given: Assignment, lease: Lease) -> Comparing:
        works.append(_COMPARE[given.stream.mode](given, lease, request))
        return works[-1]

    options = replace(given.options, guard=_UNGUARDED, accept_deletions=())
    report = await execute_unit(replace(given, options=options), request.unit, COMMAND, make)
    if works:
        report.found = works[-1].found
    return report


async def _repair(given: Assignment, request: Request) -> _Repaired:
    """Load what differs, in as few requests as it takes. Raises DestinationError.

    A list without windows is read as by a sync, because there is no cheaper way. Recordings are
    asked for by their ids, if the server's list takes ids; where that leaves a field null that the
    list fills, the day is read again. If the list takes no ids, and if there are too many, their
    windows are read again.
    """
    mode, found = given.stream.mode, request.before
    assert found is not None
    if mode is Mode.SNAPSHOT:
        differences = request.comparer(given.stream.name, given.stream.resources[0]).differences
        await differences.forget_checks(Unit(given.project_id, given.stream.name, request.unit))
        reports = [await execute_unit(given, given.stream.unit, COMMAND, RepairSnapshot)]
        return _Repaired(reports, request)
    if mode is Mode.ROTATION:
        make = partial(RepairRotation, request=request)
        return _Repaired([await execute_unit(given, REPAIR, COMMAND, make)], request)
    watermark = await given.tools.history.watermark(Unit(given.project_id, given.stream.name))
    traits = watermark.traits or {}
    if traits.get("envelope") == "cursor" and found.differences <= _MOST_BY_ID:
        by_id = partial(RepairWindows, request=request)
        reports = [await execute_unit(given, REPAIR, COMMAND, by_id)]
        reports += await _read_again(given, await _days_of_unfilled(given, request, found))
        return _Repaired(reports, replace(request, by_id=True))
    differing = {span for (_, span), each in found.counts.items() if span and each.differences}
    # Each window is read with a margin above it, so what is near is read together.
    windows = [part for each in joined([*differing], MARGIN) for part in split(each, PART)]
    if traits.get("date_filter") in ("refused", "ignored"):
        windows = [Span(windows[0].since, windows[-1].until)]  # it shows everything at once
    since, until = found.windows[0].since, found.windows[-1].until
    reports = await _read_again(given, windows)
    return _Repaired(reports, replace(request, since=since, until=until))


async def _read_again(given: Assignment, windows: Sequence[Span]) -> list[Report]:
    """Load windows as a backfill does, whatever the hashes of the stored rows say."""
    given = replace(given, options=replace(given.options, believes_hashes=False))
    return [await execute_unit(given, str(window), COMMAND) for window in windows]


async def _days_of_unfilled(given: Assignment, request: Request, found: Found) -> Sequence[Span]:
    """Return the days of records that were loaded by id and lack what the list shows.

    The answer for one record may leave fields null that the list fills.
    """
    differences = request.comparer(given.stream.name, given.stream.resources[0]).differences
    unit = Unit(given.project_id, given.stream.name, request.unit)
    starts = await differences.starts_of_unfilled(unit)
    days = [
        day
        for window in found.windows
        for day in split(window, timedelta(days=1))
        if any(day.since <= at < day.until for at in starts)
    ]
    return list(joined(days, MARGIN))
