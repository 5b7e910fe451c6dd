"""Walking a list to its end: what to ask next, and which rows of the answer are new.

A walk never trusts a page to be full: a list ends at the server's own end mark or at an empty
page. Two ways of walking exist. By cursor, the server keeps our place. By limit and offset it does
not: rows that are added or removed while we page move the others, so neighbouring pages overlap,
the seam between them is checked, and the whole list is read again until two passes agree on the
set of keys; with a list that one answer holds there is nothing to agree on.

A walk is pure and serialisable: `position` goes into the checkpoint with the rows read so far, and
`resume_walk` goes on from it in another process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

from etl.errors import ListingBroken

OVERLAP_ROWS = 20
MAX_PASSES = 5
MAX_EMPTY_PAGES = 3
WITNESSES = 3
# Up to this many rows, one answer for everything is cheaper than two passes that agree. It is also
# the most rows ever held in memory as one page.
ONE_ANSWER_ROWS = 4_000


@dataclass(frozen=True, slots=True)
class Ask:
    """What the next request asks for: `after` and `offset` are never both set."""

    limit: int
    after: str | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What an answer says about the list.

    keys: one per row, in order. settled: per row, whether it was there before the reading began
    (only those have to be in every pass). more: the server's end mark says there is more. cursor:
    its place for us, if it keeps one. count: its own count of the whole list, if it gives one.
    enough: what comes after this page is not wanted, by the order of the list.
    """

    keys: Sequence[str]
    settled: Sequence[bool]
    more: bool
    cursor: str | None = None
    count: int | None = None
    enough: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What an answer means: `last` ends the reading.

    complete is False when the reading ends without being able to vouch for every row. Every row of
    every answer is to be loaded, also where pages overlap: a server without a tie-break may show a
    row there for the first time.
    """

    last: bool
    complete: bool = True


class Walk(Protocol):
    """A way through a list. `take` raises ListingBroken when reading on would loop or lie."""

    def ask(self, limit: int) -> Ask:
        """Return the next request, for pages of `limit` rows."""
        ...

    def take(self, ask: Ask, listing: Listing, /) -> Step:
        """Note the answer to `ask`."""
        ...

    def position(self) -> Mapping[str, Any]:
        """Return the place after the last answer, as JSON."""
        ...


@dataclass(slots=True)
class CycleDetector:
    """Brent's algorithm: notices a sequence that repeats, in constant memory."""

    tortoise: str = ""
    power: int = 1
    steps: int = 0

    def repeats(self, mark: str) -> bool:
        """Note the next mark; True when the sequence has come round to an earlier one."""
        if mark == self.tortoise:
            return True
        self.steps += 1
        if self.steps == self.power:
            self.tortoise, self.power, self.steps = mark, self.power * 2, 0
        return False


@dataclass(slots=True)
class CursorWalk:
    """By the server's cursor, sent as `after` and never together with an offset.

    witnesses are the first keys of the list: a server that silently starts anew at page one
    (PostHog's group list does so with a cursor it cannot read) shows them again.
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
        """Note a page; see `Walk`."""
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

    def position(self) -> Mapping[str, Any]:
        """Return the place after the last page."""
        return {"by": "cursor", **asdict(self)}

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
            raise ListingBroken("The server lost our place and began the list anew")


@dataclass(slots=True)
class OffsetWalk:
    """By limit and offset, in passes.

    seen: how far into the list the last answer reached. tail: the last keys before that, which the
    next page must show again. digest and counted describe the set of settled keys met in this
    pass, previous_* in the pass before. one_answer: the limit with which the whole list is asked
    for at once.
    """

    seen: int = 0
    tail: list[str] = field(default_factory=list)
    pass_number: int = 1
    digest: str = ""
    counted: int = 0
    previous_digest: str | None = None
    previous_counted: int = 0
    stepped_back: bool = False
    one_answer: int | None = None
    one_answer_tried: bool = False
    page_mark: str = ""
    latest_page: frozenset[str] = frozenset()
    cycle: CycleDetector = field(default_factory=CycleDetector)

    def ask(self, limit: int) -> Ask:
        """Return the next request: it begins before the place reached, by the overlap."""
        if self.one_answer is not None:
            return Ask(limit=self.one_answer, offset=0)
        overlap = len(self.tail) + (limit // 2 if self.stepped_back else 0)
        return Ask(limit=limit, offset=max(0, self.seen - overlap))

    def take(self, ask: Ask, listing: Listing, /) -> Step:
        """Note a page; see `Walk`."""
        # A row that the answer shows twice fills one place of the list.
        settled_by_key = dict(zip(listing.keys, listing.settled, strict=True))
        keys, asked_from = list(settled_by_key), ask.offset or 0
        more = listing.more and not listing.enough
        if self.one_answer is not None:
            self._begin_pass()
            self.one_answer, self.one_answer_tried = None, True
        # An empty page does not show the tail either: the list has shrunk past our place.
        if self.tail and not set(self.tail) & set(keys):
            return self._mend_seam()
        # An answer that shows fewer rows than it counts is not everything, whatever it says.
        whole = asked_from == 0 and not more and len(keys) >= (listing.count or 0)
        if not keys:
            if more and asked_from == 0:
                return self._give_pass_up()
            return self._end_pass(whole=whole)
        mark = _mark(keys)
        if mark == self.page_mark or (more and self.cycle.repeats(mark)):
            raise ListingBroken("The server sent the same page for different offsets")
        self.page_mark = mark
        self.stepped_back = False
        known = self.latest_page or frozenset(self.tail)
        for key, settled in settled_by_key.items():
            if settled and key not in known:
                self._count(key)
        self.latest_page = frozenset(keys)
        self.seen = asked_from + len(keys)
        if not more:
            return self._end_pass(whole=whole)
        if self._one_answer_would_do(listing.count, len(keys)):
            assert listing.count is not None
            self.one_answer = listing.count + OVERLAP_ROWS
        overlap = min(OVERLAP_ROWS, len(keys) // 2)
        self.tail = keys[len(keys) - overlap :]
        return Step(last=False)

    def give_up_one_answer(self) -> None:
        """Note that the server cannot answer everything at once: go on page by page."""
        self.one_answer, self.one_answer_tried = None, True

    def position(self) -> Mapping[str, Any]:
        """Return the place after the last page, without `latest_page`, which may be large."""
        state = asdict(self)
        del state["latest_page"]
        return {"by": "offset", **state}

    def _mend_seam(self) -> Step:
        """Look for the seam half a page earlier, once; else give this pass up."""
        if not self.stepped_back:
            self.stepped_back = True
            return Step(last=False)
        return self._give_pass_up()

    def _give_pass_up(self) -> Step:
        if self.pass_number >= MAX_PASSES:
            return Step(last=True, complete=False)
        self.pass_number += 1
        self._begin_pass()
        return Step(last=False)

    def _end_pass(self, *, whole: bool) -> Step:
        agree = (self.previous_digest, self.previous_counted) == (self.digest, self.counted)
        if whole or agree:
            return Step(last=True)
        if self.pass_number >= MAX_PASSES:
            return Step(last=True, complete=False)
        self.previous_digest, self.previous_counted = self.digest, self.counted
        self.pass_number += 1
        self._begin_pass()
        return Step(last=False)

    def _begin_pass(self) -> None:
        self.seen, self.tail, self.digest, self.counted = 0, [], "", 0
        self.stepped_back, self.page_mark, self.latest_page = False, "", frozenset()
        self.cycle = CycleDetector()

    def _count(self, key: str) -> None:
        """Add a key to the digest of the set: a sum, so that the order of rows does not matter."""
        total = int(self.digest or "0", 16) + int.from_bytes(_hash(key), "big")
        self.digest = f"{total % (1 << 128):x}"
        self.counted += 1

    def _one_answer_would_do(self, count: int | None, rows: int) -> bool:
        return (
            not self.one_answer_tried
            and self.pass_number == 1
            and count is not None
            and rows < count <= ONE_ANSWER_ROWS
        )


def resume_walk(position: Mapping[str, Any]) -> CursorWalk | OffsetWalk:
    """Return the walk that `position` was taken from. Raises ValueError when it is not one."""
    state = dict(position)
    try:
        kind: type[CursorWalk | OffsetWalk] = {"cursor": CursorWalk, "offset": OffsetWalk}[
            state.pop("by")
        ]
        state["cycle"] = CycleDetector(**state["cycle"])
        return kind(**state)
    except (KeyError, TypeError) as exc:
        raise ValueError(f"not the position of a walk: {exc}") from exc


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _mark(keys: Sequence[str]) -> str:
    return blake2b("\n".join(keys).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
