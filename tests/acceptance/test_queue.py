"""Units on a queue: workers take them, and it ends as if one process had done it all."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import pytest
from pgqueuer.adapters.persistence.queries import Queries
from sqlalchemy import make_url

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.embedded import EmbeddedPostgres
from etl.loaders.migrate import migrate
from etl.loaders.queue import open_queue
from etl.loaders.tables import Tables
from etl.sandbox.server import RunningSandbox
from etl.service.queue import enqueue_sync
from etl.streams import STREAMS
from tests.acceptance.test_deployments import ODD
from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.command import Command
from tests.support.pgproxy import PgProxy, Point
from tests.support.pipeline import Pipeline, lists, midnight, now_of
from tests.support.postgres import FORGETFUL, Databases, server_directory
from tests.support.serving import serving
from tests.support.sql import select, value
from tests.support.truth import TABLES, differences_from_truth
from tests.support.workers import jobs_left, queue_is_empty, workers

PAGE = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "20", "POSTHOG_ETL_BUFFER_BYTES": "1"}
# A worker that was killed must lose its units soon.
SHORT_LEASE = {"POSTHOG_ETL_LEASE_S": "1"}
# Its heartbeat is out after five seconds: soon, but a slow machine is not taken for a dead one.
PATIENT_LEASE = {"POSTHOG_ETL_LEASE_S": "15"}
# QUEUE_WINDOWS=200 is a backfill of years, and a kill every three seconds or so.
FULL = os.environ.get("QUEUE_WINDOWS") == "200"
KILLS = 20 if FULL else 3


@pytest.fixture
def log(tmp_path: Path) -> Iterator[IO[bytes]]:
    """Where the workers of a test log to."""
    with (tmp_path / "workers.log").open("wb") as opened:
        yield opened


def all_time(sandbox: RunningSandbox, days: int) -> tuple[datetime, datetime]:
    """From so many days ago until now: whatever the sandbox holds."""
    return midnight(sandbox, days), now_of(sandbox)


def arguments(since: datetime, until_: datetime, window: str) -> tuple[str, ...]:
    """The command line that queues a backfill."""
    return (
        *("backfill", "session_recordings", "--since", since.isoformat()),
        *("--until", until_.isoformat(), "--window", window, "--enqueue"),
    )


async def enqueue(command: Command, since: datetime, until_: datetime, window: str = "7d") -> str:
    """Queue a backfill; what the command said."""
    result = await command.run(*arguments(since, until_, window))
    assert result.code == 0, result.err
    return result.out


async def work_off(command: Command, dsn: str, log: IO[bytes], count: int = 1) -> None:
    """Run so many workers until nothing is left on the queue; they end with 0."""
    async with workers(command, count, log) as running:
        await queue_is_empty(dsn)
        assert await running.stop() == [0] * count


async def is_true(dsn: str, sandbox: RunningSandbox, project: int = 1) -> None:
    """Assert that the copy of a project equals the truth."""
    truth = sandbox.control.truth(project)
    assert await differences_from_truth(dsn, truth, project=project) == []


async def each_unit_was_committed_by_one(dsn: str) -> None:
    """Assert that no window was read to its end twice, and that no row came in twice."""
    assert (
        await select(
            dsn,
            "SELECT unit FROM posthog_etl.runs WHERE status = 'succeeded' "
            "GROUP BY unit HAVING count(*) > 1",
        )
        == []
    )
    assert await select(
        dsn, "SELECT DISTINCT reason FROM posthog_etl.runs WHERE status = 'failed'"
    ) in (
        [],
        [{"reason": "the process ended without a word"}],
    )
    rows = " + ".join(f"(SELECT count(*) FROM posthog.{table})" for table in TABLES)
    inserted = await value(dsn, "SELECT sum(rows_inserted) FROM posthog_etl.runs")
    assert inserted == await value(dsn, f"SELECT {rows}")


@pytest.mark.long
@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_four_workers_that_are_killed_again_and_again_leave_the_truth(
    start_sandbox: StartSandbox,
    dsn: str,
    databases: Databases,
    template: str,
    log: IO[bytes],
    flavour: str,
) -> None:
    """SIGKILL of any of them whenever some more pages were read, until the queue is empty.

    The requests are at most a tenth more than those of one backfill that nobody disturbs.
    """
    # Under limit and offset there are more requests for as many rows.
    recordings, days = (4000, 140) if flavour == "cloud" else (1000, 210)
    if FULL:
        days, recordings = 1400, 24_000 if flavour == "cloud" else 2000
    # Where dates are ignored there is only one unit, which reads everything.
    sandbox = await start_sandbox(
        recordings=recordings, days=float(days), flavour=flavour, date_filter="honoured"
    )
    since, end = all_time(sandbox, days + 1)
    undisturbed = await databases.create_database(template)
    alone = Pipeline(sandbox, undisturbed, buffer_bytes=1)
    await alone.backfill(since, end, "7d")
    await databases.drop_database(undisturbed)
    wanted = len(lists(sandbox))
    sandbox.control.reset_requests()
    command = Command(sandbox.url, dsn, **PAGE, **PATIENT_LEASE)
    windows = (end - since) // timedelta(days=7)
    assert int((await enqueue(command, since, end)).split()[1]) in range(windows, windows + 3)
    async with workers(command, 4, log) as running:
        every = wanted // (KILLS + 1)

        async def kill_after_some_pages() -> None:
            if len(lists(sandbox)) >= every * (running.killed + 1):
                await running.kill_one()

        await queue_is_empty(dsn, kill_after_some_pages, within_s=600)
        assert running.killed >= KILLS // 2
        assert await running.stop() == [0] * 4
    assert len(lists(sandbox)) <= 1.1 * wanted
    await is_true(dsn, sandbox)
    await each_unit_was_committed_by_one(dsn)


async def test_a_window_is_never_on_the_queue_twice(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Said again, wider, or by two at once: only what is not there yet is added."""
    sandbox = await start_sandbox(recordings=60, days=28.0)
    command = Command(sandbox.url, dsn, **PAGE)
    since, end = midnight(sandbox, 28), midnight(sandbox)
    twice = await asyncio.gather(*(enqueue(command, since, end, "1d") for _ in range(2)))
    assert sorted(twice) == [
        "Nothing to put on the queue: the rest is known complete; 28 are on the queue already.\n",
        "Put 28 windows on the queue.\n",
    ]
    wider = await enqueue(command, *all_time(sandbox, 30), "1d")
    assert wider == "Put 3 windows on the queue; 28 are on the queue already.\n"
    await work_off(command, dsn, log)
    assert (await enqueue(command, *all_time(sandbox, 30), "1d")).startswith("Nothing")
    await is_true(dsn, sandbox)
    await each_unit_was_committed_by_one(dsn)


async def test_a_worker_that_is_asked_to_stop_gives_its_unit_back(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """SIGTERM in the middle: exit 0, the batch in hand is committed, another goes on there."""
    sandbox = await start_sandbox(recordings=300, days=20.0)
    sandbox.control.add_faults({"match": {}, "fault": {"latency_s": 0.1}})
    command = Command(sandbox.url, dsn, **PAGE)
    await enqueue(command, *all_time(sandbox, 21), "60d")

    async def some_batches_are_in() -> bool:
        return bool(await value(dsn, "SELECT max(batch) >= 3 FROM posthog_etl.checkpoints"))

    async with workers(command, 1, log) as running:
        await until(some_batches_are_in, "the unit is under way")
        assert await running.stop() == [0]
    (job,) = await select(
        dsn, "SELECT status::text, execute_after <= now() AS due FROM posthog_etl.pgqueuer"
    )
    assert job == {"status": "queued", "due": True}
    read = await value(dsn, "SELECT sum(records_read) FROM posthog_etl.runs")
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recordings") == read
    sandbox.control.clear_faults()
    await work_off(command, dsn, log)
    await is_true(dsn, sandbox)
    assert len(lists(sandbox)) <= 300 // 20 + 3


async def test_a_worker_that_is_stopped_between_two_windows_puts_back_the_others(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """The window in hand comes to its end; the job does not."""
    sandbox = await start_sandbox(recordings=100, days=30.0)
    await Pipeline(sandbox, dsn).backfill(midnight(sandbox, 1), midnight(sandbox), "1d")
    sandbox.control.add_faults({"match": {}, "fault": {"latency_s": 0.2}})
    command = Command(sandbox.url, dsn, **PAGE)
    await enqueue(command, *all_time(sandbox, 31), "1d")

    async def some_windows_are_in() -> bool:
        ended = "SELECT count(*) FROM posthog_etl.runs WHERE status = 'succeeded'"
        return int(await value(dsn, ended)) >= 4

    async with workers(command, 1, log) as running:
        await until(some_windows_are_in, "the job is under way")
        assert await running.stop() == [0]
    assert await jobs_left(dsn) == 1
    sandbox.control.clear_faults()
    await work_off(command, dsn, log)
    await is_true(dsn, sandbox)
    await each_unit_was_committed_by_one(dsn)


async def test_a_worker_that_is_told_twice_to_stop_leaves_its_job_on_the_queue(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """The second SIGTERM waits for nothing; another worker does the job."""
    sandbox = await start_sandbox(recordings=60, days=5.0)
    sandbox.control.add_faults({"match": {}, "at": 2, "fault": {"latency_s": 300}})
    command = Command(sandbox.url, dsn, **PAGE, **SHORT_LEASE)
    await enqueue(command, *all_time(sandbox, 6), "60d")

    async def it_hangs() -> bool:
        return bool(await value(dsn, "SELECT max(batch) >= 1 FROM posthog_etl.checkpoints"))

    async with workers(command, 1, log) as running:
        await until(it_hangs, "the first page is in, and the second is waited for")
        (process,) = running.processes
        process.send_signal(signal.SIGTERM)

        async def it_has_heard() -> bool:
            return b"worker.stopping" in Path(log.name).read_bytes()

        await until(it_has_heard, "the first signal has arrived")
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert await jobs_left(dsn) == 1
    sandbox.control.clear_faults()
    await work_off(command, dsn, log)
    await is_true(dsn, sandbox)


async def test_a_job_that_cannot_be_put_back_is_handed_on_all_the_same(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Postgres refuses the very statement; the job stays taken until its heartbeat is out."""
    sandbox = await start_sandbox(recordings=40, days=5.0)
    sandbox.control.add_faults({"match": {}, "at": 1, "fault": {"status": 500}})
    command = Command(sandbox.url, dsn, POSTHOG_ETL_REQUEST_ATTEMPTS="1", **PAGE, **SHORT_LEASE)
    await enqueue(command, *all_time(sandbox, 6), "60d")
    await refuse_to_put_back(dsn)

    async def it_failed() -> bool:
        return bool(
            await value(dsn, "SELECT count(*) FROM posthog_etl.runs WHERE status = 'failed'")
        )

    async with workers(command, 1, log) as running:
        await until(it_failed, "the unit has failed")
        await queue_is_empty(dsn, within_s=30)
        assert await running.stop() == [0]
    await is_true(dsn, sandbox)
    assert b"PutBackRefused" not in Path(log.name).read_bytes()


async def refuse_to_put_back(dsn: str) -> None:
    """Let Postgres raise when a job that is taken becomes one that waits."""
    await value(
        dsn,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'PutBackRefused'; END $$",
    )
    await value(
        dsn,
        "CREATE TRIGGER refuse BEFORE UPDATE ON posthog_etl.pgqueuer FOR EACH ROW "
        "WHEN (OLD.status = 'picked' AND NEW.status = 'queued') EXECUTE FUNCTION refuse()",
    )


async def test_a_unit_whose_budget_is_spent_waits_on_the_queue_and_so_do_the_others(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Back until there is room again, all of the stream at once; then it goes on."""
    sandbox = await start_sandbox(recordings=2000, days=200.0)
    command = Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_LIST_REQUESTS_PER_HOUR="3",
        POSTHOG_ETL_MAX_WAIT_S="0",
        **PAGE,
    )
    # What its server does is known, so that every job is queued at once.
    await Pipeline(sandbox, dsn).backfill(midnight(sandbox, 1), midnight(sandbox), "1d")
    sandbox.control.reset_requests()
    await enqueue(command, *all_time(sandbox, 201), "50d")
    before = await jobs_left(dsn)
    assert before > 2

    async with workers(command, 2, log) as running:
        await until(lambda: all_wait(dsn, minutes=30), "every job waits for the budget")
        assert await running.stop() == [0, 0]
    assert len(lists(sandbox)) == 3
    paused = await value(dsn, "SELECT count(*) FROM posthog_etl.runs WHERE status = 'paused'")
    assert paused in (1, 2)  # as many as there are workers, not as there are jobs
    await select(dsn, "UPDATE posthog_etl.pgqueuer SET execute_after = now()")
    unlimited = Command(sandbox.url, dsn, **PAGE)
    await work_off(unlimited, dsn, log)
    await is_true(dsn, sandbox)


async def test_a_slow_project_gives_way_to_another(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """One worker, and the slow project came first: the other is through long before it."""
    sandbox = await start_sandbox(recordings=300, days=100.0, projects=(1, 2))
    sandbox.control.add_faults({"match": {"path": "projects/1/"}, "fault": {"latency_s": 0.5}})
    command = Command(
        sandbox.url, dsn, POSTHOG_PROJECT_ID="1,2", POSTHOG_ETL_QUEUE_TURN_S="1", **PAGE
    )
    await enqueue(command.with_settings(POSTHOG_PROJECT_ID="1"), *all_time(sandbox, 101), "20d")
    await enqueue(command.with_settings(POSTHOG_PROJECT_ID="2"), *all_time(sandbox, 101), "20d")

    async def the_other_is_through() -> bool:
        return not await value(
            dsn, "SELECT count(*) FROM posthog_etl.pgqueuer WHERE entrypoint = 'project:2'"
        )

    async with workers(command, 1, log) as running:
        await until(the_other_is_through, "the quick project is through")
        left = "SELECT count(*) FROM posthog_etl.pgqueuer WHERE entrypoint = 'project:1'"
        assert await value(dsn, left) > 0
        await is_true(dsn, sandbox, 2)
        sandbox.control.clear_faults()
        await queue_is_empty(dsn)
        assert await running.stop() == [0]
    await is_true(dsn, sandbox, 1)


async def test_a_list_that_takes_longer_than_a_turn_comes_to_its_end(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """By limit and offset it begins anew each time, and another project always waits."""
    sandbox = await start_sandbox(recordings=10, insights=250, projects=(1, 2))
    sandbox.control.add_faults({"match": {}, "fault": {"latency_s": 0.2, "clamp_limit": 20}})
    settings = Pipeline(sandbox, dsn, project_id="1,2").settings
    await enqueue_sync(settings, [STREAMS["insights"]])
    command = Command(
        sandbox.url, dsn, POSTHOG_PROJECT_ID="1,2", POSTHOG_ETL_QUEUE_TURN_S="1", **PAGE
    )
    async with workers(command, 1, log) as running:
        await queue_is_empty(dsn, within_s=60)
        assert await running.stop() == [0]
    assert b"others wait" in Path(log.name).read_bytes()
    ended = "SELECT project_id FROM posthog_etl.runs WHERE status = 'succeeded' ORDER BY 1"
    assert await select(dsn, ended) == [{"project_id": 1}, {"project_id": 2}]


async def test_a_unit_that_failed_is_tried_again_and_a_backfill_for_as_long_as_it_takes(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """It comes back after a while, and is not given up, however often it has failed."""
    sandbox = await start_sandbox(recordings=40, days=5.0)
    sandbox.control.add_faults({"match": {}, "at": 1, "fault": {"status": 500}})
    command = Command(sandbox.url, dsn, POSTHOG_ETL_REQUEST_ATTEMPTS="1", **PAGE)
    since, end = all_time(sandbox, 6)
    await enqueue(command, since, end, "60d")
    async with workers(command, 1, log) as running:
        await queue_is_empty(dsn)
        statuses = "SELECT status FROM posthog_etl.runs ORDER BY started_at"
        assert [row["status"] for row in await select(dsn, statuses)] == ["failed", "succeeded"]
        await is_true(dsn, sandbox)
        assert await running.stop() == [0]
    sandbox.control.clear_faults()
    sandbox.control.add_faults({"match": {}, "fault": {"status": 500}})
    await enqueue(command, midnight(sandbox, 20), since, "60d")
    await select(dsn, "UPDATE posthog_etl.pgqueuer SET headers = '{\"failures\": 40}'")
    async with workers(command, 1, log) as running:
        await until(lambda: all_wait(dsn, minutes=10), "it waits for its next attempt")
        assert await running.stop() == [0]
    assert (await select(dsn, statuses))[-1] == {"status": "failed"}


async def all_wait(dsn: str, minutes: int) -> bool:
    """Whether nothing on the queue is to be taken within so many minutes."""
    waiting = f"status = 'queued' AND execute_after > now() + interval '{minutes} minutes'"
    return bool(await value(dsn, f"SELECT bool_and({waiting}) FROM posthog_etl.pgqueuer"))


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_what_keeps_the_whole_stream_from_being_read_takes_no_job_off_the_queue(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes], status: int
) -> None:
    """One of them finds out, all wait; once it is mended they are done."""
    sandbox = await start_sandbox(recordings=2000, days=200.0)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_REQUEST_ATTEMPTS="1", **PAGE)
    await Pipeline(sandbox, dsn).backfill(midnight(sandbox, 1), midnight(sandbox), "1d")
    await enqueue(command, *all_time(sandbox, 201), "50d")
    queued = await jobs_left(dsn)
    assert queued > 2
    # The waits are minutes once it has failed a few times.
    await select(dsn, "UPDATE posthog_etl.pgqueuer SET headers = '{\"failures\": 3}'")
    sandbox.control.add_faults({"match": {}, "fault": {"status": status}})
    before = await value(dsn, "SELECT count(*) FROM posthog_etl.runs")
    async with workers(command, 2, log) as running:
        await until(lambda: all_wait(dsn, minutes=3), "every job waits", within_s=30)
        assert await running.stop() == [0, 0]
    assert await jobs_left(dsn) == queued
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.runs") <= before + 3
    sandbox.control.clear_faults()
    await select(dsn, "UPDATE posthog_etl.pgqueuer SET execute_after = now()")
    await work_off(command, dsn, log, 2)
    await is_true(dsn, sandbox)


async def test_a_job_that_cannot_be_taken_off_keeps_no_other_waiting(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Postgres refuses to delete it; its worker goes on, and it is found done later."""
    sandbox = await start_sandbox(recordings=600, days=200.0)
    command = Command(sandbox.url, dsn, **PAGE, **PATIENT_LEASE)
    await Pipeline(sandbox, dsn).backfill(midnight(sandbox, 1), midnight(sandbox), "1d")
    await enqueue(command, *all_time(sandbox, 201), "100d")
    assert await jobs_left(dsn) > 1
    await select(
        dsn,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'RemovalRefused'; END $$",
    )
    await select(
        dsn,
        "CREATE TRIGGER refuse BEFORE DELETE ON posthog_etl.pgqueuer FOR EACH ROW "
        "EXECUTE FUNCTION refuse()",
    )

    async def nothing_is_missing() -> bool:
        holes = await differences_from_truth(dsn, sandbox.control.truth(1), project=1)
        return not holes

    async with workers(command, 1, log) as running:
        await until(nothing_is_missing, "every job was done", within_s=90)
        await select(dsn, "DROP TRIGGER refuse ON posthog_etl.pgqueuer")
        await queue_is_empty(dsn)
        assert await running.stop() == [0]
    await each_unit_was_committed_by_one(dsn)


async def test_serve_and_workers_come_back_when_postgres_was_restarted(
    start_sandbox: StartSandbox, log: IO[bytes]
) -> None:
    """Two workers in the middle of their units; nobody starts anything again, no job is lost."""
    sandbox = await start_sandbox(recordings=600, days=200.0)
    sandbox.control.add_faults({"match": {}, "fault": {"latency_s": 0.05}})
    with server_directory() as directory:
        server = await asyncio.to_thread(EmbeddedPostgres.start, directory, options=FORGETFUL)
        command = Command(sandbox.url, server.dsn, **PAGE, **SHORT_LEASE)
        since, end = all_time(sandbox, 201)
        await enqueue(command, since, end, "20d")
        async with workers(command, 2, log) as running, serving(command, "--enqueue") as service:

            async def under_way() -> bool:
                return len(lists(sandbox)) > 8

            await until(under_way, "the units are under way")
            os.kill(server.server_pid, signal.SIGINT)
            await asyncio.to_thread(server.close)
            server = await asyncio.to_thread(EmbeddedPostgres.start, directory, options=FORGETFUL)
            try:
                await queue_is_empty(server.dsn)
                await service.ran()
                assert (await service.get("/readyz")).status == 200
                assert await running.stop() == [0, 0]
                assert (await service.terminated()).code == 0
                await is_true(server.dsn, sandbox)
            finally:
                await asyncio.to_thread(server.close)


async def test_serve_leaves_units_to_workers_and_shows_what_they_do(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Each tick puts every unit on the queue once, and the figures are those of all processes."""
    sandbox = await start_sandbox(recordings=60, days=10.0)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_DISABLED_STREAMS="", **PAGE)
    async with serving(command, "--enqueue") as service:
        await service.ran()
        waiting = await jobs_left(dsn)
        assert waiting == len([each for each in STREAMS.values() if not each.off])
        assert (await service.metrics())["posthog_etl_queue_jobs 1 due"] == waiting
        said = f"Jobs of project 1 on the queue: {waiting} due, 0 worked on, 0 for later. Workers"
        assert said in (await command.run("status")).out
        assert said in (await service.get("/")).text
        shown = (await command.run("status", "--json")).document["queue"]
        assert shown == [{"project_id": 1, "due": waiting, "later": 0, "at_work": 0}]
        assert await value(dsn, "SELECT count(*) FROM posthog_etl.runs") == 0
        async with workers(command, 2, log) as running:
            await queue_is_empty(dsn)
            assert await running.stop() == [0, 0]
        found = await service.metrics()
        assert (await service.terminated()).code == 0
    await is_true(dsn, sandbox)
    for stream, read, requests in [
        tuple(row.values())
        for row in await select(
            dsn,
            "SELECT stream, sum(records_read)::bigint AS read, sum(requests)::bigint AS requests "
            "FROM posthog_etl.runs GROUP BY 1",
        )
    ]:
        assert found[f"posthog_etl_records_read_total 1 {stream}"] == read
        assert found[f"posthog_etl_requests_total 1 {stream}"] == requests
    assert "posthog_etl_queue_jobs 1 due" not in found


async def test_a_sync_on_the_queue_is_executed_by_a_worker(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Once, however often it was queued meanwhile."""
    sandbox = await start_sandbox(recordings=60, days=10.0)
    settings = Pipeline(sandbox, dsn).settings
    first = await enqueue_sync(settings, [STREAMS["session_recordings"]])
    again = await enqueue_sync(settings, [STREAMS["session_recordings"]])
    assert ((first.jobs, first.already), (again.jobs, again.already)) == ((1, 0), (0, 1))
    await work_off(Command(sandbox.url, dsn, **PAGE), dsn, log)
    ran = await select(dsn, "SELECT command, unit, status FROM posthog_etl.runs")
    assert ran == [{"command": "sync", "unit": "tail", "status": "succeeded"}]
    await is_true(dsn, sandbox)


@pytest.mark.parametrize("schema", ["posthog", ODD], ids=["usual", "odd"])
async def test_the_migration_makes_what_pgqueuer_itself_would(empty_dsn: str, schema: str) -> None:
    """Its own comparison finds nothing to change, whatever the schema is called."""
    address, tables = parse_database_url(empty_dsn), Tables(schema)
    database = Database(address, Timeouts())
    await migrate(database, tables)
    await database.close()
    async with open_queue(address, tables.bookkeeping) as queue:
        plan = await queue.queries(Queries).plan_upgrade()
    assert list(plan.statements) == []


async def test_a_role_that_may_create_nothing_can_queue_and_work(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Beside the tables it needs the sequences of the queue."""
    sandbox = await start_sandbox(recordings=40, days=5.0)
    role = await value(dsn, "SELECT current_database()")
    await value(dsn, f'CREATE ROLE "{role}" LOGIN')
    try:
        for schema in ("posthog", "posthog_etl"):
            await value(dsn, f'GRANT USAGE ON SCHEMA {schema} TO "{role}"')
            for what in ("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES", "USAGE ON ALL SEQUENCES"):
                await value(dsn, f'GRANT {what} IN SCHEMA {schema} TO "{role}"')
        command = Command(sandbox.url, dsn.replace("postgres@", f"{role}@", 1), **PAGE)
        await enqueue(command, *all_time(sandbox, 6), "60d")
        async with workers(command, 1, log) as running:
            await queue_is_empty(dsn)
            assert await running.stop() == [0]
        await is_true(dsn, sandbox)
    finally:
        await value(dsn, f'DROP OWNED BY "{role}"')
        await value(dsn, f'DROP ROLE "{role}"')


async def test_the_queue_has_an_address_of_its_own(
    start_sandbox: StartSandbox, dsn: str, empty_dsn: str
) -> None:
    """POSTHOG_ETL_QUEUE_DATABASE_URL is where the queue is looked for, and nothing else."""
    sandbox = await start_sandbox(recordings=1)
    elsewhere = Command(sandbox.url, dsn, POSTHOG_ETL_QUEUE_DATABASE_URL=empty_dsn)
    result = await elsewhere.run(*arguments(*all_time(sandbox, 6), "60d"))
    assert (result.code, "posthog-etl migrate" in result.err) == (1, True), result.err
    direct = Command(sandbox.url, dsn, POSTHOG_ETL_QUEUE_DATABASE_URL=dsn)
    assert (await direct.run(*arguments(*all_time(sandbox, 6), "60d"))).code == 0


async def test_the_queue_is_left_to_others_by_whoever_stands_still(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A transaction that idles is ended by the server, and nobody waits for a lock for ever."""
    address = parse_database_url(dsn)
    async with open_queue(address, "posthog_etl") as queue:
        (row,) = await queue.driver.fetch(
            "SELECT current_setting('lock_timeout') AS a, "
            "current_setting('statement_timeout') AS b, "
            "current_setting('idle_in_transaction_session_timeout') AS c"
        )
        assert dict(row) == {"a": "10s", "b": "30s", "c": "10s"}
        sandbox = await start_sandbox(recordings=1)
        async with queue.exclusively():
            enqueuing = asyncio.create_task(
                Command(sandbox.url, dsn).run(*arguments(*all_time(sandbox, 6), "60d"))
            )
            for _ in range(40):  # it does not idle, so the other one has to give up
                await queue.driver.fetch("SELECT pg_sleep(0.5)")
                if enqueuing.done():
                    break
        result = await enqueuing
    assert (result.code, len(result.err.splitlines())) == (1, 1), result.err
    assert "lock timeout" in result.err


async def test_a_line_that_goes_silent_is_noticed(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Nothing comes through any more, and nothing says so: the worker opens another one."""
    sandbox = await start_sandbox(recordings=60, days=10.0)
    async with silenced(dsn) as (address, silence):
        command = Command(sandbox.url, dsn, POSTHOG_ETL_QUEUE_DATABASE_URL=address, **PAGE)
        async with workers(command, 1, log) as running:

            async def it_has_begun() -> bool:
                return b"worker.started" in Path(log.name).read_bytes()

            await until(it_has_begun, "the worker listens")
            silence()
            await enqueue(
                command.with_settings(POSTHOG_ETL_QUEUE_DATABASE_URL=dsn),
                *all_time(sandbox, 11),
                "60d",
            )
            await queue_is_empty(dsn)
            assert await running.stop() == [0]
    await is_true(dsn, sandbox)


@asynccontextmanager
async def silenced(dsn: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Give another address of a database, and what silences the connections that are open there."""
    url = make_url(dsn)
    path = f"{url.query['host']}/.s.PGSQL.{url.port or 5432}" if "host" in url.query else None
    opened: list[asyncio.Event] = []

    async def carry(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, quiet: asyncio.Event
    ) -> None:
        while data := await source.read(65_536):
            if not quiet.is_set():
                sink.write(data)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other = (
            await asyncio.open_connection(url.host, url.port or 5432)
            if path is None
            else await asyncio.open_unix_connection(path)
        )
        opened.append(quiet := asyncio.Event())
        ways = [carry(reader, other[1], quiet), carry(other[0], writer, quiet)]
        await asyncio.gather(*ways, return_exceptions=True)

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    password = f":{url.password}" if url.password else ""
    user = f"{url.username}{password}"
    try:
        yield (
            f"postgresql://{user}@127.0.0.1:{port}/{url.database}?sslmode=disable",
            lambda: [quiet.set() for quiet in opened].clear(),
        )
    finally:
        server.close()


@pytest.mark.parametrize(
    ("arguments_", "settings", "said"),
    [
        (("--alive", "/nowhere/alive"), {}, "--alive /nowhere/alive cannot be written"),
        (
            (),
            {"POSTHOG_ETL_QUEUE_DATABASE_URL": "mysql://u@h/d"},
            "POSTHOG_ETL_QUEUE_DATABASE_URL is a mysql:// address",
        ),
    ],
)
async def test_a_mistake_ends_a_worker_at_once_in_one_line(
    sandbox: RunningSandbox,
    dsn: str,
    arguments_: tuple[str, ...],
    settings: dict[str, str],
    said: str,
) -> None:
    """With 2, and not by being unhealthy for ever."""
    result = await Command(sandbox.url, dsn, **settings).run("worker", *arguments_)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert len(result.err.splitlines()) == 1


async def test_a_queue_that_cannot_be_reached_is_named_by_its_own_setting(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """The worker says so at its start."""
    away = "postgresql://u@127.0.0.1:1/d?sslmode=disable"
    command = Command(sandbox.url, dsn, POSTHOG_ETL_QUEUE_DATABASE_URL=away)
    result = await command.run("worker")
    assert result.code == 1
    assert "Check host and port in POSTHOG_ETL_QUEUE_DATABASE_URL" in result.err


async def test_a_project_that_has_two_names_is_one(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Its number, and whatever is the current one."""
    sandbox = await start_sandbox(recordings=40, days=5.0)
    command = Command(sandbox.url, dsn, POSTHOG_PROJECT_ID="1,@current", **PAGE)
    await enqueue(command, *all_time(sandbox, 6), "60d")
    await work_off(command, dsn, log)
    await is_true(dsn, sandbox)
    assert len((await command.run("sync", "--json")).document["reports"]) == 1


async def test_a_worker_that_is_told_to_stop_before_it_began_ends_at_once(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """It waits for the source to say which project is the current one."""
    sandbox = await start_sandbox(recordings=1)
    sandbox.control.add_faults({"match": {"path": "@current"}, "fault": {"latency_s": 300}})
    command = Command(sandbox.url, dsn, POSTHOG_PROJECT_ID="@current")
    async with workers(command, 1, log) as running:
        assert await running.stop() == [0]


async def test_a_worker_waits_for_a_database_that_is_not_there_yet(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """Both may have been started at once. Asked to stop meanwhile, it ends with 0."""
    sandbox = await start_sandbox(recordings=40, days=5.0)
    await enqueue(Command(sandbox.url, dsn, **PAGE), *all_time(sandbox, 6), "60d")
    async with PgProxy.in_front_of(dsn) as proxy:
        command = Command(sandbox.url, proxy.dsn, **PAGE)
        proxy.refuse(True)
        for attempt in (1, 2):

            async def it_waits(times: int = attempt) -> bool:
                return Path(log.name).read_text().count('"event":"database.unavailable"') >= times

            async with workers(command, 1, log) as running:
                await until(it_waits, "the worker waits for the database")
                if attempt == 2:
                    proxy.refuse(False)
                    await queue_is_empty(dsn)
                assert await running.stop() == [0]
    await is_true(dsn, sandbox)


async def test_a_worker_waits_for_a_database_that_breaks_off_while_it_begins(
    start_sandbox: StartSandbox, dsn: str, log: IO[bytes]
) -> None:
    """It has found the schema, and no connection for the queue is to be had."""
    sandbox = await start_sandbox(recordings=40, days=5.0)
    await enqueue(Command(sandbox.url, dsn, **PAGE), *all_time(sandbox, 6), "60d")
    async with PgProxy.in_front_of(dsn) as proxy:
        proxy.when(
            Point.AFTER_STATEMENT,
            1,
            lambda: proxy.refuse(True),
            sql=re.compile("alembic_version"),
            hold=False,
        )

        async def it_waits() -> bool:
            return '"event":"database.unavailable"' in Path(log.name).read_text()

        async with workers(Command(sandbox.url, proxy.dsn, **PAGE), 1, log) as running:
            await until(it_waits, "the worker waits for the database")
            proxy.refuse(False)
            await queue_is_empty(dsn)
            assert await running.stop() == [0]
    await is_true(dsn, sandbox)
