"""Dates as people write them in a command: 2026-01-31, 30d, 2h, today, yesterday. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WHOLE_DAYS = ("d", "w")
_AGO = re.compile(r"-?([0-9]{1,6})\s*([mhdw])(?:\s+ago)?")


def parse_instant(text: str) -> datetime:
    """Parse an ISO 8601 instant, UTC if it names no zone. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not a date; write 2026-01-31 or 2026-01-31T12:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_date(text: str, now: datetime) -> datetime:
    """Parse an instant, or one that is told from `now`. Raises ValueError.

    30d and 4w are the beginning of the day (UTC) so long ago, so that a command means the same time
    all day long and an interrupted backfill goes on. 2h and 15m are exact.
    """
    words = text.strip().lower()
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": today, "yesterday": today - timedelta(days=1)}
    if words in named:
        return named[words]
    try:
        if ago := _AGO.fullmatch(words):
            begin = today if ago[2] in _WHOLE_DAYS else now
            return begin - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return parse_instant(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is not a date; write 2026-01-31, 2026-01-31T12:00Z, 30d, 2h, today or "
            "yesterday"
        ) from None
