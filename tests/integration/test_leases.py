"""P10: a unit has one holder, and nobody else commits: leases and fence without any heartbeat."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from etl.core.page import Batch, Page
from etl.errors import LeaseHeld, LeaseLost
from etl.loaders.database import Database
from etl.loaders.leases import Lease, Leases, Unit
from etl.loaders.loader import Commit
from etl.loaders.postgres import PostgresLoader
from etl.loaders.tables import Tables
from etl.streams import SESSION_RECORDINGS
from tests.support.books import everything_committed
from tests.support.sql import select, value

TABLES = Tables("posthog")
UNIT = Unit(1, SESSION_RECORDINGS.name)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def take(database: Database, *, ttl_s: float = 30.0, unit: Unit = UNIT) -> Lease:
    """Take a unit for a new run. A lease of 0 seconds has run out when the next one asks."""
    return await Leases(database, TABLES, ttl_s).acquire(unit, str(uuid.uuid4()), "sync")


async def load(database: Database, lease: Lease, click_count: int) -> None:
    """Load one recording."""
    record = {"id": "one", "distinct_id": "d", "click_count": click_count}
    batch: Batch = SESSION_RECORDINGS.resources[0].transform(
        Page(records=[record], dirty=False, observed_at=NOON, size_bytes=0, position={}, last=False)
    )
    commit = Commit(NOON, {"clicks": click_count}, requests=1, bytes_read=1)
    await PostgresLoader(
        database, TABLES, SESSION_RECORDINGS.name, SESSION_RECORDINGS.resources[0]
    ).load(lease, batch, commit)


async def test_a_unit_that_is_held_is_not_given_to_another(database: Database, dsn: str) -> None:
    """The second is told so, and neither fence nor run history knows of it."""
    held = await take(database)
    with pytest.raises(LeaseHeld):
        await take(database)
    assert await value(dsn, "SELECT fence FROM posthog_etl.checkpoints") == held.fence
    assert await value(dsn, "SELECT array_agg(id::text) FROM posthog_etl.runs") == [held.run_id]


async def test_taking_a_unit_again_after_a_lost_answer_is_no_conflict(
    database: Database, dsn: str
) -> None:
    """The same run takes what is its own: one run, and whatever came first cannot commit."""
    run_id, leases = str(uuid.uuid4()), Leases(database, TABLES, ttl_s=30.0)
    unheard = await leases.acquire(UNIT, run_id, "sync")
    lease = await leases.acquire(UNIT, run_id, "sync")
    assert lease.fence > unheard.fence
    assert await select(dsn, "SELECT status FROM posthog_etl.runs") == [{"status": "running"}]
    await load(database, lease, 1)
    with pytest.raises(LeaseHeld):
        await take(database)


async def test_units_of_one_stream_are_held_apart(database: Database) -> None:
    """Another window, and another project, are other units."""
    await take(database)
    await take(database, unit=Unit(1, UNIT.stream, "2026-01-01/2026-02-01"))
    await take(database, unit=Unit(2, UNIT.stream))


async def test_a_unit_whose_lease_ran_out_is_taken_over_under_a_higher_fence(
    database: Database, dsn: str
) -> None:
    """The run that died over it is closed as failed."""
    dead = await take(database, ttl_s=0.0)
    successor = await take(database)
    assert successor.fence > dead.fence
    runs = await select(dsn, "SELECT id::text, status FROM posthog_etl.runs")
    assert {row["id"]: row["status"] for row in runs} == {
        dead.run_id: "failed",
        successor.run_id: "running",
    }


async def test_a_run_that_died_over_a_window_nobody_takes_again_is_closed_by_the_next(
    database: Database, dsn: str
) -> None:
    """What the window held is known by now, or cut otherwise; a run that lives is let be."""
    dead = await take(database, ttl_s=0.0, unit=Unit(1, UNIT.stream, "2026-01-01/2026-02-01"))
    alive = await take(database, unit=Unit(1, UNIT.stream, "2026-02-01/2026-03-01"))
    other = await take(database, ttl_s=0.0, unit=Unit(2, UNIT.stream))
    await take(database)
    runs = await select(dsn, "SELECT id::text, status FROM posthog_etl.runs")
    status = {row["id"]: row["status"] for row in runs}
    assert status[dead.run_id] == "failed"
    assert status[alive.run_id] == status[other.run_id] == "running"


@pytest.mark.parametrize("batches", [0, 1], ids=["before its first batch", "after a batch"])
@pytest.mark.parametrize("committed", [0, 1, 2])
async def test_whoever_was_taken_over_from_commits_nothing(
    database: Database, dsn: str, batches: int, committed: int
) -> None:
    """Without any heartbeat, however many batches either of the two has committed."""
    stalled = await take(database, ttl_s=0.0)
    for click_count in range(batches):
        await load(database, stalled, click_count)
    successor = await take(database)
    for click_count in range(committed):
        await load(database, successor, 100 + click_count)
    left = await everything_committed(dsn)
    with pytest.raises(LeaseLost):
        await load(database, stalled, 50)
    assert await everything_committed(dsn) == left
    await load(database, successor, 200)
    assert await value(dsn, "SELECT click_count FROM posthog.session_recordings") == 200


async def test_a_unit_that_was_taken_over_is_neither_prolonged_nor_given_back(
    database: Database, dsn: str
) -> None:
    """Its new holder keeps it, whatever the old one does on its way out."""
    stalled = await take(database, ttl_s=0.0)
    successor = await take(database)
    lease = "SELECT holder::text, expires_at FROM posthog_etl.leases"
    before = await select(dsn, lease)
    leases = Leases(database, TABLES, ttl_s=30.0)
    assert await leases.renew(stalled) is False
    await leases.release(stalled)
    assert await select(dsn, lease) == before
    assert before[0]["holder"] == successor.run_id
    assert await leases.held(UNIT)


async def test_a_unit_that_was_given_back_is_free_at_once(database: Database) -> None:
    """Long before its lease would have run out."""
    first = await take(database)
    leases = Leases(database, TABLES, ttl_s=30.0)
    assert await leases.renew(first) is True
    await leases.release(first)
    assert not await leases.held(UNIT)
    assert (await take(database)).fence > first.fence
