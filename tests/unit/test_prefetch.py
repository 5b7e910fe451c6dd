"""Prefetching: limited in bytes, in order, and ended when it should end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.page import Page
from etl.errors import SourceUnavailable
from etl.runs.prefetch import prefetched

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Source:
    """Yields pages of these sizes, then maybe raises. `fetched` counts; `closed`: it has ended."""

    def __init__(self, sizes: Sequence[int], error: Exception | None = None) -> None:
        self._sizes = sizes
        self._error = error
        self.fetched = 0
        self.hangs = False
        self.closed = False

    async def pages(self) -> AsyncIterator[Page]:
        """Yield the pages. A page counts as fetched when it is yielded."""
        try:
            for number, size_bytes in enumerate(self._sizes):
                await asyncio.sleep(0)
                self.fetched += 1
                yield Page([number], False, NOON, size_bytes)
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
    async with prefetched(source.pages(), buffer_bytes, asyncio.Event()) as pages:
        return [page.records[0] async for page in pages]


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(1, 150))
async def test_every_page_comes_once_and_in_order(sizes: list[int], buffer_bytes: int) -> None:
    """Whatever the sizes; also a page that is larger than the buffer."""
    source = Source(sizes)
    assert await read(source, buffer_bytes) == list(range(len(sizes)))
    assert source.closed


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(1, 150))
async def test_no_more_is_fetched_ahead_than_the_buffer_holds_and_one_page(
    sizes: list[int], buffer_bytes: int
) -> None:
    """While a page is loaded, waiting pages fit the buffer, and one more page waits for room."""
    source, loaded = Source(sizes), 0
    async with prefetched(source.pages(), buffer_bytes, asyncio.Event()) as pages:
        async for _ in pages:
            loaded += 1
            await settle()
            waiting = sizes[loaded : source.fetched]
            assert sum(waiting[:-1]) <= buffer_bytes or len(waiting[:-1]) == 1
            if loaded < len(sizes):
                assert source.fetched > loaded


async def test_fetching_goes_on_while_a_page_is_loaded() -> None:
    """This is the purpose of prefetching."""
    source = Source([1] * 10)
    async with prefetched(source.pages(), 1000, asyncio.Event()) as pages:
        await anext(pages)
        await settle()
        assert source.fetched == 10


async def test_an_error_comes_after_the_pages_before_it() -> None:
    """They were fetched, so they are loaded."""
    source = Source([1, 1, 1], SourceUnavailable("down"))
    async with prefetched(source.pages(), 1000, asyncio.Event()) as pages:
        await settle()
        assert [(await anext(pages)).records[0] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceUnavailable, match="down"):
            await anext(pages)


async def test_a_stop_ends_the_pages_and_the_fetching() -> None:
    """Also a fetch that would never end. Pages that were not taken yet are not loaded."""
    source, stop = Source([1, 1, 1]), asyncio.Event()
    source.hangs = True
    async with prefetched(source.pages(), 1000, stop) as pages:
        assert (await anext(pages)).records == [0]
        stop.set()
        assert await asyncio.wait_for(anext(pages, None), 5) is None
        await settle()
        assert source.closed


async def test_a_stop_that_is_set_from_the_start_yields_no_page_for_ever() -> None:
    """The iterator ends by itself."""
    source, stop = Source([1] * 5), asyncio.Event()
    source.hangs = True
    stop.set()
    async with prefetched(source.pages(), 1000, stop) as pages:
        assert len([page async for page in pages]) <= 5
    assert source.closed or source.fetched == 0


async def test_leaving_early_ends_the_fetching() -> None:
    """If the loader fails, no request stays open."""
    source = Source([1] * 100)

    async def load_and_fail() -> None:
        async with prefetched(source.pages(), 3, asyncio.Event()) as pages:
            await anext(pages)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await load_and_fail()
    assert source.closed
    assert source.fetched < 10
