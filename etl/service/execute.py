"""Execute one job of the queue, as `sync` and `backfill` would, until its time slice ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson
import structlog

from etl.app import Destination, run_options_of
from etl.errors import KeyRefused, SourceUnavailable, StreamUnavailable
from etl.loaders.leases import Unit
from etl.loaders.queue import Queue, TakenJob
from etl.runs.backfill import backfill_stream, windows_left
from etl.runs.report import FAILED, HELD, PARTIAL, PAUSED, Report
from etl.runs.sync import execute_unit
from etl.runs.work import Assignment, ReadingProgress, RunOptions, Tools
from etl.service.queue import BACKFILL, SYNC, QueuedWork, enqueue_rest, portions
from etl.settings import Settings
from etl.streams import STREAMS
from etl.tasks import beside, first_of, race

_log = structlog.get_logger(__name__)

# How often an idle worker looks for jobs that no notification tells of, in seconds.
LOOK_EVERY_S = 1.0
# When a unit is tried again that another run holds, in seconds: soon, then as often as this.
HELD_WAITS_S = (2.0, 2.0, 2.0, 5.0)
# When a unit that failed is tried again, in seconds; from then on always after the longest.
FAILURE_WAITS_S = (2.0, 15.0, 60.0, 300.0, 900.0)
# A sync that failed so often is left to the next tick.
SYNC_ATTEMPTS = 4
# A pause whose end nobody knows lasts so long, in seconds.
PAUSE_S = 60.0
# How long a unit that gave way stays behind those that were waiting, in seconds: longer than until
# the next look.
GAVE_WAY_S = 3.0
# A turn is twice as long each time that a unit had to give way, up to so many times: a list by
# limit and offset begins anew then, and must come to its end.
LONGER_TURNS = 10
# After a request to stop, a unit has this long for the batch in hand, in seconds: less than the
# command has (`GRACE_S`), since the job goes back to the queue after it.
GRACE_S = 20.0
# What keeps one unit of a stream from being read keeps all.
_OF_STREAM = (KeyRefused, StreamUnavailable, SourceUnavailable)


@dataclass(frozen=True, slots=True)
class Again:
    """A job is to be put back. failed: when, is for the number of its failures to say.

    got_on: part of it was done. of_stream: the others of its stream would fail alike.
    """

    in_s: float
    reason: str
    failed: bool = False
    got_on: bool = False
    of_stream: bool = False


class Executor:
    """Executes jobs of the given projects. One for a worker; jobs may be executed at once."""

    def __init__(
        self,
        settings: Settings,
        destination: Destination,
        projects: Sequence[int],
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._destination = destination
        self._projects = projects
        self._stop = stop
        self._options: RunOptions = run_options_of(settings)
        self._source_is_known = False

    @property
    def heartbeat_s(self) -> float:
        """How long a worker may say nothing of its job before another takes it, in seconds."""
        return max(1.0, self._settings.lease_s / 3)

    async def take(self, queue: Queue, tools: Tools, found: TakenJob) -> Again | None:
        """Execute a job; return when it is to be put back, None when it may leave the queue.

        Never raises but when it is cancelled.
        """
        job: QueuedWork | None = None
        with structlog.contextvars.bound_contextvars(job_id=found.id):
            try:
                job = QueuedWork.read(orjson.loads(found.payload or b"{}"))
                _log.info("job.taken", command=job.command, attempt=found.attempts)
                again = await self._within_its_turn(queue, tools, job, found)
            except Exception as exc:
                _log.exception("job.broke")
                again = Again(0.0, f"Unexpected {type(exc).__name__}", failed=True)
            if again is not None and again.failed:
                again = await self._after_failure(queue, job, found, again)
                if again is None:
                    return None
            if again is None:
                _log.info("job.finished")
            else:
                _log.info("job.returned", reason=again.reason, wait_s=round(again.in_s, 3))
            return again

    async def _after_failure(
        self, queue: Queue, job: QueuedWork | None, found: TakenJob, again: Again
    ) -> Again | None:
        """Return when a failed job is tried again, None when the next tick brings it anyway."""
        try:
            failures = await queue.note_failure(found.id, first=again.got_on)
            if failures >= SYNC_ATTEMPTS and job is not None and job.command == SYNC:
                _log.warning("job.abandoned", reason=again.reason, failures=failures)
                return None
            wait_s = FAILURE_WAITS_S[min(failures, len(FAILURE_WAITS_S)) - 1]
            if again.of_stream and job is not None:
                await queue.defer(job.stream, [job.command], wait_s)
        except Exception as exc:
            _log.warning("job.unnoted", reason=type(exc).__name__)
            wait_s = FAILURE_WAITS_S[0]
        return Again(wait_s, again.reason)

    async def _within_its_turn(
        self, queue: Queue, tools: Tools, job: QueuedWork, found: TakenJob
    ) -> Again | None:
        """Execute a job until it is done, has to give way, or the worker cannot go on."""
        halt = asyncio.Event()
        turn_s = self._settings.queue_turn_s * 2 ** min(found.attempts, LONGER_TURNS)
        async with (
            beside(self._give_way(queue, job, turn_s, halt)),
            race(
                self._execute(queue, tools, job, found, halt), first_of(self._stop, queue.lost)
            ) as (executing, _),
        ):
            if not executing.done():
                halt.set()
                await asyncio.wait({executing}, timeout=GRACE_S)
            if not executing.done():
                # What it had in hand is not committed, and read again by the next.
                return Again(0.0, "stopped in the middle of a batch")
            return executing.result()

    async def _give_way(
        self, queue: Queue, job: QueuedWork, turn_s: float, halt: asyncio.Event
    ) -> None:
        """Halt the unit after its turn once another project's job has waited for a while."""
        while not halt.is_set():
            await asyncio.sleep(turn_s)
            # Long enough that no idle worker is about to take it.
            if await queue.others_wait(job.project_id, self._projects, 2 * LOOK_EVERY_S):
                halt.set()

    async def _execute(
        self, queue: Queue, tools: Tools, job: QueuedWork, found: TakenJob, halt: asyncio.Event
    ) -> Again | None:
        stream = STREAMS.get(job.stream)
        if stream is None:
            return Again(0.0, f"There is no stream {job.stream!r} in this release", failed=True)
        given = Assignment(tools, self._options, stream, job.project_id, halt, _unseen)
        if job.command == BACKFILL:
            reports = await _backfill(given, job, found.created)
        else:
            reports = [await execute_unit(given, job.unit)]
        await self._note_source(tools, reports)
        again = await self._verdict(queue, job, reports, found.attempts, halt)
        if again is None and job.first_portion_only:
            await enqueue_rest(self._destination, tools, self._settings, job, found.id)
        return again

    async def _verdict(
        self,
        queue: Queue,
        job: QueuedWork,
        reports: Sequence[Report],
        attempts: int,
        halt: asyncio.Event,
    ) -> Again | None:
        """Return whether and when a job is to be tried again.

        What was read to its end, but not without fault, was done. So was a sync of what is not to
        be had: the next tick tries again. Of a backfill nothing else would.
        """
        broken_off = [report.ending for report in reports if report.ending.cause is not None]
        endings = {ending.status: ending for ending in broken_off}
        if (paused := endings.get(PAUSED)) is not None:
            wait_s = paused.paused_for_s or PAUSE_S
            await queue.defer(job.stream, [SYNC, BACKFILL], wait_s)
            return Again(wait_s, paused.reason or "paused")
        if halt.is_set() and broken_off:
            if self._stop.is_set() or queue.lost.is_set():
                return Again(0.0, "the worker stops")
            return Again(GAVE_WAY_S, "another project waits")
        failed = endings.get(FAILED) or (endings.get(PARTIAL) if job.command == BACKFILL else None)
        if failed is not None:
            return Again(
                0.0,
                failed.reason or failed.status,
                failed=True,
                got_on=len(broken_off) < len(reports),
                of_stream=failed.cause is not None and issubclass(failed.cause, _OF_STREAM),
            )
        if (held := endings.get(HELD)) is not None:
            wait_s = HELD_WAITS_S[min(attempts, len(HELD_WAITS_S) - 1)]
            return Again(wait_s, held.reason or "held")
        return None

    async def _note_source(self, tools: Tools, reports: Sequence[Report]) -> None:
        if not self._source_is_known and any(report.records_read for report in reports):
            for attempt in tools.database.attempts():
                async with attempt:
                    await tools.history.add_host(self._settings.host)
            self._source_is_known = True


async def _backfill(given: Assignment, job: QueuedWork, since: datetime) -> list[Report]:
    """Load the windows of a job. since: what was read later than that is not read again."""
    past, tools = job.past, given.tools
    if job.again:
        for attempt in tools.database.attempts():
            async with attempt:
                done = await tools.history.read_since(job.project_id, job.stream, since)
        past = replace(past, done=done)
    if job.first_portion_only:
        for attempt in tools.database.attempts():
            async with attempt:
                watermark = await tools.history.watermark(Unit(job.project_id, job.stream))
        left = portions(windows_left(past, watermark, tools.client.source_now))
        past = job.within(left[0]).past if left else past
    return await backfill_stream(given, past)


def _unseen(_reached: ReadingProgress) -> None:
    """Nobody watches a worker's progress; the runs table has it."""
