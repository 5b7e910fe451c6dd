"""A worker: takes jobs off the queue and executes them.

PgQueuer gives each job to one worker, and to another one if the heartbeat of the first stops. So a
job may be executed twice; leases and fences ensure that a unit has only one writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import Event
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from etl.alerting import telling
from etl.app import Destination, open_source_for
from etl.errors import ConfigurationError, DestinationError, DestinationUnavailable
from etl.extractors.projects import project_ids_of
from etl.loaders.database import Database, translate
from etl.loaders.prune import prune_jobs
from etl.loaders.queue import Queue, TakenJob, open_queue
from etl.loaders.tables import Tables
from etl.loaders.taking import Pace, take_jobs
from etl.runs.work import Tools
from etl.service.execute import LOOK_EVERY_S, Executor
from etl.service.queue import with_short_waits
from etl.settings import Settings
from etl.tasks import beside, first_of, race

_log = structlog.get_logger(__name__)

_TOUCH_EVERY_S = 5.0
_TIDY_EVERY_S = 3600.0
_RECONNECT_WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)


async def work(
    settings: Settings, concurrency: int, stop: Event, alive: Path | None = None
) -> None:
    """Take jobs off the queue, at most `concurrency` at once, until `stop` is set.

    alive: a file that is touched every 5 seconds as long as the event loop works.

    When `stop` is set, it commits the current batches and puts the jobs back. It waits for a
    Postgres that does not answer yet, or that restarts, however long. Raises EtlError if it cannot
    begin.
    """
    begun = Event()
    async with race(_work(settings, concurrency, stop, alive, begun), stop.wait()) as (working, _):
        if not begun.is_set() and not working.done():
            return  # the wait for the database may have been long
        await working


async def _work(
    settings: Settings, concurrency: int, stop: Event, alive: Path | None, begun: Event
) -> None:
    logging.getLogger("pgqueuer").setLevel(logging.CRITICAL + 1)  # we log the events that matter
    async with AsyncExitStack() as stack:
        if alive is not None:
            await _touch_first(alive)
            await stack.enter_async_context(beside(_touch(alive)))
        destination, tools = await _open(stack, with_short_waits(settings), concurrency)
        projects = await project_ids_of(tools[0].client, settings.projects)
        database, tables = destination.database, destination.tables
        if settings.queue_database_url is not None:
            async with open_queue(destination.queue, tables.bookkeeping):
                pass  # a wrong address is an error of the configuration
        begun.set()
        await stack.enter_async_context(beside(_tidy(database, tables)))
        await stack.enter_async_context(telling(settings, destination))
        idle: asyncio.Queue[Tools] = asyncio.Queue()
        for each in tools:
            idle.put_nowait(each)
        executor = Executor(settings, destination, projects, stop)
        _log.info("worker.started", projects=projects, concurrency=concurrency)
        failures = 0
        while not stop.is_set():
            try:
                async with open_queue(destination.queue, tables.bookkeeping) as queue:
                    failures = 0
                    await _take_jobs(queue, executor, projects, idle, stop)
                lost: str | None = "the connection was lost"
            except Exception as exc:
                lost = _why_lost(exc)
                if lost is None:
                    raise
            if stop.is_set():
                break
            wait_s = _wait_s(failures)
            failures += 1
            _log.warning("database.unavailable", reason=lost, wait_s=wait_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)
        _log.info("worker.stopped")


async def _open(
    stack: AsyncExitStack, settings: Settings, concurrency: int
) -> tuple[Destination, list[Tools]]:
    """Open source and database, which may have been started at the same time as the worker."""
    failures = 0
    while True:
        try:
            return await stack.enter_async_context(open_source_for(settings, concurrency))
        except DestinationUnavailable as exc:
            wait_s = _wait_s(failures)
            failures += 1
            _log.warning("database.unavailable", reason=exc.message, wait_s=wait_s)
            await asyncio.sleep(wait_s)


def _wait_s(failures: int) -> float:
    return _RECONNECT_WAITS_S[min(failures, len(_RECONNECT_WAITS_S) - 1)]


def _why_lost(exc: Exception) -> str | None:
    """Return why the queue must be opened again, None if that would not help."""
    lost = exc if isinstance(exc, DestinationUnavailable) else translate(exc)
    return lost.message if isinstance(lost, DestinationUnavailable) else None


async def _take_jobs(
    queue: Queue,
    executor: Executor,
    projects: list[int],
    idle: asyncio.Queue[Tools],
    stop: Event,
) -> None:
    """Take jobs until `stop` is set or the queue is lost.

    Raises what a broken connection raises.
    """

    async def take(found: TakenJob) -> float | None:
        tools = await idle.get()
        try:
            again = await executor.take(queue, tools, found)
        except asyncio.CancelledError:
            return 0.0
        finally:
            idle.put_nowait(tools)
        # Without the reason, which may hold secrets: the log has it redacted, and so has `runs`.
        return None if again is None else again.in_s

    async def ended() -> None:
        await first_of(stop, queue.lost)
        if stop.is_set():
            _log.info("worker.stopping")
        else:
            _log.info("queue.lost")

    pace = Pace(idle.qsize(), LOOK_EVERY_S, executor.heartbeat_s)
    await take_jobs(queue, projects, take, ended, pace)


async def _touch_first(path: Path) -> None:
    try:
        await asyncio.to_thread(path.touch)
    except OSError as exc:
        raise ConfigurationError(
            f"--alive {path} cannot be written: {exc.strerror}", remedy="Name another file"
        ) from exc


async def _touch(path: Path) -> None:
    while True:
        try:
            await asyncio.to_thread(path.touch)
        except OSError as exc:
            _log.warning("worker.untouched", path=str(path), reason=exc.strerror)
        await asyncio.sleep(_TOUCH_EVERY_S)


async def _tidy(database: Database, tables: Tables) -> None:
    while True:
        with contextlib.suppress(DestinationError):
            await prune_jobs(database, tables)
        await asyncio.sleep(_TIDY_EVERY_S)
