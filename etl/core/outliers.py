"""Recordings that no window of a sync asks for: dated far ahead of now, or before `start`.

Clients with wrong clocks date recordings years ahead. A sync asks up to a day ahead, so what lies
beyond is a stretch of its own: read once an hour, after the moving end, so that it delays nothing.
If it takes more requests than one, it is read as many hours later: one request an hour on average,
but at least once a day.

What lies before `start` is not loaded. Once a day one request looks whether there is anything, so
that `status` can say so.

What was read when is kept among the traits of the stream's watermarks.
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

Traits = Mapping[str, Any]


def window_ahead(began_at: datetime) -> Window:
    """Return what lies ahead of a moving end that was read from `began_at` on.

    It begins a little below, since the server's clock is known to the second at best.
    """
    return Window(min(began_at + AHEAD - _OVERLAP, FAR_AHEAD - _DAY), FAR_AHEAD)


def is_ahead_due(traits: Traits | None, now: datetime) -> bool:
    """Tell whether what lies ahead is to be read. Not from a server that ignores dates."""
    known = traits or {}
    if known.get("date_filter") in ("refused", "ignored"):
        return False
    mark = _mark(known, _AHEAD)
    requests = mark.get("requests")
    hours = requests if isinstance(requests, int) and requests > 0 else 1
    return _is_due(mark, min(hours * _HOUR, _DAY), now)


def ahead_was_read(now: datetime, requests: int) -> dict[str, Any]:
    """Return the traits that say so. requests: how many it took."""
    return {_AHEAD: {"at": now.isoformat(), "requests": requests}}


def is_look_before_due(traits: Traits | None, now: datetime) -> bool:
    """Tell whether to look for recordings before `start`. A server that ignores dates shows all."""
    known = traits or {}
    if known.get("date_filter") in ("refused", "ignored"):
        return False
    return _is_due(_mark(known, _BEFORE), _DAY, now)


def dates_before(start: datetime, complete: Coverage) -> Span | None:
    """Return the dates to look at: all before `start` and before what is complete there."""
    until = start
    for span in reversed(complete.spans):
        if span.since < until <= span.until:
            until = span.since
    return Span(LONG_AGO, until - _TICK) if until - _TICK > LONG_AGO else None


def looked_before(
    traits: Traits | None, now: datetime, found: datetime | None, *, answered: bool
) -> dict[str, Any]:
    """Return the traits that say what was found; without an answer, what was found before."""
    held = _mark(traits or {}, _BEFORE).get("found")
    new = None if found is None else found.isoformat()
    return {_BEFORE: {"at": now.isoformat(), "found": new if answered else held}}


def known_before(traits: Traits | None, start: datetime, complete: Coverage) -> datetime | None:
    """Return the start of a recording before `start` that is not loaded, None if none is known."""
    found = _instant(_mark(traits or {}, _BEFORE).get("found"))
    if found is None or found >= start or complete.covers(Span(found, found + _TICK)):
        return None
    return found


def hint_before(stream: str, start: datetime) -> str:
    """Return the words that say so, and how to load them."""
    until = start.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return (
        f"There are recordings from before {start:%Y-%m-%d} (the setting `start`) that are not "
        f"loaded. Load them with: posthog-etl backfill {stream} --since {LONG_AGO:%Y-%m-%d} "
        f"--until {until} --window 5200w"
    )


def _mark(traits: Traits, name: str) -> Mapping[str, Any]:
    mark = traits.get(name)
    return mark if isinstance(mark, Mapping) else {}


def _is_due(mark: Mapping[str, Any], every: timedelta, now: datetime) -> bool:
    at = _instant(mark.get("at"))
    # A mark from the future comes from a clock that was wrong.
    return at is None or at > now or at + every <= now


def _instant(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
