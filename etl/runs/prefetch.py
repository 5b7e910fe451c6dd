"""Fetching runs ahead of loading, by a bounded number of bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from etl.core.page import Page
from etl.tasks import beside


@asynccontextmanager
async def prefetched(
    pages: AsyncIterator[Page], buffer_bytes: int, stop: asyncio.Event
) -> AsyncIterator[AsyncIterator[Sequence[Page]]]:
    """Yield an iterator over `pages` that are fetched while earlier ones are loaded.

    The iterator gives all pages that wait, as far as they may be loaded together, up to half of
    `buffer_bytes`; the other half is fetched meanwhile. One page is given and one waits, however
    large. When `stop` is set the iterator ends early; a request under way, or a wait for the
    budget, is cancelled. What the fetching raises is raised after the pages before it.
    """
    buffer = _Buffer(buffer_bytes)
    async with (
        beside(_fill(buffer, pages)) as (fetching,),
        beside(_close_when(stop, buffer, fetching)),
    ):
        yield buffer


class _Buffer:
    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pages: deque[Page] = deque()
        self._waiting_bytes = self._given_bytes = 0
        self._changed = asyncio.Condition()
        self._closed = False
        self._error: BaseException | None = None

    async def put(self, page: Page) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._pages or self._has_room(page))
            self._pages.append(page)
            self._waiting_bytes += page.size_bytes
            self._changed.notify_all()

    def _has_room(self, page: Page) -> bool:
        held_bytes = self._waiting_bytes + self._given_bytes
        return held_bytes + page.size_bytes <= self._limit_bytes

    def __aiter__(self) -> _Buffer:
        return self

    async def __anext__(self) -> Sequence[Page]:
        async with self._changed:
            self._given_bytes = 0  # what was given before is loaded
            self._changed.notify_all()
            await self._changed.wait_for(lambda: bool(self._pages) or self._closed)
            if not self._pages:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            given: list[Page] = []
            while self._pages and (not given or self._goes_along(given[-1])):
                page = self._pages.popleft()
                self._waiting_bytes -= page.size_bytes
                self._given_bytes += page.size_bytes
                given.append(page)
            self._changed.notify_all()
            return given

    def _goes_along(self, last: Page) -> bool:
        page = self._pages[0]
        fits = 2 * (self._given_bytes + page.size_bytes) <= self._limit_bytes
        return fits and last.goes_with(page)

    async def close(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        async with self._changed:
            if discard:
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


async def _close_when(stop: asyncio.Event, buffer: _Buffer, fetching: asyncio.Task[None]) -> None:
    await stop.wait()
    fetching.cancel()
    await buffer.close(discard=True)
