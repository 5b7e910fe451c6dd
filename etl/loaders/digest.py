"""The digests of what is stored, and the days of which the list has explained a difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from etl.core.coverage import Span
from etl.core.digest import Digest, Doubtful
from etl.core.stream import TableSpec
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.leases import Unit
from etl.loaders.statements import expires_by_rule, is_alive, quoted
from etl.loaders.tables import Tables

_UNSIGNED = 1 << 64


class DayDigests:
    """The digests of the records of a table by the day of their start."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._stored = StoredDays(tables)
        self._explained = ExplainedDays(tables)

    async def stored(
        self, project_id: int, spec: TableSpec, days: Sequence[Span], now: datetime
    ) -> dict[Span, Digest]:
        """Return the digest of each day that has records; see `StoredDays`.

        Raises DestinationError.
        """
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                found = await self._stored.of(connection, project_id, spec, days, now)
        return found

    async def explained(self, unit: Unit) -> dict[Span, Doubtful]:
        """Return the days that the list has explained. Raises DestinationError."""
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                found = await self._explained.of(connection, unit)
        return found


class StoredDays:
    """The digests of what is stored. Runs in transactions that others open."""

    def __init__(self, tables: Tables) -> None:
        self._schema = quoted(tables.schema)

    async def of(
        self,
        connection: AsyncConnection,
        project_id: int,
        spec: TableSpec,
        days: Sequence[Span],
        now: datetime,
    ) -> dict[Span, Digest]:
        """Return the digest of each day that has records.

        Records that are marked as gone do not count, nor those that have expired by `now`.
        days: the earliest first; at least one.
        """
        started, key = f"t.{quoted(spec.started or '')}", f"t.{quoted(spec.key[0])}"
        alive = is_alive(spec, "t")
        if (expiry := spec.expiry) is not None:
            by_rule = expires_by_rule(expiry, "t", f"t.{quoted(expiry.days)}")
            alive += f" AND coalesce(t.{quoted(expiry.at)}, {by_rule}) > $4::timestamptz"
        else:
            alive += " AND $4::timestamptz IS NOT NULL"
        bucket = f"width_bucket({started}, $2::timestamptz[])"
        # Of the bytes in UTF-8, whatever the encoding of the database.
        hashed = f"md5(convert_to({key}, 'UTF8')) AS id_hash"
        halves = ", ".join(
            f"bit_xor(('x' || substr(id_hash, {first}, 16))::bit(64)::bigint)" for first in (1, 17)
        )
        driver = await driver_of(connection)
        found = await driver.fetch(
            f"SELECT place, count(*), {halves} FROM (SELECT {bucket} AS place, {hashed} "
            f"FROM {self._schema}.{quoted(spec.name)} AS t WHERE t.project_id = $1::bigint "
            f"AND {started} >= $5::timestamptz AND {started} < $6::timestamptz "
            f"AND {started} < ($3::timestamptz[])[{bucket}] AND {alive}) AS hashed GROUP BY 1",
            project_id,
            [day.since for day in days],
            [day.until for day in days],
            now,
            days[0].since,
            days[-1].until,
        )
        return {
            days[place - 1]: Digest(count, high % _UNSIGNED, low % _UNSIGNED)
            for place, count, high, low in found
        }


class ExplainedDays:
    """The days that are equal by the list though not by their digests.

    Runs in transactions that others open.
    """

    def __init__(self, tables: Tables) -> None:
        self._table = f"{quoted(tables.bookkeeping)}.explained_days"

    async def of(self, connection: AsyncConnection, unit: Unit) -> dict[Span, Doubtful]:
        """Return the digests of each day."""
        driver = await driver_of(connection)
        found = await driver.fetch(
            "SELECT since, until, source_count, source_digest, destination_count, "
            f"destination_digest FROM {self._table} WHERE project_id = $1 AND stream = $2",
            unit.project_id,
            unit.stream,
        )
        return {
            Span(since.astimezone(UTC), until.astimezone(UTC)): Doubtful(
                _digest(source_count, source), _digest(count, here)
            )
            for since, until, source_count, source, count, here in found
        }

    async def forget(self, connection: AsyncConnection, unit: Unit, days: Sequence[Span]) -> None:
        """Forget what was explained of these days."""
        driver = await driver_of(connection)
        await driver.execute(
            f"DELETE FROM {self._table} WHERE project_id = $1 AND stream = $2 "
            "AND since = ANY ($3::timestamptz[])",
            unit.project_id,
            unit.stream,
            [day.since for day in days],
        )

    async def keep(
        self,
        connection: AsyncConnection,
        unit: Unit,
        days: Mapping[Span, Doubtful],
        at: datetime,
    ) -> None:
        """Keep that the list has explained these days. at: when."""
        driver = await driver_of(connection)
        await self.forget(connection, unit, [*days])
        await driver.executemany(
            f"INSERT INTO {self._table} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            [
                (
                    unit.project_id,
                    unit.stream,
                    day.since,
                    day.until,
                    both.source.records,
                    str(both.source),
                    both.here.records,
                    str(both.here),
                    at,
                )
                for day, both in days.items()
            ],
        )


def _digest(count: int, text: str) -> Digest:
    return Digest(count, int(text[:16], 16), int(text[16:], 16))
