"""Numbers and instants as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from etl.loaders.row_counts import Count

NONE = "-"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def span(length: timedelta | float | None) -> str:
    """Say a length of time, in seconds or as such, to two digits or so: 4 min, 1.5 h, 12 d."""
    if length is None:
        return NONE
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    seconds = max(0.0, seconds)
    for size, unit in _UNITS:
        if seconds >= size:
            value = seconds / size
            return f"{value:,.0f} {unit}" if value >= 10 else f"{_short(value)} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{_short(seconds)} s"


def minutes(length: timedelta) -> str:
    """Say a length of time without its seconds, so that the text does not change each second."""
    left = length.total_seconds()
    return span(math.ceil(left / 60) * 60) if left > 60 else "less than a minute"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def instant(at: datetime | None) -> str:
    """Say an instant to the second, UTC."""
    return NONE if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def second(at: datetime, now: datetime) -> str:
    """Say an instant to the second, without its day when that is today's."""
    return clock(at, now, "%H:%M:%S")


def clock(at: datetime, now: datetime, time: str = "%H:%M") -> str:
    """Say an instant to the minute, without its day when that is today's."""
    here = at.astimezone(UTC)
    pattern = time if here.date() == now.astimezone(UTC).date() else f"%-d %b %Y {time}"
    return f"{here.strftime(pattern)} UTC"


def iso(at: datetime) -> str:
    """Return an instant for machines."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def number(value: float | None) -> str:
    """Say a count."""
    return NONE if value is None else f"{value:,.0f}"


def count(value: Count | None) -> str:
    """Say how many rows there are; about how many where that is an estimate, to two digits."""
    if value is None or value.exact:
        return number(None if value is None else value.rows)
    for size, unit in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if value.rows >= size:
            return f"about {_short(value.rows / size)} {unit}"
    return f"about {value.rows}"


def rate(value: float | None) -> str:
    """Say how many a second."""
    if value is None:
        return NONE
    return f"{value:,.0f}/s" if value >= 10 else f"{_short(value)}/s"


def size(value: int) -> str:
    """Say a size in bytes."""
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:,.0f} {unit}" if amount >= 10 else f"{_short(amount)} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def plural(value: int, one: str, many: str | None = None) -> str:
    """Say how many of something there are: 1 stream, 2 streams."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"
