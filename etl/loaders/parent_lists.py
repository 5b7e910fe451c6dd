"""Which lists a sync leaves out, because the row that they belong to is unchanged.

Three steps, each in a transaction of the reading, so that a crash leads to a whole reading:

1. Before any list is read, the state of every parent is noted. A list whose parent is as it was
   when all of it was read and judged stays settled. All others are unsettled: they are read, and
   what is stored of them is in doubt. Nothing else unsettles a list, so it is fixed from here on
   which are left out.
2. A list that was read to its end is whole.
3. Once nothing that is stored is in doubt any more, what is whole is settled. The state is the one
   that was noted before the reading: if the parent has changed since, the next sync reads again.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, delete, exists, false, literal, update
from sqlalchemy.dialects.postgresql import insert

from etl.core.place import WholeLists
from etl.core.stream import Parents, Resource
from etl.loaders.connection import AsyncConnection
from etl.loaders.leases import Unit
from etl.loaders.loader import Commit
from etl.loaders.parents import key_of_parent, living_parents, state_of
from etl.loaders.tables import Tables


class ParentLists:
    """Writes `parent_lists`. Runs in transactions that others open."""

    def __init__(self, tables: Tables, resource: Resource) -> None:
        self._tables = tables
        self._parents = resource.parents if resource.skips else None

    async def note(self, connection: AsyncConnection, unit: Unit, commit: Commit) -> None:
        """Note what a commit says of lists."""
        if commit.opens_lists and self._parents is not None:
            await self._open(connection, unit, self._parents)
        await self._note_whole(connection, unit, commit.whole)
        if commit.settles_lists:
            await self._settle(connection, unit)

    async def _open(self, connection: AsyncConnection, unit: Unit, parents: Parents) -> None:
        """Note the state of every parent. Lists without a parent are forgotten."""
        lists = self._tables.parent_lists
        table, living = living_parents(self._tables, unit.project_id, parents)
        key, state = key_of_parent(table, parents), state_of(table, parents)
        keys = living.with_only_columns(key)
        await connection.execute(delete(lists).where(*self._of(unit), lists.c.parent.not_in(keys)))
        names = ("project_id", "stream", "parent", "state", "whole", "settled")
        own = [literal(unit.key[name], lists.c[name].type) for name in names[:2]]
        given = (*own, key, state, false(), false())
        row = insert(lists).from_select(names, living.with_only_columns(*given))
        same = and_(lists.c.settled, lists.c.state == row.excluded.state)
        await connection.execute(
            row.on_conflict_do_update(
                constraint="parent_lists_pkey",
                set_={name: row.excluded[name] for name in ("state", "whole", "settled")},
                where=same.is_not(True),
            )
        )

    async def _note_whole(
        self, connection: AsyncConnection, unit: Unit, whole: Sequence[WholeLists]
    ) -> None:
        lists = self._tables.parent_lists
        for each in whole:
            await connection.execute(
                update(lists)
                .where(*self._of(unit), lists.c.parent == each.parent, lists.c.settled.is_(False))
                .values(whole=True, pages=each.pages)
            )

    async def _settle(self, connection: AsyncConnection, unit: Unit) -> None:
        """Settle what is whole, unless anything that is stored is still in doubt."""
        lists, suspects = self._tables.parent_lists, self._tables.suspects
        in_doubt = exists().where(unit.of(suspects))
        await connection.execute(
            update(lists)
            .where(*self._of(unit), lists.c.whole, ~lists.c.settled)
            .where(lists.c.state.is_not(None), ~in_doubt)
            .values(settled=True)
        )

    def _of(self, unit: Unit) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        lists = self._tables.parent_lists
        return lists.c.project_id == unit.project_id, lists.c.stream == unit.stream
