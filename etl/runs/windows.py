"""Windows of time: an unfinished reading first, then what is new since, with its lookback."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from etl.core.coverage import Span
from etl.core.forecast import Forecast, by_cursor, by_offset
from etl.core.outliers import (
    ahead_was_read,
    dates_before,
    hint_before,
    is_ahead_due,
    is_look_before_due,
    looked_before,
    window_ahead,
)
from etl.core.page import Batch, Page
from etl.core.stream import TAIL, Stream
from etl.core.window import FAR_AHEAD, MARGIN, Window, moving_window
from etl.errors import (
    BudgetSpent,
    DatesIgnored,
    ListingBroken,
    RequestRefused,
    SourceError,
    SourceUnavailable,
)
from etl.extractors.extractor import Extractor
from etl.extractors.protocol import id_batches
from etl.extractors.reading import Reading
from etl.loaders.history import Watermark
from etl.loaders.leases import Lease
from etl.loaders.loader import Closing, Commit, CutRecord
from etl.runs.prefetch import prefetched
from etl.runs.report import Ending, Tally, honest_ending
from etl.runs.work import Plan, Progress, Tools, Work, stopped

_log = structlog.get_logger(__name__)

_CUT_AT_ONCE = 1000


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


class WindowsWork(Work):
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
        super().__init__(tools, plan, stream, lease, stop, progress)
        self._chain = chain
        self._resource = stream.resources[0]
        self._loader = tools.loader(stream.name, self._resource)

    async def run(self) -> Ending:
        """Read and load until the unit is up to date. Raises EtlError."""
        watermark = await self._watermark()
        extractor = self._extractor(watermark)
        left = extractor.resume(self.lease.position)
        if left is not None and left.window.is_ahead:
            left = None  # it is still due, and the moving end comes before it
        if self.lease.unit.window != TAIL:
            await self._read(extractor, self._window(), watermark, left)
            return honest_ending(self._tally, self.stream.name)
        if left is not None:
            # What was read before the break may have changed since, so the new end follows.
            await self._read(extractor, left.window, watermark, left)
            watermark, self._tally = await self._watermark(), Tally(rejected=self._tally.rejected)
        age = self._plan.lookback.due(watermark.swept, self._tools.client.now)
        await self._read(extractor, self._moving(watermark, age), watermark, None)
        if not self._stop.is_set():
            await self._read_ahead(extractor, watermark)
        if not self._stop.is_set():
            await self._look_before(extractor)
        return honest_ending(self._tally, self.stream.name)

    async def _read_ahead(self, extractor: Extractor, watermark: Watermark) -> None:
        """Read what lies ahead of the moving end, if it is due."""
        reading = extractor.reading
        assert reading is not None
        if reading.asked is None or not is_ahead_due(extractor.traits, self._tools.client.now):
            return
        try:
            window = window_ahead(reading.began_at)
            await self._read(extractor, window, watermark, None)
        except DatesIgnored:
            # So the moving end has shown what lies ahead, too.
            await self._keep(extractor, {})
        except (RequestRefused, SourceUnavailable, ListingBroken) as exc:
            # The moving end is read. A server that refuses such dates has none to show.
            _log.warning("ahead.failed", reason=exc.message)
            if not isinstance(exc, RequestRefused):
                self._tally.ahead = str(exc)
            await self._keep(extractor, ahead_was_read(self._tools.client.now, 1))

    async def _look_before(self, extractor: Extractor) -> None:
        """Look whether there are recordings before `start`, if it is due and nothing has to wait.

        It is no more than a hint, so whatever goes wrong is left to the next day.
        """
        client, classes = self._tools.client, self._resource.budget_classes
        if not is_look_before_due(extractor.traits, client.now):
            return
        watermark = await self._watermark()
        dates = dates_before(self._plan.start, watermark.complete)
        if dates is None or not await self._tools.budget.has_room(classes):
            return
        self._expect(Forecast(1, exact=True))
        found, answered = None, False
        try:
            found, answered = await extractor.newest_start(dates), True
        except (SourceError, BudgetSpent) as exc:
            _log.warning("probe.failed", reason=exc.message)
        if found is not None:
            _log.warning(
                "recordings.omitted",
                hint=hint_before(self.stream.name, self._plan.start),
                newest=found.isoformat(),
            )
        await self._keep(
            extractor, looked_before(extractor.traits, client.now, found, answered=answered)
        )

    async def _keep(self, extractor: Extractor, traits: Mapping[str, Any]) -> None:
        """Keep what was found out about the server."""
        extractor.traits.update(traits)
        requests, bytes_read = self.spent()
        closing = Closing(complete=[], tail_until=None, swept=None, traits=extractor.traits)
        now = self._tools.client.now
        commit = Commit(now, None, requests, bytes_read, closing=closing)
        await self._loader.load(self.lease, Batch([]), commit)

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

    async def _read(
        self, extractor: Extractor, window: Window, watermark: Watermark, left: Reading | None
    ) -> None:
        """Read the window, or what is left of it, to its end, load it, and close it."""
        opened_at, requests = self._tools.client.now, self._tools.client.requests
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
            raise stopped()
        reading = extractor.reading
        assert reading is not None
        await self._ask_for_cut(extractor, reading)
        if reading.complete:
            await self._judge_absent(extractor, reading)
        if reading.window.is_ahead:
            took = self._tools.client.requests - requests
            extractor.traits.update(ahead_was_read(opened_at, took))
        await self._close(extractor, reading, watermark, opened_at)

    async def _foresee(
        self, window: Window, watermark: Watermark, left: Reading | None, *, follows: bool
    ) -> None:
        """Say beforehand how many requests it takes, from the rows that are known already.

        A server that does not read by cursor says itself how many rows there are, but for what is
        left of a reading.
        """
        if window.is_ahead:
            ahead = await self._tools.history.count_started(
                self.lease.unit, self.stream, [Span(window.since, FAR_AHEAD)]
            )
            requests = by_cursor(ahead, 0, self._plan.page_size_records)
            self._expect(Forecast(requests, exact=left is None))
            return
        if (watermark.traits or {}).get("envelope") == "count":
            if left is not None:
                self._expect(Forecast(0 if left.ended else 1, exact=False))
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
        self._expect(Forecast(requests - chain.requests, exact))
        chain.requests = requests

    async def _load(
        self, page: Page, gone: Sequence[str] = (), settled: Sequence[CutRecord] = ()
    ) -> None:
        batch = self._resource.transform(page)
        await self._commit(self._loader, page, batch, gone=gone, settled=settled)
        if page.forecast_records is not None and self.forecast is None:
            requests = by_offset(page.forecast_records, self._plan.page_size_records)
            self.forecast = Forecast(requests, exact=True)

    async def _ask_for_cut(self, extractor: Extractor, reading: Reading) -> None:
        """Ask by key for the records that the dates of a request cut, and load them whole.

        A record that the answer does not show stays as it is: what vanished is found elsewhere.
        """
        while cut := await self._loader.cut(self.lease, _CUT_AT_ONCE):
            seen = {each.key: each for each in cut}
            for keys in id_batches(seen):
                if self._stop.is_set():
                    raise stopped()
                page, _ = await extractor.confirm(keys)
                _log.info("cuts.asked", records=len(keys), found=len(page.records))
                settled = [seen[key] for key in keys]
                await self._load(replace(page, position=reading.position()), settled=settled)

    async def _judge_absent(self, extractor: Extractor, reading: Reading) -> None:
        """Ask for the stored records that the reading did not show, and mark those that are gone.

        Only after a complete reading, and each one by its own answer: a list that leaves something
        out proves nothing yet.
        """
        # Small windows are no way round the guard: what the ones before lost counts, too.
        before = 0 if self._chain is None else self._chain.gone
        await self._withheld(self._loader, before=before)
        if self._tally.withheld is not None:
            await self._loader.withhold(self.lease)
            return
        async for ids in self._suspects(self._loader):
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


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
