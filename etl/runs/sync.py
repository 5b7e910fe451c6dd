"""Brings one unit up to date under its lease, and reports honestly how that ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping

import structlog

from etl.core.stream import RESYNC, Mode
from etl.errors import (
    EXIT_SUCCEEDED,
    DestinationUnavailable,
    EtlError,
    LeaseHeld,
    LeaseLost,
)
from etl.loaders.database import RETRY_WAITS_S
from etl.loaders.history import RunEnd
from etl.loaders.leases import Lease, Leases, Unit
from etl.runs.load import Work
from etl.runs.report import FAILED, PARTIAL, Ending, Report, defect_ending, ending_of
from etl.runs.rotation import RotationWork
from etl.runs.snapshot import SnapshotWork
from etl.runs.windows import WindowsWork
from etl.runs.work import Assignment, Tools, rows_now
from etl.tasks import beside, is_set, race

_log = structlog.get_logger(__name__)

_LEVELS = {FAILED: logging.ERROR, PARTIAL: logging.WARNING}
# How often waits are noted that are too short to be told, in seconds.
_NOTED_EVERY_S = 10.0

# Makes the work of a unit that is leased.
MakeWork = Callable[[Assignment, Lease], Work]


def _query_work(given: Assignment, lease: Lease) -> Work:
    from etl.runs.query import QueryWork  # few deployments have queries

    return QueryWork(given, lease)


_WORK: Mapping[Mode, MakeWork] = {
    Mode.WINDOWS: WindowsWork,
    Mode.SNAPSHOT: SnapshotWork,
    Mode.ROTATION: RotationWork,
    Mode.QUERY: _query_work,
}
_REPORTED = (
    "records_read",
    "records_read_fast",
    "rows_inserted",
    "rows_updated",
    "rejected",
    "requests",
    "forecast_requests",
    "forecast_exact",
)


async def execute_unit(
    given: Assignment, name: str, command: str = "sync", make: MakeWork | None = None
) -> Report:
    """Take the unit, read it to its end, load it, and report honestly. Never raises EtlError.

    make: makes the work; None: it is that of a sync of the stream.

    Safe to repeat: what an earlier run committed is gone on from, not read again.
    """
    run_id = str(uuid.uuid4())
    try:
        unit = Unit(given.project_id, given.stream.name, name)
        return await _execute(given, unit, run_id, command, make or _WORK[given.stream.mode])
    finally:
        given.tools.leases.forget(run_id)


async def _execute(
    given: Assignment, unit: Unit, run_id: str, command: str, make: MakeWork
) -> Report:
    tools, began_s = given.tools, time.monotonic()
    waited_before_s = tools.waits.waited_s
    try:
        # A worker lives for weeks, in which clocks drift and machines sleep.
        for attempt in tools.database.attempts():
            async with attempt:
                tools.client.set_clock(await tools.history.database_now())
                lease = await tools.leases.acquire(unit, run_id, command)
    except EtlError as exc:
        return Report(unit.project_id, unit.stream, unit.name, ending_of(exc))
    with structlog.contextvars.bound_contextvars(
        run_id=run_id, project_id=unit.project_id, stream=unit.stream, unit=unit.name
    ):
        _log.info("run.started", fence=lease.fence, resumes=lease.position is not None)
        work = make(given, lease)
        async with beside(_tell_waits(given, lease, waited_before_s)):
            ending = await _held(tools.leases, lease, work)
        report = Report(unit.project_id, unit.stream, unit.name, ending, run_id)
        report.waited_s = tools.waits.waited_s - waited_before_s
        await _finish(tools, work, report)
        report.seconds = time.monotonic() - began_s
        _log.log(
            _LEVELS.get(report.ending.status, logging.INFO),
            "run.finished",
            status=report.ending.status,
            reason=report.ending.reason,
            seconds=round(report.seconds, 3),
            records_read=report.records_read,
            records_read_fast=report.records_read_fast,
            rows_inserted=report.rows_inserted,
            rows_updated=report.rows_updated,
            rejected=report.rejected,
            requests=report.requests,
            # A lower bound is no forecast.
            forecast_requests=report.forecast_requests if report.forecast_exact else None,
        )
    return report


async def _held(leases: Leases, lease: Lease, work: Work) -> Ending:
    """Do the work while the lease is renewed; stop it when the lease is lost."""
    try:
        async with race(work.run(), _renew(leases, lease)) as (working, renewing):
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
                if working.cancelled():
                    raise renewing.exception() or LeaseHeld("The lease was lost")
            return await working
    except EtlError as exc:
        if isinstance(exc, LeaseLost):
            _log.warning("lease.lost")
        _log.debug("run.interrupted", exc_info=True)
        return ending_of(exc)
    except Exception as exc:  # a defect of ours: report it, and let the other streams go on
        _log.exception("run.broke")
        return defect_ending(exc)


async def _tell_waits(given: Assignment, lease: Lease, before_s: float) -> None:
    """Tell the progress and the database what the run waits for, for as long as it waits.

    before_s: how long was waited before this run.
    """
    tools, waits, noted_s = given.tools, given.tools.waits, 0.0
    while True:
        changed = await is_set(waits.changed, within_s=_NOTED_EVERY_S)
        waits.changed.clear()
        if changed:
            given.progress.waits(waits.current)
        elif waits.current is not None or waits.waited_s - before_s - noted_s < 1.0:
            continue
        # Without the database nobody can be told; the next change is tried again.
        with contextlib.suppress(EtlError):
            for attempt in tools.database.attempts():
                async with attempt:
                    wait = waits.current
                    under_way_s = 0.0 if wait is None else wait.waited_s
                    noted_s = max(0.0, waits.waited_s - before_s - under_way_s)
                    await tools.history.note_wait(lease, wait, noted_s)


async def _renew(leases: Leases, lease: Lease) -> None:
    """Renew for ever; raises LeaseLost or CommitsLost when the unit is not ours any more."""
    while True:
        await asyncio.sleep(leases.ttl_s / 3)
        try:
            renewed = await leases.renew(lease)
        except DestinationUnavailable:
            continue  # the fence protects us until Postgres is back
        if not renewed:
            raise await leases.loss(lease)


async def _finish(tools: Tools, work: Work, report: Report) -> None:
    """Close the run, give the unit back and complete the report.

    A failed run is not tried for twice: when Postgres is gone, the next run closes it as failed.
    """
    requests, bytes_read = work.spent()
    end = RunEnd(
        report.ending.status,
        report.ending.reason,
        requests=requests,
        bytes_read=bytes_read,
        waited_s=report.waited_s,
        paused_for_s=report.ending.paused_for_s,
        forecast=work.forecast,
        query_bytes=work.query_bytes,
        fault=report.ending.fault,
    )
    waits_s = () if report.ending.status == FAILED else RETRY_WAITS_S
    try:
        for attempt in tools.database.attempts(waits_s):
            async with attempt:
                await _close_run(tools, work, report, end)
    except EtlError as exc:
        if report.ending.exit_code == EXIT_SUCCEEDED:
            report.ending = ending_of(exc)


async def _close_run(tools: Tools, work: Work, report: Report, end: RunEnd) -> None:
    """Close the run, give the unit back and complete the report. Safe to repeat."""
    unit = work.lease.unit
    row = await tools.history.finish(work.lease, end)
    for name in _REPORTED:
        setattr(report, name, row[name])
    report.bytes_read, report.paused_until = row["bytes_read"], row["paused_until"]
    await tools.leases.release(work.lease)
    watermark = await tools.history.watermark(unit)
    report.complete_until = watermark.complete.until or watermark.tail_until
    if unit.name in (work.stream.unit, RESYNC):
        report.rows = await rows_now(tools, work.stream, unit.project_id)
