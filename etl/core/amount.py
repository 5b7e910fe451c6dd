"""How many recordings there are at the source, by one query or by a few looks at the list. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from etl.core.coverage import Span
from etl.core.query import in_utc, instant
from etl.core.stream import Expiry

# A row of the answer is a day and a retention, so this is never reached.
_MOST_ROWS = 20_000
# An age of zero has no logarithm.
_YOUNGEST = timedelta(hours=1)


def amount_query(span: Span) -> tuple[str, dict[str, Any]]:
    """Return text and values of the query for the recordings of each day and retention."""
    text = (
        "SELECT toString(toDate(start_time)) AS name, retention_period_days AS kept, "
        "count() AS recordings FROM session_replay_events WHERE is_deleted = 0 "
        f"AND start_time >= {instant('since')} AND start_time < {instant('until')} "
        f"GROUP BY name, kept ORDER BY name, kept LIMIT {_MOST_ROWS}"
    )
    return text, {"since": in_utc(span.since), "until": in_utc(span.until)}


def read_amount(rows: Sequence[Sequence[Any]], expiry: Expiry, now: datetime) -> int:
    """Return how many recordings an answer counts, without those that the list hides as expired.

    Raises ValueError if it is no answer to the query.
    """
    total = 0
    for row in rows:
        try:
            name, kept, recordings = row
            day, count = date.fromisoformat(str(name)), int(recordings)
            days = expiry.default_days if kept is None else int(kept)
        except (TypeError, ValueError) as exc:
            raise ValueError(f"The answer holds no count of a day: {row!s:.80}") from exc
        if datetime.combine(day, time(), UTC) + timedelta(days=days) > now:
            total += count
    return total


class Glimpse(NamedTuple):
    """What one page of the list shows, which comes newest first.

    until: up to when was asked. low: the oldest start on the page. rows: how many rows it has.
    more: whether the list goes on below; if not, all of it down to the beginning was seen.
    """

    until: datetime
    low: datetime
    rows: int
    more: bool

    @property
    def per_second(self) -> float:
        """How many rows a second of this time has."""
        return self.rows / max(1.0, (self.until - self.low).total_seconds())


class _Gap(NamedTuple):
    """A time that no page shows, with the rows a second above and below; None: nothing is known."""

    high: datetime
    low: datetime
    above: float
    below: float | None

    @property
    def _seconds(self) -> float:
        return (self.high - self.low).total_seconds()

    @property
    def rows(self) -> float:
        """How many rows it probably has."""
        below = self.above if self.below is None else self.below
        return (self.above + below) / 2 * self._seconds

    @property
    def doubt(self) -> float:
        """By how many rows that may be wrong. Between equal paces there may be another one, too."""
        if self.below is None:
            return self.rows
        return abs(self.above - self.below) / 2 * self._seconds + self.rows / 10


class Amount(NamedTuple):
    """How many rows there are. exact: all of them were seen. look_at: where to look next."""

    rows: int
    exact: bool
    look_at: datetime | None


def amount_of(glimpses: Sequence[Glimpse], since: datetime) -> Amount:
    """Return how many rows there are from `since` on, by pages of the list.

    Between two pages the number of rows a second is taken to be between theirs. The next look is
    in the gap that may be wrong by most rows, in the middle of the logarithms of the ages: it is
    not known how old the oldest row is, and most projects are young.
    """
    seen = sorted(glimpses, key=lambda each: each.until, reverse=True)
    rows, now = float(sum(each.rows for each in seen)), seen[0].until
    gaps: list[_Gap] = []
    for newer, older in pairwise(seen):
        if newer.more and newer.low > older.until:
            gaps.append(_Gap(newer.low, older.until, newer.per_second, older.per_second))
    last = seen[-1]
    if last.more and last.low > since:
        gaps.append(_Gap(last.low, since, last.per_second, None))
    rows += sum(gap.rows for gap in gaps)
    if not gaps:
        return Amount(round(rows), exact=True, look_at=None)
    widest = max(gaps, key=lambda gap: gap.doubt)
    high, low = widest.high, widest.low
    ages = [max(_YOUNGEST, now - at).total_seconds() for at in (high, low)]
    look_at = now - timedelta(seconds=math.sqrt(ages[0] * ages[1]))
    return Amount(round(rows), exact=False, look_at=min(max(look_at, low), high))
