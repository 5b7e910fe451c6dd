"""The loop: page -> batch -> load. Brings one unit up to date under its lease."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from etl.core.page import Page
from etl.core.stream import Stream
from etl.core.window import Window, moving_window
from etl.errors import (
    EXIT_SUCCEEDED,
    DestinationUnavailable,
    EtlError,
    LeaseHeld,
    LeaseLost,
    Stopped,
)
from etl.extractors.client import Client
from etl.extractors.extractor import Extractor
from etl.loaders.budget import PostgresBudget
from etl.loaders.database import Database
from etl.loaders.history import History, Watermark
from etl.loaders.leases import Lease, Leases, Unit
from etl.loaders.loader import Closing, Commit, Loaded, Loader
from etl.runs.prefetch import prefetched
from etl.runs.report import FAILED, Ending, Report, defect_ending, ending_of, honest_ending

_log = structlog.get_logger(__name__)

# Called after each batch: records read so far, how many are expected (None: unknown), requests.
Progress = Callable[[int, int | None, int], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What a unit is executed with; `app.py` opens and closes it."""

    client: Client
    database: Database
    budget: PostgresBudget
    leases: Leases
    history: History
    loader: Callable[[Stream], Loader]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stream is read: from where at first, how much again, in what portions."""

    start: datetime
    lookback: timedelta
    prefix: str
    page_size_records: int
    buffer_bytes: int


async def execute_unit(
    tools: Tools,
    plan: Plan,
    stream: Stream,
    unit: Unit,
    stop: asyncio.Event,
    progress: Progress,
    command: str = "sync",
) -> Report:
    """Take the unit, read it to its end, load it, and report honestly. Never raises EtlError.

    Safe to repeat: what an earlier run committed is gone on from, not read again. A set `stop`
    ends it after the batch in hand.
    """
    began_s, waited_s = time.monotonic(), tools.budget.waited_s
    run_id = str(uuid.uuid4())
    try:
        lease = await tools.database.repeat(lambda: tools.leases.acquire(unit, run_id, command))
    except EtlError as exc:
        return Report(unit.project_id, unit.stream, unit.window, ending_of(exc))
    with structlog.contextvars.bound_contextvars(
        run_id=run_id, project_id=unit.project_id, stream=unit.stream, unit=unit.window
    ):
        _log.info("run.started", fence=lease.fence, resumes=lease.position is not None)
        work = _Work(tools, plan, stream, lease, stop, progress)
        ending = await _held(tools.leases, lease, work)
        report = Report(unit.project_id, unit.stream, unit.window, ending, run_id)
        await _finish(tools, work, report)
        report.seconds = time.monotonic() - began_s
        report.waited_s = tools.budget.waited_s - waited_s
        _log.info(
            "run.finished",
            status=report.ending.status,
            reason=report.ending.reason,
            seconds=round(report.seconds, 3),
            records_read=report.records_read,
            rows_inserted=report.rows_inserted,
            rows_updated=report.rows_updated,
            rejected=report.rejected,
            requests=report.requests,
        )
    return report


async def _held(leases: Leases, lease: Lease, work: _Work) -> Ending:
    """Do the work while the lease is renewed; stop it when the lease is lost."""
    working = asyncio.create_task(work.run())
    renewing = asyncio.create_task(_renew(leases, lease))
    try:
        await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
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
    finally:
        for task in (working, renewing):
            task.cancel()
        await asyncio.gather(working, renewing, return_exceptions=True)


async def _renew(leases: Leases, lease: Lease) -> None:
    """Renew for ever; raises LeaseLost when another run has taken the unit over."""
    while True:
        await asyncio.sleep(leases.ttl_s / 3)
        try:
            renewed = await leases.renew(lease)
        except DestinationUnavailable:
            continue  # the fence protects us until Postgres is back
        if not renewed:
            raise LeaseLost(
                f"Another run has taken over {lease.unit.stream} of project "
                f"{lease.unit.project_id}, so nothing more was committed here"
            )


async def _finish(tools: Tools, work: _Work, report: Report) -> None:
    """Close the run, give the unit back and complete the report.

    A failed run is not tried for twice: when Postgres is gone, the next run closes it as failed.
    """
    requests, bytes_read = work.spent()
    unit = work.lease.unit

    async def finish() -> None:
        row = await tools.history.finish(
            work.lease,
            report.ending.status,
            report.ending.reason,
            requests=requests,
            bytes_read=bytes_read,
            paused_for_s=report.ending.paused_for_s,
        )
        for name in ("records_read", "rows_inserted", "rows_updated", "rejected", "requests"):
            setattr(report, name, row[name])
        report.bytes_read, report.paused_until = row["bytes_read"], row["paused_until"]
        await tools.leases.release(work.lease)
        report.complete_until = (await tools.history.watermark(unit)).complete_until
        names = [table.name for table in work.stream.tables]
        report.rows = await tools.history.row_counts(unit.project_id, names)

    try:
        await (finish() if report.ending.status == FAILED else tools.database.repeat(finish))
    except EtlError as exc:
        if report.ending.exit_code == EXIT_SUCCEEDED:
            report.ending = ending_of(exc)


class _Work:
    """One execution of a unit: an unfinished reading first, then what is new since."""

    def __init__(
        self,
        tools: Tools,
        plan: Plan,
        stream: Stream,
        lease: Lease,
        stop: asyncio.Event,
        progress: Progress,
    ) -> None:
        self._tools = tools
        self._plan = plan
        self.stream = stream
        self.lease = lease
        self._stop = stop
        self._progress = progress
        self._loader = tools.loader(stream)
        self._requests = tools.client.requests
        self._bytes_read = tools.client.bytes_read
        self._sent = tools.client.requests
        self._records = 0
        self._rejected = 0
        self._complete = True

    async def run(self) -> Ending:
        """Read and load until the unit is up to date. Raises EtlError."""
        watermark = await self._watermark()
        extractor = Extractor(
            self._tools.client,
            self.stream,
            self.lease.unit.project_id,
            prefix=self._plan.prefix,
            page_size_records=self._plan.page_size_records,
            traits=watermark.traits,
        )
        if extractor.resumable(self.lease.position):
            # What was read before the break may have changed since, so the new end follows.
            window = moving_window(None, self._plan.start, self._plan.lookback)
            await self._read(extractor, window)
            watermark = await self._watermark()
        else:
            self.lease.position = None
        self._complete = True
        await self._read(
            extractor,
            moving_window(watermark.complete_until, self._plan.start, self._plan.lookback),
        )
        return honest_ending(complete=self._complete, rejected=self._rejected)

    def spent(self) -> tuple[int, int]:
        """Return requests and bytes since this was last asked."""
        client = self._tools.client
        spent = (client.requests - self._requests, client.bytes_read - self._bytes_read)
        self._requests, self._bytes_read = client.requests, client.bytes_read
        return spent

    async def _watermark(self) -> Watermark:
        history = self._tools.history
        return await self._tools.database.repeat(lambda: history.watermark(self.lease.unit))

    async def _read(self, extractor: Extractor, window: Window) -> None:
        pages = extractor.pages(window, self.lease.position)
        _log.info("window.opened", since=window.since.isoformat())
        async with prefetched(pages, self._plan.buffer_bytes, self._stop) as fetched:
            async for page in fetched:
                await self._load(extractor, page)
                if self._stop.is_set() and not page.last:
                    break
                if page.last:
                    return
        raise Stopped(
            "Stopped before the end; what was read is committed", remedy="The next run goes on"
        )

    async def _load(self, extractor: Extractor, page: Page) -> None:
        batch = self.stream.transform(page)
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=page.observed_at,
            position=None if page.last else page.position,
            requests=requests,
            bytes_read=bytes_read,
            closing=self._closing(extractor, page) if page.last else None,
        )
        loaded: Loaded = await self._loader.load(self.lease, batch, commit)
        self._records += len(page.records)
        self._rejected += loaded.rejected
        self._complete &= page.complete
        self._progress(
            self._records, page.forecast_records, self._tools.client.requests - self._sent
        )
        _log.debug(
            "batch.loaded",
            records=len(page.records),
            inserted=loaded.inserted,
            updated=loaded.updated,
            rejected=loaded.rejected,
        )

    def _closing(self, extractor: Extractor, page: Page) -> Closing:
        reading = extractor.reading
        assert reading is not None
        # A server that does not filter has shown everything there is.
        since = reading.window.since if reading.filters else self._plan.start
        return Closing(
            since=min(since, reading.began_at),
            until=reading.began_at,
            vouched=page.complete,
            traits=extractor.traits,
        )
