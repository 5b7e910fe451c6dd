"""Count what a comparison has found, and keep the result."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from etl.core.coverage import Span, joined, split
from etl.core.reconciling import Counts, Difference, Found, How, Kind
from etl.core.stream import TableSpec
from etl.loaders.connection import AsyncConnection
from etl.loaders.differences import OF_UNIT
from etl.loaders.driver import driver_of
from etl.loaders.leases import Unit
from etl.loaders.statements import is_alive, literal, quoted
from etl.loaders.tables import Tables

# Parts of the time without a difference are kept as windows of at most this length.
PART = timedelta(days=30)
# So many differences of a table and kind are named.
_MOST_SHOWN = 5


class Comparison(Struct, frozen=True):
    """What was compared.

    tables: all that were; counted: those whose records are counted. windows: the parts of the time
    that was read, the earliest first; None if the stream has no windows. held: what other runs
    read now, as half-open ranges of starts; None: without an end on that side. young_since: what
    starts later is read again by the next sync; None if the stream has no windows.
    by_digest: how many records each of those windows has that a digest has shown to be equal; of
    other tables nothing is known there.
    """

    how: How
    tables: Sequence[TableSpec]
    counted: Sequence[TableSpec]
    windows: Sequence[Span] | None
    held: Sequence[tuple[datetime | None, datetime | None]] = ()
    young_since: datetime | None = None
    by_digest: Mapping[Span, int] = {}


class Reconciliations:
    """The results of comparisons. Runs in transactions that others open."""

    def __init__(self, tables: Tables) -> None:
        self._schema, self._book = quoted(tables.schema), quoted(tables.bookkeeping)

    async def count(self, connection: AsyncConnection, unit: Unit, compared: Comparison) -> Found:
        """Count the differences that are noted, and the records of each window.

        Then differences where another run reads now are forgotten: a repair leaves them to it.
        """
        driver, key = await driver_of(connection), unit.key.values()
        windows = compared.windows or ()
        noted = await driver.fetch(
            f"{self._noted(compared)} SELECT table_name, kind, place, on_way, count(*), "
            "count(*) FILTER (WHERE young), count(*) FILTER (WHERE NOT confirmed) "
            "FROM noted GROUP BY 1, 2, 3, 4",
            *key,
            *_bounds(windows),
            *_held(compared),
        )
        found = Found(compared.how)
        spans: Sequence[Span | None] = windows or [None]
        found.counts = {(spec.name, span): Counts() for spec in compared.tables for span in spans}
        for spec in compared.counted:
            for span, count in zip(
                spans, await self._stored(connection, unit, spec, windows), strict=True
            ):
                of = found.counts[spec.name, span]
                of.source = of.destination = count
                if span is not None and span in compared.by_digest:
                    of.source = of.destination = compared.by_digest[span]
        for table, kind, place, on_way, count, young, unconfirmed in noted:
            # A row without a start, or that starts outside, counts in the oldest window.
            of = found.counts[table, spans[0 if place is None else place - 1]]
            if of.source is not None:
                of.source += {Kind.MISSING: count, Kind.SURPLUS: -count, Kind.EXPIRED: -count}.get(
                    kind, 0
                )
            if kind == Kind.EXPIRED:
                found.expired += count
                if of.destination is not None:
                    of.destination -= count
            elif on_way:
                found.on_their_way += count
            else:
                setattr(of, kind, getattr(of, kind) + count)
                found.young += young
                found.unconfirmed += unconfirmed
        found.sample = [
            Difference(*row)
            for row in await driver.fetch(
                f"{self._noted(compared)}, numbered AS (SELECT table_name, row_key, kind, "
                "row_number() OVER (PARTITION BY table_name, kind ORDER BY row_key) AS number "
                f"FROM noted WHERE NOT on_way AND kind <> '{Kind.EXPIRED}') "
                f"SELECT table_name, row_key, kind FROM numbered WHERE number <= {_MOST_SHOWN} "
                "ORDER BY 1, 3, 2",
                *key,
                *_bounds(windows),
                *_held(compared),
            )
        ]
        await driver.execute(
            f"{self._noted(compared)} DELETE FROM {self._book}.differences AS d USING noted AS n "
            f"WHERE {OF_UNIT} AND n.on_way AND d.table_name = n.table_name "
            "AND d.row_key = n.row_key",
            *key,
            *_bounds(windows),
            *_held(compared),
        )
        counted_tables = {spec.name for spec in compared.counted}
        found.counts = {
            (table, span): each
            for (table, span), each in found.counts.items()
            if span not in compared.by_digest or table in counted_tables or each.differences
        }
        return found

    def _noted(self, compared: Comparison) -> str:
        """Return the differences, each with its window and whether it is on its way.

        $4, $5: bounds of windows; $6 to $8: see `Comparison`.
        """
        started = "d.started"
        first = compared.tables[0]
        joined = ""
        if first.started is not None:
            # A person has the start of the recording that shows it, also if that is not stored.
            started = f"coalesce(d.started, r.{quoted(first.started)}, f.started)"
            joined = (
                f"LEFT JOIN {self._schema}.{quoted(first.name)} AS r ON "
                f"r.project_id = d.project_id AND r.{quoted(first.key[0])} = d.record_key "
                f"LEFT JOIN {self._book}.differences AS f ON f.project_id = d.project_id "
                f"AND f.stream = d.stream AND f.unit = d.unit "
                f"AND f.table_name = {literal(first.name)} AND f.row_key = d.record_key "
            )
        bucket = f"width_bucket({started}, $4::timestamptz[])"
        return (
            "WITH noted AS MATERIALIZED (SELECT d.table_name, d.row_key, d.kind, d.confirmed, "
            f"CASE WHEN {started} < ($5::timestamptz[])[{bucket}] THEN {bucket} END "
            f"AS place, coalesce({started} >= $6::timestamptz, false) AS young, "
            "EXISTS (SELECT FROM unnest($7::timestamptz[], $8::timestamptz[]) "
            "AS h (since, until) WHERE "
            f"(h.since IS NULL OR {started} >= h.since) "
            f"AND (h.until IS NULL OR {started} < h.until)) AS on_way "
            f"FROM {self._book}.differences AS d {joined}WHERE {OF_UNIT})"
        )

    async def _stored(
        self, connection: AsyncConnection, unit: Unit, spec: TableSpec, windows: Sequence[Span]
    ) -> list[int]:
        """Return how many records are stored and not gone, in each window or in all."""
        driver = await driver_of(connection)
        alive = (
            f"FROM {self._schema}.{quoted(spec.name)} AS t WHERE t.project_id = $1::bigint "
            f"AND {is_alive(spec, 't')}"
        )
        if not windows or spec.started is None:
            return [await driver.fetchval(f"SELECT count(*) {alive}", unit.project_id)]
        started = f"t.{quoted(spec.started)}"
        bucket = f"width_bucket({started}, $2::timestamptz[])"
        counted = dict(
            await driver.fetch(
                f"SELECT {bucket}, count(*) {alive} AND {started} >= $4::timestamptz "
                f"AND {started} < ($3::timestamptz[])[{bucket}] GROUP BY 1",
                unit.project_id,
                *_bounds(windows),
                windows[0].since,
            )
        )
        return [counted.get(place, 0) for place in range(1, len(windows) + 1)]

    async def keep(self, connection: AsyncConnection, unit: Unit, found: Found) -> None:
        """Write the result, one row per table and window."""
        driver = await driver_of(connection)
        for (table, span), each in found.counts.items():
            await driver.execute(
                f"INSERT INTO {self._book}.reconciliations (project_id, stream, table_name, since, "
                "until, how, source_count, destination_count, missing, surplus, different, "
                "checked_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                unit.project_id,
                unit.stream,
                table,
                None if span is None else span.since,
                None if span is None else span.until,
                str(found.how_of(span)),
                each.source,
                each.destination,
                each.missing,
                each.surplus,
                each.different,
                found.checked_at,
            )

    async def note_repaired(
        self, connection: AsyncConnection, unit: Unit, found: Found, left: Found
    ) -> None:
        """Note which of the results are repaired: those of which no difference is left."""
        driver = await driver_of(connection)
        still = [key for key, each in left.counts.items() if each.differences]
        for (table, span), each in found.counts.items():
            if each.differences and not any(
                table == other and _overlap(span, window) for other, window in still
            ):
                await driver.execute(
                    f"UPDATE {self._book}.reconciliations SET repaired_at = clock_timestamp() "
                    "WHERE project_id = $1 AND stream = $2 AND table_name = $3 "
                    "AND since IS NOT DISTINCT FROM $4::timestamptz AND checked_at = $5",
                    unit.project_id,
                    unit.stream,
                    table,
                    None if span is None else span.since,
                    found.checked_at,
                )

    async def unverifiable(
        self, connection: AsyncConnection, project_id: int, table: TableSpec, owners: TableSpec
    ) -> int:
        """Return how many persons are known only from recordings that are gone."""
        driver = await driver_of(connection)
        # By EXCEPT: the settings of this transaction leave only nested loops for a join, and the
        # recordings have no index by person.
        found: Any = await driver.fetchval(
            f"SELECT count(*) FROM (SELECT p.uuid FROM {self._schema}.{quoted(owners.name)} AS p "
            "WHERE p.project_id = $1 AND p._deleted_at IS NULL EXCEPT SELECT r.person_uuid "
            f"FROM {self._schema}.{quoted(table.name)} AS r WHERE r.project_id = $1 "
            f"AND {is_alive(table, 'r')}) AS alone",
            project_id,
        )
        return int(found)


def with_long_windows(found: Found, by_digest: Collection[Span]) -> None:
    """Count by windows of up to `PART`; those with a difference stay as they are.

    So a later comparison that begins or ends elsewhere replaces what was found in its own time.
    by_digest: the windows that were compared so; they are kept apart.
    """
    spans = {span for _, span in found.counts if span is not None}
    if not spans:
        return
    kept = {span for (_, span), each in found.counts.items() if span and each.differences}
    digested = spans.intersection(by_digest)
    long = {span: span in digested for span in kept}
    for group in (digested, spans - digested):
        parts = (part for span in joined([*(group - kept)]) for part in split(span, PART))
        long |= dict.fromkeys(parts, group is digested)
    starts = sorted(long)
    merged: dict[tuple[str, Span | None], Counts] = {}
    for (table, span), each in found.counts.items():
        assert span is not None
        window = starts[bisect_right(starts, span.since, key=lambda of: of.since) - 1]
        merged.setdefault((table, window), Counts()).add(each)
    found.counts = merged
    if digested:
        found.hows = {span: found.how for span, is_digested in long.items() if not is_digested}
        found.how = How.DIGEST


def _overlap(one: Span | None, other: Span | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.since < other.until and other.since < one.until


def _bounds(windows: Sequence[Span]) -> tuple[list[datetime], list[datetime]]:
    return [span.since for span in windows], [span.until for span in windows]


def _held(compared: Comparison) -> tuple[Any, ...]:
    held = compared.held
    return compared.young_since, [since for since, _ in held], [until for _, until in held]
