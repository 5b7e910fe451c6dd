"""Read runs and rejects page by page, the newest first.

A page begins after the last row of the one before it, so rows that are added meanwhile shift
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    cast,
    func,
    literal,
    select,
    tuple_,
)

from etl.core.statuses import Chosen
from etl.loaders.database import Database
from etl.loaders.seen_runs import is_chosen, run_columns, still_holds
from etl.loaders.tables import Tables

Row = Mapping[str, Any]


class Turn(Struct, frozen=True):
    """Where a page begins: beside the row with this key. newer: on the side of the newer rows.

    key: of a run, its start and id; of a reject, when it was first rejected, project, stream and
    key of the record.
    """

    key: tuple[Any, ...]
    newer: bool = False


class Listed(Struct, frozen=True):
    """A page of rows, the newest first. newer, older: whether there are more on that side.

    at: the database's time.
    """

    at: datetime
    rows: Sequence[Row]
    newer: bool
    older: bool


class Listing:
    """Only reads. Every method raises DestinationError and is safe to repeat."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def runs(
        self, chosen: Chosen, projects: Sequence[int], turn: Turn | None, limit: int
    ) -> Listed:
        """Return a page of the chosen runs, each with `held`: whether it still holds its unit.

        projects: empty for all. A run that holds its unit no more has failed.
        """
        runs, wanted = self._tables.runs, is_chosen(self._tables, chosen)
        if projects:
            wanted.append(runs.c.project_id.in_(projects))
        held = still_holds(self._tables).label("held")
        query = select(*run_columns(self._tables), held).where(*wanted)
        return await self._page(query, [runs.c.started_at, runs.c.id], turn, limit)

    async def rejects(
        self,
        streams: Sequence[str],
        projects: Sequence[int],
        turn: Turn | None,
        limit: int,
        *,
        resolved: bool = False,
        payload_characters: int = 20_000,
    ) -> Listed:
        """Return a page of the rejects of these streams and projects; empty: of all.

        resolved: also those that were loaded after all. `payload` is JSON as text, cut after so
        many characters; `payload_length` is its whole length.
        """
        table = self._tables.rejects
        text = cast(table.c.payload, Text())
        columns = [column for column in table.c if column.name != "payload"]
        query = select(
            *columns,
            func.left(text, payload_characters).label("payload"),
            func.length(text).label("payload_length"),
        )
        if not resolved:
            query = query.where(table.c.resolved_at.is_(None))
        if streams:
            query = query.where(table.c.stream.in_(streams))
        if projects:
            query = query.where(table.c.project_id.in_(projects))
        key = [table.c[name] for name in ("first_seen_at", "project_id", "stream", "record_key")]
        return await self._page(query, key, turn, limit)

    async def _page(
        self,
        query: Select[Any],
        key: Sequence[ColumnElement[Any]],
        turn: Turn | None,
        limit: int,
    ) -> Listed:
        """Return a page of `query` by `key`. One row more is read: it says whether more come."""
        upwards = turn is not None and turn.newer
        if turn is not None:
            there = tuple_(
                *(literal(value, column.type) for value, column in zip(turn.key, key, strict=True))
            )
            query = query.where(tuple_(*key) > there if upwards else tuple_(*key) < there)
        order = [column if upwards else column.desc() for column in key]
        async with self._database.transaction() as connection:
            now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            found = await connection.execute(query.order_by(*order).limit(limit + 1))
            rows = [dict(row) for row in found.mappings()]
        more, rows = len(rows) > limit, rows[:limit]
        if upwards:
            return Listed(now, rows[::-1], newer=more, older=True)
        return Listed(now, rows, newer=turn is not None, older=more)
