"""Prefetching: limited in bytes, in order, and ended when it should end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.page import Page
from etl.errors import SourceUnavailable
from etl.runs.prefetch import Room, prefetched

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Source:
    """Yields pages of these sizes, then maybe raises.

    fetched: how many. dated: each page has dates of its own. closed: it has ended.
    """

    def __init__(self, sizes: Sequence[int], error: Exception | None = None) -> None:
        self._sizes = sizes
        self._error = error
        self.fetched = 0
        self.hangs = self.dated = self.closed = False

    async def pages(self) -> AsyncIterator[Page]:
        """Yield the pages. A page counts as fetched when it is yielded."""
        try:
            for number, size_bytes in enumerate(self._sizes):
                await asyncio.sleep(0)
                self.fetched += 1
                asked = (NOON, NOON + timedelta(hours=number)) if self.dated else None
                yield Page([number], False, NOON, size_bytes, asked=asked)
            if self._error is not None:
                raise self._error
            if self.hangs:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(200):
        await asyncio.sleep(0)


async def read(source: Source, buffer_bytes: int) -> list[int]:
    """Read all pages."""
    async with prefetched(source.pages(), Room(buffer_bytes), asyncio.Event()) as pages:
        return [page.records[0] async for together in pages for page in together]


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(1, 150))
async def test_every_page_comes_once_and_in_order(sizes: list[int], buffer_bytes: int) -> None:
    """Whatever the sizes; also a page that is larger than the buffer."""
    source = Source(sizes)
    assert await read(source, buffer_bytes) == list(range(len(sizes)))
    assert source.closed


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(1, 150))
async def test_no_more_is_held_than_the_buffer_and_three_pages(
    sizes: list[int], buffer_bytes: int
) -> None:
    """What is loaded and what waits fit the buffer, except one page of each of two loads and one.

    One more page was fetched and waits for room.
    """
    source, loaded = Source(sizes), 0
    before: list[int] = []
    async with prefetched(source.pages(), Room(buffer_bytes), asyncio.Event()) as pages:
        async for together in pages:
            given = sizes[loaded : loaded + len(together)]
            loaded += len(together)
            await settle()
            waiting = sizes[loaded : source.fetched - 1]
            assert len(given) == 1 or 3 * sum(given) <= buffer_bytes
            assert len(waiting) <= 1 or sum(before + given + waiting) <= buffer_bytes
            before = given
            if loaded < len(sizes):
                assert source.fetched > loaded


async def test_pages_that_wait_come_together() -> None:
    """A slow source gives each page alone, a fast one as many as fit a third of the buffer."""
    source = Source([1] * 10)
    async with prefetched(source.pages(), Room(12), asyncio.Event()) as pages:
        counts = []
        async for together in pages:
            counts.append(len(together))
            await settle()
    assert counts == [1, 4, 4, 1]


async def test_pages_that_may_not_be_loaded_together_come_alone() -> None:
    """Here each one was asked for with other dates."""
    source = Source([1] * 5)
    source.dated = True
    async with prefetched(source.pages(), Room(1000), asyncio.Event()) as pages:
        await settle()
        assert [len(together) async for together in pages] == [1] * 5


async def test_fetching_goes_on_while_a_page_is_loaded() -> None:
    """This is the purpose of prefetching."""
    source = Source([1] * 10)
    async with prefetched(source.pages(), Room(1000), asyncio.Event()) as pages:
        await anext(pages)
        await settle()
        assert source.fetched == 10


async def test_an_error_comes_after_the_pages_before_it() -> None:
    """They were fetched, so they are loaded."""
    source = Source([1, 1, 1], SourceUnavailable("down"))
    async with prefetched(source.pages(), Room(1000), asyncio.Event()) as pages:
        await settle()
        assert [page.records[0] for page in await anext(pages)] == [0, 1, 2]
        with pytest.raises(SourceUnavailable, match="down"):
            await anext(pages)


@pytest.mark.parametrize("which", [0, 1])
async def test_a_stop_ends_the_pages_and_the_fetching(which: int) -> None:
    """Also a fetch that would never end. Pages that were not taken yet are not loaded."""
    source, ends = Source([1, 1, 1]), [asyncio.Event(), asyncio.Event()]
    source.hangs = True
    async with prefetched(source.pages(), Room(1000), *ends) as pages:
        assert (await anext(pages))[0].records == [0]
        ends[which].set()
        assert await asyncio.wait_for(anext(pages, None), 5) is None
        await settle()
        assert source.closed


async def test_a_stop_that_is_set_from_the_start_yields_no_page_for_ever() -> None:
    """The iterator ends by itself."""
    source, stop = Source([1] * 5), asyncio.Event()
    source.hangs = True
    stop.set()
    async with prefetched(source.pages(), Room(1000), stop) as pages:
        assert len([page async for together in pages for page in together]) <= 5
    assert source.closed or source.fetched == 0


async def test_leaving_early_ends_the_fetching() -> None:
    """If the loader fails, no request stays open."""
    source = Source([1] * 100)

    async def load_and_fail() -> None:
        async with prefetched(source.pages(), Room(3), asyncio.Event()) as pages:
            await anext(pages)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await load_and_fail()
    assert source.closed
    assert source.fetched < 10


async def test_streams_share_the_room_and_give_it_back() -> None:
    """Two streams hold no more than one, and what one held is free once it has ended."""
    room, stop = Room(10), asyncio.Event()
    first, second = Source([1] * 20), Source([1] * 20)
    async with prefetched(second.pages(), room, stop) as theirs:
        async with prefetched(first.pages(), room, stop):
            await settle()
            assert (first.fetched + second.fetched, room.held_bytes) == (12, 10)
        await anext(theirs)
        await settle()
        assert (second.fetched, room.held_bytes) == (11, 10)
    assert room.held_bytes == 0
