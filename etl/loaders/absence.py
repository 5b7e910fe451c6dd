"""Find out which stored records are gone: suspects, expired records, and deleted ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from etl.core.place import Evidence
from etl.core.stream import TAIL, Owned, Parents, Resource, TableSpec
from etl.loaders.connection import AsyncConnection
from etl.loaders.driver import count_of, driver_of
from etl.loaders.leases import Unit
from etl.loaders.loader import Commit, ExpiringCounts, ExpiryQuery, UnseenCounts
from etl.loaders.statements import (
    XID,
    expires_by_rule,
    is_alive,
    key_is,
    key_of,
    literal,
    quoted,
    row_key,
    unseen_since,
)
from etl.streams import TABLE_SPECS
from etl.transformers.fields import is_storable

# Deletions of a stream within this time are counted together; see `etl.core.guard`.
GUARDED = "1 day"
# After this time a suspect that was asked for by its key, and was not gone, is asked for again.
ASKED_AGAIN_AFTER = "1 day"
# How many records are asked for if too many would expire at once.
_SAMPLE = 20


class AbsentRecords:
    """The suspects among the records of one table. Runs in transactions that others open."""

    def __init__(self, resource: Resource, schema: str, bookkeeping: str) -> None:
        self._statements = absence_statements(
            resource.tables[0], schema, bookkeeping, resource.parents
        )
        self._asks = resource.one is not None

    async def note(self, connection: AsyncConnection, unit: Unit, commit: Commit) -> int:
        """Note which stored records each page did not show. Mark those gone; return how many."""
        await self._note_evidence(connection, unit, commit.evidence)
        if not commit.gone:
            return 0
        driver, gone = await driver_of(connection), list(commit.gone)
        given = (*unit.key.values(), gone, commit.observed_at)
        return count_of(await driver.execute(self._statements.delete, *given))

    async def _note_evidence(
        self, connection: AsyncConnection, unit: Unit, evidence: Sequence[Evidence]
    ) -> None:
        driver, key = await driver_of(connection), unit.key.values()
        statements = self._statements
        for seen in evidence:
            keys = [each for each in seen.keys if is_storable(each)]
            known = [each for each in seen.known if is_storable(each)]
            if seen.begins and seen.span is None:
                # A new reading of the whole list: suspects of an earlier reading no longer count.
                await driver.execute(statements.doubt_nothing, *key)
                doubt = statements.doubt_read if seen.spares else None
                await driver.execute(doubt or statements.doubt_everything, *key)
            elif seen.begins and seen.span is not None:
                await driver.execute(statements.doubt_all, *key, *seen.span)
            elif seen.span is not None:
                await driver.execute(statements.doubt_span, *key, *seen.span, [*keys, *known])
            await driver.execute(statements.clear, *key, keys)
            for owner in seen.unjudged:
                await driver.execute(statements.clear_owned, *key, list(owner))

    async def expire(
        self, connection: AsyncConnection, unit: Unit, outdated: ExpiryQuery, most: int | None
    ) -> ExpiringCounts | None:
        """Mark what the source dropped by its own rule; mark nothing if it is more than `most`."""
        driver, statements = await driver_of(connection), self._statements
        if outdated.recalls and statements.recall is not None:
            await driver.execute(statements.recall, unit.project_id, outdated.now)
        given = (
            *unit.key.values(),
            outdated.now,
            outdated.started_before,
            outdated.after,
            list(outdated.gone),
        )
        if most is not None and statements.count_expiring is not None:
            ((rows,),) = await driver.fetch(statements.count_expiring, *given)
            if rows > most:
                ((alive,),) = await driver.fetch(statements.count_alive, unit.project_id)
                sample = await driver.fetch(statements.sample_expiring, *given, _SAMPLE)
                return ExpiringCounts(rows, alive, [key for (key,) in sample])
        for statement in statements.expire:
            await driver.execute(statement, *given)
        return None

    async def weigh(
        self, connection: AsyncConnection, unit: Unit, accepted_at: datetime | None
    ) -> UnseenCounts:
        """Count what was not seen."""
        driver, key = await driver_of(connection), unit.key.values()
        if self._asks:
            await driver.execute(self._statements.forget_checks, *key)
        (found,) = await driver.fetch(self._statements.weigh, *key, accepted_at)
        return UnseenCounts(*found)

    async def withhold(self, connection: AsyncConnection, unit: Unit) -> None:
        """Leave the suspects to the next sync."""
        driver = await driver_of(connection)
        for statement in self._statements.withhold:
            await driver.execute(statement, *unit.key.values(), TAIL)

    async def suspects(
        self, connection: AsyncConnection, unit: Unit, after: str, limit: int
    ) -> Sequence[str]:
        """Return the next keys after `after`."""
        driver = await driver_of(connection)
        found = await driver.fetch(self._statements.next, *unit.key.values(), after, limit)
        return [key for (key,) in found]

    async def due(
        self, connection: AsyncConnection, unit: Unit, limit: int, failed: Sequence[str]
    ) -> Sequence[str]:
        """Return the keys that are to be asked for next."""
        driver = await driver_of(connection)
        found = await driver.fetch(self._statements.due, *unit.key.values(), limit, list(failed))
        return [key for (key,) in found]

    async def unasked(self, connection: AsyncConnection, unit: Unit) -> int:
        """Return how many suspects were never asked for."""
        driver = await driver_of(connection)
        ((_, unasked),) = await driver.fetch(self._statements.count, *unit.key.values())
        return int(unasked)

    async def known(self, connection: AsyncConnection, unit: Unit, limit: int) -> Sequence[str]:
        """Return keys of stored records that are neither suspect nor gone."""
        driver = await driver_of(connection)
        found = await driver.fetch(self._statements.known, *unit.key.values(), limit)
        return [key for (key,) in found]


class AbsenceStatements(Struct, frozen=True):
    """The statements that find out which stored records are gone from the source.

    Parameters begin with $1 project_id, $2 stream and $3 unit.

    doubt_span: $4 and $5: two starts, both included; $6: keys. Makes suspects of the records that
    start in between, except these keys.
    doubt_all: $4 and $5: two starts. Makes suspects of all records that start in between.
    doubt_everything: makes suspects of all records.
    doubt_read: as doubt_everything, but not of records of lists that are left out; None if none is.
    doubt_nothing: removes all suspects.
    clear: $4: keys that were seen. They are no longer suspects.
    clear_owned: $4: the beginning of a key. Suspects whose key begins so are removed.
    expire: $4 to $7: as in `ExpiryQuery`. Marks what expired, and removes it from the suspects.
    count_expiring: as expire, but only counts; None if records do not expire.
    sample_expiring: as count_expiring; returns up to $8 keys.
    recall: $1 project_id, $2 now. Removes expiry marks that lie in the future.
    drop_expired: $4: an instant. Suspects that expired before it are removed; None if records do
    not expire.
    count_alive: $1 only.
    forget_checks: forgets the checks of records that are no longer suspects.
    count: returns (suspects, unasked).
    weigh: $4: an instant. Returns (suspects, alive, unasked, lost).
    withhold: $4: the unit that takes over the suspects.
    next: $4: a key, $5: how many. Returns the suspects after that key.
    due: $4: how many, $5: keys. Returns the suspects to ask for, except these keys.
    known: $4: how many. Returns records that are not suspects.
    delete: $4: keys, $5: observed_at. Marks them deleted, and removes them from the suspects.
    """

    doubt_span: str
    doubt_all: str
    doubt_everything: str
    doubt_read: str | None
    doubt_nothing: str
    clear: str
    clear_owned: str
    expire: tuple[str, ...]
    count_expiring: str | None
    sample_expiring: str | None
    recall: str | None
    drop_expired: str | None
    count_alive: str
    forget_checks: str
    count: str
    weigh: str
    withhold: tuple[str, ...]
    next: str
    due: str
    known: str
    delete: str


def absence_statements(
    spec: TableSpec, schema: str, bookkeeping: str, parents: Parents | None = None
) -> AbsenceStatements:
    """Return the statements for the records in `spec`, one list of them for each of `parents`."""
    table = f"{quoted(schema)}.{quoted(spec.name)}"
    suspects = f"{quoted(bookkeeping)}.suspects"
    unit = "u.project_id = $1::bigint AND u.stream = $2::text AND u.unit = $3::text"
    same = f"t.project_id = $1::bigint AND {key_is(spec, spec.key, 'u.record_key')}"
    key = row_key(spec, "t")
    marks = ["t._deleted_at"] + (["t._expired_at"] if spec.expiry is not None else [])
    alive = is_alive(spec, "t")
    begin = f"INSERT INTO {suspects} SELECT $1::bigint, $2::text, $3::text, {key} "
    begin += f"FROM {table} AS t WHERE t.project_id = $1::bigint AND {alive}"
    never_twice = "ON CONFLICT DO NOTHING"
    checks = f"{quoted(bookkeeping)}.checks"
    check = "c.project_id = $1::bigint AND c.stream = $2::text AND c.record_key = u.record_key"
    absent = (
        "SELECT count(*) AS n, count(*) FILTER (WHERE NOT EXISTS "
        f"(SELECT FROM {checks} AS c WHERE {check} AND c.checked_at IS NOT NULL)) AS unasked "
        f"FROM {suspects} AS u WHERE {unit}"
    )
    outdated = Expired.of(spec, table, suspects, unit, same, marks)
    # A table without a start column has no spans: all its records become suspects at once.
    started = f"t.{quoted(spec.started)}" if spec.started else "now()"
    first = spec.started or spec.key[0]
    latest = f"t.{quoted(first)} DESC NULLS LAST" if spec.started else f"t.{quoted(first)} DESC"
    return AbsenceStatements(
        doubt_span=(
            f"{begin} AND {started} BETWEEN $4::timestamptz AND $5::timestamptz "
            f"AND NOT {key} = ANY ($6::text[]) {never_twice}"
        ),
        doubt_all=(
            f"{begin} AND {started} BETWEEN $4::timestamptz AND $5::timestamptz {never_twice}"
        ),
        doubt_everything=f"{begin} {never_twice}",
        doubt_read=(
            f"{begin} AND NOT EXISTS (SELECT FROM {quoted(bookkeeping)}.parent_lists AS l WHERE "
            "l.project_id = $1::bigint AND l.stream = $2::text AND l.settled AND l.parent = "
            f"{key_of([*parents.fields], 't')}) {never_twice}"
            if parents is not None and parents.unchanged
            else None
        ),
        doubt_nothing=f"DELETE FROM {suspects} AS u WHERE {unit}",
        clear=f"DELETE FROM {suspects} AS u WHERE {unit} AND u.record_key = ANY ($4::text[])",
        clear_owned=(
            f"DELETE FROM {suspects} AS u WHERE {unit} AND $4::text[] = ARRAY(SELECT part FROM "
            "jsonb_array_elements_text(u.record_key::jsonb) WITH ORDINALITY AS p (part, place) "
            "WHERE place <= cardinality($4::text[]) ORDER BY place)"
        ),
        expire=outdated.mark,
        count_expiring=outdated.count,
        sample_expiring=outdated.sample,
        recall=outdated.recall,
        drop_expired=outdated.drop,
        count_alive=(
            f"SELECT count(*) FROM {table} AS t WHERE t.project_id = $1::bigint AND {alive}"
        ),
        forget_checks=(
            f"DELETE FROM {checks} AS c WHERE c.project_id = $1::bigint AND c.stream = $2::text "
            f"AND NOT EXISTS (SELECT FROM {suspects} AS u WHERE {unit} AND {check})"
        ),
        count=absent,
        weigh=(
            f"WITH absent AS ({absent}) "
            "SELECT n, coalesce(alive, 0), unasked, coalesce(lost, 0) FROM absent LEFT JOIN "
            f"LATERAL (SELECT count(*) FILTER (WHERE {alive}) AS alive, "
            "count(*) FILTER (WHERE t._deleted_at > "
            f"greatest(now() - interval '{GUARDED}', $4::timestamptz)) AS lost "
            # Inside, so that the table is not even looked at if there are none.
            f"FROM {table} AS t WHERE t.project_id = $1::bigint AND n > 0) AS counted ON n > 0"
        ),
        withhold=(
            f"INSERT INTO {suspects} SELECT $1::bigint, $2::text, $4::text, u.record_key "
            f"FROM {suspects} AS u WHERE {unit} {never_twice}",
            f"DELETE FROM {suspects} AS u WHERE {unit} AND u.unit <> $4::text",
        ),
        next=(
            f"SELECT u.record_key FROM {suspects} AS u WHERE {unit} AND u.record_key > $4::text "
            "ORDER BY u.record_key LIMIT $5::bigint"
        ),
        due=(
            f"SELECT u.record_key FROM {suspects} AS u LEFT JOIN {checks} AS c ON {check} "
            f"WHERE {unit} AND (c.checked_at IS NULL "
            f"OR c.checked_at <= now() - interval '{ASKED_AGAIN_AFTER}') "
            "AND NOT u.record_key = ANY ($5::text[]) "
            "ORDER BY greatest(c.checked_at, c.tried_at) NULLS FIRST, u.record_key "
            "LIMIT $4::bigint"
        ),
        known=(
            f"SELECT {key} FROM {table} AS t WHERE t.project_id = $1::bigint AND {alive} "
            f"AND NOT EXISTS (SELECT FROM {suspects} AS u WHERE {unit} AND u.record_key = {key}) "
            f"ORDER BY {latest} LIMIT $4::bigint"
        ),
        delete=(
            f"WITH cleared AS (DELETE FROM {suspects} AS u WHERE {unit} "
            "AND u.record_key = ANY ($4::text[]) RETURNING u.record_key) "
            f"UPDATE {table} AS t SET _deleted_at = now(), _updated_at = now(), _xid = {XID}, "
            "_observed_at = $5::timestamptz FROM cleared AS u "
            f"WHERE {same} AND {alive} AND t._observed_at <= $5::timestamptz AND "
            + unseen_since(spec, f"{quoted(bookkeeping)}.sightings", "$5::timestamptz")
        ),
    )


def orphan_statements(resource: Resource, schema: str) -> list[str]:
    """Return the statements that mark rows whose parents or owners are gone. $1: project_id.

    Rows whose parent was never stored, or is not asked about any more, are marked deleted too.
    """
    parents, owned = resource.parents, [_owned(resource, each, schema) for each in resource.owned]
    if parents is None:
        return owned
    return owned + [
        f"UPDATE {quoted(schema)}.{quoted(spec.name)} AS t SET _deleted_at = now(), "
        f"_updated_at = now(), _xid = {XID} WHERE t.project_id = $1::bigint "
        f"AND {is_orphan(parents, schema, asked=True)}"
        for spec in resource.tables
    ]


def _owned(resource: Resource, owned: Owned, schema: str) -> str:
    """Return the statement that marks rows of one table whose record is marked deleted."""
    (key,) = resource.tables[0].key
    owners = f"{quoted(schema)}.{quoted(resource.tables[0].name)}"
    column = f"t.{quoted(owned.column)}"
    # As a test of each row: the table is read once, whatever the planner knows of either table.
    gone = (
        f"({column} IN (SELECT p.{quoted(key)} FROM {owners} AS p "
        "WHERE p.project_id = $1::bigint AND p._deleted_at IS NOT NULL)) IS TRUE"
    )
    return (
        f"UPDATE {quoted(schema)}.{quoted(owned.table)} AS t SET _deleted_at = now(), "
        f"_updated_at = now(), _xid = {XID}, _observed_at = greatest(t._observed_at, "
        f"(SELECT p._observed_at FROM {owners} AS p WHERE p.project_id = t.project_id "
        f"AND p.{quoted(key)} = {column})) "
        f"WHERE t.project_id = $1::bigint AND t._deleted_at IS NULL AND {gone}"
    )


def is_orphan(parents: Parents, schema: str, gone_before: str = "", *, asked: bool = False) -> str:
    """Return the condition that row `t` is alive and has no living parent.

    gone_before: an instant; a parent that is gone since then counts as living. Empty: none does.
    asked: whether only a parent that is asked about counts, see `Parents.where`.
    """
    # Cast our side, so that the index on the parents' key can be used.
    kinds = {field.name: field.kind.value for field in TABLE_SPECS[parents.table].fields}
    theirs = " AND ".join(
        f"p.{quoted(column)} = t.{quoted(field)}::{kinds[column]}"
        for field, column in parents.fields.items()
    )
    ours = "".join(
        f"t.{quoted(field)} = {literal(value)} AND " for field, value in parents.constant.items()
    )
    # One condition: see `is_alive`. A count instead of EXISTS, which would become a join:
    # this is one index lookup per row, whatever the statistics say.
    gone_at = f"coalesce(p._deleted_at{', p._expired_at' if parents.expire else ''})"
    lives = f"{gone_at} IS NULL" + (f" OR {gone_at} >= {gone_before}" if gone_before else "")
    held = f"{quoted(schema)}.{quoted(parents.table)}"
    if asked and parents.where is not None:
        held = f"(SELECT * FROM {held} AS t WHERE {parents.where})"
    return (
        f"{ours}t._deleted_at IS NULL AND (SELECT count(*) FROM "
        f"{held} AS p WHERE p.project_id = t.project_id "
        f"AND {theirs} AND ({lives})) = 0"
    )


class Expired(Struct, frozen=True):
    """The statements about expired records: by their own expiry time, or by the source's rule.

    The rule applies only to records that were not seen: a server that names no expiry time may keep
    them for longer.
    """

    mark: tuple[str, ...]
    count: str | None = None
    sample: str | None = None
    recall: str | None = None
    drop: str | None = None

    @classmethod
    def of(
        cls,
        spec: TableSpec,
        table: str,
        suspects: str,
        unit: str,
        same: str,
        marks: Sequence[str],
    ) -> Expired:
        """Return the statements for `spec`. Their parameters are those of `expire`.

        Raises ValueError if rows of `spec` expire and have several key columns.
        """
        alive = " AND ".join(f"{mark} IS NULL" for mark in marks)
        typed = "$4::timestamptz, $5::timestamptz, $6::timestamptz, $7::text[]"
        drop_known = (
            f"WITH given AS (SELECT {typed}) DELETE FROM {suspects} AS u USING {table} AS t "
            f"WHERE {unit} AND {same} AND NOT ({alive})"
        )
        if spec.expiry is None:
            return cls((drop_known,))
        if len(spec.key) != 1:
            raise ValueError(f"{spec.name}: a row that expires has one key column")
        at, started = f"t.{quoted(spec.expiry.at)}", f"t.{quoted(spec.expiry.started)}"
        named_or_ruled = (
            f"coalesce({at}, {expires_by_rule(spec.expiry, 't', f't.{quoted(spec.expiry.days)}')})"
        )
        mark = f"UPDATE {table} AS t SET _updated_at = now(), _xid = {XID}, _expired_at = "
        key = row_key(spec, "t")
        elsewhere = (
            f"t.project_id = $1::bigint AND {alive} AND {at} <= $4::timestamptz "
            f"AND {started} < $5::timestamptz AND ({at} > coalesce($6::timestamptz, '-infinity') "
            f"OR {key} = ANY ($7::text[])) "
            "AND $2::text IS NOT NULL AND $3::text IS NOT NULL"
        )
        # As an array of keys. The planner knows nothing of the suspects, and would join every row.
        unseen = (
            f"t.project_id = $1::bigint AND t.{quoted(spec.key[0])} = ANY "
            f"(ARRAY(SELECT u.record_key FROM {suspects} AS u WHERE {unit})) "
            f"AND {is_alive(spec, 't')} AND {named_or_ruled} <= $4::timestamptz"
        )
        both = (
            f"SELECT {key} AS key FROM {table} AS t WHERE {elsewhere} UNION "
            f"SELECT {key} FROM {table} AS t WHERE {unseen}"
        )
        return cls(
            mark=(
                f"{mark} {at} WHERE {elsewhere}",
                f"WITH given AS (SELECT {typed}) {mark} {named_or_ruled} WHERE {unseen}",
                drop_known,
            ),
            recall=(
                f"UPDATE {table} AS t SET _updated_at = now(), _xid = {XID}, _expired_at = NULL "
                "WHERE t.project_id = $1::bigint AND t._expired_at > $2::timestamptz"
            ),
            drop=(
                f"DELETE FROM {suspects} AS u WHERE {unit} AND u.record_key = ANY "
                f"(ARRAY(SELECT {key} FROM {table} AS t WHERE {unseen}))"
            ),
            count=f"SELECT count(*) FROM ({both}) AS e",
            # Ordered by a hash, so that the sample is not only the oldest, and differs each time.
            sample=(
                f"SELECT e.key FROM ({both}) AS e "
                "ORDER BY pg_catalog.hashtextextended("
                "e.key, extract(epoch FROM $4::timestamptz)::bigint) LIMIT $8::bigint"
            ),
        )
