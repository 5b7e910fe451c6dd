"""The rejects table: each record that could not be stored, once, until it loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import ARRAY, Text, any_, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from etl.core.page import Rejected
from etl.errors import RowsRefused
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import translated
from etl.loaders.tables import Tables

_log = structlog.get_logger(__name__)


class RejectsTable:
    """The rejects of one stream. Runs in transactions that others open.

    table_name: the data table that its records would fill.
    """

    def __init__(self, tables: Tables, stream: str, table_name: str) -> None:
        self._tables = tables
        self._stream = stream
        self._table_name = table_name

    async def set_aside(
        self, connection: AsyncConnection, project_id: int, rejected: Sequence[Rejected]
    ) -> int:
        """Write rejects, each record once; return how many were not rejected before.

        Raises RowsRefused if Postgres refuses a reject.
        """
        if not rejected:
            return 0
        items = {item.key: item for item in rejected}
        known = await self._unresolved(connection, project_id, list(items))
        for key in sorted(items):
            await self._set_one_aside(connection, project_id, items[key])
            if key not in known:
                _log.warning("record.rejected", record_key=key, reason=items[key].reason)
        return len(items.keys() - known)

    async def _unresolved(
        self, connection: AsyncConnection, project_id: int, keys: Sequence[str]
    ) -> set[str]:
        """Return which of `keys` are rejected now."""
        table = self._tables.rejects
        found = await connection.execute(
            select(table.c.record_key).where(
                table.c.project_id == project_id,
                table.c.stream == self._stream,
                table.c.resolved_at.is_(None),
                table.c.record_key == any_(literal(list(keys), ARRAY(Text()))),
            )
        )
        return set(found.scalars())

    async def _set_one_aside(
        self, connection: AsyncConnection, project_id: int, item: Rejected
    ) -> None:
        # Postgres may refuse the payload itself; it can always hold its text.
        for payload in (item.payload, json.dumps(item.payload, default=str)[:100_000]):
            try:
                with translated():
                    async with connection.begin_nested():
                        await self._write_reject(connection, project_id, item, payload)
                return
            except RowsRefused:
                continue
        raise RowsRefused(f"the rejects table refused record {item.key}")

    async def _write_reject(
        self, connection: AsyncConnection, project_id: int, item: Rejected, payload: Any
    ) -> None:
        table = self._tables.rejects
        row = insert(table).values(
            project_id=project_id,
            stream=self._stream,
            record_key=item.key,
            reason=item.reason,
            payload=literal(payload, JSONB(none_as_null=False)),
            first_seen_at=func.now(),
            last_seen_at=func.now(),
            table_name=self._table_name,
        )
        await connection.execute(
            row.on_conflict_do_update(
                constraint="rejects_pkey",
                set_={
                    "reason": row.excluded.reason,
                    "payload": row.excluded.payload,
                    "last_seen_at": func.now(),
                    "resolved_at": None,
                    "table_name": row.excluded.table_name,
                },
                # A record seen again unchanged is written at most once a day, to update
                # `last_seen_at`.
                where=or_(
                    table.c.resolved_at.is_not(None),
                    table.c.reason != row.excluded.reason,
                    table.c.payload.is_distinct_from(row.excluded.payload),
                    table.c.last_seen_at < func.now() - timedelta(days=1),
                ),
            )
        )

    async def resolve(
        self, connection: AsyncConnection, project_id: int, loaded_keys: set[str]
    ) -> None:
        """Mark rejects resolved whose records have loaded now."""
        keys = await self._unresolved(connection, project_id, list(loaded_keys))
        if keys:
            table = self._tables.rejects
            await connection.execute(
                update(table)
                .where(
                    table.c.project_id == project_id,
                    table.c.stream == self._stream,
                    table.c.record_key.in_(sorted(keys)),
                )
                .values(resolved_at=func.now())
            )

    async def anything_set_aside(self, connection: AsyncConnection, project_id: int) -> bool:
        """Tell whether the stream has rejects; asking takes less than sending a page's keys."""
        table = self._tables.rejects
        found = await connection.execute(
            select(literal(1))
            .where(
                table.c.project_id == project_id,
                table.c.stream == self._stream,
                table.c.resolved_at.is_(None),
            )
            .limit(1)
        )
        return found.first() is not None
