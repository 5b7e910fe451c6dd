"""What every way of keeping a stream current shares: its tools, and how a page is loaded."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from etl.core.clocks import TOLERANCE, written_since
from etl.core.forecast import Forecast
from etl.core.guard import Guard
from etl.core.lookback import Lookback
from etl.core.page import Batch, Page
from etl.core.stream import Resource, Stream
from etl.errors import Stopped
from etl.extractors.client import Client
from etl.extractors.protocol import id_batches
from etl.loaders.budget import PostgresBudget
from etl.loaders.database import Database
from etl.loaders.history import History, Watermark
from etl.loaders.leases import Lease, Leases, Unit
from etl.loaders.loader import Commit, CutRecord, Loaded, Loader
from etl.loaders.parents import ParentRows
from etl.runs.report import Ending, Tally

_log = structlog.get_logger(__name__)

_SUSPECTS_AT_ONCE = 1000


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
    parents: ParentRows
    loader: Callable[[str, Resource], Loader]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stream is read: from where at first, how much again, in what portions.

    guard: how much may vanish at once. accept_deletions: streams that may vanish all the same.
    accept_counts: streams whose server may count as many rows too many as in the last run.
    confirm_requests: how many requests a run may send for single records that its reading did not
    show, a count. rotation_requests: how many resources get their turn at once, a count;
    recheck_after: when one is due again. keep_fields: see `SnapshotExtractor`.
    """

    start: datetime
    lookback: Lookback
    prefix: str
    page_size_records: int
    buffer_bytes: int
    guard: Guard
    accept_deletions: Collection[str] = ()
    accept_counts: Collection[str] = ()
    confirm_requests: int = 500
    rotation_requests: int = 200
    recheck_after: timedelta = timedelta(hours=6)
    keep_fields: Collection[str] = ()


class Work(ABC):
    """One execution of a unit, under its lease; the ways of reading differ in `run`."""

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
        self._requests = tools.client.requests
        self._bytes_read = tools.client.bytes_read
        self._sent = tools.client.requests
        self._records = 0
        self._tally = Tally()
        self._unanswered = set[str]()
        self.forecast: Forecast | None = None

    @abstractmethod
    async def run(self) -> Ending:
        """Read and load until the unit is up to date. Raises EtlError."""

    def spent(self) -> tuple[int, int]:
        """Return requests and bytes since this was last asked."""
        client = self._tools.client
        spent = (client.requests - self._requests, client.bytes_read - self._bytes_read)
        self._requests, self._bytes_read = client.requests, client.bytes_read
        return spent

    def _pass_over(self, keys: Iterable[str], why: str) -> None:
        """Note records that could not be asked about; each counts once, however often it is."""
        self._unanswered.update(keys)
        if self._unanswered:
            self._tally.passed_over = (len(self._unanswered), why)

    def _expect(self, forecast: Forecast) -> None:
        self.forecast = forecast if self.forecast is None else self.forecast + forecast

    async def _watermark(self) -> Watermark:
        return await sound_watermark(self._tools, self._plan, self.stream, self.lease.unit)

    async def _commit(
        self,
        loader: Loader,
        page: Page,
        batch: Batch,
        *,
        gone: Sequence[str] = (),
        checked: Sequence[str] = (),
        settled: Sequence[CutRecord] = (),
        tried: Sequence[str] = (),
    ) -> None:
        """Load what became of a page, with its position."""
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=page.observed_at,
            source_at=page.source_at,
            position=page.position,
            requests=requests,
            bytes_read=bytes_read,
            sighting=page.sighting,
            gone=gone,
            checked=checked,
            asked=page.asked,
            settled=settled,
            tried=tried,
        )
        loaded: Loaded = await loader.load(self.lease, batch, commit)
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

    def _clocks_disagree(self) -> bool:
        """Tell whether no two clocks agree; the run is then partial."""
        clocks = self._tools.client.clocks
        if clocks.agreed is not None:
            return False
        _log.warning("clocks.disagree", clocks=str(clocks))
        self._tally.clocks = str(clocks)
        return True

    async def _suspects(self, loader: Loader) -> AsyncIterator[list[str]]:
        """Yield the keys of what was not seen, as many as fit into a request."""
        after = ""
        while keys := await loader.suspects(self.lease, after, _SUSPECTS_AT_ONCE):
            after = keys[-1]
            for batch in id_batches(keys):
                if self._stop.is_set():
                    raise stopped()
                yield batch


async def sound_watermark(tools: Tools, plan: Plan, stream: Stream, unit: Unit) -> Watermark:
    """Return the stream's watermarks, cut back where a wrong clock wrote them into the future.

    A stretch that ends there is cut back to the start of the run that wrote it, so that what was
    not read since is read, or shows as a hole. Safe to repeat. Raises DestinationError.
    """
    history = tools.history
    watermark = await tools.database.repeat(lambda: history.watermark(unit))
    latest = tools.client.clocks.latest + TOLERANCE
    end, tail = watermark.complete.until, watermark.tail_until
    if not any(at is not None and at > latest for at in (end, tail)):
        return watermark
    until = tail
    if tail is not None and tail > latest:
        runs = await tools.database.repeat(
            lambda: history.past_runs(Unit(unit.project_id, stream.name, stream.unit))
        )
        until = written_since(tail, plan.lookback.grades[-1].age, runs)
    _log.warning("watermark.cut_back", was=_text(tail or end), until=_text(until))
    await tools.database.repeat(lambda: history.cut_back(unit, until))
    return await tools.database.repeat(lambda: history.watermark(unit))


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


async def rows_now(tools: Tools, stream: Stream, project_id: int) -> Mapping[str, int]:
    """Return how many rows each of the stream's tables holds. Raises DestinationError."""
    names = [table.name for table in stream.tables]
    return await tools.history.row_counts(project_id, names)


def stopped() -> Stopped:
    """Return the error of a run that was asked to stop."""
    return Stopped(
        "Stopped before the end; what was read is committed", remedy="The next run goes on"
    )
