"""Execute one job of the queue, as `sync` and `backfill` would, until its time slice ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
import structlog
from msgspec.structs import replace

from etl.app import Destination, open_tools, run_options_of
from etl.errors import KeyRefused, SourceUnavailable, StreamUnavailable
from etl.extractors.capped import SHARE
from etl.loaders.leases import Unit
from etl.loaders.queue import Queue, TakenJob
from etl.runs.backfill import backfill_stream, windows_left
from etl.runs.report import FAILED, HELD, PARTIAL, PAUSED, Report
from etl.runs.sync import execute_unit
from etl.runs.work import Assignment, Progress, RunOptions, Tools
from etl.service.queue import (
    BACKFILL,
    SYNC,
    VERIFICATION,
    QueuedWork,
    enqueue_rest,
    portions,
    with_short_waits,
)
from etl.settings import Settings
from etl.tasks import beside, first_of, race
from etl.upkeep import verify_slice_of

_log = structlog.get_logger(__name__)

# How often an idle worker looks for jobs without having been notified, in seconds.
LOOK_EVERY_S = 1.0
# A unit that another run holds is tried again after these delays, in seconds; then always after
# the last one.
HELD_WAITS_S = (2.0, 2.0, 2.0, 5.0)
# A unit that failed is tried again after these delays, in seconds; then always after the last one.
FAILURE_WAITS_S = (2.0, 15.0, 60.0, 300.0, 900.0)
# After this many failures a sync, or a verification, is left to the next tick.
SYNC_ATTEMPTS = 4
# Length of a pause whose end is unknown, in seconds.
PAUSE_S = 60.0
# How long a unit that gave way is not taken, in seconds: longer than the time until an idle worker
# looks again.
GAVE_WAY_S = 3.0
# Each time that a unit gives way, its next turn is twice as long, up to this many times. A list by
# limit and offset begins again at each turn, so one turn must be long enough for all of it.
LONGER_TURNS = 10
# After a request to stop, a unit has this long to commit its current batch, in seconds. It is less
# than `GRACE_S`, because the job is put back after it.
GRACE_S = 20.0
# Errors that stop every unit of a stream, not only one.
_OF_STREAM = (KeyRefused, StreamUnavailable, SourceUnavailable)


@dataclass(frozen=True, slots=True)
class Again:
    """How to put a job back on the queue.

    in_s: delay before it is due again, in seconds.
    reason: for the log.
    failed: the retry delay grows with the number of failures, and `in_s` is ignored.
    got_on: part of the job was done.
    of_stream: the other jobs of its stream would fail in the same way.
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
        """Time after which another worker takes a job that shows no sign of life, in seconds."""
        return max(1.0, self._settings.lease_s / 3)

    async def take(self, queue: Queue, tools: Tools, found: TakenJob) -> Again | None:
        """Execute a job. Return how to put it back, None if it is done.

        Raises only CancelledError.
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
        """Return how to put a failed job back, None if it is left to the next tick."""
        try:
            failures = await queue.note_failure(found.id, first=again.got_on)
            if failures >= SYNC_ATTEMPTS and job is not None and job.command != BACKFILL:
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
        """Execute a job until it is done, gives way, or the worker stops."""
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
                # Its current batch is not committed; the next run reads it again.
                return Again(0.0, "stopped in the middle of a batch")
            return executing.result()

    async def _give_way(
        self, queue: Queue, job: QueuedWork, turn_s: float, halt: asyncio.Event
    ) -> None:
        """Stop the unit after its turn, once a job of another project has waited for a while.

        A verification gives way to any sync.
        """
        while not halt.is_set():
            await asyncio.sleep(turn_s)
            # Long enough that no idle worker is about to take it.
            if await queue.others_wait(job.project_id, self._projects, 2 * LOOK_EVERY_S) or (
                job.command == VERIFICATION
                and await queue.command_waits(SYNC, self._projects, 2 * LOOK_EVERY_S)
            ):
                halt.set()

    async def _execute(
        self, queue: Queue, tools: Tools, job: QueuedWork, found: TakenJob, halt: asyncio.Event
    ) -> Again | None:
        stream = self._settings.catalogue.get(job.stream)
        if stream is None:
            return Again(0.0, f"There is no stream {job.stream!r}, or no more", failed=True)
        given = Assignment(tools, self._options, stream, job.project_id, halt, Progress())
        if job.command == BACKFILL:
            reports = await _backfill(given, job, found.created)
        elif job.command == VERIFICATION:
            reports = await self._verify(given)
        else:
            reports = [await execute_unit(given, job.unit)]
        await self._note_source(tools, reports)
        again = await self._verdict(queue, job, reports, found.attempts, halt)
        if again is None and job.first_portion_only:
            await enqueue_rest(self._destination, tools, self._settings, job, found.id)
        return again

    async def _verify(self, given: Assignment) -> list[Report]:
        """Verify a slice, within the share of the budget that is for this."""
        settings = with_short_waits(self._settings)
        async with open_tools(settings, self._destination, SHARE) as tools:
            given = replace(given, tools=tools)
            return await verify_slice_of(self._destination, settings, given)

    async def _verdict(
        self,
        queue: Queue,
        job: QueuedWork,
        reports: Sequence[Report],
        attempts: int,
        halt: asyncio.Event,
    ) -> Again | None:
        """Return how to put the job back, None if it is done.

        A unit that was read to its end is done, even if it is partial. A sync of an unavailable
        stream is done too, because the next tick tries it again. A backfill has no next tick.
        """
        broken_off = [report.ending for report in reports if report.ending.cause is not None]
        endings = {ending.status: ending for ending in broken_off}
        if (paused := endings.get(PAUSED)) is not None:
            wait_s = paused.paused_for_s or PAUSE_S
            if job.command != VERIFICATION:  # its share is spent, the budget of others is not
                await queue.defer(job.stream, [SYNC, BACKFILL], wait_s)
            return Again(wait_s, paused.reason or "paused")
        if halt.is_set() and broken_off:
            if self._stop.is_set() or queue.lost.is_set():
                return Again(0.0, "the worker stops")
            return Again(GAVE_WAY_S, "others wait")
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
    """Load the windows of a job. since: windows that were read after this are left out."""
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
