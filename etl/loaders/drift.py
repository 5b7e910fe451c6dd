"""The drift table: fields and types that the catalogue did not expect, each written once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from etl.core.drift import MOST_FIELDS, Drift
from etl.core.stream import TableSpec
from etl.loaders.leases import Unit
from etl.loaders.tables import Tables
from etl.streams import TABLE_SPECS

_log = structlog.get_logger(__name__)


class DriftTable:
    """Runs in transactions that others open."""

    def __init__(self, tables: Tables) -> None:
        self._table = tables.drift

    async def note(
        self, connection: AsyncConnection, unit: Unit, drift: Collection[Drift]
    ) -> Sequence[Drift]:
        """Write what was not known; return it. Nothing is written for what is known.

        A stream has at most MOST_FIELDS rows. Safe to repeat.
        """
        if not drift:
            return ()
        t = self._table
        found = await connection.execute(
            select(t.c.table_name, t.c.field, t.c.expected).where(
                t.c.project_id == unit.project_id, t.c.stream == unit.stream
            )
        )
        known = {(row.table_name, row.field): row.expected for row in found}
        new, changed = dict[tuple[str, str], Drift](), dict[tuple[str, str], Drift]()
        for each in drift:
            key = (each.table, each.field)
            if key not in known:
                new.setdefault(key, each)
            elif known[key] != each.expected:  # the catalogue has changed since
                changed.setdefault(key, each)
        room = max(0, MOST_FIELDS - len(known))
        kept = [*changed.values(), *[*new.values()][:room]]
        written = tuple(sorted(kept, key=itemgetter(0, 1)))
        if written:
            await connection.execute(self._upsert(unit, written))
        return written

    def _upsert(self, unit: Unit, drift: Sequence[Drift]) -> Any:
        row = insert(self._table).values(
            [
                {
                    "project_id": unit.project_id,
                    "stream": unit.stream,
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
        spec = TABLE_SPECS.get(row["table_name"])
        if spec is not None and _expected(spec, row["field"]) == row["expected"]:
            names = ("table_name", "field", "expected", "found", "first_seen_at")
            own = {name: row[name] for name in names}
            found.setdefault((row["project_id"], row["stream"]), []).append(own)
    return found


def _expected(spec: TableSpec, name: str) -> str | None:
    return next((field.kind.json_type for field in spec.fields if field.name == name), None)
