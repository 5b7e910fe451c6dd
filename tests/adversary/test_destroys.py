"""A command that destroys data counts it first and asks. Without a terminal it needs --yes."""

from __future__ import annotations

import asyncio
import os
import re
import sys

import pytest

from etl.sandbox.server import RunningSandbox
from tests.support.books import row_count
from tests.support.command import Command, Result
from tests.support.sql import value

VERSION = "SELECT version_num FROM posthog_etl.alembic_version"


@pytest.fixture
def command(sandbox: RunningSandbox, dsn: str) -> Command:
    """The installed command, with a server of 300 recordings."""
    return Command(sandbox.url, dsn)


async def answered(command: Command, answer: str, *arguments: str) -> Result:
    """Run a command on a terminal where somebody types `answer`."""
    ours, theirs = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "etl", *arguments),
            env=command.environment,
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        os.write(ours, f"{answer}\n".encode())
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


async def test_going_to_an_older_version_names_what_it_destroys_and_wants_yes(
    command: Command, dsn: str
) -> None:
    """Without a terminal: exit code 2, and every row is still there."""
    assert (await command.run("sync")).code == 0
    before = await value(dsn, VERSION)
    refused = await command.run("migrate", "--to", "base")
    assert refused.code == 2
    assert f"Going from {before} to base destroys data: " in refused.err
    assert "300 in posthog.session_recordings" in refused.err
    assert "1 in posthog_etl.runs" in refused.err
    assert refused.err.rstrip().endswith("To do it, add --yes")
    assert (await value(dsn, VERSION), await row_count(dsn, "session_recordings")) == (before, 300)

    agreed = await command.run("migrate", "--to", "base", "--yes")
    assert agreed.code == 0, agreed.err
    assert await value(dsn, "SELECT to_regclass('posthog.session_recordings')") is None


async def test_columns_that_an_older_version_does_not_have_count_too(
    command: Command, dsn: str
) -> None:
    """Their values are counted. Tables that stay are not named, but for columns that go."""
    assert (await command.run("sync")).code == 0
    refused = await command.run("migrate", "--to", "0004")
    assert (refused.code, "1 in posthog_etl.runs.waited_s" in refused.err) == (2, True)
    assert re.findall(r"posthog\.session_recordings(\.\w+)?", refused.err) == ["._hash"]


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, True), ("y", 0, False)])
async def test_at_a_terminal_it_asks(
    command: Command, dsn: str, answer: str, code: int, left: bool
) -> None:
    """The default answer is no."""
    assert (await command.run("sync")).code == 0
    result = await answered(command, answer, "migrate", "--to", "base")
    assert result.code == code, result.err
    assert "300 in posthog.session_recordings" in result.err
    assert "Go on? [y/N]" in result.err
    there = await value(dsn, "SELECT to_regclass('posthog.session_recordings') IS NOT NULL")
    assert there == left


async def test_where_nothing_is_lost_nobody_is_asked(command: Command, empty_dsn: str) -> None:
    """For an upgrade, and for a downgrade from empty tables."""
    empty = command.with_settings(DATABASE_URL=empty_dsn)
    for arguments in ((), ("--to", "base"), ("--to", "base"), ("--to", "head")):
        result = await empty.run("migrate", *arguments)
        assert result.code == 0, result.err
