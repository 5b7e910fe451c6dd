"""Decide which part of the past is verified next, so that all of it has its turn in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from etl.core.coverage import Coverage, Span, joined, split

DAY = timedelta(days=1)
# What has its turn once a day has it again after this, so that a schedule may vary a little.
ABOUT_A_DAY = timedelta(hours=20)
# What would be late by the next day has its turn now.
_AHEAD = timedelta(hours=26)
# All has its turn in this part of the time allowed, so that little is late.
_ROUND = 0.85
# What was verified within this part of the time allowed is fresh.
_FRESH = 1 / 8
# So much above a window is read with it, because the server cuts sessions at the dates asked for.
_MARGIN = timedelta(hours=25)
# Stands for no instant where instants are compared.
_SOME_DAY = datetime.min.replace(tzinfo=UTC)


class Look(NamedTuple):
    """A stretch of time, and when it was last verified."""

    span: Span
    at: datetime


class Cell(Struct, frozen=True):
    """A day of the past, or the part of it that is known complete.

    rows: how many records are stored. checked_at: when all of it was last verified; None: never.
    """

    span: Span
    rows: int
    checked_at: datetime | None


class Budget(NamedTuple):
    """How many requests a slice may take; None: any number. page_rows: records in a page."""

    requests: int | None
    page_rows: int


def latest_looks(looks: Sequence[Look]) -> list[Look]:
    """Return when each instant was last verified, the earliest first. They do not overlap."""
    seen, latest = Coverage(), list[Look]()
    for span, at in sorted(looks, key=lambda look: look.at, reverse=True):
        fresh = seen.holes(span)
        latest += [Look(hole, at) for hole in fresh]
        if fresh:
            seen = Coverage(joined([*seen.spans, span]))
    return sorted(latest)


def checked(spans: Sequence[Span], latest: Sequence[Look]) -> Iterator[datetime | None]:
    """Yield for each span when all of it was last verified, None if a part never was.

    Both are the earliest first, and neither overlap. latest: see `latest_looks`.
    """
    at = 0
    for span in spans:
        while at < len(latest) and latest[at].span.until <= span.since:
            at += 1
        reached, oldest, here = span.since, None, at
        while here < len(latest) and latest[here].span.since <= reached < span.until:
            oldest = min(oldest or latest[here].at, latest[here].at)
            reached = latest[here].span.until
            here += 1
        yield oldest if reached >= span.until else None


def days_of(past: Coverage, until: datetime) -> list[Span]:
    """Return the days of the past up to `until`, the earliest first."""
    return [
        day
        for span in past.spans
        for day in split(Span(span.since, min(span.until, until)), DAY)
        if span.since < until
    ]


def next_slice(
    cells: Sequence[Cell], now: datetime, every: timedelta, budget: Budget
) -> list[Span]:
    """Return the stretches of time to verify now, the latest first.

    cells: the days of the past, the earliest first. every: within this all has its turn.

    What was never verified has its turn at once, and what is new once a day. Of the rest as much
    has it per day as makes all of it in time, and whatever would be late by the next day. If the
    budget is less than this, what has waited longest comes first. A day that takes more than the
    budget is chosen alone: a reading that the budget breaks off goes on later.
    """
    return _Slice(cells, now, every, budget).choose()


class _Slice:
    """What was chosen so far. Cells are named by their index."""

    def __init__(
        self, cells: Sequence[Cell], now: datetime, every: timedelta, budget: Budget
    ) -> None:
        self._cells = cells
        self._budget = budget
        done = [(cell.checked_at, at) for at, cell in enumerate(cells) if cell.checked_at]
        # Up to here nothing is new.
        self._known = max((at for _, at in done), default=len(cells))
        since_last = None if not done else now - max(done)[0]
        self._is_turn = since_last is None or since_last >= ABOUT_A_DAY
        self._late_before = late_before(now, every)
        self._fresh_since = now - every * _FRESH
        # How much has its turn although it is not late.
        self._share = 0.0
        if self._is_turn and since_last is not None:
            self._share = sum(map(_weight, cells)) * (since_last / (every * _ROUND))
        self._taken = set[int]()
        self._weight = self._requests = 0.0

    def choose(self) -> list[Span]:
        """Choose what was never verified, the latest first; then what has waited longest.

        What lies above that is taken, too, while it is not fresh: what was verified on different
        days is so verified together, and one long stretch takes fewer requests than several.
        """
        cells = self._cells
        never = [at for at, cell in enumerate(cells) if cell.checked_at is None]
        for at in reversed(never):
            if (self._is_turn or at < self._known) and not self._take(at):
                return self._chosen()
        rest = [(cell.checked_at, at) for at, cell in enumerate(cells) if cell.checked_at]
        for _, first in sorted(rest):
            for at in range(first, len(cells)):
                if not self._has_turn(at):
                    break
                if not self._take(at):
                    return self._chosen()
                if at + 1 < len(cells) and not self._adjoins(at):
                    break
        return self._chosen()

    def _has_turn(self, at: int) -> bool:
        cell = self._cells[at]
        if at in self._taken or cell.checked_at is None:
            return False
        if cell.checked_at <= self._late_before:
            return True
        if self._weight + _weight(cell) > self._share:
            self._share = 0.0  # the rest is left to the next day, not gathered from small days
        return self._share > 0 and cell.checked_at <= self._fresh_since

    def _take(self, at: int) -> bool:
        """Take a cell; False if that is more than the budget. The first one is taken always."""
        cost, most = self._cost(at), self._budget.requests
        if most is not None and self._taken and self._requests + cost > most:
            return False
        self._requests += cost
        self._taken.add(at)
        if self._cells[at].checked_at is not None:
            self._weight += _weight(self._cells[at])
        return True

    def _cost(self, at: int) -> float:
        """Return the requests that the cell adds.

        The top of a stretch has a margin above it. So a cell that is added on top of a stretch
        moves the margin, and one that is added at the bottom adds none.
        """
        rows, page_rows = self._cells[at].rows, self._budget.page_rows
        above = at + 1 in self._taken and self._adjoins(at)
        below = at - 1 in self._taken and self._adjoins(at - 1)
        margins = (0 if above else 1 + self._margin(at) / page_rows) - (
            1 + self._margin(at - 1) / page_rows if below else 0
        )
        return rows / page_rows + margins

    def _margin(self, at: int) -> float:
        """Return the rows in the margin above a cell, beyond a hole, too."""
        rows, end = 0.0, self._cells[at].span.until + _MARGIN
        for above in range(at + 1, len(self._cells)):
            cell = self._cells[above]
            since, until = cell.span.since, min(cell.span.until, end)
            if since >= until:
                break
            rows += cell.rows * ((until - since) / (cell.span.until - since))
        return rows

    def _adjoins(self, at: int) -> bool:
        """Tell whether the next cell begins where this one ends."""
        return self._cells[at].span.until == self._cells[at + 1].span.since

    def _chosen(self) -> list[Span]:
        return list(joined([self._cells[at].span for at in self._taken]))[::-1]


def _weight(cell: Cell) -> float:
    """Return how much of the past it is; an empty day is something, too."""
    return 1.0 + cell.rows


def late_before(now: datetime, every: timedelta) -> datetime:
    """Return the instant before which a look is late: the next day would be too late."""
    return now - every + min(_AHEAD, every / 4)


def due_lists(
    checked_at: Mapping[str, datetime | None], now: datetime, every: timedelta
) -> list[str]:
    """Return which lists without windows are verified now, those first that have waited longest.

    checked_at: when each was last verified; None: never. Each has its turn once in `every`, and
    not all of them on the same day.
    """
    waiting = sorted(checked_at, key=lambda name: checked_at[name] or _SOME_DAY)
    done = [at for at in checked_at.values() if at is not None]
    share = int(len(checked_at) * ((now - max(done)) / every)) if done else 0
    return [
        name
        for place, name in enumerate(waiting)
        if (at := checked_at[name]) is None or at <= late_before(now, every) or place < share
    ]
