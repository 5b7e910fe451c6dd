"""How many requests were used and are left, by class, over the last hour. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from etl.core.budget import SLACK, Limit, Limits, class_named
from etl.loaders.budget import Used
from etl.service.page.plots import Axes, Form, Plot, Point, Series, Unit, plot

_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)
_LENGTHS = {60: "minute", 3600: "hour"}


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of one limit. per: minute or hour. next_at: None if there is room now,
    or if it is not known."""

    per: str
    allowed: int
    used: int
    left: int
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClassUse:
    """A class of requests: what it is called, what is left of its limits, and its last hour."""

    name: str
    named: str
    rooms: tuple[Room, ...]
    blocked_until: datetime | None
    plot: Plot


def uses(limits: Limits, used: Mapping[str, Used], now: datetime) -> tuple[ClassUse, ...]:
    """Return the classes of which anything was used in the last two hours, or that are blocked."""
    return tuple(_use(name, limits.get(name, ()), found, now) for name, found in used.items())


def _use(name: str, limits: Iterable[Limit], used: Used, now: datetime) -> ClassUse:
    rooms = tuple(
        _room(limit, used, now)
        for limit in sorted(limits, key=lambda each: -each.window_s)
        if limit.window_s in _LENGTHS
    )
    hourly = next((room.allowed for room in rooms if room.per == "hour"), None)
    axes = Axes(
        since=now - _HOUR,
        until=now,
        unit=Unit.REQUESTS,
        title="requests used in the hour before",
        limit=hourly,
        limit_name="allowed in an hour",
    )
    drawn = plot(f"requests-{name.replace(' ', '-')}", axes, [_series(used, now)])
    return ClassUse(name, class_named(name), rooms, used.blocked_until, drawn)


def _room(limit: Limit, used: Used, now: datetime) -> Room:
    sent = used.in_window.get(limit.window_s, 0)
    left = max(0, limit.requests - sent)
    oldest_at = used.oldest_at.get(limit.window_s)
    next_at = None
    # After the limit was lowered more may be used than it allows; then the oldest says nothing.
    if sent == limit.requests and oldest_at is not None:
        next_at = oldest_at + timedelta(seconds=limit.window_s) + SLACK
    return Room(_LENGTHS[limit.window_s], limit.requests, sent, left, next_at)


def _series(used: Used, now: datetime) -> Series:
    """Return how many requests of an hour were used at the beginning of each minute, and now."""
    first = (now - _HOUR).astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
    points = []
    for number in range(60):
        at = first + number * _MINUTE
        if at >= now:
            break
        sent = sum(count for minute, count in used.by_minute.items() if at - _HOUR <= minute < at)
        points.append(Point(at, sent))
    points.append(Point(now, used.in_window.get(3600, 0)))
    return Series("used", points, Form.STEPS)
