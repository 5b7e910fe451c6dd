"""The loop: page -> batch -> load. Brings one unit up to date under its lease."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from etl.core.coverage import Span
from etl.core.forecast import Forecast, by_cursor, by_offset
from etl.core.guard import Guard
from etl.core.lookback import Lookback
from etl.core.page import Batch, Page
from etl.core.stream import Stream
from etl.core.window import MARGIN, Window, moving_window
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
from etl.extractors.protocol import id_batches
from etl.extractors.reading import Reading
from etl.loaders.budget import PostgresBudget
from etl.loaders.database import Database
from etl.loaders.history import History, Watermark
from etl.loaders.leases import TAIL, Lease, Leases, Unit
from etl.loaders.loader import Closing, Commit, Loaded, Loader
from etl.runs.prefetch import prefetched
from etl.runs.report import (
    FAILED,
    Ending,
    Report,
    Tally,
    defect_ending,
    ending_of,
    honest_ending,
)

_log = structlog.get_logger(__name__)

_SUSPECTS_AT_ONCE = 1000
_REPORTED = (
    "records_read",
    "rows_inserted",
    "rows_updated",
    "rejected",
    "requests",
    "forecast_requests",
    "forecast_exact",
)


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a reading is: records and requests so far, counts.

    expected: how many records there are, where the server says so. low: the start down to which
    everything was read, where the list is ordered. share: of the whole, 0 to 1, None when unknown.
    """

    records: int
    requests: int
    expected: int | None = None
    low: datetime | None = None
    share: float | None = None


# Called after each batch.
Progress = Callable[[Reached], None]


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
    """How a stream is read: from where at first, how much again, in what portions.

    guard: how much may vanish at once. accept_deletions: streams that may vanish all the same.
    """

    start: datetime
    lookback: Lookback
    prefix: str
    page_size_records: int
    buffer_bytes: int
    guard: Guard
    accept_deletions: Collection[str] = ()


@dataclass(slots=True)
class Chain:
    """Neighbouring windows, read newest first under one cursor.

    reach: where the oldest of them begins. extractor: has read the one before, None at first.
    rows: how many known rows are in what was read so far; requests: how many that was to take.
    gone: how many records this backfill has marked deleted so far.
    """

    reach: datetime
    extractor: Extractor | None = None
    rows: int = 0
    requests: int = 0
    gone: int = 0

    @property
    def broken(self) -> bool:
        """Whether the last window that was begun was not read to its end."""
        if self.extractor is None:
            return False
        reading = self.extractor.reading
        return reading is None or not reading.ended

    @property
    def showed_everything(self) -> bool:
        """Whether the server does not filter, so that the last window held all there is."""
        reading = None if self.extractor is None else self.extractor.reading
        return reading is not None and reading.complete and not reading.filters


async def execute_unit(
    tools: Tools,
    plan: Plan,
    stream: Stream,
    unit: Unit,
    stop: asyncio.Event,
    progress: Progress,
    command: str = "sync",
    chain: Chain | None = None,
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
        work = _Work(tools, plan, stream, lease, stop, progress, chain)
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
            forecast_requests=report.forecast_requests,
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
            forecast=work.forecast,
        )
        for name in _REPORTED:
            setattr(report, name, row[name])
        report.bytes_read, report.paused_until = row["bytes_read"], row["paused_until"]
        await tools.leases.release(work.lease)
        report.complete_until = (await tools.history.watermark(unit)).complete.until
        if unit.window == TAIL:
            report.rows = await rows_now(tools, work.stream, unit.project_id)

    try:
        await (finish() if report.ending.status == FAILED else tools.database.repeat(finish))
    except EtlError as exc:
        if report.ending.exit_code == EXIT_SUCCEEDED:
            report.ending = ending_of(exc)


async def rows_now(tools: Tools, stream: Stream, project_id: int) -> Mapping[str, int]:
    """Return how many rows each of the stream's tables holds. Raises DestinationError."""
    names = [table.name for table in stream.tables]
    return await tools.history.row_counts(project_id, names)


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
        chain: Chain | None,
    ) -> None:
        self._tools = tools
        self._plan = plan
        self.stream = stream
        self.lease = lease
        self._stop = stop
        self._progress = progress
        self._chain = chain
        self._loader = tools.loader(stream)
        self._requests = tools.client.requests
        self._bytes_read = tools.client.bytes_read
        self._sent = tools.client.requests
        self._records = 0
        self._tally = Tally()
        self.forecast: Forecast | None = None

    async def run(self) -> Ending:
        """Read and load until the unit is up to date. Raises EtlError."""
        watermark = await self._watermark()
        extractor = self._extractor(watermark)
        left = extractor.resume(self.lease.position)
        if self.lease.unit.window != TAIL:
            await self._read(extractor, self._window(), watermark, left)
            return honest_ending(self._tally, self.stream.name)
        if left is not None:
            # What was read before the break may have changed since, so the new end follows.
            await self._read(extractor, left.window, watermark, left)
            watermark, self._tally = await self._watermark(), Tally(rejected=self._tally.rejected)
        age = self._plan.lookback.due(watermark.swept, self._tools.client.now)
        await self._read(extractor, self._moving(watermark, age), watermark, None)
        return honest_ending(self._tally, self.stream.name)

    def spent(self) -> tuple[int, int]:
        """Return requests and bytes since this was last asked."""
        client = self._tools.client
        spent = (client.requests - self._requests, client.bytes_read - self._bytes_read)
        self._requests, self._bytes_read = client.requests, client.bytes_read
        return spent

    def _extractor(self, watermark: Watermark) -> Extractor:
        if self._chain is not None and self._chain.extractor is not None:
            return self._chain.extractor
        extractor = Extractor(
            self._tools.client,
            self.stream,
            self.lease.unit.project_id,
            prefix=self._plan.prefix,
            page_size_records=self._plan.page_size_records,
            traits=watermark.traits,
        )
        if self._chain is not None:
            self._chain.extractor = extractor
        return extractor

    def _window(self) -> Window:
        span = Span.parse(self.lease.unit.window)
        return Window(*span, also_since=None if self._chain is None else self._chain.reach)

    def _moving(self, watermark: Watermark, age: timedelta) -> Window:
        return moving_window(watermark.tail_until, self._plan.start, watermark.complete, age)

    async def _watermark(self) -> Watermark:
        history = self._tools.history
        return await self._tools.database.repeat(lambda: history.watermark(self.lease.unit))

    async def _read(
        self, extractor: Extractor, window: Window, watermark: Watermark, left: Reading | None
    ) -> None:
        """Read the window, or what is left of it, to its end, load it, and close it."""
        opened_at = self._tools.client.now
        resumed = left or extractor.follow(window)
        await self._foresee(window, watermark, left, follows=resumed is not None)
        pages = extractor.pages(window, resumed)
        _log.info("window.opened", since=window.since.isoformat(), until=_text(window.until))
        ended = resumed is not None and resumed.ended
        async with prefetched(pages, self._plan.buffer_bytes, self._stop) as fetched:
            async for page in fetched:
                await self._load(page)
                ended = page.last
                if ended or self._stop.is_set():
                    break
        if not ended:
            raise _stopped()
        reading = extractor.reading
        assert reading is not None
        if reading.complete:
            await self._judge_absent(extractor, reading)
        await self._close(extractor, reading, watermark, opened_at)

    async def _foresee(
        self, window: Window, watermark: Watermark, left: Reading | None, *, follows: bool
    ) -> None:
        """Say beforehand how many requests it takes, from the rows that are known already.

        A server that does not read by cursor says itself how many rows there are, but for what is
        left of a reading.
        """
        if (watermark.traits or {}).get("envelope") == "count":
            if left is not None:
                self._add(Forecast(0 if left.ended else 1, exact=False))
            return
        chain = self._chain or Chain(window.since)
        if left is not None or not follows:
            chain.rows = chain.requests = 0
        if left is not None:
            until = left.low or window.since
        else:
            asked_until = window.asked(self._tools.client.now).until
            until = window.until if follows and window.until else asked_until
        span, below = Span(window.since, until), Span(chain.reach - MARGIN, window.since)
        complete, history, unit = watermark.complete, self._tools.history, self.lease.unit
        chain.rows += await history.count_started(unit, self.stream, complete.within(span))
        older = await history.count_started(unit, self.stream, complete.within(below))
        requests = by_cursor(chain.rows, older, self._plan.page_size_records)
        if left is not None and left.ended:
            requests = 0
        exact = left is None and complete.covers(span) and complete.covers(below)
        self._add(Forecast(requests - chain.requests, exact))
        chain.requests = requests

    def _add(self, forecast: Forecast) -> None:
        self.forecast = forecast if self.forecast is None else self.forecast + forecast

    async def _load(self, page: Page, gone: Sequence[str] = ()) -> None:
        batch = self.stream.transform(page)
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=page.observed_at,
            source_at=page.source_at,
            position=page.position,
            requests=requests,
            bytes_read=bytes_read,
            sighting=page.sighting,
            gone=gone,
        )
        loaded: Loaded = await self._loader.load(self.lease, batch, commit)
        if page.forecast_records is not None and self.forecast is None:
            requests = by_offset(page.forecast_records, self._plan.page_size_records)
            self.forecast = Forecast(requests, exact=True)
        self._records += len(page.records)
        self._tally.rejected += loaded.rejected
        self._progress(self._reached(page))
        _log.debug(
            "batch.loaded",
            records=len(page.records),
            inserted=loaded.inserted,
            updated=loaded.updated,
            rejected=loaded.rejected,
            deleted=len(gone),
        )

    def _reached(self, page: Page) -> Reached:
        span = None if page.sighting is None else page.sighting.span
        expected = page.forecast_records
        return Reached(
            self._records,
            self._tools.client.requests - self._sent,
            expected,
            low=None if span is None or page.sighting is None or page.sighting.begins else span[0],
            share=None if not expected else min(1.0, self._records / expected),
        )

    async def _judge_absent(self, extractor: Extractor, reading: Reading) -> None:
        """Ask for the stored records that the reading did not show, and mark those that are gone.

        Only after a complete reading, and each one by its own answer: a list that leaves something
        out proves nothing yet.
        """
        loader, name = self._loader, self.stream.name
        absence = await loader.expire(self.lease, self._tools.client.source_now)
        # Small windows are no way round the guard: what the ones before lost counts, too.
        before = 0 if self._chain is None else self._chain.gone
        trips = self._plan.guard.trips(absence.suspects + before, absence.alive + before)
        trips &= absence.suspects > 0
        if trips and name not in self._plan.accept_deletions:
            _log.warning("deletions.withheld", absent=absence.suspects, rows=absence.alive)
            await loader.withhold(self.lease)
            self._tally.withheld = absence
            return
        after = ""
        while keys := await loader.suspects(self.lease, after, _SUSPECTS_AT_ONCE):
            after = keys[-1]
            for ids in id_batches(keys):
                if self._stop.is_set():
                    raise _stopped()
                page, gone = await extractor.confirm(ids)
                await self._load(replace(page, position=reading.position()), gone)
                if self._chain is not None:
                    self._chain.gone += len(gone)

    async def _close(
        self, extractor: Extractor, reading: Reading, watermark: Watermark, opened_at: datetime
    ) -> None:
        """Say what is known complete now; the watermarks move here and nowhere else."""
        window, began_at = reading.window, reading.began_at
        moving = window.until is None
        self._tally.complete &= reading.complete
        # A server that does not filter has shown everything there is.
        since = window.since if reading.filters else min(window.reach, self._plan.start)
        until = began_at
        if window.until is not None and reading.filters:
            until = min(window.until, began_at)
        # So has one that began where the greatest age would: what is older is not ours to read.
        oldest = self._moving(watermark, self._plan.lookback.grades[-1].age).since
        everything = not reading.filters or window.since <= oldest
        age = timedelta.max if everything else (watermark.tail_until or began_at) - window.since
        swept = self._plan.lookback.sweep(watermark.swept, age, opened_at)
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=opened_at,
            position=None,
            requests=requests,
            bytes_read=bytes_read,
            closing=Closing(
                complete=[Span(since, until)] if reading.complete and since < until else [],
                tail_until=began_at if reading.complete and moving else None,
                swept=swept if reading.complete and moving else None,
                traits=extractor.traits,
            ),
        )
        await self._loader.load(self.lease, Batch([]), commit)
        _log.info(
            "window.closed",
            since=since.isoformat(),
            until=until.isoformat(),
            complete=reading.complete,
        )


def _stopped() -> Stopped:
    return Stopped(
        "Stopped before the end; what was read is committed", remedy="The next run goes on"
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
