"""Decide when a stream is due: a cron expression in a time zone, and missed ticks. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

# Cron's words for common expressions.
WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
# Schedules of our own; no schedule of a user has a colon in its name.
PRUNE, VERIFY = ":prune", ":verify"
_FIELDS = 5
# Any fixed instant.
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_GAPS_LOOKED_AT = 100
# How far back to look for the latest tick. Ticks are counted in the first range that has one, so
# that few are counted.
_BACK = tuple(timedelta(hours=hours) for hours in (1, 24, 200, 800, 8_784, 8_784 * 9))


@dataclass(frozen=True, slots=True)
class Schedule:
    """When which streams are synced. Empty `streams`: all enabled streams.

    Across a change of clocks ticks behave as in Debian's cron. A tick at a fixed hour comes once
    that day, also if its hour is skipped or comes twice. An expression with a star in minute or
    hour follows the local time.
    """

    name: str
    cron: str
    streams: tuple[str, ...] = ()
    time_zone: str = "UTC"
    jitter: timedelta = timedelta()

    def __post_init__(self) -> None:
        if not re.fullmatch(r":?[a-z0-9][a-z0-9_-]{0,62}", self.name):
            raise ValueError(
                f"{self.name!r} is not a schedule name; write small letters, digits, - and _"
            )
        read_zone(self.time_zone)
        expression = WORDS.get(self.cron.strip().lower(), self.cron)
        object.__setattr__(self, "cron", " ".join(expression.split()))
        try:
            if self.cron.count(" ") != _FIELDS - 1:
                raise CronSimError("Wrong number of fields")
            first = self.next_after(_SOME_DAY)
        except CronSimError as exc:
            raise ValueError(
                f"{self.cron!r} is not a cron expression ({str(exc).lower()}); write five fields, "
                "minute hour day month weekday, for example */15 * * * *"
            ) from exc
        except StopIteration:
            raise ValueError(f"{self.cron!r} names a day that never comes") from None
        if self.jitter and self.jitter >= self._shortest_gap(first):
            raise ValueError(
                f"the jitter must be shorter than the {self._shortest_gap(first)} between two ticks"
            )

    def next_after(self, at: datetime) -> datetime:
        """Return the first tick after `at`, in UTC."""
        return next(self._ticks(at))

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last tick in (after, until]; None if there is none."""
        for span in _BACK:
            begin = max(after, until - span)
            found = None
            for tick in self._ticks(begin):
                if tick > until:
                    break
                found = tick
            if found is not None or begin == after:
                return found
        return None

    def count(self, after: datetime, until: datetime) -> int:
        """Return the number of ticks in (after, until]."""
        return sum(1 for _ in takewhile(lambda tick: tick <= until, self._ticks(after)))

    def mean_gap_s(self) -> float:
        """Return the mean time between two ticks, in seconds."""
        ticks = [*islice(self._ticks(_SOME_DAY), _GAPS_LOOKED_AT)]
        return (ticks[-1] - ticks[0]).total_seconds() / max(1, len(ticks) - 1)

    def _ticks(self, after: datetime) -> Iterator[datetime]:
        """Yield the ticks after an instant, each once, in order."""
        last = after
        for tick in CronSim(self.cron, after.astimezone(ZoneInfo(self.time_zone))):
            # If it starts in an hour that comes twice, it also yields ticks of the first such hour.
            if (at := tick.astimezone(UTC)) > last:
                last = at
                yield at

    def _shortest_gap(self, first: datetime) -> timedelta:
        ticks = [first, *islice(self._ticks(first), _GAPS_LOOKED_AT)]
        return min(b - a for a, b in pairwise(ticks))


def read_zone(name: str) -> ZoneInfo:
    """Return the time zone of this name. Raises ValueError if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name is a directory
        near = difflib.get_close_matches(name, available_timezones(), n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(
            f"{name!r} is not a time zone{meant}; write for example UTC or Europe/Berlin"
        ) from None


def parse_jitter(text: str) -> timedelta:
    """Parse "90s", "5m" or "1h"; "0" means none. Raises ValueError."""
    if text.strip() == "0":
        return timedelta()
    found = re.fullmatch(r"([0-9]{1,5})([smh])", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a delay; write for example 90s, 5m or 1h")
    unit = {"s": "seconds", "m": "minutes", "h": "hours"}[found[2]]
    return timedelta(**{unit: int(found[1])})
