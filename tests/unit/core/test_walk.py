"""Walks over lists that change, clamp pages, or give wrong answers."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.core.distinct import DistinctKeys
from etl.core.walk import (
    FARTHEST_MORE,
    FARTHEST_TIMES,
    MAX_EMPTY_PAGES,
    MAX_PASSES,
    ONE_ANSWER_ROWS,
    OVERLAP_ROWS,
    Ask,
    CursorWalk,
    CycleDetector,
    Listing,
    OffsetWalk,
    Step,
    resume_walk,
)
from etl.errors import ListingBroken
from tests.support.examples import LONG
from tests.unit.core.simulated import Change, ChangingList, End, end_of, walk_through

RANKS = st.one_of(
    st.lists(st.integers(0, 40), max_size=40), st.lists(st.integers(0, 2), max_size=40)
)
PLACES = st.one_of(st.just(0), st.integers(0, 60))
INSERT = st.builds(Change, st.just("insert"), PLACES, settled=st.booleans())
DELETE = st.builds(Change, st.just("delete"), PLACES)
MOVE = st.builds(Change, st.just("move"), PLACES, PLACES)
# Groups of rows that appear and vanish at one place in each pass: the hardest case for paging.
BURSTS = st.builds(
    lambda change, times: [change] * times, st.one_of(INSERT, DELETE), st.integers(1, 12)
)


def _changes(*kinds: st.SearchStrategy[Change]) -> st.SearchStrategy[list[list[Change]]]:
    batches = st.lists(st.one_of(BURSTS, st.lists(st.one_of(*kinds), max_size=6)), max_size=8)
    return st.builds(lambda few, times: few * times, batches, st.integers(1, 5))


NO_MOVES = _changes(INSERT, DELETE)
ANYTHING = _changes(INSERT, DELETE, MOVE)
RANDOM = st.randoms(use_true_random=False)


# --- by cursor --------------------------------------------------------------------------------


@LONG
@given(RANKS, ANYTHING, st.lists(st.integers(1, 15), min_size=1, max_size=4), st.booleans())
def test_a_cursor_misses_no_row_that_stayed_where_it_was(
    ranks: list[int], changes: list[list[Change]], pages: list[int], resumes: bool
) -> None:
    """Whatever is added, removed or moved at each request. Only moves may stop the walk."""
    source = ChangingList(ranks, changes, pages)
    end = end_of(CursorWalk(), source, 50, resumes=resumes)
    if end.broken:
        assert source.moved
    else:
        assert end.complete
        assert source.missed == set()


@given(RANKS, NO_MOVES, st.lists(st.integers(1, 15), min_size=1, max_size=4))
def test_resuming_by_cursor_equals_going_on(
    ranks: list[int], changes: list[list[Change]], pages: list[int]
) -> None:
    """After every page the resumed walk has the same position as the one in memory."""
    going_on = walk_through(CursorWalk(), ChangingList(ranks, changes, pages), 50)
    resumed = walk_through(CursorWalk(), ChangingList(ranks, changes, pages), 50, resumes=True)
    for one, other in zip(going_on, resumed, strict=True):
        assert one == other


def test_a_cursor_that_repeats_stops_the_walk() -> None:
    """The same cursor after another page would lead into a loop."""
    walk = CursorWalk()
    walk.take(walk.ask(2), Listing(["a", "b"], [True] * 2, more=True, cursor="x"))
    with pytest.raises(ListingBroken, match="same cursor"):
        walk.take(walk.ask(2), Listing(["c", "d"], [True] * 2, more=True, cursor="x"))


@given(st.integers(0, 30), st.integers(2, 30))
def test_cursors_that_go_round_stop_the_walk(before: int, period: int) -> None:
    """A cycle of cursors of any length ends the walk, however late it begins."""
    walk = CursorWalk()

    def take_all(pages: int) -> None:
        for number in range(pages):
            place = number if number < before else before + (number - before) % period
            listing = Listing([f"k{number}"], [True], more=True, cursor=f"c{place}")
            walk.take(walk.ask(1), listing)

    with pytest.raises(ListingBroken):
        take_all(10 * (before + period) + 10)


def test_a_list_that_begins_anew_stops_the_walk() -> None:
    """A server that cannot read our cursor silently starts at page one."""
    walk = CursorWalk()
    walk.take(walk.ask(4), Listing(list("abcd"), [True] * 4, more=True, cursor="1"))
    walk.take(walk.ask(4), Listing(list("efgh"), [True] * 4, more=True, cursor="2"))
    with pytest.raises(ListingBroken, match="began the list again"):
        walk.take(walk.ask(4), Listing(list("nabc"), [True] * 4, more=True, cursor="3"))


def test_the_same_page_twice_stops_the_walk() -> None:
    """Also under another cursor."""
    walk = CursorWalk()
    walk.take(walk.ask(2), Listing(["a", "b"], [True] * 2, more=True, cursor="1"))
    with pytest.raises(ListingBroken, match="same page twice"):
        walk.take(walk.ask(2), Listing(["a", "b"], [True] * 2, more=True, cursor="2"))


def test_more_without_a_cursor_stops_the_walk() -> None:
    """The rest cannot be reached, so the walk must not report that it is complete."""
    walk = CursorWalk()
    with pytest.raises(ListingBroken, match="no cursor"):
        walk.take(walk.ask(2), Listing(["a"], [True], more=True))


def test_empty_pages_with_a_promise_of_more_stop_the_walk() -> None:
    """A few are allowed, for a server that filters after paging; but not many."""
    walk = CursorWalk()
    for number in range(MAX_EMPTY_PAGES - 1):
        assert not walk.take(walk.ask(5), Listing([], [], more=True, cursor=f"{number}")).last
    with pytest.raises(ListingBroken, match="empty pages"):
        walk.take(walk.ask(5), Listing([], [], more=True, cursor="end"))


# --- by limit and offset ----------------------------------------------------------------------


@LONG
@given(
    RANKS,
    NO_MOVES,
    st.lists(st.integers(2, 15), min_size=1, max_size=4),
    st.integers(2, 50),
    st.booleans(),
    st.booleans(),
)
def test_offsets_miss_no_row_while_rows_come_and_go(
    ranks: list[int],
    changes: list[list[Change]],
    pages: list[int],
    limit: int,
    counts: bool,
    resumes: bool,
) -> None:
    """With pages of two rows or more, any number of rows may appear and vanish at each request.

    Every seam is checked, so a walk that reports complete has seen every row that existed the whole
    time.
    """
    source = ChangingList(ranks, changes, pages, counts=counts)
    end = end_of(OffsetWalk(), source, limit, resumes=resumes)
    if end.complete:
        assert source.missed == set()


@LONG
@given(RANKS, st.data(), st.integers(2, 14), st.booleans(), st.booleans(), RANDOM)
def test_offsets_miss_no_row_while_no_more_rows_move_than_pages_overlap(
    ranks: list[int],
    data: st.DataObject,
    page: int,
    counts: bool,
    resumes: bool,
    shuffle: random.Random,
) -> None:
    """Rows may even move, if between two requests no more rows move than the pages overlap.

    Rows that tie and change their order count as moving: all of them except one.
    """
    overlap = min(OVERLAP_ROWS, page // 2)
    ties = data.draw(st.integers(1, overlap + 1))
    ranks = [place // ties for place in range(len(ranks))]
    leaving = st.lists(st.one_of(DELETE, MOVE), max_size=overlap - (ties - 1))
    # No row is inserted among the ties: that would make them longer.
    staying = st.lists(INSERT.map(lambda change: replace(change, at=100 + change.at)), max_size=8)
    both = st.builds(lambda leave, stay: [*leave, *stay], leaving, staying)
    changes = [
        [replace(c, to=200 + i) if c.kind == "move" else c for c in batch]
        for i, batch in enumerate(data.draw(st.lists(both, max_size=25)))
    ]
    source = ChangingList(ranks, changes, [page], tie_break=False, counts=counts, shuffle=shuffle)
    end = end_of(OffsetWalk(), source, page, resumes=resumes)
    if end.complete:
        assert source.missed == set()


@LONG
@given(
    RANKS,
    ANYTHING,
    st.lists(st.integers(1, 15), min_size=1, max_size=4),
    st.one_of(st.integers(1, 5), st.just(50)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), RANDOM),
)
def test_offsets_always_come_to_an_end(
    ranks: list[int],
    changes: list[list[Change]],
    pages: list[int],
    limit: int,
    counts: bool,
    says_end: bool,
    resumes: bool,
    shuffle: random.Random | None,
) -> None:
    """Whatever the server does, the number of requests is limited by the rows that ever existed.

    Also if small pages meet ties whose order depends on the offset.
    """
    source = ChangingList(
        ranks,
        changes,
        pages,
        tie_break=False,
        counts=counts,
        says_end=says_end,
        shuffle=shuffle or random.Random(),
        ties_by_offset=shuffle is None,
    )
    end_of(OffsetWalk(), source, limit, resumes=resumes)


@given(
    st.integers(0, 130),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_list_that_stands_still_is_read_whole_whatever_its_pages(
    rows: int, page: int, counts: bool, says_end: bool, resumes: bool
) -> None:
    """With or without count, end mark or the page size asked for: complete, and no row is missing.

    Short pages are not the end, and no reason to stop.
    """
    source = ChangingList(list(range(rows)), pages=[page], counts=counts, says_end=says_end)
    end = end_of(OffsetWalk(), source, 50, resumes=resumes)
    assert (end.complete, end.broken) == (True, False)
    assert source.missed == set()


@given(st.integers(0, 130), st.integers(1, 40), st.booleans())
def test_going_on_by_offset_in_another_process_costs_one_more_pass(
    rows: int, page: int, counts: bool
) -> None:
    """The keys that the other process met are not known, so the next pass has to vouch."""
    ranks = list(range(rows))
    going_on = end_of(OffsetWalk(), ChangingList(ranks, pages=[page], counts=counts), 50)
    source = ChangingList(ranks, pages=[page], counts=counts)
    resumed = end_of(OffsetWalk(), source, 50, resumes=True)
    assert (resumed.complete, resumed.broken) == (True, False)
    assert resumed.requests <= 2 * going_on.requests + 1


def test_an_empty_page_is_no_end_when_the_list_has_shrunk_meanwhile() -> None:
    """Many new rows come and go during each pass, so the place reached lies after the end.

    Both passes then agree that there is nothing; but the empty page does not show the seam again.
    """
    come = [Change("insert", 0, settled=False)] * 6
    go = [Change("delete", 0)] * 6
    source = ChangingList([5, 6, 7, 8], [come, [], go] * 2, pages=[4])
    end = end_of(OffsetWalk(), source, 4)
    assert end.complete
    assert source.missed == set()


def test_what_is_left_of_a_short_list_is_asked_for_at_once() -> None:
    """Two requests, if the server allows it."""
    source = ChangingList(list(range(300)), pages=[ONE_ANSWER_ROWS], counts=True)
    assert end_of(OffsetWalk(), source, 100) == End(complete=True, broken=False, requests=2)


def test_a_list_that_fits_the_first_page_takes_one_request() -> None:
    """The first answer holds everything."""
    source = ChangingList(list(range(30)))
    assert end_of(OffsetWalk(), source, 50).requests == 1


def test_an_empty_list_is_complete_after_one_request() -> None:
    """It is not asked for again."""
    assert end_of(OffsetWalk(), ChangingList([]), 50).requests == 1
    assert end_of(CursorWalk(), ChangingList([]), 50).requests == 1


def test_an_answer_with_fewer_rows_than_it_counts_is_not_everything() -> None:
    """Although it says that nothing follows."""
    keys = [f"{row}" for row in range(2)]
    walk = OffsetWalk()
    assert not walk.take(Ask(2, offset=0), Listing(keys, [True] * 2, more=False, count=12)).last
    assert not OffsetWalk().take(Ask(2), Listing([], [], more=False, count=12)).last


def test_empty_first_pages_with_a_promise_of_more_are_no_end() -> None:
    """However often they agree that there is nothing."""
    walk, passes = OffsetWalk(), 0
    while not (step := walk.take(walk.ask(10), Listing([], [], more=True, count=29))).last:
        passes += 1
    assert not step.complete
    assert passes < MAX_PASSES


def test_a_further_pass_that_begins_with_an_empty_page_certifies_nothing() -> None:
    """The count is that of the pass before; this pass has met one row of two."""
    walk = OffsetWalk(may_enlarge=False)
    assert not walk.take(walk.ask(1), Listing(["a"], [True], more=False, count=2)).last
    assert walk.pass_number == 2
    step = walk.take(walk.ask(1), Listing([], [], more=False, count=2))
    assert not (step.last and step.complete)


def test_a_list_that_never_agrees_with_itself_is_not_called_complete() -> None:
    """At each request an old row is replaced by another, so no two passes are equal."""
    changes = [[Change("delete", 1), Change("insert", 1, settled=True)]] * 1000
    source = ChangingList(list(range(40)), changes, pages=[10])
    walk = OffsetWalk()
    assert end_of(walk, source, 10).complete is False
    assert walk.pass_number == MAX_PASSES


def test_the_same_page_for_different_offsets_stops_the_walk() -> None:
    """Otherwise a server that ignores the offset would be read for ever."""
    walk = OffsetWalk()
    listing = Listing(["a", "b", "c", "d"], [True] * 4, more=True)
    walk.take(walk.ask(4), listing)
    with pytest.raises(ListingBroken, match="same page"):
        walk.take(walk.ask(4), listing)


@given(
    st.integers(0, 60),
    st.integers(1, 20),
    st.lists(st.sampled_from(["asked", "first", "any", "none"]), min_size=1, max_size=4),
    st.booleans(),
    RANDOM,
)
@example(23, 7, ["first", "asked"], True, random.Random(0))
def test_a_server_that_answers_other_offsets_than_asked_for_is_not_read_for_ever(
    rows: int, page: int, answers: list[str], counts: bool, chance: random.Random
) -> None:
    """Each of its pages may look as if rows had moved, so that the place moves on and on."""
    walk = OffsetWalk()
    # Twice for pages that are asked for again, twice for the seldom look at what is new.
    most = MAX_PASSES * 4 * (FARTHEST_TIMES * rows + FARTHEST_MORE)
    for answer, _ in zip(itertools.cycle(answers), range(most), strict=False):
        ask = walk.ask(50)
        begin = {"asked": ask.offset or 0, "first": 0, "any": chance.randint(0, rows), "none": rows}
        keys = [f"k{number}" for number in range(begin[answer], rows)][:page]
        listing = Listing(keys, [True] * len(keys), more=True, count=rows if counts else None)
        try:
            if walk.take(ask, listing).last:
                return
        except ListingBroken:
            return
    pytest.fail("it went on and on")


def test_the_same_page_as_the_last_one_stops_the_walk() -> None:
    """Otherwise passes over one page that comes for every offset would agree."""
    walk, keys = OffsetWalk(), ["a", "b", "c", "d"]
    walk.take(Ask(4, offset=0), Listing(keys, [True] * 4, more=True))
    with pytest.raises(ListingBroken, match="different offsets"):
        walk.take(walk.ask(4), Listing(keys, [True] * 4, more=False))


def test_rows_that_began_after_the_reading_do_not_keep_passes_from_agreeing() -> None:
    """New sessions arrive all the time. Only earlier rows have to be in both passes."""
    new = [Change("insert", 0, settled=False)]
    source = ChangingList(list(range(40)), [new] * 100, pages=[10])
    walk = OffsetWalk()
    assert end_of(walk, source, 10).complete
    assert walk.pass_number == 2


def test_without_large_pages_the_walk_goes_on_page_by_page() -> None:
    """Pages that are too large for the server are not asked for again."""
    walk = OffsetWalk()
    keys = [f"k{i}" for i in range(100)]
    walk.take(walk.ask(100), Listing(keys, [True] * 100, more=True, count=300))
    rest = Ask(limit=300 - (100 - OVERLAP_ROWS) + OVERLAP_ROWS, offset=100 - OVERLAP_ROWS)
    assert walk.ask(100) == rest
    walk.give_up_large_pages()
    assert walk.ask(100) == Ask(limit=100, offset=100 - OVERLAP_ROWS)
    later = [f"k{i}" for i in range(80, 180)]
    walk.take(walk.ask(100), Listing(later, [True] * 100, more=True, count=300))
    assert walk.ask(100) == Ask(limit=100, offset=180 - OVERLAP_ROWS)


# --- a pass that is enough --------------------------------------------------------------------

LISTS = 200
DRIFTS = ("nothing", "ties by offset", "deletes", "moves forward", "swaps and moves", "inserts")


def drifting(kind: str, seed: int, *, counts: bool) -> ChangingList:
    """A random list in pages of at most 20 rows that changes in one way while it is read.

    No two changes happen between the same two requests: the docstring of `core/walk.py` explains
    why.
    """
    chance = random.Random(f"{kind} {seed}")
    rows = chance.randint(5, 250)
    ranks = [1000 + place for place in range(rows)]
    if kind == "ties by offset":
        at, ties = chance.randrange(rows), chance.randint(2, 35)
        ranks = [1000 + at if at <= place < at + ties else 1000 + place for place in range(rows)]

    def change() -> Change:
        at = chance.randrange(rows)
        if kind == "deletes":
            return Change("delete", at)
        if kind == "inserts":
            return Change("insert", chance.randrange(1000), settled=False)
        if kind == "swaps and moves" and chance.random() < 0.5:
            return Change("swap", at, chance.randrange(rows))
        return Change("move", at, chance.randrange(1000 if kind == "moves forward" else 2000))

    quiet = kind in ("nothing", "ties by offset")
    often = chance.choice((0.05, 0.2, 0.5))
    changes = [[] if quiet or chance.random() > often else [change()] for _ in range(120)]
    return ChangingList(ranks, changes, [20], counts=counts, ties_by_offset=kind == DRIFTS[1])


@pytest.mark.parametrize("counts", [True, False], ids=["counts", "has_next"])
@pytest.mark.parametrize("kind", DRIFTS)
def test_no_row_is_lost_without_a_word_however_a_list_drifts(kind: str, counts: bool) -> None:
    """In 200 random lists: a complete walk has seen every row that existed the whole time.

    Also the rows that moved.
    """
    lost, completed = [], 0
    for seed in range(LISTS):
        source = drifting(kind, seed, counts=counts)
        end = end_of(OffsetWalk(), source, 20)
        completed += end.complete
        there = {key for key in source.rows if key.startswith("r")}
        if end.complete and not there <= source.loaded:
            lost.append(seed)
        if counts and not end.complete and kind == "ties by offset":
            assert end.unaccounted == len(there - source.loaded)
    assert lost == []
    if kind == "nothing":
        assert completed == LISTS
    # Ties that do not fit on a page take several passes, if the server counts.
    assert completed >= LISTS * (0.9 if counts and kind == "ties by offset" else 0.2)


@pytest.mark.parametrize(("counts", "most"), [(True, 1.05), (False, 2.1)])
def test_a_list_that_stands_still_costs_one_pass_where_the_server_counts_and_else_two(
    counts: bool, most: float
) -> None:
    """In overlapping pages, compared with the requests for its rows without overlap."""
    page = 100
    for rows in (1600, 1601, 2000, 3333, 5000):
        source = ChangingList(list(range(rows)), pages=[page], counts=counts)
        assert end_of(OffsetWalk(), source, page).complete
        assert source.requests <= most * ceil(rows / (page - OVERLAP_ROWS))


def test_a_list_that_grows_at_its_front_is_certified_by_one_more_look_there() -> None:
    """New recordings arrive at each request; seams and count grow alike."""
    changes = [[Change("insert", 99 - number, settled=False)] for number in range(40)]
    source = ChangingList(list(range(100, 800)), changes, pages=[100], counts=True)
    walk = OffsetWalk()
    assert end_of(walk, source, 100).complete
    assert (walk.pass_number, source.requests) == (1, 10)


def test_a_row_that_moves_to_the_middle_of_what_was_read_is_not_taken_for_a_new_one() -> None:
    """Another row appears behind it at the same time, so count and seams change alike."""
    changes: list[list[Change]] = [[] for _ in range(5)]
    changes[4] = [Change("move", 600, 150), Change("insert", 900)]
    source = ChangingList(list(range(100, 800)), changes, pages=[100], counts=True)
    walk = OffsetWalk()
    assert end_of(walk, source, 100).complete
    assert walk.pass_number > 1
    assert "r600" not in source.undisturbed
    assert "r500" in source.loaded
    assert set(source.rows) <= source.loaded


def test_a_row_that_moves_is_missed_by_its_count_though_another_one_vanished_before() -> None:
    """Both together leave the seams unchanged, but not the count."""
    changes: list[list[Change]] = [[] for _ in range(7)]
    changes[3], changes[6] = [Change("delete", 20)], [Change("move", 630, 150)]
    source = ChangingList(list(range(100, 800)), changes, pages=[100], counts=True)
    end = end_of(OffsetWalk(), source, 100)
    assert not end.complete or set(source.rows) <= source.loaded


def test_a_server_that_counts_more_than_it_lists_is_named_after_two_passes() -> None:
    """After the difference is accepted, one pass is enough."""
    source = ChangingList(list(range(500)), pages=[100], counts=True, overcounts=3)
    walk = OffsetWalk()
    end = end_of(walk, source, 100)
    assert (end.complete, end.unaccounted, walk.pass_number) == (False, 3, 2)
    again = ChangingList(list(range(500)), pages=[100], counts=True, overcounts=3)
    walk = OffsetWalk(accepted=3)
    assert (end_of(walk, again, 100).complete, walk.pass_number) == (True, 1)


def test_ties_that_fit_a_page_are_shown_again_whole() -> None:
    """200 rows in the middle tie, in an order that depends on the offset."""
    ranks = [min(rank, 2900) if rank < 3100 else rank for rank in range(6000)]
    source = ChangingList(ranks, pages=[1000], counts=True, ties_by_offset=True)
    walk = OffsetWalk()
    assert end_of(walk, source, 1000).complete
    assert (walk.pass_number, source.loaded) == (1, set(source.rows))


def test_a_walk_that_is_left_early_vouches_by_its_seams_and_counts() -> None:
    """If a row has moved meanwhile, it reads that part again with other pages."""

    def left_after(
        pages: int, counts: Sequence[int], moves_at: int | None = None
    ) -> tuple[bool, int]:
        walk = OffsetWalk(may_enlarge=False)
        for number in range(20):
            ask = walk.ask(10)
            at = ask.offset or 0
            # From that request on there is one row less before those that are read.
            at += moves_at is not None and number >= moves_at
            rows = range(at, at + 10)
            keys = [f"k{row}" for row in rows]
            enough = at + 10 >= pages * 5
            count = counts[min(number, len(counts) - 1)]
            settled = [row < 20 for row in rows]
            listing = Listing(keys, settled, more=True, count=count, enough=enough)
            step = walk.take(ask, listing)
            if step.last:
                return step.complete, walk.pass_number
        raise AssertionError("no end")

    assert left_after(5, [100]) == (True, 1)
    assert left_after(5, [100, 100, 99]) == (True, 2)
    assert left_after(5, [100], moves_at=2) == (True, 2)


@given(st.lists(st.text(max_size=3), max_size=60), st.integers(1, 9))
def test_distinct_keys_are_counted_exactly_however_few_are_held(keys: list[str], most: int) -> None:
    """Also those in the temporary file, in any number of parts."""
    distinct = DistinctKeys(most)
    for at in range(0, len(keys), 4):
        distinct.add(keys[at : at + 4])
    assert distinct.count() == len(set(keys))
    assert distinct.count() == len(set(keys))
    distinct.close()
    assert distinct.count() == 0


# --- what both share --------------------------------------------------------------------------


@given(st.lists(st.text(max_size=2), max_size=30), st.integers(1, 20), st.integers(1, 3))
def test_a_sequence_that_repeats_is_noticed_soon_and_only_then(
    before: list[str], period: int, times: int
) -> None:
    """Within three times its length; never without a repetition."""
    before = list(dict.fromkeys(f"b{mark}" for mark in before))
    cycle = [f"c{i}" for i in range(period)]
    detector = CycleDetector()
    assert not any(detector.repeats(mark) for mark in [*before, *cycle])
    rest = cycle * (3 * (len(before) + period) // period + times)
    assert any(detector.repeats(mark) for mark in rest)


@pytest.mark.parametrize(
    "position",
    [
        {},
        {"by": "magic"},
        {"by": "cursor"},
        {"by": "cursor", "cycle": 3},
        {"by": "offset", "cycle": {}, "unknown": 1},
    ],
)
def test_what_is_no_position_is_refused(position: dict[str, object]) -> None:
    """A checkpoint of another version is not a walk: the reading begins again."""
    with pytest.raises(ValueError, match="not the position"):
        resume_walk(position)


@given(st.lists(st.text(), min_size=1, max_size=5), st.text(min_size=1))
def test_positions_survive_json_whatever_the_keys_hold(keys: list[str], cursor: str) -> None:
    """Lone surrogates, NUL, quotes: a key is any text."""
    for walk, more in ((CursorWalk(), cursor), (OffsetWalk(), None)):
        step = walk.take(walk.ask(5), Listing(keys, [True] * len(keys), more=True, cursor=more))
        assert step == Step(last=False)
        position = json.loads(json.dumps(walk.position()))
        resumed = resume_walk(position)
        assert resume_walk(resumed.position()).position() == resumed.position()
        assert resumed.ask(5) == walk.ask(5)
