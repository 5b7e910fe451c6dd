"""One run of the real command, followed to a named point and struck there by a signal."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from etl.sandbox.server import RunningSandbox
from tests.support.books import DEADLINE_S, nobody_is_connected, until
from tests.support.command import Command, Process, Result, finish
from tests.support.pgproxy import PgProxy, Point

CHECKPOINT = re.compile(r"^UPDATE posthog_etl\.checkpoints\b")
TAKING_OF_UNIT = re.compile(r"^INSERT INTO posthog_etl\.leases\b")
CLOSING_OF_RUN = re.compile(r"^UPDATE posthog_etl\.runs SET .*\bpaused_until\b", re.DOTALL)

# A run that was struck must lose its unit soon; those that are to finish get the usual time.
SHORT_LEASE = {"POSTHOG_ETL_LEASE_S": "1"}

UNDISTURBED = 0  # the signal that is none


def copy_of(table: str) -> re.Pattern[str]:
    """Return what the COPY into a table's staging says."""
    return re.compile(rf"^COPY .*\bstage_{table}_")


def upsert_of(table: str) -> re.Pattern[str]:
    """Return what the upsert of a table says."""
    return re.compile(rf'INSERT INTO "posthog"\."{table}"')


class Stage:
    """A run with the sandbox it reads from and the proxy it writes through.

    Its points are methods of `Stage`, or functions that take one: they return once the run was
    struck.
    """

    def __init__(
        self,
        sandbox: RunningSandbox,
        proxy: PgProxy,
        process: Process,
        number: int,
    ) -> None:
        self.sandbox = sandbox
        self.proxy = proxy
        self.process = process
        self._signal = number
        self._answered_before = answered(sandbox)

    @property
    def pages_answered(self) -> int:
        """How many list requests of this run the sandbox has answered."""
        return answered(self.sandbox) - self._answered_before

    def strike(self) -> None:
        """Send the signal."""
        self.process.send_signal(self._signal)

    async def at(self, point: Point, nth: int = 1, sql: re.Pattern[str] | None = None) -> None:
        """Strike at the nth time from now on that a point of the conversation comes up."""
        rule = self.proxy.when(point, nth, self.strike, sql=sql)
        await self._soon(rule.fired.wait())

    async def held_at(self, point: Point, sql: re.Pattern[str]) -> None:
        """Return once the conversation is held at a point; strike nothing."""
        rule = self.proxy.when(point, 1, lambda: None, sql=sql)
        await self._soon(rule.fired.wait())

    async def at_commit_of(self, batch: int, point: Point) -> None:
        """Strike at the COMMIT of a batch, counted from 1."""
        await self.at_commit_after(CHECKPOINT, batch, point)

    async def at_commit_after(self, sql: re.Pattern[str], nth: int, point: Point) -> None:
        """Strike at the COMMIT that follows the nth statement of a kind."""
        await self._at_points_after(sql, nth, (point,))

    async def at_goodbye_after(self, sql: re.Pattern[str]) -> None:
        """Strike when a connection ends, once the first statement of a kind is committed."""
        await self._at_points_after(sql, 1, (Point.AFTER_COMMIT_BEFORE_ANSWER, Point.ON_TERMINATE))

    async def _at_points_after(
        self, sql: re.Pattern[str], nth: int, points: tuple[Point, ...]
    ) -> None:
        """Strike at the last of the points that follow each other after the nth statement."""
        struck = asyncio.Event()

        def strike() -> None:
            self.strike()
            struck.set()

        def wait_for(*left: Point) -> None:
            last = len(left) == 1
            action = strike if last else lambda: wait_for(*left[1:])
            self.proxy.when(left[0], 1, action, hold=last)

        self.proxy.when(Point.AFTER_STATEMENT, nth, lambda: wait_for(*points), sql=sql, hold=False)
        await self._soon(struck.wait())

    async def pages_were_answered(self, pages: int) -> None:
        """Return once the sandbox has answered so many list requests of this run."""

        async def there() -> bool:
            return self.pages_answered >= pages

        await self._soon(until(there, f"{pages} pages are asked for"))

    async def at_log_event(self, event: str) -> None:
        """Strike once the run has logged an event."""
        assert self.process.stderr is not None

        async def logged() -> None:
            assert self.process.stderr is not None
            async for line in self.process.stderr:
                if event.encode() in line:
                    return

        await self._soon(logged())
        self.strike()

    async def _soon(self, what: Awaitable[object]) -> None:
        """Wait, but not for a run that has ended before."""
        waiting = asyncio.ensure_future(what)
        ended = asyncio.create_task(self.process.wait())
        try:
            await asyncio.wait(
                {waiting, ended}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not waiting.done():
                self.process.kill()
                left = await finish(self.process)
                raise AssertionError(f"the point never came up; the run left {left}")
            await waiting
        finally:
            for task in (waiting, ended):
                task.cancel()
            await asyncio.gather(waiting, ended, return_exceptions=True)


Aim = Callable[[Stage], Awaitable[None]]


def answered(sandbox: RunningSandbox) -> int:
    """Return how many list requests the sandbox has answered with a page."""
    return sum(
        request["status"] == 200 and request["path"].rstrip("/").endswith("session_recordings")
        for request in sandbox.control.requests()
    )


@asynccontextmanager
async def struck(
    sandbox: RunningSandbox,
    dsn: str,
    aim: Aim,
    number: int,
    **settings: str,
) -> AsyncIterator[Stage]:
    """Run `sync` through a proxy and strike it where `aim` says; it is gone after the block.

    UNDISTURBED does nothing to it: what it was about to hear or say is held, until the release.
    """
    async with PgProxy.in_front_of(dsn) as proxy:
        command = Command(sandbox.url, proxy.dsn, **settings)
        async with command.running("sync", "--json") as process:
            stage = Stage(sandbox, proxy, process, number)
            await aim(stage)
            yield stage


async def killed(sandbox: RunningSandbox, dsn: str, aim: Aim, **settings: str) -> Result:
    """Run `sync`, SIGKILL it where `aim` says, and return once the server has noticed."""
    async with struck(sandbox, dsn, aim, signal.SIGKILL, **settings) as stage:
        result = await finish(stage.process)
        stage.proxy.release()
    await nobody_is_connected(dsn)
    return result
