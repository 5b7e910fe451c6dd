"""Bring the schema up to date with Alembic, in one transaction. Several processes may try."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from msgspec import Struct
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateSchema

from etl.errors import ConfigurationError
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.fresh import PATIENT, lock_migrations
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables
from etl.loaders.version import VERSION_TABLE, migrations_dir


def alembic_config(connection: Connection, tables: Tables) -> Config:
    """Return Alembic's configuration for one deployment on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    config.attributes.update(connection=connection, tables=tables)
    return config


def schemas(context: MigrationContext) -> tuple[str, str]:
    """Return the schemas of the deployment being migrated: of the data, and of the bookkeeping.

    Migration scripts need them: Alembic does not translate schema names in ALTER TABLE.
    """
    assert context.config is not None
    tables: Tables = context.config.attributes["tables"]
    return tables.schema, tables.bookkeeping


class Loss(Struct, frozen=True):
    """What a downgrade destroys, as counts: rows by table, values by column."""

    before: str
    rows: Mapping[str, int]

    def __str__(self) -> str:
        """Return it in words, the largest count first."""
        most_first = sorted(self.rows.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count:,} in {name}" for name, count in most_first)


async def loss_of_migrating(database: Database, tables: Tables, revision: str) -> Loss:
    """Return what `migrate` to this revision would destroy. Changes nothing.

    It runs the downgrade and rolls it back, so it holds its locks for a moment. Raises
    DestinationError.
    """

    def run(connection: Connection) -> Loss:
        before = _version(connection, tables)
        config = alembic_config(connection, tables)
        older = revision == "base" or _is_older(config, _resolved(config, revision), before)
        if before == "base" or not older:
            return Loss(before, {})
        there = _columns(connection, tables)
        attempt = connection.begin_nested()
        command.downgrade(config, revision)
        left = _columns(connection, tables)
        attempt.rollback()
        counts = {}
        for table, columns in there.items():
            full = ".".join(quoted(part) for part in table)
            if table not in left:
                gone = {".".join(table): "*"}
            else:
                gone = {f"{'.'.join(table)}.{c}": quoted(c) for c in columns - left[table]}
            for name, counted in gone.items():
                counts[name] = connection.exec_driver_sql(
                    f"SELECT count({counted}) FROM {full}"
                ).scalar_one()
        return Loss(before, {name: int(count) for name, count in counts.items() if count})

    async with database.transaction({"statement_timeout": "0"}) as connection:
        return await connection.run_sync(run)


def _columns(connection: Connection, tables: Tables) -> dict[tuple[str, str], set[str]]:
    """Return the columns of every table of the deployment."""
    found = connection.execute(
        text(
            "SELECT n.nspname, c.relname, a.attname FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "WHERE c.relkind IN ('r', 'p') AND n.nspname IN (:data, :book) "
            "AND c.relname <> :version"
        ),
        {"data": tables.schema, "book": tables.bookkeeping, "version": VERSION_TABLE},
    )
    columns: dict[tuple[str, str], set[str]] = {}
    for schema, table, column in found:
        columns.setdefault((schema, table), set()).add(column)
    return columns


async def migrate(database: Database, tables: Tables, revision: str = "head") -> tuple[str, str]:
    """Upgrade (or downgrade to an older revision). Return the versions before and after.

    Everything is one transaction: if it is killed, nothing has changed. Safe to repeat, also by
    several processes at once: the second waits for the first and finds nothing to do.

    Raises ConfigurationError for an unknown revision, and DestinationError.
    """

    def run(connection: Connection) -> tuple[str, str]:
        before = _version(connection, tables)
        config = alembic_config(connection, tables)
        if revision == "base" or _is_older(config, _resolved(config, revision), before):
            command.downgrade(config, revision)
        elif before != _resolved(config, revision):
            for schema in (tables.schema, tables.queried.schema, tables.bookkeeping):
                if not inspect(connection).has_schema(schema):
                    connection.execute(CreateSchema(schema))
            command.upgrade(config, revision)
        return before, _version(connection, tables)

    async with database.transaction(PATIENT) as connection:
        await lock_migrations(connection, tables)
        return await connection.run_sync(run)


def ours(tables: Tables, name: str | None, kind: str) -> bool:
    """Tell whether Alembic compares this object. It leaves out the queue's tables (PgQueuer's)."""
    if kind == "schema":
        return name in (tables.schema, tables.bookkeeping)
    return not (kind == "table" and (name or "").startswith("pgqueuer"))


async def differences(connection: AsyncConnection, tables: Tables) -> list[Any]:
    """Return the differences between the database and the tables; empty if there are none."""
    from alembic.autogenerate import compare_metadata

    def compare(sync: Connection) -> list[Any]:
        context = MigrationContext.configure(
            sync,
            opts={
                "include_schemas": True,
                "compare_type": True,
                "version_table_schema": tables.bookkeeping,
                "include_name": lambda name, kind, _: ours(tables, name, kind),
            },
        )
        return list(compare_metadata(context, tables.metadata))

    return await connection.run_sync(compare)


def _resolved(config: Config, revision: str) -> str:
    try:
        script = ScriptDirectory.from_config(config).get_revision(revision)
    except CommandError as exc:
        raise ConfigurationError(
            f"There is no version {revision!r} of the schema",
            remedy="Write head, or base for no tables at all",
        ) from exc
    return script.revision


def _is_older(config: Config, revision: str, before: str) -> bool:
    newest_first = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    return before in newest_first and newest_first.index(revision) > newest_first.index(before)


def _version(connection: Connection, tables: Tables) -> str:
    context = MigrationContext.configure(
        connection,
        opts={"version_table": VERSION_TABLE, "version_table_schema": tables.bookkeeping},
    )
    return context.get_current_revision() or "base"
