"""Finds rows that are stored, or stored with the hash of what came; notes that they were seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etl.core.hashes import Rows
from etl.core.stream import TableSpec
from etl.loaders.connection import AsyncConnection
from etl.loaders.driver import driver_of, text_array
from etl.loaders.statements import is_alive, literal, quoted


class UnchangedRows:
    """The rows of some tables that need no writing. Runs in transactions that others open.

    lookup: the statement that `find` runs. $1 project_id, then for each table its keys.
    """

    def __init__(self, specs: Sequence[TableSpec], schema: str, bookkeeping: str) -> None:
        self._tables = [spec.name for spec in specs if spec.hashed]
        finds = [
            _find(spec, schema, at)
            for at, spec in enumerate((each for each in specs if each.hashed), 2)
        ]
        self.lookup = f"SELECT * FROM {', '.join(finds)}"
        self._note = {
            name: (
                f"INSERT INTO {quoted(bookkeeping)}.sightings AS g "
                f"SELECT $1::bigint, {literal(name)}, a.row_key, a.observed_at "
                "FROM unnest($2::text[], $3::timestamptz[]) AS a (row_key, observed_at) "
                "ORDER BY a.row_key ON CONFLICT ON CONSTRAINT sightings_pkey DO UPDATE SET "
                "observed_at = excluded.observed_at WHERE g.observed_at < excluded.observed_at"
            )
            for name in self._tables
        }

    async def find(
        self, connection: AsyncConnection, project_id: int, rows: Rows
    ) -> dict[str, set[Any]]:
        """Return, by table, the keys of the rows that are stored like this and not gone."""
        driver = await driver_of(connection)
        keys = [text_array(rows.get(name, {})) for name in self._tables]
        (found,) = await driver.fetch(self.lookup, project_id, *keys)
        stored: dict[str, set[Any]] = {}
        for at, name in enumerate(self._tables):
            shown = rows.get(name, {})
            pairs = zip(found[2 * at] or (), found[2 * at + 1] or (), strict=True)
            stored[name] = {key for key, number in pairs if shown[key].row_hash == number}
        return stored

    async def note(self, connection: AsyncConnection, project_id: int, rows: Rows) -> None:
        """Note that rows were seen without a change; another run may have asked earlier."""
        driver = await driver_of(connection)
        for name, shown in rows.items():
            at = [seen.observed_at for seen in shown.values()]
            await driver.execute(self._note[name], project_id, [*shown], at)


class StoredKeys:
    """Which rows of some tables are stored, whatever is in them."""

    def __init__(self, specs: Sequence[TableSpec], schema: str) -> None:
        hashed = [spec for spec in specs if spec.hashed]
        self._tables = [spec.name for spec in hashed]
        finds = [
            f"(SELECT array_agg(k.key) FILTER (WHERE t.project_id IS NOT NULL) "
            f"FROM {_each_key(spec, schema, at)}) AS {quoted(spec.name)}"
            for at, spec in enumerate(hashed, 2)
        ]
        self._lookup = f"SELECT {', '.join(finds)}"

    async def find(
        self, connection: AsyncConnection, project_id: int, rows: Rows
    ) -> dict[str, set[Any]]:
        """Return, by table, the keys of the rows that are stored and not gone."""
        driver = await driver_of(connection)
        keys = [text_array(rows.get(name, {})) for name in self._tables]
        (found,) = await driver.fetch(self._lookup, project_id, *keys)
        return {name: set(found[at] or ()) for at, name in enumerate(self._tables)}


def _find(spec: TableSpec, schema: str, parameter: int) -> str:
    """Return what selects the keys and hashes of rows that are stored and not gone, as arrays."""
    return (
        "(SELECT array_agg(k.key) FILTER (WHERE t._hash IS NOT NULL), "
        "array_agg(t._hash) FILTER (WHERE t._hash IS NOT NULL) "
        f"FROM {_each_key(spec, schema, parameter)}) AS {quoted(spec.name)}"
    )


def _each_key(spec: TableSpec, schema: str, parameter: int) -> str:
    """Return what goes through keys `k` and finds the row `t` of each that is not gone."""
    (name,) = spec.key
    types = {field.name: field.kind.value for field in spec.fields}
    # An outer join, so that Postgres goes through the keys and looks up each in the primary key. In
    # any other form it may scan a table that was never analysed, each row against all keys.
    return (
        f"unnest(${parameter}::text::text[]) AS k (key) "
        f"LEFT JOIN {quoted(schema)}.{quoted(spec.name)} AS t "
        f"ON t.project_id = $1::bigint AND t.{quoted(name)} = k.key::{types[name]} "
        f"AND {is_alive(spec, 't')}"
    )
