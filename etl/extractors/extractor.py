"""Walks one window of a stream and yields its pages, in either server flavour."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import structlog
from msgspec import Raw

from etl.core.document import decode_record
from etl.core.page import Page, Record, TypedRecord
from etl.core.stream import Stream
from etl.core.walk import Ask, CursorWalk, Listing, OffsetWalk, resume_walk
from etl.core.window import Window
from etl.errors import ListingBroken, RequestRefused, SourceOverloaded, SourceUnavailable
from etl.extractors.client import Client
from etl.extractors.protocol import Answer, RecordList, list_request, parse_list

_log = structlog.get_logger(__name__)

SMALLEST_PAGE_RECORDS = 50
# A server whose clock is further off than this would filter another window than the one we mean.
TOLERATED_SKEW = timedelta(minutes=5)
UNREADABLE_ATTEMPTS = 4


@dataclass(slots=True)
class Reading:
    """A window being read: what a checkpoint keeps of it, so that another process can go on.

    began_at: the server's clock at the first request; what happened before it has been asked for.
    asked: the (date_from, date_to) sent, None to a server that does not filter. filters: False
    once the server answered with rows outside the dates.
    """

    window: Window
    began_at: datetime
    asked: tuple[datetime, datetime] | None
    filters: bool
    fingerprint: str
    walk: CursorWalk | OffsetWalk | None = None

    def position(self) -> Mapping[str, Any]:
        """Return the reading as JSON."""
        until = self.window.until
        return {
            "fingerprint": self.fingerprint,
            "since": self.window.since.isoformat(),
            "until": None if until is None else until.isoformat(),
            "began_at": self.began_at.isoformat(),
            "asked": None if self.asked is None else [at.isoformat() for at in self.asked],
            "filters": self.filters,
            "walk": None if self.walk is None else self.walk.position(),
        }

    @classmethod
    def resume(cls, position: Mapping[str, Any], fingerprint: str) -> Reading | None:
        """Return the reading of a checkpoint; None when it was another one's or unreadable."""
        try:
            if position["fingerprint"] != fingerprint:
                return None
            until, asked, walk = position["until"], position["asked"], position["walk"]
            return cls(
                window=Window(_at(position["since"]), None if until is None else _at(until)),
                began_at=_at(position["began_at"]),
                asked=None if asked is None else (_at(asked[0]), _at(asked[1])),
                filters=position["filters"],
                fingerprint=fingerprint,
                walk=None if walk is None else resume_walk(walk),
            )
        except (KeyError, TypeError, ValueError):
            return None


class Extractor:
    """Reads one stream of one project.

    traits: what the server was found to do; hand them to the next run's extractor, so that it
    does not have to find out again.
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
    ) -> None:
        self._client = client
        self._stream = stream
        self._path = f"/api/{prefix}/{project_id}/{stream.path}"
        self._page_size_records = page_size_records
        self._limit = page_size_records
        self.traits: dict[str, Any] = dict(traits or {})
        self.reading: Reading | None = None

    @property
    def fingerprint(self) -> str:
        """What a resume position is good for: this list, filter, order and page size."""
        about = [self._path, "dates", "default order", self._page_size_records]
        return blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()

    def resumable(self, position: Mapping[str, Any] | None) -> bool:
        """Tell whether `pages` can go on from `position`."""
        return position is not None and Reading.resume(position, self.fingerprint) is not None

    async def pages(
        self, window: Window, position: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Page]:
        """Yield the pages of `window`, or of the window that `position` stands in.

        Pages come in the server's order. The position of a page stands for everything up to and
        with it, so it may be committed with its rows and given back here in another process. The
        page marked `last` is always yielded, if only to say how the reading ended. Safe to repeat
        from any position: rows may come twice, none is left out.
        Raises SourceError and BudgetSpent.
        """
        reading, page = await self._begin(window, position)
        self.reading = reading
        while True:
            yield page
            if page.last:
                return
            page = self._take(reading, *await self._ask(reading))

    async def _begin(
        self, window: Window, position: Mapping[str, Any] | None
    ) -> tuple[Reading, Page]:
        """Return the reading and its first page from here on."""
        resumed = None if position is None else Reading.resume(position, self.fingerprint)
        if resumed is not None:
            try:
                return resumed, self._take(resumed, *await self._ask(resumed, attempts=2))
            except (RequestRefused, SourceUnavailable, ListingBroken) as exc:
                # A cursor from before a deploy is an error of the server's, or leads to page one
                # without a word: the same window is read anew.
                _log.warning("reading.restarted", reason=exc.message)
                window = resumed.window
        reading, answer = await self._begin_anew(window)
        return reading, self._take(reading, *answer)

    async def _begin_anew(self, window: Window) -> tuple[Reading, tuple[Ask, Answer, RecordList]]:
        before = self._client.source_now
        refused = self.traits.get("date_filter") == "refused"
        reading = Reading(
            window=window,
            began_at=before,
            asked=None if refused else window.asked(before),
            filters=not refused,
            fingerprint=self.fingerprint,
        )
        try:
            answer = await self._ask(reading)
        except RequestRefused as exc:
            if exc.status != 400 or refused:
                raise
            # The documentation promises no date filter: this server refuses it.
            reading = replace(reading, asked=None, filters=False)
            answer = await self._ask(reading)
            if answer[2].by_cursor:
                raise  # such a server filters by date: it was something else it refused
            self.traits["date_filter"] = "refused"
        if reading.asked is None and answer[2].by_cursor:
            self.traits.clear()  # known from an older server; this one filters
            return await self._begin_anew(window)
        source_at = answer[1].source_at
        if source_at is None:
            return reading, answer
        reading.began_at = source_at
        if reading.asked is not None and abs(source_at - before) > TOLERATED_SKEW:
            _log.warning("clock.skewed", seconds=round((source_at - before).total_seconds()))
            reading.asked = window.asked(source_at)
            answer = await self._ask(reading)
        return reading, answer

    async def _ask(
        self, reading: Reading, *, attempts: int | None = None
    ) -> tuple[Ask, Answer, RecordList]:
        """Fetch and parse the next page, smaller when the server cannot manage it."""
        unreadable = 0
        while True:
            ask = Ask(self._limit) if reading.walk is None else reading.walk.ask(self._limit)
            request = list_request(self._path, ask, reading.asked, self._stream.budget_classes)
            shrinkable = ask.limit > SMALLEST_PAGE_RECORDS
            try:
                answer = await self._client.fetch(request, shrinkable=shrinkable, attempts=attempts)
                return ask, answer, parse_list(answer.body, self._stream.read)
            except SourceOverloaded as exc:
                if not shrinkable:
                    raise
                if isinstance(reading.walk, OffsetWalk) and reading.walk.one_answer is not None:
                    reading.walk.give_up_one_answer()
                else:
                    self._limit = max(SMALLEST_PAGE_RECORDS, ask.limit // 2)
                _log.warning("page.shrunk", limit=self._limit, reason=exc.message)
            except SourceUnavailable as exc:
                # fetch has repeated what can be repeated; only an unreadable 200 comes here anew.
                unreadable += 1
                if exc.status != 200 or unreadable >= UNREADABLE_ATTEMPTS:
                    raise
                _log.warning("page.unreadable", reason=exc.message, attempt=unreadable)

    def _choose_walk(self, listed: RecordList) -> CursorWalk | OffsetWalk:
        self.traits["envelope"] = "cursor" if listed.by_cursor else "count"
        if not listed.by_cursor:
            return OffsetWalk()
        # Older servers say has_next and know only offset.
        return OffsetWalk() if listed.more and listed.cursor is None else CursorWalk()

    def _take(self, reading: Reading, ask: Ask, answer: Answer, listed: RecordList) -> Page:
        if listed.by_cursor and reading.asked is None:
            # Such a server filters by date, and undated shows three days as if they were all.
            raise ListingBroken("The server was exchanged for a newer one while it was read")
        if reading.walk is None:
            reading.walk = self._choose_walk(listed)
        starts = [_started_at(record, self._stream.started) for record in listed.records]
        self._judge_filter(reading, starts)
        step = reading.walk.take(
            ask,
            Listing(
                keys=[_key(record, self._stream.key) for record in listed.records],
                settled=[at is None or at < reading.began_at for at in starts],
                more=listed.more,
                cursor=listed.cursor,
                count=listed.count,
            ),
        )
        return Page(
            records=[
                record
                for record, at in zip(listed.records, starts, strict=True)
                if self._owned(reading, at)
            ],
            dirty=listed.dirty,
            observed_at=answer.requested_at,
            size_bytes=len(answer.body),
            position=reading.position(),
            last=step.last,
            complete=step.complete,
            forecast_records=listed.count,
        )

    def _judge_filter(self, reading: Reading, starts: Sequence[datetime | None]) -> None:
        """Notice a server that answers with rows outside the dates we sent.

        It takes a page that is mostly outside: one record with a wrong date proves nothing, and
        what a filtering server sends from outside the window may be cut.
        """
        if reading.asked is None or not reading.filters:
            return
        since, until = reading.asked
        outside = sum(at is not None and not since <= at <= until for at in starts)
        reading.filters = 2 * outside <= len(starts)
        self.traits["date_filter"] = "honoured" if reading.filters else "ignored"

    def _owned(self, reading: Reading, started_at: datetime | None) -> bool:
        # A server that does not filter does not cut either: every row is whole and current.
        return not reading.filters or reading.window.owns(started_at)


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


def _at(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("an instant without a zone")
    return at
