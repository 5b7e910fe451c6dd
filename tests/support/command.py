"""The real command as a process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import Process as Spawned
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Any
from weakref import WeakKeyDictionary

from etl.streams import STREAMS
from tests.support.clocks import told
from tests.support.forker import Forked, Forker

Process = Spawned | Forked

# What the process that forks is started under; each command brings the rest of its own.
_FORKER_NEEDS = ("PATH", "HOME", "PYTHONPATH")
_FORKERS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Forker]] = WeakKeyDictionary()

TIMEOUT_S = 300.0
# Not the one of whoever runs the tests.
DATA_DIR = tempfile.mkdtemp(prefix="etl-data-")
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
# Most tests are about the stream that is read in windows; the others switch theirs on.
ALL_BUT_RECORDINGS = ",".join(name for name in STREAMS if name != "session_recordings")


@dataclass(frozen=True)
class Result:
    """What a command left behind: its exit code (negative: the signal) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document that `--json` printed."""
        return json.loads(self.out)

    @property
    def report(self) -> dict[str, Any]:
        """The only report of `sync --json`."""
        (report,) = self.document["reports"]
        return report

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log, line by line."""
        lines = (line for line in self.err.splitlines() if line.startswith("{"))
        return [json.loads(line) for line in lines]


class Command:
    """`posthog-etl` against one source and one destination."""

    def __init__(self, source_url: str, dsn: str, **settings: str) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "POSTHOG_HOST": source_url,
            "POSTHOG_PERSONAL_API_KEY": "phx_sandbox",
            "POSTHOG_PROJECT_ID": "1",
            "DATABASE_URL": dsn,
            "POSTHOG_ETL_PLAN": "unlimited",
            "POSTHOG_ETL_DISABLED_STREAMS": ALL_BUT_RECORDINGS,
            "NO_PROXY": "127.0.0.1",
            "POSTHOG_ETL_DATA_DIR": DATA_DIR,
            **settings,
        }

    def with_settings(self, **settings: str) -> Command:
        """Return the same command under more settings."""
        other = object.__new__(Command)
        other.environment = {**self.environment, **settings}
        return other

    async def start(self, *arguments: str, log: IO[bytes] | None = None) -> Process:
        """Start the command; whoever starts it waits for it. log: takes its stderr."""
        # What else begins so is for the interpreter, before it runs anything.
        if {name for name in self.environment if name.startswith("PYTHON")} == {"PYTHONPATH"}:
            loop = asyncio.get_running_loop()
            if loop not in _FORKERS:
                bare = {name: self.environment[name] for name in _FORKER_NEEDS}
                _FORKERS[loop] = loop.create_task(Forker.start(bare))
            forker = await asyncio.shield(_FORKERS[loop])
            return await forker.fork(arguments, {**self.environment, **told()}, log)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "etl", *arguments),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=log or asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> Result:
        """Run the command to its end."""
        return await finish(await self.start(*arguments))

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[Process]:
        """Start the command and, at the end of the block, make sure that it is gone."""
        process = await self.start(*arguments)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


async def finish(process: Process, timeout_s: float = TIMEOUT_S) -> Result:
    """Wait for a started command."""
    async with asyncio.timeout(timeout_s):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())
