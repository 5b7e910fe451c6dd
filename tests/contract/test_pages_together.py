"""Pages that are loaded in one transaction leave what they would leave one after another."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from etl.core.page import Page
from etl.errors import LeaseLost
from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.leases import Lease, Leases, Unit
from etl.loaders.loader import Commit, Loaded
from etl.loaders.postgres import PostgresLoader
from etl.loaders.tables import Tables
from etl.streams import SESSION_RECORDINGS
from etl.transformers.recordings import transform
from etl.transformers.transformer import joined
from tests.support.books import until
from tests.support.sql import select

TABLES = Tables("posthog")
RESOURCE = SESSION_RECORDINGS.resources[0]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ONE_BY_ONE, TOGETHER = 1, 2
DATA = ("session_recordings", "persons", "person_distinct_ids")
# When a row was written, and for which project.
APART = {"project_id", "_first_seen_at", "_updated_at", "_xid", "_observed_at"}


def recording(chance: random.Random) -> Any:
    """One of few recordings, of one of few persons, with one of few values; at times broken."""
    if chance.random() < 0.1:
        return {"id": f"broken-{chance.randrange(3)}", "click_count": "many"}
    number, person = chance.randrange(6), chance.randrange(3)
    return {
        "id": f"r{number}",
        "distinct_id": f"d{chance.randrange(4)}",
        "start_time": "2026-05-01T10:00:00Z",
        "click_count": chance.randrange(3),
        "storage": chance.choice([None, "object_storage"]),  # null overwrites nothing
        "person": {
            "uuid": str(uuid.UUID(int=person + 1)),
            "id": person + 1,
            "name": chance.choice(["Ada", "Grace"]),
            "distinct_ids": [f"d{chance.randrange(4)}"],
        },
    }


def pages_of(chance: random.Random) -> list[Page]:
    """Some pages; their requests are a minute apart."""
    return [
        Page(
            [recording(chance) for _ in range(chance.randrange(5))],
            dirty=True,
            observed_at=NOON + timedelta(minutes=minute),
            size_bytes=100,
        )
        for minute in range(0, 2 * chance.randrange(2, 5), 2)
    ]


async def load(
    database: Database, lease: Lease, pages: Sequence[Page], after: asyncio.Task[None] | None = None
) -> Loaded:
    """Load these pages in one transaction. after: the load of the batch before."""
    batch = joined(pages, [transform(page) for page in pages], RESOURCE.tables)
    loader = PostgresLoader(database, TABLES, SESSION_RECORDINGS.name, RESOURCE)
    at = pages[-1].observed_at
    commit = Commit(at, None, requests=len(pages), bytes_read=1, after=after)
    return await loader.load(lease, batch, commit)


async def stored(dsn: str, project_id: int) -> dict[str, list[dict[str, Any]]]:
    """All rows of a project, without what tells when they were written."""
    found = {}
    for table in DATA:
        rows = await select(dsn, f"SELECT * FROM posthog.{table} WHERE project_id = $1", project_id)
        kept = [{k: v for k, v in row.items() if k not in APART} for row in rows]
        found[table] = sorted(kept, key=str)
    rejects = await select(
        dsn, "SELECT record_key, reason FROM posthog_etl.rejects WHERE project_id = $1", project_id
    )
    return {**found, "rejects": sorted((dict(row) for row in rejects), key=str)}


@pytest.mark.parametrize("seed", range(12))
async def test_pages_together_leave_what_they_leave_one_by_one(
    database: Database, dsn: str, seed: int
) -> None:
    """Among rows that another run read before, between and after the requests of these pages."""
    chance = random.Random(seed)
    minutes = [chance.choice([-1, 1, 3, 9]) for _ in range(4)]
    # They leave nothing out, or what an earlier page showed would fill it.
    others = [
        Page(
            [{**recording(chance), "storage": "object_storage"}],
            True,
            NOON + timedelta(minutes=minute),
            1,
        )
        for minute in minutes
    ]
    pages = pages_of(chance)
    leases = {
        project_id: await Leases(database, TABLES, ttl_s=30).acquire(
            Unit(project_id, SESSION_RECORDINGS.name, "tail"), str(uuid.uuid4()), "sync"
        )
        for project_id in (ONE_BY_ONE, TOGETHER)
    }
    for page in others:
        for lease in leases.values():
            await load(database, lease, [page])
    for page in pages:
        await load(database, leases[ONE_BY_ONE], [page])
    await load(database, leases[TOGETHER], pages)
    assert await stored(dsn, TOGETHER) == await stored(dsn, ONE_BY_ONE)


async def test_each_row_says_when_it_was_asked_for(database: Database, dsn: str) -> None:
    """The rows of one transaction come from several requests."""
    chance = random.Random(1)
    pages = [
        Page([{**recording(chance), "id": f"r{minute}"}], True, NOON + timedelta(minutes=minute), 1)
        for minute in range(3)
    ]
    unit = Unit(TOGETHER, SESSION_RECORDINGS.name, "tail")
    lease = await Leases(database, TABLES, ttl_s=30).acquire(unit, str(uuid.uuid4()), "sync")
    await load(database, lease, pages)
    found = await select(dsn, "SELECT id, _observed_at FROM posthog.session_recordings ORDER BY id")
    assert [row["_observed_at"] for row in found] == [page.observed_at for page in pages]


@pytest.mark.parametrize("ends_well", [True, False], ids=["commits", "fails"])
async def test_a_batch_is_staged_while_the_one_before_is_loaded_and_written_after_it(
    database: Database, dsn: str, ends_well: bool
) -> None:
    """Nothing of it is written before, and nothing at all if the one before fails."""
    ending = asyncio.Event()

    async def before() -> None:
        await ending.wait()
        if not ends_well:
            raise LeaseLost("another run holds it")

    unit = Unit(TOGETHER, SESSION_RECORDINGS.name, "tail")
    lease = await Leases(database, TABLES, ttl_s=30).acquire(unit, str(uuid.uuid4()), "sync")
    first = asyncio.create_task(before())
    second = asyncio.create_task(load(database, lease, pages_of(random.Random(1)), after=first))

    async def waits_after_its_copy() -> bool:
        idle = await select(
            dsn,
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() "
            "AND state = 'idle in transaction'",
        )
        return any("COPY" in row["query"] for row in idle)

    await until(waits_after_its_copy, "the batch is staged")
    assert await select(dsn, "SELECT FROM posthog.session_recordings") == []
    ending.set()
    await asyncio.wait({first, second})
    assert isinstance(first.exception(), type(None) if ends_well else LeaseLost)
    assert second.cancelled() == (not ends_well)
    written = await select(dsn, "SELECT FROM posthog.session_recordings")
    assert bool(written) == ends_well


async def test_a_batch_that_has_to_wait_for_long_gives_its_connection_back(dsn: str) -> None:
    """Postgres need not end its transaction, and it is staged again when its turn has come."""
    database = Database(parse_database_url(dsn), Timeouts(idle_s=1.0))
    unit = Unit(TOGETHER, SESSION_RECORDINGS.name, "tail")
    lease = await Leases(database, TABLES, ttl_s=30).acquire(unit, str(uuid.uuid4()), "sync")
    ending = asyncio.Event()

    async def before() -> None:
        await ending.wait()

    async def in_transaction() -> bool:
        return bool(
            await select(
                dsn,
                "SELECT FROM pg_stat_activity WHERE datname = current_database() "
                "AND state = 'idle in transaction'",
            )
        )

    async def in_none() -> bool:
        return not await in_transaction()

    with capture_logs() as logs:
        first = asyncio.create_task(before())
        second = asyncio.create_task(load(database, lease, pages_of(random.Random(1)), after=first))
        await until(in_transaction, "the batch is staged")
        await until(in_none, "the batch waits without a transaction")
        ending.set()
        await second
    await database.close()
    assert [entry for entry in logs if entry["event"] == "database.unavailable"] == []
    assert await select(dsn, "SELECT FROM posthog.session_recordings") != []


def test_pages_go_together_if_one_transaction_can_say_what_they_say() -> None:
    """Not if other dates were asked for, if clocks agreed once, or if resources were checked."""
    page = Page([], dirty=False, observed_at=NOON, size_bytes=1, asked=(NOON, NOON))
    assert page.goes_with(page)
    others = (
        replace(page, asked=None),
        replace(page, source_at=NOON),
        replace(page, checked=["a"]),
        replace(page, tried=["a"]),
    )
    assert not any(page.goes_with(other) or other.goes_with(page) for other in others)
