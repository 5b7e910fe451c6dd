"""Make the schema of a new database from one script, without loading Alembic.

Alembic takes more than a second to make it; see docs/decisions/0017-new-database.md.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.queue import queue_script
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables
from etl.loaders.version import VERSION_TABLE, migrations_dir, newest_revision

# In the script these stand for the schemas, as quoted names.
DATA, BOOK = "{data}", "{book}"
# PgQueuer does not quote a schema. The transaction ends soon, and the setting with it.
_SEARCH = "SELECT set_config('search_path', $1, true)"
# Another process may be migrating, and building indexes takes long: wait without a limit.
PATIENT = {
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "60000",
}


def script_path() -> Path:
    """Return the path of the script; its first line names the revision that it makes."""
    return migrations_dir() / "schema.sql"


async def lock_migrations(connection: AsyncConnection, tables: Tables) -> None:
    """Wait until no other process changes the schema of this deployment."""
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
        {"name": f"{tables.bookkeeping}.migrate"},
    )


async def upgrade(database: Database, tables: Tables) -> tuple[str, str]:
    """Bring the schema to the version this code needs. Return the versions before and after.

    Safe to repeat, also by several processes at once. Raises DestinationError.
    """
    made = await _make(database, tables)
    if made == newest_revision():
        return "base", made
    from etl.loaders.migrate import migrate

    before, after = await migrate(database, tables)
    return ("base" if made else before), after


async def _make(database: Database, tables: Tables) -> str | None:
    """Make the schema and return its version; None if there is one, or if its name is odd."""
    if not (tables.schema.isidentifier() and tables.schema.isascii()):
        return None  # the script may hold the name inside of a text
    head, script = script_path().read_text(encoding="utf-8").split("\n", 1)
    revision = head.split()[2].rstrip(".")
    names = {DATA: tables.schema, BOOK: tables.bookkeeping}
    for mark, name in names.items():
        script = script.replace(mark, quoted(name))
    versions = f"{quoted(tables.bookkeeping)}.{VERSION_TABLE}"
    async with database.transaction(PATIENT) as connection:
        await lock_migrations(connection, tables)
        driver = await driver_of(connection)
        if await driver.fetchval("SELECT to_regclass($1)", versions) is not None:
            return None
        for name in (*names.values(), tables.queried.schema):
            if await driver.fetchval("SELECT to_regnamespace($1)", quoted(name)) is None:
                await driver.execute(f"CREATE SCHEMA {quoted(name)}")
        await driver.execute(script)
        await driver.execute(_SEARCH, quoted(tables.bookkeeping))
        await driver.execute(queue_script(tables.bookkeeping))
        await driver.execute(
            f"CREATE TABLE {versions} (version_num varchar(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        await driver.execute(f"INSERT INTO {versions} VALUES ($1)", revision)
    return revision
