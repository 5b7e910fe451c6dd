"""What did not change is neither typed nor sent, and leaves what loading it would leave."""

from __future__ import annotations

import asyncio
import json
import random
import re
import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from etl.core.hashes import NONE_UNCHANGED, rows_of, without_unchanged
from etl.core.page import Batch, Page
from etl.loaders.database import Database
from etl.loaders.driver import driver_of, text_array
from etl.loaders.leases import Lease, Leases, Unit
from etl.loaders.loader import Commit, Loaded, Stored
from etl.loaders.postgres import PostgresLoader
from etl.loaders.statements import PLAN_SETTINGS
from etl.loaders.tables import Tables
from etl.loaders.unchanged import UnchangedRows
from etl.streams.recordings import SESSION_RECORDINGS
from etl.transformers.recordings import RecordingReader
from etl.transformers.transformer import joined
from tests.support.sql import select

TABLES = Tables("posthog")
RESOURCE = SESSION_RECORDINGS.resources[0]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ALL_SENT, COMPARED = 1, 2
DATA = ("session_recordings", "persons", "person_distinct_ids")
ADA, BOB = (str(uuid.UUID(int=n)) for n in (1, 2))
# When a row was written, and for which project.
APART = {"project_id", "_first_seen_at", "_updated_at", "_xid"}


def recording(key: str, **fields: Any) -> dict[str, Any]:
    """A recording of Ada."""
    person = {"uuid": ADA, "id": 1, "name": "Ada", "distinct_ids": ["d"]}
    start = {"id": key, "distinct_id": "d", "start_time": "2026-05-01T10:00:00Z"}
    return {**start, "click_count": 1, "person": person, **fields}


def page(*records: Any, minute: float = 0) -> Page:
    """A page of these records, asked for so many minutes after noon."""
    reader = RecordingReader()
    read = [reader.read(Raw(json.dumps(record).encode())) for record in records]
    return Page(read, dirty=False, observed_at=NOON + timedelta(minutes=minute), size_bytes=1)


class Run:
    """A run that holds a unit, and loads pages."""

    def __init__(self, database: Database, lease: Lease, *, compares: bool = True) -> None:
        self._loader = PostgresLoader(database, TABLES, SESSION_RECORDINGS.name, RESOURCE)
        self.lease = lease
        self._compares = compares
        self.compared = asyncio.Event()

    async def load(self, *pages: Page, after: asyncio.Task[bool] | None = None) -> Loaded:
        """Load pages in one transaction."""
        name = RESOURCE.tables[0].name
        rows = rows_of(pages, name) if self._compares else {}
        commit = Commit(
            pages[-1].observed_at, None, requests=1, bytes_read=1, source_at=NOON, after=after
        )

        def batch_of(stored: Stored) -> tuple[Batch, Commit]:
            self.compared.set()
            left: Sequence[Page] = pages
            unchanged = NONE_UNCHANGED
            if stored:
                left, unchanged = without_unchanged(pages, name, rows, stored)
            batch = joined(left, [RESOURCE.transform(each) for each in left], RESOURCE.tables)
            return batch, replace(commit, unchanged=unchanged)

        return await self._loader.load_changed(self.lease, rows, batch_of)


async def start(
    database: Database, unit: str = "tail", project_id: int = COMPARED, *, compares: bool = True
) -> Run:
    """A new run that holds this unit."""
    leases = Leases(database, TABLES, ttl_s=60)
    key = Unit(project_id, SESSION_RECORDINGS.name, unit)
    lease = await leases.acquire(key, str(uuid.uuid4()), "sync")
    return Run(database, lease, compares=compares)


async def kept(
    dsn: str, project_id: int = COMPARED, apart: Collection[str] = APART
) -> dict[str, list[dict[str, Any]]]:
    """All rows of a project."""
    found = {}
    for table in DATA:
        rows = await select(dsn, f"SELECT * FROM posthog.{table} WHERE project_id = $1", project_id)
        without = [{k: v for k, v in row.items() if k not in apart} for row in rows]
        found[table] = sorted(without, key=str)
    return found


async def clicks(dsn: str) -> list[tuple[str, int]]:
    """The clicks of each recording."""
    rows = await select(dsn, "SELECT id, click_count FROM posthog.session_recordings ORDER BY id")
    return [(row["id"], row["click_count"]) for row in rows]


async def test_what_did_not_change_is_not_written_and_counts_as_read(
    database: Database, dsn: str
) -> None:
    """Down to the number of the transaction that wrote each row."""
    run = await start(database)
    await run.load(page(recording("a"), recording("b")))
    before = await kept(dsn, apart=())
    again = await run.load(page(recording("a"), recording("b", recording_ttl=3), minute=5))
    assert again == Loaded()
    assert (again.records, again.unchanged) == (2, 2)
    assert await kept(dsn, apart=()) == before


async def test_of_a_batch_only_what_changed_is_sent(database: Database, dsn: str) -> None:
    """A new recording, one that changed, and two as they were."""
    run = await start(database)
    await run.load(page(*map(recording, "abc")))
    changed = recording("b", click_count=2)
    again = await run.load(page(recording("a"), changed, recording("c"), recording("d"), minute=5))
    assert (again, again.unchanged) == (Loaded(inserted=1, updated=1), 2)
    assert await clicks(dsn) == [("a", 1), ("b", 2), ("c", 1), ("d", 1)]


@pytest.mark.parametrize("mark", ["_deleted_at", "_expired_at"])
async def test_what_was_marked_gone_revives(database: Database, dsn: str, mark: str) -> None:
    """The server shows it as it was."""
    run = await start(database)
    await run.load(page(recording("a")))
    await select(dsn, f"UPDATE posthog.session_recordings SET {mark} = now()")
    assert (await run.load(page(recording("a"), minute=5))).unchanged == 0
    assert await select(dsn, f"SELECT {mark} FROM posthog.session_recordings") == [{mark: None}]


async def test_a_recording_whose_person_changed_is_loaded(database: Database, dsn: str) -> None:
    """The recording is as it was, and its person is another one's by now."""
    run = await start(database)
    await run.load(page(recording("a")))
    grace = {"uuid": ADA, "id": 1, "name": "Grace", "distinct_ids": ["d"]}
    await run.load(page(recording("b", person=grace), minute=5))
    again = await run.load(page(recording("a"), minute=9))
    assert (again, again.unchanged) == (Loaded(updated=1), 0)
    assert await select(dsn, "SELECT name FROM posthog.persons") == [{"name": "Ada"}]


async def test_a_distinct_id_that_moved_and_came_back_belongs_to_its_person(
    database: Database, dsn: str
) -> None:
    """The person's own row did not change meanwhile."""
    run = await start(database)
    await run.load(page(recording("a")))
    bob = {"uuid": BOB, "id": 2, "name": "Bob", "distinct_ids": ["d"]}
    await run.load(page(recording("b", person=bob), minute=5))
    await run.load(page(recording("a"), minute=9))
    found = await select(
        dsn, "SELECT distinct_id, person_uuid::text FROM posthog.person_distinct_ids"
    )
    assert [tuple(row.values()) for row in found] == [("d", ADA)]


async def test_a_run_that_stalled_does_not_bring_back_what_it_read_in_between(
    database: Database, dsn: str
) -> None:
    """A, then B, then A again: the run that read B loads it last."""
    run, stalled = await start(database), await start(database, unit="a backfill")
    await run.load(page(recording("a")))
    again = await run.load(page(recording("a"), minute=9))
    late = await stalled.load(page(recording("a", click_count=2), minute=5))
    assert (again.unchanged, late) == (1, Loaded())
    assert await clicks(dsn) == [("a", 1)]


@pytest.mark.parametrize("by", ["the batch before", "another run", "a run that has ended since"])
async def test_what_changes_after_it_was_compared_is_loaded(
    database: Database, dsn: str, by: str
) -> None:
    """A batch is compared while the one before it, or another run's, is not committed yet."""
    run = await start(database)
    await run.load(page(recording("a")))
    other = run if by == "the batch before" else await start(database, unit="a backfill")
    run.compared.clear()

    async def meanwhile() -> bool:
        await run.compared.wait()
        await other.load(page(recording("a", click_count=2), minute=5))
        if by == "a run that has ended since":
            await Leases(database, TABLES, ttl_s=60).release(other.lease)
        return other is run

    before = asyncio.create_task(meanwhile())
    again = await run.load(page(recording("a"), minute=9), after=before)
    assert (again, again.unchanged) == (Loaded(updated=1), 0)
    assert await clicks(dsn) == [("a", 1)]


async def test_a_reject_is_resolved_by_the_record_as_it_was(database: Database, dsn: str) -> None:
    """A record was good, then broken, then good again."""
    run = await start(database)
    await run.load(page(recording("a")))
    await run.load(page(recording("a", click_count="many"), minute=5))
    unresolved = "SELECT record_key FROM posthog_etl.rejects WHERE resolved_at IS NULL"
    assert await select(dsn, unresolved) == [{"record_key": "a"}]
    assert (await run.load(page(recording("a"), minute=9))).unchanged == 1
    assert await select(dsn, unresolved) == []


@pytest.mark.parametrize(
    "key", ['"', "\\", '",NULL,"', "{}", "NULL", "a'b", "\t ü \u2028", "x" * 200]
)
async def test_keys_of_any_text_are_compared(database: Database, key: str) -> None:
    """A key may be any text up to 200 characters."""
    run = await start(database)
    records = [recording(key, distinct_id=key), recording("a"), recording("b", distinct_id="")]
    await run.load(page(*records))
    assert (await run.load(page(*records, minute=5))).unchanged == 3


async def test_each_key_is_looked_up_in_a_table_that_was_never_analysed(
    database: Database,
) -> None:
    """A scan of the table, each row against all keys, would take minutes instead of seconds."""
    run = await start(database)
    uuids = [str(uuid.UUID(int=n)) for n in range(1, 1001)]
    for minute in range(3):
        records = [
            recording(f"r{minute}-{n}", distinct_id=f"d{n}", person={"uuid": each, "id": n})
            for n, each in enumerate(uuids)
        ]
        await run.load(page(*records))
    keys = text_array([f"r0-{n}" for n in range(1000)])
    lookup = UnchangedRows(RESOURCE.tables, TABLES.schema, TABLES.bookkeeping).lookup
    async with database.transaction(PLAN_SETTINGS) as connection:
        driver = await driver_of(connection)
        plan = await driver.fetch(f"EXPLAIN {lookup}", COMPARED, keys, text_array(uuids), keys)
    conditions = [line for (line,) in plan if "Index Cond" in line]
    by_key = [re.search(r" AND \((id|uuid|distinct_id) = ", line) for line in conditions]
    assert [found and found[1] for found in by_key] == ["id", "uuid", "distinct_id"], plan


def any_recording(chance: random.Random) -> dict[str, Any]:
    """One of few recordings, of one of few persons, with one of few values; at times broken."""
    if chance.random() < 0.1:
        return recording(f"broken-{chance.randrange(3)}", click_count="many")
    number = chance.randrange(1, 4)
    person = {
        "uuid": str(uuid.UUID(int=number)),
        "id": number,
        "name": chance.choice(["Ada", "Grace"]),
        "distinct_ids": [f"d{chance.randrange(4)}"],
    }
    return recording(
        f"r{chance.randrange(5)}",
        distinct_id=f"d{chance.randrange(4)}",
        click_count=chance.choice([0, 1, 1, 1]),
        storage=chance.choice([None, "object_storage"]),  # null overwrites nothing
        person=chance.choice([None, person, person, person]),
        **({"new": chance.randrange(2)} if chance.random() < 0.2 else {}),
    )


@pytest.mark.parametrize("seed", range(8))
async def test_comparing_leaves_what_sending_everything_leaves(
    database: Database, dsn: str, seed: int
) -> None:
    """Two runs read at once and load in any order, and rows are found gone in between."""
    chance = random.Random(seed)
    runs = {
        (project_id, unit): await start(database, unit, project_id, compares=project_id == COMPARED)
        for project_id in (ALL_SENT, COMPARED)
        for unit in ("tail", "a backfill")
    }
    usual = [any_recording(chance) for _ in range(6)]
    for minute in range(14):
        if chance.random() < 0.2:
            gone = f"UPDATE posthog.{chance.choice(DATA)} SET _deleted_at = '2026-05-01Z' "
            await select(dsn, f"{gone} WHERE person_uuid IS NULL" if "session" in gone else gone)
        unit = chance.choice(["tail", "tail", "a backfill"])
        asked_at = minute - chance.choice([0, 0, 0, 3])
        pages = [
            page(
                *(
                    chance.choice([*usual, any_recording(chance)])
                    for _ in range(chance.randrange(1, 5))
                ),
                minute=asked_at + later / 10,
            )
            for later in range(chance.randrange(1, 3))
        ]
        for project_id in (ALL_SENT, COMPARED):
            await runs[project_id, unit].load(*pages)
    apart = {*APART, "_observed_at", "_hash"}
    assert await kept(dsn, COMPARED, apart) == await kept(dsn, ALL_SENT, apart)
