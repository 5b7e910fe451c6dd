"""Load the rows of one table: COPY into staging, then the guarded upsert."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from etl.core.page import Row
from etl.errors import RowsRefused
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import translated
from etl.loaders.driver import count_of, driver_of
from etl.loaders.loader import Commit
from etl.loaders.statements import LoadStatements


@dataclass(slots=True)
class TableLoad:
    """Loads the rows of one table in one transaction.

    careful: only a part of the rows may be refused, so they carry their places and are written
    some at a time (see `refused_by`). Else all are written together.
    observed_at: when each row was asked for; empty: at the instant of the commit.
    hashes: the hash of each row; empty: none has one.
    all_new: none of the rows is stored; never set together with `careful`, as another run may store
    one of them meanwhile.
    inserted, updated: how many rows were, counts.
    """

    connection: AsyncConnection
    statements: LoadStatements
    rows: Sequence[Row]
    project_id: int
    commit: Commit
    careful: bool
    observed_at: Sequence[datetime] = ()
    hashes: Sequence[int | None] = ()
    all_new: bool = False
    inserted: int = 0
    updated: int = 0

    async def stage(self, first: int, end: int) -> None:
        """Copy the rows in [first, end) into staging. Raises RowsRefused."""
        driver = await driver_of(self.connection)
        rows: Iterable[Row] = self.rows
        place, observed_at, row_hash, *columns = self.statements.columns
        if self.observed_at and self.hashes:
            both = zip(self.observed_at, self.hashes, rows, strict=True)
            rows = ((at, number, *row) for at, number, row in both)
            columns = [observed_at, row_hash, *columns]
        elif self.observed_at or self.hashes:
            known = self.observed_at or self.hashes
            rows = ((each, *row) for each, row in zip(known, rows, strict=True))
            columns = [observed_at if self.observed_at else row_hash, *columns]
        if self.careful:  # otherwise all rows are written together and need no places
            rows = ((at, *row) for at, row in islice(enumerate(rows), first, end))
            columns = [place, *columns]
        await driver.copy_records_to_table(
            self.statements.staging, records=rows, columns=columns, schema_name="pg_temp"
        )

    async def upsert(self, first: int, end: int) -> None:
        """Write the staged rows in [first, end). Raises RowsRefused."""
        driver = await driver_of(self.connection)
        arguments = [self.project_id, self.commit.observed_at]
        if self.all_new:
            self.inserted += count_of(await driver.execute(self.statements.insert, *arguments))
            return
        arguments += [first, end]
        if self.statements.takes_source_at:
            arguments.append(self.commit.source_at)
        ((inserted, updated),) = await driver.fetch(self.statements.upsert, *arguments)
        self.inserted += inserted
        self.updated += updated

    async def note_unchanged(self) -> None:
        """Note which rows were seen without a change."""
        driver = await driver_of(self.connection)
        await driver.execute(
            self.statements.note_unchanged, self.project_id, self.commit.observed_at
        )


Step = Callable[[int, int], Awaitable[None]]


async def refused_by(
    step: Step, connection: AsyncConnection, first: int, end: int
) -> list[tuple[int, str]]:
    """Do `step` for the rows in [first, end), and in halves where it is refused.

    Returns place and reason of each refused row. Raises DestinationError for any other error.
    """
    try:
        with translated():
            async with connection.begin_nested():
                await step(first, end)
        return []
    except RowsRefused as exc:
        if end - first == 1:
            return [(first, exc.message)]
    middle = (first + end) // 2
    bad = await refused_by(step, connection, first, middle)
    return bad + await refused_by(step, connection, middle, end)
