"""What `status` and the tables of a sync say is true and in words that anybody knows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.page import Books

# Names of the code's own.
_OURS = re.compile(r"\b(unit|tail|snapshot|rotation|foreseen|read fast|at least)\b")


@asynccontextmanager
async def books_of(command: Command, dsn: str) -> AsyncIterator[Books]:
    """Bookkeeping of this very moment."""
    await command.run("migrate")
    connection = await asyncpg.connect(dsn)
    try:
        yield Books(connection, datetime.now(UTC))
    finally:
        await connection.close()


async def said(command: Command) -> str:
    """The text of `status` without its line ends."""
    shown = await command.with_settings(COLUMNS="80").run("status")
    assert max(len(line) for line in shown.out.splitlines() if "backfill" not in line) <= 80
    return " ".join(shown.out.split())


async def test_a_first_load_is_said_to_be_one(command: Command, dsn: str) -> None:
    """While it runs, nothing is known complete, and other streams have not begun."""
    async with books_of(command, dsn) as books:
        await books.run(status="running", records_read=60_000)
    both = command.with_settings(
        POSTHOG_ETL_DISABLED_STREAMS="", POSTHOG_ETL_ENABLED_STREAMS="comments"
    )
    shown = await said(both)
    assert "session_recordings running, first load" in shown
    assert "session_recordings: the first load is under way: 60,000 records read" in shown
    assert "not run yet: subscriptions, groups, " in shown
    document = (await both.run("status", "--json")).document
    assert "comments" in document["never_run"][0]["streams"]


@pytest.mark.parametrize(
    ("status", "words"),
    [("failed", "The last sync failed"), ("partial", "The last sync was partial")],
)
async def test_a_stream_that_is_tried_again_says_how_it_ended_before(
    command: Command, dsn: str, status: str, words: str
) -> None:
    """Until it has ended."""
    async with books_of(command, dsn) as books:
        await books.run(status=status, ago_s=600, reason="No route to host")
        run = await books.run(status="running", ago_s=5)
        shown = await said(command)
        assert f"session_recordings running, {status} before" in shown
        assert f"session_recordings: {words}, and runs again now: No route to host" in shown
        await books.end(run)
    assert "before" not in await said(command)


async def test_sentences_name_the_project_where_there_are_several(
    command: Command, dsn: str
) -> None:
    """And only there."""
    async with books_of(command, dsn) as books:
        for project_id in (1, 2):
            day = books.now - timedelta(days=3)
            spans = [(day, day + timedelta(days=1)), (day + timedelta(days=2), books.now)]
            await books.run(project_id=project_id)
            await books.complete(spans=spans, project_id=project_id)
            if project_id == 1:
                assert "session_recordings: not known complete from" in await said(command)
    shown = await said(command)
    for project_id in (1, 2):
        assert f"session_recordings of project {project_id}: not known complete from" in shown


async def test_what_needs_a_look_is_above_a_long_table_and_first_in_it(
    command: Command, dsn: str
) -> None:
    """Of 25 streams one has failed, one waits for its budget and one is running."""
    async with books_of(command, dsn) as books:
        for number in range(22):
            await books.run(f"a{number}")
        await books.run("x", "running")
        await books.run("y", "paused")
        await books.run("z", "failed")
    shown = (await command.run("status")).out.splitlines()
    assert shown[0].startswith(
        "Project 1, 25 streams: 1 failed, 1 paused, 1 running, 22 succeeded; not run yet: "
    )
    assert [line.split()[0] for line in shown[2:6]] == ["z", "y", "x", "a0"]


async def test_tables_have_no_names_that_only_the_code_knows(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """After a first load, a further sync, and a backfill."""
    sandbox: RunningSandbox = await start_sandbox(recordings=60, days=3.0)
    command = Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_DISABLED_STREAMS="",
        POSTHOG_ETL_SHARING_REQUESTS="5",
        POSTHOG_ETL_PAGE_SIZE_RECORDS="20",
    )
    first = await command.run("sync")
    assert "read counts records; inserted and updated count rows" in first.out
    backfill = await command.run(
        "backfill", "session_recordings", "--since", "4d", "--window", "1d", "--again"
    )
    assert "Total of all windows: " in backfill.out
    outs = [first.out, backfill.out]
    outs += [(await command.run(*words)).out for words in (("sync",), ("runs",), ("status",))]
    outs += [(await command.run("streams")).out]
    for out in outs:
        assert not _OURS.search(out), out
    assert re.search(r"recording_sharing +succeeded, 1\d % asked", outs[4])
