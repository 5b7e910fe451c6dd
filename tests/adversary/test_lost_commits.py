"""A server with `synchronous_commit=off` that crashes loses commits that it had confirmed."""

from __future__ import annotations

import asyncio
import signal

import psutil

from etl.loaders.embedded import EmbeddedPostgres
from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.command import Command, finish
from tests.support.pgproxy import Point
from tests.support.postgres import server_directory
from tests.support.sql import select, value
from tests.support.stage import UNDISTURBED, Stage, copy_of, struck
from tests.support.truth import differences_from_truth, fetch_truth

# Each page is a batch of its own, however slow this machine is.
PAGES = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "200", "POSTHOG_ETL_BUFFER_BYTES": "1"}
SLOW_TO_WRITE = {
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
    "autovacuum": "off",
    "fsync": "off",  # this test does not cut the power
}
LOST = (
    "Postgres has lost what this run of session_recordings had committed: the server crashed or "
    "was set back, with commits that were not on its disk. The next run reads that again. Set "
    "synchronous_commit to on at the server"
)

# What such a crash leaves, by what it loses: the latest commits are lost, earlier ones stay.
ITS_BATCHES = (
    "TRUNCATE posthog.session_recordings, posthog.persons, posthog.person_distinct_ids",
    "UPDATE posthog_etl.checkpoints SET batch = 0, position = NULL",
    "UPDATE posthog_etl.runs SET records_read = 0",
)
ITS_BEGINNING_TOO = (
    ITS_BATCHES[0],
    "TRUNCATE posthog_etl.checkpoints, posthog_etl.leases, posthog_etl.runs",
)


async def in_the_third_copy(stage: Stage) -> None:
    """A second or third batch is on its way, and the first is committed or about to be.

    Two batches are loaded at once and either may be copied first, so the third COPY is not always
    that of the third batch. It begins after the first batch has left its place.
    """
    await stage.at(Point.IN_COPY, 3, copy_of("session_recordings"))


async def test_a_run_whose_commits_are_lost_fails_and_says_so_and_the_next_goes_on(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """No other run has taken its unit, so cron must see a failure; the run history has it too."""
    sandbox = await start_sandbox(recordings=600, days=20.0)
    async with struck(sandbox, dsn, in_the_third_copy, UNDISTURBED, **PAGES) as stage:

        async def committed() -> bool:
            return bool(await value(dsn, "SELECT batch FROM posthog_etl.checkpoints"))

        await until(committed, "the first batch is committed")
        for statement in ITS_BATCHES:
            await select(dsn, statement)
        stage.proxy.release()
        result = await finish(stage.process)
    assert (result.code, result.report["status"]) == (1, "failed"), result.err
    assert result.report["reason"] == LOST
    assert await select(dsn, "SELECT status, reason FROM posthog_etl.runs") == [
        {"status": "failed", "reason": LOST}
    ]
    following = await Command(sandbox.url, dsn, **PAGES).run("sync", "--json")
    assert following.code == 0, following.err
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


def kill_all(server_pid: int) -> None:
    """Kill a server so that none of its processes writes its memory to disk, and see it gone.

    While one is still dying, it could take a new connection and drop it.
    """
    postmaster = psutil.Process(server_pid)
    processes = [postmaster, *postmaster.children(recursive=True)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            process.send_signal(number)
    assert psutil.wait_procs(processes, timeout=10)[1] == []


async def test_a_server_that_crashes_and_forgets_the_whole_run_is_told_from_a_takeover(
    start_sandbox: StartSandbox,
) -> None:
    """A real crash. The run reconnects to a server that does not know the run."""
    sandbox = await start_sandbox(recordings=600, days=20.0)
    with server_directory() as directory:
        server = await asyncio.to_thread(EmbeddedPostgres.start, directory, options=SLOW_TO_WRITE)
        dsn = server.dsn
        command = Command(sandbox.url, dsn, **PAGES, POSTHOG_ETL_LEASE_S="3")
        assert (await command.run("migrate")).code == 0
        await select(dsn, "CHECKPOINT")
        waiting = {"match": {"path": "session_recordings"}, "at": 3, "fault": {"hang": True}}
        sandbox.control.add_faults(waiting)
        async with command.running("sync", "--json") as process:

            async def two_batches() -> bool:
                return await value(dsn, "SELECT batch FROM posthog_etl.checkpoints") == 2

            await until(two_batches, "two batches are committed")
            await asyncio.to_thread(kill_all, server.server_pid)
            restarted = await asyncio.to_thread(
                EmbeddedPostgres.start, directory, options=SLOW_TO_WRITE
            )
            try:
                assert await select(dsn, "SELECT FROM posthog_etl.checkpoints") == []
                result = await finish(process)
                assert (result.code, result.report["reason"]) == (1, LOST), result.err
                assert (await command.run("sync")).code == 0
                assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
            finally:
                await asyncio.to_thread(restarted.close)
                await asyncio.to_thread(server.close)


async def test_the_heartbeat_tells_lost_commits_from_a_takeover(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A run that waits for the source learns of it before its next batch."""
    sandbox = await start_sandbox(recordings=600, days=20.0)
    sandbox.control.add_faults(
        {"match": {"path": "session_recordings"}, "at": 2, "fault": {"hang": True}}
    )
    command = Command(sandbox.url, dsn, **PAGES, POSTHOG_ETL_LEASE_S="1")
    async with command.running("sync", "--json") as process:

        async def committed() -> bool:
            return bool(await value(dsn, "SELECT batch FROM posthog_etl.checkpoints"))

        await until(committed, "the first batch is committed")
        for statement in ITS_BEGINNING_TOO:
            await select(dsn, statement)
        result = await finish(process)
    assert (result.code, result.report["reason"]) == (1, LOST), result.err
