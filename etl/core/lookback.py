"""How far back a sync reads again: young recordings at every sync, older ones less often.

The API does not say when a recording changed (PostHog source, session_recording_api.py: no
updated_at), so only reading it again shows a change. Most changes come while a session goes on and
in the hours after it. A person, a viewer or a late piece may come days later. So a lookback has
grades: each names an age, and how often recordings up to that age are read again. Recordings older
than the last grade are not read again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct

from etl.core.clocks import TOLERANCE

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_GRADE = re.compile(r"([0-9]{1,6})([mhdw])(?:\s+every\s+([0-9]{1,6})([mhdw]))?")
_LONGEST = timedelta(days=3650)


class Grade(Struct, frozen=True):
    """Recordings up to `age` are read again when `every` has passed; zero means at every sync."""

    age: timedelta
    every: timedelta


class Lookback(Struct, frozen=True):
    """Grades by rising age. The first one is due at every sync."""

    grades: tuple[Grade, ...]

    @classmethod
    def parse(cls, text: str) -> Lookback:
        """Parse "26h, 7d every 6h, 30d every 1d". Raises ValueError, which names the mistake."""
        grades = []
        for part in text.split(","):
            found = _GRADE.fullmatch(part.strip())
            if found is None:
                raise ValueError(f"{part.strip()!r} is not a grade; write for example 7d every 6h")
            age, age_unit, every, every_unit = found.groups()
            grades.append(
                Grade(
                    _duration(age, age_unit),
                    _duration(every, every_unit) if every else timedelta(0),
                )
            )
        if grades[0].every:
            raise ValueError("the first grade is read at every sync, so it has only an age")
        for young, old in pairwise(grades):
            if old.age <= young.age or old.every <= young.every:
                raise ValueError("each grade must be older than the one before and read less often")
        if grades[-1].age > _LONGEST:
            raise ValueError("a grade is at most ten years old")
        return cls(tuple(grades))

    def due(self, swept: Mapping[str, datetime], now: datetime) -> timedelta:
        """Return the greatest age that is due to be read again.

        swept: for each age, when recordings up to that age were last read (see `sweep`).
        """
        ages = [self.grades[0].age]
        for grade in self.grades[1:]:
            at = _last(swept, grade.age)
            # A time in the future came from a wrong clock, and counts as "never read".
            if at is None or at + grade.every <= now or at > now + TOLERANCE:
                ages.append(grade.age)
        return max(ages)

    def sweep(
        self, swept: Mapping[str, datetime], read: timedelta, began_at: datetime
    ) -> dict[str, datetime]:
        """Return what `swept` becomes after a reading.

        read: recordings up to this age were read. began_at: when that reading began.
        Grades that are no longer configured are dropped.
        """
        ages = {
            grade.age: began_at if grade.age <= read else _last(swept, grade.age)
            for grade in self.grades
        }
        return {_name(age): at for age, at in ages.items() if at is not None}


def _duration(number: str, unit: str) -> timedelta:
    try:
        return timedelta(**{_UNITS[unit]: int(number)})
    except OverflowError as exc:
        raise ValueError(f"{number}{unit} is too long") from exc


def _last(swept: Mapping[str, datetime], age: timedelta) -> datetime | None:
    """Return when everything up to `age` was last read, alone or with older recordings."""
    covering = [at for name, at in swept.items() if int(name) >= age.total_seconds()]
    return max(covering, default=None)


def _name(age: timedelta) -> str:
    return str(int(age.total_seconds()))


def parse_duration(text: str) -> timedelta:
    """Parse "12h", "30d" and the like. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is not a duration; write for example 12h, 7d or 4w")
    return _duration(found[1], found[2])
