"""Windows of time: an unfinished reading first, then what is new since, with its lookback."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from msgspec import Struct

from etl.core.clocks import TOLERANCE
from etl.core.coverage import Span
from etl.core.expected import Counted, accepted_of, lacking_of
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
from etl.core.place import RecordingsPlace
from etl.core.stream import TAIL
from etl.core.window import AHEAD, Window, tail_window
from etl.errors import (
    BudgetSpent,
    DatesIgnored,
    ListingBroken,
    RequestRefused,
    SourceError,
    SourceUnavailable,
)
from etl.extractors.recordings import RecordingsReader
from etl.loaders.history import Watermark
from etl.loaders.leases import Lease
from etl.loaders.loader import Closing, ExpiryQuery
from etl.runs.asking import Asking
from etl.runs.counting import LIST, compare_count
from etl.runs.forecasts import forecast_ahead, front_will_do, known_rows
from etl.runs.judging import AT_ONCE, Accepted, Ask, Judging
from etl.runs.report import Ending, Tally, ending_of_tally
from etl.runs.work import Assignment, ReadingProgress, text_of
from etl.tasks import beside

_log = structlog.get_logger(__name__)


class Chain(Struct):
    """Neighbouring windows, read newest first under one cursor.

    reach: where the oldest of them begins, None if it is a single window.
    reader: has read the window before; place: how far. None at first.
    rows: how many known rows are in what was read so far; requests: how many that was to take.
    """

    reach: datetime | None = None
    reader: RecordingsReader | None = None
    place: RecordingsPlace | None = None
    rows: int = 0
    requests: int = 0

    @property
    def broken(self) -> bool:
        """Whether the last window that was begun was not read to its end."""
        return self.reader is not None and (self.place is None or not self.place.ended)

    @property
    def showed_everything(self) -> bool:
        """Whether the server does not filter, so that the last window held all there is."""
        return self.place is not None and self.place.complete and self.place.everything


class WindowsWork(Judging):
    """One execution of a unit: an unfinished reading first, then what is new since."""

    def __init__(self, given: Assignment, lease: Lease, chain: Chain | None = None) -> None:
        """Prepare the reading. chain: of a window that is read together with its neighbours."""
        super().__init__(given, lease)
        self._chain = chain or Chain()
        # What is known of the server, as the watermark keeps it.
        self._traits: dict[str, Any] = {}
        # How many records this run has read at the end of the window, if a query said how many it
        # has; whether a batch of a list that does not say it is loaded, and down to where.
        self._amount: int | None = None
        self._uncounted = asyncio.Event()
        self._low: datetime | None = None

    async def run(self) -> Ending:
        """Read and load until the unit is up to date. Raises EtlError."""
        watermark = await self._watermark()
        self.accepted = Accepted.of(watermark.traits)
        self._traits = dict(watermark.traits or {})
        reader = self._chain.reader = self._chain.reader or self._new_reader()
        left = reader.resume(self.lease.position)
        if left is not None and left.window.is_ahead:
            left = None  # reading ahead is still due; the tail is read first
        if self.lease.unit.name != TAIL:
            window = Window(*Span.parse(self.lease.unit.name), also_since=self._chain.reach)
            await self._read(reader, window, watermark, left)
            return ending_of_tally(self._tally, self.stream.name)
        if left is not None:
            # What was read before the break may have changed since, so the new end follows.
            await self._read(reader, left.window, watermark, left)
            watermark, self._tally = await self._watermark(), Tally(rejected=self._tally.rejected)
        place = await self._read_tail(reader, watermark)
        if not self._stop.is_set():
            await self._read_ahead(reader, place, watermark)
        if not self._stop.is_set():
            await self._look_before(reader)
        return ending_of_tally(self._tally, self.stream.name)

    def _new_reader(self) -> RecordingsReader:
        # How many rows the server may count that it does not list.
        accepted, lacking = accepted_of(self._traits).get(LIST, 0), lacking_of(self._traits)
        if self.stream.name in self._options.accept_counts and LIST in lacking:
            accepted += lacking[LIST].rows
        return RecordingsReader(
            self._tools.client,
            self.stream,
            self.lease.unit.project_id,
            prefix=self._options.prefix,
            page_size_records=self._options.page_size_records,
            traits=self._traits,
            accepted=accepted,
        )

    def _tail(self, watermark: Watermark, age: timedelta) -> Window:
        return tail_window(watermark.tail_until, self._options.start, watermark.complete, age)

    async def _read_tail(self, reader: RecordingsReader, watermark: Watermark) -> RecordingsPlace:
        """Read what is new. Read everything once more if the server's count does not fit."""
        now = self._tools.client.source_now
        window = self._tail(watermark, self._options.lookback.due(watermark.swept, now))
        front = front_will_do(self._tools, self._traits)
        place = await self._read(reader, window, watermark, None, front=front)
        counted = Counted.of(self._traits)
        if counted is None or not counted.unaccounted or self._tally.withheld is not None:
            return place
        if front and not front_will_do(self._tools, self._traits):
            _log.info("list.miscounted", unaccounted=counted.unaccounted)
            place = await self._read(reader, window, watermark, None)
        return place

    async def _read_ahead(
        self, reader: RecordingsReader, place: RecordingsPlace, watermark: Watermark
    ) -> None:
        """Read what lies ahead of the tail, if it is due."""
        if place.asked is None or not is_ahead_due(self._traits, self._tools.client.now):
            return
        try:
            await self._read(reader, window_ahead(place.began_at), watermark, None)
        except DatesIgnored:
            # So the tail has shown what lies ahead, too.
            await self._keep({"date_filter": "ignored"})
        except (RequestRefused, SourceUnavailable, ListingBroken) as exc:
            # The tail is read. A server that refuses such dates has none to show.
            _log.warning("ahead.failed", reason=exc.message)
            if not isinstance(exc, RequestRefused):
                self._tally.ahead = str(exc)
            await self._keep(ahead_was_read(self._tools.client.now, 1))

    async def _look_before(self, reader: RecordingsReader) -> None:
        """Look whether there are recordings before `start`, if it is due and nothing has to wait.

        It is no more than a hint, so whatever goes wrong is left to the next day.
        """
        client, classes = self._tools.client, self._resource.budget_classes
        if not is_look_before_due(self._traits, client.now):
            return
        dates = dates_before(self._options.start, (await self._watermark()).complete)
        if dates is None or not await self._tools.budget.has_room(classes):
            return
        self._expect(Forecast(1, exact=True))
        found, answered = None, False
        try:
            found, answered = await reader.newest_start(dates), True
        except (SourceError, BudgetSpent) as exc:
            _log.warning("probe.failed", reason=exc.message)
        if found is not None:
            hint = hint_before(self.stream.name, self._options.start)
            _log.warning("recordings.omitted", hint=hint, newest=found.isoformat())
        await self._keep(looked_before(self._traits, client.now, found, answered=answered))

    async def _keep(self, traits: Mapping[str, Any]) -> None:
        """Keep what was found out about the server."""
        self._traits |= traits
        # Only these: the others may be older than what was stored meanwhile.
        await self._close(Closing([], tail_until=None, swept=None, traits=traits))

    async def _read(
        self,
        reader: RecordingsReader,
        window: Window,
        watermark: Watermark,
        left: RecordingsPlace | None,
        *,
        front: bool = False,
    ) -> RecordingsPlace:
        """Read the window, or what is left of it, to its end, load it, and close it.

        front: if the server ignores dates, read only the front of its list.
        """
        client, counted = self._tools.client, Counted.of(self._traits)
        opened_at, requests = client.now, client.requests
        last = self._chain.place
        resumed = left or (None if last is None else last.followed_by(window))
        await self._make_forecast(window, watermark, left, follows=resumed is not None, front=front)
        _log.info("window.opened", since=window.since.isoformat(), until=text_of(window.until))
        self._chain.place = resumed
        self._amount = None
        self._uncounted.clear()
        pages = reader.pages(window, resumed, front=front)
        async with beside(self._ask_amount(window, watermark, left)):
            place: RecordingsPlace = await self._load_pages(pages, resumed)
        # Only now: the next window does not ask again for what this one showed.
        self._chain.place = place
        self._traits |= place.traits.known()
        ask = partial(reader.confirm, place)
        await self._ask_for_cut(ask, place)
        expired_until = _expired_until(watermark)
        if place.complete:
            expired_until = await self._judge_absent(ask, place, watermark)
        if place.window.is_ahead:
            self._traits |= ahead_was_read(opened_at, client.requests - requests)
        elif self.lease.unit.name == TAIL:  # no count of everything is compared with others
            await compare_count(
                self._tools, self.lease.unit, place, self._traits, self._tally, counted
            )
        await self._close_window(place, watermark, opened_at, expired_until)
        return place

    async def _ask_amount(
        self, window: Window, watermark: Watermark, left: RecordingsPlace | None
    ) -> None:
        """Ask by one query how much a first load reads, so that its share can be shown.

        Only where somebody watches, and after a page without a count. Without an answer no share
        is shown.
        """
        if not self._progress.shown or watermark.tail_until is not None or window.until is not None:
            return
        before = self._records
        await self._uncounted.wait()
        until = self._tools.client.source_now + AHEAD
        span = Span(window.since, until if left is None or left.low is None else left.low)
        asking = Asking(self._tools, self._options, 1)
        amount = await asking.by_query(self.stream, self.lease.unit.project_id, span)
        if amount is not None:
            self._amount = before + amount.rows
            self._progress.reached(self._progress_at(self._low, None))

    def _progress_at(self, low: datetime | None, expected: int | None) -> ReadingProgress:
        if expected is None:
            self._low = low
            self._uncounted.set()
            expected = self._amount
        return super()._progress_at(low, expected)

    def _note(self, page: Page, batch: Batch) -> Sequence[str]:
        if page.forecast_records is not None and self.forecast is None:
            # How many rows the server gives at most, if that is known to be less than a page.
            clamp = self._traits.get("clamp")
            requests = by_offset(page.forecast_records, self._options.page_size_records, clamp)
            self.forecast = Forecast(requests, exact=True)
        return super()._note(page, batch)

    async def _make_forecast(
        self,
        window: Window,
        watermark: Watermark,
        left: RecordingsPlace | None,
        *,
        follows: bool,
        front: bool,
    ) -> None:
        """Say beforehand how many requests it takes, from the rows that are known already.

        A server with offsets gives its own count, so nothing is forecast for it here, except for
        the rest of a reading.
        """
        tools, options, unit, chain = self._tools, self._options, self.lease.unit, self._chain
        if window.is_ahead:
            exact = left is None
            self._expect(
                await forecast_ahead(tools, options, self.stream, unit, window.since, exact=exact)
            )
            return
        if (watermark.traits or {}).get("envelope") == "count" and not front:
            if left is not None:
                self._expect(Forecast(0 if left.ended else 1, exact=False))
            return
        if left is not None or not follows:
            chain.rows = chain.requests = 0
        until = window.until if follows else None
        if left is not None:
            until = left.low or window.since
        rows, older, known = await known_rows(tools, self.stream, unit, window, watermark, until)
        chain.rows += rows
        requests = by_cursor(chain.rows, older, options.page_size_records)
        if left is not None and left.ended:
            requests = 0
        exact = left is None and not front and known
        self._expect(Forecast(requests - chain.requests, exact))
        chain.requests = requests

    async def _judge_absent(
        self, ask: Ask, place: RecordingsPlace, watermark: Watermark
    ) -> datetime | None:
        """Mark what has expired, and which of the records that the reading did not show are gone.

        Only after a complete reading, and each one by its own answer: a list that leaves something
        out proves nothing yet. Returns up to when what has expired is marked.
        """
        moving = self.lease.unit.name == TAIL
        elsewhere = moving and not (place.everything or place.window.is_ahead)
        now, noted = self._tools.client.source_now, (watermark.traits or {}).get("expired_until")
        outdated = ExpiryQuery(
            now,
            started_before=place.window.reach if elsewhere else None,
            after=_expired_until(watermark),
            recalls=moving and (noted is None or datetime.fromisoformat(noted) > now + TOLERANCE),
        )
        expired = not self._clocks_disagree() and await self._expire(outdated, ask, place)
        if expired:
            absence = await self._weigh()
            if absence is not None and absence.suspects:
                await self._ask_for(absence, AT_ONCE, ask, place)
            oldest = self._tail(watermark, self._options.lookback.grades[-1].age).since
            if elsewhere and place.window.since <= oldest:
                await self._expire_outlived(outdated, ask, place)
        if not moving:
            # The next sync goes on with what is left.
            await self._loader.withhold(self.lease)
        await self._note_accepted()
        return outdated.now if expired else _expired_until(watermark)

    async def _close_window(
        self,
        place: RecordingsPlace,
        watermark: Watermark,
        opened_at: datetime,
        expired_until: datetime | None,
    ) -> None:
        """Say what is known complete now.

        Where no two clocks agree nobody knows as of when, and the watermarks stay where they are.
        """
        window = place.window
        began_at = min(place.began_at, self._tools.client.source_now)
        moving = window.until is None
        self._tally.complete &= place.complete
        known = place.complete and not self._clocks_disagree()
        # A server that does not filter has shown everything there is, unless it was left early.
        since = min(window.reach, self._options.start) if place.everything else window.since
        until = began_at
        if window.until is not None and place.filters:
            until = min(window.until, began_at)
        # A window from the greatest age on counts as everything: a sync reads nothing older.
        oldest = self._tail(watermark, self._options.lookback.grades[-1].age).since
        everything = place.everything or window.since <= oldest
        age = timedelta.max if everything else (watermark.tail_until or began_at) - window.since
        swept = self._options.lookback.sweep(watermark.swept, age, began_at)
        closing = Closing(
            complete=[Span(since, until)] if known and since < until else [],
            tail_until=began_at if known and moving else None,
            swept=swept if known and moving else None,
            traits=self._kept_traits(place, expired_until),
        )
        await self._close(closing, opened_at=opened_at)
        _log.info(
            "window.closed",
            since=since.isoformat(),
            until=until.isoformat(),
            complete=place.complete,
        )

    def _kept_traits(
        self, place: RecordingsPlace, expired_until: datetime | None
    ) -> dict[str, Any]:
        """Return what is kept for the next run; what only a sync knows, only a sync keeps."""
        if self.lease.unit.name != TAIL:
            return place.traits.known()
        traits = {name: value for name, value in self._traits.items() if name != "accepted"}
        return {**traits, "expired_until": text_of(expired_until), **self.accepted.traits()}


def _expired_until(watermark: Watermark) -> datetime | None:
    """Return up to when what expired is marked; None: nothing was ever."""
    until = (watermark.traits or {}).get("expired_until")
    return watermark.tail_until if until is None else datetime.fromisoformat(until)
