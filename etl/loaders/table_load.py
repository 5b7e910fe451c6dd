"""Load the rows of one table: COPY into staging, then the guarded upsert."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from etl.core.page import Row
from etl.errors import RowsRefused
from etl.loaders.database import translated
from etl.loaders.driver import driver_of
from etl.loaders.loader import Commit
from etl.loaders.statements import LoadStatements


class TableLoad:
    """Loads the rows of one table in one transaction, and returns those that Postgres refuses.

    If not `careful`, it raises RowsRefused instead, and the transaction is then broken.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        statements: LoadStatements,
        rows: Sequence[Row],
        project_id: int,
        commit: Commit,
        careful: bool,
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._rows = rows
        self._project_id = project_id
        self._commit = commit
        self._careful = careful
        self.inserted = 0
        self.updated = 0

    async def stage(self) -> list[tuple[int, str]]:
        """Copy the rows into staging; return place and reason of each refused row."""
        # Outside of any savepoint: otherwise rolling back the rows would also drop the table.
        await (await driver_of(self._connection)).execute(self._statements.create_staging)
        return await self._bisect(self._stage, 0, len(self._rows))

    async def upsert(self) -> list[tuple[int, str]]:
        """Write the staged rows; return place and reason of each refused row."""
        return await self._bisect(self._upsert, 0, len(self._rows))

    async def note_unchanged(self) -> None:
        """Note which rows were seen without a change."""
        driver = await driver_of(self._connection)
        await driver.execute(
            self._statements.note_unchanged, self._project_id, self._commit.observed_at
        )

    async def _bisect(
        self, step: Callable[[Any, int, int], Awaitable[None]], first: int, end: int
    ) -> list[tuple[int, str]]:
        """Run `step` for the rows in [first, end); split the range in half if it is refused."""
        if not self._careful:
            await step(await driver_of(self._connection), first, end)
            return []
        try:
            with translated():
                async with self._connection.begin_nested():
                    await step(await driver_of(self._connection), first, end)
            return []
        except RowsRefused as exc:
            if end - first == 1:
                return [(first, exc.message)]
        middle = (first + end) // 2
        bad = await self._bisect(step, first, middle)
        return bad + await self._bisect(step, middle, end)

    async def _stage(self, driver: Any, first: int, end: int) -> None:
        rows: Iterable[Row] = self._rows
        columns = self._statements.columns[1:]
        if self._careful:  # otherwise all rows are written together and need no places
            rows = ((place, *self._rows[place]) for place in range(first, end))
            columns = self._statements.columns
        await driver.copy_records_to_table(
            self._statements.staging, records=rows, columns=columns, schema_name="pg_temp"
        )

    async def _upsert(self, driver: Any, first: int, end: int) -> None:
        arguments = [self._project_id, self._commit.observed_at, first, end]
        if self._statements.takes_source_at:
            arguments.append(self._commit.source_at)
        ((inserted, updated),) = await driver.fetch(self._statements.upsert, *arguments)
        self.inserted += inserted
        self.updated += updated
