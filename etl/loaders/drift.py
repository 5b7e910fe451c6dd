"""The drift table: fields and types that the catalogue did not expect, each written once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from etl.core.drift import Drift, news
from etl.core.query import PREFIX
from etl.loaders.connection import AsyncConnection
from etl.loaders.tables import Tables
from etl.streams import TABLE_SPECS

_log = structlog.get_logger(__name__)

# What was expected, by table and field.
_Known = Mapping[tuple[str, str], str | None]


class DriftTable:
    """The rows of one stream. Runs in transactions that others open."""

    def __init__(self, tables: Tables, stream: str) -> None:
        self._table = tables.drift
        self._bookkeeping = tables.bookkeeping
        self._stream = stream
        # By project, the rows that were committed before; at most MOST_FIELDS of each.
        self._known: dict[int, _Known] = {}

    async def note(
        self, connection: AsyncConnection, project_id: int, drift: Collection[Drift]
    ) -> Sequence[Drift]:
        """Write what was not known; return it. What is known costs no statement.

        Safe to repeat. Two runs that find the same at once write and return it once.
        """
        if not news(self._known.get(project_id, {}), drift):
            return ()
        if not news(await self._read(connection, project_id), drift):
            return ()
        name = f"{self._bookkeeping}.drift.{project_id}.{self._stream}"
        await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
        written = news(await self._read(connection, project_id), drift)
        if written:
            await connection.execute(self._upsert(project_id, written))
        return written

    async def _read(self, connection: AsyncConnection, project_id: int) -> _Known:
        t = self._table
        found = await connection.execute(
            select(t.c.table_name, t.c.field, t.c.expected).where(
                t.c.project_id == project_id, t.c.stream == self._stream
            )
        )
        known = {(row.table_name, row.field): row.expected for row in found}
        self._known[project_id] = known
        return known

    def _upsert(self, project_id: int, drift: Sequence[Drift]) -> Any:
        row = insert(self._table).values(
            [
                {
                    "project_id": project_id,
                    "stream": self._stream,
                    "table_name": each.table,
                    "field": each.field,
                    "expected": each.expected,
                    "found": each.found,
                    "first_seen_at": func.now(),
                }
                for each in drift
            ]
        )
        names = ("expected", "found", "first_seen_at")
        return row.on_conflict_do_update(
            constraint="drift_pkey", set_={name: row.excluded[name] for name in names}
        )


def log_drift(drift: Sequence[Drift]) -> None:
    """Log what a committed batch has shown for the first time."""
    for each in drift:
        _log.warning(
            "drift.found",
            table=each.table,
            field=each.field,
            expected=each.expected,
            found=each.found,
        )


async def drift_by_stream(
    connection: AsyncConnection, tables: Tables
) -> Mapping[tuple[int, str], Sequence[Mapping[str, Any]]]:
    """Return the drift of each project and stream, without what the catalogue expects by now."""
    t = tables.drift
    query = select(t).order_by(t.c.project_id, t.c.stream, t.c.first_seen_at, t.c.field)
    found: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for row in (await connection.execute(query)).mappings():
        names = ("table_name", "field", "expected", "found", "first_seen_at")
        own = {name: row[name] for name in names}
        if row["stream"].startswith(PREFIX) or _still_differs(own):
            found.setdefault((row["project_id"], row["stream"]), []).append(own)
    return found


def _still_differs(row: Mapping[str, Any]) -> bool:
    spec = TABLE_SPECS.get(row["table_name"])
    if spec is None:
        return False
    field = next((field for field in spec.fields if field.name == row["field"]), None)
    if field is None:
        return row["expected"] is None
    return row["expected"] == field.kind.json_type and not field.expects(row["found"])
