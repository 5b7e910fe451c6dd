"""The scheduler over a real Postgres: which ticks are taken, by whom, and which are passed over."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest_asyncio
from structlog.testing import capture_logs

from etl.core.schedule import Schedule
from etl.errors import EtlError
from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.schedules import Schedules
from etl.loaders.tables import Tables
from etl.service.metrics import Metrics
from etl.service.scheduler import ScheduledWork, Scheduler
from tests.support.clock import JumpingClock
from tests.support.sql import select, value

NOON = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOURLY, QUARTERLY = Schedule("hourly", "0 * * * *"), Schedule("quarterly", "*/15 * * * *")

MakeScheduler = Callable[..., Scheduler]


@pytest_asyncio.fixture
async def opened(dsn: str) -> AsyncIterator[Database]:
    """The test's database, opened."""
    database = Database(parse_database_url(dsn), Timeouts())
    yield database
    await database.close()


def scheduler(database: Database, clock: JumpingClock, ttl_s: float = 30.0) -> Scheduler:
    """A scheduler as another process would have one."""
    schedules = Schedules(database, Tables("posthog"), str(uuid.uuid4()), ttl_s)
    return Scheduler(schedules, clock, Metrics())


def stopping_at(
    hours: float, waiters: int = 1, now: datetime = NOON
) -> tuple[JumpingClock, asyncio.Event]:
    """A clock, and an event that it sets after so many hours."""
    stop = asyncio.Event()
    return JumpingClock(now, waiters, ends_at=(now + timedelta(hours=hours), stop)), stop


class Notes:
    """A job that notes when it was done, and takes as long as the test wants."""

    def __init__(self, clock: JumpingClock, takes: timedelta = timedelta()) -> None:
        self.at: list[str] = []
        self._clock = clock
        self._takes = takes

    async def work(self, _stop: asyncio.Event) -> int:
        """Note it."""
        self.at.append(f"{self._clock.now():%H:%M}")
        self._clock.advance_to(self._clock.now() + self._takes)
        return 0


async def ticked_at(dsn: str, name: str = "hourly") -> str:
    """The last tick of a schedule that the bookkeeping knows."""
    at = await value(dsn, "SELECT ticked_at FROM posthog_etl.schedules WHERE name = $1", name)
    return f"{at.astimezone(UTC):%H:%M}"


async def test_a_new_schedule_is_done_at_once_and_then_at_its_ticks(
    opened: Database, dsn: str
) -> None:
    """Nobody waits for the night to see the first rows."""
    clock, stop = stopping_at(2.6)
    notes = Notes(clock)
    await scheduler(opened, clock).run([ScheduledWork(HOURLY, notes.work)], stop)
    assert notes.at == ["12:00", "13:00", "14:00"]
    assert await ticked_at(dsn) == "14:00"


async def test_a_new_schedule_that_is_to_wait_begins_with_its_first_tick(
    opened: Database, dsn: str
) -> None:
    """There is nothing to verify yet."""
    clock, stop = stopping_at(2.6)
    notes = Notes(clock)
    await scheduler(opened, clock).run([ScheduledWork(HOURLY, notes.work, at_once=False)], stop)
    assert notes.at == ["13:00", "14:00"]


async def test_what_was_missed_is_caught_up_once(opened: Database, dsn: str) -> None:
    """However many ticks there were; what was not missed is not done again."""
    for begins, expected in (
        (NOON, ["12:00"]),
        (NOON + 10 * MINUTE, []),
        (NOON + timedelta(hours=5, minutes=10), ["17:10"]),
        (NOON + timedelta(hours=5, minutes=12), []),
    ):
        clock, stop = stopping_at(0.1, now=begins)
        notes = Notes(clock)
        await scheduler(opened, clock).run([ScheduledWork(HOURLY, notes.work)], stop)
        # The last one is the tick at which it was stopped.
        assert notes.at == expected


async def test_a_tick_that_comes_while_the_last_one_is_worked_on_is_skipped(
    opened: Database, dsn: str
) -> None:
    """And said so; it is not caught up either, neither now nor after a restart."""
    clock, stop = stopping_at(1.9)
    notes = Notes(clock, takes=40 * MINUTE)
    with capture_logs() as logs:
        await scheduler(opened, clock).run([ScheduledWork(QUARTERLY, notes.work)], stop)
    assert notes.at == ["12:00", "12:45", "13:30"]
    skipped = [log for log in logs if log["event"] == "tick.skipped"]
    assert [(log["tick"][11:16], log["ticks"]) for log in skipped] == [("12:30", 2), ("13:15", 2)]


async def test_a_tick_whose_work_was_stopped_is_caught_up(opened: Database, dsn: str) -> None:
    """The next start goes on with it, and not only tomorrow."""
    clock, stop = stopping_at(0.5)
    stopped = Notes(clock, takes=40 * MINUTE)  # stop is set while it works
    await scheduler(opened, clock).run([ScheduledWork(HOURLY, stopped.work)], stop)
    clock, stop = stopping_at(0.1, now=NOON + 45 * MINUTE)
    again = Notes(clock)
    await scheduler(opened, clock).run([ScheduledWork(HOURLY, again.work)], stop)
    assert (stopped.at, again.at) == (["12:00"], ["12:45"])


async def test_a_tick_whose_holder_died_is_taken_over_once_its_hold_is_out(
    opened: Database, dsn: str
) -> None:
    """Until then nobody knows whether it lives."""
    dead, other = (
        Schedules(opened, Tables("posthog"), str(uuid.uuid4()), ttl_s=30) for _ in range(2)
    )
    tick = HOURLY.latest(NOON - timedelta(hours=1), NOON)
    assert tick is not None
    assert (await dead.take("hourly", tick), await other.take("hourly", tick)) == (True, False)
    await select(dsn, "UPDATE posthog_etl.schedules SET expires_at = now()")
    stop = asyncio.Event()
    clock = JumpingClock(NOON, 1, ends_at=(NOON + 30 * MINUTE, stop))
    notes = Notes(clock, takes=30 * MINUTE)
    await scheduler(opened, clock).run([ScheduledWork(HOURLY, notes.work)], stop)
    assert notes.at == ["12:00"]


async def test_of_two_that_serve_one_takes_each_tick(opened: Database, dsn: str) -> None:
    """Started at the same instant, each with a clock of its own."""
    done: list[str] = []
    both = [stopping_at(6.5) for _ in range(2)]
    notes = [Notes(clock) for clock, _ in both]
    async with asyncio.TaskGroup() as tasks:
        for (clock, stop), each in zip(both, notes, strict=True):
            tasks.create_task(
                scheduler(opened, clock, 0.3).run([ScheduledWork(HOURLY, each.work)], stop)
            )
    done = sorted(tick for each in notes for tick in each.at)
    assert done == [f"{hour}:00" for hour in range(12, 19)]


async def test_a_tick_is_taken_by_one_of_many_that_try_at_once(opened: Database, dsn: str) -> None:
    """The database decides, and whoever has it may ask again without losing it."""
    many = [Schedules(opened, Tables("posthog"), str(uuid.uuid4()), 30.0) for _ in range(8)]
    for hour in range(3):
        tick = NOON + timedelta(hours=hour)
        taken = await asyncio.gather(*(each.take("hourly", tick) for each in many))
        assert sum(taken) == 1
        winner = many[taken.index(True)]
        assert await winner.take("hourly", tick)
        # Nor does anyone get the next one while the winner is at work.
        later = tick + MINUTE
        assert [await each.take("hourly", later) for each in many if each is not winner] == (
            [False] * 7
        )
        await winner.close("hourly", tick)
        assert not any([await each.take("hourly", tick) for each in many])


async def test_a_job_that_fails_does_not_keep_the_next_tick_from_coming(
    opened: Database, dsn: str
) -> None:
    """Whether the failure was foreseen or not, and whatever other jobs do."""
    clock, stop = stopping_at(2.5, waiters=3)
    fine, seen = Notes(clock), []

    def failing(error: Exception) -> Callable[[asyncio.Event], object]:
        async def work(_stop: asyncio.Event) -> int:
            seen.append(type(error).__name__)
            raise error

        return work

    jobs = [
        ScheduledWork(HOURLY, fine.work),
        ScheduledWork(Schedule("foreseen", "0 * * * *"), failing(EtlError("no"))),  # type: ignore[arg-type]
        ScheduledWork(Schedule("defect", "0 * * * *"), failing(KeyError("x"))),  # type: ignore[arg-type]
    ]
    with capture_logs() as logs:
        await scheduler(opened, clock).run(jobs, stop)
    assert fine.at == ["12:00", "13:00", "14:00"]
    assert sorted(seen) == ["EtlError"] * 3 + ["KeyError"] * 3
    events = [log["event"] for log in logs]
    assert (events.count("tick.failed"), events.count("tick.broke")) == (3, 3)
    held = "SELECT name FROM posthog_etl.schedules WHERE holder IS NOT NULL"
    assert {row["name"] for row in await select(dsn, held)} <= {"hourly", "foreseen", "defect"}


async def test_a_jitter_delays_each_tick_by_less_than_its_length(
    opened: Database, dsn: str
) -> None:
    """By another time each, so that many deployments do not ask at the same instant."""
    clock, stop = stopping_at(30)
    notes = Notes(clock)
    jittery = Schedule("hourly", "0 * * * *", jitter=40 * MINUTE)
    await scheduler(opened, clock).run([ScheduledWork(jittery, notes.work)], stop)
    minutes = [int(at.split(":")[1]) for at in notes.at[1:]]
    assert len(minutes) >= 28
    assert max(minutes) < 40
    assert len(set(minutes)) > 5


async def test_a_tick_of_a_wrong_clock_does_not_hold_up_the_right_ones(
    opened: Database, dsn: str
) -> None:
    """A machine that started in 2099 was set right since."""
    wrong = Schedules(opened, Tables("posthog"), str(uuid.uuid4()), 30.0)
    future = NOON.replace(year=2099)
    assert await wrong.take("hourly", future)
    await wrong.close("hourly", future)
    clock, stop = stopping_at(2.5)
    notes = Notes(clock)
    await scheduler(opened, clock).run([ScheduledWork(HOURLY, notes.work)], stop)
    assert notes.at == ["13:00", "14:00"]
