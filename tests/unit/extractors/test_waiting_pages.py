"""Pages of a list wait as bytes: only one record is decoded at a time, whatever is in it."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from etl.core.page import Page
from etl.core.place import SnapshotPlace
from etl.extractors.protocol import Answer, Request
from etl.extractors.single import SingleReader
from etl.extractors.snapshot import SnapshotReader
from etl.streams.cohorts import COHORTS

(COHORT,) = COHORTS.resources
START = datetime(2026, 5, 1, tzinfo=UTC)


class Server:
    """A list in one page. It is the client that asks it, too."""

    now = source_now = START

    def __init__(self, results: str) -> None:
        self.body = f'{{"count": 3, "next": null, "previous": null, "results": {results}}}'.encode()

    async def fetch(self, _request: Request, **_: Any) -> Answer:
        """Answer the page."""
        return Answer(self.body, START, START)


def read(server: Server) -> list[Page]:
    """Read the list."""

    async def pages() -> list[Page]:
        async def none(*_: Any) -> Any:
            return ()

        single = SingleReader(server, COHORT, 1, prefix="projects")  # type: ignore[arg-type]
        reader = SnapshotReader(server, single, 1000, none, {}, none)  # type: ignore[arg-type]
        place = SnapshotPlace(fingerprint="here", began_at=START, at=START)
        return [page async for page in reader.pages(place, doubts=False)]

    return asyncio.run(pages())


def cohort(id: int) -> dict[str, Any]:
    """A cohort with many small values, as an answer has it."""
    conditions = [{"key": f"key {n}", "value": n, "negation": False} for n in range(10)]
    return {
        **{"id": id, "name": f"Cohort {id}", "description": "", "groups": [], "deleted": False},
        **{"filters": {"properties": conditions}, "version": 1, "is_static": False},
        **{"created_by": {"id": 1, "uuid": None, "first_name": "Ana"}, "count": id},
    }


def test_a_page_that_waits_takes_little_more_than_its_bytes() -> None:
    """Decoded, it would take several times as much. While it is read, one record is decoded."""
    server = Server(json.dumps([cohort(id) for id in range(1000)]))
    read(server)  # what is made once
    tracemalloc.start()
    try:
        pages = read(server)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(page.records) for page in pages) == 1000
    size = len(server.body)
    assert (held < 1.5 * size, peak < 3 * size) == (True, True), (held / size, peak / size)


def named(pages: Sequence[Page]) -> list[tuple[int, str | None, Sequence[str] | None]]:
    """Id, name and marks of repair of each row."""
    columns = COHORT.tables[0].columns
    at = [columns.index(name) for name in ("id", "name", "_repaired")]
    rows = [row for page in pages for row in COHORT.transform(page).rows.get("cohorts", [])]
    return sorted((row[at[0]], row[at[1]], row[at[2]]) for row in rows)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (r'"\u0000"', ("\ufffd", ["name"])),
        (r'"\ud800"', ("\ufffd", ["name"])),
        ('"ü🦔"', ("ü🦔", None)),
        ('null, "new": 123456789012345678901234567890', (None, None)),
        ('null, "new": NaN', (None, ["new"])),
        ('null, "new": 1e999', (None, ["new"])),
        ("[1]", None),
        ("tru", None),
        (f'null, "new": {"[" * 3000 + "]" * 3000}', None),
    ],
    ids=["NUL", "half surrogate", "any text", "long", "NaN", "infinite", "kind", "broken", "deep"],
)
def test_a_record_that_is_odd_changes_nothing_of_its_neighbours(
    name: str, stored: tuple[str | None, list[str] | None] | None
) -> None:
    """It is repaired and marked, or rejected."""
    odd = f'{{"id": 2, "name": {name}}}'
    pages = read(Server(f'[{{"id": 1, "name": "a"}}, {odd}, {{"id": 3, "name": "c"}}]'))
    expected = [(1, "a", None), (3, "c", None)]
    expected[1:1] = [] if stored is None else [(2, *stored)]  # type: ignore[list-item]
    assert named(pages) == expected
    rejected = [each for page in pages for each in COHORT.transform(page).rejected]
    assert len(rejected) == int(stored is None)
