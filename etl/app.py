"""Wiring: opens session and pool, builds extractor and loader, closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import structlog
from yarl import URL

from etl import __version__
from etl.core.budget import CRUD
from etl.core.coverage import Span
from etl.core.expected import Counted, unaccounted_of
from etl.core.guard import Guard
from etl.core.lookback import parse_duration
from etl.core.outliers import hint_before, known_before
from etl.core.retry import RetryPolicy
from etl.core.stream import Mode, Stream
from etl.errors import (
    EXIT_FAILED,
    ConfigurationError,
    DestinationError,
    EtlError,
    KeyRefused,
)
from etl.extractors.client import CONNECT_TIMEOUT_S, Budget, Client, Clock
from etl.extractors.connection import proxy_of
from etl.extractors.protocol import Request, parse_object
from etl.loaders.address import DatabaseAddress, parse_database_url
from etl.loaders.budget import PostgresBudget
from etl.loaders.database import Database, Timeouts
from etl.loaders.embedded import EmbeddedPostgres
from etl.loaders.history import History
from etl.loaders.leases import Leases, Unit
from etl.loaders.parents import ParentRows
from etl.loaders.postgres import PostgresLoader
from etl.loaders.queue import Jobs, count_jobs
from etl.loaders.run_files import RunFiles
from etl.loaders.tables import Tables
from etl.loaders.version import is_current
from etl.runs.backfill import Past, backfill_stream
from etl.runs.doctor import (
    MAX_WAIT_S,
    Finding,
    Uncounted,
    examine_clock,
    examine_key,
    examine_required,
    examine_stream,
    trouble,
)
from etl.runs.outlook import Outlook, outlook
from etl.runs.rejects import retry_rejects
from etl.runs.report import Report, ending_of, not_begun
from etl.runs.sync import execute_unit
from etl.runs.work import Plan, Progress, Tools, rows_now
from etl.settings import Settings, is_own_machine
from etl.streams import STREAMS

_log = structlog.get_logger(__name__)

EMBEDDED = "embedded"

# What a command shows while it works: (project, stream) -> the progress of that unit.
Watch = Callable[[int, str], Progress]
# Asks for the status.
Look = Callable[[], Awaitable["Standing"]]


@dataclass(frozen=True, slots=True)
class Destination:
    """The database of one deployment, open. queue: where the queue listens, past any pooler."""

    database: Database
    tables: Tables
    queue: DatabaseAddress


@dataclass(frozen=True, slots=True)
class Standing:
    """What `status` shows: a row per project and stream, and what is on the queue per project."""

    streams: Sequence[dict[str, Any]]
    queue: Mapping[int, Jobs]


@asynccontextmanager
async def open_destination(settings: Settings) -> AsyncIterator[Destination]:
    """Open the database; an embedded one is started, and stopped by its last user.

    Raises ConfigurationError and DestinationError.
    """
    text = settings.require_database()
    server: EmbeddedPostgres | None = None
    if text == EMBEDDED:
        server = await asyncio.to_thread(
            EmbeddedPostgres.start, settings.data_dir.expanduser() / "postgres"
        )
    try:
        # A runner that stands still must lose its locks before its lease, and whoever takes over
        # must wait a little longer than that.
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
            yield Destination(database, Tables(settings.schema_name), queue)
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


async def prepare(destination: Destination, settings: Settings) -> None:
    """Bring the schema up to date, or say that it is not. Raises DestinationError."""
    if await is_current(destination.database, destination.tables):
        return
    if not settings.auto_migrate:
        raise DestinationError(
            "The database schema is not at the version this release needs",
            remedy="Run `posthog-etl migrate` with a role that may create tables",
        )
    from etl.loaders.migrate import migrate  # loads Alembic, which is seldom needed

    await History(destination.database, destination.tables).server_version()
    before, after = await migrate(destination.database, destination.tables)
    if before != after:
        _log.info("database.migrated", before=before, after=after)


@asynccontextmanager
async def open_tools(settings: Settings, destination: Destination) -> AsyncIterator[Tools]:
    """Open what units are executed with. Raises ConfigurationError and DestinationError."""
    database, tables = destination.database, destination.tables
    history = History(database, tables)
    budget = PostgresBudget(database, tables, settings.limits, settings.max_wait_s)
    clock = Clock(await history.database_now())
    async with open_client(settings, budget, clock, settings.max_wait_s) as client:
        yield Tools(
            client=client,
            database=database,
            budget=budget,
            leases=_leases(settings, destination),
            history=history,
            parents=ParentRows(database, tables),
            loader=lambda stream, resource: PostgresLoader(database, tables, stream, resource),
        )


def _leases(settings: Settings, destination: Destination) -> Leases:
    run_files = RunFiles(settings.data_dir.expanduser() / "runs")
    return Leases(destination.database, destination.tables, settings.lease_s, run_files)


@asynccontextmanager
async def open_client(
    settings: Settings, budget: Budget, clock: Clock, max_wait_s: float
) -> AsyncIterator[Client]:
    """Open the session to the API. Raises ConfigurationError."""
    key = settings.require_source()
    proxy, proxy_auth = proxy_of(URL(settings.host))
    async with aiohttp.ClientSession(
        headers={
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "User-Agent": f"posthog-etl/{__version__}",
        },
        timeout=aiohttp.ClientTimeout(
            total=settings.request_timeout_s, sock_connect=CONNECT_TIMEOUT_S
        ),
        connector=aiohttp.TCPConnector(ssl=_trust(settings)),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy,
        proxy_auth=proxy_auth,
    ) as session:
        yield Client(
            session,
            settings.host,
            budget,
            clock,
            RetryPolicy(attempts=settings.request_attempts),
            max_wait_s,
            secret=key,
        )


async def sync(
    settings: Settings,
    streams: Sequence[Stream],
    stop: asyncio.Event,
    watch: Watch,
    accept_deletions: Collection[str] = (),
    accept_counts: Collection[str] = (),
    *,
    accept_host: bool = False,
) -> list[Report]:
    """Bring `streams` of every project up to date; one report per unit.

    accept_deletions: names of streams of which more may vanish at once than the guard allows.
    accept_counts: names of streams whose server counts as many rows too many as in the last run.
    accept_host: the host is another address of the source that the database knows.
    A unit that fails does not keep the others from running, but for a refused key and a request to
    stop. Safe to repeat. Raises ConfigurationError and DestinationError before anything ran.
    """
    plan = plan_of(settings, accept_deletions, accept_counts)

    async def bring_up(tools: Tools, stream: Stream, project_id: int) -> list[Report]:
        progress = watch(project_id, stream.name)
        unit = Unit(project_id, stream.name, stream.unit)
        return [await execute_unit(tools, plan, stream, unit, stop, progress)]

    return await _for_each(settings, streams, stop, bring_up, accept_host=accept_host)


async def _for_each(
    settings: Settings,
    streams: Sequence[Stream],
    stop: asyncio.Event,
    work: Callable[[Tools, Stream, int], Awaitable[list[Report]]],
    *,
    accept_host: bool = False,
) -> list[Report]:
    """Do `work` for each stream of each project; one that fails does not keep the others out."""
    reports: list[Report] = []
    begun: set[int] = set()
    async with open_source(settings, accept_host=accept_host) as (_, tools):
        known = settings.host in await tools.history.hosts()
        for project in settings.projects:
            try:
                if stop.is_set():
                    raise not_begun()
                project_id = await project_id_of(tools.client, project)
            except EtlError as exc:
                reports += [Report(project, s.name, s.unit, ending_of(exc)) for s in streams]
                if isinstance(exc, KeyRefused):
                    return reports
                continue
            if project_id in begun:  # @current may be one that has a number here, too
                continue
            begun.add(project_id)
            for stream in streams:
                if stop.is_set():
                    ending = ending_of(not_begun())
                    reports.append(Report(project_id, stream.name, stream.unit, ending))
                    continue
                done = await work(tools, stream, project_id)
                reports += done
                if not known and any(r.records_read for r in done):
                    await tools.history.add_host(settings.host)
                    known = True
                if any(r.ending.exit_code == KeyRefused.exit_code for r in done):
                    return reports
    return reports


@asynccontextmanager
async def open_source(
    settings: Settings, *, accept_host: bool = False
) -> AsyncIterator[tuple[Destination, Tools]]:
    """Open both sides, with the schema up to date: the one way for all that asks the source.

    accept_host: the host is another address of the source that the database knows.
    Raises ConfigurationError and DestinationError.
    """
    settings.require_source()
    async with open_destination(settings) as destination:
        await prepare(destination, settings)
        async with open_tools(settings, destination) as tools:
            if not accept_host:
                doubt = refuse_other_source(settings.host, await tools.history.hosts())
                if doubt is not None:
                    _log.warning("source.doubted", reason=doubt)
            yield destination, tools


def refuse_other_source(host: str, known: Sequence[str]) -> str | None:
    """Raise ConfigurationError when the database holds the data of another server.

    Two servers number their projects alike, so one would overwrite and delete the other's rows.
    What listens on a port of this very machine may have moved there, as test servers do: then a
    warning is returned that names both addresses. None when there is no doubt.
    """
    names = [URL(each).host or "" for each in (host, *known)]
    if not known or host in known:
        return None
    if all(map(is_own_machine, names)):
        if URL(host).port in [URL(each).port for each in known]:
            return None  # the same server under another name of this machine
        return (
            f"This database holds data of {known[-1]}, and POSTHOG_HOST is {host}: taken for the "
            "same server, because both are this machine. If it is another one, set "
            "POSTHOG_ETL_SCHEMA to another name"
        )
    raise ConfigurationError(
        f"This database holds data of {known[-1]}, and POSTHOG_HOST is {host}",
        remedy="Set POSTHOG_ETL_SCHEMA to another name for another server; if it is the same one "
        "under another address, run `posthog-etl sync --accept-host` once",
    )


def plan_of(
    settings: Settings,
    accept_deletions: Collection[str] = (),
    accept_counts: Collection[str] = (),
) -> Plan:
    """Return how streams are read under these settings."""
    return Plan(
        start=settings.start,
        lookback=settings.grades,
        prefix=settings.api_prefix,
        page_size_records=settings.page_size_records,
        buffer_bytes=settings.buffer_bytes,
        guard=Guard(settings.deletion_guard_share, settings.deletion_guard_rows),
        accept_deletions=accept_deletions,
        accept_counts=accept_counts,
        confirm_requests=settings.confirm_requests,
        rotation_requests=settings.sharing_requests,
        recheck_after=parse_duration(settings.sharing_recheck),
        keep_fields=settings.keep_fields,
    )


async def backfill(
    settings: Settings, streams: Sequence[Stream], past: Past, stop: asyncio.Event, watch: Watch
) -> list[Report]:
    """Load past windows of every project; one report per window that was not complete.

    Safe to repeat after any death: what is known complete is not read again, and a window that was
    broken off goes on. Raises ConfigurationError and DestinationError before anything ran.
    """
    plan = plan_of(settings)

    async def load_past(tools: Tools, stream: Stream, project_id: int) -> list[Report]:
        progress = watch(project_id, stream.name)
        done = await backfill_stream(tools, plan, stream, project_id, past, stop, progress)
        if done:
            with contextlib.suppress(EtlError):  # the reports say what is wrong
                done[-1].rows = await rows_now(tools, stream, project_id)
        return done

    return await _for_each(settings, streams, stop, load_past)


async def foresee(
    settings: Settings, streams: Sequence[Stream], past: Past | None
) -> list[Outlook]:
    """Return what a sync, or a backfill of `past`, would do, before it does. Loads nothing.

    Asks the source for no more than a count, and only a server that counts. Raises EtlError.
    """
    plan = plan_of(settings)
    outlooks: list[Outlook] = []
    async with open_source(settings) as (_, tools):
        for project in settings.projects:
            project_id = await project_id_of(tools.client, project)
            for stream in streams:
                outlooks += await outlook(tools, plan, stream, project_id, past, settings.limits)
    return outlooks


async def check(settings: Settings, streams: Sequence[Stream]) -> list[Finding]:
    """Look at everything a sync needs, and go on past what is wrong. Writes no data.

    When required settings are missing, names them all and looks no further.
    """
    required = {"key": settings.require_source, "database": settings.require_database}
    findings = examine_required(required)
    if findings:
        return findings
    async with AsyncExitStack() as stack:
        budget: Budget = Uncounted()
        clock = Clock(datetime.now(UTC))
        try:
            destination = await stack.enter_async_context(open_destination(settings))
            database, tables = destination.database, destination.tables
            history = History(database, tables)
            clock = Clock(await history.database_now())
            findings.append(Finding("database", True, await history.server_version()))
            if await is_current(database, tables):
                findings.append(Finding("schema", True, f"{tables.schema}, up to date"))
                budget = PostgresBudget(database, tables, settings.limits, MAX_WAIT_S)
                findings += _look_at_hosts(settings.host, await history.hosts())
            else:
                findings.append(await _not_migrated(settings, history))
        except EtlError as exc:
            findings.append(trouble("database", exc))
        client = await stack.enter_async_context(
            open_client(settings, budget, clock, max_wait_s=MAX_WAIT_S)
        )
        findings += await _check_source(client, settings, streams)
    return findings


def _look_at_hosts(host: str, known: Sequence[str]) -> list[Finding]:
    try:
        doubt = refuse_other_source(host, known)
    except EtlError as exc:
        return [trouble("source", exc)]
    return [] if doubt is None else [Finding("source", True, doubt)]


async def _not_migrated(settings: Settings, history: History) -> Finding:
    if settings.auto_migrate and await history.may_create():
        return Finding("schema", True, "not there or not up to date; the next sync migrates it")
    return Finding(
        "schema",
        False,
        "Not up to date, and this role may not change it. Run `posthog-etl migrate` with a role "
        "that may create schemas",
        EXIT_FAILED,
    )


async def _check_source(
    client: Client, settings: Settings, streams: Sequence[Stream]
) -> list[Finding]:
    key, scopes = await examine_key(client)
    findings = [key]
    if not key.well:
        return findings
    findings.append(examine_clock(client))
    for project in settings.projects:
        try:
            project_id = await project_id_of(client, project)
        except EtlError as exc:
            findings.append(trouble(f"project {project}", exc))
            continue
        for stream in streams:
            findings.append(
                await examine_stream(client, stream, project_id, settings.api_prefix, scopes)
            )
    return findings


async def runs(settings: Settings, limit: int) -> list[dict[str, Any]]:
    """Return the latest runs, newest first. Raises DestinationError."""
    async with _open_history(settings) as history:
        return [dict(row) for row in await history.runs(limit)]


async def rejects(settings: Settings, limit: int, *, resolved: bool) -> list[dict[str, Any]]:
    """Return what was set aside, newest first. Raises DestinationError."""
    async with _open_history(settings) as history:
        return [dict(row) for row in await history.rejects(limit, resolved=resolved)]


async def retry(settings: Settings, streams: Sequence[Stream]) -> list[Report]:
    """Replay what was set aside, in every project; needs no API. Raises DestinationError."""
    async with open_destination(settings) as destination:
        await prepare(destination, settings)
        database, tables = destination.database, destination.tables
        history, leases = History(database, tables), _leases(settings, destination)
        return [
            await retry_rejects(
                leases,
                history,
                lambda name, resource: PostgresLoader(database, tables, name, resource),
                stream,
                project_id,
            )
            for stream in streams
            for project_id in await history.projects_with_rejects(stream.name)
        ]


async def migrate_only(
    settings: Settings, revision: str = "head", agree: Callable[[str], None] | None = None
) -> tuple[str, str]:
    """Migrate the schema and return the versions before and after. Safe to repeat.

    agree: told what an older version destroys, before it is; raises what keeps it from being.
    """
    from etl.loaders.migrate import loss_of_migrating, migrate

    async with open_destination(settings) as destination:
        database, tables = destination.database, destination.tables
        if agree is not None and revision != "head":
            loss = await loss_of_migrating(database, tables, revision)
            if loss.rows:
                agree(f"Going from {loss.before} to {revision} destroys data: {loss}")
        return await database.repeat(lambda: migrate(database, tables, revision))


async def status(settings: Settings) -> Standing:
    """Return how far each stream is. Raises DestinationError.

    complete: what is known complete. holes: what is not, from `start` on. incremental: whether
    the server lets us read only what is young; reads_front: whether its count tells when that is
    not enough. unaccounted: how many rows of its count are not explained. turns: of a stream that
    is read in rotation.
    """
    async with open_status(settings) as look:
        return await look()


@asynccontextmanager
async def open_status(settings: Settings) -> AsyncIterator[Look]:
    """Open the database once, to ask for the status again and again. Raises DestinationError."""
    async with _open_looking(settings) as destination:
        yield lambda: _look(settings, destination)


async def _look(settings: Settings, destination: Destination) -> Standing:
    database, tables = destination.database, destination.tables
    history, parents = History(database, tables), ParentRows(database, tables)
    recheck_after = parse_duration(settings.sharing_recheck)
    rows = [dict(row) for row in await history.status()]
    for row in rows:
        row["turns"] = None
        stream = STREAMS.get(row["stream"])
        if stream is not None and stream.mode is Mode.ROTATION:
            asked_for = stream.resources[0].parents
            assert asked_for is not None
            row["turns"] = await parents.turns(
                row["project_id"], stream.name, asked_for, recheck_after
            )
    for row in rows:
        complete, traits = row["complete"], row.pop("traits") or {}
        before = known_before(traits, settings.start, complete)
        row["before_start"] = before
        row["before_start_hint"] = before and hint_before(row["stream"], settings.start)
        row["unaccounted"] = unaccounted_of(traits)
        row["reads_front"] = Counted.of(traits) is not None
        row["incremental"] = traits.get("date_filter") not in ("refused", "ignored")
        until = complete.until
        within = None if until is None else Span(settings.start, max(until, settings.start))
        row["holes"] = [] if within is None else complete.holes(within)
    return Standing(rows, await count_jobs(database, tables))


@asynccontextmanager
async def _open_history(settings: Settings) -> AsyncIterator[History]:
    async with _open_looking(settings) as destination:
        yield History(destination.database, destination.tables)


@asynccontextmanager
async def _open_looking(settings: Settings) -> AsyncIterator[Destination]:
    async with open_destination(settings) as destination:
        if not await is_current(destination.database, destination.tables):
            raise DestinationError(
                "The database holds no posthog-etl tables of this version",
                remedy="Run `posthog-etl sync` or `posthog-etl migrate` first",
            )
        yield destination


async def project_ids_of(client: Client, settings: Settings) -> list[int]:
    """Return the numbers of the projects, each once. Raises EtlError."""
    numbers = [await project_id_of(client, project) for project in settings.projects]
    return list(dict.fromkeys(numbers))


async def project_id_of(client: Client, project: str) -> int:
    """Return the number of a project; of @current the source has to say it. Raises EtlError."""
    if project != "@current":
        return int(project)
    request = Request("/api/projects/@current/", (), (CRUD,))
    found = parse_object((await client.fetch(request)).body).get("id")
    if not isinstance(found, int):
        raise ConfigurationError(
            "The server does not say which project is @current",
            remedy="Set POSTHOG_PROJECT_ID to the number in the project's settings",
        )
    return found


def _trust(settings: Settings) -> ssl.SSLContext | bool:
    """Return what certificates are verified with; True: aiohttp's own context, made already."""
    if settings.ca_file is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(settings.ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigurationError(
            f"POSTHOG_ETL_CA_FILE {settings.ca_file} holds no certificates: {exc}"
        ) from exc
    return context
