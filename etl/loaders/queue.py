"""The queue of units in Postgres: PgQueuer's tables, and what is asked of them beside PgQueuer.

It listens for notifications, so it has a connection of its own that leads straight to the server:
a transaction-mode pooler does not pass them on. The tables are in the schema of the bookkeeping,
whose name PgQueuer would not quote: the connection finds them by its search path.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import orjson
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from etl.errors import DestinationError
from etl.loaders.address import DatabaseAddress
from etl.loaders.database import CONNECT_TIMEOUT_S, Database, translated
from etl.loaders.statements import literal, quoted
from etl.loaders.tables import Tables

if TYPE_CHECKING:
    from pgqueuer.adapters.persistence.queries import Queries
    from pgqueuer.domain.settings import DBSettings

Q = TypeVar("Q", bound="Queries")

# A process that is suspended or cut off must not block the queue for the others.
_TIMEOUTS = {
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "10s",
}
# Without an answer for so long the connection counts as lost, in seconds.
_ANSWER_WITHIN_S = 15.0

_DOCUMENT = "convert_from(payload, 'UTF8')::jsonb"


# Comments of PgQueuer's tables, and what each of them ends with.
OWNER = " (PgQueuer's table)."
QUEUE_TABLES = {
    "pgqueuer": "Units of work that wait for a worker, or that one has taken",
    "pgqueuer_log": "What became of the jobs of the last day",
    "pgqueuer_schedules": "Not used here",
    "pgqueuer_statistics": "Not used here",
}


class NewJob(Struct, frozen=True):
    """A job to be put on the queue: the same `key` is never there twice at once."""

    key: str
    document: Mapping[str, Any]


class TakenJob(Struct, frozen=True):
    """A job that this worker has. attempts: how often it was put back."""

    id: int
    payload: bytes | None
    attempts: int
    created: datetime


class Jobs(Struct, frozen=True):
    """How many jobs of a project are on the queue.

    due: a worker could take them now. later: they wait for the request budget, or for their next
    attempt. at_work: workers have them.
    """

    due: int
    later: int
    at_work: int

    def __str__(self) -> str:
        return f"{self.due:,} due, {self.at_work:,} worked on, {self.later:,} for later"

    @property
    def untouched(self) -> bool:
        """Whether no worker has taken any, though it could."""
        return self.due > 0 and not self.at_work


def channel_of(bookkeeping: str) -> str:
    """Return the name under which a deployment's queue says that it changed."""
    return f"posthog_etl_{hashlib.sha256(bookkeeping.encode()).hexdigest()[:16]}"


def queue_settings(bookkeeping: str) -> DBSettings:
    """Return PgQueuer's settings, every one given: what the environment says is not for us."""
    from pgqueuer.domain.settings import DBSettings, Durability

    return DBSettings.model_validate(
        {
            "prefix": "",
            "db_schema": None,
            "channel": channel_of(bookkeeping),
            "function": "fn_pgqueuer_changed",
            "statistics_table": "pgqueuer_statistics",
            "queue_status_type": "pgqueuer_status",
            "queue_table": "pgqueuer",
            "queue_table_log": "pgqueuer_log",
            "trigger": "tg_pgqueuer_changed",
            "schedules_table": "pgqueuer_schedules",
            "durability": Durability.durable,
            "widen_id": False,
        }
    )


def queue_script(bookkeeping: str) -> str:
    """Return the SQL that makes PgQueuer's tables, for an empty search path but the bookkeeping."""
    from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

    builder = QueryBuilderEnvironment(queue_settings(bookkeeping))
    comments = [
        f"COMMENT ON TABLE {name} IS {literal(about + OWNER)};"
        for name, about in QUEUE_TABLES.items()
    ]
    return "\n".join([builder.build_install_query(create_schema=False), *comments])


def entrypoint_of(project_id: int) -> str:
    """Return what PgQueuer calls the jobs of a project."""
    return f"project:{project_id}"


class Queue:
    """The queue on one open connection; PgQueuer's driver lets one statement after the other go.

    lost: set once the connection is gone.
    """

    def __init__(self, connection: asyncpg.Connection, bookkeeping: str) -> None:
        from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
        from pgqueuer.adapters.persistence.qb import (
            QueryBuilderEnvironment,
            QueryQueueBuilder,
            QuerySchedulerBuilder,
        )

        settings = queue_settings(bookkeeping)
        self._connection = connection
        self._bookkeeping = bookkeeping
        self.channel = settings.channel
        self.driver = AsyncpgDriver(connection)
        self.lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: self.lost.set())
        self._builders = (
            QueryBuilderEnvironment(settings),
            QueryQueueBuilder(settings),
            QuerySchedulerBuilder(settings),
        )

    def queries(self, kind: type[Q]) -> Q:
        """Return PgQueuer's `Queries`, or a kind of them, over this queue."""
        return kind(self.driver, *self._builders)

    async def put(self, project_id: int, jobs: Sequence[NewJob], priority: int = 0) -> list[str]:
        """Queue the jobs and return the keys of those that were not there. Within `exclusively`.

        The nth job of each project ranks the same, so that projects take turns whoever queues
        more. priority: added to that.
        """
        from pgqueuer.adapters.persistence.queries import Queries

        if not jobs:
            return []
        entrypoint = entrypoint_of(project_id)
        waiting = await self._value(
            "SELECT count(*) FROM pgqueuer WHERE entrypoint = $1", entrypoint
        )
        ids = await self.queries(Queries).enqueue(
            [entrypoint] * len(jobs),
            [orjson.dumps(dict(job.document)) for job in jobs],
            [priority - waiting - nth for nth in range(len(jobs))],
            dedupe_key=[job.key for job in jobs],
            on_conflict="skip",
        )
        return [job.key for job, found in zip(jobs, ids, strict=True) if found is not None]

    @asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Open a transaction in which nobody else decides what to queue.

        Raises DestinationError.
        """
        with translated():
            async with self._connection.transaction():
                await self.driver.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
                    f"{self._bookkeeping}.queue",
                )
                yield

    async def documents(
        self, project_id: int, *, but: int | None = None
    ) -> list[Mapping[str, Any]]:
        """Return what is queued or worked on for a project, but for one job."""
        rows = await self.driver.fetch(
            f"SELECT {_DOCUMENT}::text AS document FROM pgqueuer "
            "WHERE entrypoint = $1 AND status IN ('queued', 'picked') AND id IS DISTINCT FROM $2",
            entrypoint_of(project_id),
            but,
        )
        return [orjson.loads(str(row["document"])) for row in rows]

    async def others_wait(self, project_id: int, projects: Sequence[int], for_s: float) -> bool:
        """Tell whether a job of another of `projects` has been ready for `for_s` seconds."""
        found = await self._value(
            "SELECT EXISTS (SELECT FROM pgqueuer WHERE status = 'queued' AND entrypoint = ANY($1) "
            "AND execute_after < now() - $2::interval)",
            [entrypoint_of(each) for each in projects if each != project_id],
            timedelta(seconds=for_s),
        )
        return bool(found)

    async def command_waits(self, command: str, projects: Sequence[int], for_s: float) -> bool:
        """Tell whether a job of this command has been ready for `for_s` seconds."""
        found = await self._value(
            "SELECT EXISTS (SELECT FROM pgqueuer WHERE status = 'queued' AND entrypoint = ANY($1) "
            f"AND execute_after < now() - $2::interval AND {_DOCUMENT} ->> 'command' = $3)",
            [entrypoint_of(each) for each in projects],
            timedelta(seconds=for_s),
            command,
        )
        return bool(found)

    async def defer(self, stream: str, commands: Sequence[str], seconds: float) -> None:
        """Let no queued job of a stream be taken before so many seconds. Safe to repeat."""
        await self.driver.execute(
            "UPDATE pgqueuer SET execute_after = greatest(execute_after, now() + $3::interval) "
            f"WHERE status = 'queued' AND {_DOCUMENT} ->> 'stream' = $1 "
            f"AND {_DOCUMENT} ->> 'command' = ANY($2)",
            stream,
            commands,
            timedelta(seconds=seconds),
        )

    async def note_failure(self, job_id: int, *, first: bool) -> int:
        """Count one more failure of a job, and return how many there are in a row.

        first: it got on since the last one.
        """
        count = await self._value(
            "UPDATE pgqueuer SET headers = jsonb_build_object('failures', "
            "CASE WHEN $2 THEN 0 ELSE coalesce((headers ->> 'failures')::int, 0) END + 1) "
            "WHERE id = $1 RETURNING (headers ->> 'failures')::int",
            job_id,
            first,
        )
        return int(count or 1)

    async def _value(self, statement: str, *arguments: object) -> Any:
        rows = await self.driver.fetch(statement, *arguments)
        return next(iter(rows[0].values())) if rows else None


async def count_jobs(database: Database, tables: Tables) -> Mapping[int, Jobs]:
    """Return the numbers of each project that has jobs on the queue. Raises DestinationError."""
    query = text(
        "SELECT split_part(entrypoint, ':', 2)::bigint, "
        "count(*) FILTER (WHERE status = 'queued' AND execute_after <= now()), "
        "count(*) FILTER (WHERE status = 'queued' AND execute_after > now()), "
        "count(*) FILTER (WHERE status = 'picked') "
        f"FROM {quoted(tables.bookkeeping)}.pgqueuer GROUP BY 1 ORDER BY 1"
    )
    async with database.transaction() as connection:
        return {row[0]: Jobs(*row[1:]) for row in await connection.execute(query)}


@asynccontextmanager
async def open_queue(address: DatabaseAddress, bookkeeping: str) -> AsyncIterator[Queue]:
    """Open a connection of the queue's own. Raises DestinationError.

    Its settings come with the connection, since those of a session would stay with a pooler and be
    met by others.
    """
    with _naming(address.setting), translated():
        _, arguments = PGDialect_asyncpg().create_connect_args(address.url)  # type: ignore[no-untyped-call]
        arguments |= {"timeout": CONNECT_TIMEOUT_S, **address.connect_args}
        arguments.pop("prepared_statement_cache_size", None)
        settings = {"search_path": quoted(bookkeeping), **_TIMEOUTS}
        arguments["server_settings"] = {**arguments.get("server_settings", {}), **settings}
        try:
            connection = await asyncpg.connect(**arguments, command_timeout=_ANSWER_WITHIN_S)
        except asyncpg.ProtocolViolationError as exc:
            raise _behind_a_pooler() from exc
        try:
            found = await connection.fetchval("SELECT current_setting('search_path')")
            if found != settings["search_path"]:
                raise _behind_a_pooler()
            yield Queue(connection, bookkeeping)
        finally:
            connection.terminate() if connection.is_closed() else await _close(connection)


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    """Let errors name the setting that this address is from."""
    try:
        yield
    except DestinationError as exc:
        raise type(exc)(
            exc.message, remedy=re.sub(r"\bDATABASE_URL\b", setting, exc.remedy)
        ) from exc.__cause__


def _behind_a_pooler() -> DestinationError:
    return DestinationError(
        "A pooler stands before the queue's Postgres, and the queue needs a session of its own",
        remedy="Set POSTHOG_ETL_QUEUE_DATABASE_URL to the address of the server itself",
    )


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=2)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
