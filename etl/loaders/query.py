"""SQL of the demo: empty the database, then run read-only queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from etl.loaders.database import Database


async def answer(database: Database, sql: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """Return column names and rows. Raises DestinationError, also if `sql` would write."""
    async with database.transaction({"transaction_read_only": "on"}) as connection:
        result = await connection.execute(text(sql))
        return list(result.keys()), [tuple(row) for row in result]


async def drop_schemas(database: Database, names: Sequence[str]) -> None:
    """Drop these schemas with all they hold. Raises DestinationError. Safe to repeat."""
    async with database.transaction() as connection:
        for name in names:
            await connection.execute(text(f'DROP SCHEMA IF EXISTS "{name}" CASCADE'))
