"""Reads date_from and date_to as the recordings list does."""

import re
from datetime import datetime, timedelta

from etl.sandbox.clock import DAY_US, HOUR_US, MINUTE_US, to_us

_RELATIVE = re.compile(r"-(\d{1,5})([hdwmMy])")
_UNIT_US = {
    "M": MINUTE_US,
    "h": HOUR_US,
    "d": DAY_US,
    "w": 7 * DAY_US,
    "m": 30 * DAY_US,
    "y": 365 * DAY_US,
}
_DAY_ONLY = re.compile(r"\d{4}-\d{2}-\d{2}")


def read_date(text: str, now_us: int, *, is_end: bool) -> int:
    """Microseconds since 1970 of an instant, a day, or a relative value such as -7d.

    Without a zone UTC is meant. A day alone means its first instant, or its last one for an end.
    Raises ValueError if it is none of these.
    """
    relative = _RELATIVE.fullmatch(text)
    if relative:
        return now_us - int(relative[1]) * _UNIT_US[relative[2]]
    instant = datetime.fromisoformat(text)
    if is_end and _DAY_ONLY.fullmatch(text):
        instant += timedelta(days=1, microseconds=-1)
    return to_us(instant)
