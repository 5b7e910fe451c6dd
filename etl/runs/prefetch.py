"""Fetching runs ahead of loading, by a bounded number of bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from etl.core.page import Page
from etl.tasks import beside

# One group is written while the next one is staged.
_AT_ONCE = 2


class Room:
    """The pages of all streams that are read at once: those that wait, and those being loaded.

    limit_bytes: how large they may be together. But each stream may have one page that waits and
    two that are loaded, however large.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.changed = asyncio.Condition()


@asynccontextmanager
async def prefetched(
    pages: AsyncIterator[Page], room: Room, *ends: asyncio.Event
) -> AsyncIterator[AsyncIterator[Sequence[Page]]]:
    """Yield an iterator over `pages` that are fetched while earlier ones are loaded.

    The iterator gives all pages that wait, as far as they may be loaded together, up to a third of
    the room. Two such groups may be loaded at once, and as much is fetched meanwhile. When one of
    `ends` is set the iterator ends early; a request under way, or a wait for the budget, is
    cancelled. What the fetching raises is raised after the pages before it.
    """
    buffer = _Buffer(room)
    try:
        async with (
            beside(_fill(buffer, pages)) as (fetching,),
            beside(*(_close_when(end, buffer, fetching) for end in ends)),
        ):
            yield buffer
    finally:
        buffer.leave()


class _Buffer:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._changed = room.changed
        self._pages: deque[Page] = deque()
        # The sizes of the groups that are loaded.
        self._given_bytes: deque[int] = deque()
        self._closed = False
        self._error: BaseException | None = None

    async def put(self, page: Page) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._pages or self._has_room(page))
            self._pages.append(page)
            self._room.held_bytes += page.size_bytes
            self._changed.notify_all()

    def _has_room(self, page: Page) -> bool:
        return self._room.held_bytes + page.size_bytes <= self._room.limit_bytes

    def leave(self) -> None:
        """Give up the room of what was not loaded. Others notice when they look next."""
        waiting_bytes = sum(page.size_bytes for page in self._pages)
        self._room.held_bytes -= waiting_bytes + sum(self._given_bytes)
        self._given_bytes.clear()
        self._pages.clear()

    def __aiter__(self) -> _Buffer:
        return self

    async def __anext__(self) -> Sequence[Page]:
        async with self._changed:
            if len(self._given_bytes) == _AT_ONCE:
                self._room.held_bytes -= self._given_bytes.popleft()  # it is loaded
                self._changed.notify_all()
            await self._changed.wait_for(lambda: bool(self._pages) or self._closed)
            if not self._pages:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            given = [self._pages.popleft()]
            given_bytes = given[0].size_bytes
            while self._pages and self._goes_along(given[-1], given_bytes):
                given.append(self._pages.popleft())
                given_bytes += given[-1].size_bytes
            self._given_bytes.append(given_bytes)
            self._changed.notify_all()
            return given

    def _goes_along(self, last: Page, given_bytes: int) -> bool:
        page = self._pages[0]
        fits = 3 * (given_bytes + page.size_bytes) <= self._room.limit_bytes
        return fits and last.goes_with(page)

    async def close(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        async with self._changed:
            if discard:
                self._room.held_bytes -= sum(page.size_bytes for page in self._pages)
                self._pages.clear()
            if not self._closed:
                self._closed, self._error = True, error
            self._changed.notify_all()


async def _fill(buffer: _Buffer, pages: AsyncIterator[Page]) -> None:
    try:
        async with aclosing(pages):  # type: ignore[type-var]
            async for page in pages:
                await buffer.put(page)
    except Exception as exc:
        await buffer.close(exc)
    else:
        await buffer.close()


async def _close_when(end: asyncio.Event, buffer: _Buffer, fetching: asyncio.Task[None]) -> None:
    await end.wait()
    fetching.cancel()
    await buffer.close(discard=True)
