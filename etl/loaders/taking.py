"""Takes jobs off the queue by PgQueuer's loop, in which a few things are changed.

Only a worker imports this: PgQueuer's loop takes long to import.
"""

from __future__ import annotations

from asyncio import Event
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from msgspec import Struct
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain import models
from pgqueuer.domain.errors import FailingListenerError, RetryRequested
from pgqueuer.domain.types import JOB_STATUS, QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter

from etl.errors import DestinationUnavailable
from etl.loaders.queue import Queue, TakenJob, entrypoint_of
from etl.tasks import beside

_log = structlog.get_logger(__name__)


class Pace(Struct, frozen=True):
    """How jobs are taken.

    at_once: most jobs at a time. look_every_s: how often to look for jobs that no notification
    tells of. heartbeat_s: after so long without a sign of life another worker takes a job.
    """

    at_once: int
    look_every_s: float
    heartbeat_s: float


async def take_jobs(
    queue: Queue,
    projects: Sequence[int],
    take: Callable[[TakenJob], Awaitable[float | None]],
    ended: Callable[[], Awaitable[None]],
    pace: Pace,
) -> None:
    """Take jobs of `projects` until `ended` returns, and then wait for those in hand.

    take: executes a job; returns after how many seconds it is put back, None when it is done.
    Raises DestinationUnavailable, and what a broken connection raises.
    """
    queries = queue.queries(_Bounded)
    queries.bound, queries.lost = pace.at_once, queue.lost
    manager = _Manager(queries, queue.channel)
    manager.lost = queue.lost
    manager.min_dequeue_poll_interval = timedelta(seconds=pace.look_every_s)

    async def execute(found: models.Job) -> None:
        job = TakenJob(found.id, found.payload, found.attempts, found.created)
        again_in_s = await take(job)
        if again_in_s is not None:
            raise RetryRequested(timedelta(seconds=again_in_s))

    for project_id in projects:
        manager.entrypoint(entrypoint_of(project_id))(execute)

    async def pass_on_the_end() -> None:
        await ended()
        manager.shutdown.set()

    async with beside(pass_on_the_end()):
        try:
            await manager.run(
                batch_size=1,
                dequeue_timeout=timedelta(seconds=pace.look_every_s),
                heartbeat_timeout=timedelta(seconds=pace.heartbeat_s),
                shutdown_on_listener_failure=True,
                log_aggregation_interval=timedelta(0),
            )
        except FailingListenerError as exc:
            raise DestinationUnavailable("the queue was not heard any more") from exc


class _Bounded(Queries):
    """PgQueuer's statements with two changes. lost: is set so that the queue is opened again."""

    bound = 1
    lost: Event

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[models.Job]:
        """Take one job, when this worker has room for it: PgQueuer's own bound is two at least."""
        return await super().dequeue(
            batch_size, entrypoints, queue_manager_id, self.bound, heartbeat_timeout
        )

    async def log_jobs(
        self,
        job_status: list[tuple[models.Job, JOB_STATUS, models.TracebackRecord | None]],
    ) -> None:
        """Take off the queue what was done, and nothing else.

        PgQueuer would take off, too, what was cancelled and what could not be put back. So it stays
        taken, and is handed on once its heartbeat is out; until then it would count as ours.
        """
        done = [each for each in job_status if each[1] == "successful"]
        if len(done) < len(job_status):
            self.lost.set()
        try:
            if done:
                await super().log_jobs(done)
        except Exception as exc:
            # PgQueuer would try for ever, while the job counts as ours. Another will find it done.
            _log.warning("job.kept", reason=type(exc).__name__)
            self.lost.set()


class _Manager(QueueManager):
    """PgQueuer's manager. It sets `lost` when the listener fails, so that running jobs end."""

    lost: Event

    async def listener_healthy(
        self, timeout: timedelta = timedelta(seconds=10)
    ) -> models.HealthCheckEvent:
        """Ask for a sign of life. Raises FailingListenerError."""
        try:
            return await super().listener_healthy(timeout)
        except Exception:
            self.lost.set()
            raise
