"""Which recordings a sync or a backfill asks for, by dates, and what the answers prove."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import structlog
from msgspec import Raw, structs
from msgspec.structs import replace

from etl.core.clocks import TOLERANCE
from etl.core.coverage import Span
from etl.core.document import decode_record
from etl.core.drift import Drift
from etl.core.page import Confirmation, HashedRecord, Page, Record
from etl.core.place import Evidence, RecordingsPlace, Traits
from etl.core.stream import Stream
from etl.core.stretch import first_stretch, shorter
from etl.core.walk import Ask, OffsetWalk
from etl.core.window import FAR_AHEAD, LONG_AGO, Window
from etl.errors import (
    DatesIgnored,
    ListingBroken,
    RequestRefused,
    SourceOverloaded,
    SourceUnavailable,
)
from etl.extractors.client import Client
from etl.extractors.lists import (
    SMALLEST_PAGE_RECORDS,
    Answered,
    ListReader,
    Question,
    Taken,
    choose_walk,
)
from etl.extractors.protocol import (
    RecordList,
    Request,
    ids_request,
    list_request,
    parse_list,
    retrieve_request,
)
from etl.extractors.single import confirm_singly

_log = structlog.get_logger(__name__)


class Seen(NamedTuple):
    """What a page shows: the starts on it, whether the list goes on, and how many rows it counts.

    rows: None if the server does not count.
    """

    starts: Sequence[datetime]
    more: bool
    rows: int | None


class RecordingsReader(ListReader[RecordingsPlace]):
    """Reads the recordings of one project.

    traits: what the server was found to do, as the watermark keeps it.
    accepted: how many rows the server may count that it does not list.
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
        super().__init__(client, page_size_records)
        self._stream = stream
        self._resource = stream.resources[0]
        self._path = f"/api/{prefix}/{project_id}/{self._resource.lists[0].path}"
        reader = self._resource.reader
        self._reader = None if reader is None else reader()
        self._read = None if self._reader is None else self._reader.read
        self._traits = Traits.of(traits)
        self._accepted = accepted
        self._longest: timedelta | None = None

    @property
    def fingerprint(self) -> str:
        """What a place is good for: this list, filter, order and page size."""
        about = [self._path, "dates", "default order", self._page_size_records]
        return blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()

    def resume(self, position: Mapping[str, Any] | None) -> RecordingsPlace | None:
        """Return the place of a checkpoint; None if it belongs to another list or page size."""
        place = RecordingsPlace.resume(position, self.fingerprint)
        if place is None:
            return None
        if not self._client.requests:
            # The rest may need no request, but the server's clock must still be counted.
            self._client.source_ahead_s = place.source_ahead_s
        self._longest, self._traits = place.longest, place.traits
        return place

    def pages(
        self, window: Window, resumed: RecordingsPlace | None = None, *, front: bool = False
    ) -> AsyncIterator[Page]:
        """Return the pages of `window`, or what is left of it at the place `resumed`.

        front: a server that ignores dates is left below the window, too, if its list comes newest
        first; else all that it shows is read.

        The place of a page stands for everything up to and with it, so it may be committed with
        its rows and given to `resume` in another process. A reading that is at its end has no
        pages. Safe to repeat from any place: rows may come twice, none is left out. Raises
        SourceError and BudgetSpent.
        """
        return self._pages(self.beginning(window, front=front), resumed)

    def beginning(self, window: Window, *, front: bool = False) -> RecordingsPlace:
        """Return the place before the first request. front: as for `pages`."""
        return RecordingsPlace(
            fingerprint=self.fingerprint,
            began_at=self._client.source_now,
            window=window,
            asked=None,
            filters=False,
            front=front,
            traits=self._traits,
        )

    async def confirm(
        self, place: RecordingsPlace, keys: Sequence[str], known: Sequence[str] | None = ()
    ) -> Confirmation:
        """Ask for records by their keys.

        An answer counts only if it shows a record that is known to be there, too, is at its end
        and answers this question and no other; else each one is asked for by itself.
        place: where the reading ended. known: keys of records that are likely to be there, in case
        the reading has shown none; None: the answers are believed without any.
        Safe to repeat. Raises SourceError and BudgetSpent.
        """
        just_shown = [] if place.witness is None else [place.witness]
        witnesses = [*dict.fromkeys([*just_shown, *(known or ())])]
        by_cursor = place.traits.envelope == "cursor"
        if by_cursor and witnesses:
            witness = witnesses[0]
            asked = [*dict.fromkeys([*keys, witness])]
            request = ids_request(self._path, asked, self._resource.budget_classes)
            try:
                answer = await self._client.fetch(request, shrinkable=len(keys) > 1)
            except (SourceUnavailable, RequestRefused) as exc:
                if len(keys) == 1 or not isinstance(exc, SourceOverloaded):
                    # One of these keys may be the one that the server cannot answer for.
                    _log.warning("confirmation.failed", keys=len(keys), reason=exc.message)
                    return await self._retrieve(keys, witnesses, believed=known is None)
                _log.warning("confirmation.halved", keys=len(keys), reason=exc.message)
                half = len(keys) // 2
                first = await self.confirm(place, keys[:half], known)
                return first.joined(await self.confirm(place, keys[half:], known))
            listed = parse_list(answer.body)
            shown = self._keys(listed.records)
            if witness in shown and set(shown) <= set(asked) and not listed.more:
                wanted = set(keys)
                records = [r for r, key in zip(listed.records, shown, strict=True) if key in wanted]
                page = Page(
                    records,
                    listed.dirty,
                    answer.requested_at,
                    size_bytes=0,
                    source_at=answer.source_at,
                    evidence=Evidence(self._keys(records)),
                )
                gone = [key for key in keys if key not in shown]
                return Confirmation(page, gone, existing=[], failed=[])
            _log.warning("confirmation.distrusted", keys=len(keys))
        believed = known is None or (by_cursor and place.witness is None)
        return await self._retrieve(keys, witnesses, believed=believed)

    async def newest_start(self, dates: Span) -> datetime | None:
        """Return the latest start that the first row of these dates has; None: there is no row.

        One request, not repeated. Raises SourceError and BudgetSpent.
        """
        request = list_request(self._path, Ask(1), dates, self._resource.budget_classes)
        answer = await self._client.fetch(request, shrinkable=True, attempts=1)
        starts = self._starts(parse_list(answer.body, self._read))
        return max((at for at in starts if at is not None and at <= dates.until), default=None)

    async def glimpse(self, since: datetime, until: datetime, limit: int) -> Seen:
        """Return what a page of the newest recordings of these dates shows.

        One request, not repeated. Raises SourceError and BudgetSpent.
        """
        ask = Ask(limit)
        request = list_request(self._path, ask, Span(since, until), self._resource.budget_classes)
        answer = await self._client.fetch(request, shrinkable=True, attempts=1, waits=False)
        listed = parse_list(answer.body, self._read)
        starts = [at for at in self._starts(listed) if at is not None]
        return Seen(starts, listed.more, listed.count)

    async def _retrieve(
        self, keys: Sequence[str], witnesses: Sequence[str], *, believed: bool
    ) -> Confirmation:
        """Ask for each record by itself.

        A documented server may have no such requests, and say of every record that it is not found.
        """
        found = await confirm_singly(self._client, self._one, keys, witnesses, believed=believed)
        evidence = Evidence(self._keys(found.page.records))
        return structs.replace(found, page=structs.replace(found.page, evidence=evidence))

    def _one(self, key: str) -> Request | None:
        """Return the request for one record; None if its key would lead to another address."""
        if key in (".", ".."):
            return None
        return retrieve_request(self._path, key, self._resource.retrieve_classes)

    def _keys(self, records: Sequence[Record]) -> list[str]:
        return [_key(record, self._resource.key[0]) for record in records]

    def _question(self, place: RecordingsPlace) -> Question:
        classes = self._resource.budget_classes
        return Question(
            lambda ask: list_request(self._path, ask, place.asked, classes),
            partial(parse_list, read=self._read),
        )

    async def _begin(self, place: RecordingsPlace) -> Answered[RecordingsPlace]:
        """Ask for the first page, and find out what kind of server answers.

        Dates are sent even if they were refused before: a server that has learnt them shows only
        the last three days without them (PostHog source, date_from of the list of recordings).
        """
        window, before, known = place.window, self._client.clocks.latest, self._traits.date_filter
        filters = known != "ignored"
        stretch = first_stretch(window, self._longest, before) if filters else None
        place = replace(
            place,
            began_at=self._client.source_now,
            asked=self._dates(stretch or window, before),
            filters=filters,
            stretch=stretch,
            longest=self._longest,
        )
        try:
            answered = await self._ask(place, None)
        except RequestRefused as exc:
            if not _is_servers_own(exc) or window.is_ahead:
                raise  # a firewall may refuse it, too, and that says nothing about the server
            # The documentation promises no date filter: this server may refuse it.
            answered = await self._undated(place, known)
            if answered.place.asked is None:
                if answered.listed.by_cursor:
                    raise  # such a server filters by date: it was something else it refused
                self._traits = replace(self._traits, date_filter="refused")
        else:
            if known == "refused":
                self._traits, known = Traits(), None
        place = answered.place
        if not place.filters and answered.listed.by_cursor and known is not None:
            self._traits = Traits()  # known from an older server; this one filters
            return await self._begin(place)
        outside = _outside(self._starts(answered.listed), place.asked)
        if outside and self._traits.date_filter == "honoured":
            # It filtered before. One answer may be another question's, out of a cache.
            answered = await self._ask(place, None)
        clocks = self._client.clocks
        place = replace(answered.place, began_at=answered.answer.source_at or clocks.earliest)
        skew = clocks.latest - before
        if place.asked is not None and window.until is None and skew > TOLERANCE:
            # The clock that is ahead may have dated the server's recordings.
            _log.warning("clock.skewed", seconds=round(skew.total_seconds()))
            place = replace(place, asked=self._dates(place.part, clocks.latest))
            return await self._ask(place, None)
        return structs.replace(answered, place=place)

    async def _undated(
        self, place: RecordingsPlace, known: str | None
    ) -> Answered[RecordingsPlace]:
        """Return the first page without dates; with them if they were refused for a moment only."""
        undated = await self._ask(replace(place, asked=None, filters=False), None)
        if known == "refused" or undated.listed.by_cursor:
            return undated
        try:
            return await self._ask(place, None)
        except RequestRefused as exc:
            if not _is_servers_own(exc):
                raise
            return undated

    def _dates(self, window: Window, now: datetime) -> Span:
        """Return the dates to send; all there are if they are known to be ignored.

        Should such a server have learnt to filter, it leaves nothing out and cuts nothing.
        """
        ignored = self._traits.date_filter == "ignored"
        return Span(LONG_AGO, FAR_AHEAD) if ignored else window.asked(now)

    def _shortened(self, place: RecordingsPlace, error: SourceOverloaded) -> RecordingsPlace:
        """Return the beginning of the newer half of what is left. Raises SourceOverloaded."""
        now = self._client.source_now
        found = shorter(place.part, place.low if place.descends else None, now)
        if found is None:
            raise SourceOverloaded(
                f"The server is too slow for {SMALLEST_PAGE_RECORDS} recordings of one hour, and "
                f"less cannot be asked for: {error.message}",
                remedy="Run it again when the server is less busy: what was read is kept",
                status=error.status,
            ) from error
        stretch, self._longest = found
        _log.warning(
            "window.shortened",
            since=stretch.since.isoformat(),
            hours=round(self._longest.total_seconds() / 3600, 1),
            reason=error.message,
        )
        return place.begin(stretch, stretch.asked(now), self._longest)

    def _take(self, answered: Answered[RecordingsPlace]) -> Taken[RecordingsPlace]:
        place, walk, listed = answered.place, answered.walk, answered.listed
        if listed.by_cursor and place.asked is None:
            # Such a server filters by date, and undated shows three days as if they were all.
            raise ListingBroken("The server was exchanged for a newer one while it was read")
        begins = walk is None
        if walk is None:
            envelope = "cursor" if listed.by_cursor else "count"
            self._traits = replace(self._traits, envelope=envelope)
            walk = choose_walk(listed, self._accepted, may_enlarge=self._traits.clamp is None)
        starts, keys = self._starts(listed), self._keys(listed.records)
        filters = self._judge_filter(place, starts, listed)
        if place.window.is_ahead and not filters:
            raise DatesIgnored("The server lists everything, whatever dates it is asked for")
        if place.filters and not filters and not begins:
            # Pages before this one were chosen by a filter that is none.
            return self._start_over(answered, keys)
        high, by_offset = place.low, isinstance(walk, OffsetWalk)
        place = replace(place, filters=filters).down(starts, overlap=by_offset)
        loads = [place.loads(at) for at in starts]
        listing = answered.listing(
            keys,
            [loaded and place.settled(at) for at, loaded in zip(starts, loads, strict=True)],
            # A walk by cursor looks at no order.
            order=[at and at.isoformat() for at in starts] if by_offset else (),
            enough=place.passed(place.floor),
        )
        step = walk.take(answered.ask, listing)
        if isinstance(walk, OffsetWalk):
            if walk.clamp is not None:
                self._traits = replace(self._traits, clamp=walk.clamp)
            self._accepted = walk.accepted
        unaccounted = place.unaccounted
        if step.unaccounted is not None:
            unaccounted = (unaccounted or 0) + step.unaccounted
        place = replace(
            place,
            walk=walk.position(),
            ended=step.last,
            complete=place.complete and step.complete,
            exhausted=step.last and not listed.more,
            count=listed.count,
            unaccounted=unaccounted,
            accepted=self._accepted,
            traits=self._traits,
            source_ahead_s=self._client.source_ahead_s,
        )
        seen = [key for key, loaded in zip(keys, loads, strict=True) if loaded]
        evidence = place.evidence(seen, high, begins=begins)
        place = place.after(keys, starts, high)
        asked = place.asked if place.filters else None
        leaves_early = place.leaves_early
        if place.ended and (following := place.next_stretch()) is not None:
            place, walk = following, None
        page = answered.page(
            place,
            [record for record, loaded in zip(listed.records, loads, strict=True) if loaded],
            forecast_records=None if leaves_early else listed.count,
            evidence=evidence,
            asked=asked,
            drift=self._drift,
        )
        return Taken(page, place, walk, last=place.ended)

    def _start_over(
        self, answered: Answered[RecordingsPlace], keys: Sequence[str]
    ) -> Taken[RecordingsPlace]:
        """Return a page, and let the next one be the first of the list again."""
        place = replace(
            answered.place.at_first_page(), filters=False, ordered=True, traits=self._traits
        )
        if not answered.ask.offset and answered.ask.after is None:
            # It was the first page, a longer one this time.
            return self._take(structs.replace(answered, place=place, walk=None))
        records, count = answered.listed.records, answered.listed.count
        known = {"forecast_records": count, "evidence": Evidence(keys), "drift": self._drift}
        page = answered.page(place, records, **known)
        return Taken(page, place, None, last=False)

    @property
    def _drift(self) -> Collection[Drift]:
        return () if self._reader is None else self._reader.drift

    def _starts(self, listed: RecordList) -> list[datetime | None]:
        return [started_at(record, self._stream.started or "") for record in listed.records]

    def _judge_filter(
        self, place: RecordingsPlace, starts: Sequence[datetime | None], listed: RecordList
    ) -> bool:
        """Tell whether the server filters: it does not if it shows rows outside the dates we sent.

        Raises ListingBroken if the server is of a kind that filters, or if its count does filter:
        it answered another question, and what it shows is not all there is.
        """
        if place.asked is None or not place.filters:
            return place.filters
        filters = not _outside(starts, place.asked)
        counts_less = listed.count is not None and listed.count < len(starts)
        if not filters and (listed.by_cursor or counts_less):
            raise ListingBroken("The server answered with other dates than it was asked for")
        self._traits = replace(self._traits, date_filter="honoured" if filters else "ignored")
        return filters


def _is_servers_own(exc: RequestRefused) -> bool:
    """Tell whether the server itself has refused it, and no firewall before it."""
    return exc.status == 400 and exc.code is not None


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


def started_at(record: Record, name: str) -> datetime | None:
    """Return the start of a record; None if it has none that can be read."""
    if type(record) is HashedRecord:
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
    if type(record) is HashedRecord:
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
