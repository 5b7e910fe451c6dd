"""The demo: what it shows, and that nothing of it is left running."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from etl.app import open_destination
from etl.demo import QUESTIONS, settings_of
from etl.loaders.query import answer
from etl.settings import Settings
from etl.streams import STREAMS
from tests.support.command import Command

DEMO = Command("http://127.0.0.1:9", "postgresql://nobody@127.0.0.1:9/none")


def of_the_demo(directory: Path) -> list[psutil.Process]:
    """The processes that work in or on a directory: the servers and the syncs."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(directory) in str(process.info):
            found.append(process)
    return found


def _as_from_a_terminal() -> None:
    """Let SIGHUP end a process, also when the tests run under nohup, which has it ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


async def start(directory: Path, *options: str) -> asyncio.subprocess.Process:
    """Start a small demo."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "etl", "demo", "--recordings", "4000"),
        *("--data-dir", str(directory), *options),
        env=DEMO.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=_as_from_a_terminal,
    )


async def read_until(process: asyncio.subprocess.Process, words: str) -> str:
    """Read what it prints until a line holds `words`."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(240):
        while words not in said:
            line = (await process.stdout.readline()).decode()
            assert line, said
            said += line
    return said


@pytest.mark.long
async def test_the_demo_kills_a_sync_and_the_copy_is_whole(tmp_path: Path) -> None:
    """Every table without a difference, answers to questions, and no process afterwards.

    The lines to look further with are runnable as they are printed, in a shell.
    """
    on = {table.name for stream in STREAMS.values() if not stream.off for table in stream.tables}
    tmp_path.chmod(0o711)
    process = await start(tmp_path)
    out, err = await process.communicate()
    said = out.decode()
    assert process.returncode == 0, err
    assert "SIGKILL" in said
    assert re.search(r"^session_recordings +4,000 +0 +0 +0$", said, re.MULTILINE), said
    assert len(re.findall(r"^\w+ +[\d,]+ +0 +0 +0$", said, re.MULTILINE)) == len(on)
    assert said.count("\nSELECT ") == len(QUESTIONS)
    assert "failed" in said
    assert of_the_demo(tmp_path) == []

    lines = re.findall(r"^  (.+)$", said.split("To look further:")[1], re.MULTILINE)
    shell = await asyncio.create_subprocess_shell(
        "\n".join(["set -e", *lines[:4]]),
        env={**DEMO.environment, "DATABASE_URL": "none"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    shown, complaints = await shell.communicate()
    assert shell.returncode == 0, (lines, complaints)
    assert shown.count(b"session_recordings") >= 2


async def test_the_demo_has_time_to_read_its_answers_on_a_slow_machine(tmp_path: Path) -> None:
    """Postgres ends a transaction that is idle for a third of a lease; only its syncs' is short."""
    tmp_path.chmod(0o711)
    async with open_destination(settings_of("http://127.0.0.1:9", "phx_none", tmp_path)) as opened:
        _, ((limit,),) = await answer(opened.database, "SHOW idle_in_transaction_session_timeout")
    assert limit == f"{Settings.model_fields['lease_s'].default / 3:.0f}s"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_demo_that_is_stopped_leaves_nothing_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Neither its Postgres nor the sync that was under way."""
    tmp_path.chmod(0o711)
    process = await start(tmp_path)
    await read_until(process, "$ posthog-etl sync")
    assert of_the_demo(tmp_path)
    process.send_signal(number)
    _, err = await asyncio.wait_for(process.communicate(), 240)
    assert (process.returncode, err) == (3, b"posthog-etl: Stopped. Nothing is left running\n")
    assert of_the_demo(tmp_path) == []


@pytest.mark.long
async def test_a_demo_that_stays_can_be_looked_into(tmp_path: Path) -> None:
    """The sandbox and Postgres stay until it is told to end, and the end is a good one."""
    tmp_path.chmod(0o711)
    process = await start(tmp_path, "--stay")
    said = await read_until(process, "DATABASE_URL=...")
    url = re.search(r"POSTHOG_HOST=(\S+)", said)
    assert url is not None
    inside = Command(url[1], "embedded", POSTHOG_ETL_DATA_DIR=str(tmp_path))
    checked = await inside.run("check")
    assert checked.code == 0, checked.out + checked.err
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 240)
    assert (process.returncode, err) == (0, b"")
    assert of_the_demo(tmp_path) == []
