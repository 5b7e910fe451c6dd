"""One transaction per batch: rows, rejects, run counters, checkpoint, and the fence last."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ARRAY, Text, any_, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, TSTZMULTIRANGE, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from etl.core.coverage import Span
from etl.core.page import Batch, Rejected, Row
from etl.core.stream import Stream, TableSpec
from etl.errors import LeaseLost, RowsRefused
from etl.loaders.database import Database, translated
from etl.loaders.leases import TAIL, Lease
from etl.loaders.loader import Absence, Closing, Commit, Loaded
from etl.loaders.statements import (
    PLAN_SETTINGS,
    LoadStatements,
    absence_statements,
    load_statements,
)
from etl.loaders.tables import Tables
from etl.transformers.fields import is_storable
from etl.transformers.transformer import reject

_log = structlog.get_logger(__name__)

# Others wait for a run that says nothing for so long, and not longer.
_SILENCE = timedelta(minutes=10)


class PostgresLoader:
    """Loads the batches of one stream; see `Loader` for what it promises."""

    def __init__(self, database: Database, tables: Tables, stream: Stream) -> None:
        self._database = database
        self._tables = tables
        self._stream = stream
        self._statements = [
            (spec, load_statements(spec, tables.schema, tables.bookkeeping))
            for spec in stream.tables
        ]
        self._absence = absence_statements(
            stream.tables[0], stream.key, tables.schema, tables.bookkeeping
        )

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
            updated += await self._note_absence(connection, lease, commit)
            loaded = Loaded(inserted, updated, new)
            await self._count(connection, lease, batch, commit, loaded)
            if commit.closing is not None:
                await self._close_window(connection, lease, commit.closing)
            await self._advance(connection, lease, commit)
            sent.append(loaded)
        return loaded

    async def expire(self, lease: Lease, source_now: datetime) -> Absence:
        """Mark what expired and weigh what was not seen; see `Loader`."""
        return await self._database.repeat(lambda: self._expire(lease, source_now))

    async def _expire(self, lease: Lease, source_now: datetime) -> Absence:
        unit = lease.unit.key.values()
        async with self._database.transaction() as connection:
            driver = await _driver(connection)
            for statement in self._absence.expire:
                await driver.execute(statement, *unit, source_now)
            ((suspects, alive),) = await driver.fetch(self._absence.weigh, *unit)
            await self._hold(connection, lease)
        return Absence(suspects, alive)

    async def withhold(self, lease: Lease) -> None:
        """Leave the suspects to the next sync; see `Loader`."""
        await self._database.repeat(lambda: self._withhold(lease))

    async def _withhold(self, lease: Lease) -> None:
        async with self._database.transaction() as connection:
            driver = await _driver(connection)
            for statement in self._absence.withhold:
                await driver.execute(statement, *lease.unit.key.values(), TAIL)
            await self._hold(connection, lease)

    async def suspects(self, lease: Lease, after: str, limit: int) -> Sequence[str]:
        """Return the next suspects; see `Loader`."""

        async def read() -> Sequence[str]:
            async with self._database.transaction() as connection:
                driver = await _driver(connection)
                unit = lease.unit.key.values()
                found = await driver.fetch(self._absence.next, *unit, after, limit)
            return [key for (key,) in found]

        return await self._database.repeat(read)

    async def _note_absence(self, connection: AsyncConnection, lease: Lease, commit: Commit) -> int:
        """Note which stored records the page did not show; mark those that are gone."""
        driver, unit = await _driver(connection), lease.unit.key.values()
        seen, statements = commit.sighting, self._absence
        if seen is not None:
            keys = [key for key in seen.keys if is_storable(key)]
            known = [key for key in seen.known if is_storable(key)]
            if seen.begins:
                await driver.execute(statements.doubt_all, *unit, *(seen.span or (None, None)))
            elif seen.span is not None:
                await driver.execute(statements.doubt_span, *unit, *seen.span, [*keys, *known])
            await driver.execute(statements.clear, *unit, keys)
        if not commit.gone:
            return 0
        done = await driver.execute(statements.delete, *unit, list(commit.gone), commit.observed_at)
        return _count_of(done)

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
                    commit,
                    careful,
                ),
            )
            for spec, statements in self._statements
            if batch.rows.get(spec.name)
        ]
        refused: list[Rejected] = []

        async def step(do: Callable[[_TableLoad], Awaitable[list[tuple[int, str]]]]) -> None:
            for spec, table in loads:
                origins = batch.origins[spec.name]
                refused.extend(
                    self._refused(batch, spec, origins[place], reason)
                    for place, reason in await do(table)
                )

        # Postgres waits without end for the rest of a COPY. So all rows are staged before the
        # first one is locked: a run that is stopped in a COPY stands in nobody's way.
        await step(_TableLoad.stage)
        others = await self._meet_others(connection, lease)
        await step(_TableLoad.upsert)
        tables = [table for _, table in loads]
        if others:
            for table in tables:
                await table.sight()
        elif commit.closing is not None:
            driver = await _driver(connection)
            for _, statements in self._statements:
                await driver.execute(statements.forget, lease.unit.project_id)
        return sum(t.inserted for t in tables), sum(t.updated for t in tables), refused

    async def _meet_others(self, connection: AsyncConnection, lease: Lease) -> bool:
        """Tell whether other runs read this stream now, and let one of us write at a time.

        What another run has under way was asked for before we look. If it loads late, it must find
        that we saw a row later, also where we found no news in it and wrote nothing. A run that
        was silent for longer than it is waited for may not come back with what it read before.
        Raises LeaseLost.
        """
        leases = self._tables.leases
        ours = lease.unit.of(leases)
        waited_for = leases.c.expires_at >= func.now() - _SILENCE
        found = await connection.execute(
            select(
                func.bool_or(ours & ~waited_for),
                func.bool_or(~ours & waited_for),
            ).where(
                leases.c.project_id == lease.unit.project_id,
                leases.c.stream == lease.unit.stream,
                leases.c.holder.is_not(None),
            )
        )
        silent, others = found.one()
        if silent:
            raise LeaseLost(
                f"This run of {lease.unit.stream} stood still for too long, so what it had read "
                "was not committed",
            )
        if others:
            name = f"{self._tables.bookkeeping}.{lease.unit.project_id}.{lease.unit.stream}"
            await connection.execute(
                select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0)))
            )
        return bool(others)

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
        # greatest and coalesce pass over null: a reading that is not vouched for moves nothing.
        await connection.execute(
            row.on_conflict_do_update(
                constraint="watermarks_pkey",
                set_={
                    "complete": table.c.complete + new.complete,
                    "tail_until": func.greatest(table.c.tail_until, new.tail_until),
                    "swept": func.coalesce(new.swept, table.c.swept),
                    "traits": new.traits,
                    "updated_at": func.now(),
                },
            )
        )

    async def _hold(self, connection: AsyncConnection, lease: Lease) -> None:
        """Make sure, under our fence, that the unit is still ours; the last statement."""
        table = self._tables.checkpoints
        held = await connection.execute(
            update(table)
            .where(lease.unit.of(table), table.c.fence == lease.fence)
            .values(updated_at=func.now())
        )
        if held.rowcount != 1:
            raise _taken_over(lease)

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
        raise _taken_over(lease)


def _taken_over(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"Another run has taken over {lease.unit.stream} of project "
        f"{lease.unit.project_id}, so nothing more was committed here"
    )


def _multirange(spans: Sequence[Span]) -> Any:
    return func.tstzmultirange(
        *(func.tstzrange(span.since, span.until) for span in spans), type_=TSTZMULTIRANGE()
    )


async def _driver(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).driver_connection


def _count_of(tag: str) -> int:
    """Return how many rows a command says it touched."""
    return int(tag.rpartition(" ")[2])


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
        """Copy the rows into staging; return place and reason of each one that was refused."""
        return await self._bisect(self._stage, 0, len(self._rows))

    async def upsert(self) -> list[tuple[int, str]]:
        """Write what was staged; return place and reason of each row that was refused."""
        return await self._bisect(self._upsert, 0, len(self._rows))

    async def sight(self) -> None:
        """Keep which rows were seen without news."""
        driver = await _driver(self._connection)
        await driver.execute(self._statements.sight, self._project_id, self._commit.observed_at)

    async def _bisect(
        self, step: Callable[[Any, int, int], Awaitable[None]], first: int, end: int
    ) -> list[tuple[int, str]]:
        """Do `step` for the rows from `first` to before `end`, halving them where it is refused."""
        if not self._careful:
            await step(await _driver(self._connection), first, end)
            return []
        try:
            with translated():
                async with self._connection.begin_nested():
                    await step(await _driver(self._connection), first, end)
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
        arguments = [self._project_id, self._commit.observed_at, first, end]
        if self._statements.takes_source_at:
            arguments.append(self._commit.source_at)
        ((inserted, updated),) = await driver.fetch(self._statements.upsert, *arguments)
        self.inserted += inserted
        self.updated += updated
