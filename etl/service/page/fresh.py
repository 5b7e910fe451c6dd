"""Keeps what was read from the database for a second, however many people look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from etl.errors import DestinationUnavailable

T = TypeVar("T")

FRESH_S = 1.0
# So many addresses of one kind of page are kept; the one that was read longest ago goes first.
_MOST_KEPT = 64


class Fresh(Generic[T]):
    """The pages of one kind: each is read at most once in FRESH_S, and one at a time."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._seen: dict[Hashable, tuple[float, T]] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` returns for `key`, or has returned less than FRESH_S ago."""
        async with self._one_at_a_time:
            seen = self._seen.get(key)
            if seen is not None and time.monotonic() - seen[0] < FRESH_S:
                return seen[1]
            self._seen.pop(key, None)
            found = await _twice(read)
            self._seen[key] = (time.monotonic(), found)
            while len(self._seen) > _MOST_KEPT:
                del self._seen[next(iter(self._seen))]
            return found


async def _twice(work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`, and again if the connection broke: after a restart the pool holds dead ones."""
    try:
        return await work()
    except DestinationUnavailable:
        return await work()
