"""The recordings list as the documentation promises it."""

import aiohttp
import pytest

from etl.sandbox.server import running
from tests.unit.sandbox.reader import LIST, Reader, small


async def test_the_documented_envelope_has_absolute_links() -> None:
    """count, next, previous, results; a hundred rows unless asked otherwise."""
    async with running(small(flavour="docs")) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        _, page, _ = await reader.get(LIST)
        assert page.keys() == {"count", "next", "previous", "results"}
        assert (page["count"], len(page["results"]), page["previous"]) == (300, 100, None)
        assert page["next"] == f"{sandbox.url}{LIST}?limit=100&offset=100"
        _, page, _ = await reader.get(page["next"])
        assert page["previous"] == f"{sandbox.url}{LIST}?limit=100"
        _, page, _ = await reader.get(LIST, offset=200, limit=100, colour="blue")
        assert (page["next"], len(page["results"])) == (None, 100)
        starts = [row["start_time"] for row in await reader.link_walk(limit=300)]
        assert starts == sorted(starts, reverse=True)


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ("A", {"storage"}, {"viewers", "expiry_time", "external_references"}),
        ("C", {"storage", "viewers"}, {"recording_ttl", "snapshot_library"}),
        ("D", {"viewers", "recording_ttl", "external_references"}, {"storage"}),
    ],
)
async def test_each_page_of_the_documentation_has_its_own_shape(
    version: str, present: set[str], absent: set[str]
) -> None:
    """And nothing that only the real server sends."""
    options = small(flavour="docs", page_version=version)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        rows = await Reader(sandbox, session).link_walk()
        for row in rows:
            assert present <= row.keys()
            assert not row.keys() & (absent | {"matches_filters", "has_summary", "total_size"})
            assert ("last_seen_at" in row["person"]) is (version == "D")
        if version == "A":
            assert all(isinstance(row["activity_score"], int | None) for row in rows)
            assert all(isinstance(row["person"]["distinct_ids"], str) for row in rows)
            assert all(row["person"]["properties"] is None for row in rows)
        else:
            lengths = {len(row["person"]["distinct_ids"]) for row in rows}
            assert {1, 2} <= lengths <= set(range(1, 11))


async def test_shapes_can_be_mixed_within_one_page() -> None:
    """Servers are updated while a run goes on."""
    options = small(flavour="docs", page_version="mixed")
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        _, page, _ = await Reader(sandbox, session).get(LIST)
        assert len({frozenset(row) for row in page["results"]}) == 3


@pytest.mark.parametrize(("mode", "count"), [(None, 300), ("honoured", 31), ("refused", None)])
async def test_the_date_filter_is_ignored_unless_chosen_otherwise(
    mode: str | None, count: int | None
) -> None:
    """No page promises it."""
    options = small(flavour="docs", date_filter=mode)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        status, page, _ = await reader.get(LIST, date_from="2026-05-01T12:00:00Z")
        assert status == (400 if count is None else 200)
        if count is not None:
            assert page["count"] == pytest.approx(count, abs=6)
        assert (await reader.get(LIST))[1]["count"] == 300


async def test_equal_starts_change_places_between_requests() -> None:
    """So that a reader that trusts offsets loses rows, as on a real server."""
    options = small(flavour="docs", start_ties=7)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        rows = await reader.link_walk(limit=10)
        assert len(rows) == 300
        assert len({row["id"] for row in rows}) < 300
        assert len({row["id"] for row in await reader.link_walk(limit=300)}) == 300
