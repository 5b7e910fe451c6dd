"""Which part of the past is verified next: all of it in time, and never more than may be spent."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from math import ceil

from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.core.coverage import Coverage, Span, joined
from etl.core.slices import (
    Budget,
    Cell,
    Look,
    checked,
    days_of,
    due_lists,
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
        rows = 0.0
        for cell in self.cells():
            since, until = max(cell.span.since, shown.since), min(cell.span.until, shown.until)
            if since < until:
                rows += cell.rows * ((until - since) / (cell.span.until - cell.span.since))
        return max(1, ceil(rows / PAGE_ROWS))

    def pass_days(self, days: float) -> None:
        """Let time pass."""
        self.now += timedelta(days=days)

    def oldest(self) -> timedelta | None:
        """For how long the part that has waited longest was not verified; None: it never was."""
        ages = [None if c.checked_at is None else self.now - c.checked_at for c in self.cells()]
        known = [age for age in ages if age is not None]
        return None if len(known) < len(ages) else max(known)


@given(
    seed=st.integers(0, 10_000),
    days=st.integers(2, 90),
    every=st.integers(2, 20),
    holes=st.integers(0, 5),
    missed=st.sets(st.integers(3, 29), max_size=4),
)
@settings(max_examples=25)
def test_all_of_the_past_is_verified_in_time(
    seed: int, days: int, every: int, holes: int, missed: set[int]
) -> None:
    """Whatever its density and its holes; a night that was missed is made up by the next one."""
    nights = Nights(days, seed=seed, holes=holes)
    for night in range(30):
        if night not in missed:
            nights.run(every * DAY)
            oldest = nights.oldest()
            assert oldest is not None
            assert oldest + DAY <= max(every, 2) * DAY
        nights.pass_days(1)


@given(
    seed=st.integers(0, 10_000),
    most=st.integers(4, 60),
    holes=st.integers(0, 5),
    missed=st.sets(st.integers(0, 20), max_size=4),
)
@example(seed=36, most=10, holes=5, missed=set())  # a margin reaches beyond a hole
@settings(max_examples=25)
def test_a_slice_takes_no_more_than_the_budget(
    seed: int, most: int, holes: int, missed: set[int]
) -> None:
    """A single day may: its reading is broken off and goes on later. Some of it is always done."""
    nights = Nights(60, seed=seed, holes=holes)
    for night in range(20):
        if night not in missed:
            before = nights.oldest()
            chosen = nights.run(10 * DAY, most)
            alone = len(chosen) == 1 and chosen[0].until - chosen[0].since <= DAY
            assert nights.costs[-1] <= most or alone
            assert chosen or before is not None
        nights.pass_days(1)


def test_if_the_budget_is_too_small_what_waited_longest_comes_first() -> None:
    """Day after day another part, until all had its turn."""
    nights = Nights(60)
    for _ in range(40):
        nights.run(5 * DAY, 20)
        nights.pass_days(1)
    oldest = nights.oldest()
    assert oldest is None or oldest < 40 * DAY
    spans = [span for chosen in nights.slices for span in chosen]
    assert len({span.since for span in spans}) > 20


def test_a_night_takes_about_its_part_in_few_stretches() -> None:
    """The first night takes everything, the others what is new and a part of the rest."""
    nights = Nights(200)
    for _ in range(70):
        nights.run()
        nights.pass_days(1)
    rows = sum(cell.rows for cell in nights.cells())
    whole = rows / PAGE_ROWS
    later = nights.costs[31:]
    assert nights.costs[0] > whole / 2
    assert sum(later) / len(later) < 1.6 * whole / 30 + 12  # margins, and the new day
    assert max(len(chosen) for chosen in nights.slices) <= 4


def test_within_a_day_only_what_is_late_is_verified() -> None:
    """A sync that verifies every quarter of an hour does not read more than one a night."""
    nights = Nights(60)
    nights.run()
    for _ in range(8):
        nights.pass_days(0.05)
        assert nights.run() == []
    nights.looks = [Look(look.span, look.at - 40 * DAY) for look in nights.looks]
    assert sum((s.until - s.since for s in nights.run()), timedelta()) > 50 * DAY


def test_what_was_looked_at_in_parts_counts_by_the_oldest_of_them() -> None:
    """Looks may overlap in any way; the later one counts."""
    at = [START + day * DAY for day in range(6)]
    looks = [Look(Span(at[0], at[4]), at[1]), Look(Span(at[1], at[2]), at[5])]
    latest = latest_looks(looks)
    assert latest == [
        Look(Span(at[0], at[1]), at[1]),
        Look(Span(at[1], at[2]), at[5]),
        Look(Span(at[2], at[4]), at[1]),
    ]
    spans = [Span(at[0], at[2]), Span(at[2], at[3]), Span(at[3], at[5])]
    assert list(checked(spans, latest)) == [at[1], at[1], None]
    assert list(checked([Span(at[1], at[2])], latest)) == [at[5]]


def test_lists_have_their_turns_on_different_days() -> None:
    """Each once in the time allowed."""
    now, names = START, [f"list {number}" for number in range(6)]
    looked: dict[str, datetime | None] = dict.fromkeys(names)
    assert due_lists(looked, now, MONTH) == names
    looked = dict.fromkeys(names, now)
    turns: list[tuple[int, str]] = []
    for day in range(1, 61):
        now += DAY
        for name in due_lists(looked, now, MONTH):
            previous = looked[name]
            assert previous is not None
            assert now - previous <= MONTH
            looked[name] = now
            turns.append((day, name))
    assert 12 <= len(turns) <= 15
    assert max([day for day, _ in turns].count(day) for day in range(61)) == 1
