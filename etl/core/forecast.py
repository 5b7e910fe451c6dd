"""Forecast how many requests a reading takes, and how long the budget makes it last."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from math import ceil

from msgspec import Struct

from etl.core.budget import SLACK, Limits
from etl.core.walk import ONE_ANSWER_ROWS, OVERLAP_ROWS

# See `RecordingsPlace.passed`.
ROWS_BELOW = 2


class Sure(IntEnum):
    """How sure a number is."""

    LEAST = 0
    ABOUT = 1
    EXACT = 2

    @property
    def kind(self) -> str:
        """The same for machines."""
        return ("lower_bound", "estimate", "exact")[self]


class Number(Struct, frozen=True):
    """A count, and how sure it is. A sum is as sure as the least sure part."""

    value: int
    sure: Sure = Sure.EXACT

    def __add__(self, other: Number) -> Number:
        return Number(self.value + other.value, min(self.sure, other.sure))

    def __str__(self) -> str:
        """Say it; an estimate to two digits, because it is no better than that."""
        if self.sure is Sure.LEAST:
            return f"at least {self.value:,}"
        if self.sure is Sure.EXACT:
            return f"{self.value:,}"
        digits = max(0, len(str(self.value)) - 2)
        return f"about {round(self.value, -digits):,}"


class Forecast(Struct, frozen=True):
    """How many requests are expected.

    exact: as far as rows do not come or go meanwhile. about: an estimate, by what the server said.
    Neither: a lower bound, because nobody has counted the rows.
    """

    requests: int
    exact: bool
    about: bool = False

    @property
    def number(self) -> Number:
        """The same as a number, with how sure it is."""
        return Number(self.requests, _SURE[self.exact, self.about])

    def __add__(self, other: Forecast) -> Forecast:
        added = self.number + other.number
        return Forecast(added.value, added.sure is Sure.EXACT, added.sure is Sure.ABOUT)


_SURE = {
    (exact, about): Sure.EXACT if exact else Sure.ABOUT if about else Sure.LEAST
    for exact in (False, True)
    for about in (False, True)
}


def by_cursor(rows: int, older: int, page_rows: int) -> int:
    """Return the requests for the `rows` rows of a window, read newest first.

    older: how many rows the list holds after the window; two of them end the reading.
    """
    return max(1, ceil((rows + min(older, ROWS_BELOW)) / page_rows))


def by_offset(rows: int, page_rows: int, clamp: int | None = None) -> int:
    """Return the requests for a counted list of `rows` rows, read in overlapping pages.

    clamp: the most rows the server gives per page; None if it gives as many as asked for.
    """
    if clamp is not None:
        page_rows = min(page_rows, clamp)
    if rows <= page_rows:
        return 1
    if rows <= ONE_ANSWER_ROWS and clamp is None:
        return 2
    overlap = min(OVERLAP_ROWS, page_rows // 2)
    return ceil((rows - overlap) / (page_rows - overlap))


def duration_s(
    requests: int,
    classes: Sequence[str],
    limits: Limits,
    spent: Mapping[str, Sequence[datetime]],
    now: datetime,
) -> float:
    """Return the seconds until the last of `requests` may be sent, if no other process sends any.

    spent: when the requests of the last hour were sent, by class.
    """
    logs = [
        (limit, deque(sorted(spent.get(name, ()))[-limit.requests :], maxlen=limit.requests))
        for name in classes
        for limit in limits.get(name, ())
    ]
    at = now
    for _ in range(requests):
        for limit, log in logs:
            if len(log) == limit.requests:
                at = max(at, log[0] + timedelta(seconds=limit.window_s) + SLACK)
        for _, log in logs:
            log.append(at)
    return (at - now).total_seconds()


def least_s(
    requests: int,
    classes: Sequence[str],
    limits: Limits,
    spent: Mapping[str, Sequence[datetime]],
    now: datetime,
) -> float:
    """Return how many seconds pass at least until the last of `requests` may be sent.

    As `duration_s`, but at once for any number, because each limit is looked at alone.
    spent: when the requests of the last hour were sent, by class, the oldest first.
    """
    if requests < 1:
        return 0.0
    least = 0.0
    for name in classes:
        for limit in limits.get(name, ()):
            before = spent.get(name, ())[-limit.requests :]
            windows, place = divmod(requests - 1, limit.requests)
            # Each request is followed a window later by the one that is `limit.requests` after it.
            follows = place - (limit.requests - len(before))
            ends_s = float(windows * limit.window_s)
            if follows >= 0:
                free_at = before[follows] + timedelta(seconds=limit.window_s) + SLACK
                ends_s += max(0.0, (free_at - now).total_seconds())
            least = max(least, ends_s)
    return least
