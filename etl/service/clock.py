"""What time it is, and waiting for it: the one thing a test puts another in the place of."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol

# A clock that is set, or a machine that slept, is noticed within this many seconds.
_LOOK_EVERY_S = 30.0


class Clock(Protocol):
    """The clock on the wall."""

    def now(self) -> datetime:
        """Return the instant now, in UTC."""
        ...

    async def wait(self, until: datetime, event: asyncio.Event) -> bool:
        """Return at `until`, or as soon as `event` is set; whether it is set."""
        ...


class WallClock:
    """The machine's own."""

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
