"""Windows of time: an unfinished reading first, then what is new since, with its lookback."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from etl.core.clocks import TOLERANCE
from etl.core.coverage import Span
from etl.core.expected import Counted, accepted_of, lacking_after, lacking_of
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
from etl.core.page import Batch, Page, Sighting
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
from etl.loaders.loader import Closing, Commit, CutRecord, Outdated
from etl.runs.judging import Accepted, Judging
from etl.runs.prefetch import prefetched
from etl.runs.report import Ending, Tally, honest_ending
from etl.runs.work import Plan, Progress, Tools, stopped

_log = structlog.get_logger(__name__)

# The only list of the stream, as traits name it.
_LIST = ""
# So many records are taken from the database at once, to be asked for, a count.
_AT_ONCE = 1000
# So many records that are there show whether the server answers by key.
_WITNESSES = 3


@dataclass(slots=True)
class Chain:
    """Neighbouring windows, read newest first under one cursor.

    reach: where the oldest of them begins. extractor: has read the one before, None at first.
    rows: how many known rows are in what was read so far; requests: how many that was to take.
    """

    reach: datetime
    extractor: Extractor | None = None
    rows: int = 0
    requests: int = 0

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
        return reading is not None and reading.complete and reading.everything


class WindowsWork(Judging):
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
        # How many rows the server gives at most, where that is known to be less than a page.
        self._clamp: int | None = None
        # The cut records that could not be asked about in this run, and why.
        self._cut_left: dict[str, str] = {}

    async def run(self) -> Ending:
        """Read and load until the unit is up to date. Raises EtlError."""
        watermark = await self._watermark()
        self.accepted = Accepted.of(watermark.traits)
        self._clamp = (watermark.traits or {}).get("clamp")
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
        await self._read_moving_end(extractor, watermark)
        if not self._stop.is_set():
            await self._read_ahead(extractor, watermark)
        if not self._stop.is_set():
            await self._look_before(extractor)
        return honest_ending(self._tally, self.stream.name)

    async def _read_moving_end(self, extractor: Extractor, watermark: Watermark) -> None:
        """Read what is new, and once more everything when a server's count does not fit that."""
        client = self._tools.client
        age = self._plan.lookback.due(watermark.swept, client.source_now)
        window = self._moving(watermark, age)
        counted = Counted.of(extractor.traits)
        front = counted is not None and counted.front_will_do(client.source_now)
        await self._read(extractor, window, watermark, None, front=front)
        counted = Counted.of(extractor.traits)
        if counted is None or not counted.unaccounted or self._tally.withheld is not None:
            return
        if front and not counted.front_will_do(client.source_now):
            _log.info("list.miscounted", unaccounted=counted.unaccounted)
            await self._read(extractor, window, watermark, None)

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
            accepted=self._accept_count(watermark),
        )
        if self._chain is not None:
            self._chain.extractor = extractor
        return extractor

    def _accept_count(self, watermark: Watermark) -> int:
        """Return how many rows the server may count that it does not list."""
        if self.stream.name in self._plan.accept_counts:
            lacking = lacking_of(watermark.traits).get(_LIST)
            if lacking is not None:
                return accepted_of(watermark.traits).get(_LIST, 0) + lacking.rows
        return accepted_of(watermark.traits).get(_LIST, 0)

    def _window(self) -> Window:
        span = Span.parse(self.lease.unit.window)
        return Window(*span, also_since=None if self._chain is None else self._chain.reach)

    def _moving(self, watermark: Watermark, age: timedelta) -> Window:
        return moving_window(watermark.tail_until, self._plan.start, watermark.complete, age)

    async def _read(
        self,
        extractor: Extractor,
        window: Window,
        watermark: Watermark,
        left: Reading | None,
        *,
        front: bool = False,
    ) -> None:
        """Read the window, or what is left of it, to its end, load it, and close it.

        front: of a server that ignores dates, no more than that.
        """
        counted = Counted.of(extractor.traits)
        opened_at, requests = self._tools.client.now, self._tools.client.requests
        resumed = left or extractor.follow(window)
        await self._foresee(window, watermark, left, follows=resumed is not None, front=front)
        pages = extractor.pages(window, resumed, front=front)
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
        expired_until = _expired_until(watermark)
        if reading.complete:
            expired_until = await self._judge_absent(extractor, reading, watermark)
        if reading.window.is_ahead:
            took = self._tools.client.requests - requests
            extractor.traits.update(ahead_was_read(opened_at, took))
        await self._compare_count(extractor, reading, counted)
        await self._close(extractor, reading, watermark, opened_at, expired_until)

    async def _compare_count(
        self, extractor: Extractor, reading: Reading, before: Counted | None
    ) -> None:
        """Note what the server counts, and what of that was not met."""
        if reading.window.is_ahead or self.lease.unit.window != TAIL:
            return  # no count of everything is compared with these
        traits, client = extractor.traits, self._tools.client
        if not reading.leaves_early:
            lacking = lacking_after(lacking_of(traits), {_LIST: reading.unaccounted})
            traits["lacking"] = {name: each.as_json() for name, each in lacking.items()}
            traits["accepted_count"] = {_LIST: extractor.accepted}
            self._tally.lacking = list(lacking.values())
        tally = self._tally
        if reading.count is None or tally.withheld is not None or tally.unasked:
            # What is stored here and not there is not judged yet, so a count would prove nothing.
            traits["counted"] = None
        elif not reading.complete:
            if before is not None:
                traits["counted"] = replace(before, tried_at=client.source_now).as_json()
        elif not reading.leaves_early or before is None:
            # What a server counts that leaves out what is older is compared with nothing.
            if not reading.filters or reading.exhausted:
                now = client.source_now
                counted = Counted(reading.count, now, client.now, min(reading.began_at, now))
                traits["counted"] = counted.as_json()
        else:
            change = await self._tools.history.change_since(
                self.lease.unit, self._resource.tables[0], before, client.source_now
            )
            counted = before.after_front(reading.count, client.source_now, client.now, change)
            traits["counted"] = counted.as_json()
        found = Counted.of(traits)
        self._tally.miscounted = 0 if found is None or reading.filters else found.unaccounted

    def _traits(self, extractor: Extractor, expired_until: datetime | None) -> dict[str, Any]:
        """Return what is kept for the next run; what only a sync knows, only a sync keeps."""
        if self.lease.unit.window != TAIL:
            learnt = ("envelope", "date_filter", "clamp")
            return {name: extractor.traits[name] for name in learnt if name in extractor.traits}
        traits = {name: value for name, value in extractor.traits.items() if name != "accepted"}
        return {**traits, "expired_until": _text(expired_until), **self.accepted.traits()}

    async def _foresee(
        self,
        window: Window,
        watermark: Watermark,
        left: Reading | None,
        *,
        follows: bool,
        front: bool,
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
        if (watermark.traits or {}).get("envelope") == "count" and not front:
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
        exact = left is None and not front and complete.covers(span) and complete.covers(below)
        self._expect(Forecast(requests - chain.requests, exact))
        chain.requests = requests

    async def _load(
        self,
        page: Page,
        gone: Sequence[str] = (),
        checked: Sequence[str] = (),
        settled: Sequence[CutRecord] = (),
        tried: Sequence[str] = (),
    ) -> None:
        batch = self._resource.transform(page)
        await self._commit(
            self._loader, page, batch, gone=gone, checked=checked, settled=settled, tried=tried
        )
        if page.forecast_records is not None and self.forecast is None:
            requests = by_offset(page.forecast_records, self._plan.page_size_records, self._clamp)
            self.forecast = Forecast(requests, exact=True)

    async def _ask_for_cut(self, extractor: Extractor, reading: Reading) -> None:
        """Ask by key for the records that the dates of a request cut, and load them whole.

        A record that is gone stays as it is: what vanished is found elsewhere. One that could not
        be asked about is left to the next run, and so are all when nothing is answered.
        """
        left = self._cut_left
        while cut := await self._loader.cut(self.lease, _AT_ONCE, list(left)):
            seen = {each.key: each for each in cut}
            known = await self._loader.known(self.lease, _AT_ONCE)
            known = [key for key in known if key not in seen][:_WITNESSES]
            rest = set(seen)
            for keys in id_batches(seen):
                if self._stop.is_set():
                    raise stopped()
                try:
                    found = await extractor.confirm(keys, known)
                except (SourceUnavailable, RequestRefused) as exc:
                    left |= dict.fromkeys(rest, exc.message)
                    break
                rest -= set(keys)
                page, why = found.page, found.why_failed or "none is found by its key"
                _log.info("cuts.asked", records=len(keys), found=len(page.records))
                shown = page.sighting.keys if page.sighting else ()
                answered = {*shown, *found.gone, *found.there}
                left |= {key: why for key in keys if key not in answered}
                settled = [seen[key] for key in keys if key in answered]
                await self._load(replace(page, position=reading.position()), settled=settled)
        if left:
            self._pass_over(left, [*left.values()][-1])

    async def _judge_absent(
        self, extractor: Extractor, reading: Reading, watermark: Watermark
    ) -> datetime | None:
        """Mark what has expired, and which of the records that the reading did not show are gone.

        Only after a complete reading, and each one by its own answer: a list that leaves something
        out proves nothing yet. Returns up to when what has expired is marked.
        """
        loader = self._loader

        async def take(
            page: Page, gone: Sequence[str], there: Sequence[str], failed: Sequence[str]
        ) -> None:
            seen = [*(page.sighting.keys if page.sighting else ()), *there]
            page = replace(page, position=reading.position(), sighting=Sighting(seen))
            await self._load(page, gone, there, tried=failed)

        moving = self.lease.unit.window == TAIL
        elsewhere = moving and not (reading.everything or reading.window.is_ahead)
        now, noted = self._tools.client.source_now, (watermark.traits or {}).get("expired_until")
        outdated = Outdated(
            now,
            started_before=reading.window.reach if elsewhere else None,
            after=_expired_until(watermark),
            recalls=moving and (noted is None or datetime.fromisoformat(noted) > now + TOLERANCE),
        )
        expired = not self._clocks_disagree() and await self._expire(
            loader, outdated, extractor.confirm, take
        )
        if expired:
            table = self._resource.tables[0].name
            absence = await self._weigh(loader, table)
            if absence is not None and absence.suspects:
                await self._ask_for(loader, table, absence, _AT_ONCE, extractor.confirm, take)
            oldest = self._moving(watermark, self._plan.lookback.grades[-1].age).since
            if elsewhere and reading.window.since <= oldest:
                await self._expire_outlived(loader, outdated, extractor.confirm, take)
        if not moving:
            # The next sync goes on with what is left.
            await loader.withhold(self.lease)
        await self._note_accepted()
        return outdated.now if expired else _expired_until(watermark)

    async def _close(
        self,
        extractor: Extractor,
        reading: Reading,
        watermark: Watermark,
        opened_at: datetime,
        expired_until: datetime | None,
    ) -> None:
        """Say what is known complete now; the watermarks move here and nowhere else.

        Where no two clocks agree nobody knows as of when, and they stay where they are.
        """
        window = reading.window
        began_at = min(reading.began_at, self._tools.client.source_now)
        moving = window.until is None
        self._tally.complete &= reading.complete
        known = reading.complete and not self._clocks_disagree()
        # A server that does not filter has shown everything there is, unless it was left early.
        since = min(window.reach, self._plan.start) if reading.everything else window.since
        until = began_at
        if window.until is not None and reading.filters:
            until = min(window.until, began_at)
        # So has one that began where the greatest age would: what is older is not ours to read.
        oldest = self._moving(watermark, self._plan.lookback.grades[-1].age).since
        everything = reading.everything or window.since <= oldest
        age = timedelta.max if everything else (watermark.tail_until or began_at) - window.since
        swept = self._plan.lookback.sweep(watermark.swept, age, began_at)
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=opened_at,
            position=None,
            requests=requests,
            bytes_read=bytes_read,
            closing=Closing(
                complete=[Span(since, until)] if known and since < until else [],
                tail_until=began_at if known and moving else None,
                swept=swept if known and moving else None,
                traits=self._traits(extractor, expired_until),
            ),
        )
        await self._loader.load(self.lease, Batch([]), commit)
        _log.info(
            "window.closed",
            since=since.isoformat(),
            until=until.isoformat(),
            complete=reading.complete,
        )


def _expired_until(watermark: Watermark) -> datetime | None:
    """Return up to when what expired is marked; None: nothing was ever."""
    until = (watermark.traits or {}).get("expired_until")
    return watermark.tail_until if until is None else datetime.fromisoformat(until)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
