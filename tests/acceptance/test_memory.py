"""P9, constant memory: the peak does not grow with the number of rows."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest

from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.command import Command, finish
from tests.support.postgres import Databases
from tests.support.sql import value

FEW, MANY = 5_000, 50_000
GROWTH = 1.2
KIB = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there


@dataclass(frozen=True)
class Measured:
    """How a command ended, and its peak resident size in bytes."""

    code: int
    peak_bytes: int
    out: str


async def measure(command: Command, *arguments: str) -> Measured:
    """Run the real command and let the kernel tell its peak."""

    def run() -> Measured:
        with subprocess.Popen(
            [sys.executable, "-m", "etl", *arguments],
            env=command.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            out = process.stdout.read().decode()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return Measured(process.returncode, usage.ru_maxrss * KIB, out)

    return await asyncio.to_thread(run)


@asynccontextmanager
async def sandbox_process(recordings: int, flavour: str) -> AsyncIterator[str]:
    """Run a sandbox in a process of its own, so that its memory and its time are not ours."""
    command = Command("", "")
    async with command.running(
        *("sandbox", "--port", "0", "--clock", "frozen"),
        *("--flavour", flavour, "--recordings", str(recordings)),
    ) as process:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        yield line.split()[-1]


async def peak_of_a_first_sync(
    databases: Databases, template: str, recordings: int, flavour: str
) -> int:
    """The peak of loading so many recordings into an empty database, in bytes."""
    dsn = await databases.create_database(template)
    async with sandbox_process(recordings, flavour) as url:
        measured = await measure(Command(url, dsn), "sync", "--json")
    assert measured.code == 0, measured.out
    # Some of the oldest have expired by now.
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recordings") > recordings * 0.9
    await databases.drop_database(dsn)
    return measured.peak_bytes


@pytest.mark.long
@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_ten_times_the_rows_take_the_same_memory(
    databases: Databases, template: str, flavour: str
) -> None:
    """50,000 recordings peak at no more than 1.2 times what 5,000 do."""
    few, many = [
        await peak_of_a_first_sync(databases, template, recordings, flavour)
        for recordings in (FEW, MANY)
    ]
    assert many <= GROWTH * few, f"{few >> 20} MiB became {many >> 20} MiB"


async def test_pages_are_not_fetched_ahead_without_bound(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """While Postgres takes nothing in, fetching stops once the buffer is full, and then goes on."""
    sandbox = await start_sandbox(recordings=3000)
    command = Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_PAGE_SIZE_RECORDS="100",
        POSTHOG_ETL_BUFFER_BYTES="300000",
    )
    answered = [0]

    async def fetching_rests() -> bool:
        """Nothing was asked in the last 20 looks, which is a hundred times what a page takes."""
        answered.append(sandbox.control.state()["requests"]["total"])
        return answered[-1] > 0 and len(answered) > 20 and answered[-20] == answered[-1]

    blocker = await asyncpg.connect(dsn)
    try:
        async with blocker.transaction():
            await blocker.execute(
                "LOCK TABLE posthog.session_recordings IN SHARE ROW EXCLUSIVE MODE"
            )
            process = await command.start("sync", "--json")
            await until(fetching_rests, "fetching rests")
        result = await finish(process)
    finally:
        await blocker.close()
    # One page is being loaded, two or three are in the buffer, one waits to get into it.
    assert answered[-1] <= 6
    assert (result.code, result.report["records_read"]) == (0, 3000), result.err
