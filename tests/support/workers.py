"""Worker processes: started, killed and replaced, stopped."""

from __future__ import annotations

import contextlib
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO

from tests.support.books import until
from tests.support.command import Command, Process
from tests.support.sql import value


class Workers:
    """Worker processes of one command; their logs go to a file."""

    def __init__(self, command: Command, log: IO[bytes]) -> None:
        self._command = command
        self._log = log
        self._alive = Path(tempfile.mkdtemp(dir=Path(log.name).parent))
        self._files: dict[int, Path] = {}
        self._started = 0
        self._random = random.Random(1)
        self.processes: list[Process] = []
        self.killed = 0

    async def start(self) -> None:
        """Start one more."""
        alive = self._alive / str(self._started)
        self._started += 1
        process = await self._command.start("worker", "--alive", str(alive), log=self._log)
        self.processes.append(process)
        self._files[process.pid] = alive

    async def kill_one(self) -> None:
        """SIGKILL any of them, and start another in its place."""
        process = self.processes.pop(self._random.randrange(len(self.processes)))
        assert process.returncode is None, "a worker ended by itself"
        process.kill()
        await process.wait()
        self.killed += 1
        await self.start()

    async def stop(self) -> list[int | None]:
        """SIGTERM all of them, once they are there to hear it; their exit codes."""

        async def all_are_up() -> bool:
            return all(self._files[process.pid].exists() for process in self.processes)

        await until(all_are_up, "every worker has begun")
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [await process.wait() for process in self.processes]

    async def end(self) -> None:
        """Make sure that none is left."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def workers(command: Command, count: int, log: IO[bytes]) -> AsyncIterator[Workers]:
    """Run `count` workers; they are gone after the block."""
    running = Workers(command, log)
    try:
        for _ in range(count):
            await running.start()
        yield running
    finally:
        await running.end()


async def jobs_left(dsn: str) -> int:
    """Return how many jobs are queued or worked on."""
    return int(await value(dsn, "SELECT count(*) FROM posthog_etl.pgqueuer"))


async def queue_is_empty(
    dsn: str, then: Callable[[], Awaitable[None]] | None = None, within_s: float = 90.0
) -> None:
    """Return once no job is left; `then` is called each time that some are."""

    async def empty() -> bool:
        left = await jobs_left(dsn)
        if left and then is not None:
            await then()
        return not left

    await until(empty, "the queue is worked off", within_s)
