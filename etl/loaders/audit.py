"""Notes what commands that destroy data have done, without a word about whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select

from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables


async def note(
    connection: AsyncConnection,
    tables: Tables,
    command: str,
    project_id: int | None,
    rows: Mapping[str, int],
) -> None:
    """Note how many rows a command has deleted or changed, by table."""
    await connection.execute(
        insert(tables.audit).values(
            at=func.now(), command=command, project_id=project_id, rows=dict(rows)
        )
    )


async def note_if_kept(
    database: Database, tables: Tables, command: str, rows: Mapping[str, int]
) -> None:
    """Note it if the schema, as it is now, has the table. Raises DestinationError."""
    name = f"{quoted(tables.bookkeeping)}.audit"
    for attempt in database.attempts():
        async with attempt, database.transaction() as connection:
            driver = await driver_of(connection)
            if await driver.fetchval("SELECT to_regclass($1)", name) is not None:
                await note(connection, tables, command, None, rows)


async def noted(database: Database, tables: Tables, command: str) -> Sequence[dict[str, Any]]:
    """Return what a command has done, the latest first. Raises DestinationError."""
    table = tables.audit
    for attempt in database.attempts():
        async with attempt, database.transaction() as connection:
            found = await connection.execute(
                select(table.c.at, table.c.project_id, table.c.rows)
                .where(table.c.command == command)
                .order_by(table.c.at.desc())
            )
            rows = [dict(row) for row in found.mappings()]
    return rows
