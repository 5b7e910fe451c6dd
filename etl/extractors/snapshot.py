"""Which lists a snapshot reads, one after the other: those of each resource, for each parent.

A list that does not say what changed has to be read as a whole. A resource may have several lists
that together show everything (live and deleted subscriptions), each of them for every parent (the
groups of each type).
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Any
from urllib.parse import urlencode

import structlog
from msgspec import Raw, Struct, field, structs
from msgspec.structs import replace

from etl.core.document import decode_record, encode_record
from etl.core.growing import Descent, ListRead, instant_of
from etl.core.page import Page, Record
from etl.core.place import Evidence, SnapshotPlace, WholeLists
from etl.core.stream import Stream, key_text, results_of
from etl.core.walk import CursorWalk, OffsetWalk
from etl.errors import EtlError, ForeignAnswer, SourceError, StreamUnavailable
from etl.extractors.client import Client
from etl.extractors.lists import Answered, ListReader, Question, Taken, Walk, choose_walk
from etl.extractors.protocol import (
    RecordList,
    is_record_closed,
    is_record_gone,
    names_the_project,
    page_request,
    parse_page,
)
from etl.extractors.single import SingleReader, project_not_listed

_log = structlog.get_logger(__name__)

PARENTS_AT_ONCE = 500
# Answers without pages are small: so many records, or what came in so many seconds, are one page.
GATHERED_RECORDS = 500
GATHERED_S = 1.0
# A collection shows at most so many recordings that are not in long-term storage (PostHog source,
# session_recording_playlist_api.py), so one that shows fewer is not cut.
COLLECTION_CUT = 50
# If something else answers for so many parents one after the other, it is not one of them.
FOREIGN_PARENTS = 3

Parent = Mapping[str, Any]
# The next parents after the one with these fields, by their key; None: from the first on.
NextParents = Callable[[Sequence[Any] | None, int], Awaitable[Sequence[Parent]]]
# The bound of the list of a parent, see `growing`; None: it is read to its end.
BoundOf = Callable[[Parent], Awaitable[datetime | None]]


def fingerprint_of(stream: Stream, prefix: str, page_size_records: int) -> str:
    """Return what a place is good for: these lists, in this order, with this page size."""
    about = [prefix, page_size_records, *(repr(resource.lists) for resource in stream.resources)]
    return blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()


class _Shown(Struct):
    """What an answer shows: the project's own records, to be loaded, and the keys of all of them.

    records: as bytes, but for those that are dirty. settled, order: as in `Listing`. instants: of a
    list that grows, when each record was added. dirty: see `Page`.
    """

    records: list[Record] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    settled: list[bool] = field(default_factory=list)
    order: list[str | None] = field(default_factory=list)
    instants: list[datetime | None] = field(default_factory=list)
    dirty: bool = False


class SnapshotReader(ListReader[SnapshotPlace]):
    """Reads one resource of one project as a whole.

    single: the same resource, one record at a time.
    accepted: by the address of a list, how many rows it may count that it does not show.
    bound_of: down to where a list that grows is read.
    spares: whether lists are left out whose parent is unchanged; then `next_parents` does not
    return these.

    has_read: whether this reading got anything that a later one can go on from.
    """

    has_read = False

    def __init__(
        self,
        client: Client,
        single: SingleReader,
        page_size_records: int,
        next_parents: NextParents,
        accepted: Mapping[str, int],
        bound_of: BoundOf,
        spares: bool = False,
    ) -> None:
        super().__init__(client, page_size_records)
        self._single = single
        self._resource = single.resource
        self._next_parents = next_parents
        self._accepted = accepted
        self._bound_of = bound_of
        self._spares = spares

    async def pages(self, place: SnapshotPlace, *, doubts: bool) -> AsyncIterator[Page]:
        """Yield what is left of the resource; the place of the last page has `ended`.

        The first page of a resource is empty: from it on, if `doubts`, what is stored is in doubt
        until it is shown. Safe to repeat from any place: rows may come twice, none is left out.
        Raises SourceError and BudgetSpent.
        """
        if place.ended:
            return
        if place.parents == 0:
            yield self._empty(place, Evidence([], begins=doubts, spares=self._spares))
        async for page in self._gathered(self._lists(place)):
            assert isinstance(page.place, SnapshotPlace)
            place = page.place
            yield page
        if self._resource.project is not None and place.complete and place.records == 0:
            self.has_read = False
            raise project_not_listed(self._resource)
        yield self._empty(replace(place, ended=True), Evidence([]))

    async def _lists(self, place: SnapshotPlace) -> AsyncIterator[Page]:
        """Yield the pages of every list of every parent, from `place` on."""
        refused: SourceError | None = None
        # Not kept with the place, so that a later run gets past parents that are neighbours.
        foreign = 0
        async for parent in self._parents(place.parent):
            if parent != place.parent or place.parents == 0:
                place = replace(
                    place, parent=parent, parents=place.parents + 1, list_number=0, walk=None
                )
            try:
                for number in range(place.list_number, len(self._resource.lists)):
                    beginning = replace(place, list_number=number, walk=None, descent=None)
                    if number == 0:
                        beginning = replace(beginning, parent_pages=0, judged=True)
                    if self._resource.growth is not None:
                        bound = await self._bound_of(self._parent(place))
                        beginning = replace(beginning, descent=Descent(bound))
                    resumed = None if place.walk is None else place
                    async for page in self._pages(beginning, resumed):
                        assert isinstance(page.place, SnapshotPlace)
                        foreign, place = 0, page.place
                        yield page
            except (StreamUnavailable, ForeignAnswer) as exc:
                if parent is None or not await self._is_about_parent(exc):
                    raise
                # The parent vanished, the key's owner may not see it, or a firewall blocks it. Its
                # rows are not judged in this run.
                refused = exc
                place = replace(place, walk=None)
                is_foreign = isinstance(exc, ForeignAnswer)
                foreign = foreign + 1 if is_foreign else 0
                if foreign >= FOREIGN_PARENTS:
                    raise
                _log.info("parent.refused", reason=exc.message)
                # A run that goes on from here asks for this parent again, so it counts only in the
                # places after this one.
                yield self._empty(place, self._unjudged(place))
                place = replace(
                    place, refused=place.refused + 1, skipped=place.skipped + int(is_foreign)
                )
        if refused is None:
            return
        if place.refused >= place.parents:
            self.has_read = False
            raise refused  # every parent was refused, so the whole stream is unavailable
        # Every list is read: nothing is asked for again from here on.
        done = replace(place, list_number=len(self._resource.lists))
        yield self._empty(done, Evidence([]))

    async def _parents(self, in_hand: Sequence[Any] | None) -> AsyncIterator[Sequence[Any] | None]:
        """Yield the fields of the parents from the one in hand on; None once if there are none."""
        parents = self._resource.parents
        if parents is None:
            yield None
            return
        if in_hand is not None:
            yield in_hand
        while found := await self._next_parents(in_hand, PARENTS_AT_ONCE):
            for parent in found:
                in_hand = [parent[name] for name in parents.fields]
                yield in_hand

    def _parent(self, place: SnapshotPlace) -> Parent:
        """Return what each record of the lists in hand is given by their parent."""
        parents = self._resource.parents
        if parents is None or place.parent is None:
            return {}
        return {**parents.constant, **dict(zip(parents.fields, place.parent, strict=True))}

    async def _is_about_parent(self, exc: SourceError) -> bool:
        """Tell whether an error may be one parent's and not the stream's."""
        if names_the_project(exc):
            return not await self._single.is_project_gone()
        return isinstance(exc, ForeignAnswer) or is_record_gone(exc) or is_record_closed(exc)

    async def _gathered(self, pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
        """Yield pages, the small answers of resources without pages put together."""
        if self._resource.paged or self._resource.parents is None:
            async for page in pages:
                yield page
            return
        held: Page | None = None
        began_s = 0.0
        try:
            async for page in pages:
                if held is None:
                    held, began_s = page, time.monotonic()
                else:
                    held = _together(held, page)
                waited_s = time.monotonic() - began_s
                if len(held.records) >= GATHERED_RECORDS or waited_s >= GATHERED_S:
                    yield held
                    held = None
        except EtlError:
            if held is not None:
                yield held
            raise
        if held is not None:
            yield held

    def _unjudged(self, place: SnapshotPlace) -> Evidence:
        return Evidence([], unjudged=[[str(value) for value in place.parent or ()]])

    def _question(self, place: SnapshotPlace) -> Question:
        resource, paged = self._resource, self._resource.paged
        address = resource.lists[place.list_number]
        path, params = self._single.address(address, self._parent(place))
        return Question(
            lambda ask: page_request(
                path, params, ask if paged else None, resource.budget_classes, place.cursor_name
            ),
            partial(
                parse_page, records_of=resource.records, decoded=resource.records is not results_of
            ),
            paged,
        )

    async def _begin(self, place: SnapshotPlace) -> Answered[SnapshotPlace]:
        return await self._ask(place, None)

    def _take(self, answered: Answered[SnapshotPlace]) -> Taken[SnapshotPlace]:
        self.has_read = True
        place, walk = answered.place, answered.walk
        answer, listed = answered.answer, answered.listed
        parent = self._parent(place)
        if place.stage == place.pages == 0 and answer.source_at is not None:
            # Before the first answer one clock less could vote.
            place = replace(place, began_at=answer.source_at)
        shown = self._look_through(place, listed)
        place = replace(
            place,
            pages=place.pages + 1,
            parent_pages=place.parent_pages + 1,
            records=place.records + len(shown.records),
        )
        last, judged = True, listed.current or not parent
        if self._resource.paged:
            keys = shown.keys
            if self._repeats(walk, listed):
                # What it showed is all there is, unless it was cut.
                place = replace(place, cut=place.cut or len(keys) >= COLLECTION_CUT)
                judged &= len(keys) < COLLECTION_CUT
            else:
                place = self._descend(place, answered, shown.instants)
                place, walk, last = self._walk_on(place, walk, answered, shown)
        elif listed.more:
            place = replace(place, cut=True)
        if last:
            # A place between two lists begins the next one.
            walk, place = None, replace(place, list_number=place.list_number + 1)
        position = None if walk is None else walk.position()
        place = replace(place, at=self._client.now, walk=position, judged=place.judged and judged)
        # An answer marked as refreshing may be incomplete.
        evidence = Evidence([]) if judged else self._unjudged(place)
        read = self._read(place) if last else None
        whole = self._whole(place) if last else None
        page = answered.page(place, shown.records, evidence=evidence, read=read, whole=whole)
        if shown.dirty:
            page = structs.replace(page, dirty=True)
        return Taken(page, place, walk, last)

    def _look_through(self, place: SnapshotPlace, listed: RecordList) -> _Shown:
        """Return what an answer shows. Only one of its records is decoded at a time."""
        resource, shown = self._resource, _Shown(dirty=listed.dirty)
        given = {**self._parent(place), **resource.lists[place.list_number].given}
        order, growth = resource.order or resource.created, resource.growth
        for record in listed.records:
            dirty = listed.dirty
            if isinstance(record, Raw):
                record, dirty = decode_record(record)
            shown.dirty |= dirty
            shown.settled.append(_settled(record, resource.created, place.began_at))
            if order is not None:
                shown.order.append(_text_of(record, order))
            if growth is not None:
                shown.instants.append(instant_of(record, growth.at))
            is_own = self._single.is_own(record)
            record = self._single.prepared(record, given)
            shown.keys.append(_key(record, resource.key))
            if is_own:
                shown.records.append(record if dirty else encode_record(record))
        return shown

    def _descend(
        self,
        place: SnapshotPlace,
        answered: Answered[SnapshotPlace],
        instants: Sequence[datetime | None],
    ) -> SnapshotPlace:
        """Note how far down an answer leads in a list that grows."""
        descent = place.descent
        if self._resource.growth is None or descent is None:
            return place
        if answered.walk is None:
            descent = replace(descent, began_at=answered.answer.source_at)
        overlap = isinstance(answered.walk, OffsetWalk)
        return replace(place, descent=descent.down(instants, overlap=overlap))

    def _read(self, place: SnapshotPlace) -> ListRead | None:
        """Return how far the list is read that has just ended; None if that is not known."""
        descent = place.descent
        if descent is None or descent.began_at is None or not place.complete:
            return None
        parent = "" if place.parent is None else key_text(place.parent)
        return ListRead(parent, descent.began_at, descent.page_rows)

    def _whole(self, place: SnapshotPlace) -> WholeLists | None:
        """Return the lists of the parent in hand if all of them was read; else None."""
        if (
            not self._spares
            or place.parent is None
            or place.list_number < len(self._resource.lists)
        ):
            return None
        if not (place.complete and place.judged) or place.cut:
            return None
        return WholeLists(key_text(place.parent), place.parent_pages)

    def _repeats(self, walk: Walk | None, listed: RecordList) -> bool:
        """Tell whether a list that may ignore its cursor has come with the same one again."""
        return (
            self._resource.repeats
            and isinstance(walk, CursorWalk)
            and listed.cursor is not None
            and listed.cursor == walk.after
        )

    def _walk_on(
        self,
        place: SnapshotPlace,
        walk: Walk | None,
        answered: Answered[SnapshotPlace],
        shown: _Shown,
    ) -> tuple[SnapshotPlace, Walk, bool]:
        """Note an answer in the walk through its list; tell whether that is at its end."""
        resource, listed = self._resource, answered.listed
        path, params = resource.lists[place.list_number].fill(self._parent(place))
        name = f"{path}?{urlencode(params)}" if params else path
        if walk is None:
            walk = choose_walk(listed, self._accepted.get(name, 0))
            place = replace(place, cursor_name=listed.cursor_name)
        listing = answered.listing(
            shown.keys,
            shown.settled,
            order=shown.order,
            enough=place.descent is not None and place.descent.is_past,
        )
        step = walk.take(answered.ask, listing)
        lacking = {name: step.unaccounted} if step.unaccounted else {}
        place = replace(
            place,
            complete=place.complete and step.complete,
            lacking={**place.lacking, **lacking},
        )
        return place, walk, step.last

    def _empty(self, place: SnapshotPlace, evidence: Evidence) -> Page:
        now, source_at = self._client.now, self._client.source_now
        return Page([], False, now, 0, replace(place, at=now), source_at, evidence=evidence)


def _together(one: Page, other: Page) -> Page:
    """Return both pages as one: observed when the first was, with the place of the second."""
    unjudged = [owner for page in (one, other) if page.evidence for owner in page.evidence.unjudged]
    return structs.replace(
        other,
        records=[*one.records, *other.records],
        dirty=one.dirty or other.dirty,
        observed_at=one.observed_at,
        source_at=one.source_at,
        size_bytes=one.size_bytes + other.size_bytes,
        evidence=Evidence([], unjudged=unjudged),
    )


def _key(record: Record, names: Sequence[str]) -> str:
    if isinstance(record, dict):
        return key_text([record.get(name) for name in names])
    return repr(record)[:1000]


def _text_of(record: Record, name: str) -> str | None:
    value = record.get(name) if isinstance(record, dict) else None
    return value if isinstance(value, str) else None


def _settled(record: Record, created: str | None, began_at: datetime) -> bool:
    """Tell whether a record was there before the reading began."""
    if created is None or not isinstance(record, dict):
        return True
    try:
        at = datetime.fromisoformat(record.get(created) or "")
    except (ValueError, TypeError):
        return True
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) < began_at
