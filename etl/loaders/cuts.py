"""Cut records: keep them out of the table, note them, and say which to ask for by key.

The server adds up only the pieces of a session that start within the dates asked for. The stored
row shows whether an answer is cut: the stored row reaches beyond these dates, and the answer does
not reach as far. This is checked on the staged rows before any of them is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from etl.core.stream import TableSpec
from etl.loaders.connection import AsyncConnection
from etl.loaders.driver import driver_of
from etl.loaders.leases import Unit
from etl.loaders.loader import Commit, CutRecord
from etl.loaders.statements import quoted, row_key


class CutRecords:
    """The cut records of one table. Runs in transactions that others open."""

    def __init__(self, spec: TableSpec, staging: str, schema: str, bookkeeping: str) -> None:
        self._statements = cut_statements(spec, staging, schema, bookkeeping)

    async def withhold(self, connection: AsyncConnection, unit: Unit, commit: Commit) -> None:
        """Remove the cut records from staging. Note each one that is new or came cut otherwise."""
        if self._statements is None or commit.asked is None:
            return
        driver = await driver_of(connection)
        await driver.execute(self._statements.withhold, unit.project_id, unit.stream, *commit.asked)

    async def settle(
        self, connection: AsyncConnection, unit: Unit, settled: Sequence[CutRecord]
    ) -> None:
        """Note which were asked for by key. One that came cut otherwise since stays owed."""
        if self._statements is None or not settled:
            return
        driver = await driver_of(connection)
        keys, seen = [each.key for each in settled], [each.seen for each in settled]
        await driver.execute(self._statements.settle, unit.project_id, unit.stream, keys, seen)

    async def owed(
        self, connection: AsyncConnection, unit: Unit, limit: int, failed: Sequence[str]
    ) -> list[CutRecord]:
        """Return records that are to be asked for by key."""
        if self._statements is None:
            return []
        driver = await driver_of(connection)
        given = (unit.project_id, unit.stream, limit, list(failed))
        found = await driver.fetch(self._statements.owed, *given)
        return [CutRecord(key, seen) for key, seen in found]


class CutStatements(Struct, frozen=True):
    """The statements about cut records. Parameters begin with $1 project_id, $2 stream.

    withhold: $3 and $4: the dates asked for.
    settle: $3: keys, $4: hashes.
    owed: $3: how many, $4: keys. Returns owed records except these keys.
    """

    withhold: str
    settle: str
    owed: str


def cut_statements(
    spec: TableSpec, staging: str, schema: str, bookkeeping: str
) -> CutStatements | None:
    """Return the statements for `spec`; None if its rows have no start and end.

    Raises ValueError if the key of `spec` has several columns.
    """
    if spec.started is None or spec.ended is None:
        return None
    table, cuts = f"{quoted(schema)}.{quoted(spec.name)}", f"{quoted(bookkeeping)}.cuts"
    started, ended = quoted(spec.started), quoted(spec.ended)
    volatile = {field.name for field in spec.fields if field.volatile}
    shown = ", ".join(f"s.{quoted(name)}" for name in spec.columns if name not in volatile)
    if len(spec.key) != 1:
        raise ValueError(f"{spec.name}: a row that may be cut has one key column")
    key = quoted(spec.key[0])
    marks = ["t._deleted_at"] + (["t._expired_at"] if spec.expiry is not None else [])
    # As an array of keys. A join would look up each key separately and take five times as long.
    beyond = (
        f"SELECT t.{key}, t.{started}, t.{ended}, coalesce({', '.join(marks)}) IS NOT NULL AS gone "
        f"FROM {table} AS t WHERE t.project_id = $1::bigint "
        f"AND t.{key} = ANY (ARRAY(SELECT s.{key} FROM pg_temp.{quoted(staging)} AS s)) "
        f"AND (t.{started} < $3::timestamptz OR t.{ended} > $4::timestamptz)"
    )
    is_cut = (
        f"t.{started} < $3::timestamptz AND (s.{started} > t.{started}) IS NOT FALSE "
        f"OR t.{ended} > $4::timestamptz AND (s.{ended} < t.{ended}) IS NOT FALSE"
    )
    return CutStatements(
        # A row marked gone returns only if asked for by key, so its mark is part of the hash.
        withhold=(
            f"WITH beyond AS MATERIALIZED ({beyond}), "
            f"cut AS (DELETE FROM pg_temp.{quoted(staging)} AS s USING beyond AS t "
            f"WHERE s.{key} = t.{key} AND ({is_cut}) RETURNING {row_key(spec, 's')} AS record_key, "
            f"concat(pg_catalog.hashtextextended(ROW({shown})::text, 0), "
            "CASE WHEN t.gone THEN ' gone' END) AS seen) "
            f"INSERT INTO {cuts} AS c SELECT $1::bigint, $2::text, record_key, seen, true, now() "
            "FROM cut ORDER BY record_key ON CONFLICT ON CONSTRAINT cuts_pkey DO UPDATE SET "
            "seen = excluded.seen, owed = true, noted_at = now() WHERE c.seen <> excluded.seen"
        ),
        settle=(
            f"UPDATE {cuts} AS c SET owed = false FROM unnest($3::text[], $4::text[]) AS a "
            "(record_key, seen) WHERE c.project_id = $1::bigint AND c.stream = $2::text "
            "AND c.record_key = a.record_key AND c.seen = a.seen AND c.owed"
        ),
        owed=(
            f"SELECT record_key, seen FROM {cuts} WHERE project_id = $1::bigint "
            "AND stream = $2::text AND owed AND NOT record_key = ANY ($4::text[]) "
            "ORDER BY record_key LIMIT $3::bigint"
        ),
    )
