"""Runs each job at the ticks of its schedule: once per tick, even if several `serve` run."""

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

# Time between attempts while Postgres does not answer.
LOOK_AGAIN = timedelta(seconds=15)
# Added to the end of a hold, so that the hold has expired when we look again.
_SLACK = timedelta(seconds=0.2)

RAN, SKIPPED, FAILED = "ran", "skipped", "failed"


@dataclass(frozen=True, slots=True)
class ScheduledWork:
    """The work of a schedule's ticks. It returns an exit code.

    When the event is set, it ends soon. It must be safe to repeat. at_once: whether it is done as
    soon as the schedule is new, not only at its first tick.
    """

    schedule: Schedule
    work: Callable[[asyncio.Event], Awaitable[int]]
    at_once: bool = True


class _StoppedWaiting(Exception):
    """`serve` was stopped before the database answered again."""


class TickObserver(Protocol):
    """Is told when ticks are due and how they ended."""

    def next_tick(self, schedule: str, at: datetime) -> None:
        """Called with the time of the schedule's next tick."""

    def ticked(self, schedule: str, outcome: str, count: int = 1) -> None:
        """Called after ticks. outcome: ran, skipped or failed."""


class Scheduler:
    """Runs jobs by their schedules until it is stopped.

    Ticks that were missed while no `serve` ran are made up by one run of the job. So is a tick
    whose work was interrupted. A new schedule runs its job at once,
    unless it is to wait. A tick that comes while the
    job still runs is skipped.
    """

    def __init__(self, schedules: Schedules, clock: Clock, observer: TickObserver) -> None:
        self._schedules = schedules
        self._clock = clock
        self._observer = observer

    async def run(self, jobs: list[ScheduledWork], stop: asyncio.Event) -> None:
        """Run the jobs until `stop` is set. Different schedules may run at the same time."""
        async with asyncio.TaskGroup() as tasks:
            for job in jobs:
                tasks.create_task(self._keep(job, stop))

    async def _keep(self, job: ScheduledWork, stop: asyncio.Event) -> None:
        schedule, clock = job.schedule, self._clock
        while not stop.is_set():
            try:
                tick, free_at = await self._upcoming(job, stop)
                if free_at is not None:
                    await clock.wait(free_at, stop)
                    continue
                at = tick + random.random() * schedule.jitter
                self._observer.next_tick(schedule.name, at)
                if await clock.wait(at, stop):
                    return
                # Several ticks may have passed, if the machine slept.
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
        """Repeat a query until the database answers. Raises _StoppedWaiting if stopped before."""
        for attempt in count():
            try:
                return await ask()
            except DestinationUnavailable as exc:
                # The first failure may come from a connection that broke while it was idle.
                wait_s = LOOK_AGAIN.total_seconds() if attempt else 0.0
                _log.warning("database.unavailable", reason=exc.message, wait_s=wait_s)
                if await self._clock.wait(self._clock.now() + timedelta(seconds=wait_s), stop):
                    raise _StoppedWaiting from exc
        raise AssertionError("count() ends")

    async def _upcoming(
        self, job: ScheduledWork, stop: asyncio.Event
    ) -> tuple[datetime, datetime | None]:
        """Return the next tick to take, and when to look again if another `serve` holds it."""
        schedule = job.schedule
        taken = await self._answered(partial(self._schedules.latest, schedule.name), stop)
        now = self._clock.now()
        if taken is None and not job.at_once:
            return schedule.next_after(now), None
        if taken is None:
            return schedule.latest(datetime.min.replace(tzinfo=now.tzinfo), now) or now, None
        if taken.held_for_s is not None:
            return now, now + timedelta(seconds=taken.held_for_s) + _SLACK
        missed = schedule.latest(taken.ticked_at, now)
        # Its clock may be a little ahead of ours; a clock that is far ahead was wrong.
        if missed is None and taken.unfinished and taken.ticked_at < now + WRONG_CLOCK:
            missed = taken.ticked_at
        return missed or schedule.next_after(now), None

    async def _tick(self, job: ScheduledWork, tick: datetime, stop: asyncio.Event) -> None:
        """Run the job of a tick that this process holds, and close the tick."""
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
            except Exception:  # a defect of ours: log it; the next tick comes anyway
                _log.exception("tick.broke", schedule=name)
        self._observer.ticked(name, outcome)
        if stop.is_set():
            await self._schedules.leave(name)
            return
        last = self._last_missed(job.schedule, tick)
        await self._answered(partial(self._schedules.close, name, last), stop)

    def _last_missed(self, schedule: Schedule, tick: datetime) -> datetime:
        """Return the last tick that came during the work on `tick`; all up to it are skipped."""
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
        """Renew the hold on the schedule during the block, so that no other `serve` takes it."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._schedules.ttl_s / 3)
                # Losing it is harmless: the units have leases of their own.
                with contextlib.suppress(DestinationUnavailable):
                    await self._schedules.renew(name)

        async with beside(renew()):
            yield
