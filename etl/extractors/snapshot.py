"""Walks everything a resource has, list by list, and yields its pages.

A list without a change marker has to be read as a whole. A resource may have several lists that
together show everything (live and deleted subscriptions), each of them for every parent (the
groups of each type). The lists are read one after the other; the place is kept with each page.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from urllib.parse import urlencode

import structlog

from etl.core.page import Confirmed, Page, Record, Sighting
from etl.core.stream import Address, Resource, Stream, key_text
from etl.core.walk import Ask, CursorWalk, Listing, OffsetWalk, resume_walk
from etl.errors import (
    EtlError,
    ForeignAnswer,
    ListingBroken,
    RequestRefused,
    SourceError,
    SourceOverloaded,
    SourceUnavailable,
    StreamUnavailable,
)
from etl.extractors.client import Client
from etl.extractors.protocol import (
    Answer,
    RecordList,
    Request,
    is_record_closed,
    is_record_gone,
    names_the_project,
    page_request,
    parse_page,
    parse_record,
    project_request,
)
from etl.extractors.single import ask_singly, finds_one
from etl.transformers.secrets import withhold

_log = structlog.get_logger(__name__)

PARENTS_AT_ONCE = 500
# Long enough for a pause of an hour, and for the next call of a cron job after it.
WORTH_RESUMING = timedelta(hours=2)
# Answers without pages are small: so many records, or what came in so many seconds, are one page.
GATHERED_RECORDS = 500
GATHERED_S = 1.0
SMALLEST_PAGE_RECORDS = 50
# A collection shows at most so many recordings that are not in long-term storage (PostHog source,
# session_recording_playlist_api.py), so one that shows fewer is not cut.
COLLECTION_CUT = 50
UNREADABLE_ATTEMPTS = 4
# If something else answers for so many parents one after the other, it is not one of them.
FOREIGN_PARENTS = 3

Parent = Mapping[str, Any]
# The next parents after the one with these fields, by their key; None: from the first on.
NextParents = Callable[[Sequence[Any] | None, int], Awaitable[Sequence[Parent]]]


@dataclass(slots=True)
class Snapshot:
    """How far a snapshot is: what a checkpoint keeps of it, so that another process can go on.

    began_at: what clocks agreed on at the first request. stage: which resource is being read.
    parent: the fields of the parent in hand, None before the first; list_number and walk: how far
    its lists are read. read: the whole resource is. pages and parents: how many this stage had,
    counts; records: how many it showed; refused: how many parents could not be looked at;
    passed_over: how many of these because something other than PostHog answered. vouches: False
    once a record was met that does not tell which one it is. complete: no list had to be given up;
    cut: one showed less than it has. lacking: by the address of a list, how many rows it counted
    and did not show. took: pages and parents of the stages that are read.
    """

    fingerprint: str
    began_at: datetime
    stage: int = 0
    parent: list[Any] | None = None
    list_number: int = 0
    walk: CursorWalk | OffsetWalk | None = None
    cursor_name: str = "after"
    read: bool = False
    pages: int = 0
    parents: int = 0
    records: int = 0
    refused: int = 0
    passed_over: int = 0
    vouches: bool = True
    complete: bool = True
    cut: bool = False
    lacking: dict[str, int] = field(default_factory=dict)
    took: list[list[int]] = field(default_factory=list)

    def position(self, at: datetime | None = None) -> Mapping[str, Any]:
        """Return the snapshot as JSON; `at`: the database's clock now."""
        return {
            "at": None if at is None else at.isoformat(),
            "fingerprint": self.fingerprint,
            "began_at": self.began_at.isoformat(),
            "stage": self.stage,
            "parent": self.parent,
            "list_number": self.list_number,
            "walk": None if self.walk is None else self.walk.position(),
            "cursor_name": self.cursor_name,
            "read": self.read,
            "pages": self.pages,
            "parents": self.parents,
            "records": self.records,
            "refused": self.refused,
            "passed_over": self.passed_over,
            "vouches": self.vouches,
            "complete": self.complete,
            "cut": self.cut,
            "lacking": dict(self.lacking),
            "took": [list(each) for each in self.took],
        }

    @classmethod
    def resume(
        cls, position: Mapping[str, Any] | None, fingerprint: str, now: datetime
    ) -> Snapshot | None:
        """Return the snapshot of a checkpoint.

        None when it was another one's or unreadable, or was left so long ago that what it has read
        is not worth much any more.
        """
        try:
            if position is None or position["fingerprint"] != fingerprint:
                return None
            state = dict(position)
            if now - datetime.fromisoformat(state.pop("at")) > WORTH_RESUMING:
                return None
            began_at = datetime.fromisoformat(state.pop("began_at"))
            place = state.pop("walk")
            walk = None if place is None else resume_walk(place)
            resumed = cls(began_at=began_at, walk=walk, **state)
        except (KeyError, TypeError, ValueError):
            return None
        if isinstance(resumed.walk, OffsetWalk):
            # No server keeps our place there, and what is added or removed moves the rest: what
            # was not seen would prove nothing. The list in hand begins anew.
            resumed.walk = None
        return resumed

    def next_stage(self) -> None:
        """Go on to the next resource."""
        self.took.append([self.pages, self.parents])
        self.stage += 1
        self.begin_stage()
        self.vouches = True

    def begin_stage(self) -> None:
        """Begin the resource in hand, for the first time or again."""
        self.parent, self.list_number, self.walk, self.read = None, 0, None, False
        self.pages = self.parents = self.records = self.refused = 0


def fingerprint_of(stream: Stream, prefix: str, page_size_records: int) -> str:
    """Return what a position is good for: these lists, in this order, with this page size."""
    about = [prefix, page_size_records, *(repr(resource.lists) for resource in stream.resources)]
    return blake2b(json.dumps(about).encode(), digest_size=8).hexdigest()


class SnapshotExtractor:
    """Reads one resource of one project as a whole, or single records of it.

    accepted: by the address of a list, how many rows it may count that it does not show.
    keep_fields: fields that the catalogue does not know and whose text is kept where secrets are,
    as `table.field`.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        project_id: int,
        *,
        prefix: str,
        page_size_records: int,
        next_parents: NextParents,
        accepted: Mapping[str, int] | None = None,
        keep_fields: Collection[str] = (),
    ) -> None:
        self._client = client
        self._resource = resource
        self._project_id = project_id
        self._prefix = prefix
        self._limit = page_size_records
        self._next_parents = next_parents
        self._accepted = accepted or {}
        named = (name.split(".") for name in keep_fields)
        self._admitted = {tuple(path) for table, *path in named if table == resource.tables[0].name}
        self._project_gone: bool | None = None

    @property
    def parent_fields(self) -> Sequence[str]:
        """The fields that tell one parent from the other."""
        return () if self._resource.parents is None else tuple(self._resource.parents.fields)

    async def pages(self, snapshot: Snapshot) -> AsyncIterator[Page]:
        """Yield what is left of the resource; `snapshot` moves along, and is `read` at the end.

        The first page of a resource is empty: from it on, what is stored is in doubt until it is
        shown. Safe to repeat from any position: rows may come twice, none is left out. Raises
        SourceError and BudgetSpent.
        """
        if snapshot.read:
            return
        if snapshot.parents == 0:
            yield self._page(snapshot, [], Sighting([], begins=True))
        async for page in self._gathered(self._lists(snapshot)):
            yield page
        snapshot.read = True
        yield self._page(snapshot, [], Sighting([]))

    async def object_of(self, parent: Parent) -> tuple[Record, Answer, bool] | None:
        """Return what the resource is for `parent`, and whether it is dirty; None: it is gone.

        For resources that have no list, but one object for each parent. Safe to repeat. Raises
        SourceError and BudgetSpent.
        """
        if not self._resource.lists[0].takes(parent):
            return None
        path, params = self._address(self._resource.lists[0], parent)
        request = Request(path, params, self._resource.budget_classes)
        try:
            answer = await self._client.fetch(request)
        except StreamUnavailable as exc:
            if not is_record_gone(exc):
                raise
            return None
        record, dirty = parse_record(answer.body)
        return self.prepared(record, parent), answer, dirty

    async def confirm(self, keys: Sequence[str], known: Sequence[str] | None) -> Confirmed:
        """Ask for records by their keys.

        known: keys of records that are there. If no answer shows a record, and none of these is
        found either, the server does not answer such questions. None, or where there are none: the
        answers are believed without. Safe to repeat. Raises SourceError and BudgetSpent.
        """
        before, source_at = self._client.now, self._client.source_now
        singles = await ask_singly(self._client, self._one, keys, known or ())
        decoded = [parse_record(answer.body) for answer in singles.found]
        proven = bool(decoded) or not (singles.gone and known)
        proven = proven or await finds_one(self._client, self._one, known or ())
        page = Page(
            [self.prepared(record, {}) for record, _ in decoded],
            any(dirty for _, dirty in decoded),
            before,
            size_bytes=sum(len(answer.body) for answer in singles.found),
            position={},
            last=False,
            source_at=source_at,
            sighting=Sighting([]),
        )
        return Confirmed.of(page, keys, singles.gone, singles.failed, singles.why_failed, proven)

    def _one(self, key: str) -> Request | None:
        """Return the request for one record; None if its key cannot stand in an address."""
        one = self._resource.one
        assert one is not None
        values = [key] if len(self._resource.key) == 1 else json.loads(key)
        named = dict(zip(self._resource.key, values, strict=True))
        if not one.takes(named):
            return None
        path, params = self._address(one, named)
        return Request(path, params, self._resource.retrieve_classes)

    async def is_project_gone(self) -> bool:
        """Tell whether the project itself is not found; asks once. Raises BudgetSpent.

        A 404 that names a project is believed only then. A key without the scope for it learns
        nothing: then the project counts as there.
        """
        if self._project_gone is None:
            try:
                await self._client.fetch(project_request(self._project_id), attempts=2)
                self._project_gone = False
            except SourceError as exc:
                self._project_gone = isinstance(exc, StreamUnavailable) and exc.status == 404
        return self._project_gone

    def prepared(self, record: Record, parent: Parent) -> Record:
        """Return a record without its secrets, and with what it belongs to."""
        if self._resource.secrets is not None:
            record = withhold(record, self._resource.secrets, self._admitted)
        if not isinstance(record, dict):
            return record
        if self._resource.redact is not None:
            record = self._resource.redact(record)
        return {**record, **parent}

    async def _lists(self, snapshot: Snapshot) -> AsyncIterator[Page]:
        """Yield the pages of every list of every parent, from the place of `snapshot` on."""
        refused: SourceError | None = None
        # Not kept with the place, so that a later run gets past parents that are neighbours.
        foreign = 0
        async for parent in self._parents(snapshot):
            try:
                for number in range(snapshot.list_number, len(self._resource.lists)):
                    snapshot.list_number = number
                    async for page in self._list(snapshot, self._resource.lists[number], parent):
                        foreign = 0
                        yield page
                    snapshot.walk = None
            except (StreamUnavailable, ForeignAnswer) as exc:
                if not parent or not await self._is_about_parent(exc):
                    raise
                # It vanished while we were reading, or the key's owner may not see it, or a
                # firewall lets nothing through for it: what belongs to it is not judged this time.
                refused, snapshot.walk = exc, None
                snapshot.refused += 1
                foreign = foreign + 1 if isinstance(exc, ForeignAnswer) else 0
                if foreign:
                    snapshot.passed_over += 1
                    if foreign >= FOREIGN_PARENTS:
                        raise
                _log.info("parent.refused", reason=exc.message)
                yield self._page(snapshot, [], self._unjudged(parent))
            snapshot.list_number = 0
        if refused is not None and snapshot.refused == snapshot.parents:
            raise refused  # not one of them: it is the stream that is not to be had

    async def _is_about_parent(self, exc: SourceError) -> bool:
        """Tell whether an error may be one parent's and not the stream's."""
        if names_the_project(exc):
            return not await self.is_project_gone()
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

    def _unjudged(self, parent: Parent) -> Sighting:
        return Sighting([], unjudged=[[str(parent[name]) for name in self.parent_fields]])

    async def _parents(self, snapshot: Snapshot) -> AsyncIterator[Parent]:
        """Yield the parents from the one in hand on; a resource without any is read once."""
        if self._resource.parents is None:
            snapshot.parents = 1
            yield {}
            return
        names = self.parent_fields
        if snapshot.parent is not None:
            fields = dict(zip(names, snapshot.parent, strict=True))
            yield {**self._resource.parents.constant, **fields}
        while parents := await self._next_parents(snapshot.parent, PARENTS_AT_ONCE):
            for parent in parents:
                snapshot.parent = [parent[name] for name in names]
                snapshot.parents += 1
                yield parent

    async def _list(
        self, snapshot: Snapshot, address: Address, parent: Parent
    ) -> AsyncIterator[Page]:
        """Yield the pages of one list, from where its walk is on."""
        resumed = snapshot.walk is not None
        while True:
            try:
                ask, answer, listed = await self._ask(snapshot, address, parent, resumed=resumed)
                page, last = self._take(snapshot, ask, answer, listed, address, parent)
            except (ListingBroken, RequestRefused, SourceUnavailable) as exc:
                if not resumed:
                    raise
                # A cursor from before a deploy is an error, or leads to page one without a word.
                _log.warning("list.restarted", reason=exc.message)
                snapshot.walk, resumed = None, False
                continue
            resumed = False
            yield page
            if last:
                return

    async def _ask(
        self, snapshot: Snapshot, address: Address, parent: Parent, *, resumed: bool
    ) -> tuple[Ask, Answer, RecordList]:
        """Fetch and parse the next page, smaller when the server cannot manage it."""
        path, params = self._address(address, parent)
        unreadable = 0
        while True:
            ask = Ask(self._limit) if snapshot.walk is None else snapshot.walk.ask(self._limit)
            request = page_request(
                path,
                params,
                ask if self._resource.paged else None,
                self._resource.budget_classes,
                snapshot.cursor_name,
            )
            shrinkable = self._resource.paged and ask.limit > SMALLEST_PAGE_RECORDS
            try:
                answer = await self._client.fetch(
                    request, shrinkable=shrinkable, attempts=2 if resumed else None
                )
                return ask, answer, parse_page(answer.body, self._resource.records)
            except SourceOverloaded as exc:
                if not shrinkable:
                    raise
                if isinstance(snapshot.walk, OffsetWalk) and ask.limit > self._limit:
                    snapshot.walk.give_up_large_pages()
                else:
                    self._limit = max(SMALLEST_PAGE_RECORDS, ask.limit // 2)
                _log.warning("page.shrunk", limit=self._limit, reason=exc.message)
            except SourceUnavailable as exc:
                unreadable += 1
                if exc.status != 200 or unreadable >= UNREADABLE_ATTEMPTS:
                    raise
                _log.warning("page.unreadable", reason=exc.message, attempt=unreadable)

    def _take(
        self,
        snapshot: Snapshot,
        ask: Ask,
        answer: Answer,
        listed: RecordList,
        address: Address,
        parent: Parent,
    ) -> tuple[Page, bool]:
        """Return the page of an answer, and whether its list is at its end."""
        records = [self.prepared(record, parent) for record in listed.records]
        if snapshot.stage == snapshot.pages == 0 and answer.source_at is not None:
            # Before the first answer one clock less could vote.
            snapshot.began_at = answer.source_at
        snapshot.pages += 1
        snapshot.records += len(records)
        last, judged = True, listed.current or not parent
        if self._resource.paged:
            keys = [_key(record, self._resource.key) for record in records]
            if self._repeats(snapshot.walk, listed):
                # What it showed is all there is, unless it was cut.
                snapshot.cut |= len(keys) >= COLLECTION_CUT
                judged &= len(keys) < COLLECTION_CUT
            else:
                last = self._walk_on(snapshot, ask, listed, keys, self._name(address, parent))
        elif listed.more:
            snapshot.cut = True
        if last and snapshot.walk is not None:
            # A position between two lists begins the next one.
            snapshot.walk = None
        position = dict(snapshot.position(self._client.now))
        if last:
            position["list_number"] = snapshot.list_number + 1
        page = Page(
            records=records,
            dirty=listed.dirty,
            observed_at=answer.requested_at,
            source_at=answer.source_at,
            size_bytes=len(answer.body),
            position=position,
            last=last,
            # An answer marked as refreshing may be incomplete.
            sighting=Sighting([]) if judged else self._unjudged(parent),
        )
        return page, last

    def _repeats(self, walk: CursorWalk | OffsetWalk | None, listed: RecordList) -> bool:
        """Tell whether a list that may ignore its cursor has come with the same one again."""
        return (
            self._resource.repeats
            and isinstance(walk, CursorWalk)
            and listed.cursor is not None
            and listed.cursor == walk.after
        )

    def _walk_on(
        self, snapshot: Snapshot, ask: Ask, listed: RecordList, keys: Sequence[str], name: str
    ) -> bool:
        """Note an answer in the walk through its list; tell whether that is at its end."""
        resource = self._resource
        if snapshot.walk is None:
            by_cursor = listed.by_cursor and (listed.cursor is not None or not listed.more)
            accepted = self._accepted.get(name, 0)
            snapshot.walk = CursorWalk() if by_cursor else OffsetWalk(accepted=accepted)
            snapshot.cursor_name = listed.cursor_name
        order = resource.order or resource.created
        step = snapshot.walk.take(
            ask,
            Listing(
                keys=keys,
                settled=[
                    _settled(record, resource.created, snapshot.began_at)
                    for record in listed.records
                ],
                more=listed.more,
                cursor=listed.cursor,
                count=listed.count,
                order=() if order is None else [_text_of(r, order) for r in listed.records],
            ),
        )
        snapshot.complete &= step.complete
        if step.unaccounted:
            snapshot.lacking[name] = step.unaccounted
        return step.last

    def _name(self, address: Address, parent: Parent) -> str:
        """Return what traits call a list: its address without the project."""
        path, params = address.fill(parent)
        return f"{path}?{urlencode(params)}" if params else path

    def _page(self, snapshot: Snapshot, records: list[Record], sighting: Sighting) -> Page:
        return Page(
            records=records,
            dirty=False,
            observed_at=self._client.now,
            source_at=self._client.source_now,
            size_bytes=0,
            position=snapshot.position(self._client.now),
            last=snapshot.read,
            sighting=sighting,
        )

    def _address(self, address: Address, values: Parent) -> tuple[str, list[tuple[str, str]]]:
        path, params = address.fill(values)
        prefix = address.prefix or self._prefix
        return f"/api/{prefix}/{self._project_id}/{path}", params


def _together(one: Page, other: Page) -> Page:
    """Return two pages as one, observed when the first one was, standing where the second does."""
    unjudged = [owner for page in (one, other) if page.sighting for owner in page.sighting.unjudged]
    return replace(
        other,
        records=[*one.records, *other.records],
        dirty=one.dirty or other.dirty,
        observed_at=one.observed_at,
        source_at=one.source_at,
        size_bytes=one.size_bytes + other.size_bytes,
        sighting=Sighting([], unjudged=unjudged),
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
