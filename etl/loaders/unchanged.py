"""Finds the rows that are stored with the hash of what came, and notes that they were seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from etl.core.hashes import Rows
from etl.core.stream import TableSpec
from etl.loaders.driver import driver_of
from etl.loaders.statements import literal, quoted


class UnchangedRows:
    """The rows of some tables that need no writing. Runs in transactions that others open."""

    def __init__(self, specs: Sequence[TableSpec], schema: str, bookkeeping: str) -> None:
        self._find = {
            spec.name: _find_statement(spec, f"{quoted(schema)}.{quoted(spec.name)}")
            for spec in specs
            if spec.hashed
        }
        self._note = {
            name: (
                f"INSERT INTO {quoted(bookkeeping)}.sightings AS g "
                f"SELECT $1::bigint, {literal(name)}, a.row_key, a.observed_at "
                "FROM unnest($2::text[], $3::timestamptz[]) AS a (row_key, observed_at) "
                "ORDER BY a.row_key ON CONFLICT ON CONSTRAINT sightings_pkey DO UPDATE SET "
                "observed_at = excluded.observed_at WHERE g.observed_at < excluded.observed_at"
            )
            for name in self._find
        }

    async def find(
        self, connection: AsyncConnection, project_id: int, rows: Rows
    ) -> dict[str, set[Any]]:
        """Return, by table, the keys of the rows that are stored like this and not gone."""
        driver, found = await driver_of(connection), {}
        for name, shown in rows.items():
            hashes = [seen.row_hash for seen in shown.values() if seen.row_hash is not None]
            keys = [key for key, seen in shown.items() if seen.row_hash is not None]
            stored = await driver.fetchval(self._find[name], project_id, keys, hashes)
            found[name] = set(stored or ())
        return found

    async def note(self, connection: AsyncConnection, project_id: int, rows: Rows) -> None:
        """Note that rows were seen without a change; another run may have asked earlier."""
        driver = await driver_of(connection)
        for name, shown in rows.items():
            at = [seen.observed_at for seen in shown.values()]
            await driver.execute(self._note[name], project_id, [*shown], at)


def _find_statement(spec: TableSpec, table: str) -> str:
    (name,) = spec.key
    types = {field.name: field.kind.value for field in spec.fields}
    key = f"t.{quoted(name)}"
    marks = ["t._deleted_at"] + (["t._expired_at"] if spec.expiry is not None else [])
    # Each hash covers the key. So a row has one of these hashes only if it has its own. As arrays:
    # a join would look up each key separately and take twice as long.
    return (
        f"SELECT array_agg({key}::text) FROM {table} AS t WHERE t.project_id = $1::bigint "
        f"AND {key} = ANY ($2::text[]::{types[name]}[]) AND t._hash = ANY ($3::bigint[]) "
        f"AND coalesce({', '.join(marks)}) IS NULL"
    )
