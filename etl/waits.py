"""What a run waits for: counted, and told while it lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog
from msgspec import Struct

_log = structlog.get_logger(__name__)

# Shorter waits are counted, but nobody is told of them; in seconds.
TOLD_S = 3.0


class Cause(Struct, frozen=True):
    """What is waited for, in words.

    what: completes "waiting for". short: the same for a narrow terminal. detail: how things stand.
    then: what happens at the end of the wait.
    """

    what: str
    detail: str
    short: str = ""
    then: str = "next"

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}"


class Wait(Struct, frozen=True, eq=False):
    """A wait under way. began_s, ends_s: by `time.monotonic`; ends_s: None if nobody knows."""

    cause: Cause
    began_s: float
    ends_s: float | None

    @property
    def waited_s(self) -> float:
        """How long it has lasted, in seconds."""
        return time.monotonic() - self.began_s

    @property
    def left_s(self) -> float | None:
        """How long it will last, in seconds; None if nobody knows."""
        return None if self.ends_s is None else max(0.0, self.ends_s - time.monotonic())

    @property
    def until(self) -> datetime | None:
        """When it ends, by this machine's clock; None if nobody knows."""
        left_s = self.left_s
        return None if left_s is None else datetime.now(UTC) + timedelta(seconds=left_s)


class Waits:
    """The waits of all that works with the same tools; these execute one unit at a time.

    changed: set when `current` has changed; whoever looks clears it.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._told: list[Wait] = []
        self._waiting = 0
        self._since_s = 0.0
        self._ended_s = 0.0

    @property
    def waited_s(self) -> float:
        """How long anything was waited for so far, in seconds; waits at once count once."""
        under_way_s = time.monotonic() - self._since_s if self._waiting else 0.0
        return self._ended_s + under_way_s

    @property
    def current(self) -> Wait | None:
        """The wait under way that began last, of those that are told; None: there is none."""
        return self._told[-1] if self._told else None

    async def sleep(self, cause: Cause, seconds: float) -> None:
        """Wait so long."""
        async with self.during(cause, seconds):
            await asyncio.sleep(seconds)

    @asynccontextmanager
    async def during(self, cause: Cause, seconds: float | None = None) -> AsyncIterator[None]:
        """Count the block as a wait. seconds: how long it will last; None: nobody knows."""
        began_s = time.monotonic()
        wait = Wait(cause, began_s, None if seconds is None else began_s + seconds)
        if not self._waiting:
            self._since_s = began_s
        self._waiting += 1
        later = None
        if seconds is None:
            later = asyncio.get_running_loop().call_later(TOLD_S, self._tell, wait)
        elif seconds >= TOLD_S:
            self._tell(wait)
        try:
            yield
        finally:
            if later is not None:
                later.cancel()
            self._waiting -= 1
            if not self._waiting:
                self._ended_s += time.monotonic() - self._since_s
            if wait in self._told:
                self._told.remove(wait)
                self.changed.set()
                _log.info("wait.ended", reason=str(cause), waited_s=round(wait.waited_s, 1))

    def _tell(self, wait: Wait) -> None:
        self._told.append(wait)
        self.changed.set()
        until = wait.until
        _log.info(
            "wait.began",
            reason=str(wait.cause),
            until=None if until is None else until.isoformat(timespec="seconds"),
        )
