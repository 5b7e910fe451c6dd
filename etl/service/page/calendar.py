"""A windowed stream day by day: what is complete, what is missing, what is being read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby

from etl.core.coverage import Coverage, Span

COMPLETE, PARTLY, RUNNING, MISSING = "complete", "partly", "running", "missing"
# What is said of a day in a state.
SAID = {
    COMPLETE: "complete",
    PARTLY: "partly complete",
    RUNNING: "being read",
    MISSING: "not known complete",
}
STATES = tuple(SAID)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Day:
    """One day, UTC."""

    day: date
    state: str


@dataclass(frozen=True, slots=True)
class Month:
    """The days of a month that are of interest, the first one first."""

    days: tuple[Day, ...]

    @property
    def first(self) -> date:
        """The first day."""
        return self.days[0].day

    @property
    def offset(self) -> int:
        """The column of the first day: 1 is Monday."""
        return self.first.isoweekday()

    @property
    def counts(self) -> dict[str, int]:
        """How many days are in which state; the states that occur."""
        return _counts(self.days)


@dataclass(frozen=True, slots=True)
class Calendar:
    """latest: the months of about a year, the newest first. earlier: the others, by year."""

    latest: tuple[Month, ...]
    earlier: tuple[tuple[int, tuple[Month, ...]], ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many days are in which state; the states that occur."""
        return counts_of([*self.latest, *(month for _, year in self.earlier for month in year)])


def counts_of(months: Sequence[Month]) -> dict[str, int]:
    """Return how many days of several months are in which state; the states that occur."""
    return _counts(day for month in months for day in month.days)


def _counts(days: Iterable[Day]) -> dict[str, int]:
    counted = Counter(day.state for day in days)
    return {state: counted[state] for state in STATES if counted[state]}


def begin_of(complete: Coverage, start: datetime, oldest: datetime | None) -> datetime:
    """Return where the days begin: with the oldest row, if all before it is known complete.

    Otherwise at `start`, so that nothing that is missing is left out.
    """
    if oldest is None or oldest <= start or complete.holes(Span(start, oldest)):
        return start
    return oldest


def calendar(
    complete: Coverage, running: Sequence[Span], start: datetime, now: datetime, latest: int = 12
) -> Calendar:
    """Return the days from `start` to `now`; today is complete when it is up to `now`."""
    days = _days(complete, running, Span(min(start, now), now))
    months = [
        Month(tuple(of_month))
        for _, of_month in groupby(days, key=lambda each: (each.day.year, each.day.month))
    ][::-1]
    by_year = groupby(months[latest:], key=lambda month: month.first.year)
    return Calendar(tuple(months[:latest]), tuple((year, tuple(those)) for year, those in by_year))


def _days(complete: Coverage, running: Sequence[Span], whole: Span) -> Iterator[Day]:
    spans, at = complete.within(whole), 0
    day = whole.since.astimezone(UTC).date()
    while (opens := _midnight(day)) < whole.until:
        since, until = max(opens, whole.since), min(opens + _DAY, whole.until)
        while at < len(spans) and spans[at].until <= since:
            at += 1
        here = Coverage(spans[at : at + 100]).within(Span(since, until))
        held = sum((part.until - part.since for part in here), timedelta())
        if held == until - since:
            state = COMPLETE
        elif any(span.since < until and since < span.until for span in running):
            state = RUNNING
        else:
            state = PARTLY if held else MISSING
        yield Day(day, state)
        day += _DAY


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
