"""Forecast how many requests a reading takes, and how long the budget makes it last."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil

from msgspec import Struct

from etl.core.budget import SLACK, Limits
from etl.core.walk import ONE_ANSWER_ROWS, OVERLAP_ROWS

# See `RecordingsPlace.passed`.
ROWS_BELOW = 2


class Forecast(Struct, frozen=True):
    """How many requests are expected. Not `exact`: a lower bound, as rows are not counted yet."""

    requests: int
    exact: bool

    def __add__(self, other: Forecast) -> Forecast:
        return Forecast(self.requests + other.requests, self.exact and other.exact)


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


def least_s(requests: int, classes: Sequence[str], limits: Limits) -> float:
    """Return how many seconds so many requests take at least, however few were sent before."""
    of_classes = [limit for name in classes for limit in limits.get(name, ())]
    return max(
        (float(max(0, requests - 1) // limit.requests * limit.window_s) for limit in of_classes),
        default=0.0,
    )
