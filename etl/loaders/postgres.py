"""One transaction per batch: rows, rejects, run counters, checkpoint, and the fence last."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import ARRAY, Text, any_, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from etl.core.page import Batch, Rejected, Row
from etl.core.stream import Stream, TableSpec
from etl.errors import LeaseLost, RowsRefused
from etl.loaders.database import Database, translated
from etl.loaders.leases import Lease
from etl.loaders.loader import Closing, Commit, Loaded
from etl.loaders.statements import PLAN_SETTINGS, LoadStatements, load_statements
from etl.loaders.tables import Tables
from etl.transformers.transformer import reject

_log = structlog.get_logger(__name__)


class PostgresLoader:
    """Loads the batches of one stream; see `Loader` for what it promises."""

    def __init__(self, database: Database, tables: Tables, stream: Stream) -> None:
        self._database = database
        self._tables = tables
        self._stream = stream
        self._statements = [(spec, load_statements(spec, tables.schema)) for spec in stream.tables]

    async def load(self, lease: Lease, batch: Batch, commit: Commit) -> Loaded:
        """Load one batch; repeated by itself when Postgres breaks off."""
        sent: list[Loaded] = []
        try:
            loaded = await self._database.repeat(lambda: self._load(lease, batch, commit, sent))
        except _AlreadyCommitted:
            # The answer to our COMMIT was lost, and the repetition found it done.
            loaded = sent[-1]
        lease.batch += 1
        lease.position = commit.position
        return loaded

    async def _load(self, lease: Lease, batch: Batch, commit: Commit, sent: list[Loaded]) -> Loaded:
        """Load the batch once; what its COMMIT would make true is in `sent` before that goes."""
        async with self._database.transaction(PLAN_SETTINGS) as connection:
            inserted, updated, refused = await self._load_rows(connection, lease, batch, commit)
            rejected = [*batch.rejected, *refused]
            new = await self._set_aside(connection, lease, rejected)
            loaded_keys = {*self._keys(batch), *commit.resolved} - {item.key for item in rejected}
            await self._resolve(connection, lease, loaded_keys)
            loaded = Loaded(inserted, updated, new)
            await self._count(connection, lease, batch, commit, loaded)
            if commit.closing is not None:
                await self._close_window(connection, lease, commit.closing)
            await self._advance(connection, lease, commit)
            sent.append(loaded)
        return loaded

    async def _load_rows(
        self, connection: AsyncConnection, lease: Lease, batch: Batch, commit: Commit
    ) -> tuple[int, int, list[Rejected]]:
        """Return how many rows were inserted and updated, and what Postgres refused.

        Nearly always that is nothing, so a savepoint for each step is worth its cost only after
        all steps together have failed.
        """
        try:
            with translated():
                async with connection.begin_nested():
                    return await self._load_tables(connection, lease, batch, commit, careful=False)
        except RowsRefused:
            return await self._load_tables(connection, lease, batch, commit, careful=True)

    async def _load_tables(
        self,
        connection: AsyncConnection,
        lease: Lease,
        batch: Batch,
        commit: Commit,
        *,
        careful: bool,
    ) -> tuple[int, int, list[Rejected]]:
        loads = [
            (
                spec,
                _TableLoad(
                    connection,
                    statements,
                    batch.rows[spec.name],
                    lease.unit.project_id,
                    commit.observed_at,
                    careful,
                ),
            )
            for spec, statements in self._statements
            if batch.rows.get(spec.name)
        ]
        refused: list[Rejected] = []
        # Postgres waits without end for the rest of a COPY. So all rows are staged before the
        # first one is locked: a run that is stopped in a COPY stands in nobody's way.
        for step in (_TableLoad.stage, _TableLoad.upsert):
            for spec, table in loads:
                origins = batch.origins[spec.name]
                refused += [
                    self._refused(batch, spec, origins[place], reason)
                    for place, reason in await step(table)
                ]
        tables = [table for _, table in loads]
        return sum(t.inserted for t in tables), sum(t.updated for t in tables), refused

    def _refused(self, batch: Batch, spec: TableSpec, origin: int, reason: str) -> Rejected:
        return reject(batch.records[origin], self._stream.key, f"{spec.name}: {reason}")

    async def _set_aside(
        self, connection: AsyncConnection, lease: Lease, rejected: Sequence[Rejected]
    ) -> int:
        """Write the rejects table, each record once; return how many are news."""
        if not rejected:
            return 0
        items = {item.key: item for item in rejected}
        known = await self._unresolved(connection, lease, list(items))
        for key in sorted(items):
            await self._set_one_aside(connection, lease, items[key])
            if key not in known:
                _log.warning("record.rejected", record_key=key, reason=items[key].reason)
        return len(items.keys() - known)

    async def _unresolved(
        self, connection: AsyncConnection, lease: Lease, keys: Sequence[str]
    ) -> set[str]:
        """Return which of `keys` are set aside now."""
        table = self._tables.rejects
        found = await connection.execute(
            select(table.c.record_key).where(
                table.c.project_id == lease.unit.project_id,
                table.c.stream == self._stream.name,
                table.c.resolved_at.is_(None),
                table.c.record_key == any_(literal(list(keys), ARRAY(Text()))),
            )
        )
        return set(found.scalars())

    async def _set_one_aside(
        self, connection: AsyncConnection, lease: Lease, item: Rejected
    ) -> None:
        # A payload may itself be what Postgres refuses; its text always fits.
        for payload in (item.payload, json.dumps(item.payload, default=str)[:100_000]):
            try:
                with translated():
                    async with connection.begin_nested():
                        await self._write_reject(connection, lease, item, payload)
                return
            except RowsRefused:
                continue
        raise RowsRefused(f"the rejects table refused record {item.key}")

    async def _write_reject(
        self, connection: AsyncConnection, lease: Lease, item: Rejected, payload: Any
    ) -> None:
        table = self._tables.rejects
        row = insert(table).values(
            project_id=lease.unit.project_id,
            stream=self._stream.name,
            record_key=item.key,
            reason=item.reason,
            payload=literal(payload, JSONB(none_as_null=False)),
            first_seen_at=func.now(),
            last_seen_at=func.now(),
        )
        await connection.execute(
            row.on_conflict_do_update(
                constraint="rejects_pkey",
                set_={
                    "reason": row.excluded.reason,
                    "payload": row.excluded.payload,
                    "last_seen_at": func.now(),
                    "resolved_at": None,
                },
                # Seen again unchanged is no news; the last sight of it is kept to the day.
                where=or_(
                    table.c.resolved_at.is_not(None),
                    table.c.reason != row.excluded.reason,
                    table.c.payload.is_distinct_from(row.excluded.payload),
                    table.c.last_seen_at < func.now() - timedelta(days=1),
                ),
            )
        )

    async def _resolve(
        self, connection: AsyncConnection, lease: Lease, loaded_keys: set[str]
    ) -> None:
        """Mark what was set aside earlier and has loaded now."""
        if not await self._anything_set_aside(connection, lease):
            return  # nearly always, and sending a page's keys takes longer than to ask
        keys = await self._unresolved(connection, lease, list(loaded_keys))
        if keys:
            table = self._tables.rejects
            await connection.execute(
                update(table)
                .where(
                    table.c.project_id == lease.unit.project_id,
                    table.c.stream == self._stream.name,
                    table.c.record_key.in_(sorted(keys)),
                )
                .values(resolved_at=func.now())
            )

    async def _anything_set_aside(self, connection: AsyncConnection, lease: Lease) -> bool:
        table = self._tables.rejects
        found = await connection.execute(
            select(literal(1))
            .where(
                table.c.project_id == lease.unit.project_id,
                table.c.stream == self._stream.name,
                table.c.resolved_at.is_(None),
            )
            .limit(1)
        )
        return found.first() is not None

    def _keys(self, batch: Batch) -> list[str]:
        spec = self._stream.tables[0]
        place = spec.columns.index(self._stream.key)
        return [row[place] for row in batch.rows.get(spec.name, [])]

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
                records_read=runs.c.records_read + len(batch.records),
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
        since = closing.since if closing.vouched else None
        until = closing.until if closing.vouched else None
        row = insert(table).values(
            project_id=lease.unit.project_id,
            stream=lease.unit.stream,
            complete_since=since,
            complete_until=until,
            traits=dict(closing.traits),
            updated_at=func.now(),
        )
        # least and greatest pass over null: a window that is not vouched for moves nothing.
        await connection.execute(
            row.on_conflict_do_update(
                constraint="watermarks_pkey",
                set_={
                    "complete_since": func.least(
                        table.c.complete_since, row.excluded.complete_since
                    ),
                    "complete_until": func.greatest(
                        table.c.complete_until, row.excluded.complete_until
                    ),
                    "traits": row.excluded.traits,
                    "updated_at": func.now(),
                },
            )
        )

    async def _advance(self, connection: AsyncConnection, lease: Lease, commit: Commit) -> None:
        """Move the checkpoint under our fence; the last statement before COMMIT."""
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
        raise LeaseLost(
            f"Another run has taken over {lease.unit.stream} of project "
            f"{lease.unit.project_id}, so nothing more was committed here"
        )


class _AlreadyCommitted(LeaseLost):
    """This very batch is in already."""

    def __init__(self) -> None:
        super().__init__("this batch was committed before")


class _TableLoad:
    """Loads the rows of one table in one transaction, setting aside those Postgres refuses.

    Not careful, it raises RowsRefused instead, and the transaction is then broken.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        statements: LoadStatements,
        rows: Sequence[Row],
        project_id: int,
        observed_at: Any,
        careful: bool,
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._rows = rows
        self._project_id = project_id
        self._observed_at = observed_at
        self._careful = careful
        self.inserted = 0
        self.updated = 0

    async def stage(self) -> list[tuple[int, str]]:
        """Copy the rows into staging; return place and reason of each one that was refused."""
        return await self._bisect(self._stage, 0, len(self._rows))

    async def upsert(self) -> list[tuple[int, str]]:
        """Write what was staged; return place and reason of each row that was refused."""
        return await self._bisect(self._upsert, 0, len(self._rows))

    async def _bisect(
        self, step: Callable[[Any, int, int], Awaitable[None]], first: int, end: int
    ) -> list[tuple[int, str]]:
        """Do `step` for the rows from `first` to before `end`, halving them where it is refused."""
        if not self._careful:
            raw = await self._connection.get_raw_connection()
            await step(raw.driver_connection, first, end)
            return []
        try:
            with translated():
                async with self._connection.begin_nested():
                    raw = await self._connection.get_raw_connection()
                    await step(raw.driver_connection, first, end)
            return []
        except RowsRefused as exc:
            if end - first == 1:
                return [(first, exc.message)]
        middle = (first + end) // 2
        bad = await self._bisect(step, first, middle)
        return bad + await self._bisect(step, middle, end)

    async def _stage(self, driver: Any, first: int, end: int) -> None:
        await driver.execute(self._statements.create_staging)
        rows: Iterable[Row] = self._rows
        columns = self._statements.columns[1:]
        if self._careful:  # else all rows are staged and written together: no need for places
            rows = ((place, *self._rows[place]) for place in range(first, end))
            columns = self._statements.columns
        await driver.copy_records_to_table(
            self._statements.staging, records=rows, columns=columns, schema_name="pg_temp"
        )

    async def _upsert(self, driver: Any, first: int, end: int) -> None:
        ((inserted, updated),) = await driver.fetch(
            self._statements.upsert, self._project_id, self._observed_at, first, end
        )
        self.inserted += inserted
        self.updated += updated
