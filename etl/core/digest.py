"""Compare the recordings of many days by one query: a number and a digest of the ids of each day.

The digest of a day is the exclusive or of the MD5 of each id, so their order does not matter. The
same id twice would vanish from it, but counts twice.

What the query reads also has what the list hides, such as recordings past their time. So a digest
that is equal shows that a day is, but one that differs shows nothing yet: the list decides.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date
from itertools import accumulate
from typing import Any, NamedTuple

from msgspec import Struct

from etl.core.coverage import Span, joined, split
from etl.core.query import in_utc, instant
from etl.core.slices import DAY

# A query covers at most so many recordings and days; each day is a row of the answer.
_MOST_RECORDINGS = 1_000_000
_MOST_DAYS = 10_000
# So much below a day an earlier piece of a session may be, and above it a later one: sessions are
# at most 24 hours long.
_MARGIN = DAY
# How the MD5 of an id is written, as hexadecimal digits. Older versions have only the first, as an
# aggregate, which must not stand inside of another one (PostHog source, hogql/functions).
HASHES = ("md5(session_id)", "hex(MD5(session_id))")


class Digest(NamedTuple):
    """How many records there are, and the halves of the digest of their ids, below 2 ** 64."""

    records: int = 0
    high: int = 0
    low: int = 0

    def __str__(self) -> str:
        return f"{self.high:016x}{self.low:016x}"


NO_IDS = Digest()


class Doubtful(NamedTuple):
    """What a day has at the source and here, where that differs."""

    source: Digest
    here: Digest


class Outcome(Struct, frozen=True):
    """What the digests say of the days.

    equal: how many recordings each day has that is equal, or that the list has explained. same:
    those of them that need no explanation. doubtful: the days that the list has to decide.
    unanswered: those of which nothing is known.
    """

    equal: Mapping[Span, int] = {}
    same: Sequence[Span] = ()
    doubtful: Mapping[Span, Doubtful] = {}
    unanswered: Sequence[Span] = ()

    @property
    def left(self) -> list[Span]:
        """The stretches of time that the list has to show, the latest first."""
        return list(joined([*self.doubtful, *self.unanswered]))[::-1]


def days_in(spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Return the days of these spans, or the part of each in them; and what is left over.

    A day with a hole inside is left over: a digest is of one stretch. All the earliest first.
    """
    parts = sorted(part for span in spans for part in split(span, DAY))
    of_day = Counter(_date(part) for part in parts)
    whole = [part for part in parts if of_day[_date(part)] == 1]
    return whole, [part for part in parts if of_day[_date(part)] > 1]


def _date(day: Span) -> date:
    return day.since.astimezone(UTC).date()


def portions(days: Sequence[Span], here: Mapping[Span, Digest]) -> list[list[Span]]:
    """Return the days by the queries that ask for them. here: what is stored."""
    found: list[list[Span]] = []
    recordings = 0
    for day in days:
        count = here.get(day, NO_IDS).records
        is_full = not found or len(found[-1]) == _MOST_DAYS
        if is_full or recordings + count > _MOST_RECORDINGS:
            found.append([])
            recordings = 0
        found[-1].append(day)
        recordings += count
    return found


def digest_query(days: Sequence[Span], id_hash: str) -> tuple[str, dict[str, Any]]:
    """Return text and values of the query for these days. id_hash: one of `HASHES`.

    It groups the pieces itself: the table with one row for each session has no index by its start,
    so a server would read all there is. A deletion is a piece of its own, of the time at which it
    was made (PostHog source, session-block-metadata.ts).
    """
    values: dict[str, Any] = {
        "lowest": in_utc(days[0].since - _MARGIN),
        "highest": in_utc(days[-1].until + _MARGIN),
    }
    within = []
    for number, span in enumerate(joined(days)):
        values |= {f"since_{number}": in_utc(span.since), f"until_{number}": in_utc(span.until)}
        since, until = instant(f"since_{number}"), instant(f"until_{number}")
        within.append(f"(started >= {since} AND started < {until})")
    text = (
        f"SELECT toString(day) AS name, count() AS recordings, {_half(1)} AS high, "
        f"{_half(17)} AS low FROM (SELECT toDate(started) AS day, {id_hash} AS id_hash FROM ("
        "SELECT session_id, min(min_first_timestamp) AS started, max(is_deleted) AS gone "
        "FROM raw_session_replay_events "
        f"WHERE min_first_timestamp >= {instant('lowest')} "
        f"AND (min_first_timestamp < {instant('highest')} OR is_deleted = 1) GROUP BY session_id) "
        f"WHERE gone = 0 AND ({' OR '.join(within)})) "
        f"GROUP BY day ORDER BY day LIMIT {len(days) + 1}"
    )
    return text, values


def _half(first: int) -> str:
    """Return half of the digest as text: JSON readers cut greater numbers."""
    half = f"reverse(unhex(substring(id_hash, {first}, 16)))"
    return f"toString(groupBitXor(reinterpretAsUInt64({half})))"


def read_digests(rows: Sequence[Sequence[Any]], days: Sequence[Span]) -> dict[Span, Digest]:
    """Return the digest of each day by the rows of an answer.

    A server may lower LIMIT without a word. So a day that is not in the answer has no recordings
    only if a later day is in it; of the days after the last one nothing is known, and they are left
    out. Raises ValueError if it is no answer to the query for these days.
    """
    of_date = {_date(day): day for day in days}
    found: dict[Span, Digest] = {}
    for row in rows:
        try:
            name, records, high, low = map(str, row)
            day = of_date.get(date.fromisoformat(name))
            digest = Digest(int(records), int(high), int(low))
        except (TypeError, ValueError) as exc:
            raise ValueError(f"The answer holds no digest of a day: {row!s:.80}") from exc
        if day is None or day in found or not _is_sound(digest):
            raise ValueError(f"The answer does not fit the query: {row!s:.80}")
        found[day] = digest
    last = max(found, default=None)
    return {day: found.get(day, NO_IDS) for day in days if last is not None and day <= last}


def _is_sound(digest: Digest) -> bool:
    return digest.records > 0 and 0 <= digest.high < 1 << 64 and 0 <= digest.low < 1 << 64


def compare(
    days: Sequence[Span],
    source: Mapping[Span, Digest],
    here: Mapping[Span, Digest],
    explained: Mapping[Span, Doubtful],
) -> Outcome:
    """Return what the digests say of these days.

    source: only the days that were answered. explained: days of which a list has shown that they
    are equal though their digests differ, with the digests of then.
    """
    equal, doubtful = dict[Span, int](), dict[Span, Doubtful]()
    same, unanswered = list[Span](), list[Span]()
    for day in days:
        if day not in source:
            unanswered.append(day)
            continue
        both = Doubtful(source[day], here.get(day, NO_IDS))
        if both.source == both.here:
            same.append(day)
        elif explained.get(day) != both:
            doubtful[day] = both
            continue
        equal[day] = both.here.records
    return Outcome(equal, same, doubtful, unanswered)


def halves(days: Sequence[Span], here: Mapping[Span, Digest]) -> tuple[Sequence[Span], ...]:
    """Return the days in two parts with about as many stored records. here: what is stored."""
    counts = [here.get(day, NO_IDS).records for day in days]
    sums = [*accumulate(counts)]
    middle = bisect_left(sums, sums[-1] / 2) + 1
    middle = min(middle, len(days) - 1)
    return days[:middle], days[middle:]
