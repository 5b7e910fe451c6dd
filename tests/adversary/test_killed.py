"""The next run follows a killed run of this machine at once, but not a suspended one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import StartSandbox
from tests.support.books import run_endings
from tests.support.command import Command, finish
from tests.support.pgproxy import Point
from tests.support.stage import Stage, copy_of, struck
from tests.support.truth import differences_from_truth, fetch_truth

LEASE_S = "600"  # longer than the test may take
PAGES = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "200", "POSTHOG_ETL_LEASE_S": LEASE_S}


async def in_the_second_copy(stage: Stage) -> None:
    """One batch is committed, the next is being copied."""
    await stage.at(Point.IN_COPY, 2, copy_of("session_recordings"))


async def test_the_next_run_takes_over_from_a_killed_one_at_once(
    start_sandbox: StartSandbox, dsn: str, tmp_path: Path
) -> None:
    """It goes on where the killed run stopped, and leaves no file behind."""
    settings = {**PAGES, "POSTHOG_ETL_DATA_DIR": str(tmp_path / "data")}
    sandbox = await start_sandbox(recordings=600, days=20.0)
    async with struck(sandbox, dsn, in_the_second_copy, signal.SIGKILL, **settings) as stage:
        await finish(stage.process)
        (left,) = (tmp_path / "data/runs").iterdir()
        assert left.stat().st_mode & 0o777 == 0o600
        assert left.parent.stat().st_mode & 0o777 == 0o700
        following = await Command(sandbox.url, dsn, **settings).run("sync", "--json")
    assert following.code == 0, following.err
    assert await run_endings(dsn) == [
        ("failed", "the process ended without a word"),
        ("succeeded", None),
    ]
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
    assert list((tmp_path / "data/runs").iterdir()) == []


@pytest.mark.parametrize("elsewhere", [False, True], ids=["its data directory", "another one"])
async def test_a_run_that_may_live_keeps_its_unit(
    start_sandbox: StartSandbox, dsn: str, tmp_path: Path, elsewhere: bool
) -> None:
    """It was suspended, not killed: it may wake up until its lease expires."""
    settings = {**PAGES, "POSTHOG_ETL_DATA_DIR": str(tmp_path / "data")}
    sandbox = await start_sandbox(recordings=600, days=20.0)
    async with struck(sandbox, dsn, in_the_second_copy, signal.SIGSTOP, **settings) as stage:
        command = Command(sandbox.url, dsn, **settings)
        if elsewhere:
            command = command.with_settings(POSTHOG_ETL_DATA_DIR=str(tmp_path / "other"))
        second = await command.run("sync", "--json")
        assert (second.code, second.report["status"]) == (4, "held"), second.err
        stage.process.send_signal(signal.SIGCONT)
        stage.proxy.release()
        first = await finish(stage.process)
    assert first.code == 0, first.err
