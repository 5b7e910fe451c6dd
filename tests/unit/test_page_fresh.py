"""However many people look, the database is read once a second for each page."""

from __future__ import annotations

import asyncio

import pytest

from etl.errors import DestinationUnavailable
from etl.service.page.fresh import Fresh


class Source:
    """Counts how often it is read; `broken` times it fails at first."""

    def __init__(self, broken: int = 0) -> None:
        self.reads = self.at_once = 0
        self._broken = broken
        self._readers = 0

    async def read(self) -> int:
        """Return how often it was read."""
        self.reads += 1
        self._readers += 1
        self.at_once = max(self.at_once, self._readers)
        await asyncio.sleep(0)
        self._readers -= 1
        if self.reads <= self._broken:
            raise DestinationUnavailable("gone")
        return self.reads


async def test_all_who_ask_within_a_second_share_one_reading() -> None:
    """Another address has a reading of its own, one at a time."""
    pages: Fresh[int] = Fresh()
    source = Source()
    assert await asyncio.gather(*(pages.get("a", source.read) for _ in range(20))) == [1] * 20
    others = await asyncio.gather(*(pages.get(key, source.read) for key in range(99)))
    assert sorted(others) == list(range(2, 101))
    assert source.at_once == 1


async def test_what_failed_is_not_kept() -> None:
    """A connection that broke is tried again at once."""
    pages: Fresh[int] = Fresh()
    assert await pages.get("a", Source(broken=1).read) == 2
    source = Source(broken=2)
    with pytest.raises(DestinationUnavailable):
        await pages.get("b", source.read)
    assert await pages.get("b", source.read) == 3
