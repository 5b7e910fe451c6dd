"""A worker: takes units off the queue, and executes them as `sync` and `backfill` do.

PgQueuer hands out the jobs, each to one worker, and a dead worker's job to another once its
heartbeat is out. It does so at least once; that a unit has one writer is the lease's and the
fence's doing, as everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import structlog
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain import models
from pgqueuer.domain.errors import FailingListenerError, RetryRequested
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter

from etl.app import Destination, open_source, open_tools, plan_of, project_id_of
from etl.errors import DestinationUnavailable
from etl.loaders.database import translate
from etl.loaders.leases import Unit
from etl.loaders.queue import Queue, entrypoint_of, open_queue
from etl.runs.backfill import backfill_stream, windows_left
from etl.runs.report import FAILED, HELD, PAUSED, SUCCEEDED, Report
from etl.runs.sync import execute_unit
from etl.runs.work import Plan, Reached, Tools
from etl.service.queue import BACKFILL, Job, enqueue_rest, portions
from etl.settings import Settings
from etl.streams import STREAMS

_log = structlog.get_logger(__name__)

# A wait for the request budget that is longer goes back to the queue, so that it holds nobody up.
LONGEST_WAIT_S = 60.0
# When a unit is tried again that another run holds, in seconds.
HELD_WAIT_S = 2.0
# When a unit that failed is tried again; then it is left to the next sync or backfill, in seconds.
FAILURE_WAITS_S = (2.0, 15.0, 60.0)
# How long a unit that gave way stays behind those that were waiting, in seconds.
GAVE_WAY_S = 1.0
# After a request to stop, a unit has this long for the batch in hand, in seconds: less than the
# command has (`GRACE_S`), since the job goes back to the queue after it.
GRACE_S = 20.0
# How often an idle worker looks for jobs that no notification tells of, in seconds.
_LOOK_EVERY_S = 1.0
_TOUCH_EVERY_S = 5.0
_RECONNECT_WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Again:
    """A job is to be put back. failed: it counts as one of the few attempts."""

    in_s: float
    reason: str
    failed: bool = False


async def work(
    settings: Settings, concurrency: int, stop: asyncio.Event, alive: Path | None = None
) -> None:
    """Take units off the queue, at most `concurrency` at once, until `stop` is set.

    alive: a file that is touched for as long as the event loop turns.

    A set `stop` commits the batch in hand and puts the rest back. A Postgres that restarts is
    waited for, as long as it takes. Raises EtlError when it cannot begin.
    """
    logging.getLogger("pgqueuer").setLevel(logging.CRITICAL + 1)  # what matters we log ourselves
    impatient = settings.model_copy(update={"max_wait_s": min(settings.max_wait_s, LONGEST_WAIT_S)})
    async with AsyncExitStack() as stack:
        if alive is not None:
            await stack.enter_async_context(_beside(_touch(alive)))
        destination, first = await stack.enter_async_context(open_source(impatient))
        projects = [await project_id_of(first.client, each) for each in settings.projects]
        idle: asyncio.Queue[Tools] = asyncio.Queue()
        idle.put_nowait(first)
        for _ in range(concurrency - 1):
            # Each its own, because a run counts the requests of its client.
            idle.put_nowait(await stack.enter_async_context(open_tools(impatient, destination)))
        worker = Worker(settings, destination, projects, idle, stop)
        _log.info("worker.started", projects=projects, concurrency=concurrency)
        failures = 0
        while not stop.is_set():
            try:
                address, bookkeeping = destination.queue, destination.tables.bookkeeping
                async with open_queue(address, bookkeeping) as queue:
                    failures = 0
                    await worker.run(queue, concurrency)
            except Exception as exc:
                lost = exc if isinstance(exc, DestinationUnavailable) else translate(exc)
                if not isinstance(lost, DestinationUnavailable | None) or (
                    lost is None and not isinstance(exc, FailingListenerError)
                ):
                    raise (lost or exc) from exc
                wait_s = _RECONNECT_WAITS_S[min(failures, len(_RECONNECT_WAITS_S) - 1)]
                failures += 1
                reason = "the queue was not heard any more" if lost is None else lost.message
                _log.warning("database.unavailable", reason=reason, wait_s=wait_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait_s)
        _log.info("worker.stopped")


class Worker:
    """Executes what PgQueuer hands out, with the tools that are idle."""

    def __init__(
        self,
        settings: Settings,
        destination: Destination,
        projects: Sequence[int],
        idle: asyncio.Queue[Tools],
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._destination = destination
        self._projects = projects
        self._idle = idle
        self._stop = stop
        self._plan: Plan = plan_of(settings)
        self._source_is_known = False

    async def run(self, queue: Queue, concurrency: int) -> None:
        """Take jobs until `stop` is set. Raises what the connection raises when it breaks."""
        await queue.prune()
        queries = queue.queries(_BoundedQueries)
        queries.bound = concurrency
        manager = QueueManager(queries, queue.channel)
        manager.min_dequeue_poll_interval = timedelta(seconds=_LOOK_EVERY_S)

        async def take(found: models.Job) -> None:
            await self._take(queue, found)

        for project_id in self._projects:
            manager.entrypoint(entrypoint_of(project_id))(take)
        heartbeat_s = max(1.0, self._settings.lease_s / 3)

        async def pass_on_stop() -> None:
            await self._stop.wait()
            manager.shutdown.set()

        async with _beside(pass_on_stop()):
            await manager.run(
                batch_size=1,
                dequeue_timeout=timedelta(seconds=_LOOK_EVERY_S),
                heartbeat_timeout=timedelta(seconds=heartbeat_s),
                shutdown_on_listener_failure=True,
                log_aggregation_interval=timedelta(0),
            )

    async def _take(self, queue: Queue, found: models.Job) -> None:
        """Execute a job; raises RetryRequested when it is to be put back."""
        job = Job.read(_document(found))
        tools = await self._idle.get()
        try:
            with structlog.contextvars.bound_contextvars(job_id=found.id):
                _log.info("job.taken", command=job.command, attempt=found.attempts)
                try:
                    again = await self._within_its_turn(queue, tools, job, found)
                except Exception as exc:  # PgQueuer would take the job off the queue
                    _log.exception("job.broke")
                    # No more than its name: it is stored, and its text may hold what must not be.
                    reason = f"Unexpected {type(exc).__name__}"
                    again = Again(0.0, reason, failed=not isinstance(exc, DestinationUnavailable))
                if again is None:
                    _log.info("job.finished")
                    return
                if again.failed:
                    again = await self._after_failure(queue, found, again)
                if again is None:
                    return
                _log.info("job.returned", reason=again.reason, wait_s=round(again.in_s, 3))
        finally:
            self._idle.put_nowait(tools)
        raise RetryRequested(timedelta(seconds=again.in_s), again.reason)

    async def _after_failure(self, queue: Queue, found: models.Job, again: Again) -> Again | None:
        """Return when a failed job is tried again, None when that was often enough."""
        failures = await queue.note_failure(found.id)
        if failures > len(FAILURE_WAITS_S):
            _log.warning("job.abandoned", reason=again.reason, failures=failures)
            return None
        return Again(FAILURE_WAITS_S[failures - 1], again.reason)

    async def _within_its_turn(
        self, queue: Queue, tools: Tools, job: Job, found: models.Job
    ) -> Again | None:
        """Execute a job until it is done, has to give way, or the worker is to stop."""
        halt = asyncio.Event()
        executing = asyncio.create_task(self._execute(queue, tools, job, found, halt))
        watching = asyncio.create_task(self._give_way(queue, job, halt))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({executing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not executing.done():
                halt.set()
                await asyncio.wait({executing}, timeout=GRACE_S)
            if not executing.done():
                # What it had in hand is not committed, and read again by the next.
                return Again(0.0, "stopped in the middle of a batch")
            again = executing.result()
        finally:
            for task in (executing, watching, stopping):
                task.cancel()
            await asyncio.gather(executing, watching, stopping, return_exceptions=True)
        return again

    async def _give_way(self, queue: Queue, job: Job, halt: asyncio.Event) -> None:
        """Halt the unit after its turn once another project's job has waited for a while."""
        turn_s = self._settings.queue_turn_s
        while not halt.is_set():
            await asyncio.sleep(turn_s)
            # Long enough that no idle worker is about to take it.
            if await queue.others_wait(job.project_id, self._projects, 2 * _LOOK_EVERY_S):
                halt.set()

    async def _execute(
        self, queue: Queue, tools: Tools, job: Job, found: models.Job, halt: asyncio.Event
    ) -> Again | None:
        stream = STREAMS.get(job.stream)
        if stream is None:
            return Again(0.0, f"There is no stream {job.stream!r} in this release", failed=True)
        if job.command != BACKFILL:
            unit = Unit(job.project_id, job.stream, job.unit)
            reports = [await execute_unit(tools, self._plan, stream, unit, halt, _unseen)]
        else:
            past = job.past
            if job.again:
                past = replace(past, done=await self._read_since(tools, job, found.created))
            if job.sounding:
                unit = Unit(job.project_id, job.stream)
                watermark = await tools.database.repeat(lambda: tools.history.watermark(unit))
                left = portions(windows_left(past, watermark, tools.client.source_now))
                past = job.within(left[0]).past if left else past
            reports = await backfill_stream(
                tools, self._plan, stream, job.project_id, past, halt, _unseen
            )
        await self._note_source(tools, reports)
        again = await self._verdict(queue, job, reports, halt)
        if again is None and job.sounding:
            await enqueue_rest(self._destination, tools, self._settings, job, found.id)
        return again

    async def _verdict(
        self, queue: Queue, job: Job, reports: Sequence[Report], halt: asyncio.Event
    ) -> Again | None:
        """Return whether and when a job is to be tried again."""
        endings = {report.ending.status: report.ending for report in reports}
        if (paused := endings.get(PAUSED)) is not None:
            wait_s = paused.paused_for_s or LONGEST_WAIT_S
            await queue.defer(job.stream, wait_s)
            return Again(wait_s, paused.reason or "paused")
        if halt.is_set() and endings.keys() - {SUCCEEDED}:
            reason = "the worker stops" if self._stop.is_set() else "another project waits"
            return Again(0.0 if self._stop.is_set() else GAVE_WAY_S, reason)
        if (failed := endings.get(FAILED)) is not None:
            return Again(0.0, failed.reason or "failed", failed=True)
        if (held := endings.get(HELD)) is not None:
            return Again(HELD_WAIT_S, held.reason or "held")
        return None

    async def _read_since(self, tools: Tools, job: Job, at: datetime) -> Collection[str]:
        return await tools.database.repeat(
            lambda: tools.history.read_since(job.project_id, job.stream, at)
        )

    async def _note_source(self, tools: Tools, reports: Sequence[Report]) -> None:
        if not self._source_is_known and any(report.records_read for report in reports):
            await tools.database.repeat(lambda: tools.history.add_host(self._settings.host))
            self._source_is_known = True


class _BoundedQueries(Queries):
    """Takes no more jobs than fit: PgQueuer's own bound cannot be less than two."""

    bound = 1

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[models.Job]:
        """Take one job, when this worker has room for it."""
        return await super().dequeue(
            batch_size, entrypoints, queue_manager_id, self.bound, heartbeat_timeout
        )


@asynccontextmanager
async def _beside(other: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `other` beside the block, and end it with the block."""
    task = asyncio.create_task(other)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _touch(path: Path) -> None:
    while True:
        await asyncio.to_thread(path.touch)
        await asyncio.sleep(_TOUCH_EVERY_S)


def _document(found: models.Job) -> dict[str, object]:
    document: dict[str, object] = orjson.loads(found.payload or b"{}")
    return document


def _unseen(_reached: Reached) -> None:
    """Nobody watches a worker's progress; the runs table has it."""
