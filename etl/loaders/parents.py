"""Find the stored rows that a resource is asked for: all of them, or some in rotation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
)

from etl.core.stream import Parents
from etl.loaders.database import Database
from etl.loaders.history import alive
from etl.loaders.tables import Tables
from etl.streams import TABLE_SPECS

Parent = Mapping[str, Any]


class RotationState(Struct, frozen=True):
    """The state of a rotation, in resources.

    due: those that are to be checked now.
    oldest_check: the time of the oldest last check; None before the first check.
    """

    resources: int
    due: int
    never_checked: int
    oldest_check: datetime | None


class ParentRows:
    """Finds parents. A parent maps each field that its records are given to its value."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def after(
        self,
        project_id: int,
        parents: Parents,
        place: Sequence[Any] | None,
        limit: int,
        spared_by: str | None = None,
    ) -> list[Parent]:
        """Return the next `limit` parents, by key, after the one whose fields are `place`.

        spared_by: the stream whose reading leaves out lists of parents that are unchanged; these
        parents are not returned. None: all are. Raises DestinationError.
        """
        table, query = self._living(project_id, parents)
        if spared_by is not None:
            lists = self._tables.parent_lists
            of_it = _lists_of(lists, project_id, spared_by, table, parents)
            query = query.where(~exists().where(of_it, lists.c.settled))
        columns = [table.c[name] for name in parents.fields.values()]
        if place is not None:
            reached = [
                literal(value, column.type) for value, column in zip(place, columns, strict=True)
            ]
            query = query.where(tuple_(*columns) > tuple_(*reached))
        return await self._answer(query.order_by(*columns).limit(limit), parents)

    async def count(self, project_id: int, parents: Parents) -> int:
        """Return how many parents there are. Raises DestinationError."""
        _, query = self._living(project_id, parents)
        async with self._database.transaction() as connection:
            counted = await connection.execute(select(func.count()).select_from(query.subquery()))
            return int(counted.scalar_one())

    async def pages(
        self, project_id: int, stream: str, parents: Parents, *, spares: bool
    ) -> tuple[int, int]:
        """Return how many answers the lists of all parents take, and for how many it is not known.

        spares: whether lists are left out whose parent is unchanged. Raises DestinationError.
        """
        table, query = self._living(project_id, parents)
        lists = self._tables.parent_lists
        query = query.outerjoin_from(
            table, lists, _lists_of(lists, project_id, stream, table, parents)
        )
        if spares:
            unchanged = and_(lists.c.settled, lists.c.state == state_of(table, parents))
            query = query.where(unchanged.is_not(True))
        counted = query.with_only_columns(
            func.coalesce(func.sum(lists.c.pages), 0),
            func.count().filter(lists.c.pages.is_(None)),
        )
        async with self._database.transaction() as connection:
            known, unread = (await connection.execute(counted)).one()
            return int(known), int(unread)

    async def due_parents(
        self,
        project_id: int,
        stream: str,
        parents: Parents,
        limit: int,
        recheck_after: timedelta,
    ) -> list[Parent]:
        """Return the next `limit` parents to ask about; fewer if others were checked recently.

        Watched parents come first, at every sync. They leave room for others: a quarter for the
        youngest that are new or have changed since their last check, and an eighth for those that
        have waited longest. These two groups share what the watched ones leave, so each parent is
        checked in time, however many new ones there are. A parent whose last check failed stays
        due, after those that did not fail.

        Raises DestinationError.
        """
        table, query = self._with_checks(project_id, stream, parents)
        checks = self._tables.checks.c
        news = self._news(table)
        ((name, column),) = parents.fields.items()
        asked_at = func.greatest(checks.checked_at, checks.tried_at)
        for_news, for_oldest = math.ceil(limit / 4), math.ceil(limit / 8)
        turn = await self._answer(
            query.where(self._is_watched(project_id, table, parents))
            .order_by(asked_at.nulls_first(), table.c[column])
            .limit(max(0, limit - for_news - for_oldest)),
            parents,
        )
        left = limit - len(turn)

        def others() -> ColumnElement[bool]:
            return table.c[column].not_in([parent[name] for parent in turn])

        # After a first load all parents are new, and the order of loading means nothing.
        age = table.c[TABLE_SPECS[parents.table].started or "_updated_at"]
        in_vain = checks.tried_at > func.coalesce(checks.checked_at, table.c._first_seen_at)
        turn += await self._answer(
            query.where(news, others(), in_vain.is_not(True))
            .order_by(age.desc().nulls_last(), table.c[column])
            .limit(min(max(for_news, left // 2), left - 1)),
            parents,
        )
        turn += await self._answer(
            query.where(or_(news, checks.checked_at <= func.now() - recheck_after), others())
            .order_by(func.coalesce(asked_at, table.c._first_seen_at), table.c[column])
            .limit(limit - len(turn)),
            parents,
        )
        return turn

    async def unchecked_since(
        self, project_id: int, stream: str, parents: Parents, since: datetime, limit: int
    ) -> list[Parent]:
        """Return the next parents that were neither checked nor tried since then, by key.

        Raises DestinationError.
        """
        table, query = self._with_checks(project_id, stream, parents)
        checks = self._tables.checks.c
        (column,) = parents.fields.values()
        latest = func.greatest(checks.checked_at, checks.tried_at)
        query = query.where(or_(latest.is_(None), latest < since))
        return await self._answer(query.order_by(table.c[column]).limit(limit), parents)

    async def rotation_state(
        self, project_id: int, stream: str, parents: Parents, recheck_after: timedelta
    ) -> RotationState:
        """Return the state of the rotation. Raises DestinationError."""
        table, query = self._with_checks(project_id, stream, parents)
        checked_at = self._tables.checks.c.checked_at
        due = or_(
            self._news(table),
            checked_at <= func.now() - recheck_after,
            self._is_watched(project_id, table, parents),
        )
        counted = query.with_only_columns(
            func.count(),
            func.count().filter(due),
            func.count().filter(checked_at.is_(None)),
            func.min(checked_at),
        )
        async with self._database.transaction() as connection:
            return RotationState(*(await connection.execute(counted)).one())

    async def checked_parents(
        self, project_id: int, stream: str, parents: Parents, limit: int
    ) -> tuple[list[Parent], list[Parent], int]:
        """Return the watched parents, some of the others, and how many others there are.

        Only parents that were checked before. The others are `limit` at random. Raises
        DestinationError.
        """
        table, query = self._with_checks(project_id, stream, parents)
        query = query.where(self._tables.checks.c.checked_at.is_not(None))
        is_watched = self._is_watched(project_id, table, parents)
        watched = await self._answer(query.where(is_watched), parents)
        others = query.where(~is_watched)
        drawn = await self._answer(others.order_by(func.random()).limit(limit), parents)
        async with self._database.transaction() as connection:
            counted = await connection.execute(select(func.count()).select_from(others.subquery()))
        return watched, drawn, int(counted.scalar_one())

    async def of_keys(self, project_id: int, parents: Parents, keys: Sequence[str]) -> list[Parent]:
        """Return the parents with these keys. Raises DestinationError."""
        table, query = self._living(project_id, parents)
        ((_, column),) = parents.fields.items()
        return await self._answer(query.where(cast(table.c[column], Text()).in_(keys)), parents)

    def _news(self, table: FromClause) -> ColumnElement[bool]:
        """Return the condition that a parent is new, or has changed since its last check."""
        checked_at = self._tables.checks.c.checked_at
        return or_(checked_at.is_(None), table.c._updated_at > checked_at)

    def _is_watched(
        self, project_id: int, table: FromClause, parents: Parents
    ) -> ColumnElement[bool]:
        """Return the condition that every sync asks about a parent."""
        if parents.watched is None:
            return false()
        held = self._tables.data[parents.watched.table].alias("w")
        named = [
            held.c[name] == cast(table.c[column], held.c[name].type)
            for name, column in parents.fields.items()
        ]
        named += [held.c[name] == value for name, value in parents.constant.items()]
        return exists().where(
            held.c.project_id == project_id,
            *named,
            held.c[parents.watched.column],
            *alive(held),
        )

    def _with_checks(
        self, project_id: int, stream: str, parents: Parents
    ) -> tuple[FromClause, Select[Any]]:
        table, query = self._living(project_id, parents)
        (column,) = parents.fields.values()
        checks = self._tables.checks
        joined = query.outerjoin_from(
            table,
            checks,
            and_(
                checks.c.project_id == project_id,
                checks.c.stream == stream,
                checks.c.record_key == cast(table.c[column], Text()),
            ),
        )
        return table, joined

    def _living(self, project_id: int, parents: Parents) -> tuple[FromClause, Select[Any]]:
        return living_parents(self._tables, project_id, parents)

    async def _answer(self, query: Select[Any], parents: Parents) -> list[Parent]:
        async with self._database.transaction() as connection:
            found = await connection.execute(query)
            return [
                {**parents.constant, **dict(zip(parents.fields, row, strict=True))} for row in found
            ]


def living_parents(
    tables: Tables, project_id: int, parents: Parents
) -> tuple[FromClause, Select[Any]]:
    """Return the table of the parents, and the query of those whose lists are to be read.

    A parent with a null in what its lists are asked by has none.
    """
    table = tables.data[parents.table].alias("t")
    columns = [table.c[name] for name in parents.fields.values()]
    named = [column.is_not(None) for column in columns if column.nullable]
    query = select(*columns).where(table.c.project_id == project_id, *alive(table), *named)
    if parents.where is not None:
        query = query.where(text(parents.where))
    return table, query


def key_of_parent(table: FromClause, parents: Parents) -> ColumnElement[str]:
    """Return the key of a parent as one text, the same as `key_text` returns."""
    columns = [table.c[name] for name in parents.fields.values()]
    if len(columns) == 1:
        return cast(columns[0], Text())
    return cast(func.jsonb_build_array(*columns), Text())


def state_of(table: FromClause, parents: Parents) -> ColumnElement[str | None]:
    """Return what tells whether the lists of a parent have changed; null if anything is missing."""
    columns = [table.c[name] for name in parents.unchanged]
    return case((func.num_nulls(*columns) == 0, cast(func.jsonb_build_array(*columns), Text())))


def _lists_of(
    lists: FromClause, project_id: int, stream: str, table: FromClause, parents: Parents
) -> ColumnElement[bool]:
    """Return the condition that a row of `parent_lists` is about a parent."""
    return and_(
        lists.c.project_id == project_id,
        lists.c.stream == stream,
        lists.c.parent == key_of_parent(table, parents),
    )
