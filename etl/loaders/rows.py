"""Load the rows of a batch: stage them, meet other runs, and write what is new or changed.

Runs in transactions that `loaders/postgres.py` opens, which adds everything that is not a row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import Task
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from sqlalchemy import func, select

from etl.core.hashes import Rows
from etl.core.page import Batch, Rejected
from etl.core.stream import COMPARISONS, Resource, TableSpec
from etl.errors import LeaseLost, RowsRefused
from etl.loaders.connection import AsyncConnection
from etl.loaders.cuts import CutRecords
from etl.loaders.database import translated
from etl.loaders.driver import count_of, driver_of
from etl.loaders.leases import Lease, Unit
from etl.loaders.loader import Commit, Stored
from etl.loaders.statements import LoadStatements, load_statements
from etl.loaders.table_load import Step, TableLoad, refused_by
from etl.loaders.tables import Tables
from etl.loaders.unchanged import UnchangedRows
from etl.streams import meeting
from etl.tasks import succeeded
from etl.transformers.transformer import reject

# A run waits for another run that is silent for up to this time.
_SILENCE = timedelta(minutes=10)


class HeldUp(Exception):
    """The batch before takes so long that the staged rows were given up. by: its load."""

    def __init__(self, by: Task[bool]) -> None:
        super().__init__()
        self.by = by


class RowsMoved(Exception):
    """A row that was compared and found unchanged has changed since. Nothing was written."""


class Written(NamedTuple):
    """What became of the rows of a batch.

    inserted, updated: counts. refused: the records that Postgres refused.
    """

    inserted: int
    updated: int
    refused: Sequence[Rejected]


class StagedRows(ABC):
    """Stages the rows of one resource. Its subclasses load them, or compare them."""

    def __init__(self, tables: Tables, resource: Resource) -> None:
        self._tables = tables
        self._resource = resource
        self._statements = [
            (spec, load_statements(spec, tables.schema, tables.bookkeeping))
            for spec in resource.tables
        ]

    @abstractmethod
    async def compare(
        self, connection: AsyncConnection, lease: Lease, rows: Rows
    ) -> tuple[Stored, bool]:
        """Return which of the rows need no more, and whether other runs read the stream."""

    @abstractmethod
    async def load(
        self,
        connection: AsyncConnection,
        lease: Lease,
        batch: Batch,
        commit: Commit,
        *,
        met_others: bool,
    ) -> Written:
        """Load the rows of a batch, or compare them. met_others: what `compare` has returned."""

    async def _stage(
        self,
        connection: AsyncConnection,
        unit: Unit,
        batch: Batch,
        commit: Commit,
        *,
        careful: bool,
    ) -> tuple[list[tuple[TableSpec, TableLoad]], list[Rejected]]:
        """Copy all rows into staging. Returns the tables with rows, and the refused records.

        A staging table is made outside of any savepoint whose rollback would drop it.
        """
        loads = [
            (
                spec,
                TableLoad(
                    connection,
                    statements,
                    batch.rows[spec.name],
                    unit.project_id,
                    commit,
                    careful,
                    batch.observed_at.get(spec.name, ()),
                    batch.hashes.get(spec.name, ()),
                ),
            )
            for spec, statements in self._statements
            if batch.rows.get(spec.name)
        ]
        driver = await driver_of(connection)
        for _, table in loads:
            await driver.execute(table.statements.create_staging)
        return loads, await self._do(batch, loads, lambda table: table.stage)

    async def _do(
        self,
        batch: Batch,
        loads: Sequence[tuple[TableSpec, TableLoad]],
        step_of: Callable[[TableLoad], Step],
    ) -> list[Rejected]:
        """Do one step for each table. Returns the records that Postgres refused."""
        refused: list[Rejected] = []
        for spec, table in loads:
            step, end = step_of(table), len(table.rows)
            if not table.careful:
                await step(0, end)
                continue
            origins = batch.origins[spec.name]
            for place, reason in await refused_by(step, table.connection, 0, end):
                record = batch.records[origins[place]]
                refused.append(reject(record, self._resource.key, f"{spec.name}: {reason}"))
        return refused


class RowLoader(StagedRows):
    """Loads the rows of one resource.

    patience_s: how long staged rows wait for the batch before, in seconds.
    """

    def __init__(self, tables: Tables, resource: Resource, patience_s: float) -> None:
        super().__init__(tables, resource)
        self._patience_s = patience_s
        self._unchanged = UnchangedRows(resource.tables, tables.schema, tables.bookkeeping)
        spec, statements = self._statements[0]
        self.cut = CutRecords(spec, statements.staging, tables.schema, tables.bookkeeping)

    async def compare(
        self, connection: AsyncConnection, lease: Lease, rows: Rows
    ) -> tuple[Stored, bool]:
        """Return which of the rows are stored like this, and whether other runs read the stream."""
        # In this order: who asked earlier and ends meanwhile has written before we look.
        _, others = await self._readers(connection, lease)
        return await self._unchanged.find(connection, lease.unit.project_id, rows), others

    async def load(
        self,
        connection: AsyncConnection,
        lease: Lease,
        batch: Batch,
        commit: Commit,
        *,
        met_others: bool,
    ) -> Written:
        """Load the rows of a batch. met_others: what `compare` has returned.

        Postgres rarely refuses anything. So savepoints for each step are used only after all steps
        together have failed. Raises HeldUp, RowsMoved and LeaseLost.
        """
        load = partial(self._load, connection, lease, batch, commit, met_others=met_others)
        try:
            with translated():
                async with connection.begin_nested():
                    return await load(careful=False)
        except RowsRefused:
            return await load(careful=True)

    async def _load(
        self,
        connection: AsyncConnection,
        lease: Lease,
        batch: Batch,
        commit: Commit,
        *,
        met_others: bool,
        careful: bool,
    ) -> Written:
        # Postgres waits for the rest of a COPY without a limit. So all rows are staged before the
        # first row is locked: a run that stops during COPY blocks no other run.
        loads, refused = await self._stage(connection, lease.unit, batch, commit, careful=careful)
        driver = await driver_of(connection)
        others = await self._meet_others(connection, lease, commit, met_others=met_others)
        tables = [table for _, table in loads]
        for table in tables:
            if not careful:
                table.all_new = await self._are_new(connection, lease, table.statements)
        # The first table has the records themselves. Only a record that is stored can come cut.
        if loads and loads[0][0] is self._statements[0][0] and not tables[0].all_new:
            await self.cut.withhold(connection, lease.unit, commit)
        refused += await self._do(batch, loads, lambda table: table.upsert)
        swept = await self._sweep(connection, lease, batch, commit)
        if others:
            for table in tables:
                await table.note_unchanged()
        elif commit.closing is not None:
            for _, statements in self._statements:
                await driver.execute(statements.forget, lease.unit.project_id)
        return Written(
            inserted=sum(table.inserted for table in tables),
            updated=swept + sum(table.updated for table in tables),
            refused=refused,
        )

    async def _meet_others(
        self, connection: AsyncConnection, lease: Lease, commit: Commit, *, met_others: bool
    ) -> bool:
        """Wait for the batch before; tell whether other runs read the stream now.

        What was found unchanged is compared again if it may have changed since, and noted as seen
        if others read. Raises HeldUp, RowsMoved and LeaseLost.
        """
        wrote = False
        if commit.after is not None:
            if not await succeeded(commit.after, self._patience_s):
                raise HeldUp(commit.after)
            wrote = commit.after.result()
        others = await self._lock_out(connection, lease)
        project_id, unchanged = lease.unit.project_id, commit.unchanged.rows
        if unchanged and (wrote or others or met_others):
            found = await self._unchanged.find(connection, project_id, unchanged)
            if any(len(found[name]) < len(shown) for name, shown in unchanged.items()):
                raise RowsMoved
        if unchanged and others:
            await self._unchanged.note(connection, project_id, unchanged)
        return others

    async def _are_new(
        self, connection: AsyncConnection, lease: Lease, statements: LoadStatements
    ) -> bool:
        """Tell whether none of the staged rows is stored."""
        if statements.any_stored is None:
            return False
        driver = await driver_of(connection)
        return not await driver.fetchval(statements.any_stored, lease.unit.project_id)

    async def _sweep(
        self, connection: AsyncConnection, lease: Lease, batch: Batch, commit: Commit
    ) -> int:
        """Mark rows deleted that their record no longer shows; return how many."""
        count = 0
        for spec, statements in self._statements:
            if owners := batch.whole.get(spec.name):
                driver = await driver_of(connection)
                await driver.execute(statements.create_staging)
                tag = await driver.execute(
                    statements.sweep, lease.unit.project_id, commit.observed_at, owners
                )
                count += count_of(tag)
        return count

    async def _lock_out(self, connection: AsyncConnection, lease: Lease) -> bool:
        """Tell whether other runs write the same records now; if so, take the lock for writing.

        Another run may have asked for a row before us and load it after us. It must then find that
        we saw the row later, even if we found no change and wrote nothing. A run that was silent
        for longer than others wait for it must not commit what it read before. Raises LeaseLost.
        """
        silent, others = await self._readers(connection, lease)
        if silent:
            raise LeaseLost(
                f"This run of {lease.unit.stream} was suspended for too long, so what it had read "
                "was not committed",
            )
        if others:
            # Two streams that meet have at least these two names in common.
            for stream in meeting(lease.unit.stream):
                name = f"{self._tables.bookkeeping}.{lease.unit.project_id}.{stream}"
                await connection.execute(
                    select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0)))
                )
        return others

    async def _readers(self, connection: AsyncConnection, lease: Lease) -> tuple[bool, bool]:
        """Tell whether this run was silent for too long, and whether others read the stream.

        Or one that it meets.
        """
        leases = self._tables.leases
        ours = lease.unit.of(leases) & (leases.c.holder == lease.run_id)
        waited_for = leases.c.expires_at >= func.now() - _SILENCE
        found = await connection.execute(
            select(
                func.bool_or(ours & ~waited_for),
                func.bool_or(~ours & waited_for),
            ).where(
                leases.c.project_id == lease.unit.project_id,
                leases.c.stream.in_(meeting(lease.unit.stream)),
                leases.c.unit.not_in(COMPARISONS),  # they load nothing
                leases.c.holder.is_not(None),
            )
        )
        silent, others = found.one()
        return bool(silent), bool(others)
