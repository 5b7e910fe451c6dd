"""`serve`: waits for the database, runs the scheduler and the web server, and stops on request."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import structlog

from etl.alerting import telling
from etl.app import Destination, make_ready, open_destination, sync
from etl.core.lookback import parse_duration
from etl.core.schedule import PRUNE, VERIFY, Schedule
from etl.errors import EXIT_SUCCEEDED, DestinationUnavailable, exit_code_of
from etl.loaders.history import History
from etl.loaders.prune import prune
from etl.loaders.schedules import Schedules
from etl.loaders.version import is_current
from etl.runs.report import code_of_slice, codes_of_streams
from etl.runs.work import unwatched
from etl.service import page
from etl.service.clock import Clock, WallClock
from etl.service.health import Health
from etl.service.http import build, listening
from etl.service.metrics import Metrics
from etl.service.queue import enqueue_sync, enqueue_verification
from etl.service.scheduler import LOOK_AGAIN, ScheduledWork, Scheduler
from etl.settings import Settings
from etl.streams import STREAMS
from etl.upkeep import verify_slices

_log = structlog.get_logger(__name__)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    hidden: Callable[[str], str],
    *,
    enqueue: bool = False,
    clock: Clock | None = None,
    announce: Callable[[str], None] = lambda _url: None,
) -> None:
    """Bring streams up to date by schedule until `stop` is set.

    hidden: removes secrets from a text that is shown.
    enqueue: only queue the units, for workers.
    announce: called with the address once the server listens.

    Raises ConfigurationError, DestinationError and NotListening before anything ran.
    """
    settings.require_source()
    token = settings.require_serve_token()
    metrics, clock = Metrics(), clock or WallClock()
    async with open_destination(settings) as destination:
        health = Health(destination, metrics, hidden, settings)
        routes = [*health.routes(), *page.routes(destination, settings, metrics.next_ticks)]
        app = build(routes, token, page.login_page(settings))
        async with listening(app, settings.serve_host, settings.serve_port) as url:
            _log.info("service.started", url=url, schedules=[s.name for s in settings.schedules])
            announce(url)
            if await _ready(destination, settings, metrics, clock, stop):
                async with telling(settings, destination, clock):
                    await _tick(destination, settings, enqueue, metrics, clock, stop)
            _log.info("service.ended")


async def _ready(
    destination: Destination,
    settings: Settings,
    metrics: Metrics,
    clock: Clock,
    stop: asyncio.Event,
) -> bool:
    """Return True once a run could begin, False if stopped before.

    Raises errors that waiting does not solve.
    """
    while not stop.is_set():
        try:
            if settings.auto_migrate or await is_current(destination.database, destination.tables):
                await make_ready(destination, settings)  # each tick logs its own warnings
                history = History(destination.database, destination.tables)
                now = await history.database_now()
                metrics.begin(await history.runs_since(now), now)
                return True
            reason = "The database is not migrated: run `posthog-etl migrate`"
        except DestinationUnavailable as exc:
            reason = str(exc)
        _log.warning("service.waiting", reason=reason)
        await clock.wait(clock.now() + LOOK_AGAIN, stop)
    return False


async def _tick(
    destination: Destination,
    settings: Settings,
    enqueue: bool,
    metrics: Metrics,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    database, tables = destination.database, destination.tables

    def job(schedule: Schedule) -> ScheduledWork:
        streams = settings.choose(schedule.streams)

        async def bring_up(stop: asyncio.Event) -> int:
            reports = await sync(settings, streams, stop, unwatched)
            named = {*settings.enabled_streams, *schedule.streams}
            return exit_code_of(codes_of_streams(reports, named))

        async def leave_to_workers(_stop: asyncio.Event) -> int:
            put = await enqueue_sync(settings, streams)
            _log.info("units.enqueued", schedule=schedule.name, jobs=put.jobs, already=put.already)
            return EXIT_SUCCEEDED

        return ScheduledWork(schedule, leave_to_workers if enqueue else bring_up)

    async def verify(stop: asyncio.Event) -> int:
        reports = await verify_slices(settings, settings.choose(None), stop, unwatched)
        return exit_code_of([code_of_slice(report) for report in reports])

    async def leave_verification(_stop: asyncio.Event) -> int:
        put = await enqueue_verification(settings, settings.choose(None))
        _log.info("units.enqueued", schedule=VERIFY, jobs=put.jobs, already=put.already)
        return EXIT_SUCCEEDED

    async def tidy(_stop: asyncio.Event) -> int:
        keep = parse_duration(settings.keep_runs)
        runs, checks = await prune(database, tables, STREAMS.values(), keep)
        _log.info("history.pruned", runs=runs, checks=checks)
        return EXIT_SUCCEEDED

    schedules = Schedules(database, tables, str(uuid.uuid4()), settings.lease_s)
    jobs = [job(schedule) for schedule in settings.schedules]
    jobs.append(ScheduledWork(Schedule(PRUNE, "20 4 * * *"), tidy))
    if (nightly := settings.verification) is not None:
        work = leave_verification if enqueue else verify
        jobs.append(ScheduledWork(nightly, work, at_once=False))
    await Scheduler(schedules, clock, metrics).run(jobs, stop)
