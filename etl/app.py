"""Wiring: opens session and pool, builds extractor and loader, closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from etl.core.guard import Guard
from etl.core.lookback import parse_duration
from etl.core.retry import RetryPolicy
from etl.core.source import refuse_other_source
from etl.core.statuses import Chosen, shown_run
from etl.core.stream import Resource, Stream
from etl.errors import ConfigurationError, DestinationError, EtlError
from etl.extractors.capped import NO_CAP, Bound
from etl.extractors.client import Budget, Client, DatabaseClock
from etl.extractors.connection import open_session
from etl.extractors.projects import project_id_of
from etl.loaders.address import DatabaseAddress, parse_database_url
from etl.loaders.budget import PostgresBudget
from etl.loaders.database import Database, Timeouts
from etl.loaders.forgotten import Forgotten, require_forget_key
from etl.loaders.growing import GrowingLists
from etl.loaders.history import History
from etl.loaders.leases import Leases
from etl.loaders.parents import ParentRows
from etl.loaders.postgres import PostgresLoader
from etl.loaders.run_files import RunFiles
from etl.loaders.slots import PostgresSlots
from etl.loaders.tables import Tables, tables_of
from etl.loaders.verified import Looks
from etl.loaders.version import is_current
from etl.runs.prefetch import Room
from etl.runs.projects import for_each
from etl.runs.report import Report
from etl.runs.sync import execute_unit
from etl.runs.tidy import tidy
from etl.runs.work import Assignment, RunOptions, Tools, Watch, rows_now, show_waits
from etl.settings import Settings
from etl.tasks import beside
from etl.waits import Waits

if TYPE_CHECKING:  # imported where they are used: a sync needs none of them
    from etl.loaders.embedded import EmbeddedPostgres
    from etl.runs.backfill import BackfillRange
    from etl.runs.check import Finding
    from etl.runs.status import StatusReport
    from etl.runs.unit_forecast import Plan, UnitForecast

_log = structlog.get_logger(__name__)

EMBEDDED = "embedded"

# Reads the status.
Look = Callable[[], Awaitable["StatusReport"]]


class Destination(Struct, frozen=True):
    """The open database of one deployment. queue: the address of the queue, without a pooler."""

    database: Database
    tables: Tables
    queue: DatabaseAddress


class Schema(Enum):
    """What the schema of an opened database must be."""

    AS_FOUND = auto()  # whatever it is; nothing is asked yet
    CURRENT = auto()  # at the version of this release
    MIGRATED = auto()  # brought to it, unless `auto_migrate` is off


@asynccontextmanager
async def open_destination(
    settings: Settings, schema: Schema = Schema.AS_FOUND
) -> AsyncIterator[Destination]:
    """Open the database. An embedded one is started; its last user stops it.

    Raises ConfigurationError and DestinationError.
    """
    text = settings.require_database()
    server: EmbeddedPostgres | None = None
    if text == EMBEDDED:
        from etl.loaders.embedded import EmbeddedPostgres

        server = await asyncio.to_thread(
            EmbeddedPostgres.start, settings.data_dir.expanduser() / "postgres"
        )
    try:
        # A suspended run must lose its locks before its lease, and the run that takes over must
        # wait a little longer than that.
        timeouts = Timeouts(
            statement_s=settings.statement_timeout_s,
            idle_s=settings.lease_s / 3,
            lock_s=settings.lease_s,
        )
        address = _address(text if server is None else server.dsn, settings)
        direct = settings.queue_database_url
        queue = (
            address
            if direct is None
            else _address(direct.get_secret_value(), settings, "POSTHOG_ETL_QUEUE_DATABASE_URL")
        )
        database = Database(
            address,
            timeouts,
            connection_per_transaction=settings.connection_per_transaction,
        )
        try:
            destination = Destination(database, tables_of(settings.schema_name), queue)
            if schema is Schema.CURRENT:
                await _require_current(destination)
            elif schema is Schema.MIGRATED:
                await _migrate(destination, settings)
            yield destination
        finally:
            await database.close()
    finally:
        if server is not None:
            await asyncio.to_thread(server.close)


def _address(text: str, settings: Settings, name: str = "DATABASE_URL") -> DatabaseAddress:
    password = settings.database_password
    try:
        address = parse_database_url(text)
    except ConfigurationError as exc:
        message = exc.message.replace("DATABASE_URL", name)
        raise ConfigurationError(message, remedy=exc.remedy) from None
    address = replace(address, setting=name)
    return address if password is None else address.with_password(password.get_secret_value())


async def _require_current(destination: Destination) -> None:
    if not await is_current(destination.database, destination.tables):
        raise DestinationError(
            "The database holds no posthog-etl tables of this version",
            remedy="Run `posthog-etl sync` or `posthog-etl migrate` first",
        )


async def make_ready(
    destination: Destination, settings: Settings, *, accept_host: bool = False
) -> str | None:
    """Bring the schema up to date, and return doubts about the source.

    accept_host: the host is another address of the source that the database knows.
    Safe to repeat. Raises ConfigurationError for another source, and DestinationError.
    """
    await _migrate(destination, settings)
    if accept_host:
        return None
    history = History(destination.database, destination.tables)
    return refuse_other_source(settings.host, await history.hosts())


async def _migrate(destination: Destination, settings: Settings) -> None:
    if await is_current(destination.database, destination.tables):
        return
    if not settings.auto_migrate:
        raise DestinationError(
            "The database schema is not at the version this release needs",
            remedy="Run `posthog-etl migrate` with a role that may create tables",
        )
    from etl.loaders.fresh import upgrade

    await History(destination.database, destination.tables).server_version()
    before, after = await upgrade(destination.database, destination.tables)
    if before != after:
        _log.info("database.migrated", before=before, after=after)


@asynccontextmanager
async def open_source(
    settings: Settings, *, accept_host: bool = False, cap: Bound = NO_CAP
) -> AsyncIterator[tuple[Destination, Tools]]:
    """Open source and database, with the schema up to date. All that reads the source uses it.

    accept_host: the host is another address of the source that the database knows. cap: how many
    requests may be sent. Raises ConfigurationError and DestinationError.
    """
    settings.require_source()
    async with open_destination(settings) as destination:
        doubt = await make_ready(destination, settings, accept_host=accept_host)
        if doubt is not None:
            _log.warning("source.doubted", reason=doubt)
        async with open_tools(settings, destination, cap) as tools:
            yield destination, tools


@asynccontextmanager
async def open_source_for(
    settings: Settings, at_once: int, *, accept_host: bool = False, cap: Bound = NO_CAP
) -> AsyncIterator[tuple[Destination, list[Tools]]]:
    """Open source and database, with tools for each of the `at_once` units that run at once.

    A run counts the requests of its client, so no two runs share one. accept_host, cap and what is
    raised: see `open_source`.
    """
    async with AsyncExitStack() as stack:
        destination, first = await stack.enter_async_context(
            open_source(settings, accept_host=accept_host, cap=cap)
        )
        tools = [first]
        while len(tools) < at_once:
            tools.append(await stack.enter_async_context(open_tools(settings, destination, cap)))
        yield destination, tools


@asynccontextmanager
async def open_tools(
    settings: Settings, destination: Destination, cap: Bound = NO_CAP
) -> AsyncIterator[Tools]:
    """Open what executing units needs. Raises ConfigurationError and DestinationError."""
    database, tables = destination.database, destination.tables
    history = History(database, tables)
    await require_forget_key(database, tables, settings.forget_key_text)
    waits = Waits()
    budget = PostgresBudget(
        database, tables, settings.limits_with_share, settings.max_wait_s, waits
    )
    clock = DatabaseClock(await history.database_now())
    async with open_client(settings, cap.over(budget), clock, settings.max_wait_s, waits) as client:
        yield Tools(
            client=client,
            database=database,
            budget=budget,
            waits=waits,
            leases=_leases(settings, destination),
            history=history,
            parents=ParentRows(database, tables),
            growing=GrowingLists(database, tables),
            looks=Looks(database, tables),
            loader=_loader_of(settings, destination),
            slots=PostgresSlots(database, tables, waits),
            tables=tables,
        )


def _loader_of(
    settings: Settings, destination: Destination
) -> Callable[[str, Resource], PostgresLoader]:
    forgotten = Forgotten(destination.tables, settings.forget_key_text)

    def loader(stream: str, resource: Resource) -> PostgresLoader:
        tables = destination.tables
        if resource.tables[0].queried:
            tables = tables.queried
        return PostgresLoader(destination.database, tables, stream, resource, forgotten)

    return loader


def _leases(settings: Settings, destination: Destination) -> Leases:
    run_files = RunFiles(settings.data_dir.expanduser() / "runs")
    return Leases(destination.database, destination.tables, settings.lease_s, run_files)


@asynccontextmanager
async def open_client(
    settings: Settings, budget: Budget, clock: DatabaseClock, max_wait_s: float, waits: Waits
) -> AsyncIterator[Client]:
    """Open the session to the API. Raises ConfigurationError."""
    key = settings.require_source()
    async with open_session(
        settings.host, key, settings.request_timeout_s, settings.ca_file
    ) as session:
        yield Client(
            session,
            settings.host,
            budget,
            clock,
            RetryPolicy(attempts=settings.request_attempts),
            max_wait_s,
            waits,
            secret=key,
        )


class Acceptance(Struct, frozen=True):
    """What a user accepts in one sync that would else be withheld or refused.

    deletions: names of streams of which more may vanish at once than the guard allows.
    counts: names of streams whose server counts as many rows too many as in the last run.
    host: the host is another address of the source that the database knows.
    at_once: names of queries that are read though they are not due.
    """

    deletions: Collection[str] = ()
    counts: Collection[str] = ()
    host: bool = False
    at_once: Collection[str] = ()


_NOTHING = Acceptance()


def run_options_of(settings: Settings, accepted: Acceptance = _NOTHING) -> RunOptions:
    """Return how streams are read under these settings. They share the room for pages."""
    return RunOptions(
        start=settings.start,
        lookback=settings.grades,
        prefix=settings.api_prefix,
        page_size_records=settings.page_size_records,
        room=Room(settings.buffer_bytes),
        guard=Guard(settings.deletion_guard_share, settings.deletion_guard_rows),
        accept_deletions=accepted.deletions,
        accept_counts=accepted.counts,
        confirm_requests=settings.confirm_requests,
        rotation_requests=settings.sharing_requests,
        recheck_after=parse_duration(settings.sharing_recheck),
        keep_fields=settings.keep_fields,
        at_once=accepted.at_once,
    )


def streams_at_once(settings: Settings, streams: Sequence[Stream]) -> int:
    """Return how many of the streams are read at once."""
    return max(1, min(settings.streams_at_once, len(streams)))


async def sync(
    settings: Settings,
    streams: Sequence[Stream],
    stop: asyncio.Event,
    watch: Watch,
    accepted: Acceptance = _NOTHING,
) -> list[Report]:
    """Bring `streams` of every project up to date, several at once; one report per unit.

    If a unit fails, the others still run, except after a refused key or a request to stop.
    Safe to repeat. Raises ConfigurationError and DestinationError before anything ran.
    """
    at_once = streams_at_once(settings, streams)
    options = run_options_of(settings, accepted)

    async def bring_up(
        tools: Tools, stream: Stream, project_id: int, halt: asyncio.Event
    ) -> list[Report]:
        with watch(project_id, stream.name) as progress:
            given = Assignment(tools, options, stream, project_id, halt, progress)
            return [await execute_unit(given, stream.unit)]

    async with open_source_for(settings, at_once, accept_host=accepted.host) as (
        destination,
        tools,
    ):
        reports = await for_each(
            tools, settings.host, settings.projects, streams, stop, bring_up, watch
        )
        keep_runs = parse_duration(settings.keep_runs)
        await tidy(destination.database, destination.tables, keep_runs, stop)
    return reports


async def backfill(
    settings: Settings,
    streams: Sequence[Stream],
    past: BackfillRange,
    stop: asyncio.Event,
    watch: Watch,
) -> list[Report]:
    """Load past windows of every project; one report per window that was not complete.

    Safe to repeat, also after a kill: time that is known complete is not read again, and an
    interrupted window goes on. Raises ConfigurationError and DestinationError before anything ran.
    """
    from etl.runs.backfill import backfill_stream

    options = run_options_of(settings)

    async def load_past(
        tools: Tools, stream: Stream, project_id: int, halt: asyncio.Event
    ) -> list[Report]:
        with watch(project_id, stream.name) as progress:
            given = Assignment(tools, options, stream, project_id, halt, progress)
            done = await backfill_stream(given, past)
        if done:
            with contextlib.suppress(EtlError):  # the reports say what is wrong
                done[-1].rows = await rows_now(tools, stream, project_id)
        return done

    async with open_source(settings) as (_, tools):
        return await for_each(
            [tools], settings.host, settings.projects, streams, stop, load_past, watch
        )


async def resync(
    settings: Settings,
    streams: Sequence[Stream],
    stop: asyncio.Event,
    watch: Watch,
    accepted: Acceptance = _NOTHING,
) -> list[Report]:
    """Read `streams` of every project anew; one report per unit.

    Safe to repeat: an interrupted resync goes on. Raises ConfigurationError and DestinationError
    before anything ran.
    """
    from etl.runs.resync import resync_stream

    options = run_options_of(settings, accepted)

    async def read_anew(
        tools: Tools, stream: Stream, project_id: int, halt: asyncio.Event
    ) -> list[Report]:
        with watch(project_id, stream.name) as progress:
            given = Assignment(tools, options, stream, project_id, halt, progress)
            return [await resync_stream(given)]

    async with open_source_for(settings, streams_at_once(settings, streams)) as (_, tools):
        return await for_each(
            tools, settings.host, settings.projects, streams, stop, read_anew, watch
        )


# How many requests `plan` sends at most to ask how much there is.
MOST_ASKED = 10


async def make_forecast(
    settings: Settings,
    streams: Sequence[Stream],
    past: BackfillRange | None,
    watch: Watch,
    most_asked: int = MOST_ASKED,
) -> Plan:
    """Return the forecast of a sync, or of a backfill of `past`. Loads nothing.

    most_asked: how many requests may be sent to find out how much there is where nothing is known.
    A server that counts is asked for its count besides. Raises EtlError.
    """
    from etl.runs.asking import Asking
    from etl.runs.unit_forecast import ask_about, made_plan, unit_forecasts

    options = run_options_of(settings)
    found: list[UnitForecast] = []
    async with open_source(settings) as (_, tools):
        asking = Asking(tools, options, most_asked)
        with watch(None, "forecast") as progress:
            async with beside(show_waits(tools.waits, progress)):
                for project in settings.projects:
                    project_id = await project_id_of(tools.client, project)
                    if most_asked:
                        await ask_about(tools, options, streams, project_id, past, asking)
                    for stream in streams:
                        found += await unit_forecasts(
                            tools,
                            options,
                            stream,
                            project_id,
                            past,
                            settings.limits,
                            asking,
                            settings.sync_every_s(stream.name),
                        )
        return await made_plan(tools, found, settings.limits, asking)


async def check(settings: Settings, streams: Sequence[Stream]) -> list[Finding]:
    """Test everything that a sync needs, also after something was found wrong. Writes no data.

    If required settings are missing, it names them all and tests nothing else.
    """
    from etl.runs.check import (
        MAX_WAIT_S,
        Finding,
        NoBudget,
        examine_hosts,
        examine_required,
        examine_schema,
        examine_source,
        failed_finding,
    )

    required = {"key": settings.require_source, "database": settings.require_database}
    findings = examine_required(required)
    if findings:
        return findings
    async with AsyncExitStack() as stack:
        budget: Budget = NoBudget()
        waits = Waits()
        clock = DatabaseClock(datetime.now(UTC))
        try:
            destination = await stack.enter_async_context(open_destination(settings))
            database, tables = destination.database, destination.tables
            history = History(database, tables)
            clock = DatabaseClock(await history.database_now())
            findings.append(Finding("database", True, await history.server_version()))
            schema, is_there = await examine_schema(
                database, tables, auto_migrate=settings.auto_migrate
            )
            findings.append(schema)
            if is_there:
                budget = PostgresBudget(database, tables, settings.limits, MAX_WAIT_S, waits)
                findings += examine_hosts(settings.host, await history.hosts())
                await require_forget_key(database, tables, settings.forget_key_text)
        except EtlError as exc:
            findings.append(failed_finding("database", exc))
        client = await stack.enter_async_context(
            open_client(settings, budget, clock, MAX_WAIT_S, waits)
        )
        findings += await examine_source(client, settings.projects, streams, settings.api_prefix)
    return findings


_ALL = Chosen()


async def runs(settings: Settings, limit: int, chosen: Chosen) -> list[dict[str, Any]]:
    """Return the latest of the chosen runs, newest first. Raises DestinationError."""
    async with open_destination(settings, Schema.CURRENT) as destination:
        history = History(destination.database, destination.tables)
        return [shown_run(row) for row in await history.runs(limit, chosen)]


async def rejects(settings: Settings, limit: int, *, resolved: bool) -> list[dict[str, Any]]:
    """Return the rejects, newest first. Raises DestinationError."""
    async with open_destination(settings, Schema.CURRENT) as destination:
        history = History(destination.database, destination.tables)
        return [dict(row) for row in await history.rejects(limit, resolved=resolved)]


async def reject(settings: Settings, key: str) -> list[dict[str, Any]]:
    """Return the rejects with this key, with payload. Raises EtlError if there is none."""
    async with open_destination(settings, Schema.CURRENT) as destination:
        history = History(destination.database, destination.tables)
        found = [dict(row) for row in await history.reject(key)]
    if not found:
        raise EtlError(
            f"No record with the key {key!r} was rejected",
            remedy="`posthog-etl rejects list --all` lists the keys",
        )
    return found


async def retry(settings: Settings, streams: Sequence[Stream]) -> list[Report]:
    """Load the rejects of every project again, without the API. Raises DestinationError."""
    from etl.runs.query import with_its_table
    from etl.runs.rejects import retry_rejects

    async with open_destination(settings, Schema.MIGRATED) as destination:
        database, tables = destination.database, destination.tables
        await require_forget_key(database, tables, settings.forget_key_text)
        history, leases = History(database, tables), _leases(settings, destination)
        return [
            await retry_rejects(
                leases,
                history,
                _loader_of(settings, destination),
                await with_its_table(database, tables, stream),
                project_id,
            )
            for stream in streams
            for project_id in await history.projects_with_rejects(stream.name)
        ]


async def status(
    settings: Settings, chosen: Chosen = _ALL, *, counts: bool = False
) -> StatusReport:
    """Return how far each chosen stream is. counts: with the rows of tables.

    Raises DestinationError.
    """
    async with open_status(settings, chosen, counts=counts) as look:
        return await look()


@asynccontextmanager
async def open_status(
    settings: Settings, chosen: Chosen = _ALL, *, counts: bool = False
) -> AsyncIterator[Look]:
    """Open the database once, to read the status repeatedly. Raises DestinationError.

    chosen: which streams. counts: whether it counts the rows of tables.
    """
    from etl.runs.status import read_status

    recheck_after = parse_duration(settings.sharing_recheck)
    async with open_destination(settings, Schema.CURRENT) as destination:
        database, tables = destination.database, destination.tables
        yield lambda: read_status(
            database,
            tables,
            settings.start,
            recheck_after,
            chosen,
            counts=counts,
            is_removed=settings.is_removed,
            on=[stream.name for stream in settings.choose(None)],
        )
