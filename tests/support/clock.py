"""Clocks that tests put in the place of the one on the wall."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime


class JumpingClock:
    """Stands still while anybody works, and jumps to the next instant all are waiting for.

    waiters: how many wait when nobody works. moved: told each time by how many seconds it jumped.
    ends_at: an event to set once that instant is reached.
    """

    def __init__(
        self,
        now: datetime,
        waiters: int,
        moved: Callable[[float], object] = lambda _seconds: None,
        ends_at: tuple[datetime, asyncio.Event] | None = None,
    ) -> None:
        self._now = now
        self._count = waiters
        self._moved = moved
        self._end = ends_at
        self._waiting: list[tuple[datetime, asyncio.Event]] = []

    def now(self) -> datetime:
        """The instant it shows."""
        return self._now

    def advance_to(self, at: datetime) -> None:
        """Jump there, if it lies ahead."""
        if at > self._now:
            self._moved((at - self._now).total_seconds())
            self._now = at
        if self._end is not None and at >= self._end[0]:
            self._end[1].set()

    async def wait(self, until: datetime, event: asyncio.Event) -> bool:
        """Return once the clock has come to `until`, or `event` is set; whether it is set."""
        reached = asyncio.Event()
        entry = (until, reached)
        self._waiting.append(entry)
        self._jump()
        tasks = [asyncio.ensure_future(each.wait()) for each in (event, reached)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            if entry in self._waiting:
                self._waiting.remove(entry)
        return event.is_set()

    def _jump(self) -> None:
        if len(self._waiting) < self._count:
            return
        earliest = min(self._waiting, key=lambda entry: entry[0])
        self._waiting.remove(earliest)
        self.advance_to(earliest[0])
        earliest[1].set()
