"""P10: a run that stood still while another took its place commits nothing when it wakes up."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.conftest import StartSandbox
from tests.support.books import everything_committed, run_endings, until
from tests.support.command import Command, Result, finish
from tests.support.pgproxy import Point
from tests.support.sql import value
from tests.support.stage import (
    CHECKPOINT,
    UNDISTURBED,
    Aim,
    Stage,
    copy_of,
    struck,
    upsert_of,
)
from tests.support.truth import differences_from_truth, fetch_truth

LEASE_S = 3.0
PAGES = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "200"}
SETTINGS = {**PAGES, "POSTHOG_ETL_LEASE_S": str(LEASE_S)}
# What a start of the command and its first statements take on a busy machine, with room.
START_S = 5.0


async def before_begin(stage: Stage) -> None:
    """It holds a fetched page and nothing in Postgres but its lease."""
    await stage.pages_were_answered(2)
    await stage.at(Point.BEFORE_BEGIN)


async def in_copy(stage: Stage) -> None:
    """It holds no row."""
    await stage.at(Point.IN_COPY, 2, copy_of("session_recordings"))


async def in_copy_of_the_last_table(stage: Stage) -> None:
    """Its recordings and persons are on their way before."""
    await stage.at(Point.IN_COPY, 2, copy_of("person_distinct_ids"))


async def after_the_upsert(stage: Stage) -> None:
    """It holds the locks of every row it wrote."""
    await stage.at(Point.AFTER_STATEMENT, 2, upsert_of("person_distinct_ids"))


async def after_the_checkpoint(stage: Stage) -> None:
    """It holds the checkpoint's row, too."""
    await stage.at(Point.AFTER_CHECKPOINT, 2, CHECKPOINT)


async def before_commit(stage: Stage) -> None:
    """Only its COMMIT has not arrived."""
    await stage.at_commit_of(2, Point.BEFORE_COMMIT)


@pytest.mark.parametrize(
    "aim",
    [
        before_begin,
        in_copy,
        in_copy_of_the_last_table,
        after_the_upsert,
        after_the_checkpoint,
        before_commit,
    ],
    ids=lambda aim: aim.__name__,
)
async def test_a_run_that_lost_its_place_while_it_stood_still_commits_nothing(
    start_sandbox: StartSandbox, dsn: str, aim: Aim
) -> None:
    """Another takes over within the lease time and finishes; the first wakes up and ends with 4."""
    sandbox = await start_sandbox(recordings=600, days=20.0)
    # The first batch has committed before the second is staged. Otherwise it may stop in the middle
    # of a message to Postgres, and its locks last for as long as a statement may.
    fault = {"latency_s": 2}
    sandbox.control.add_faults({"match": {"path": "session_recordings"}, "at": 2, "fault": fault})
    async with struck(sandbox, dsn, aim, signal.SIGSTOP, **SETTINGS) as stage:
        successor = await first_to_take_over(Command(sandbox.url, dsn, **SETTINGS))
        assert (successor.code, successor.report["status"]) == (0, "succeeded"), successor.err
        assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
        left = await everything_committed(dsn)

        stage.process.send_signal(signal.SIGCONT)
        stage.proxy.release()
        woken = await finish(stage.process)

    assert (woken.code, woken.report["status"]) == (4, "held"), woken.err
    assert "Another run has taken over" in woken.report["reason"]
    assert await everything_committed(dsn) == left
    assert await run_endings(dsn) == [
        ("failed", "the process ended without a word"),
        ("succeeded", None),
    ]


async def first_to_take_over(command: Command) -> Result:
    """Start the command until it is not told that another run holds the unit, and let it finish.

    The lease runs out in the end, and whatever the first run still locks is free by then.
    """
    async with asyncio.timeout(LEASE_S + START_S):
        while True:
            async with command.running("sync", "--json") as process:
                result = await finish(process)
            if result.code != 4:
                return result


async def test_a_unit_that_is_worked_on_is_not_given_to_another_run(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The second run ends with 4 and changes nothing; the first goes on to its end."""
    sandbox = await start_sandbox(recordings=600, days=20.0)
    async with struck(sandbox, dsn, after_the_upsert, UNDISTURBED, **PAGES) as stage:
        left = await everything_committed(dsn)
        second = await Command(sandbox.url, dsn, **PAGES).run("sync", "--json")
        assert (second.code, second.report["status"]) == (4, "held"), second.err
        assert await everything_committed(dsn) == left
        stage.proxy.release()
        first = await finish(stage.process)
    assert first.code == 0, first.err
    assert await run_endings(dsn) == [("succeeded", None)]
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_a_run_that_takes_longer_than_its_lease_keeps_it(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Its heartbeat prolongs the lease while it waits for the server."""
    sandbox = await start_sandbox(recordings=600, days=20.0)
    fault = {"hang": True}
    sandbox.control.add_faults({"match": {"path": "session_recordings"}, "at": 2, "fault": fault})
    command = Command(sandbox.url, dsn, **PAGES, POSTHOG_ETL_LEASE_S="1")
    async with command.running("sync", "--json") as process:

        async def outlived() -> bool:
            return bool(
                await value(
                    dsn,
                    "SELECT count(*) FROM posthog_etl.runs WHERE status = 'running' "
                    "AND started_at < clock_timestamp() - interval '2 seconds'",
                )
            )

        await until(outlived, "the first lease would have run out twice")
        second = await command.run("sync", "--json")
        assert (second.code, process.returncode) == (4, None), second.err
