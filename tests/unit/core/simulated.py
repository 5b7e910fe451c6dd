"""A simulated list that changes while it is read, for tests of walks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from etl.core.walk import Ask, CursorWalk, Listing, OffsetWalk, Step, resume_walk
from etl.errors import ListingBroken

AnyWalk = CursorWalk | OffsetWalk


@dataclass(frozen=True)
class Change:
    """A change of the list between two requests. `at` picks a row or a place."""

    kind: str
    at: int
    to: int = 0
    settled: bool = True


@dataclass
class ChangingList:
    """Rows in the order of (rank, key). Before each request some changes are made.

    changes: one list per request; later nothing changes.
    pages: the most rows that the server answers, by turns.
    tie_break: False: rows of one rank come in another order each time.
    ties_by_offset: they come in an order that depends on the offset.
    counts: whether the server counts the list. overcounts: by how many rows too many.
    says_end: whether it marks the end at all. says_order: whether a row shows its rank.
    """

    ranks: list[int]
    changes: Sequence[Sequence[Change]] = ()
    pages: Sequence[int] = (50,)
    tie_break: bool = True
    counts: bool = False
    says_end: bool = True
    shuffle: random.Random = field(default_factory=random.Random)
    ties_by_offset: bool = False
    overcounts: int = 0
    says_order: bool = True
    requests: int = 0

    def __post_init__(self) -> None:
        self.rows = {f"r{i}": (rank, True) for i, rank in enumerate(self.ranks)}
        self.undisturbed = set(self.rows)
        self.loaded: set[str] = set()
        self._sorted: dict[int, list[str]] = {}
        self.ever = len(self.rows)
        self.moved = False

    @property
    def missed(self) -> set[str]:
        """Rows that existed the whole time, did not move, and were never shown."""
        return self.undisturbed - self.loaded

    def answer(self, ask: Ask, *, by_cursor: bool) -> Listing:
        """Make the next changes, then answer."""
        if self.requests < len(self.changes):
            for change in self.changes[self.requests]:
                self._apply(change)
        size = min(ask.limit, self.pages[self.requests % len(self.pages)])
        self.requests += 1
        order = self._order()
        if by_cursor:
            assert ask.offset is None
            order = [key for key in order if ask.after is None or self._place(key) > ask.after]
            keys = order[:size]
            more = len(order) > size
            cursor = self._place(keys[-1]) if more else None
        else:
            assert ask.after is None
            start = ask.offset or 0
            if self.ties_by_offset:
                order = self._order(start)
            keys, cursor = order[start : start + size], None
            more = start + len(keys) < len(order) if self.says_end else bool(keys)
        self.loaded |= set(keys)
        return Listing(
            keys=keys,
            settled=[self.rows[key][1] for key in keys],
            more=more,
            cursor=cursor,
            count=len(order) + self.overcounts if self.counts else None,
            order=[self.rows[key][0] for key in keys] if self.says_order else (),
        )

    def _place(self, key: str) -> str:
        return f"{self.rows[key][0]:04}/{key}"

    def _order(self, offset: int = 0) -> list[str]:
        """Return the keys in order, which is kept until the next change."""
        if not self.ties_by_offset and not self.tie_break:
            return sorted(self.rows, key=lambda key: (self.rows[key][0], self.shuffle.random()))
        if offset not in self._sorted:
            ties = random.Random(offset)
            self._sorted[offset] = (
                sorted(sorted(self.rows), key=lambda key: (self.rows[key][0], ties.random()))
                if self.ties_by_offset
                else sorted(self.rows, key=self._place)
            )
        return self._sorted[offset]

    def _apply(self, change: Change) -> None:
        self._change(change)
        self._sorted.clear()

    def _change(self, change: Change) -> None:
        if change.kind == "insert":
            self.rows[f"n{self.ever}"] = (change.at, change.settled)
            self.ever += 1
            return
        if not self.rows:
            return
        order = self._order()
        key = order[change.at % len(order)]
        self.undisturbed.discard(key)
        if change.kind == "delete":
            del self.rows[key]
        elif change.kind == "swap":
            other = order[change.to % len(order)]
            self.undisturbed.discard(other)
            self.rows[key], self.rows[other] = self.rows[other], self.rows[key]
            self.moved = True
        else:
            self.rows[key] = (change.to, self.rows[key][1])
            self.ever += 1
            self.moved = True


@dataclass(frozen=True)
class End:
    """How a walk ended. `broken`: it refused to go on."""

    complete: bool
    broken: bool
    requests: int
    unaccounted: int | None = None


def walk_through(
    walk: AnyWalk, source: ChangingList, limit: int, *, resumes: bool = False
) -> Iterator[AnyWalk | End]:
    """Yield the walk after each answer, and last its end.

    resumes: another process makes each request, from the checkpoint. Raises AssertionError if the
    walk takes many times as many requests as there were rows.
    """
    bound = 12 * (source.ever + sum(map(len, source.changes)) + 10) + len(source.changes)
    while source.requests < bound:
        ask = walk.ask(limit)
        listing = source.answer(ask, by_cursor=isinstance(walk, CursorWalk))
        try:
            step: Step = walk.take(ask, listing)
        except ListingBroken:
            yield End(complete=False, broken=True, requests=source.requests)
            return
        if step.last:
            yield End(step.complete, False, source.requests, step.unaccounted)
            return
        if resumes:
            walk = resume_walk(json.loads(json.dumps(walk.position())))
        yield walk
    raise AssertionError(f"no end after {source.requests} requests")


def end_of(walk: AnyWalk, source: ChangingList, limit: int, *, resumes: bool = False) -> End:
    """Walk to the end and return it."""
    *_, end = walk_through(walk, source, limit, resumes=resumes)
    assert isinstance(end, End)
    return end
