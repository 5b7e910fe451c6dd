"""Walks over lists that count ids, some of which have no row (PostHog's lists of persons)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.walk import MOST_HIDDEN_IDS, OVERLAP_ROWS, Ask, Listing, OffsetWalk, resume_walk
from etl.errors import ListingBroken
from tests.support.examples import LONG


@dataclass(frozen=True)
class Change:
    """What happens before a request. `at` picks an id, or is a count of new ones at the front."""

    kind: str
    at: int


@dataclass
class ListOfIds:
    """Ids in a fixed order; those in `bare` have no row. Limit and offset count ids.

    changes: one list per request; later nothing changes.
    pages: the most ids that the server looks up, by turns; None: as many as asked for.
    """

    ids: list[int]
    bare: set[int]
    changes: Sequence[Sequence[Change]] = ()
    pages: Sequence[int | None] = (None,)
    loaded: set[int] = field(default_factory=set)
    requests: int = 0

    def __post_init__(self) -> None:
        self.undisturbed = set(self.ids) - self.bare
        self.born = max(self.ids, default=0)

    @property
    def missed(self) -> set[int]:
        """Rows that were there the whole time and were never shown."""
        return self.undisturbed - self.loaded

    def answer(self, ask: Ask) -> Listing:
        """Make the next changes, then answer."""
        if self.requests < len(self.changes):
            for change in self.changes[self.requests]:
                self._apply(change)
        most = self.pages[self.requests % len(self.pages)]
        size = ask.limit if most is None else min(ask.limit, most)
        self.requests += 1
        offset = ask.offset or 0
        found = self.ids[offset : offset + size]
        shown = [each for each in found if each not in self.bare]
        self.loaded |= {*shown}
        # As PostHog does: full of ids means that there is more, so the last page may be empty.
        more = len(found) == size
        return Listing(
            [f"{each}" for each in shown],
            [True] * len(shown),
            more=more,
            order=[f"{each:06}" for each in shown],
            next_offset=offset + len(found) if more else None,
        )

    def _apply(self, change: Change) -> None:
        if change.kind == "add":
            for _ in range(change.at):
                self.born += 1
                self.ids.insert(0, self.born)
            return
        if not self.ids:
            return
        picked = self.ids[change.at % len(self.ids)]
        self.undisturbed.discard(picked)
        if change.kind == "delete":
            self.ids.remove(picked)
            self.bare.discard(picked)
        else:  # its row is gone, its id is not yet
            self.bare.add(picked)


def read(source: ListOfIds, limit: int, *, resumes: bool = False, most: int = 9000) -> bool:
    """Walk to the end; tell whether the walk vouches for every row."""
    walk = OffsetWalk()
    for _ in range(most):
        ask = walk.ask(limit)
        try:
            step = walk.take(ask, source.answer(ask))
        except ListingBroken:
            return False
        if step.last:
            return step.complete
        if resumes:
            resumed = resume_walk(json.loads(json.dumps(walk.position())))
            assert isinstance(resumed, OffsetWalk)
            walk = resumed
    raise AssertionError(f"no end after {most} requests")


IDS = st.integers(0, 70).map(lambda count: list(range(count, 0, -1)))
CHANGES = st.lists(
    st.lists(
        st.builds(Change, st.sampled_from(["add", "delete", "bare"]), st.integers(0, 60))
        | st.builds(Change, st.just("delete"), st.integers(0, 3)),
        max_size=8,
    ),
    max_size=12,
)


@LONG
@given(
    IDS,
    st.sets(st.integers(1, 70)) | st.sets(st.integers(1, 70), max_size=3),
    CHANGES,
    st.lists(st.none() | st.integers(2, 20), min_size=1, max_size=3),
    st.integers(2, 30),
    st.booleans(),
)
def test_nothing_that_was_there_throughout_is_lost(
    ids: list[int],
    bare: set[int],
    changes: list[list[Change]],
    pages: list[int | None],
    limit: int,
    resumes: bool,
) -> None:
    """While ids are added at the front and deleted anywhere, and rows drop out of pages."""
    source = ListOfIds(ids, bare & {*ids}, changes, pages)
    if read(source, limit, resumes=resumes):
        assert source.missed == set()


@LONG
@given(IDS, st.sets(st.integers(1, 70)), st.integers(2, 30))
def test_ids_without_rows_are_neither_the_end_nor_movement(
    ids: list[int], bare: set[int], limit: int
) -> None:
    """A list that stands still is read whole in one pass: each request goes further by half a page.

    However many of its ids have no row, and wherever they are.
    """
    source = ListOfIds(ids, bare & {*ids})
    assert read(source, limit)
    assert source.missed == set()
    assert source.requests <= 2 + ceil(len(ids) / max(1, limit // 2))


def test_a_list_without_such_ids_costs_one_pass() -> None:
    """In overlapping pages."""
    for count in (100, 101, 1000, 3333):
        source = ListOfIds(list(range(count, 0, -1)), set())
        assert read(source, 100)
        assert source.requests <= 1 + ceil(count / (100 - OVERLAP_ROWS))


@given(st.integers(1, 15), st.integers(0, 20))
def test_rows_that_slip_by_because_others_are_deleted_are_noticed(gone: int, after: int) -> None:
    """All other rows of a page and more vanish while its next one is asked for."""
    page, count = 20, 200
    deleted = [Change("delete", 0)] * (gone * 3)
    source = ListOfIds(list(range(count, 0, -1)), set(), [*([[]] * after), deleted], [page])
    assert read(source, page)
    assert source.missed == set()


@pytest.mark.parametrize("first", [0, 40])
def test_pages_without_any_row_are_no_end(first: int) -> None:
    """At the beginning of a list, or in it: more than any first page looks at."""
    source = ListOfIds(list(range(200, 0, -1)), set(range(200 - first, 100 - first, -1)))
    assert read(source, 20)
    assert source.missed == set()


@pytest.mark.parametrize("bare", [90, 130, 250, 1000])
def test_what_lies_behind_more_ids_without_rows_than_a_page_holds_is_read(bare: int) -> None:
    """The server looks up a hundred ids at once, so no page can show that nothing lies between."""
    source = ListOfIds(list(range(2000, 0, -1)), set(range(700, 700 + bare)), pages=[100])
    read(source, 1000)
    assert source.missed == set()


def test_many_ids_without_rows_are_passed_by_few_requests() -> None:
    """Each request asks for twice as many as the one before."""
    source = ListOfIds(list(range(5000, 0, -1)), set(range(500, 4900)))
    assert read(source, 100)
    assert (source.missed, source.requests < 20) == (set(), True)


def test_a_server_that_promises_more_and_never_shows_a_row_stops_the_walk() -> None:
    """After so many ids."""

    def read_on(walk: OffsetWalk) -> None:
        reached = 0
        while reached <= 3 * MOST_HIDDEN_IDS:
            ask = walk.ask(1000)
            reached = (ask.offset or 0) + ask.limit
            walk.take(ask, Listing([], [], more=True, next_offset=reached))

    with pytest.raises(ListingBroken, match="shows no rows"):
        read_on(OffsetWalk())


@pytest.mark.parametrize("named", [0, 3, 99])
def test_an_offset_that_the_request_cannot_have_reached_is_not_believed(named: int) -> None:
    """The list is then read as one that does not name its offsets: in two passes."""
    walk = OffsetWalk()
    keys = [f"{each}" for each in range(10)]
    walk.take(walk.ask(10), Listing(keys, [True] * 10, more=True, next_offset=named))
    ask = walk.ask(10)
    assert not walk.take(ask, Listing(keys[-5:], [True] * 5, more=False)).last
