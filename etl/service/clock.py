"""The clock of the scheduler. Tests replace it with one that they move."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol

# A change of the clock, or a machine that slept, is noticed within this many seconds.
_LOOK_EVERY_S = 30.0


class Clock(Protocol):
    """Tells the time, and waits for an instant."""

    def now(self) -> datetime:
        """Return the instant now, in UTC."""
        ...

    async def wait(self, until: datetime, event: asyncio.Event) -> bool:
        """Return at `until`, or as soon as `event` is set; whether it is set."""
        ...


class WallClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the instant now, in UTC."""
        return datetime.now(UTC)

    async def wait(self, until: datetime, event: asyncio.Event) -> bool:
        """Return at `until`, or as soon as `event` is set; whether it is set."""
        while not event.is_set() and (left_s := (until - self.now()).total_seconds()) > 0:
            try:
                async with asyncio.timeout(min(left_s, _LOOK_EVERY_S)):
                    await event.wait()
            except TimeoutError:
                continue
        return event.is_set()
