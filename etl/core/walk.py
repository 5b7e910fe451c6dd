"""Walk a list to its end: decide what to ask next, and which rows of the answer are new.

A short page proves nothing: a list ends at the server's own end mark or at an empty page. There are
two ways to walk. By cursor, the server keeps our place.

By limit and offset it does not: rows that are added or removed while we page move the other rows.
So neighbouring pages overlap, and the *seam* between them is checked: the next page must show all
the last rows (the *tail*) of the page before, in their order. One pass over the list is enough if

- every seam showed its tail,
- the server's `count` grew by at least as much as the seams moved (more rows may have appeared
  behind them),
- the pass met as many distinct keys as the server counted at first, and the same ones,
- and, if seams moved, a request for the front shows exactly that many new rows.

Some lists count ids and not rows: the ids come from one store and the rows from another, and an id
without a row drops out. Such a list says in `next` at which offset it goes on, and does not count.
Its pages may be short, or even empty, anywhere. So the place in the list is the offset that `next`
names. The next page begins where the tail can begin at the earliest, and is larger by the ids
without rows, so that the tail is on it, and new ids, too. One pass is enough if every seam showed
its tail: all rows of one page stand next to each other in the list, so nothing lies between two
pages that share rows. If the server looks up fewer ids at once than lie there without rows, no page
can show that; the list is read on behind them, and the reading does not vouch for every row.

One hole remains: between two requests a row moves from the unread into the read part, while one row
vanishes before it and one appears behind it. The next reading finds that row.

If a pass does not prove itself in this way, others follow, whose pages begin elsewhere. They end
when two passes agree on the set of keys, or when all passes together have met as many keys as the
server counted each time. A list that is left early is not read to its count: its seams and counts
vouch for what was read.

A walk is pure and serialisable: `position` is committed with the rows read so far, and
`resume_walk` continues from it in another process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import Any

from msgspec import Struct, convert, field, to_builtins

from etl.core.distinct import DistinctKeys, key_digest
from etl.errors import ListingBroken

OVERLAP_ROWS = 20
MAX_PASSES = 5
MAX_EMPTY_PAGES = 3
WITNESSES = 3
# A remaining list of up to this many rows is asked for at once. No page in memory holds more rows.
ONE_ANSWER_ROWS = 4_000
# The next page repeats rows that tie at the end of a page, up to this many.
MOST_TIES = 1_000
# So many neighbouring ids may have no rows.
MOST_HIDDEN_IDS = 50_000
# How far a pass may reach into a list: so many times the different rows it met, and some more.
# An honest pass reaches as far as it met rows, plus what was added or torn out of sight meanwhile.
FARTHEST_TIMES = 4
FARTHEST_MORE = 100


class Ask(Struct, frozen=True):
    """What the next request asks for. At most one of `after` and `offset` is set."""

    limit: int
    after: str | None = None
    offset: int | None = None


class Listing(Struct, frozen=True):
    """What an answer says about the list.

    keys: one per row, in order.
    settled: per row, whether it existed before the reading began. Only such rows must be in every
    pass.
    more: whether the server's end mark says that there is more.
    cursor: the server's place for us, if it keeps one.
    count: the server's count of the whole list, if it gives one.
    enough: whether the order of the list shows that nothing after this page is wanted.
    order: per row, the value by which the list is ordered; empty if it is not known. Rows with
    equal values may come in any order.
    next_offset: the offset at which the server says the list goes on; None if it does not say.
    """

    keys: Sequence[str]
    settled: Sequence[bool]
    more: bool
    cursor: str | None = None
    count: int | None = None
    enough: bool = False
    order: Sequence[Any] = ()
    next_offset: int | None = None

    def reached(self, ask: Ask, rows: int) -> tuple[int, bool]:
        """Return up to which offset the list was looked at, and whether the server named it.

        rows: different ones, a count. An offset that the request cannot have reached is not
        believed.
        """
        first = ask.offset or 0
        if self.next_offset is None or not first + rows <= self.next_offset <= first + ask.limit:
            return first + rows, False
        return self.next_offset, True


class Step(Struct, frozen=True):
    """What an answer means.

    Every row of every answer is to be loaded, also rows of the overlap: a server without a
    tie-break may show a row there for the first time.

    last: the reading ends here.
    complete: False if the reading ends and cannot vouch for every row.
    unaccounted: how many rows the server then counts that were not met; None if it does not count.
    """

    last: bool
    complete: bool = True
    unaccounted: int | None = None


class CycleDetector(Struct):
    """Brent's algorithm: detects that a sequence repeats, in constant memory."""

    tortoise: str = ""
    power: int = 1
    steps: int = 0

    def repeats(self, mark: str) -> bool:
        """Add the next mark; return True if the sequence has returned to an earlier mark."""
        if mark == self.tortoise:
            return True
        self.steps += 1
        if self.steps == self.power:
            self.tortoise, self.power, self.steps = mark, self.power * 2, 0
        return False


class CursorWalk(Struct):
    """Walk by the server's cursor, sent as `after` and never together with an offset.

    witnesses: the first keys of the list. A server that silently restarts at page one shows them
    again (PostHog's group list does so if it cannot read the cursor).
    """

    after: str | None = None
    witnesses: list[str] = field(default_factory=list)
    page_mark: str = ""
    empty_pages: int = 0
    cycle: CycleDetector = field(default_factory=CycleDetector)

    def ask(self, limit: int) -> Ask:
        """Return the request for the page after the cursor."""
        return Ask(limit=limit, after=self.after)

    def take(self, _ask: Ask, listing: Listing, /) -> Step:
        """Note a page. Raises ListingBroken if reading on could loop or miss rows."""
        self._refuse_repetition(listing.keys)
        if not listing.more:
            return Step(last=True)
        if listing.cursor is None:
            if listing.enough:
                return Step(last=True)
            raise ListingBroken("The server says there is more but gives no cursor to reach it")
        if listing.cursor == self.after or self.cycle.repeats(listing.cursor):
            raise ListingBroken("The server gave the same cursor twice, so the list would not end")
        self.empty_pages = 0 if listing.keys else self.empty_pages + 1
        if self.empty_pages >= MAX_EMPTY_PAGES:
            raise ListingBroken("The server says there is more but sends only empty pages")
        self.after = listing.cursor
        return Step(last=listing.enough)

    def position(self) -> dict[str, Any]:
        """Return the place after the last page."""
        return {"by": "cursor", **to_builtins(self)}

    def _refuse_repetition(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        mark = _mark(keys)
        if mark == self.page_mark:
            raise ListingBroken("The server sent the same page twice in a row")
        self.page_mark = mark
        if not self.witnesses:
            self.witnesses = list(dict.fromkeys(keys))[:WITNESSES]
        elif set(self.witnesses) <= set(keys):
            raise ListingBroken("The server lost our place and began the list again")


class PassEnd(Struct, frozen=True):
    """What the pass before found.

    digest: a sum over the settled rows that does not depend on their order.
    counted: how many settled rows it met.
    whole: every seam showed its tail.
    left: the pass ended before the end of the list.
    """

    digest: str
    counted: int
    whole: bool
    left: bool


class OffsetWalk(Struct):
    """Walk by limit and offset, in overlapping pages. The module says when a pass is enough.

    accepted: how many rows the server always counts and does not list.
    may_enlarge: whether it may ask for larger pages than it was told to.

    The place in the list:
    seen: how far into the list the last answer reached: in rows, or in ids where these are counted.
    tail_at: the least offset at which the tail can begin.
    hidden: how many of the ids of the last answer had no row; skipped: of all answers of this pass.
    counts_ids: whether every answer said at which offset the list goes on, and none counted rows;
    None before the first such answer.
    groups, open_group: the tail, which are the last keys of the answer and must come again on the
    next page. First come the groups in order; rows of one group tie. Then come rows that tie with
    the last row of the page, where more of them may follow.
    tie: the order value of open_group.
    all_tie: the tail holds only open_group.
    first_key: the first key of the list.

    What the pass has found so far:
    count, first_count: the server's last and first count.
    moved: how far the seams have moved down the list, in rows.
    appeared: by how many more rows the count has grown.
    steady: neither of these ever fell.
    whole: every seam showed its tail.
    nothing_moved: in no pass did anything move, and seams were lost only among rows that tie.
    digest, counted: see `PassEnd`.
    rows: how many rows it met, settled or not.
    interrupted: another process read a part of this pass, so its distinct keys are not known.
    distinct_from: how far the pass had come when `distinct` began to be filled.
    weighed_at: how far it has to come until it is asked again whether it meets anything new.
    """

    accepted: int = 0
    seen: int = 0
    tail_at: int = 0
    hidden: int = 0
    skipped: int = 0
    counts_ids: bool | None = None
    groups: list[list[str]] = field(default_factory=list)
    open_group: list[str] = field(default_factory=list)
    tie: Any = None
    all_tie: bool = False
    first_key: str | None = None
    pass_number: int = 1
    count: int | None = None
    first_count: int | None = None
    moved: int = 0
    appeared: int = 0
    steady: bool = True
    whole: bool = True
    nothing_moved: bool = True
    digest: str = ""
    counted: int = 0
    rows: int = 0
    interrupted: bool = False
    ever_interrupted: bool = False
    stepped_back: bool = False
    moved_down: int = 0
    checks_front: bool = False
    may_enlarge: bool = True
    clamped: bool = False
    page_rows: int = 0
    previous: PassEnd | None = None
    page_mark: str = ""
    latest_page: frozenset[str] = frozenset()
    cycle: CycleDetector = field(default_factory=CycleDetector)
    distinct: DistinctKeys = field(default_factory=DistinctKeys)
    distinct_of_all: DistinctKeys | None = None
    distinct_from: int = 0
    weighed_at: int = 0

    @property
    def tail(self) -> list[str]:
        """The last keys of the last answer. The next page must show them again."""
        return [*chain.from_iterable(self.groups), *self.open_group]

    def ask(self, limit: int) -> Ask:
        """Return the next request. It begins before the place reached, by the overlap."""
        if self.checks_front:
            return Ask(limit=limit, offset=0)
        back = self._step(limit) if self.stepped_back else 0
        offset = max(0, self.tail_at + self.moved_down - back)
        if self._fits_one_answer() and (self.seen or self.pass_number > 1):
            assert self.count is not None
            return Ask(limit=max(limit, self.count - offset + OVERLAP_ROWS), offset=offset)
        if self.seen == 0 and self.pass_number > 1:
            # Pages of this pass begin elsewhere than in earlier passes.
            share = _FIRST_PAGES[self.pass_number % len(_FIRST_PAGES)]
            return Ask(limit=max(1, int(self._page_rows(limit) * share)), offset=0)
        if self.may_enlarge:
            # With a long tail, half a page is still left for new rows. After many ids without rows
            # the next page is twice as large, so that few requests pass them.
            known = max(0, self.seen - self.tail_at)
            fresh = min(max(limit // 2, known - len(self.tail)), ONE_ANSWER_ROWS)
            limit = max(limit, known + fresh)
        elif self.seen - self.tail_at >= self._page_rows(limit):
            # The tail and anything new do not fit one page. The seam shows that.
            offset = max(offset, self.seen - back - self._page_rows(limit) // 2)
        return Ask(limit=limit, offset=offset)

    def take(self, ask: Ask, listing: Listing, /) -> Step:
        """Note a page. Raises ListingBroken if reading on could loop or miss rows."""
        places: dict[str, Any] = {}
        for key, place in zip(listing.keys, listing.order or repeat(None), strict=False):
            # A row that comes twice in one answer takes one place in the list.
            places.setdefault(key, place)
        settled = dict(zip(listing.keys, listing.settled, strict=True))
        keys, asked_from = list(places), ask.offset or 0
        more = listing.more and not listing.enough
        if asked_from == 0 and not listing.more and len(keys) >= (listing.count or 0):
            # One answer holds the whole list, so no row can have moved between requests.
            self.accepted = 0
            return Step(last=True)
        if self.checks_front:
            return self._end_pass_at_front(keys, listing.count)
        order = list(places.values())
        reach, named = listing.reached(ask, len(keys))
        hidden = reach - asked_from - len(keys)
        if listing.count is not None or (listing.more and not named):
            self.counts_ids = False
        elif named:
            self.counts_ids = self.counts_ids is not False
        shift, among_ties = self._find_tail(keys, order, asked_from, hidden)
        if shift is None and not among_ties and self._may_slide(keys):
            # Many rows have appeared before the page, so the tail is further down.
            self._refuse_repetition(keys, more=False)
            self.moved_down += len(keys) - len(self.tail)
            return Step(last=False)
        if shift is None and not self.stepped_back:
            self.stepped_back, self.moved_down = True, 0
            return Step(last=False)
        passes_over = more and hidden > 0 and self.counts_ids
        if not keys and (self.tail or not hidden) and not passes_over:
            return self._take_nothing(more=more, asked_from=asked_from)
        goes_on = reach > self.seen or not listing.more
        if not (self.stepped_back or (goes_on and self._shows_no_more(keys))):
            self._refuse_repetition(keys, more=more)
        reached, self.seen, self.hidden = self.seen, reach, hidden
        self.skipped += min(hidden, max(0, reach - reached))
        if self.stepped_back and self.seen <= reached and shift is not None:
            # The tail has not moved, and the page is too short to show what follows it. So the page
            # before counts: rows that tie came in another order there.
            shift, among_ties = None, shift == 0
        self._note_seam(shift, listing.count, among_ties=among_ties)
        self._note_rows(keys, settled)
        self._refuse_endless()
        if more and reach - asked_from < ask.limit:
            self.may_enlarge, self.clamped = False, True
        self.page_rows = max(self.page_rows, reach - asked_from)
        if not more:
            return self._end_pass(left=listing.more)
        if shift is None and (self.seen <= reached or not keys):
            # Go on after the lost seam.
            self.seen = self.tail_at = max(self.seen, reached)
            self.groups, self.open_group = [], []
        elif keys:
            self._keep_tail(keys, order, asked_from)
        if self.seen - self.tail_at > MOST_HIDDEN_IDS:
            raise ListingBroken("The server says there is more but shows no rows")
        return Step(last=False)

    @property
    def clamp(self) -> int | None:
        """The most rows the server gives per page; None if it gave as many as asked for."""
        return None if self.may_enlarge or not self.clamped else self.page_rows

    def give_up_large_pages(self) -> None:
        """Note that the server is too slow for pages larger than we were told to ask for."""
        self.may_enlarge = False

    def position(self) -> dict[str, Any]:
        """Return the place after the last page, without anything that grows with page or list."""
        state = {name: getattr(self, name) for name in _kept(OffsetWalk)}
        return {"by": "offset", **to_builtins(state)}

    def _fits_one_answer(self) -> bool:
        return self.may_enlarge and self.count is not None and self.count <= ONE_ANSWER_ROWS

    def _step(self, limit: int) -> int:
        """Return how many rows earlier the next page begins, to show a lost seam."""
        return max(1, (self._page_rows(limit) - len(self.tail)) // 2)

    def _page_rows(self, limit: int) -> int:
        return limit if self.may_enlarge or not self.page_rows else min(limit, self.page_rows)

    def _find_tail(
        self, keys: Sequence[str], order: Sequence[Any], asked_from: int, hidden: int
    ) -> tuple[int | None, bool]:
        """Return by how many rows the tail has moved down; None if the page does not show it.

        Rows may have appeared within the tail; the page then shows them too. The second value is
        True if nothing has moved and only rows that tie came in another order.

        hidden: how many ids of the page have no row. These, and those of the page before, are no
        movement. Where ids are counted, one row of the tail is enough: everything after it follows.
        """
        tail = self.tail
        if not tail:
            return 0, False
        expected = self.tail_at - asked_from
        if keys and len(keys) < len(tail) and list(keys) == tail[: len(keys)]:
            return 0, False  # the page is too short for the whole tail
        places = {key: place for place, key in enumerate(keys)}
        if self.counts_ids:
            shown = [places[key] for key in tail if key in places]
            return (0 if shown and shown == sorted(shown) else None), False
        # If all rows of the tail tie, they must come again unchanged, one after the other.
        found, at = None, 0
        for group in self.groups:
            at_places = [places.get(key, -1) for key in group]
            torn = self.all_tie and found is not None and min(at_places) > at
            if min(at_places) < at or torn:
                # Without an open group the tail may hold many rows that tie.
                return None, not self.open_group and self.tie is not None and self.tie in order
            found = min(at_places) if found is None else found
            at = max(at_places) + 1
        assert found is not None
        if any(places.get(key, -1) < at for key in self.open_group):
            return None, found == expected
        shift = found - expected
        return max(0, shift - self.hidden) + min(0, shift + hidden), False

    def _may_slide(self, keys: Sequence[str]) -> bool:
        """Tell whether a page lies before the tail: its last rows were read before the tail."""
        return (
            not self.stepped_back
            and len(keys) > len(self.tail)
            and keys[-1] in self.latest_page
            and self.tail[-1] not in keys
            and self.moved_down < ONE_ANSWER_ROWS
        )

    def _shows_no_more(self, keys: Sequence[str]) -> bool:
        """Tell whether nothing follows the tail, because no id behind it has a row.

        Before it the page then shows as many rows as there were ids without one.
        """
        if not self.counts_ids:
            return False
        before = len(keys) - len(self.tail)
        return 0 <= before <= self.hidden and list(keys[before:]) == self.tail

    def _note_seam(self, shift: int | None, count: int | None, *, among_ties: bool) -> None:
        self.stepped_back, self.moved_down = False, 0
        if shift is None:
            self.whole, shift = False, 0
            self.nothing_moved &= among_ties
        if count is not None:
            grown = 0 if self.first_count is None or self.count is None else count - self.count
            if self.first_count is None:
                self.first_count = count
            self.moved += shift
            self.appeared += grown - shift
            self.steady &= shift >= 0 and grown >= shift
            self.nothing_moved &= shift == 0 and self.count in (None, count)
        self.count = count

    def _note_rows(self, keys: Sequence[str], settled: Mapping[str, bool]) -> None:
        if self.first_key is None and keys:
            self.first_key = keys[0]
        known = self.latest_page or frozenset(self.tail)
        for key in keys:
            if key not in known:
                self.rows += 1
                if settled[key]:
                    self._add_to_digest(key)
        self.latest_page = frozenset(keys)
        self.distinct.add(keys)
        if self.distinct_of_all is not None:
            self.distinct_of_all.add(keys)

    def _refuse_endless(self) -> None:
        """Refuse a list that goes on and on with rows that were met before."""
        reached = self.seen - self.skipped - self.distinct_from
        if reached < max(self.weighed_at, FARTHEST_MORE):
            return
        # Counting may read a file, so it is done seldom.
        self.weighed_at = 2 * reached
        if reached > FARTHEST_TIMES * self.distinct.count() + FARTHEST_MORE:
            raise ListingBroken("The server sends the same rows again and again at new offsets")

    def _take_nothing(self, *, more: bool, asked_from: int) -> Step:
        if self.tail:
            # The list has shrunk to more than half a page before our place.
            self.whole = self.nothing_moved = False
        if more and asked_from == 0:
            self.whole = self.nothing_moved = False
        return self._end_pass(left=False)

    def _refuse_repetition(self, keys: Sequence[str], *, more: bool) -> None:
        mark = _mark(keys)
        if mark == self.page_mark or (more and self.cycle.repeats(mark)):
            raise ListingBroken("The server sent the same page for different offsets")
        self.page_mark = mark

    def _keep_tail(self, keys: Sequence[str], order: Sequence[Any], asked_from: int) -> None:
        """Choose where the next page begins: before the rows that tie with the last one."""
        # Where ids are counted, a page of one row may be one of many ids.
        rows, least = len(keys), 1 if self.counts_ids else 0
        overlap = min(OVERLAP_ROWS, max(least, rows // 2))
        self.tie = order[-1]
        ties = rows
        while self.tie is not None and ties > 0 and order[ties - 1] == self.tie:
            ties -= 1
        begin = min(rows - overlap, max(0, ties - WITNESSES))
        while 0 < begin < rows and order[begin] is not None and order[begin] == order[begin - 1]:
            begin -= 1
        longest = MOST_TIES if self.may_enlarge else 3 * rows // 4
        if begin == 0 or rows - begin > longest or self.tie is None:
            # Too many rows tie, or the order is unknown: the plain overlap must come in the same
            # order.
            begin = rows - overlap
            self.groups, self.open_group = [[key] for key in keys[begin:]], []
            self.all_tie = self.tie is not None and ties <= begin
        else:
            pairs = zip(order[begin:ties], keys[begin:ties], strict=True)
            self.groups = [[key for _, key in group] for _, group in groupby(pairs, itemgetter(0))]
            self.open_group, self.all_tie = list(keys[ties:]), False
        # The ids without rows may all lie behind the tail.
        self.tail_at = asked_from + begin

    def _end_pass(self, *, left: bool) -> Step:
        """Return the end if this pass vouches for every row, or begin another pass."""
        if self._certifies_itself(left=left):
            if self.moved == 0:
                return Step(last=True)
            # The list has grown at its front. A request for the front shows these rows. If it shows
            # fewer, a row has moved to another place.
            self.checks_front = True
            self.previous = self._pass_end(left=left)
            return Step(last=False)
        return self._weigh_passes(self._pass_end(left=left), self.previous)

    def _end_pass_at_front(self, keys: Sequence[str], count: int | None) -> Step:
        self.checks_front = False
        assert self.count is not None
        moved = self.moved + (count or 0) - self.count
        if self.first_key in keys and keys.index(self.first_key) == moved:
            return Step(last=True)
        assert self.previous is not None
        return self._weigh_passes(self.previous, None)

    def _certifies_itself(self, *, left: bool) -> bool:
        if self.counts_ids:
            return self.whole
        if self.count is None or not (self.whole and self.steady):
            return False
        if left:
            return True
        if self.interrupted or self.first_count is None:
            return False
        return self.distinct.count() == self.first_count + self.appeared - self.accepted

    def _weigh_passes(self, this: PassEnd, before: PassEnd | None) -> Step:
        agree = this.whole and this == before
        lacking = self._lacking(left=this.left)
        if lacking == 0 and self.nothing_moved and not self.ever_interrupted:
            # The list did not move, and all passes together have met every row.
            return Step(last=True)
        if agree and not lacking:
            self.accepted -= self._surplus(left=this.left)
            return Step(last=True)
        if agree or self.pass_number >= MAX_PASSES:
            return Step(last=True, complete=False, unaccounted=lacking)
        self.previous = this
        self.pass_number += 1
        self._begin_pass()
        return Step(last=False)

    def _surplus(self, *, left: bool) -> int:
        """Return how many of the accepted rows the server lists, or no longer counts."""
        if self.count is None or left:
            return 0
        missing = self.count - self._met()
        return max(0, self.accepted - max(0, missing))

    def _met(self) -> int:
        known = self.distinct if self.distinct_of_all is None else self.distinct_of_all
        return self.rows if self.ever_interrupted else known.count()

    def _lacking(self, *, left: bool) -> int | None:
        """Return how many rows the server counts and no pass has met; None if it does not count.

        If another process read a part, rows met twice may hide rows that were not met.
        """
        if self.count is None or left:
            return None
        return max(0, self.count - self.accepted - self._met())

    def _pass_end(self, *, left: bool) -> PassEnd:
        return PassEnd(self.digest, self.counted, self.whole, left)

    def _begin_pass(self) -> None:
        self.seen = self.tail_at = self.hidden = self.skipped = 0
        self.first_key = None
        self.distinct_from = self.weighed_at = 0
        self.groups, self.open_group = [], []
        self.first_count, self.moved, self.appeared = None, 0, 0
        self.nothing_moved &= self.steady
        self.steady = self.whole = True
        self.digest, self.counted, self.rows = "", 0, 0
        self.interrupted, self.stepped_back, self.moved_down = False, False, 0
        self.page_mark, self.latest_page, self.cycle = "", frozenset(), CycleDetector()
        if self.distinct_of_all is None:
            self.distinct_of_all, self.distinct = self.distinct, DistinctKeys()
        else:
            self.distinct.close()

    def _add_to_digest(self, key: str) -> None:
        total = int(self.digest or "0", 16) + int.from_bytes(key_digest(key), "big")
        self.digest = f"{total % (1 << 128):x}"
        self.counted += 1


# A position leaves these out: they grow with the page or with the list.
_NOT_KEPT = frozenset({"latest_page", "distinct", "distinct_of_all", "distinct_from", "weighed_at"})
# The share of a page with which each further pass begins.
_FIRST_PAGES = (0.75, 0.4, 0.5, 0.25, 0.6)


def _kept(kind: type[CursorWalk | OffsetWalk]) -> list[str]:
    return [name for name in kind.__struct_fields__ if name not in _NOT_KEPT]


def resume_walk(position: Mapping[str, Any]) -> CursorWalk | OffsetWalk:
    """Return the walk that `position` was taken from. Raises ValueError if it is no position."""
    kinds: Mapping[Any, type[CursorWalk | OffsetWalk]]
    kinds = {"cursor": CursorWalk, "offset": OffsetWalk}
    try:
        kind = kinds[position["by"]]
        if set(position) != {"by", *_kept(kind)}:
            raise ValueError("it has other fields")
        walk = convert(position, kind)
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"not the position of a walk: {exc}") from exc
    if isinstance(walk, OffsetWalk) and walk.rows:
        walk.interrupted = walk.ever_interrupted = True
        walk.distinct_from = walk.seen - walk.skipped
    return walk


def by_cursor(position: Mapping[str, Any] | None) -> bool:
    """Tell whether a position is that of a walk by cursor."""
    return position is not None and position["by"] == "cursor"


def _mark(keys: Sequence[str]) -> str:
    return blake2b("\n".join(keys).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
