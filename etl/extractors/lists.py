"""Reads one list: asks for its pages, in portions that the server can manage, until it ends.

A policy (`recordings`, `snapshot`) says what to ask at a place and what an answer means there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, TypeVar

import structlog
from msgspec import Struct

from etl.core.page import Page, Record
from etl.core.place import Place
from etl.core.walk import Ask, CursorWalk, Listing, OffsetWalk, resume_walk
from etl.errors import ListingBroken, RequestRefused, SourceOverloaded, SourceUnavailable
from etl.extractors.client import Client
from etl.extractors.protocol import Answer, RecordList, Request

_log = structlog.get_logger(__name__)

SMALLEST_PAGE_RECORDS = 50
UNREADABLE_ATTEMPTS = 4

Walk = CursorWalk | OffsetWalk
P = TypeVar("P", bound=Place)


class Question(Struct, frozen=True):
    """How to ask for a page of a list, and how to read the answer. paged: it comes in pages."""

    request: Callable[[Ask], Request]
    parse: Callable[[bytes], RecordList]
    paged: bool = True


class Answered(Struct, Generic[P], frozen=True):
    """An answer, and the place and the walk at which it was asked for."""

    place: P
    walk: Walk | None
    ask: Ask
    answer: Answer
    listed: RecordList

    def listing(self, keys: Sequence[str], settled: Sequence[bool], **known: Any) -> Listing:
        """Return what the answer says about the list; `known` are further fields of `Listing`."""
        more, cursor, count = self.listed.more, self.listed.cursor, self.listed.count
        if self.listed.by_count and count is not None:
            more = (self.ask.offset or 0) + len(self.listed.records) < count
        known["next_offset"] = self.listed.next_offset
        return Listing(keys, settled, more, cursor, count, **known)

    def page(self, place: P, records: list[Record], **known: Any) -> Page:
        """Return the page of these records; `known` are further fields of `Page`."""
        return Page(
            records=records,
            dirty=self.listed.dirty,
            observed_at=self.answer.requested_at,
            source_at=self.answer.source_at,
            size_bytes=len(self.answer.body),
            place=place,
            **known,
        )


class Taken(Struct, Generic[P], frozen=True):
    """A page, the place that it carries, the walk after it. last: the list is at its end."""

    page: Page
    place: P
    walk: Walk | None
    last: bool


class ListReader(ABC, Generic[P]):
    """Reads lists; `etl.extractors` has one subclass for each policy."""

    def __init__(self, client: Client, page_size_records: int) -> None:
        self._client = client
        self._page_size_records = page_size_records
        # How many records are asked for, and how many at most: learnt from what is too slow.
        self._limit = self._most = page_size_records

    @abstractmethod
    def _question(self, place: P) -> Question:
        """Return what to ask at this place."""

    @abstractmethod
    def _take(self, answered: Answered[P]) -> Taken[P]:
        """Return the page of an answer. Raises ListingBroken."""

    @abstractmethod
    async def _begin(self, place: P) -> Answered[P]:
        """Return the first answer of a list that is read from its beginning."""

    def _shortened(self, place: P, error: SourceOverloaded) -> P:
        """Return the beginning of less than is asked for at `place`; see `Place.shortens`."""
        raise error

    async def _pages(self, beginning: P, resumed: P | None) -> AsyncIterator[Page]:
        """Yield the pages of a list.

        resumed: the place up to which another process has read it, None for none. If the server
        does not know it any more, the list is read from its beginning.
        """
        if resumed is not None and resumed.ended:
            return
        taken = None if resumed is None else await self._resume(resumed)
        if taken is None:
            taken = self._take(await self._begin(beginning))
        yield taken.page
        while not taken.last:
            taken = self._take(await self._ask(taken.place, taken.walk))
            yield taken.page

    async def _resume(self, place: P) -> Taken[P] | None:
        """Return the next page from a place of another process; None if the place is lost."""
        walk = None if place.walk is None else resume_walk(place.walk)
        try:
            return self._take(await self._ask(place, walk, attempts=2))
        except (RequestRefused, SourceUnavailable, ListingBroken) as exc:
            if isinstance(exc, SourceOverloaded) and place.shortens:
                raise  # less cannot be asked for
            # A cursor from before a deploy is an error, or leads to page one without a word.
            _log.warning("list.restarted", reason=exc.message)
            return None

    async def _ask(
        self, place: P, walk: Walk | None, *, attempts: int | None = None
    ) -> Answered[P]:
        """Fetch and parse the next page; ask for less when the server cannot manage it.

        First for fewer rows, then for a shorter stretch of time, never for the same again.
        """
        unreadable = 0
        while True:
            question = self._question(place)
            ask = Ask(self._limit) if walk is None else walk.ask(self._limit)
            may_shrink = question.paged and ask.limit > SMALLEST_PAGE_RECORDS
            shrinkable = place.shortens or may_shrink
            try:
                answer = await self._client.fetch(
                    question.request(ask), shrinkable=shrinkable, attempts=attempts
                )
                listed = question.parse(answer.body)
            except SourceOverloaded as exc:
                if not shrinkable:
                    raise
                if isinstance(walk, OffsetWalk) and ask.limit > self._limit:
                    walk.give_up_large_pages()
                elif may_shrink:
                    self._limit = self._most = max(SMALLEST_PAGE_RECORDS, ask.limit // 2)
                else:
                    place, walk = self._shortened(place, exc), None
                    self._most = self._page_size_records
                    continue
                _log.warning("page.shrunk", limit=self._limit, reason=exc.message)
            except SourceUnavailable as exc:
                # fetch has repeated what can be repeated; only an unreadable 200 comes here anew.
                unreadable += 1
                if exc.status != 200 or unreadable >= UNREADABLE_ATTEMPTS:
                    raise
                _log.warning("page.unreadable", reason=exc.message, attempt=unreadable)
            else:
                # After a stretch was shortened, pages may grow again.
                self._limit = min(self._most, 2 * self._limit)
                return Answered(place, walk, ask, answer, listed)


def choose_walk(listed: RecordList, accepted: int, *, may_enlarge: bool = True) -> Walk:
    """Return the walk through a list, by its first answer; see `OffsetWalk` for the parameters."""
    # Older servers say has_next and know only offset.
    if listed.by_cursor and not (listed.more and listed.cursor is None):
        return CursorWalk()
    return OffsetWalk(accepted=accepted, may_enlarge=may_enlarge)
