"""Recordings as JSON, rendered a block at a time: a template in whose places ids and dates are put.

A block is 1,000 records, newest first, and 200 persons. All blocks have one template; the places
have a fixed width, so a record lies at the same bytes of every block. Rendering a block costs less
than a millisecond, and ten million recordings need no memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

Shape = Literal["today", "documented", "unknown"]
"""Today's fields; the types of the documentation; today's fields and two that nobody knows."""

ROWS = 1000
PERSONS = 200
RETENTION_DAYS = 1825
# The first recording of all has the highest number, as ids that begin with a time have.
_FIRST_NUMBER = 0x02000000
# What stands for a place in the template. No JSON text has these characters.
_BLOCK, _PERSON, _START, _END, _EXPIRY, _TTL = "\x01B\x01", "\x01P\x01", *"\x02\x03\x04\x05"
_PLACES = re.compile("\x01B\x01|\x01P\x01|[\x02-\x05]")
_CITIES = ("Berlin", "São Paulo", "東京", "Zürich", "Nairobi", "Łódź", "Lima", "Toronto")
_BROWSERS = ("Chrome", "Safari", "Firefox", "Edge")


@dataclass(frozen=True)
class Truth:
    """What a complete copy holds."""

    recordings: int
    persons: int
    clicks: int
    oldest_at: datetime
    newest_at: datetime


class Records:
    """A project's recordings, newest first; the index 0 is the newest.

    count: a multiple of 1,000. hour_at: the hour of the newest one. per_hour: how many start within
    an hour; divides 1,000. keep_blocks: how many rendered blocks stay in memory.
    """

    def __init__(
        self, count: int, shape: Shape, hour_at: datetime, per_hour: int, keep_blocks: int
    ) -> None:
        if count % ROWS or ROWS % per_hour:
            raise ValueError(f"{count} recordings, {per_hour} an hour: blocks have {ROWS}")
        if count / per_hour / 24 > RETENTION_DAYS - 1000:
            raise ValueError("The oldest would have less than 1,000 days left, in four digits")
        self.count = count
        self._hour_at = hour_at
        self._spacing_s = 3600 / per_hour
        self._hours = ROWS // per_hour
        self._shape = shape
        rows = [_PLACES.split(self._row(row)) for row in range(ROWS)]
        places = _PLACES.findall(self._row(0))
        self._places = [(2 * number + 1, place) for number, place in enumerate(places)]
        self._stride = 2 * len(places) + 1
        self._parts = [b""] * (self._stride * ROWS)
        for number in range(len(places) + 1):
            self._parts[2 * number :: self._stride] = [row[number].encode() for row in rows]
        self._start_hours = [int(self._age_s(row) // 3600) for row in range(ROWS)]
        self._end_hours = [
            int((self._age_s(row) - _duration_s(row)) // 3600) for row in range(ROWS)
        ]
        self._block = lru_cache(keep_blocks)(self._render)
        lengths = (sum(map(len, part)) for part in self._rows_of(self._filled(0)))
        self._offsets = [0, *accumulate(lengths)]

    def prerender(self) -> None:
        """Render all blocks, so that no request pays for it."""
        for block in range(self.count // ROWS):
            self._block(block)

    def between(self, since: datetime | None, until: datetime | None) -> tuple[int, int]:
        """Return the indexes, the last one exclusive, of what starts in [since, until]."""
        first = 0 if until is None else self._count_after(until)
        last = self.count if since is None else self._count_after(since - timedelta(microseconds=1))
        return first, max(first, last)

    def slices(self, first: int, last: int) -> Iterator[memoryview]:
        """Yield the JSON of these records, with commas between them."""
        while first < last:
            block, row = divmod(first, ROWS)
            end = min(ROWS, row + last - first)
            first += end - row
            comma = 0 if first < last else 1
            yield memoryview(self._block(block))[self._offsets[row] : self._offsets[end] - comma]

    def index_of(self, recording_id: str) -> int | None:
        """Return the index of a recording; None if there is none of this id."""
        try:
            number, row = (int(part, 16) for part in recording_id.split("-")[:2])
        except ValueError:
            return None
        index = (_FIRST_NUMBER - number) * ROWS + ROWS - 1 - row
        return index if 0 <= index < self.count and recording_id == self.id_of(index) else None

    def id_of(self, index: int) -> str:
        """Return the id of a recording."""
        block, row = divmod(index, ROWS)
        return _id(row).replace(_BLOCK, f"{_FIRST_NUMBER - block:08x}")

    def truth(self) -> Truth:
        """Return what a complete copy holds."""
        blocks = self.count // ROWS
        return Truth(
            recordings=self.count,
            persons=blocks * PERSONS,
            clicks=blocks * sum(_clicks(row) for row in range(ROWS)),
            oldest_at=self._started_at(self.count - 1),
            newest_at=self._started_at(0),
        )

    def _count_after(self, at: datetime) -> int:
        """Return how many recordings start after an instant."""
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self._started_at(middle) > at:
                low = middle + 1
            else:
                high = middle
        return low

    def _started_at(self, index: int) -> datetime:
        block, row = divmod(index, ROWS)
        age_us = block * self._hours * _HOUR_US + round(self._age_s(row) * 1_000_000)
        return self._hour_at + timedelta(hours=1, microseconds=-age_us)

    def _age_s(self, row: int) -> float:
        """Return the seconds between a record and the end of its block's first hour."""
        # Never a whole number, so that no duration, which is one, ends with an hour.
        return (row + 0.5) * self._spacing_s + 0.123

    def _render(self, block: int) -> bytes:
        return b"".join(self._filled(block))

    def _filled(self, block: int) -> list[bytes]:
        first_at = self._hour_at - timedelta(hours=block * self._hours)
        ats = [first_at - timedelta(hours=hour) for hour in range(-1, self._hours)]
        hours = [f"{at:%Y-%m-%dT%H}".encode() for at in ats]
        expiries = [f"{at + timedelta(days=RETENTION_DAYS):%Y-%m-%d}".encode() for at in ats]
        left = [b"%04d" % (RETENTION_DAYS - (self._hour_at - at).days) for at in ats]
        values = {
            _BLOCK: [b"%08x" % (_FIRST_NUMBER - block)] * ROWS,
            _PERSON: [b"%07d" % block] * ROWS,
            _START: [hours[hour + 1] for hour in self._start_hours],
            _END: [hours[hour + 1] for hour in self._end_hours],
            _EXPIRY: [expiries[hour + 1] for hour in self._start_hours],
            _TTL: [left[hour + 1] for hour in self._start_hours],
        }
        parts = self._parts.copy()
        for number, place in self._places:
            parts[number :: self._stride] = values[place]
        return parts

    def _rows_of(self, parts: list[bytes]) -> Iterator[list[bytes]]:
        for begin in range(0, len(parts), self._stride):
            yield parts[begin : begin + self._stride]

    def _row(self, row: int) -> str:
        """Return a record of the template, with a comma behind it."""
        age_s, duration_s = self._age_s(row), _duration_s(row)
        active_s, person = duration_s * (row % 7) // 7, row * 7919 % PERSONS
        distinct_id = f"019{_BLOCK}{person:03d}c0ffee{person * 65537:010d}"
        text_ttl = self._shape == "documented"
        record: dict[str, Any] = {
            "id": _id(row),
            "distinct_id": distinct_id,
            "viewed": row % 4 == 0,
            "viewers": [f"viewer{row % 37}@example.com"] if row % 4 == 0 else [],
            "recording_duration": duration_s,
            "active_seconds": active_s,
            "inactive_seconds": duration_s - active_s,
            "start_time": f"{_START}:{_rest(age_s)}Z",
            "end_time": f"{_END}:{_rest(age_s - duration_s)}Z",
            "click_count": _clicks(row),
            "keypress_count": row * 17 % 331,
            "mouse_activity_count": row * 29 % 4001,
            "console_log_count": row % 57,
            "console_warn_count": row % 13,
            "console_error_count": row % 5,
            "start_url": f"https://app.example.com/project/{row % 900}/insights?tab=größe&q={row}",
            "person": _person(person, distinct_id),
            "retention_period_days": RETENTION_DAYS,
            "expiry_time": f"{_EXPIRY}T00:00:00Z",
            "recording_ttl": f"{_TTL}" if text_ttl else f"#{_TTL}#",
            "snapshot_source": "web",
            "snapshot_library": "posthog-js" if text_ttl else None,
            "ongoing": False,
            "activity_score": (row * 37 % 10_000) / 100,
            "external_references": [],
        }
        if self._shape != "documented":
            record |= {"matches_filters": True, "total_size": None, "event_count": None}
        if self._shape == "unknown":
            record |= {"frustration_score": 0.25, "topics": ["checkout", "search"]}
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        # json escapes the marks, and quotes the numbers that hold one.
        for mark in "\x01\x02\x03\x04\x05":
            text = text.replace(f"\\u{ord(mark):04x}", mark)
        return text.replace('"#', "").replace('#"', "") + ","


_HOUR_US = 3_600_000_000


def _id(row: int) -> str:
    return f"{_BLOCK}-{ROWS - 1 - row:04x}-7abc-b{row % 4096:03x}-{row * 2654435761 % 2**48:012x}"


def _duration_s(row: int) -> int:
    return 1 + row * 271 % 3599


def _clicks(row: int) -> int:
    return row * 13 % 200


def _rest(age_s: float) -> str:
    """Return minute and second of what lies so long before the end of an hour."""
    rest_us = _HOUR_US - round(age_s * 1_000_000) % _HOUR_US
    return f"{datetime.fromtimestamp(rest_us / 1_000_000, UTC):%M:%S.%f}"


def _person(person: int, distinct_id: str) -> dict[str, Any]:
    email = f"{('ana', 'björn', 'chen', 'elif')[person % 4]}.{person}@example.com"
    return {
        "id": f"#1{_PERSON}{person:03d}#",
        "name": email,
        "distinct_ids": [distinct_id],
        "properties": {
            "email": email,
            "$initial_referrer": "https://www.google.com/",
            "$initial_referring_domain": "www.google.com",
            "$geoip_city_name": _CITIES[person % 8],
            "$geoip_country_code": ("DE", "BR", "JP", "CH", "KE", "PL", "PE", "CA")[person % 8],
            "$browser": _BROWSERS[person % 4],
            "$browser_version": 90 + person % 40,
            "$os": ("Mac OS X", "Windows", "Linux", "iOS", "Android")[person % 5],
            "$initial_current_url": f"https://app.example.com/signup?ref={person * 31}",
            "plan": ("free", "scale", "enterprise")[person % 3],
            "seats": 1 + person,
            "is_admin": person % 10 == 0,
        },
        "created_at": f"2024-03-{1 + person % 28:02d}T08:15:{person % 60:02d}.123456Z",
        "uuid": f"{_BLOCK}-01a2-7b3c-8d4e-{person * 1_000_003:012x}",
        "last_seen_at": f"2024-04-{1 + person % 28:02d}T18:45:{person % 60:02d}.654321Z",
    }
