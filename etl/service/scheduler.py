"""Does each job at the ticks of its schedule: once each, whoever else serves, never two at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Protocol, TypeVar

import structlog

from etl.core.schedule import Schedule
from etl.errors import (
    EXIT_FAILED,
    EXIT_KEY_REFUSED,
    DestinationError,
    DestinationUnavailable,
    EtlError,
)
from etl.loaders.schedules import WRONG_CLOCK, Schedules
from etl.service.clock import Clock
from etl.tasks import beside

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# While Postgres is away we look again so often.
LOOK_AGAIN = timedelta(seconds=15)
# A little longer than a hold, so that the next look finds it free.
_SLACK = timedelta(seconds=0.2)

RAN, SKIPPED, FAILED = "ran", "skipped", "failed"


@dataclass(frozen=True, slots=True)
class ScheduledWork:
    """What is done at the ticks of a schedule; returns the exit code that it earns.

    A set event asks it to end soon. It must be safe to repeat.
    """

    schedule: Schedule
    work: Callable[[asyncio.Event], Awaitable[int]]


class _StoppedWaiting(Exception):
    """Asked to stop before the database was back."""


class TickObserver(Protocol):
    """Who wants to know what becomes of ticks."""

    def next_tick(self, schedule: str, at: datetime) -> None:
        """The schedule's next tick is then."""

    def ticked(self, schedule: str, outcome: str, count: int = 1) -> None:
        """So many ticks ended so: ran, skipped or failed."""


class Scheduler:
    """Does the jobs until it is stopped.

    A tick that came while nobody served is caught up once, however many there were; so is one whose
    work did not come to its end. The first time there is nothing to go by, so the job is done at
    once. A tick that comes while the last one is worked on is passed over.
    """

    def __init__(self, schedules: Schedules, clock: Clock, observer: TickObserver) -> None:
        self._schedules = schedules
        self._clock = clock
        self._observer = observer

    async def run(self, jobs: list[ScheduledWork], stop: asyncio.Event) -> None:
        """Do the jobs, those of different schedules at once, until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            for job in jobs:
                tasks.create_task(self._keep(job, stop))

    async def _keep(self, job: ScheduledWork, stop: asyncio.Event) -> None:
        schedule, clock = job.schedule, self._clock
        while not stop.is_set():
            try:
                tick, free_at = await self._upcoming(schedule, stop)
                if free_at is not None:
                    await clock.wait(free_at, stop)
                    continue
                at = tick + random.random() * schedule.jitter
                self._observer.next_tick(schedule.name, at)
                if await clock.wait(at, stop):
                    return
                # More than one may have passed, if the machine slept.
                tick = schedule.latest(tick, clock.now()) or tick
                taking = partial(self._schedules.take, schedule.name, tick)
                if await self._answered(taking, stop):
                    await self._tick(job, tick, stop)
            except _StoppedWaiting:
                return
            except DestinationError as exc:
                _log.error("tick.failed", schedule=schedule.name, reason=str(exc))
                self._observer.ticked(schedule.name, FAILED)
                await clock.wait(clock.now() + LOOK_AGAIN, stop)

    async def _answered(self, ask: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T:
        """Ask the database until it answers. Raises _StoppedWaiting when stopped before."""
        for attempt in count():
            try:
                return await ask()
            except DestinationUnavailable as exc:
                # The first failure may be of a connection that died while nobody used it.
                wait_s = LOOK_AGAIN.total_seconds() if attempt else 0.0
                _log.warning("database.unavailable", reason=exc.message, wait_s=wait_s)
                if await self._clock.wait(self._clock.now() + timedelta(seconds=wait_s), stop):
                    raise _StoppedWaiting from exc
        raise AssertionError("count() ends")

    async def _upcoming(
        self, schedule: Schedule, stop: asyncio.Event
    ) -> tuple[datetime, datetime | None]:
        """Return the tick to take next; and when to look again, while another is at work."""
        taken = await self._answered(partial(self._schedules.latest, schedule.name), stop)
        now = self._clock.now()
        if taken is None:
            return schedule.latest(datetime.min.replace(tzinfo=now.tzinfo), now) or now, None
        if taken.held_for_s is not None:
            return now, now + timedelta(seconds=taken.held_for_s) + _SLACK
        missed = schedule.latest(taken.ticked_at, now)
        # Its clock may be a little ahead of ours, but if it is far ahead it was wrong.
        if missed is None and taken.unfinished and taken.ticked_at < now + WRONG_CLOCK:
            missed = taken.ticked_at
        return missed or schedule.next_after(now), None

    async def _tick(self, job: ScheduledWork, tick: datetime, stop: asyncio.Event) -> None:
        """Do the job for a tick that is ours, and close it."""
        name, outcome = job.schedule.name, FAILED
        _log.info("tick.started", schedule=name, tick=tick.isoformat())
        began_at = self._clock.now()
        self._observer.next_tick(name, job.schedule.next_after(began_at))
        async with self._held(name):
            try:
                code = await job.work(stop)
                outcome = FAILED if code in (EXIT_FAILED, EXIT_KEY_REFUSED) else RAN
                _log.info(
                    "tick.finished",
                    schedule=name,
                    tick=tick.isoformat(),
                    exit_code=code,
                    seconds=round((self._clock.now() - began_at).total_seconds(), 3),
                )
            except EtlError as exc:
                _log.error("tick.failed", schedule=name, reason=str(exc))
            except Exception:  # a defect of ours: report it, and let the next tick come
                _log.exception("tick.broke", schedule=name)
        self._observer.ticked(name, outcome)
        if stop.is_set():
            await self._schedules.leave(name)
            return
        last = self._last_missed(job.schedule, tick)
        await self._answered(partial(self._schedules.close, name, last), stop)

    def _last_missed(self, schedule: Schedule, tick: datetime) -> datetime:
        """Return the last tick that came while we were at work on `tick`: they are all skipped."""
        now = self._clock.now()
        last = schedule.latest(tick, now)
        if last is None:
            return tick
        skipped = schedule.count(tick, now)
        _log.warning("tick.skipped", schedule=schedule.name, tick=last.isoformat(), ticks=skipped)
        self._observer.ticked(schedule.name, SKIPPED, skipped)
        return last

    @asynccontextmanager
    async def _held(self, name: str) -> AsyncIterator[None]:
        """Renew our hold on the schedule meanwhile, so that nobody takes it for dead."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._schedules.ttl_s / 3)
                # The units have leases of their own; this only keeps others from trying.
                with contextlib.suppress(DestinationUnavailable):
                    await self._schedules.renew(name)

        async with beside(renew()):
            yield
