"""Recordings that no window of a sync asks for: far ahead of now, or before `start`.

Clients with wrong clocks date recordings years ahead. A sync asks up to a day ahead. Everything
later is read as a window of its own, once an hour and after the tail, so it does not delay the
tail. If it takes several requests, it is read every so many hours: on average one request an hour,
and at least one reading a day.

Recordings before `start` are not loaded. One request a day checks whether there are any, and
`status` reports them.

The times of these readings are kept in the stream's `watermarks.traits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from etl.core.coverage import Coverage, Span
from etl.core.window import AHEAD, FAR_AHEAD, LONG_AGO, Window

_AHEAD, _BEFORE = "ahead", "before_start"
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_TICK = timedelta(microseconds=1)
_OVERLAP = timedelta(minutes=10)


def window_ahead(began_at: datetime) -> Window:
    """Return the window ahead of a tail whose reading began at `began_at`.

    It begins a little earlier, because the server's clock is known to the second at best.
    """
    return Window(min(began_at + AHEAD - _OVERLAP, FAR_AHEAD - _DAY), FAR_AHEAD)


def is_ahead_due(traits: Mapping[str, Any] | None, now: datetime) -> bool:
    """Tell whether to read what lies ahead. Never if the server ignores dates."""
    known = traits or {}
    if known.get("date_filter") in ("refused", "ignored"):
        return False
    mark = _mark(known, _AHEAD)
    requests = mark.get("requests")
    hours = requests if isinstance(requests, int) and requests > 0 else 1
    return _is_due(mark, min(hours * _HOUR, _DAY), now)


def ahead_was_read(now: datetime, requests: int) -> dict[str, Any]:
    """Return the traits that record this reading. requests: how many it took."""
    return {_AHEAD: {"at": now.isoformat(), "requests": requests}}


def is_look_before_due(traits: Mapping[str, Any] | None, now: datetime) -> bool:
    """Tell whether to check for recordings before `start`. Never if the server ignores dates."""
    known = traits or {}
    if known.get("date_filter") in ("refused", "ignored"):
        return False
    return _is_due(_mark(known, _BEFORE), _DAY, now)


def dates_before(start: datetime, complete: Coverage) -> Span | None:
    """Return the dates to check: all before `start` and before what is complete there."""
    until = start
    for span in reversed(complete.spans):
        if span.since < until <= span.until:
            until = span.since
    return Span(LONG_AGO, until - _TICK) if until - _TICK > LONG_AGO else None


def looked_before(
    traits: Mapping[str, Any] | None, now: datetime, found: datetime | None, *, answered: bool
) -> dict[str, Any]:
    """Return the traits after the check. Without an answer they keep what was found before."""
    held = _mark(traits or {}, _BEFORE).get("found")
    new = None if found is None else found.isoformat()
    return {_BEFORE: {"at": now.isoformat(), "found": new if answered else held}}


def known_before(
    traits: Mapping[str, Any] | None, start: datetime, complete: Coverage
) -> datetime | None:
    """Return the start of a recording before `start` that is not loaded; None if none is known."""
    found = _instant(_mark(traits or {}, _BEFORE).get("found"))
    if found is None or found >= start or complete.covers(Span(found, found + _TICK)):
        return None
    return found


def hint_before(stream: str, start: datetime) -> str:
    """Return a sentence that reports such recordings and names the command that loads them."""
    until = start.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return (
        f"There are recordings from before {start:%Y-%m-%d} (the setting `start`) that are not "
        f"loaded. Load them with: posthog-etl backfill {stream} --since {LONG_AGO:%Y-%m-%d} "
        f"--until {until} --window 5200w"
    )


def _mark(traits: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    mark = traits.get(name)
    return mark if isinstance(mark, Mapping) else {}


def _is_due(mark: Mapping[str, Any], every: timedelta, now: datetime) -> bool:
    at = _instant(mark.get("at"))
    # A wrong clock wrote a time in the future.
    return at is None or at > now or at + every <= now


def _instant(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
