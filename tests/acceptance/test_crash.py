"""P1: a run that is killed leaves whole batches, and the next one ends with the truth."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import secrets
import signal
import sys
from dataclasses import dataclass

import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.books import (
    batches_committed,
    no_unit_is_held,
    nobody_is_connected,
    row_count,
    rows_inserted,
    run_endings,
    until,
)
from tests.support.command import Command, Process
from tests.support.pgproxy import Point
from tests.support.sql import select, value
from tests.support.stage import (
    CHECKPOINT,
    CLOSING_OF_RUN,
    SHORT_LEASE,
    TAKING_OF_UNIT,
    Aim,
    Stage,
    answered,
    copy_of,
    killed,
    upsert_of,
)
from tests.support.truth import TABLES, differences_from_truth, fetch_truth

RECORDS, PAGE = 600, 200
PAGES = RECORDS // PAGE
# Each page is a batch of its own, however many wait.
SMALL_PAGES = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": str(PAGE), "POSTHOG_ETL_BUFFER_BYTES": "1"}
DIED = ("failed", "the process ended without a word")
SUCCEEDED = ("succeeded", None)


async def after_fetch(stage: Stage) -> None:
    """The second page was fetched, and nothing of it was begun."""
    await stage.pages_were_answered(2)
    await stage.at(Point.BEFORE_BEGIN)


async def before_begin(stage: Stage) -> None:
    """No page is left to fetch, so the next transaction is a batch's."""
    await stage.pages_were_answered(PAGES)
    await stage.at(Point.BEFORE_BEGIN)


async def while_taking_the_unit(stage: Stage) -> None:
    """The lease is written and not committed."""
    await stage.at(Point.AFTER_STATEMENT, sql=TAKING_OF_UNIT)


async def with_the_unit_just_taken(stage: Stage) -> None:
    """The server has given the lease, the run does not know."""
    await stage.at_commit_after(TAKING_OF_UNIT, 1, Point.AFTER_COMMIT_BEFORE_ANSWER)


async def in_copy(stage: Stage) -> None:
    """The second batch is on its way."""
    await stage.at(Point.IN_COPY, 2, copy_of("session_recordings"))


async def in_copy_of_the_last_table(stage: Stage) -> None:
    """The second batch is on its way, its recordings and persons before."""
    await stage.at(Point.IN_COPY, 2, copy_of("person_distinct_ids"))


async def after_copy(stage: Stage) -> None:
    """The second batch is in staging."""
    await stage.at(Point.AFTER_COPY, 2, copy_of("session_recordings"))


async def after_the_first_upsert(stage: Stage) -> None:
    """Of the second batch the recordings are in, the persons are not."""
    await stage.at(Point.AFTER_STATEMENT, 2, upsert_of("session_recordings"))


async def after_the_last_upsert(stage: Stage) -> None:
    """All rows of the second batch are in, its checkpoint is not."""
    await stage.at(Point.AFTER_STATEMENT, 2, upsert_of("person_distinct_ids"))


async def after_the_checkpoint(stage: Stage) -> None:
    """Rows and checkpoint of the second batch are written and not committed."""
    await stage.at(Point.AFTER_CHECKPOINT, 2, CHECKPOINT)


async def before_commit(stage: Stage) -> None:
    """The run has said COMMIT, the server has not heard it."""
    await stage.at_commit_of(2, Point.BEFORE_COMMIT)


async def after_commit(stage: Stage) -> None:
    """The server has committed the second batch, the run does not know."""
    await stage.at_commit_of(2, Point.AFTER_COMMIT_BEFORE_ANSWER)


async def after_the_last_commit(stage: Stage) -> None:
    """The server has committed the last batch and closed the window."""
    await stage.at_commit_of(PAGES, Point.AFTER_COMMIT_BEFORE_ANSWER)


async def in_back_off(stage: Stage) -> None:
    """The server has failed, and the run waits before it asks again."""
    await stage.at_log_event("request.failed")


async def while_closing_the_run(stage: Stage) -> None:
    """Everything is loaded, and the run's own ending is not committed."""
    await stage.at(Point.AFTER_STATEMENT, sql=CLOSING_OF_RUN)


async def at_goodbye(stage: Stage) -> None:
    """The run is closed and says goodbye to Postgres."""
    # Under load a run opens more connections than its pool keeps, and closes them before its end.
    await stage.at_goodbye_after(CLOSING_OF_RUN)


@dataclass(frozen=True)
class Death:
    """Where a run dies, how many batches it has committed by then, and what became of it."""

    aim: Aim
    batches: int | None
    endings: tuple[tuple[str, str | None], ...] = (DIED, SUCCEEDED)


DEATHS = (
    Death(while_taking_the_unit, 0, (SUCCEEDED,)),
    Death(with_the_unit_just_taken, 0),
    # Loading is a page behind fetching, more or less.
    Death(after_fetch, None),
    Death(before_begin, None),
    # The second batch is staged while the first is written.
    Death(in_copy, None),
    Death(in_copy_of_the_last_table, None),
    Death(after_copy, None),
    Death(after_the_first_upsert, 1),
    Death(after_the_last_upsert, 1),
    Death(after_the_checkpoint, 1),
    Death(before_commit, 1),
    Death(after_commit, 2),
    Death(after_the_last_commit, PAGES),
    # Four batches have no rows: they close the tail, load and close what lies ahead of it, and keep
    # what was found out about the server.
    Death(while_closing_the_run, PAGES + 4),
    Death(at_goodbye, PAGES + 4, (SUCCEEDED, SUCCEEDED)),
)


def _name(death: Death) -> str:
    return death.aim.__name__


@pytest.mark.parametrize("death", DEATHS, ids=_name)
async def test_a_killed_run_leaves_whole_batches_and_the_next_one_ends_with_the_truth(
    start_sandbox: StartSandbox, dsn: str, death: Death
) -> None:
    """Stored is what the checkpoint counts, no more and no less; then nothing is missing."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    result = await killed(sandbox, dsn, death.aim, **SMALL_PAGES, **SHORT_LEASE)
    assert result.code == -signal.SIGKILL
    batches = await batches_committed(dsn)
    assert death.batches in (None, batches)
    assert await row_count(dsn, "session_recordings") == min(batches, PAGES) * PAGE
    assert await rows_inserted(dsn) == sum([await row_count(dsn, table) for table in TABLES])
    await no_unit_is_held(dsn)
    await assert_one_run_makes_it_good(Command(sandbox.url, dsn, **SMALL_PAGES), dsn)
    assert await run_endings(dsn) == list(death.endings)


@pytest.mark.parametrize("aim", [after_the_checkpoint, after_commit], ids=lambda a: a.__name__)
@pytest.mark.parametrize(
    "options",
    [
        {"flavour": "docs", "page_version": "mixed"},
        {"flavour": "docs", "date_filter": "honoured", "start_ties": 3},
        {"flavour": "cloud", "server_version": "offset_only", "start_ties": 3},
    ],
    ids=["docs", "docs, dates honoured", "cloud, only offset known"],
)
async def test_a_run_killed_between_overlapping_pages_is_made_good(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, str], aim: Aim
) -> None:
    """Where pages overlap, the position to go on from is the one that was committed."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0, **options)
    await killed(sandbox, dsn, aim, **SMALL_PAGES, **SHORT_LEASE)
    assert await rows_inserted(dsn) == sum([await row_count(dsn, table) for table in TABLES])
    await no_unit_is_held(dsn)
    await assert_one_run_makes_it_good(Command(sandbox.url, dsn, **SMALL_PAGES), dsn)
    assert await run_endings(dsn) == [DIED, SUCCEEDED]


async def test_pages_that_were_fetched_and_not_loaded_are_read_again(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The checkpoint stands for what was committed, however far fetching ran ahead of it."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    # Two pages are too large for one transaction, and yet some wait.
    page = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "100", "POSTHOG_ETL_BUFFER_BYTES": "600000"}
    # Of six pages the fifth never comes, so fetching ends where it is known to.
    fault = {"hang": True}
    sandbox.control.add_faults({"match": {"path": "session_recordings"}, "at": 5, "fault": fault})

    async def after_the_third_commit(stage: Stage) -> None:
        # Two batches are in hand by now, the others wait.
        await stage.held_at(Point.AFTER_CHECKPOINT, CHECKPOINT)
        await stage.pages_were_answered(4)
        stage.proxy.release()
        await stage.at_commit_of(2, Point.AFTER_COMMIT_BEFORE_ANSWER)

    await killed(sandbox, dsn, after_the_third_commit, **page, **SHORT_LEASE)
    assert await batches_committed(dsn) == 3
    await no_unit_is_held(dsn)
    await assert_one_run_makes_it_good(Command(sandbox.url, dsn, **page), dsn)


async def test_what_a_killed_batch_set_aside_is_gone_with_it(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Rejects commit with their batch: none before it, and what the next run says after that."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    no_id = {"mutate": {"record": 5, "unset": ["id"]}}
    sandbox.control.add_faults({"match": {"path": "session_recordings"}, "from": 2, "fault": no_id})
    await killed(sandbox, dsn, after_the_checkpoint, **SMALL_PAGES, **SHORT_LEASE)
    rejects = "SELECT count(*) FROM posthog_etl.rejects"
    assert await value(dsn, rejects) == 0
    await no_unit_is_held(dsn)
    result = await Command(sandbox.url, dsn, **SMALL_PAGES).run("sync", "--json")
    assert (result.code, result.report["status"]) == (3, "partial"), result.err
    assert await value(dsn, rejects) == result.report["rejected"] > 0


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"reset": "mid"}, {"status": 429, "wait_s": 3}], ids=str
)
async def test_a_run_killed_while_it_waits_for_the_server_is_made_good(
    start_sandbox: StartSandbox, dsn: str, fault: dict[str, object]
) -> None:
    """What was committed before the wait counts, and the wait is nobody's."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    sandbox.control.add_faults({"match": {"path": "session_recordings"}, "at": 3, "fault": fault})
    await killed(sandbox, dsn, in_back_off, **SMALL_PAGES, **SHORT_LEASE)
    await no_unit_is_held(dsn)
    await assert_one_run_makes_it_good(Command(sandbox.url, dsn, **SMALL_PAGES), dsn)
    assert await run_endings(dsn) == [DIED, SUCCEEDED]


async def test_a_wait_the_server_asked_for_outlives_the_run_that_was_told(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A run killed in it leaves word, and the next one waits for the rest before it asks."""
    sandbox = await start_sandbox(recordings=RECORDS, days=20.0)
    fault = {"status": 429, "wait_s": 6}
    sandbox.control.add_faults({"match": {"path": "session_recordings"}, "at": 1, "fault": fault})

    async def in_the_wait(stage: Stage) -> None:
        async def told() -> bool:
            return bool(await select(dsn, "SELECT FROM posthog_etl.request_blocks"))

        await until(told, "the wait is written down")
        stage.strike()

    await killed(sandbox, dsn, in_the_wait, **SMALL_PAGES, **SHORT_LEASE)
    await no_unit_is_held(dsn)
    result = await Command(sandbox.url, dsn, **SMALL_PAGES).run("sync", "--json")
    assert (result.code, result.report["waited_s"] > 0) == (0, True), result.err
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize(
    ("point", "nth", "sql"),
    [
        (Point.AFTER_STATEMENT, 1, re.compile("^CREATE SCHEMA")),
        (Point.CREATE_TABLE, 4, None),
        (Point.AFTER_STATEMENT, 1, re.compile(r"alembic_version.*VALUES", re.DOTALL)),
    ],
    ids=["after the first schema", "between two tables", "after the version"],
)
async def test_a_run_killed_in_migration_leaves_nothing_of_it(
    start_sandbox: StartSandbox,
    empty_dsn: str,
    point: Point,
    nth: int,
    sql: re.Pattern[str] | None,
) -> None:
    """The migration is one transaction: the next run finds an empty database and fills it."""
    sandbox = await start_sandbox()

    async def in_migration(stage: Stage) -> None:
        await stage.at(point, nth, sql)

    result = await killed(sandbox, empty_dsn, in_migration)
    assert result.code == -signal.SIGKILL
    made = await select(empty_dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'posthog%'")
    assert made == []
    await assert_one_run_makes_it_good(Command(sandbox.url, empty_dsn), empty_dsn)
    assert await run_endings(empty_dsn) == [SUCCEEDED]


async def assert_one_run_makes_it_good(command: Command, dsn: str) -> None:
    """Run the command undisturbed: it succeeds, and every row equals the sandbox's truth."""
    result = await command.run("sync", "--json")
    assert (result.code, result.report["status"]) == (0, "succeeded"), result.err
    truth = await fetch_truth(command.environment["POSTHOG_HOST"])
    assert await differences_from_truth(dsn, truth) == []


KILLS, WITH_DATA_IN_FLIGHT = 20, 12
# So many pages of 50 that the load outlasts the kills however fast the machine is.
MANY, LONGEST_LIFE_PAGES = 12_000, 8
TINY_PAGES = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "50"}


@pytest.mark.long
async def test_a_load_killed_twenty_times_at_random_ends_with_the_truth(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """12,000 recordings, a run killed 20 times over them, and not one row is lost or doubled."""
    seed = int(os.environ.get("TEST_SEED") or secrets.randbelow(10**9))
    sys.stdout.write(f"The instants are drawn from TEST_SEED={seed}.\n")
    draw = random.Random(seed)
    sandbox = await start_sandbox(recordings=MANY, days=60.0)
    command = Command(sandbox.url, dsn, **TINY_PAGES, **SHORT_LEASE)
    kills = in_flight = 0
    while kills < KILLS:
        answered_before, (fence_before, _) = answered(sandbox), await unit_now(dsn)
        async with command.running("sync") as process:
            # Most die while they load, some while they start.
            loading = draw.random() < 0.9
            pages = draw.randint(1, LONGEST_LIFE_PAGES) if loading else 0
            await until_it_has_read(pages, process, sandbox)
            life_s = draw.uniform(0.0, 0.03 if loading else 1.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(life_s):
                    assert await process.wait() == 4, "the load did not outlast the kills"
                    continue
            process.kill()
        kills += 1
        await nobody_is_connected(dsn)
        fence, batches = await unit_now(dsn)
        committed = batches if fence > fence_before else 0
        in_flight += answered(sandbox) - answered_before > committed
        # Whatever the instant, stored is what the runs say they have stored.
        assert await rows_inserted(dsn) == sum([await row_count(dsn, table) for table in TABLES])
    stored = await row_count(dsn, "session_recordings")
    sys.stdout.write(f"{in_flight} of {kills} kills had data in flight; {stored} rows were in.\n")
    assert in_flight >= WITH_DATA_IN_FLIGHT
    assert 0 < stored < MANY
    await no_unit_is_held(dsn)
    await assert_one_run_makes_it_good(Command(sandbox.url, dsn, **TINY_PAGES), dsn)
    endings = await run_endings(dsn)
    assert (endings[-1], set(endings[:-1])) == (SUCCEEDED, {DIED})


async def until_it_has_read(pages: int, process: Process, sandbox: RunningSandbox) -> None:
    """Return once the run was answered so many pages, or has ended because the unit is held."""
    enough = answered(sandbox) + pages

    async def either() -> bool:
        return answered(sandbox) >= enough or process.returncode is not None

    await until(either, "the run reads")


async def unit_now(dsn: str) -> tuple[int, int]:
    """Return the unit's fence and the batches committed under it."""
    rows = await select(dsn, "SELECT fence, batch FROM posthog_etl.checkpoints")
    return (rows[0]["fence"], rows[0]["batch"]) if rows else (0, 0)
