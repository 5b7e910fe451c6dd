"""Load a batch in one transaction: rows, rejects, run counters, checkpoint, and last the fence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, null, select, text, update
from sqlalchemy.dialects.postgresql import TSTZMULTIRANGE, insert

from etl.core.coverage import Span
from etl.core.hashes import Rows, Unchanged
from etl.core.page import Batch
from etl.core.stream import Resource
from etl.errors import LeaseLost
from etl.loaders.absence import AbsentRecords, orphan_statements
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.drift import DriftTable, log_drift
from etl.loaders.driver import count_of, driver_of
from etl.loaders.forgotten import Forgotten
from etl.loaders.growing import GrowingLists
from etl.loaders.leases import Lease, loss_of
from etl.loaders.loader import (
    NONE_STORED,
    BatchOf,
    Closing,
    Commit,
    CutRecord,
    ExpiringCounts,
    ExpiryQuery,
    Loaded,
    UnseenCounts,
)
from etl.loaders.parent_lists import ParentLists
from etl.loaders.rejects import RejectsTable
from etl.loaders.rows import HeldUp, RowLoader, RowsMoved, StagedRows, Written
from etl.loaders.statements import PLAN_SETTINGS
from etl.loaders.tables import Tables
from etl.tasks import succeeded


class PostgresLoader:
    """Loads the batches of one resource. `Loader` states what it promises.

    forgotten: the persons who are kept away.
    """

    def __init__(
        self,
        database: Database,
        tables: Tables,
        stream: str,
        resource: Resource,
        forgotten: Forgotten | None = None,
    ) -> None:
        self._database = database
        self._forgotten = forgotten or Forgotten(tables)
        self._tables = tables
        self._resource = resource
        self._absent = AbsentRecords(resource, tables.schema, tables.bookkeeping)
        loading = RowLoader(tables, resource, database.patience_s)
        self._rows: StagedRows = loading
        self._cut = loading.cut
        self._orphans = orphan_statements(resource, tables.schema)
        self._rejects = RejectsTable(tables, stream, resource.tables[0].name)
        self._drift = DriftTable(tables, stream)
        self._growing = GrowingLists(database, tables)
        self._lists = ParentLists(tables, resource)

    async def load(self, lease: Lease, batch: Batch, commit: Commit) -> Loaded:
        """Load one batch; see `Loader`. Repeats it if Postgres breaks off."""
        return await self._repeat(lease, {}, lambda _: (batch, commit), [])

    async def load_changed(self, lease: Lease, rows: Rows, batch_of: BatchOf) -> Loaded:
        """Load what is not stored like this; see `Loader`."""
        sent: list[tuple[Loaded, Commit]] = []
        try:
            return await self._repeat(lease, rows, batch_of, sent)
        except RowsMoved:
            return await self._repeat(lease, {}, batch_of, sent)

    async def _repeat(
        self, lease: Lease, rows: Rows, batch_of: BatchOf, sent: list[tuple[Loaded, Commit]]
    ) -> Loaded:
        """Load a batch, and repeat it if Postgres breaks off. Raises RowsMoved."""
        try:
            for attempt in self._database.attempts():
                async with attempt:
                    try:
                        await self._load(lease, rows, batch_of, sent)
                    except HeldUp as exc:
                        # Postgres ends a transaction that is idle for long, and the batch before
                        # may need the connection.
                        await succeeded(exc.by)
                        await self._load(lease, rows, batch_of, sent)
        except _AlreadyCommitted:
            # The answer to our COMMIT was lost; the repetition found the batch committed.
            pass
        loaded, commit = sent[-1]
        log_drift(loaded.drift)
        lease.batch += 1
        lease.position = commit.position
        return loaded

    async def _load(
        self, lease: Lease, rows: Rows, batch_of: BatchOf, sent: list[tuple[Loaded, Commit]]
    ) -> None:
        """Load the batch. Before COMMIT it adds the result to `sent`.

        Raises HeldUp if the batch before takes long.
        """
        stored, others = NONE_STORED, False
        if rows:
            # In a transaction of its own: its locks on the tables would last while rows are copied.
            async with self._database.transaction(PLAN_SETTINGS) as connection:
                stored, others = await self._rows.compare(connection, lease, rows)
        batch, commit = batch_of(stored)
        project_id = lease.unit.project_id
        async with self._database.transaction(PLAN_SETTINGS) as connection:
            if key_id := await self._forgotten.anybody(connection, project_id):
                batch = await self._forgotten.keep_away(
                    connection, project_id, key_id, self._resource.tables, batch
                )
            written = await self._write(connection, lease, batch, commit, met_others=others)
            rejected = [*batch.rejected, *written.refused]
            new = await self._rejects.set_aside(connection, project_id, rejected)
            drift = await self._drift.note(connection, project_id, batch.drift)
            unchanged = commit.unchanged.records
            loaded = Loaded(
                written.inserted,
                written.updated,
                new,
                drift,
                records=len(batch.records) + unchanged,
                unchanged=unchanged,
            )
            await self._count(connection, lease, batch, commit, loaded)
            if commit.closing is not None:
                await self._close_window(connection, lease, commit.closing)
            await self._advance(connection, lease, commit)
            sent.append((loaded, commit))

    async def _write(
        self,
        connection: AsyncConnection,
        lease: Lease,
        batch: Batch,
        commit: Commit,
        *,
        met_others: bool,
    ) -> Written:
        """Write the rows, and all that follows from them. met_others: as in `RowLoader.load`."""
        project_id = lease.unit.project_id
        written = await self._rows.load(connection, lease, batch, commit, met_others=met_others)
        if await self._rejects.anything_set_aside(connection, project_id):
            keys = {*self._keys(batch, commit.unchanged), *commit.resolved}
            keys -= {item.key for item in (*batch.rejected, *written.refused)}
            await self._rejects.resolve(connection, project_id, keys)
        updated = written.updated + await self._absent.note(connection, lease.unit, commit)
        await self._cut.settle(connection, lease.unit, commit.settled)
        await self._check_off(connection, lease, commit)
        await self._growing.note(connection, lease.unit, commit.read)
        await self._lists.note(connection, lease.unit, commit)
        if commit.follow_parents:
            updated += await self._follow_parents(connection, lease)
        return written._replace(updated=updated)

    async def expire(
        self, lease: Lease, outdated: ExpiryQuery, most: int | None
    ) -> ExpiringCounts | None:
        """Mark what expired; see `Loader`."""

        for attempt in self._database.attempts():
            async with attempt, self._database.transaction(PLAN_SETTINGS) as connection:
                too_many = await self._absent.expire(connection, lease.unit, outdated, most)
                await self._hold(connection, lease)
        return too_many

    async def weigh(self, lease: Lease, accepted_at: datetime | None) -> UnseenCounts:
        """Count what was not seen; see `Loader`."""

        for attempt in self._database.attempts():
            async with attempt, self._database.transaction(PLAN_SETTINGS) as connection:
                absence = await self._absent.weigh(connection, lease.unit, accepted_at)
                await self._hold(connection, lease)
        return absence

    async def withhold(self, lease: Lease) -> None:
        """Leave the suspects to the next sync; see `Loader`."""

        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                await self._absent.withhold(connection, lease.unit)
                await self._hold(connection, lease)

    async def suspects(self, lease: Lease, after: str, limit: int) -> Sequence[str]:
        """Return the next suspects; see `Loader`."""

        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                suspects = await self._absent.suspects(connection, lease.unit, after, limit)
        return suspects

    async def cut(self, lease: Lease, limit: int, failed: Sequence[str]) -> Sequence[CutRecord]:
        """Return the records that came cut; see `Loader`."""

        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                owed = await self._cut.owed(connection, lease.unit, limit, failed)
        return owed

    async def due(self, lease: Lease, limit: int, failed: Sequence[str]) -> Sequence[str]:
        """Return the suspects to ask for; see `Loader`."""

        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                due = await self._absent.due(connection, lease.unit, limit, failed)
        return due

    async def unasked(self, lease: Lease) -> int:
        """Return how many suspects were never asked for; see `Loader`."""

        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                unasked = await self._absent.unasked(connection, lease.unit)
        return unasked

    async def known(self, lease: Lease, limit: int) -> Sequence[str]:
        """Return stored records that are not suspects; see `Loader`."""

        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                known = await self._absent.known(connection, lease.unit, limit)
        return known

    async def _follow_parents(self, connection: AsyncConnection, lease: Lease) -> int:
        """Mark rows deleted whose parents are gone; return how many."""
        driver, count = await driver_of(connection), 0
        for statement in self._orphans:
            count += count_of(await driver.execute(statement, lease.unit.project_id))
        return count

    async def _check_off(self, connection: AsyncConnection, lease: Lease, commit: Commit) -> None:
        """Note which resources were checked, and for which the check failed."""
        table = self._tables.checks
        for column, keys in (("checked_at", commit.checked), ("tried_at", commit.tried)):
            if not keys:
                continue
            row = insert(table).values(
                [
                    {
                        "project_id": lease.unit.project_id,
                        "stream": lease.unit.stream,
                        "record_key": key,
                        column: commit.observed_at,
                    }
                    for key in sorted(set(keys))
                ]
            )
            await connection.execute(
                row.on_conflict_do_update(
                    constraint="checks_pkey", set_={column: row.excluded[column]}
                )
            )

    def _keys(self, batch: Batch, unchanged: Unchanged) -> list[str]:
        """Return the keys of the records that load, or are loaded already."""
        name = self._resource.tables[0].name
        known = unchanged.rows.get(name, ())
        return [*known, *(self._resource.row_key(row) for row in batch.rows.get(name, []))]

    async def _count(
        self,
        connection: AsyncConnection,
        lease: Lease,
        batch: Batch,
        commit: Commit,
        loaded: Loaded,
    ) -> None:
        runs = self._tables.runs
        await connection.execute(
            update(runs)
            .where(runs.c.id == lease.run_id)
            .values(
                records_read=runs.c.records_read + loaded.records,
                records_read_fast=runs.c.records_read_fast + batch.read_fast + loaded.unchanged,
                rows_inserted=runs.c.rows_inserted + loaded.inserted,
                rows_updated=runs.c.rows_updated + loaded.updated,
                rejected=runs.c.rejected + loaded.rejected,
                requests=runs.c.requests + commit.requests,
                bytes_read=runs.c.bytes_read + commit.bytes_read,
            )
        )

    async def _close_window(
        self, connection: AsyncConnection, lease: Lease, closing: Closing
    ) -> None:
        table = self._tables.watermarks
        swept = closing.swept
        row = insert(table).values(
            project_id=lease.unit.project_id,
            stream=lease.unit.stream,
            complete=_multirange(closing.complete),
            tail_until=closing.tail_until,
            swept=null() if swept is None else {age: at.isoformat() for age, at in swept.items()},
            traits=dict(closing.traits),
            updated_at=func.now(),
        )
        new = row.excluded
        # greatest and coalesce ignore null, so a reading that cannot vouch for every row moves
        # nothing.
        await connection.execute(
            row.on_conflict_do_update(
                constraint="watermarks_pkey",
                set_={
                    "complete": table.c.complete + new.complete,
                    "tail_until": func.greatest(table.c.tail_until, new.tail_until),
                    "swept": func.coalesce(new.swept, table.c.swept),
                    # Key by key, so that units that close at once keep each other's traits.
                    "traits": func.coalesce(table.c.traits, text("'{}'::jsonb")).op("||")(
                        new.traits
                    ),
                    "updated_at": func.now(),
                },
            )
        )

    async def _hold(self, connection: AsyncConnection, lease: Lease) -> None:
        """Check under our fence that we still hold the unit. Must be the last statement."""
        table = self._tables.checkpoints
        held = await connection.execute(
            update(table)
            .where(lease.unit.of(table), table.c.fence == lease.fence)
            .values(updated_at=func.now())
        )
        if held.rowcount != 1:
            raise await loss_of(connection, self._tables, lease)

    async def _advance(self, connection: AsyncConnection, lease: Lease, commit: Commit) -> None:
        """Move the checkpoint under our fence. Must be the last statement before COMMIT."""
        table = self._tables.checkpoints
        moved = await connection.execute(
            update(table)
            .where(
                lease.unit.of(table),
                table.c.fence == lease.fence,
                table.c.batch == lease.batch,
            )
            .values(
                position=None if commit.position is None else dict(commit.position),
                batch=lease.batch + 1,
                updated_at=func.now(),
            )
        )
        if moved.rowcount == 1:
            return
        found = (
            await connection.execute(
                select(table.c.fence, table.c.batch).where(lease.unit.of(table))
            )
        ).first()
        if found is not None and tuple(found) == (lease.fence, lease.batch + 1):
            raise _AlreadyCommitted
        raise await loss_of(connection, self._tables, lease)


def _multirange(spans: Sequence[Span]) -> Any:
    return func.tstzmultirange(
        *(func.tstzrange(span.since, span.until) for span in spans), type_=TSTZMULTIRANGE()
    )


class _AlreadyCommitted(LeaseLost):
    """This batch was committed by an earlier attempt."""

    def __init__(self) -> None:
        super().__init__("this batch was committed before")
