"""Source, database and event loop of one sequence."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import uvloop
from aiohttp import web
from sqlalchemy import Engine, event

from etl import app, upkeep
from etl.runs.backfill import BackfillRange
from etl.runs.report import Report
from etl.runs.unit_forecast import UnitForecast
from etl.runs.work import unwatched
from etl.sandbox.control import Control
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import running
from etl.sandbox.world import Project
from etl.settings import Settings, load_settings
from etl.streams import SESSION_RECORDINGS
from tests.adversary import foreign
from tests.adversary.server import Adversary, Asked, listening
from tests.support.clocks import following
from tests.support.truth import TABLES

T = TypeVar("T")

BEGINS_AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
START = BEGINS_AT - timedelta(days=60)
STREAM = SESSION_RECORDINGS.name
HANG = {"hang": True}
# Also on a machine that is busy with other things.
_LONGEST_RUN_S = 300.0
_POLL_S = 0.001
_LAST_ANSWERS_S = 0.08
_BOOKS = (
    "checkpoints", "cuts", "differences", "leases", "reconciliations", "rejects", "request_blocks",
    "requests", "runs", "sightings", "suspects", "watermarks",
)  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """Where a run is killed: at the nth request, in the nth COMMIT, or a little later."""

    at: str
    nth: int
    late: bool = False


class Rig(ABC):
    """What a sequence acts on. Its methods return when the work is done."""

    def __init__(self, dsn: str) -> None:
        """Make a rig; nothing is opened yet."""
        self._dsn = dsn
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._stack = AsyncExitStack()
        self._database: asyncpg.Connection
        self._url = ""

    @property
    @abstractmethod
    def now(self) -> datetime:
        """The source's clock."""

    @property
    @abstractmethod
    def start(self) -> datetime:
        """The earliest start that is read."""

    @abstractmethod
    async def _listen(self, seed: int) -> str:
        """Start the source until `_stack` ends it; return its address."""

    @abstractmethod
    def _hang_at(self, nth: int) -> None:
        """Let the nth request from now on stay without an answer."""

    @abstractmethod
    def _hangs(self) -> bool:
        """Tell whether a request stays without an answer."""

    def open(self, seed: int) -> None:
        """Start the source and empty the database."""
        self.wait(self._open(seed))

    def close(self) -> None:
        """End the source."""
        self.wait(self._stack.aclose())
        self._runner.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns."""
        return self._runner.run(work)

    async def _open(self, seed: int) -> None:
        self._url = await self._listen(seed)
        self._database = await asyncpg.connect(self._dsn, statement_cache_size=0)
        self._stack.push_async_callback(self._database.close)
        await self._database.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        found = await self._database.fetch(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname = 'posthog' OR schemaname = 'posthog_etl' AND tablename = ANY ($1)",
            list(_BOOKS),
        )
        await self._database.execute(f"TRUNCATE {', '.join(name for (name,) in found)}")

    def settings(self, page_size: int, lookback: str) -> Settings:
        """Return the settings of one run, with short waits, so that a sequence ends soon."""
        settings, _ = load_settings(
            flags={
                "host": self._url,
                "api_key": "phx_sandbox",
                "project_id": "1",
                "database_url": self._dsn,
                "start": self.start.isoformat(),
                "lookback": lookback,
                "plan": "unlimited",
                "page_size_records": page_size,
                "request_attempts": 3,
                "max_wait_s": 0.5,
                "buffer_bytes": 20_000,
            }
        )
        return settings

    def sync(
        self, settings: Settings, accept: Sequence[str] = (), kill: Kill | None = None
    ) -> list[Report] | None:
        """Sync. Returns None if it was killed."""
        stop = asyncio.Event()
        work = app.sync(settings, [SESSION_RECORDINGS], stop, unwatched, app.Acceptance(accept))
        return self.wait(self._follow(work, kill))

    def backfill(
        self, settings: Settings, past: BackfillRange, kill: Kill | None = None
    ) -> list[Report] | None:
        """Backfill. Returns None if it was killed."""
        stop = asyncio.Event()
        work = app.backfill(settings, [SESSION_RECORDINGS], past, stop, unwatched)
        return self.wait(self._follow(work, kill))

    def both(self, settings: Settings, past: BackfillRange) -> tuple[list[Report], list[Report]]:
        """Sync and backfill at the same time."""
        stop, stream = asyncio.Event(), [SESSION_RECORDINGS]

        async def work() -> tuple[list[Report], list[Report]]:
            return await asyncio.gather(
                app.sync(settings, stream, stop, unwatched),
                app.backfill(settings, stream, past, stop, unwatched),
            )

        done = self.wait(self._follow(work(), None))
        assert done is not None
        return done

    def verify(self, settings: Settings, *, repair: bool = False) -> Report:
        """Compare contents with the source, and repair them."""
        stop, asked = asyncio.Event(), upkeep.Verification(deep=True, repair=repair)
        work = upkeep.verify(settings, [SESSION_RECORDINGS], asked, stop, unwatched)
        (report,) = self.wait(self._follow(work, None)) or ()
        return report

    def plan(self, settings: Settings, past: BackfillRange | None) -> list[UnitForecast]:
        """Plan."""
        plan = app.make_forecast(settings, [SESSION_RECORDINGS], past, unwatched, most_asked=0)
        return list(self.wait(plan).units)

    async def _follow(self, work: Coroutine[Any, Any, T], kill: Kill | None) -> T | None:
        async with asyncio.timeout(_LONGEST_RUN_S):
            task = asyncio.ensure_future(work)
            if kill is None:
                return await task
            if kill.at == "commit":
                with _struck_at_commit(kill, task.cancel):
                    await asyncio.wait({task})
            else:
                self._hang_at(kill.nth)
                while not task.done() and not self._hangs():  # noqa: ASYNC110  it tells nobody
                    await asyncio.sleep(_POLL_S)
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})
        if not task.cancelled():
            return task.result()
        # The source still finishes its last request, and may change data after it.
        await asyncio.sleep(_LAST_ANSWERS_S)
        return None

    def select(self, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        """Return the rows of an SQL statement."""

        async def ask() -> list[dict[str, Any]]:
            return [dict(row) for row in await self._database.fetch(statement, *arguments)]

        return self.wait(ask())

    def execute(self, statement: str) -> None:
        """Execute an SQL statement."""
        self.wait(self._database.execute(statement))

    def let_leases_run_out(self) -> None:
        """Make the leases of killed runs expire."""
        self.execute(
            "UPDATE posthog_etl.leases SET expires_at = clock_timestamp() - interval '1 second' "
            "WHERE holder IS NOT NULL"
        )

    def let_pauses_pass(self) -> None:
        """End the waits that the source named with a 429."""
        self.execute("DELETE FROM posthog_etl.request_blocks")

    def stored(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a data table."""
        assert table in TABLES
        return self.select(f"SELECT * FROM posthog.{table}")


class SandboxRig(Rig):
    """The sandbox, with a clock that moves only when it is told to."""

    control: Control
    project: Project

    @property
    def now(self) -> datetime:
        """The sandbox's clock."""
        return datetime.fromisoformat(self.control.state()["now"])

    @property
    def start(self) -> datetime:
        """Long before the oldest recording."""
        return START

    async def _listen(self, seed: int) -> str:
        options = SandboxOptions(
            recordings=24, persons=8, port=0, now=BEGINS_AT, clock="frozen", seed=seed, days=20.0,
            start_ties=1 + seed % 4,
        )  # fmt: skip
        sandbox = await self._stack.enter_async_context(running(options))
        self.control, self.project = sandbox.control, sandbox.world.projects[1]
        self._stack.enter_context(following(lambda: self.now))
        return sandbox.url

    def _hang_at(self, nth: int) -> None:
        self.control.add_faults({"at": [nth], "fault": HANG})

    def _hangs(self) -> bool:
        return any(rule["hits"] for rule in self.control.faults() if rule["fault"] is HANG)


class AdversaryRig(Rig):
    """The adversary server, with the true clock."""

    server: Adversary

    def __init__(self, dsn: str) -> None:
        """Make a rig; nothing is opened yet."""
        super().__init__(dsn)
        self.began_at = datetime.now(UTC)
        self._hanging = 0

    @property
    def now(self) -> datetime:
        """The true clock."""
        return self.server.now

    @property
    def start(self) -> datetime:
        """Long before the oldest recording."""
        return self.began_at - timedelta(days=60)

    async def _listen(self, seed: int) -> str:
        self.server = await self._stack.enter_async_context(listening())
        return self.server.url

    def _hang_at(self, nth: int) -> None:
        number, self._hanging = len(self.server.requests) + nth, 0

        async def hang(_asked: Asked, proceed: foreign.Proceed) -> web.StreamResponse:
            self._hanging += 1
            await asyncio.sleep(_LAST_ANSWERS_S / 2)
            return proceed()

        self.server.when(lambda asked: asked.number == number, hang, times=1)

    def _hangs(self) -> bool:
        return self._hanging > 0


@contextmanager
def _struck_at_commit(kill: Kill, strike: Callable[[], Any]) -> Iterator[None]:
    """Kill the run during the nth COMMIT, or soon after it was sent."""
    commits = 0
    loop = asyncio.get_running_loop()

    def count(_connection: object) -> None:
        nonlocal commits
        commits += 1
        if commits == kill.nth:
            loop.call_later(0.003 if kill.late else 0, strike)

    event.listen(Engine, "commit", count)
    try:
        yield
    finally:
        event.remove(Engine, "commit", count)
