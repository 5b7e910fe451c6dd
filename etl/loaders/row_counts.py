"""Count the rows of data tables; those of a large table are estimated.

A count reads the whole table. Neither a sync without news nor a page may cost so much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Table, select, text

from etl.loaders.connection import AsyncConnection

# The rows of a larger table are estimated.
COUNTED_ROWS = 1_000_000


class Count(Struct, frozen=True):
    """How many rows of a project a table holds, without deleted ones; or an estimate of it."""

    rows: int
    exact: bool = True


async def large_tables(
    connection: AsyncConnection, schema: str, counted_rows: int = COUNTED_ROWS
) -> set[str]:
    """Return the tables of a schema that have more than `counted_rows` rows."""
    found = await connection.execute(
        text(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = :schema AND c.reltuples > :rows"
        ),
        {"schema": schema, "rows": counted_rows},
    )
    return set(found.scalars())


async def estimate(
    connection: AsyncConnection, table: Table, own: Sequence[ColumnElement[bool]]
) -> Count:
    """Return the server's own estimate of the rows for which `own` is true."""
    # Not `alive`: the server has no statistics of that expression.
    marks = [table.c[name] for name in ("_deleted_at", "_expired_at") if name in table.c]
    query = select(table.c.project_id).where(*own, *(mark.is_(None) for mark in marks))

    def explain(core: Connection) -> Any:
        compiled = query.compile(core, compile_kwargs={"literal_binds": True})
        return core.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}").scalar_one()

    plan = await connection.run_sync(explain)
    return Count(int(plan[0]["Plan"]["Plan Rows"]), exact=False)
