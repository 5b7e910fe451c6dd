"""Walks one window of a stream and yields its pages, in either server flavour."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import structlog
from msgspec import Raw

from etl.core.clocks import TOLERANCE
from etl.core.coverage import Span
from etl.core.document import decode_record
from etl.core.page import Confirmed, Page, Record, Sighting, TypedRecord
from etl.core.stream import Stream
from etl.core.stretch import first_stretch, shorter
from etl.core.walk import Ask, CursorWalk, Listing, OffsetWalk
from etl.core.window import FAR_AHEAD, LONG_AGO, Window
from etl.errors import (
    DatesIgnored,
    ListingBroken,
    RequestRefused,
    SourceOverloaded,
    SourceUnavailable,
)
from etl.extractors.client import Client
from etl.extractors.protocol import (
    Answer,
    RecordList,
    Request,
    ids_request,
    list_request,
    parse_list,
    parse_record,
    retrieve_request,
)
from etl.extractors.reading import Reading
from etl.extractors.single import ask_singly, finds_one

_log = structlog.get_logger(__name__)

SMALLEST_PAGE_RECORDS = 50
UNREADABLE_ATTEMPTS = 4


class Extractor:
    """Reads one stream of one project.

    traits: what the server was found to do; hand them to the next run's extractor, so that it
    does not have to find out again. accepted: how many rows a server may count that it does not
    list.
    """

    def __init__(
        self,
        client: Client,
        stream: Stream,
        project_id: int,
        *,
        prefix: str,
        page_size_records: int,
        traits: Mapping[str, Any] | None = None,
        accepted: int = 0,
    ) -> None:
        self._client = client
        self._stream = stream
        self.accepted = accepted
        self._front = False
        self._resource = stream.resources[0]
        self._path = f"/api/{prefix}/{project_id}/{self._resource.lists[0].path}"
        self._page_size_records = page_size_records
        self._limit = self._most = page_size_records
        self._longest: timedelta | None = None
        self.traits: dict[str, Any] = dict(traits or {})
        self.reading: Reading | None = None

    @property
    def fingerprint(self) -> str:
        """What a resume position is good for: this list, filter, order and page size."""
        about = [self._path, "dates", "default order", self._page_size_records]
        return blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()

    def resume(self, position: Mapping[str, Any] | None) -> Reading | None:
        """Return the reading that `position` stands in; None when it is no good here."""
        reading = None if position is None else Reading.resume(position, self.fingerprint)
        if reading is not None and not self._client.requests:
            # What is left may need no request, and yet the server's clock to vote.
            self._client.source_ahead_s = reading.source_ahead_s
        if reading is not None:
            self._longest = reading.longest
        return reading

    def follow(self, window: Window) -> Reading | None:
        """Return the reading of `window` under the cursor of the younger window read before."""
        return None if self.reading is None else self.reading.followed_by(window)

    async def pages(
        self, window: Window, resumed: Reading | None = None, *, front: bool = False
    ) -> AsyncIterator[Page]:
        """Yield the pages of `window`, or what is left of the reading `resumed`.

        front: a server that ignores dates is left below the window, too, where its list comes
        newest first; else all that it shows is read.

        The position of a page stands for everything up to and with it, so it may be committed with
        its rows and given to `resume` in another process. A reading that is at its end has no
        pages. `reading` tells how it ended. Safe to repeat from any position: rows may come twice,
        none is left out. Raises SourceError and BudgetSpent.
        """
        self.reading, self._front = resumed, front
        if resumed is not None and resumed.ended:
            return
        page = await self._begin(window, resumed)
        while True:
            yield page
            if page.last:
                return
            assert self.reading is not None
            page = self._take(self.reading, *await self._ask(self.reading))

    async def _begin(self, window: Window, resumed: Reading | None) -> Page:
        """Return the first page from here on; `reading` is then set."""
        if resumed is not None:
            try:
                return self._take(resumed, *await self._ask(resumed, attempts=2))
            except (RequestRefused, SourceUnavailable, ListingBroken) as exc:
                if isinstance(exc, SourceOverloaded) and resumed.shortens:
                    raise  # less cannot be asked for
                # A cursor from before a deploy is an error of the server's, or leads to page one
                # without a word: the same window is read anew.
                _log.warning("reading.restarted", reason=exc.message)
                window = resumed.window
        self.reading, answer = await self._begin_anew(window)
        return self._take(self.reading, *answer)

    async def confirm(self, keys: Sequence[str], known: Sequence[str] | None = ()) -> Confirmed:
        """Ask for records by their keys.

        An answer counts only if it shows a record that is known to be there, too, is at its end
        and answers this question and no other; else each one is asked for by itself. known: keys of
        records that are likely to be there, for where the reading has shown none; None: the answers
        are believed without any.
        Safe to repeat. Raises SourceError and BudgetSpent.
        """
        reading = self.reading
        assert reading is not None
        just_shown = [] if reading.witness is None else [reading.witness]
        witnesses = [*dict.fromkeys([*just_shown, *(known or ())])]
        if self.traits.get("envelope") == "cursor" and witnesses:
            witness = witnesses[0]
            asked = [*dict.fromkeys([*keys, witness])]
            request = ids_request(self._path, asked, self._resource.budget_classes)
            try:
                answer = await self._client.fetch(request, shrinkable=len(keys) > 1)
            except (SourceUnavailable, RequestRefused) as exc:
                if len(keys) == 1 or not isinstance(exc, SourceOverloaded):
                    # One of them may be what it cannot answer for.
                    _log.warning("confirmation.failed", keys=len(keys), reason=exc.message)
                    return await self._retrieve(keys, witnesses, believed=known is None)
                _log.warning("confirmation.halved", keys=len(keys), reason=exc.message)
                half = len(keys) // 2
                first = await self.confirm(keys[:half], known)
                return first.joined(await self.confirm(keys[half:], known))
            listed = parse_list(answer.body)
            shown = {_key(record, self._resource.key[0]) for record in listed.records}
            if witness in shown and shown <= set(asked) and not listed.more:
                records = [r for r in listed.records if _key(r, self._resource.key[0]) in set(keys)]
                page = self._confirmed(
                    records, answer.requested_at, answer.source_at, dirty=listed.dirty
                )
                gone = [key for key in keys if key not in shown]
                return Confirmed(page, gone, there=[], failed=[])
            _log.warning("confirmation.distrusted", keys=len(keys))
        by_cursor = self.traits.get("envelope") == "cursor"
        believed = known is None or (by_cursor and reading.witness is None)
        return await self._retrieve(keys, witnesses, believed=believed)

    async def newest_start(self, dates: Span) -> datetime | None:
        """Return the latest start that the first row of these dates has; None: there is no row.

        One request, not repeated. Raises SourceError and BudgetSpent.
        """
        request = list_request(self._path, Ask(1), dates, self._resource.budget_classes)
        answer = await self._client.fetch(request, shrinkable=True, attempts=1)
        starts = self._starts(parse_list(answer.body, self._resource.read))
        return max((at for at in starts if at is not None and at <= dates.until), default=None)

    async def _retrieve(
        self, keys: Sequence[str], witnesses: Sequence[str], *, believed: bool
    ) -> Confirmed:
        """Ask for each record by itself.

        A documented server may have no such requests, and say of every record that it is not found.
        """
        before, source_at = self._client.now, self._client.source_now
        singles = await ask_singly(self._client, self._one, keys, witnesses)
        decoded = [parse_record(answer.body) for answer in singles.found]
        records = [record for record, _ in decoded]
        dirty = any(dirty for _, dirty in decoded)
        page = self._confirmed(records, before, source_at, dirty=dirty)
        proven = believed or bool(records) or not singles.gone
        proven = proven or await finds_one(self._client, self._one, witnesses)
        return Confirmed.of(page, keys, singles.gone, singles.failed, singles.why_failed, proven)

    def _one(self, key: str) -> Request | None:
        """Return the request for one record; None if its key would lead to another address."""
        if key in (".", ".."):
            return None
        return retrieve_request(self._path, key, self._resource.retrieve_classes)

    def _confirmed(
        self,
        records: list[Record],
        observed_at: datetime,
        source_at: datetime | None,
        *,
        dirty: bool,
    ) -> Page:
        return Page(
            records,
            dirty,
            observed_at,
            size_bytes=0,
            position={},
            last=False,
            source_at=source_at,
            sighting=Sighting([_key(record, self._resource.key[0]) for record in records]),
        )

    async def _begin_anew(self, window: Window) -> tuple[Reading, tuple[Ask, Answer, RecordList]]:
        before = self._client.clocks.latest
        known = self.traits.get("date_filter")
        refused = known == "refused"
        filters = known not in ("refused", "ignored")
        stretch = first_stretch(window, self._longest, before) if filters else None
        reading = Reading(
            window=window,
            began_at=self._client.source_now,
            asked=None if refused else self._dates(stretch or window, before),
            filters=filters,
            fingerprint=self.fingerprint,
            stretch=stretch,
            longest=self._longest,
            front=self._front,
        )
        try:
            answer = await self._ask(reading)
        except RequestRefused as exc:
            if exc.status != 400 or exc.code is None or refused or window.is_ahead:
                raise  # a firewall may refuse it, too, and that says nothing about the server
            # The documentation promises no date filter: this server refuses it.
            reading = replace(reading, asked=None, filters=False)
            answer = await self._ask(reading)
            if answer[2].by_cursor:
                raise  # such a server filters by date: it was something else it refused
            self.traits["date_filter"] = "refused"
        if not reading.filters and answer[2].by_cursor and known is not None:
            self.traits.clear()  # known from an older server; this one filters
            return await self._begin_anew(window)
        outside = _outside(self._starts(answer[2]), reading.asked)
        if outside and self.traits.get("date_filter") == "honoured":
            # It filtered before. One answer may be another question's, out of a cache.
            answer = await self._ask(reading)
        clocks = self._client.clocks
        reading.began_at = answer[1].source_at or clocks.earliest
        skew = clocks.latest - before
        if reading.asked is not None and window.until is None and skew > TOLERANCE:
            # Its recordings may have the dates of the clock that is ahead.
            _log.warning("clock.skewed", seconds=round(skew.total_seconds()))
            reading.asked = self._dates(reading.part, clocks.latest)
            answer = await self._ask(reading)
        return reading, answer

    def _dates(self, window: Window, now: datetime) -> Span:
        """Return the dates to send; all there are where they are known to be ignored.

        Should such a server have learnt to filter, it leaves nothing out and cuts nothing.
        """
        asked = window.asked(now)
        ignored = self.traits.get("date_filter") == "ignored"
        return Span(LONG_AGO, FAR_AHEAD) if ignored else asked

    async def _ask(
        self, reading: Reading, *, attempts: int | None = None
    ) -> tuple[Ask, Answer, RecordList]:
        """Fetch and parse the next page; ask for less when the server cannot manage it.

        First for fewer rows, then for a shorter stretch of time, never for the same again.
        """
        unreadable = 0
        while True:
            ask = Ask(self._limit) if reading.walk is None else reading.walk.ask(self._limit)
            request = list_request(self._path, ask, reading.asked, self._resource.budget_classes)
            shrinkable = reading.shortens or ask.limit > SMALLEST_PAGE_RECORDS
            try:
                answer = await self._client.fetch(request, shrinkable=shrinkable, attempts=attempts)
                listed = parse_list(answer.body, self._resource.read)
                # After a stretch was shortened, pages may grow again.
                self._limit = min(self._most, 2 * self._limit)
                return ask, answer, listed
            except SourceOverloaded as exc:
                if not shrinkable:
                    raise
                if isinstance(reading.walk, OffsetWalk) and ask.limit > self._limit:
                    reading.walk.give_up_large_pages()
                elif ask.limit <= SMALLEST_PAGE_RECORDS:
                    self._shorten(reading, exc)
                    continue
                else:
                    self._limit = self._most = max(SMALLEST_PAGE_RECORDS, ask.limit // 2)
                _log.warning("page.shrunk", limit=self._limit, reason=exc.message)
            except SourceUnavailable as exc:
                # fetch has repeated what can be repeated; only an unreadable 200 comes here anew.
                unreadable += 1
                if exc.status != 200 or unreadable >= UNREADABLE_ATTEMPTS:
                    raise
                _log.warning("page.unreadable", reason=exc.message, attempt=unreadable)

    def _shorten(self, reading: Reading, error: SourceOverloaded) -> None:
        """Go on with the newer half of what is left. Raises SourceOverloaded."""
        now = self._client.source_now
        found = shorter(reading.part, reading.low if reading.descends else None, now)
        if found is None:
            raise SourceOverloaded(
                f"The server is too slow for {SMALLEST_PAGE_RECORDS} recordings of one hour, and "
                f"less cannot be asked for: {error.message}",
                remedy="Run it again when the server is less busy: what was read is kept",
                status=error.status,
            ) from error
        stretch, longest = found
        self._longest, self._most = longest, self._page_size_records
        reading.begin(stretch, stretch.asked(now), longest)
        _log.warning(
            "window.shortened",
            since=stretch.since.isoformat(),
            hours=round(longest.total_seconds() / 3600, 1),
            reason=error.message,
        )

    def _choose_walk(self, listed: RecordList) -> CursorWalk | OffsetWalk:
        self.traits["envelope"] = "cursor" if listed.by_cursor else "count"
        # Older servers say has_next and know only offset.
        if listed.by_cursor and not (listed.more and listed.cursor is None):
            return CursorWalk()
        return OffsetWalk(accepted=self.accepted, may_enlarge="clamp" not in self.traits)

    def _take(self, reading: Reading, ask: Ask, answer: Answer, listed: RecordList) -> Page:
        if listed.by_cursor and reading.asked is None:
            # Such a server filters by date, and undated shows three days as if they were all.
            raise ListingBroken("The server was exchanged for a newer one while it was read")
        begins = reading.walk is None
        if reading.walk is None:
            reading.walk = self._choose_walk(listed)
        starts = self._starts(listed)
        keys = [_key(record, self._resource.key[0]) for record in listed.records]
        filtered = reading.filters
        self._judge_filter(reading, starts, by_cursor=listed.by_cursor)
        if reading.window.is_ahead and not reading.filters:
            raise DatesIgnored("The server lists everything, whatever dates it is asked for")
        if filtered and not reading.filters and not begins:
            # Pages before this one were chosen by a filter that is none.
            return self._start_over(reading, ask, answer, listed, keys)
        loads = [self._loads(reading, at) for at in starts]
        high = reading.low
        reading.note_order(starts)
        enough = reading.passed(reading.floor)
        step = reading.walk.take(
            ask,
            Listing(
                keys=keys,
                settled=[
                    loaded and reading.settled(at) for at, loaded in zip(starts, loads, strict=True)
                ],
                more=listed.more,
                cursor=listed.cursor,
                count=listed.count,
                enough=enough,
                order=[None if at is None else at.isoformat() for at in starts],
            ),
        )
        if isinstance(reading.walk, OffsetWalk):
            if reading.walk.clamp is not None:
                self.traits["clamp"] = reading.walk.clamp
            self.accepted = reading.walk.accepted
        reading.count = listed.count
        if step.unaccounted is not None:
            reading.unaccounted = (reading.unaccounted or 0) + step.unaccounted
        reading.ended, reading.complete = step.last, reading.complete and step.complete
        reading.exhausted = step.last and not listed.more
        reading.source_ahead_s = self._client.source_ahead_s
        seen = [key for key, loaded in zip(keys, loads, strict=True) if loaded]
        sighting = reading.sighting(seen, high, begins=begins)
        reading.note_edge(keys, starts, high)
        if keys and reading.witness is None:
            reading.witness = keys[-1]
        asked = reading.asked if reading.filters else None
        if reading.ended:
            reading.go_on()
        return Page(
            records=[
                record for record, loaded in zip(listed.records, loads, strict=True) if loaded
            ],
            dirty=listed.dirty,
            observed_at=answer.requested_at,
            source_at=answer.source_at,
            size_bytes=len(answer.body),
            position=reading.position(),
            last=reading.ended,
            forecast_records=None if reading.leaves_early else listed.count,
            sighting=sighting,
            asked=asked,
        )

    def _start_over(
        self, reading: Reading, ask: Ask, answer: Answer, listed: RecordList, keys: Sequence[str]
    ) -> Page:
        """Return a page, and let the next one be the first of the list again."""
        reading.walk, reading.ordered = None, True
        reading.low, reading.above, reading.edge = None, None, []
        if not ask.offset and ask.after is None:
            # It was the first page, a longer one this time.
            return self._take(reading, ask, answer, listed)
        return Page(
            records=listed.records,
            dirty=listed.dirty,
            observed_at=answer.requested_at,
            source_at=answer.source_at,
            size_bytes=len(answer.body),
            position=reading.position(),
            last=False,
            forecast_records=listed.count,
            sighting=Sighting(keys),
        )

    def _starts(self, listed: RecordList) -> list[datetime | None]:
        return [_started_at(record, self._stream.started or "") for record in listed.records]

    def _judge_filter(
        self, reading: Reading, starts: Sequence[datetime | None], *, by_cursor: bool
    ) -> None:
        """Notice a server that answers with rows outside the dates we sent.

        Raises ListingBroken where the server is of a kind that filters: it answered another
        question.
        """
        if reading.asked is None or not reading.filters:
            return
        reading.filters = not _outside(starts, reading.asked)
        if by_cursor and not reading.filters:
            raise ListingBroken("The server answered with other dates than it was asked for")
        self.traits["date_filter"] = "honoured" if reading.filters else "ignored"

    def _loads(self, reading: Reading, started_at: datetime | None) -> bool:
        # A server that does not filter does not cut either: every row is whole and current.
        return not reading.filters or reading.part.loads(started_at)


def _outside(starts: Sequence[datetime | None], asked: tuple[datetime, datetime] | None) -> bool:
    """Tell whether a page is not of these dates.

    It takes more than a tenth of a page: one record with a wrong date proves nothing, and what a
    filtering server sends from outside the window may be cut.
    """
    if asked is None:
        return False
    since, until = asked
    count = sum(at is not None and not since <= at <= until for at in starts)
    return count > max(1, len(starts) // 10)


def _started_at(record: Record, name: str) -> datetime | None:
    if type(record) is TypedRecord:
        return record.started_at
    if type(record) is Raw:
        record, _ = decode_record(record)
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _key(record: Record, name: str) -> str:
    if type(record) is TypedRecord:
        return record.key
    if type(record) is Raw:
        record, _ = decode_record(record)
    value = record.get(name) if isinstance(record, dict) else None
    if isinstance(value, str):
        return value
    try:
        return repr(record)
    except RecursionError:
        return "nested too deeply"
