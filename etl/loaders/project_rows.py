"""Deletes everything that is stored of a project, some rows at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from etl.loaders.connection import AsyncConnection
from etl.loaders.driver import count_of, driver_of
from etl.loaders.query_tables import all_specs
from etl.loaders.queue import entrypoint_of
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables

# Those of the bookkeeping that speak of a project. Whom `forget` keeps away stays known, for a
# project that is loaded again; so does what was destroyed.
_BOOKKEEPING = (
    "leases",
    "checkpoints",
    "watermarks",
    "runs",
    "rejects",
    "drift",
    "suspects",
    "sightings",
    "cuts",
    "checks",
    "differences",
    "reconciliations",
    "explained_days",
    "growing_lists",
    "parent_lists",
    "alerts",
    "alert_messages",
    "watched_streams",
)
# Those that say how far the project is read, and who reads it.
_PROGRESS = ("leases", "checkpoints", "watermarks", "growing_lists", "parent_lists")
_AT_ONCE = 20_000


class ProjectRows:
    """The rows of one project. Runs in transactions that others open."""

    def __init__(self, tables: Tables, project_id: int) -> None:
        book = quoted(tables.bookkeeping)
        self._tables = tables
        self._book = {name: f"{book}.{name}" for name in _BOOKKEEPING}
        self._queue = f"{book}.pgqueuer"
        self._project_id = project_id

    async def count(self, connection: AsyncConnection) -> Mapping[str, int]:
        """Return how many rows each table has, those without rows left out."""
        driver, counts = await driver_of(connection), {}
        for name, table in (*(await self._data(connection)).items(), *self._book.items()):
            counts[name] = await driver.fetchval(
                f"SELECT count(*) FROM {table} WHERE project_id = $1", self._project_id
            )
        return {name: count for name, count in counts.items() if count}

    async def has_runs(self, connection: AsyncConnection) -> bool:
        """Tell whether any run works on the project now."""
        driver = await driver_of(connection)
        found = await driver.fetchval(
            f"SELECT EXISTS (SELECT FROM {self._book['leases']} WHERE project_id = $1 "
            "AND holder IS NOT NULL AND expires_at > now())",
            self._project_id,
        )
        return bool(found)

    async def delete_some(self, connection: AsyncConnection) -> int:
        """Delete some rows of the data tables; return how many, 0 if none are left.

        First all that says what is known complete: after an interruption a sync must load anew.
        Without its checkpoint a run can commit no more.
        """
        driver = await driver_of(connection)
        for name in _PROGRESS:
            await driver.execute(
                f"DELETE FROM {self._book[name]} WHERE project_id = $1", self._project_id
            )
        for table in (await self._data(connection)).values():
            tag = await driver.execute(
                f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} "
                "WHERE project_id = $1 LIMIT $2))",
                self._project_id,
                _AT_ONCE,
            )
            if deleted := count_of(tag):
                return deleted
        return 0

    async def delete_rest(self, connection: AsyncConnection) -> None:
        """Delete the bookkeeping, and what was loaded meanwhile."""
        driver = await driver_of(connection)
        first = [self._book[name] for name in _PROGRESS]
        data = await self._data(connection)
        for table in (*first, *data.values(), *self._book.values()):
            await driver.execute(f"DELETE FROM {table} WHERE project_id = $1", self._project_id)
        await driver.execute(
            f"DELETE FROM {self._queue} WHERE entrypoint = $1", entrypoint_of(self._project_id)
        )

    async def _data(self, connection: AsyncConnection) -> Mapping[str, str]:
        """Return each data table by a name for people: those of queries have the stream's."""
        found = {}
        for spec in await all_specs(connection, self._tables):
            tables = self._tables.queried if spec.queried else self._tables
            found[spec.unique_name] = f"{quoted(tables.schema)}.{quoted(spec.name)}"
        return found


async def known_projects(connection: AsyncConnection, tables: Tables) -> Sequence[int]:
    """Return the projects of which anything was ever read."""
    driver = await driver_of(connection)
    found = await driver.fetch(
        f"SELECT DISTINCT project_id FROM {quoted(tables.bookkeeping)}.checkpoints ORDER BY 1"
    )
    return [project_id for (project_id,) in found]
