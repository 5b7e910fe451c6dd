"""How far each list that only grows was read, and what is stored of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, exists, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from etl.core.growing import ListRead, ListState
from etl.core.stream import Resource, key_text
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.history import alive
from etl.loaders.leases import Unit
from etl.loaders.parents import Parent
from etl.loaders.tables import Tables


def parent_key(resource: Resource, parent: Parent) -> str:
    """Return the key by which a list is known: that of its parent, empty if it has none."""
    fields = () if resource.parents is None else resource.parents.fields
    return key_text([parent[name] for name in fields]) if fields else ""


class GrowingLists:
    """Reads and writes `growing_lists`. A stream has one resource of this kind."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def note(
        self, connection: AsyncConnection, unit: Unit, lists: Sequence[ListRead]
    ) -> None:
        """Note how far lists were read, in the transaction of their last pages.

        What was read earlier does not count: too early an instant only makes the next reading
        longer, and one that a wrong clock wrote goes away.
        """
        if not lists:
            return
        table = self._tables.growing_lists
        latest = {each.parent: each for each in lists}
        row = insert(table).values(
            [
                {
                    "project_id": unit.project_id,
                    "stream": unit.stream,
                    "parent": key,
                    "read_until": latest[key].until,
                    "page_rows": latest[key].page_rows,
                }
                for key in sorted(latest)
            ]
        )
        names = ("read_until", "page_rows")
        await connection.execute(
            row.on_conflict_do_update(
                constraint="growing_lists_pkey", set_={name: row.excluded[name] for name in names}
            )
        )

    async def state(self, unit: Unit, resource: Resource, parent: Parent) -> ListState:
        """Return what is stored of the list of `parent`. Raises DestinationError."""
        growth = resource.growth
        assert growth is not None
        table, lists = self._tables.data[resource.tables[0].name], self._tables.growing_lists
        known = select(lists.c.read_until, lists.c.page_rows).where(
            lists.c.project_id == unit.project_id,
            lists.c.stream == unit.stream,
            lists.c.parent == parent_key(resource, parent),
        )
        async with self._database.transaction() as connection:
            row = (await connection.execute(known)).first()
            if row is None:
                return ListState()
            oldest = None
            if growth.closed is not None:
                still_open = select(func.min(table.c[growth.at])).where(
                    *_of(table, unit, parent), table.c[growth.closed].is_(None)
                )
                oldest = (await connection.execute(still_open)).scalar_one()
        return ListState(row.read_until, oldest, row.page_rows)

    async def count(
        self, unit: Unit, resource: Resource, parent: Parent, bound: datetime
    ) -> tuple[int, bool]:
        """Return how many stored rows a list has from `bound` on, and whether it has others.

        Raises DestinationError.
        """
        growth = resource.growth
        assert growth is not None
        table = self._tables.data[resource.tables[0].name]
        at, own = table.c[growth.at], _of(table, unit, parent)
        newer = select(func.count()).select_from(table).where(*own, at >= bound)
        older = select(exists().where(*own, at < bound))
        async with self._database.transaction() as connection:
            count = int((await connection.execute(newer)).scalar_one())
            return count, bool((await connection.execute(older)).scalar_one())


def _of(table: FromClause, unit: Unit, parent: Parent) -> list[ColumnElement[bool]]:
    """Return the conditions that a row is stored of the list of `parent`."""
    given = [table.c[name] == literal(value, table.c[name].type) for name, value in parent.items()]
    return [table.c.project_id == unit.project_id, *given, *alive(table)]
