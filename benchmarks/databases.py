"""The bench's Postgres: a new database for every first load, and whether a copy is complete."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from records import Truth

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.embedded import EmbeddedPostgres
from etl.loaders.migrate import migrate
from etl.loaders.tables import Tables

# What a small hosted server has. Checkpoints come by time, not in the middle of each first load.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
_MIGRATED = "migrated"


class Databases:
    """The databases of one Postgres."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self.postgres_pid = server.server_pid
        self._execute(f'CREATE DATABASE "{_MIGRATED}"')
        asyncio.run(self._migrate())

    def dsn(self, name: str) -> str:
        """Return the DSN of a database."""
        return self._server.dsn.replace("/postgres?", f"/{name}?")

    def make(self, name: str, *, migrated: bool) -> str:
        """Make a database anew and return its DSN."""
        self.drop(name)
        template = _MIGRATED if migrated else "template1"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self.settle()
        return self.dsn(name)

    def drop(self, name: str) -> None:
        """Remove a database, if there is one of this name."""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def settle(self) -> None:
        """Write out what earlier commands have left, so that the next one does not pay for it."""
        self._execute("CHECKPOINT")

    def fetch(self, name: str, statement: str) -> Any:
        """Return the first row of a query."""

        async def ask() -> Any:
            connection = await asyncpg.connect(self.dsn(name))
            try:
                return await connection.fetchrow(statement)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def rows_written(self, name: str) -> int:
        """Return how many rows of data were ever written; the bookkeeping is not data."""
        # A process that has ended has told all its counts.
        row = self.fetch(
            name,
            "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint AS count "
            "FROM pg_stat_user_tables "
            "WHERE schemaname NOT LIKE '%\\_etl' AND schemaname NOT LIKE 'pg\\_temp%'",
        )
        return int(row["count"])

    def copied(self, name: str, recordings: str, persons: str | None, truth: Truth) -> Truth:
        """Return what is in the tables, in the terms of the truth.

        persons: None if the contender keeps no table of them; they are then taken as right.
        """
        count = truth.persons if persons is None else f"(SELECT count(*) FROM {persons})"
        row = self.fetch(
            name,
            f"SELECT count(DISTINCT id) AS recordings, {count} AS persons, "
            "sum(click_count)::bigint AS clicks, min(start_time) AS oldest_at, "
            f"max(start_time) AS newest_at FROM {recordings}",
        )
        return Truth(**row)

    def _execute(self, statement: str) -> None:
        async def execute() -> None:
            connection = await asyncpg.connect(self._server.dsn)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(execute())

    async def _migrate(self) -> None:
        database = Database(parse_database_url(self.dsn(_MIGRATED)), Timeouts())
        await migrate(database, Tables("posthog"))
        await database.close()


@contextmanager
def running_databases() -> Iterator[tuple[Databases, Path]]:
    """Run a Postgres as long as it is needed; with it comes a directory for anything else."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # Postgres may run as another user
        with EmbeddedPostgres.start(Path(name) / "postgres", options=SETTINGS) as server:
            yield Databases(server), Path(name)
