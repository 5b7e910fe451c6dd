"""The differences that a comparison has found so far, and which of them a repair loads.

A difference is noted with each page, and removed if a later answer shows that there is none. Only
keys are kept, no contents.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from etl.core.coverage import Span
from etl.core.stream import Resource, TableSpec
from etl.loaders.absence import is_orphan
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.leases import Unit
from etl.loaders.statements import differs, is_alive, key_is, literal, quoted, row_key
from etl.loaders.tables import Tables

# The condition of a unit on the row `d`, by its key as $1 to $3.
OF_UNIT = "d.project_id = $1::bigint AND d.stream = $2::text AND d.unit = $3::text"


class Compared(Struct, frozen=True):
    """Staged rows that are compared with those stored.

    record_keys: for each row, by its place, the key of the record that it comes from.
    deep: whether contents are compared. starts: whether only the start is, of all contents.
    answers: whether the records were asked for by key;
    confirming: because they were found to differ. source_at: see `Commit`.
    """

    spec: TableSpec
    staging: str
    record_keys: Sequence[str]
    deep: bool
    starts: bool
    answers: bool
    confirming: bool
    source_at: datetime | None


class DifferencesTable:
    """The differences of one resource of a unit."""

    def __init__(self, database: Database, tables: Tables, resource: Resource) -> None:
        self._database = database
        self._tables = tables
        self._resource = resource
        self._name = f"{quoted(tables.bookkeeping)}.differences"

    def _stored(self, spec: TableSpec) -> str:
        return f"{quoted(self._tables.schema)}.{quoted(spec.name)}"

    async def note_rows(self, connection: AsyncConnection, unit: Unit, compared: Compared) -> None:
        """Note how staged rows differ; forget differences that are none any more."""
        driver = await driver_of(connection)
        given = (compared.record_keys, compared.source_at)
        for statement in self._compare(compared):
            await driver.execute(statement, *unit.key.values(), *given)

    def _compare(self, compared: Compared) -> Sequence[str]:
        """Return the statements that compare: $4 record_keys, $5 source_at.

        A request for one record may show fields that the list does not. So an answer that is to
        confirm differences adds none. A row that differs from any answer only in fields that are
        null here counts only if it differed so from the list, too; and an answer that leaves null
        what the list fills does not show that it is equal.
        """
        spec = compared.spec
        same = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in spec.key)
        gone = "t.project_id IS NULL OR t._deleted_at IS NOT NULL"
        if spec.expiry is not None:
            gone += " OR t._expired_at IS NOT NULL"
        changed = only_fills = "false"
        if compared.deep:
            changed = differs(spec, "s", "$5::timestamptz")
            only_fills = f"NOT ({differs(spec, 's', '$5::timestamptz', fills=False)})"
        elif compared.starts and spec.started is not None:
            moved = f"t.{quoted(spec.started)} IS DISTINCT FROM s.{quoted(spec.started)}"
            changed = f"{moved} AND {differs(spec, 's', '$5::timestamptz')}"
        started = "NULL::timestamptz"
        if spec.started is not None:
            started = f"coalesce(t.{quoted(spec.started)}, s.{quoted(spec.started)})"
        table = literal(spec.name)
        keeps = [field.name for field in spec.fields if field.null_keeps and not field.volatile]
        filled = "'{}'" if compared.answers else _names_of(keeps, "s.{0} IS NOT NULL")
        unfilled = _names_of(keeps, "coalesce(t.{0}, s.{0}) IS NULL")
        # An outer join, so that Postgres looks up the difference of each staged row. It does not
        # know how many differences there are, and might compare each with every staged row.
        matched = (
            f"WITH found AS MATERIALIZED (SELECT {row_key(spec, 's')} AS row_key, "
            f"($4::text[])[s._place + 1] AS record_key, {started} AS started, "
            f"CASE WHEN {gone} THEN 'missing' WHEN {changed} THEN 'different' END AS kind, "
            f"coalesce(NOT ({gone}) AND {only_fills}, false) AS only_fills, "
            f"{filled}::text[] AS filled, {unfilled}::text[] AS unfilled "
            f"FROM pg_temp.{quoted(compared.staging)} AS s LEFT JOIN {self._stored(spec)} AS t "
            # So that the parameter has a type where only keys are compared.
            f"ON t.project_id = $1::bigint AND {same} WHERE $5::timestamptz IS NULL OR true), "
            "matched AS MATERIALIZED (SELECT f.kind, f.only_fills, d.ctid AS at, "
            "d.only_fills AS noted_fills, d.filled && f.unfilled AS lacks "
            f"FROM found AS f LEFT JOIN {self._name} AS d ON {OF_UNIT} "
            f"AND d.table_name = {table} AND d.row_key = f.row_key)"
        )
        if compared.confirming:
            equal = "(m.kind IS NULL OR (m.only_fills AND NOT m.noted_fills))"
            equal += " AND NOT m.lacks" if compared.deep else ""
            return (
                f"{matched} DELETE FROM {self._name} AS d "
                f"WHERE d.ctid = ANY (ARRAY(SELECT m.at FROM matched AS m WHERE {equal}))",
                f"{matched} UPDATE {self._name} AS d SET kind = m.kind, confirmed = true "
                "FROM matched AS m WHERE d.ctid = m.at AND m.kind IS NOT NULL",
            )
        return (
            f"{matched}, equal AS (DELETE FROM {self._name} AS d "
            "WHERE d.ctid = ANY (ARRAY(SELECT m.at FROM matched AS m WHERE m.kind IS NULL))) "
            f"INSERT INTO {self._name} AS d (project_id, stream, unit, "
            "table_name, row_key, record_key, kind, started, only_fills, confirmed, filled) "
            f"SELECT $1::bigint, $2::text, $3::text, {table}, f.row_key, f.record_key, f.kind, "
            "f.started, f.only_fills, false, f.filled FROM found AS f WHERE f.kind IS NOT NULL "
            f"{'AND NOT f.only_fills ' if compared.answers else ''}"
            "ON CONFLICT ON CONSTRAINT differences_pkey DO UPDATE SET kind = excluded.kind, "
            "record_key = excluded.record_key, started = excluded.started, "
            "only_fills = excluded.only_fills"
            f"{'' if compared.answers else ', filled = excluded.filled'}",
        )

    async def note_unowned(
        self,
        connection: AsyncConnection,
        unit: Unit,
        spec: TableSpec,
        staging: str,
        owners: Sequence[str],
    ) -> None:
        """Note the stored rows of these owners that are not staged; forget those that are."""
        same = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in spec.key)
        driver, key = await driver_of(connection), unit.key.values()
        await driver.execute(
            f"DELETE FROM {self._name} AS d WHERE {OF_UNIT} "
            f"AND d.table_name = {literal(spec.name)} "
            "AND d.kind = 'surplus' AND d.record_key = ANY ($4::text[])",
            *key,
            owners,
        )
        await driver.execute(
            f"INSERT INTO {self._name} SELECT $1::bigint, $2::text, $3::text, "
            f"{literal(spec.name)}, {row_key(spec, 't')}, o.owner, 'surplus', NULL, false, true "
            f"FROM unnest($4::text[]) AS o (owner) JOIN {self._stored(spec)} AS t "
            f"ON t.project_id = $1::bigint AND {key_is(spec, spec.key[:-1], 'o.owner')} "
            "WHERE t._deleted_at IS NULL AND NOT EXISTS "
            f"(SELECT FROM pg_temp.{quoted(staging)} AS s WHERE {same}) "
            "ON CONFLICT ON CONSTRAINT differences_pkey DO NOTHING",
            *key,
            owners,
        )

    async def note_gone(
        self, connection: AsyncConnection, unit: Unit, gone: Collection[str]
    ) -> None:
        """Note the records that the source does not have: those that are stored are surplus."""
        if not gone:
            return
        driver, key, keys = await driver_of(connection), unit.key.values(), list(gone)
        spec = self._resource.tables[0]
        started = "NULL" if spec.started is None else f"t.{quoted(spec.started)}"
        await driver.execute(
            # Not its person's: other recordings show that, too.
            f"DELETE FROM {self._name} AS d WHERE {OF_UNIT} AND d.record_key = ANY ($4::text[]) "
            f"AND d.table_name = {literal(spec.name)}",
            *key,
            keys,
        )
        await driver.execute(
            f"INSERT INTO {self._name} SELECT $1::bigint, $2::text, $3::text, "
            f"{literal(spec.name)}, {row_key(spec, 't')}, {row_key(spec, 't')}, 'surplus', "
            f"{started}, false, true FROM unnest($4::text[]) AS g (key) JOIN {self._stored(spec)} "
            f"AS t ON t.project_id = $1::bigint AND {key_is(spec, spec.key, 'g.key')} "
            f"AND {is_alive(spec, 't')}",
            *key,
            keys,
        )

    async def note_expired(
        self, connection: AsyncConnection, unit: Unit, dropped: str, now: datetime
    ) -> None:
        """Note which suspects have expired. dropped: the statement that removes them; $4: now."""
        driver, spec = await driver_of(connection), self._resource.tables[0]
        started = "NULL" if spec.started is None else f"t.{quoted(spec.started)}"
        await driver.execute(
            f"WITH dropped AS ({dropped} RETURNING u.record_key) INSERT INTO {self._name} "
            f"SELECT $1::bigint, $2::text, $3::text, {literal(spec.name)}, u.record_key, "
            f"u.record_key, 'expired', {started}, false, true FROM dropped AS u "
            f"JOIN {self._stored(spec)} AS t ON t.project_id = $1::bigint "
            f"AND {key_is(spec, spec.key, 'u.record_key')} "
            "ON CONFLICT ON CONSTRAINT differences_pkey DO NOTHING",
            *unit.key.values(),
            now,
        )

    async def note_orphans(self, unit: Unit) -> None:
        """Note the rows whose parent is gone, unless the next sync is still to mark them.

        Safe to repeat. Raises DestinationError.
        """
        parents = self._resource.parents
        if parents is None:
            return
        closed_at = (
            f"(SELECT w.updated_at FROM {quoted(self._tables.bookkeeping)}.watermarks AS w "
            "WHERE w.project_id = $1::bigint AND w.stream = $2::text)"
        )
        for spec in self._resource.tables:
            await self._execute(
                f"INSERT INTO {self._name} (project_id, stream, unit, table_name, row_key, "
                "record_key, kind, only_fills, confirmed) SELECT $1::bigint, $2::text, $3::text, "
                f"{literal(spec.name)}, {row_key(spec, 't')}, {row_key(spec, 't')}, 'surplus', "
                f"false, true FROM {self._stored(spec)} AS t WHERE t.project_id = $1::bigint "
                f"AND {is_orphan(parents, self._tables.schema, closed_at)} "
                "ON CONFLICT ON CONSTRAINT differences_pkey DO UPDATE SET kind = excluded.kind, "
                "confirmed = true",
                *unit.key.values(),
            )

    async def begin(self, unit: Unit, *, without_start: bool) -> None:
        """Forget what an earlier comparison found, and its suspects.

        without_start: whether records without a start are compared, too; no window shows that one
        of them is gone, so they are suspects until they are shown. Safe to repeat. Raises
        DestinationError.
        """
        spec = self._resource.tables[0]
        suspects = f"{quoted(self._tables.bookkeeping)}.suspects"
        for table in (self._name, suspects):
            await self._execute(f"DELETE FROM {table} AS d WHERE {OF_UNIT}", *unit.key.values())
        if without_start and spec.started is not None:
            await self._execute(
                f"INSERT INTO {suspects} SELECT $1::bigint, $2::text, $3::text, "
                f"{row_key(spec, 't')} FROM {self._stored(spec)} AS t "
                f"WHERE t.project_id = $1::bigint AND t.{quoted(spec.started)} IS NULL "
                f"AND {is_alive(spec, 't')} ON CONFLICT DO NOTHING",
                *unit.key.values(),
            )

    async def owners(self, unit: Unit, table: str) -> list[str]:
        """Return the keys of the rows of a table that are missing or stored otherwise.

        Raises DestinationError.
        """
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                driver = await driver_of(connection)
                found = await driver.fetch(
                    f"SELECT d.row_key FROM {self._name} AS d WHERE {OF_UNIT} "
                    "AND d.table_name = $4::text AND d.kind IN ('missing', 'different')",
                    *unit.key.values(),
                    table,
                )
        return [key for (key,) in found]

    async def drop_outside(self, unit: Unit, windows: Sequence[Span]) -> None:
        """Forget surplus records that start outside these windows. Safe to repeat.

        Raises DestinationError.
        """
        await self._execute(
            f"DELETE FROM {self._name} AS d WHERE {OF_UNIT} AND d.kind = 'surplus' "
            "AND d.started IS NOT NULL AND NOT EXISTS (SELECT FROM unnest($4::timestamptz[], "
            "$5::timestamptz[]) AS w (since, until) WHERE d.started >= w.since "
            "AND d.started < w.until)",
            *unit.key.values(),
            [span.since for span in windows],
            [span.until for span in windows],
        )

    async def unconfirmed(self, unit: Unit, limit: int, failed: Collection[str]) -> list[str]:
        """Return keys of records of which a difference is not confirmed, except `failed`.

        Raises DestinationError.
        """
        return await self._records("NOT d.confirmed", unit, limit, failed)

    async def to_load(self, unit: Unit, limit: int, done: Collection[str]) -> list[str]:
        """Return keys of records that have to be loaded again, except those in `done`.

        Raises DestinationError.
        """
        first = literal(self._resource.tables[0].name)
        own = f"(d.kind <> 'surplus' OR d.table_name <> {first}) AND d.kind <> 'expired'"
        return await self._records(own, unit, limit, done)

    async def starts_of_unfilled(self, unit: Unit) -> list[datetime]:
        """Return the starts of records that lack what the list fills, now that they are loaded.

        Raises DestinationError.
        """
        spec = self._resource.tables[0]
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                driver = await driver_of(connection)
                found = await driver.fetch(
                    f"SELECT d.started FROM {self._name} AS d JOIN {self._stored(spec)} AS t "
                    f"ON t.project_id = $1::bigint AND {key_is(spec, spec.key, 'd.row_key')} "
                    f"WHERE {OF_UNIT} AND d.table_name = {literal(spec.name)} "
                    f"AND d.started IS NOT NULL AND {is_alive(spec, 't')} "
                    "AND EXISTS (SELECT FROM unnest(d.filled) AS f (name) "
                    "WHERE to_jsonb(t) -> f.name = 'null')",
                    *unit.key.values(),
                )
        return [at for (at,) in found]

    async def suspect_surplus(self, unit: Unit, repairing: Unit) -> None:
        """Make suspects of surplus records, for the unit that repairs. Safe to repeat.

        Raises DestinationError.
        """
        await self.forget_checks(unit)
        await self._execute(
            f"INSERT INTO {quoted(self._tables.bookkeeping)}.suspects "
            f"SELECT $1::bigint, $2::text, $4::text, d.row_key FROM {self._name} AS d "
            f"WHERE {OF_UNIT} AND d.kind = 'surplus' "
            f"AND d.table_name = {literal(self._resource.tables[0].name)} ON CONFLICT DO NOTHING",
            *unit.key.values(),
            repairing.name,
        )

    async def forget_checks(self, unit: Unit) -> None:
        """Let surplus records be asked for again, also those that were lately. Safe to repeat.

        Raises DestinationError.
        """
        await self._execute(
            f"DELETE FROM {quoted(self._tables.bookkeeping)}.checks AS c USING {self._name} AS d "
            f"WHERE {OF_UNIT} AND d.kind = 'surplus' AND c.project_id = d.project_id "
            "AND c.stream = d.stream AND c.record_key = d.row_key",
            *unit.key.values(),
        )

    async def doubt(self, unit: Unit) -> None:
        """Let everything be asked for once more. Safe to repeat. Raises DestinationError."""
        await self._execute(
            f"UPDATE {self._name} AS d SET confirmed = false "
            f"WHERE {OF_UNIT} AND d.kind <> 'expired'",
            *unit.key.values(),
        )

    async def _records(
        self, condition: str, unit: Unit, limit: int, without: Collection[str]
    ) -> list[str]:
        names = [spec.name for spec in self._resource.tables]
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                driver = await driver_of(connection)
                found = await driver.fetch(
                    f"SELECT DISTINCT d.record_key FROM {self._name} AS d WHERE {OF_UNIT} "
                    f"AND {condition} AND d.table_name = ANY ($4::text[]) "
                    "AND NOT d.record_key = ANY ($5::text[]) "
                    "ORDER BY d.record_key LIMIT $6::bigint",
                    *unit.key.values(),
                    names,
                    list(without),
                    limit,
                )
        return [key for (key,) in found]

    async def confirm(self, unit: Unit, keys: Sequence[str]) -> None:
        """Note that records were asked for by key: what still differs does differ.

        Safe to repeat. Raises DestinationError.
        """
        await self._execute(
            f"UPDATE {self._name} AS d SET confirmed = true WHERE {OF_UNIT} "
            "AND d.record_key = ANY ($4::text[])",
            *unit.key.values(),
            list(keys),
        )

    async def keep_confirmed(self, unit: Unit) -> None:
        """Forget what a second reading did not find. Safe to repeat. Raises DestinationError."""
        await self._execute(
            f"DELETE FROM {self._name} AS d WHERE {OF_UNIT} AND NOT d.confirmed "
            "AND d.table_name = ANY ($4::text[])",
            *unit.key.values(),
            [spec.name for spec in self._resource.tables],
        )

    async def drop_settled(self, unit: Unit, tables: Sequence[TableSpec]) -> None:
        """Forget surplus rows of these tables that are marked gone by now. Safe to repeat.

        Raises DestinationError.
        """
        for spec in tables:
            await self._execute(
                f"DELETE FROM {self._name} AS d WHERE {OF_UNIT} AND d.kind = 'surplus' "
                f"AND d.table_name = {literal(spec.name)} AND NOT EXISTS (SELECT FROM "
                f"{self._stored(spec)} AS t WHERE t.project_id = $1::bigint "
                f"AND {key_is(spec, spec.key, 'd.row_key')} "
                f"AND {is_alive(spec, 't')})",
                *unit.key.values(),
            )

    async def _execute(self, statement: str, *given: Any) -> None:
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                driver = await driver_of(connection)
                await driver.execute(statement, *given)


def _names_of(fields: Sequence[str], condition: str) -> str:
    """Return an array of the names of those fields for which a condition holds."""
    cases = (
        f"CASE WHEN {condition.format(quoted(name))} THEN {literal(name)} END" for name in fields
    )
    return f"array_remove(ARRAY[{', '.join(cases)}]::text[], NULL)"
