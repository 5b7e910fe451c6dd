"""Which part of the past is verified next: all of it in time, and never more than may be spent."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from math import ceil

from etl.core.coverage import Coverage, Span, joined
from etl.core.slices import (
    Budget,
    Cell,
    Look,
    checked,
    days_of,
    latest_looks,
    next_slice,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PAGE_ROWS = 100
MONTH = 30 * DAY


class Nights:
    """A past that grows by a day each night, and what was verified of it.

    holes: days that are not known complete. rows: records per day.
    """

    def __init__(self, days: int, *, seed: int = 0, rows: int = 300, holes: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = START + days * DAY + timedelta(hours=3, minutes=30)
        self.rows: dict[datetime, int] = {}
        self.mean = rows
        self.holes = {START + self.random.randrange(days) * DAY for _ in range(holes)}
        self.looks: list[Look] = []
        self.costs: list[int] = []
        self.slices: list[list[Span]] = []

    @property
    def past(self) -> Coverage:
        """What is known complete: the newest part is not old enough to be verified."""
        whole = Span(START + timedelta(hours=7), self.now - timedelta(hours=26))
        days = days_of(Coverage((whole,)), whole.until)
        return Coverage(joined([d for d in days if d.since not in self.holes]))

    def cells(self) -> list[Cell]:
        """The days of the past."""
        days = days_of(self.past, self.now)
        for day in days:
            self.rows.setdefault(day.since, self.random.randrange(2 * self.mean + 1))
        at = checked(days, latest_looks(self.looks))
        return [Cell(d, self.rows[d.since], when) for d, when in zip(days, at, strict=True)]

    def run(self, every: timedelta = MONTH, most: int | None = None) -> list[Span]:
        """Verify a slice now."""
        chosen = next_slice(self.cells(), self.now, every, Budget(most, PAGE_ROWS))
        self.costs.append(sum(self.requests(span) for span in chosen))
        self.looks += [Look(span, self.now) for span in chosen]
        self.slices.append(chosen)
        return chosen

    def requests(self, span: Span) -> int:
        """How many pages a reading of the stretch takes, with the 25 hours above it."""
        shown = Span(span.since, span.until + timedelta(hours=25))
        rows = sum(
            c.rows
            for c in self.cells()
            if c.span.since < shown.until and c.span.until > shown.since
        )
        return max(1, ceil(rows / PAGE_ROWS))

    def pass_days(self, days: float) -> None:
        """Let time pass."""
        self.now += timedelta(days=days)

    def oldest(self) -> timedelta | None:
        """For how long the part that has waited longest was not verified; None: it never was."""
        ages = [None if c.checked_at is None else self.now - c.checked_at for c in self.cells()]
        known = [age for age in ages if age is not None]
        return None if len(known) < len(ages) else max(known)
