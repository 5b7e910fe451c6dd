"""Lists that only grow: whatever happens between and during readings, no row is lost or stale.

A model server, read by the reader of snapshots. What a run has committed is kept as a database
would keep it: rows, place, and how far each list was read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from etl.core.document import decode_record
from etl.core.growing import OVERLAP, ListState, instant_of
from etl.core.page import Page
from etl.core.place import SnapshotPlace
from etl.extractors.protocol import Answer, Request
from etl.extractors.single import SingleReader
from etl.extractors.snapshot import SnapshotReader
from etl.streams.activity import SUBSCRIPTION_DELIVERIES

(DELIVERIES,) = SUBSCRIPTION_DELIVERIES.resources
START = datetime(2026, 5, 1, tzinfo=UTC)
PARENTS = (1, 2)
Row = dict[str, Any]


@dataclass
class Server:
    """Deliveries of two subscriptions. It has the time, and is the client that asks it, too."""

    page_rows: int
    newest_first: bool = True
    now: datetime = START
    rows: list[Row] = field(default_factory=list)
    requests: int = 0

    @property
    def source_now(self) -> datetime:
        """Its clock is right."""
        return self.now

    def add(self, parent: int, late: timedelta, *, is_open: bool) -> None:
        """Add a row that becomes visible so long after the instant that it bears."""
        at = self.now - late
        row = {
            "id": f"018f0000-0000-7000-8000-{len(self.rows):012x}",
            "subscription": parent,
            "created_at": at.isoformat(),
            "status": "starting",
            "finished_at": None if is_open else at.isoformat(),
        }
        self.rows.append(row)

    def finish(self, nth: int) -> None:
        """End one of the deliveries that are still open."""
        waiting = [row for row in self.rows if row["finished_at"] is None]
        if waiting:
            waiting[nth % len(waiting)].update(status="completed", finished_at=self.now.isoformat())

    async def fetch(self, request: Request, **_: Any) -> Answer:
        """Answer a page; the cursor is the position of the last row of the page before."""
        self.requests += 1
        parent = int(request.path.split("/")[5])
        rows = sorted(
            (row for row in self.rows if row["subscription"] == parent),
            key=position,
            reverse=self.newest_first,
        )
        after = dict(request.params).get("cursor")
        if after is not None:
            reached = json.loads(after)
            beyond = (lambda p: p < reached) if self.newest_first else (lambda p: p > reached)
            rows = [row for row in rows if beyond(position(row))]
        page = rows[: self.page_rows]
        following = None
        if len(rows) > len(page):
            query = {"cursor": json.dumps(position(page[-1]))}
            following = f"https://elsewhere.example{request.path}?{urlencode(query)}"
        body = {"next": following, "previous": None, "results": page}
        return Answer(json.dumps(body).encode(), self.now, self.now)


def position(row: Row) -> list[str]:
    """Where a row stands in its list."""
    return [row["created_at"], row["id"]]


@dataclass
class Copy:
    """What is committed."""

    rows: dict[str, Row] = field(default_factory=dict)
    lists: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    place: str | None = None

    def state(self, parent: int) -> ListState:
        """What the loader reads from its tables."""
        if str(parent) not in self.lists:
            return ListState()
        opened = [
            instant_of(row, "created_at")
            for row in self.rows.values()
            if row["subscription"] == parent and row["finished_at"] is None
        ]
        until, page_rows = self.lists[str(parent)]
        return ListState(until, min((at for at in opened if at), default=None), page_rows)

    def commit(self, page: Page) -> None:
        """Commit a page with its place, all or nothing."""
        assert page.place is not None
        rows = [decode_record(record)[0] for record in page.records]
        self.rows |= {row["id"]: row for row in rows}
        if page.read is not None:
            self.lists[page.read.parent] = (page.read.until, page.read.page_rows)
        self.place = None if page.place.ended else json.dumps(page.place.position())


async def read(
    server: Server,
    copy: Copy,
    *,
    dies_after: int | None = None,
    meanwhile: Callable[[int], None] = lambda page: None,
) -> None:
    """Read as a sync does, on from where the last one died; die after so many commits."""

    async def next_parents(after: Sequence[Any] | None, limit: int) -> list[dict[str, Any]]:
        reached = 0 if after is None else after[0]
        return [{"subscription": each} for each in PARENTS if each > reached]

    async def bound_of(parent: Any) -> datetime | None:
        return copy.state(parent["subscription"]).bound(server.now)

    single = SingleReader(server, DELIVERIES, 1, prefix="projects")  # type: ignore[arg-type]
    reader = SnapshotReader(server, single, 100, next_parents, {}, bound_of)  # type: ignore[arg-type]
    kept = None if copy.place is None else json.loads(copy.place)
    place = SnapshotPlace.resume_at(kept, "here", server.now)
    if place is None:
        place = SnapshotPlace(fingerprint="here", began_at=server.now, at=server.now)
    number = 0
    async for page in reader.pages(place, doubts=False):
        if number == dies_after:
            return
        copy.commit(page)
        meanwhile(number)
        number += 1


def until_it_is_read(server: Server, copy: Copy) -> None:
    """One more reading, and the whole of another if the first only ended what was begun."""
    for _ in range(2):
        asyncio.run(read(server, copy))


def requests_foreseen(server: Server, copy: Copy) -> int:
    """What `plan` says of the next reading."""
    total = 0
    for parent in PARENTS:
        state = copy.state(parent)
        bound = state.bound(server.now)
        assert bound is not None
        own = [
            instant_of(row, "created_at")
            for row in copy.rows.values()
            if row["subscription"] == parent
        ]
        newer = sum(at >= bound for at in own if at is not None)
        total += state.requests(newer, any_older=newer < len(own))
    return total


_LATE = st.integers(0, 55).map(lambda minutes: timedelta(minutes=minutes))
_EVENTS = st.one_of(
    st.tuples(
        st.just("add"), st.sampled_from(PARENTS), _LATE, st.booleans(), st.sampled_from([1, 9])
    ),
    st.tuples(st.just("finish"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 90, 240])),
)
_READINGS = st.tuples(
    st.just("read"),
    st.none() | st.integers(0, 6),
    st.lists(st.lists(_EVENTS, max_size=3), max_size=4),
    st.booleans(),
)


def happen(server: Server, event: Any) -> None:
    """Something happens at the source."""
    match event:
        case ("add", parent, late, is_open, count):
            for _ in range(count):
                server.now += timedelta(seconds=1)
                server.add(parent, late, is_open=is_open)
        case ("finish", nth):
            server.finish(nth)
        case ("wait", minutes):
            server.now += timedelta(minutes=minutes)


@settings(max_examples=200)
@given(
    page_rows=st.integers(1, 4),
    newest_first=st.sampled_from([True, True, True, False]),
    history=st.lists(_EVENTS | _READINGS, min_size=5, max_size=30),
)
def test_no_row_is_lost_or_stale_wherever_readings_die(
    page_rows: int, newest_first: bool, history: list[Any]
) -> None:
    """Rows are added late and finish while lists are read; the order may be the other one."""
    server, copy = Server(page_rows, newest_first), Copy()
    for step in history:
        if step[0] != "read":
            happen(server, step)
            continue
        _, dies_after, events, lasts = step

        def meanwhile(page: int, events: list[Any] = events) -> None:
            for event in events[page] if page < len(events) else ():
                happen(server, event)

        asyncio.run(read(server, copy, dies_after=dies_after, meanwhile=meanwhile))
        if not lasts:
            copy.place = None  # it becomes too old, or the server forgets it
    until_it_is_read(server, copy)
    assert sorted(copy.rows.values(), key=position) == sorted(server.rows, key=position)


@settings(max_examples=100)
@given(
    page_rows=st.integers(2, 4),
    history=st.lists(_EVENTS, max_size=30),
    quiet=st.integers(0, 600),
)
def test_a_quiet_reading_takes_as_many_requests_as_foreseen(
    page_rows: int, history: list[Any], quiet: int
) -> None:
    """However the rows lie about the bound. Rows of one instant show no order, so none are."""
    server, copy = Server(page_rows), Copy()
    for number, event in enumerate(history):
        happen(server, event)
        server.now += timedelta(seconds=number + 1)
    until_it_is_read(server, copy)
    server.now += timedelta(minutes=quiet)
    foreseen, before = requests_foreseen(server, copy), server.requests
    asyncio.run(read(server, copy))
    assert server.requests - before == foreseen


def test_a_reading_ends_below_the_bound_and_reads_what_is_still_open() -> None:
    """Of 100 pages a quiet reading takes one; an old open row takes it down to that row."""
    server, copy = Server(page_rows=5), Copy()
    for _ in range(500):
        server.now += timedelta(hours=1)
        server.add(1, timedelta(0), is_open=False)
    until_it_is_read(server, copy)
    server.now += 2 * OVERLAP
    before = server.requests
    asyncio.run(read(server, copy))
    assert server.requests - before == len(PARENTS)
    row = server.rows[-23]
    row["finished_at"] = None
    copy.rows[row["id"]] = dict(row)
    server.finish(0)
    before = server.requests
    asyncio.run(read(server, copy))
    assert (server.requests - before, copy.rows[row["id"]]["status"]) == (6, "completed")


def some_rows(server: Server, count: int) -> None:
    """Rows of one list, each a second after the one before."""
    for _ in range(count):
        server.now += timedelta(seconds=1)
        server.add(1, timedelta(0), is_open=False)


def test_a_reading_that_dies_moves_no_bound() -> None:
    """What it did not reach is read when its place is lost."""
    server, copy = Server(page_rows=2), Copy()
    some_rows(server, 9)
    server.now += timedelta(hours=3)
    asyncio.run(read(server, copy, dies_after=2))
    assert (len(copy.rows), copy.lists) == (2, {})
    copy.place = None
    asyncio.run(read(server, copy))
    assert len(copy.rows) == len(server.rows)


def test_what_is_added_while_a_list_is_read_is_read_next_time() -> None:
    """However long the reading takes: the bound goes by its beginning."""
    server, copy = Server(page_rows=2), Copy()
    some_rows(server, 9)

    def meanwhile(page: int) -> None:
        if page == 1:
            some_rows(server, 9)
            server.now += timedelta(hours=3)

    asyncio.run(read(server, copy, meanwhile=meanwhile))
    assert len(copy.rows) == 9
    asyncio.run(read(server, copy))
    assert len(copy.rows) == len(server.rows)


def test_what_a_clock_that_ran_ahead_has_written_is_not_believed() -> None:
    """Else the rows until that time would never be read."""
    state = ListState(read_until=START + timedelta(days=2), page_rows=5)
    assert state.bound(START) is None
    assert replace(state, read_until=START).bound(START) == START - OVERLAP
