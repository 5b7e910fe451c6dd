"""P1, P3: when Postgres fails, a run goes on or ends honestly, and a later one has the truth."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from etl.loaders.embedded import EmbeddedPostgres
from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.books import no_unit_is_held, row_count, run_endings
from tests.support.command import Command, Result, finish
from tests.support.pgproxy import Point
from tests.support.postgres import database_of, server_directory
from tests.support.sql import select
from tests.support.stage import (
    CHECKPOINT,
    CLOSING_OF_RUN,
    TAKING_OF_UNIT,
    UNDISTURBED,
    Aim,
    Stage,
    copy_of,
    struck,
    upsert_of,
)
from tests.support.truth import differences_from_truth, fetch_truth

RECORDS, PAGE = 600, 200
SMALL_PAGES = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": str(PAGE)}
A_SHORT_LEASE = {"POSTHOG_ETL_LEASE_S": "2"}


async def while_taking_the_unit(stage: Stage) -> None:
    """The lease is written and not committed."""
    await stage.at(Point.AFTER_STATEMENT, sql=TAKING_OF_UNIT)


async def with_the_unit_just_taken(stage: Stage) -> None:
    """The lease is committed, and the run does not know."""
    await stage.at_commit_after(TAKING_OF_UNIT, 1, Point.AFTER_COMMIT_BEFORE_ANSWER)


async def before_the_next_begin(stage: Stage) -> None:
    """Between two transactions."""
    await stage.pages_were_answered(2)
    await stage.at(Point.BEFORE_BEGIN)


async def in_copy(stage: Stage) -> None:
    """The second batch is on its way."""
    await stage.at(Point.IN_COPY, 2, copy_of("session_recordings"))


async def after_the_upsert(stage: Stage) -> None:
    """The recordings of the second batch are in and not committed."""
    await stage.at(Point.AFTER_STATEMENT, 2, upsert_of("session_recordings"))


async def after_the_checkpoint(stage: Stage) -> None:
    """The second batch is one COMMIT from being done."""
    await stage.at(Point.AFTER_CHECKPOINT, 2, CHECKPOINT)


async def after_commit(stage: Stage) -> None:
    """The second batch is committed, and the run does not know."""
    await stage.at_commit_of(2, Point.AFTER_COMMIT_BEFORE_ANSWER)


async def while_closing_the_run(stage: Stage) -> None:
    """Everything is loaded, and the run's own ending is not committed."""
    await stage.at(Point.AFTER_STATEMENT, sql=CLOSING_OF_RUN)


AIMS = (
    while_taking_the_unit,
    with_the_unit_just_taken,
    before_the_next_begin,
    in_copy,
    after_the_upsert,
    after_the_checkpoint,
    after_commit,
    while_closing_the_run,
)


async def sync_with_trouble(
    sandbox: RunningSandbox,
    dsn: str,
    aim: Aim,
    trouble: Callable[[Stage], Awaitable[object]],
    **settings: str,
) -> Result:
    """Run `sync`, hold it where `aim` says, make the trouble, and let it go on to its end."""
    async with struck(sandbox, dsn, aim, UNDISTURBED, **SMALL_PAGES, **settings) as stage:
        await trouble(stage)
        stage.proxy.release()
        return await finish(stage.process)


async def terminate_backends(dsn: str) -> None:
    """End every other connection of the database, as an administrator would."""
    await select(
        dsn,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def assert_went_on(result: Result) -> None:
    """The run succeeded, and whoever reads its log finds no stack trace."""
    assert (result.code, result.report["status"]) == (0, "succeeded"), result.err
    assert "Traceback" not in result.err


def assert_ended_honestly(result: Result, reason: str) -> None:
    """The run says that it failed and why, without a stack trace."""
    assert (result.code, result.report["status"]) == (1, "failed"), result.err
    assert reason in result.report["reason"]
    assert "Traceback" not in result.err


async def assert_the_next_run_has_the_truth(sandbox: RunningSandbox, dsn: str) -> None:
    """One undisturbed run, and all three tables equal the sandbox's truth."""
    assert_went_on(await Command(sandbox.url, dsn, **SMALL_PAGES).run("sync", "--json"))
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize("how", ["terminated", "cut"])
@pytest.mark.parametrize("aim", AIMS, ids=lambda aim: aim.__name__)
async def test_a_load_goes_on_when_its_connections_break(
    start_sandbox: StartSandbox, dsn: str, aim: Aim, how: str
) -> None:
    """By the server's hand or the network's: that costs a transaction, not the run."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)

    async def break_them(stage: Stage) -> None:
        if how == "terminated":
            await terminate_backends(dsn)
        else:
            stage.proxy.cut()

    result = await sync_with_trouble(sandbox, dsn, aim, break_them)
    assert_went_on(result)
    assert result.report["records_read"] >= RECORDS
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
    assert await run_endings(dsn) == [("succeeded", None)]


async def test_a_batch_whose_commit_went_unanswered_is_counted_once_and_with_its_rejects(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The repetition finds the batch done; what it set aside still makes the run partial."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    sandbox.control.add_faults(
        {
            "match": {"path": "session_recordings"},
            "at": 2,
            "fault": {"mutate": {"record": 5, "unset": ["id"]}},
        }
    )

    async def lose_the_answer(stage: Stage) -> None:
        stage.proxy.cut()

    result = await sync_with_trouble(sandbox, dsn, after_commit, lose_the_answer)
    assert (result.code, result.report["status"]) == (3, "partial"), result.err
    assert (result.report["records_read"], result.report["rejected"]) == (RECORDS, 1)
    assert await row_count(dsn, "session_recordings") == RECORDS - 1


@pytest.fixture(scope="module")
def own_server() -> Iterator[Path]:
    """The data directory of a server that the test may stop."""
    with server_directory() as directory:
        yield directory


# No power is cut here, so nothing has to reach the disk; but what is committed stays committed.
UNSYNCED = {"fsync": "off"}


@asynccontextmanager
async def started(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Start the server of a directory for a block."""
    server = await asyncio.to_thread(EmbeddedPostgres.start, directory, options=UNSYNCED)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.close)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
@pytest.mark.parametrize("aim", [in_copy, after_commit], ids=lambda aim: aim.__name__)
async def test_a_load_goes_on_when_the_server_is_restarted(
    start_sandbox: StartSandbox, own_server: Path, aim: Aim, number: signal.Signals
) -> None:
    """The run waits for the server to come back, in order or after a crash, and finishes."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    async with started(own_server) as server:
        dsn = server.dsn.replace("/postgres?", "/restarted?")
        await select(server.dsn, "DROP DATABASE IF EXISTS restarted")
        await select(server.dsn, "CREATE DATABASE restarted")

        async with struck(sandbox, dsn, aim, UNDISTURBED, **SMALL_PAGES) as stage:
            os.kill(server.server_pid, number)
            await asyncio.to_thread(server.close)
            stage.proxy.release()
            await stage.at_log_event("database.unavailable")
            async with started(own_server):
                assert_went_on(await finish(stage.process))
                assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"POSTHOG_ETL_STATEMENT_TIMEOUT_S": "0.3"}, "due to statement timeout"),
        (A_SHORT_LEASE, "due to lock timeout"),
    ],
    ids=["statement", "lock"],
)
async def test_a_load_goes_on_after_a_time_out(
    start_sandbox: StartSandbox, dsn: str, settings: dict[str, str], words: str
) -> None:
    """A statement that waits too long for another's lock is given up, and the batch repeated."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    blocker = await asyncpg.connect(dsn)
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE posthog.persons IN SHARE MODE")

            async def given_up(stage: Stage) -> None:
                await stage.at_log_event(words)

            async with struck(sandbox, dsn, given_up, UNDISTURBED, **settings) as stage:
                await blocker.execute("ROLLBACK; BEGIN")
                result = await finish(stage.process)
    finally:
        await blocker.close()
    assert_went_on(result)
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.long
async def test_a_run_that_loses_postgres_for_good_ends_after_its_retries(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It tries for most of a minute, then says that Postgres is gone; the next run goes on."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    async with struck(sandbox, dsn, after_the_upsert, UNDISTURBED, **SMALL_PAGES) as stage:
        stage.proxy.refuse(True)
        stage.proxy.cut()
        result = await finish(stage.process)
    assert_ended_honestly(result, "Postgres")
    assert await row_count(dsn, "session_recordings") == PAGE
    await assert_the_next_run_has_the_truth(sandbox, dsn)
    assert [status for status, _ in await run_endings(dsn)] == ["failed", "succeeded"]


async def make_read_only(dsn: str) -> None:
    """Let every new transaction of the database be read-only, for whoever connects from now on."""
    name = database_of(dsn)
    await select(dsn, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await terminate_backends(dsn)


async def make_writable(dsn: str) -> None:
    """Take read-only back, in a transaction that is itself allowed to write."""
    name = database_of(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(readonly=False):
            await connection.execute("SET TRANSACTION READ WRITE")
            await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    finally:
        await connection.close()


async def test_a_run_on_a_read_only_database_says_so_and_writes_nothing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """As on a standby: exit 1, the reason and what to do about it."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    await make_read_only(dsn)
    result = await Command(sandbox.url, dsn).run("sync", "--json")
    assert_ended_honestly(result, "Postgres is read-only")
    assert "primary" in result.report["reason"]
    await make_writable(dsn)
    assert await run_endings(dsn) == []
    await assert_the_next_run_has_the_truth(sandbox, dsn)


async def test_a_database_that_becomes_read_only_ends_the_run_at_once(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """As after a failover that left us on the old primary: no retries, and no lost batch."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    result = await sync_with_trouble(
        sandbox, dsn, after_the_upsert, lambda _: make_read_only(dsn), **A_SHORT_LEASE
    )
    assert_ended_honestly(result, "Postgres is read-only")
    await make_writable(dsn)
    assert await row_count(dsn, "session_recordings") == PAGE
    await no_unit_is_held(dsn)
    await assert_the_next_run_has_the_truth(sandbox, dsn)
    assert [status for status, _ in await run_endings(dsn)] == ["failed", "succeeded"]


async def raise_at(dsn: str, state: str, batches: str) -> None:
    """Let the upsert of persons fail with a SQLSTATE in those batches (a condition on n)."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            f"""
            CREATE SEQUENCE public.batches;
            CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE n bigint := nextval('public.batches');
            BEGIN
                IF n {batches} THEN
                    RAISE EXCEPTION 'batch % failed', n USING ERRCODE = '{state}';
                END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER fail BEFORE INSERT ON posthog.persons
            FOR EACH STATEMENT EXECUTE FUNCTION public.fail();
            """
        )
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "state",
    ["40P01", "40001", "53300", "57P01"],
    ids=["deadlock", "serialization", "too many connections", "shutdown"],
)
async def test_a_batch_that_failed_for_a_passing_reason_is_repeated(
    start_sandbox: StartSandbox, dsn: str, state: str
) -> None:
    """The whole transaction is repeated, once, and the run succeeds."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    await raise_at(dsn, state, "= 2")
    result = await Command(sandbox.url, dsn, **SMALL_PAGES).run("sync", "--json")
    assert_went_on(result)
    assert result.report["rejected"] == 0
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("53100", "disk of the Postgres server is full"),
        ("42501", "may not do this"),
        ("XX001", "XX001"),
    ],
    ids=["disk full", "right revoked", "corrupted"],
)
async def test_a_batch_that_failed_for_a_lasting_reason_ends_the_run(
    start_sandbox: StartSandbox, dsn: str, state: str, reason: str
) -> None:
    """Nothing is rejected in its place, what was committed stays, and the next run goes on."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    await raise_at(dsn, state, "> 1")
    result = await Command(sandbox.url, dsn, **SMALL_PAGES).run("sync", "--json")
    assert_ended_honestly(result, reason)
    assert result.report["rejected"] == 0
    assert await row_count(dsn, "session_recordings") == PAGE
    await select(dsn, "DROP TRIGGER fail ON posthog.persons")
    await assert_the_next_run_has_the_truth(sandbox, dsn)
    assert [status for status, _ in await run_endings(dsn)] == ["failed", "succeeded"]
