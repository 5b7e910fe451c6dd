"""P10: a unit has one holder, and nobody else commits: leases and fence without any heartbeat."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.core.page import Batch, Page
from etl.errors import LeaseHeld, LeaseLost
from etl.loaders.database import Database
from etl.loaders.leases import Lease, Leases, Unit
from etl.loaders.loader import Commit
from etl.loaders.postgres import PostgresLoader
from etl.loaders.run_files import RunFiles
from etl.loaders.tables import Tables
from etl.streams import SESSION_RECORDINGS
from tests.support.books import everything_committed
from tests.support.sql import select, value

TABLES = Tables("posthog")
UNIT = Unit(1, SESSION_RECORDINGS.name)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def take(
    database: Database,
    *,
    ttl_s: float = 30.0,
    unit: Unit = UNIT,
    files: RunFiles | None = None,
) -> Lease:
    """Take a unit for a new run. A lease of 0 seconds has run out when the next one asks."""
    return await Leases(database, TABLES, ttl_s, files).acquire(unit, str(uuid.uuid4()), "sync")


async def die(database: Database, files: RunFiles) -> tuple[Lease, Path]:
    """Take a unit and leave what a killed process leaves: its lease, and its file unlocked."""
    leases = Leases(database, TABLES, 30.0, files)
    dead = await leases.acquire(UNIT, str(uuid.uuid4()), "sync")
    leases.forget(dead.run_id)
    return dead, files.directory / f"{dead.run_id}.lock"


async def load(database: Database, lease: Lease, click_count: int) -> None:
    """Load one recording."""
    record = {"id": "one", "distinct_id": "d", "click_count": click_count}
    batch: Batch = SESSION_RECORDINGS.resources[0].transform(
        Page(records=[record], dirty=False, observed_at=NOON, size_bytes=0)
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


async def test_a_fence_that_a_crash_has_undone_is_not_given_out_again(
    database: Database, dsn: str
) -> None:
    """Both runs took the unit for the first time, as the server remembers it."""
    forgotten = await take(database)
    await select(dsn, "TRUNCATE posthog_etl.checkpoints, posthog_etl.leases, posthog_etl.runs")
    remembered = await take(database)
    with pytest.raises(LeaseLost):
        await load(database, forgotten, 1)
    await load(database, remembered, 2)


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


# --- a holder that died on this machine -------------------------------------------------------


async def test_a_unit_whose_holder_died_here_is_taken_over_at_once(
    database: Database, dsn: str, tmp_path: Path
) -> None:
    """Under a higher fence; the dead run is closed, and its file is gone."""
    files = RunFiles(tmp_path / "runs")
    dead, path = await die(database, files)
    successor = await take(database, files=files)
    assert successor.fence > dead.fence
    with pytest.raises(LeaseLost):
        await load(database, dead, 1)
    runs = await select(dsn, "SELECT id::text, status FROM posthog_etl.runs")
    assert {row["id"]: row["status"] for row in runs} == {
        dead.run_id: "failed",
        successor.run_id: "running",
    }
    assert not path.exists()


async def test_a_holder_whose_file_is_locked_lives(database: Database, tmp_path: Path) -> None:
    """Also when both runs are of one process; the other leaves no file behind."""
    files = RunFiles(tmp_path / "runs")
    leases = Leases(database, TABLES, 30.0, files)
    alive = await leases.acquire(UNIT, str(uuid.uuid4()), "sync")
    with pytest.raises(LeaseHeld):
        await take(database, files=files)
    with pytest.raises(LeaseHeld):
        await leases.acquire(UNIT, str(uuid.uuid4()), "sync")
    assert [path.stem for path in (tmp_path / "runs").iterdir()] == [alive.run_id]
    await leases.release(alive)
    assert list((tmp_path / "runs").iterdir()) == []


def of_another_machine(path: Path) -> None:
    """Its kernel has another boot id: a lock there is not seen here."""
    run_id, boot_id = path.read_text().split()
    path.write_text(f"{run_id}\n{boot_id[::-1]}\n")


def of_another_run(path: Path) -> None:
    """A file of the same name that is not its own."""
    path.write_text(path.read_text().replace(path.stem, str(uuid.uuid4())))


def gone(path: Path) -> None:
    """Another machine's, or somebody tidied up."""
    path.unlink()


def a_link(path: Path) -> None:
    """It leads to a file that says what it should."""
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def a_pipe(path: Path) -> None:
    """Opening it would wait for ever."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "doubt", [of_another_machine, of_another_run, gone, a_link, a_pipe], ids=lambda d: d.__name__
)
async def test_a_holder_of_whom_the_file_says_nothing_certain_keeps_its_lease(
    database: Database, tmp_path: Path, doubt: Callable[[Path], None]
) -> None:
    """The lease decides, as it does between machines."""
    files = RunFiles(tmp_path / "runs")
    _, path = await die(database, files)
    doubt(path)
    with pytest.raises(LeaseHeld):
        await take(database, files=files)


async def test_where_no_file_can_be_the_lease_decides(database: Database, tmp_path: Path) -> None:
    """A directory that cannot be made is no error."""
    (tmp_path / "file").write_text("")
    files = RunFiles(tmp_path / "file/runs")
    lease = await take(database, files=files)
    with pytest.raises(LeaseHeld):
        await take(database, files=files)
    await Leases(database, TABLES, 30.0, files).release(lease)
    await take(database, files=files)


async def test_files_that_nobody_needs_any_more_are_removed(
    database: Database, tmp_path: Path
) -> None:
    """After a day; what is locked stays."""
    files = RunFiles(tmp_path / "runs")
    _, path = await die(database, files)
    alive = Leases(database, TABLES, 30.0, files)
    kept = await alive.acquire(Unit(2, UNIT.stream), str(uuid.uuid4()), "sync")
    for each in (tmp_path / "runs").iterdir():
        os.utime(each, (0, 0))
    young = await take(database, unit=Unit(3, UNIT.stream), files=files)
    assert not path.exists()
    left = {each.stem for each in (tmp_path / "runs").iterdir()}
    assert left == {kept.run_id, young.run_id}
