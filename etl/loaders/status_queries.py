"""Read what the status page shows: few statements, and no row of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    Label,
    and_,
    func,
    literal,
    select,
    true,
    tuple_,
    union_all,
)

from etl.core.stream import OF_VERIFY, TableSpec
from etl.loaders.database import Database
from etl.loaders.history import alive
from etl.loaders.query_tables import is_there
from etl.loaders.row_counts import COUNTED_ROWS, Count, estimate, large_tables
from etl.loaders.seen_runs import run_columns
from etl.loaders.tables import Tables

_BACKFILL_RUNS = 2_000

Row = Mapping[str, Any]


class Share(Struct, frozen=True):
    """Which part of a table belongs to a stream. `projects`: the projects that have run it."""

    stream: str
    table: TableSpec
    where: Mapping[str, str]
    projects: Sequence[int]


class StatusQueries:
    """Only reads. Every method raises DestinationError and is safe to repeat."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def recent_runs(self, per_stream: int) -> tuple[datetime, Sequence[Row]]:
        """Return the database's time and the latest runs of each stream, the oldest first.

        Each run has `held`: whether it still holds its unit.
        """
        runs, units = self._tables.runs, self._tables.checkpoints
        same = [runs.c[name] == units.c[name] for name in ("project_id", "stream", "unit")]
        # Unit by unit, as runs are indexed so: then the total number of runs does not matter.
        of_unit = (
            select(runs.c.id, runs.c.started_at)
            .where(*same)
            .order_by(runs.c.started_at.desc())
            .limit(per_stream)
            .lateral()
        )
        latest = func.row_number().over(
            partition_by=(units.c.project_id, units.c.stream),
            order_by=(of_unit.c.started_at.desc(), of_unit.c.id.desc()),
        )
        numbered = (
            select(of_unit.c.id, latest.label("number"))
            .select_from(units)
            .join(of_unit, true())
            .where(units.c.unit.not_in(OF_VERIFY))
            .subquery()
        )
        query = (
            select(*run_columns(self._tables), self._held())
            .join(numbered, and_(numbered.c.id == runs.c.id, numbered.c.number <= per_stream))
            .order_by(runs.c.project_id, runs.c.stream, runs.c.started_at, runs.c.id)
        )
        async with self._database.transaction() as connection:
            now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            return now, [dict(row) for row in (await connection.execute(query)).mappings()]

    async def windows(self, streams: Sequence[tuple[int, str]]) -> Sequence[Row]:
        """Return the latest backfill runs of these streams, the newest first.

        Each has `low`: for an unfinished window, the start down to which it was read, as text.
        """
        runs, checkpoints = self._tables.runs, self._tables.checkpoints
        same = [runs.c[name] == checkpoints.c[name] for name in ("project_id", "stream", "unit")]
        query = (
            select(*run_columns(self._tables), checkpoints.c.position["low"].astext.label("low"))
            .outerjoin(checkpoints, and_(*same))
            .where(
                runs.c.command == "backfill",
                tuple_(runs.c.project_id, runs.c.stream).in_(list(streams)),
            )
            .order_by(runs.c.started_at.desc(), runs.c.id)
            .limit(_BACKFILL_RUNS)
        )
        async with self._database.transaction() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def run(self, run_id: str) -> Row | None:
        """Return a run by its UUID, with `held`: whether it still holds its unit."""
        runs = self._tables.runs
        query = select(
            *run_columns(self._tables), self._held(), func.clock_timestamp().label("now")
        ).where(runs.c.id == run_id)
        async with self._database.transaction() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
            return None if row is None else dict(row)

    async def unit_runs(self, run: Row, each_way: int) -> Sequence[Row]:
        """Return `run` and the runs of its unit around it, the oldest first, with `held`."""
        runs = self._tables.runs
        unit = [runs.c[name] == run[name] for name in ("project_id", "stream", "unit")]
        place = tuple_(runs.c.started_at, runs.c.id)
        here = tuple_(
            literal(run["started_at"], runs.c.started_at.type), literal(run["id"], runs.c.id.type)
        )
        after = select(*run_columns(self._tables), self._held()).where(*unit, place > here)
        until = select(*run_columns(self._tables), self._held()).where(*unit, place <= here)
        up, down = (runs.c.started_at, runs.c.id), (runs.c.started_at.desc(), runs.c.id.desc())
        both = union_all(
            after.order_by(*up).limit(each_way).subquery().select(),
            until.order_by(*down).limit(each_way + 1).subquery().select(),
        ).subquery()
        async with self._database.transaction() as connection:
            found = await connection.execute(select(both).order_by(both.c.started_at, both.c.id))
            return [dict(row) for row in found.mappings()]

    async def set_aside(self, run: Row, limit: int) -> tuple[int, Sequence[Row]]:
        """Return how many records were first rejected while `run` ran, and the first of them."""
        rejects = self._tables.rejects
        columns = [column for column in rejects.c if column.name != "payload"]
        within = [
            rejects.c.project_id == run["project_id"],
            rejects.c.stream == run["stream"],
            rejects.c.first_seen_at >= run["started_at"],
            *([rejects.c.first_seen_at <= run["ended_at"]] if run["ended_at"] else []),
        ]
        query = select(*columns).where(*within)
        async with self._database.transaction() as connection:
            counted = await connection.execute(select(func.count()).where(*within))
            found = await connection.execute(
                query.order_by(rejects.c.first_seen_at, rejects.c.record_key).limit(limit)
            )
            return int(counted.scalar_one()), [dict(row) for row in found.mappings()]

    async def row_counts(
        self, shares: Sequence[Share], counted_rows: int = COUNTED_ROWS
    ) -> Mapping[tuple[int, str], Count]:
        """Return the rows of each share by project and stream; shares without rows are left out.

        For a table with over `counted_rows` rows it is the server's own estimate.
        """
        counts: dict[tuple[int, str], Count] = {}
        async with self._database.transaction() as connection:
            large = await large_tables(connection, self._tables.schema, counted_rows)
            queried = self._tables.queried
            large_of_queries = await large_tables(connection, queried.schema, counted_rows)
            for share in shares:
                spec = share.table
                if spec.queried and not await is_there(connection, self._tables, spec.name):
                    continue
                table = (queried if spec.queried else self._tables).table(spec)
                own = [table.c[name] == value for name, value in share.where.items()]
                if spec.name in (large_of_queries if spec.queried else large):
                    for project_id in share.projects:
                        mine = [*own, table.c.project_id == project_id]
                        counts[project_id, share.stream] = await estimate(connection, table, mine)
                    continue
                found = await connection.execute(
                    select(table.c.project_id, func.count())
                    .where(*own, *alive(table))
                    .group_by(table.c.project_id)
                )
                counts |= {(row[0], share.stream): Count(row[1]) for row in found}
        return counts

    async def oldest(self, shares: Sequence[Share]) -> Mapping[tuple[int, str], datetime]:
        """Return the earliest instant of the rows of each share that is read in windows.

        By project and stream; shares without rows are left out. Takes an index, so it is quick.
        """
        oldest: dict[tuple[int, str], datetime] = {}
        async with self._database.transaction() as connection:
            for share in shares:
                if share.table.started is None or share.table.queried:
                    continue
                table = self._tables.table(share.table)
                for project_id in share.projects:
                    query = select(func.min(table.c[share.table.started])).where(
                        table.c.project_id == project_id
                    )
                    at = (await connection.execute(query)).scalar_one()
                    if at is not None:
                        oldest[project_id, share.stream] = at
        return oldest

    def _held(self) -> Label[bool]:
        runs, leases = self._tables.runs, self._tables.leases
        alive = and_(leases.c.holder == runs.c.id, leases.c.expires_at >= func.clock_timestamp())
        return select(leases.c.holder).where(alive).correlate(runs).exists().label("held")
