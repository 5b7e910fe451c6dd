"""Compare what the source shows with what is stored, instead of loading it.

It takes the place of the ordinary loader, so `verify` reads as a sync reads: the same windows,
cursors, checkpoints and questions about single records. It writes to the bookkeeping only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from etl.core.coverage import Span
from etl.core.digest import NO_IDS, Doubtful
from etl.core.hashes import Rows
from etl.core.page import Batch
from etl.core.reconciling import Found
from etl.core.stream import Resource, TableSpec
from etl.loaders.absence import AbsentRecords
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database, translated
from etl.loaders.differences import Compared, DifferencesTable
from etl.loaders.digest import ExplainedDays, StoredDays
from etl.loaders.driver import driver_of
from etl.loaders.forgotten import Forgotten
from etl.loaders.leases import Lease, Unit
from etl.loaders.loader import (
    BatchOf,
    Closing,
    Commit,
    CutRecord,
    ExpiringCounts,
    ExpiryQuery,
    Loaded,
    Stored,
    UnseenCounts,
)
from etl.loaders.postgres import PostgresLoader
from etl.loaders.reconciliations import Comparison, Reconciliations, with_long_windows
from etl.loaders.rows import HeldUp, StagedRows, Written
from etl.loaders.tables import Tables
from etl.loaders.unchanged import StoredKeys
from etl.tasks import succeeded
from etl.transformers.transformer import reject


class Reconciling(Closing, frozen=True, kw_only=True):
    """What becomes true when a comparison ends.

    at: the time of the comparison, by the database's clock; now: that on which the clocks agree.
    persons: the table of recordings and that of persons, if some of these cannot be verified.
    before: what was found before it was repaired; None if nothing was repaired yet. same: the days
    that have the same digest at the source and here; doubtful: those that have not, and that the
    list was to decide.
    """

    compared: Comparison
    at: datetime
    now: datetime
    persons: tuple[TableSpec, TableSpec] | None = None
    before: Found | None = None
    same: Sequence[Span] = ()
    doubtful: Mapping[Span, Doubtful] = {}


class ComparingLoader(PostgresLoader):
    """Notes how the batches of one resource differ from what is stored.

    deep: whether contents are compared, too, or only which keys there are.
    found: the result, once it is kept.
    """

    _rows: RowComparer

    def __init__(
        self,
        database: Database,
        tables: Tables,
        stream: str,
        resource: Resource,
        forgotten: Forgotten | None = None,
        *,
        deep: bool,
    ) -> None:
        super().__init__(database, tables, stream, resource, forgotten)
        self.differences = DifferencesTable(database, tables, resource)
        self._surplus = SurplusRecords(resource, tables, self.differences)
        self._absent = self._surplus
        self._rows = RowComparer(
            tables, resource, self.differences, deep=deep, patience_s=database.patience_s
        )
        self._reconciliations = Reconciliations(tables)
        self._stored, self._explained = StoredDays(tables), ExplainedDays(tables)
        self._deep = deep
        self.found: Found | None = None

    async def load_changed(self, lease: Lease, rows: Rows, batch_of: BatchOf) -> Loaded:
        """Compare what `batch_of` returns; see `Loader`.

        Hashes are not believed: a row may have been changed here since it was loaded. Where only
        keys are compared, a record whose rows are all stored need not be typed.
        """
        all_typed = self._deep or self._rows.starts
        return await self._repeat(lease, {} if all_typed else rows, batch_of, [])

    def compare_starts(self) -> None:
        """Compare when each record starts, too: it decides to which day a record belongs."""
        self._rows.starts = True

    def expect(self, *, answers: bool, confirming: bool) -> None:
        """Say what the next batches are.

        answers: to questions for single records. confirming: what is found to differ once more is
        confirmed.
        """
        self._rows.answers, self._rows.confirming = answers, confirming

    async def _write(
        self,
        connection: AsyncConnection,
        lease: Lease,
        batch: Batch,
        commit: Commit,
        *,
        met_others: bool,
    ) -> Written:
        """Note what differs, and what is gone."""
        compared = await self._rows.load(connection, lease, batch, commit, met_others=met_others)
        await self._surplus.note(connection, lease.unit, commit)
        return compared

    async def expire(
        self, lease: Lease, outdated: ExpiryQuery, most: int | None
    ) -> ExpiringCounts | None:
        """Remove the suspects that have expired: the source drops them by its own rule."""
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                await self._surplus.drop_expired(connection, lease.unit, outdated.now)
        return None

    async def weigh(self, lease: Lease, accepted_at: datetime | None) -> UnseenCounts:
        """Count what the reading did not show; see `Loader`. Nothing is guarded here."""
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                suspects = await self._surplus.count(connection, lease.unit)
        return UnseenCounts(suspects, alive=0, unasked=suspects)

    async def _close_window(
        self, connection: AsyncConnection, lease: Lease, closing: Closing
    ) -> None:
        """Keep the result instead of the watermarks."""
        assert isinstance(closing, Reconciling)
        found = await self._reconciliations.count(connection, lease.unit, closing.compared)
        found.checked_at = closing.at
        await self._note_explained(connection, lease.unit, found, closing)
        with_long_windows(found, closing.compared.by_digest)
        self.found = found
        if closing.persons is not None:
            found.unverifiable = await self._reconciliations.unverifiable(
                connection, lease.unit.project_id, *closing.persons
            )
        if closing.before is None:
            await self._reconciliations.keep(connection, lease.unit, found)
        else:
            before = closing.before
            await self._reconciliations.note_repaired(connection, lease.unit, before, found)

    async def _note_explained(
        self, connection: AsyncConnection, unit: Unit, found: Found, closing: Reconciling
    ) -> None:
        """Keep of which days the list shows what is stored, though the digests differ.

        What is stored must be what it was when the digests were compared: else the list has
        explained another difference.
        """
        if closing.same:
            await self._explained.forget(connection, unit, closing.same)
        differing = {span for (_, span), each in found.counts.items() if each.differences}
        settled = {day: of for day, of in closing.doubtful.items() if day not in differing}
        if not settled or found.on_their_way:
            return
        spec, project_id = self._resource.tables[0], unit.project_id
        now = await self._stored.of(connection, project_id, spec, sorted(settled), closing.now)
        explained = {day: of for day, of in settled.items() if now.get(day, NO_IDS) == of.here}
        await self._explained.keep(connection, unit, explained, closing.at)

    async def withhold(self, lease: Lease) -> None:
        """Do nothing: the next comparison removes what is left of the suspects."""

    async def cut(self, lease: Lease, limit: int, failed: Sequence[str]) -> Sequence[CutRecord]:
        """Return nothing: a record that came cut differs, so it is asked for by key anyway."""
        return []


class SurplusRecords(AbsentRecords):
    """The suspects of a comparison: what is gone is noted as surplus, and stays as it is."""

    def __init__(self, resource: Resource, tables: Tables, differences: DifferencesTable) -> None:
        super().__init__(resource, tables.schema, tables.bookkeeping)
        self._differences = differences

    async def note(self, connection: AsyncConnection, unit: Unit, commit: Commit) -> int:
        """Note which stored records each page did not show, and which are gone."""
        await self._note_evidence(connection, unit, commit.evidence)
        driver, key = await driver_of(connection), unit.key.values()
        answered = [*commit.gone, *commit.checked]
        if answered:
            await driver.execute(self._statements.clear, *key, answered)
        await self._differences.note_gone(connection, unit, commit.gone)
        return 0

    async def drop_expired(self, connection: AsyncConnection, unit: Unit, now: datetime) -> None:
        """Remove the suspects that have expired, and note them."""
        if (dropped := self._statements.drop_expired) is not None:
            await self._differences.note_expired(connection, unit, dropped, now)

    async def count(self, connection: AsyncConnection, unit: Unit) -> int:
        """Return how many suspects there are."""
        driver = await driver_of(connection)
        ((suspects, _),) = await driver.fetch(self._statements.count, *unit.key.values())
        return int(suspects)

    async def due(
        self, connection: AsyncConnection, unit: Unit, limit: int, failed: Collection[str]
    ) -> Sequence[str]:
        """Return the next suspects that this comparison has not asked for."""
        driver = await driver_of(connection)
        given = (*unit.key.values(), "", limit + len(failed))
        found = [key for (key,) in await driver.fetch(self._statements.next, *given)]
        return [key for key in found if key not in set(failed)][:limit]

    async def unasked(self, connection: AsyncConnection, unit: Unit) -> int:
        """Return how many suspects are left."""
        return await self.count(connection, unit)


class RowComparer(StagedRows):
    """Compares the rows of one resource with those stored.

    patience_s: see `RowLoader`.
    """

    def __init__(
        self,
        tables: Tables,
        resource: Resource,
        differences: DifferencesTable,
        *,
        deep: bool,
        patience_s: float,
    ) -> None:
        super().__init__(tables, resource)
        self._differences = differences
        self._stored = StoredKeys(resource.tables, tables.schema)
        self._deep = deep
        self._patience_s = patience_s
        self.answers = self.confirming = self.starts = False

    async def compare(
        self, connection: AsyncConnection, lease: Lease, rows: Rows
    ) -> tuple[Stored, bool]:
        """Return which of the rows are stored, whatever is in them."""
        return await self._stored.find(connection, lease.unit.project_id, rows), False

    async def load(
        self,
        connection: AsyncConnection,
        lease: Lease,
        batch: Batch,
        commit: Commit,
        *,
        met_others: bool,
    ) -> Written:
        """Note how a batch differs. Records that Postgres refuses are rejects, no differences.

        Waits for the batch before, so that batches commit in their order. Raises HeldUp.
        """
        unit = lease.unit
        if commit.after is not None and not await succeeded(commit.after, self._patience_s):
            raise HeldUp(commit.after)
        # With places, which tell the record that a row comes from.
        loads, refused = await self._stage(connection, unit, batch, commit, careful=True)
        names = self._record_keys(batch)
        for spec, table in loads:
            origins = batch.origins[spec.name]
            compared = Compared(
                spec,
                table.statements.staging,
                [names[origin] for origin in origins],
                deep=self._deep,
                starts=self.starts,
                answers=self.answers,
                confirming=self.confirming,
                source_at=commit.source_at,
            )
            with translated():
                await self._differences.note_rows(connection, unit, compared)
        for spec, statements in self._statements:
            if owners := batch.whole.get(spec.name):
                driver = await driver_of(connection)
                await driver.execute(statements.create_staging)
                await self._differences.note_unowned(
                    connection, unit, spec, statements.staging, owners
                )
        return Written(0, 0, refused)

    def _record_keys(self, batch: Batch) -> dict[int, str]:
        """Return the key of each record of a batch, by its index."""
        first = self._resource.tables[0].name
        rows, origins = batch.rows.get(first, ()), batch.origins.get(first, ())
        names = {
            origin: self._resource.row_key(row) for row, origin in zip(rows, origins, strict=True)
        }
        for table_origins in batch.origins.values():
            for origin in table_origins:
                if origin not in names:  # the record came twice, and its other row was kept
                    record = batch.records[origin]
                    names[origin] = reject(record, self._resource.key, "").key
        return names
