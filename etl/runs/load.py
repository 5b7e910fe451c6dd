"""The loop of every way of reading: pages become rows, and rows commit with the pages' place."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from math import ceil
from typing import Any

import structlog
from msgspec import Struct, structs

from etl.core.forecast import Forecast
from etl.core.hashes import NONE_UNCHANGED, Rows, rows_of, without_unchanged
from etl.core.page import Batch, Page
from etl.core.place import Place
from etl.core.stream import Resource
from etl.loaders.history import Watermark
from etl.loaders.leases import Lease
from etl.loaders.loader import Closing, Commit, CutRecord, Stored
from etl.runs.prefetch import prefetched
from etl.runs.report import Ending, Tally
from etl.runs.work import Assignment, ReadingProgress, stopped, trusted_watermark
from etl.tasks import Overlapping
from etl.transformers.transformer import joined

_log = structlog.get_logger(__name__)


class Answers(Struct, frozen=True):
    """What was found out about records that were asked for by their keys.

    gone, existing, failed: keys; see `Confirmation`. settled: the cut records among them.
    """

    gone: Sequence[str] = ()
    existing: Sequence[str] = ()
    failed: Sequence[str] = ()
    settled: Sequence[CutRecord] = ()


_NO_ANSWERS = Answers()

# A reading that goes on has something left, though as much was read as was forecast.
_NEARLY = 0.99


class Work(ABC):
    """One execution of a unit, under its lease; the ways of reading differ in `run`."""

    def __init__(self, given: Assignment, lease: Lease) -> None:
        self._tools = given.tools
        self._options = given.options
        self.stream = given.stream
        self.lease = lease
        self._stop = given.stop
        self._progress = given.progress
        self._requests = self._sent = given.tools.client.requests
        self._bytes_read = given.tools.client.bytes_read
        self._records = self._pages = 0
        self._tally = Tally()
        self._unanswered = set[str]()
        # Whether the records of the next batch are compared with what is stored.
        self._compares = given.options.believes_hashes
        self.forecast: Forecast | None = None
        self._turn_to(given.stream.resources[0])

    def _turn_to(self, resource: Resource) -> None:
        """Go on with another resource of the stream."""
        self._resource = resource
        self._loader = self._tools.loader(self.stream.name, resource)

    @property
    def query_bytes(self) -> tuple[int, int | None] | None:
        """See `RunEnd`."""
        return None

    @abstractmethod
    async def run(self) -> Ending:
        """Read and load until the unit is up to date. Raises EtlError."""

    def spent(self) -> tuple[int, int]:
        """Return requests and bytes since this was last asked."""
        client = self._tools.client
        spent = (client.requests - self._requests, client.bytes_read - self._bytes_read)
        self._requests, self._bytes_read = client.requests, client.bytes_read
        return spent

    async def _load_pages(
        self, pages: AsyncIterator[Page], place: Place | None = None, *, kept: Place | None = None
    ) -> Any:
        """Load pages as they come; return the place of the last one, or `place` if none comes.

        Pages that wait together are loaded together, so that a fast source takes few transactions,
        and a slow one commits each page.

        kept: is committed instead of the pages' own place.
        Raises Stopped when it is asked to stop before the end; what was loaded is committed.
        """
        loads = Overlapping[bool]()
        async with (
            prefetched(pages, self._options.room, self._stop, loads.failed) as fetched,
            loads,
        ):
            async for waiting in fetched:
                place = waiting[-1].place
                # Its rows are staged while the batch before is written.
                await loads.begin(partial(self._load, waiting, kept or place))
                if self._stop.is_set():
                    break
        if self._stop.is_set() and (place is None or not place.ended):
            raise stopped()
        return place

    async def _load(
        self,
        pages: Sequence[Page],
        place: Place | None,
        after: asyncio.Task[bool] | None = None,
        answers: Answers = _NO_ANSWERS,
    ) -> bool:
        """Load what becomes of pages in one transaction, together with `place`.

        after: the load of the batch before; see `Commit`. Returns whether any row changed.
        """
        table = self._resource.tables[0]
        # Where most of the batch before was new, most of this one probably is, too.
        rows = rows_of(pages, table.name) if table.hashed and self._compares else {}
        commit = self._commit(pages[-1], place, answers, after)
        batch_of = partial(self._batch, pages, rows, commit, answers.existing)
        loaded = await self._loader.load_changed(self.lease, rows, batch_of)
        mostly_new = 2 * loaded.inserted >= loaded.records
        self._compares = self._options.believes_hashes and not mostly_new
        self._records += loaded.records
        self._pages += len(pages)
        self._tally.rejected += loaded.rejected
        self._progress.reached(self._reached(pages[-1]))
        _log.debug(
            "batch.loaded",
            pages=len(pages),
            records=loaded.records,
            unchanged=loaded.unchanged,
            inserted=loaded.inserted,
            updated=loaded.updated,
            rejected=loaded.rejected,
            deleted=len(answers.gone),
        )
        return bool(loaded.inserted or loaded.updated)

    def _commit(
        self, last: Page, place: Place | None, answers: Answers, after: asyncio.Task[bool] | None
    ) -> Commit:
        """Return what is committed with the pages up to the last, before their records are read."""
        requests, bytes_read = self.spent()
        return Commit(
            observed_at=last.observed_at,
            source_at=last.source_at,
            position=self._position(place),
            requests=requests,
            bytes_read=bytes_read,
            gone=answers.gone,
            checked=[*last.checked, *answers.existing],
            tried=[*last.tried, *answers.failed],
            asked=last.asked,
            settled=answers.settled,
            after=after,
        )

    def _batch(
        self,
        pages: Sequence[Page],
        rows: Rows,
        commit: Commit,
        existing: Sequence[str],
        stored: Stored,
    ) -> tuple[Batch, Commit]:
        """Return the batch of what is not stored yet, and its commit; see `BatchOf`."""
        tables, unchanged = self._resource.tables, NONE_UNCHANGED
        if stored:
            pages, unchanged = without_unchanged(pages, tables[0].name, rows, stored)
        batches = [self._resource.transform(page) for page in pages]
        seen = [self._note(page, batch) for page, batch in zip(pages, batches, strict=True)]
        evidence = [
            structs.replace(page.evidence, keys=[*keys, *existing])
            for page, keys in zip(pages, seen, strict=True)
            if page.evidence is not None
        ]
        read = [page.read for page in pages if page.read is not None]
        whole = [page.whole for page in pages if page.whole is not None]
        commit = structs.replace(
            commit, evidence=evidence, unchanged=unchanged, read=read, whole=whole
        )
        return joined(pages, batches, tables), commit

    async def _close(
        self,
        closing: Closing,
        *,
        opened_at: datetime | None = None,
        follow_parents: bool = False,
    ) -> None:
        """Say what is known now; the watermarks move here and nowhere else."""
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=opened_at or self._tools.client.now,
            position=None,
            requests=requests,
            bytes_read=bytes_read,
            closing=closing,
            follow_parents=follow_parents,
        )
        await self._loader.load(self.lease, Batch([]), commit)

    async def _leave(self) -> None:
        """End the reading without saying that anything is known; the next one begins anew."""
        requests, bytes_read = self.spent()
        at = self._tools.client.now
        commit = Commit(observed_at=at, position=None, requests=requests, bytes_read=bytes_read)
        await self._loader.load(self.lease, Batch([]), commit)

    def _note(self, page: Page, batch: Batch) -> Sequence[str]:
        """Return the keys of the stored records that a page shows."""
        return () if page.evidence is None else page.evidence.keys

    def _position(self, place: Place | None) -> Mapping[str, Any]:
        """Return what the checkpoint keeps."""
        return {} if place is None else place.position()

    def _skip(self, keys: Iterable[str], why: str) -> None:
        """Note records that could not be asked about. A record counts once."""
        self._unanswered.update(keys)
        if self._unanswered:
            self._tally.skipped = (len(self._unanswered), why)

    def _expect(self, forecast: Forecast) -> None:
        self.forecast = forecast if self.forecast is None else self.forecast + forecast

    async def _watermark(self) -> Watermark:
        return await trusted_watermark(self._tools, self._options, self.stream, self.lease.unit)

    def _reached(self, page: Page) -> ReadingProgress:
        seen = page.evidence
        low = None if seen is None or seen.span is None or seen.begins else seen.span[0]
        return self._progress_at(low, page.forecast_records)

    def _progress_at(self, low: datetime | None, expected: int | None) -> ReadingProgress:
        """Return how far it is. low: see there; expected: how many records the list has."""
        sent = self._tools.client.requests - self._sent
        share = self._share(expected, sent)
        return ReadingProgress(
            self._records,
            sent,
            low=low,
            share=share,
            least_s=self._tools.budget.least_s(
                self._requests_left(share, sent), self._resource.budget_classes
            ),
        )

    def _requests_left(self, share: float | None, sent: int) -> int:
        """Return how many requests the rest takes, by what was read so far; 0 if nobody knows."""
        if self.forecast is not None and self.forecast.exact:
            return max(0, self.forecast.requests - sent)
        # Of the requests that were sent, some are for pages that are not loaded yet.
        return 0 if not share else max(0, ceil(self._pages / share) - sent)

    def _share(self, expected: int | None, sent: int) -> float | None:
        """Return which part of the reading is done, by what was forecast; None if nothing was."""
        forecast = self.forecast
        if forecast is not None and forecast.exact and forecast.requests:
            return min(_NEARLY, sent / forecast.requests)
        # The count is that of one list.
        if expected and len(self.stream.resources) == 1:
            return min(_NEARLY, self._records / expected)
        return None

    def _clocks_disagree(self) -> bool:
        """Tell whether no two clocks agree; the run is then partial."""
        clocks = self._tools.client.clocks
        if clocks.agreed is not None:
            return False
        _log.warning("clocks.disagree", clocks=str(clocks))
        self._tally.clocks = str(clocks)
        return True
