"""What a reading did not show: suspects, those that expired, and those that are really gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from etl.core.stream import TAIL, Resource, TableSpec
from etl.loaders.driver import count_of, driver_of
from etl.loaders.leases import Unit
from etl.loaders.loader import Absence, Commit, Expiring, Outdated
from etl.loaders.statements import (
    XID,
    expires_by_rule,
    key_is,
    literal,
    quoted,
    row_key,
    unseen_since,
)
from etl.streams import TABLE_SPECS
from etl.transformers.fields import is_storable

# What a stream lost within this time counts together; see `etl.core.guard`.
GUARDED = "1 day"
# A record that was asked for by its key, and is not gone, is asked for again after this time.
ASKED_AGAIN_AFTER = "1 day"
# So many of those that would expire are asked for before too many are believed, a count.
_SAMPLE = 20


class AbsentRecords:
    """The suspects among the records of one table; works in transactions that others open."""

    def __init__(self, resource: Resource, schema: str, bookkeeping: str) -> None:
        self._statements = absence_statements(resource.tables[0], schema, bookkeeping)
        self._asks = resource.one is not None

    async def note(self, connection: AsyncConnection, unit: Unit, commit: Commit) -> int:
        """Note which stored records the page did not show; mark those gone, and count them."""
        driver, key = await driver_of(connection), unit.key.values()
        seen, statements = commit.sighting, self._statements
        if seen is not None:
            keys = [each for each in seen.keys if is_storable(each)]
            known = [each for each in seen.known if is_storable(each)]
            if seen.begins and seen.span is None:
                # All there is: nothing that an earlier reading left in doubt stays so.
                await driver.execute(statements.doubt_nothing, *key)
                await driver.execute(statements.doubt_everything, *key)
            elif seen.begins and seen.span is not None:
                await driver.execute(statements.doubt_all, *key, *seen.span)
            elif seen.span is not None:
                await driver.execute(statements.doubt_span, *key, *seen.span, [*keys, *known])
            await driver.execute(statements.clear, *key, keys)
            for owner in seen.unjudged:
                await driver.execute(statements.clear_owned, *key, list(owner))
        if not commit.gone:
            return 0
        gone = list(commit.gone)
        return count_of(await driver.execute(statements.delete, *key, gone, commit.observed_at))

    async def expire(
        self, connection: AsyncConnection, unit: Unit, outdated: Outdated, most: int | None
    ) -> Expiring | None:
        """Mark what the source has dropped by its own rule, unless it is more than `most`."""
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
                return Expiring(rows, alive, [key for (key,) in sample])
        for statement in statements.expire:
            await driver.execute(statement, *given)
        return None

    async def weigh(
        self, connection: AsyncConnection, unit: Unit, accepted_at: datetime | None
    ) -> Absence:
        """Weigh what was not seen."""
        driver, key = await driver_of(connection), unit.key.values()
        if self._asks:
            await driver.execute(self._statements.forget_checks, *key)
        (found,) = await driver.fetch(self._statements.weigh, *key, accepted_at)
        return Absence(*found)

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
        """Return the keys whose turn it is to be asked for."""
        driver = await driver_of(connection)
        found = await driver.fetch(self._statements.due, *unit.key.values(), limit, list(failed))
        return [key for (key,) in found]

    async def unasked(self, connection: AsyncConnection, unit: Unit) -> int:
        """Return how many suspects were never asked for."""
        driver = await driver_of(connection)
        ((_, unasked),) = await driver.fetch(self._statements.count, *unit.key.values())
        return int(unasked)

    async def known(self, connection: AsyncConnection, unit: Unit, limit: int) -> Sequence[str]:
        """Return keys of records that are there."""
        driver = await driver_of(connection)
        found = await driver.fetch(self._statements.known, *unit.key.values(), limit)
        return [key for (key,) in found]


@dataclass(frozen=True, slots=True)
class AbsenceStatements:
    """What it takes to find out which stored records are gone from the source.

    Parameters begin with $1 project_id, $2 stream and $3 unit.

    doubt_span: also $4 and $5, two starts, both counted in, and $6, keys: suspects what is stored
    between and is none of the keys. doubt_all: $4 and $5: suspects all that is stored between.
    doubt_everything: whatever its start. doubt_nothing: forgets all suspects. clear: $4 keys: these
    were seen. clear_owned: $4 the beginning of a key: whatever begins so.
    expire: $4 to $7 as `Outdated` has them: marks what expired, and clears it; count_expiring
    and sample_expiring ($8 how many): the same before it is marked, None where nothing expires.
    recall: $1 and $2 the instant now: takes back what was marked before its time. count_alive: only
    $1. forget_checks: forgets which records were asked for that are no suspects. count: answers
    (suspects, unasked). weigh: $4 an instant: answers (suspects, alive, unasked, lost). withhold:
    $4 a unit, whose suspects they become. next: $4 a key, $5 how many: the suspects after it. due:
    $4 how many, $5 keys: the suspects to be asked for that are none of these. known: $4 how many:
    what is no suspect. delete: $4 keys, $5 observed_at: marks them deleted, and clears them.
    """

    doubt_span: str
    doubt_all: str
    doubt_everything: str
    doubt_nothing: str
    clear: str
    clear_owned: str
    expire: tuple[str, ...]
    count_expiring: str | None
    sample_expiring: str | None
    recall: str | None
    count_alive: str
    forget_checks: str
    count: str
    weigh: str
    withhold: tuple[str, ...]
    next: str
    due: str
    known: str
    delete: str


def absence_statements(spec: TableSpec, schema: str, bookkeeping: str) -> AbsenceStatements:
    """Return the statements for the records in `spec`."""
    table = f"{quoted(schema)}.{quoted(spec.name)}"
    suspects = f"{quoted(bookkeeping)}.suspects"
    unit = "u.project_id = $1::bigint AND u.stream = $2::text AND u.unit = $3::text"
    same = f"t.project_id = $1::bigint AND {key_is(spec, spec.key, 'u.record_key')}"
    key = row_key(spec, "t")
    marks = ["t._deleted_at"] + (["t._expired_at"] if spec.expiry is not None else [])
    # As two conditions it would be the predicate of the index by expiry, which the planner then
    # takes instead of the one by start, and every page would go through all rows there are.
    alive = f"coalesce({', '.join(marks)}) IS NULL"
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
    # A table without a start is only doubted as a whole.
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
            f"FROM {table} AS t WHERE t.project_id = $1::bigint) AS counted ON n > 0"
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
    """Return the statements that mark the rows whose parents are gone.

    $1 project_id. What hangs on a parent that was never stored does not stay either.
    """
    parents = resource.parents
    if parents is None:
        return []
    # The cast is on our side, so that the key of the parents' table can be looked up.
    kinds = {field.name: field.kind.value for field in TABLE_SPECS[parents.table].fields}
    theirs = " AND ".join(
        f"p.{quoted(column)} = t.{quoted(field)}::{kinds[column]}"
        for field, column in parents.fields.items()
    )
    ours = "".join(
        f" AND t.{quoted(field)} = {literal(value)}" for field, value in parents.constant.items()
    )
    # One condition (see `absence_statements`), and a count instead of EXISTS, which would become a
    # join: so it is one look at the parents' key for each row, whatever the statistics say.
    alive = f"coalesce(p._deleted_at{', p._expired_at' if parents.expire else ''}) IS NULL"
    return [
        f"UPDATE {quoted(schema)}.{quoted(spec.name)} AS t SET _deleted_at = now(), "
        f"_updated_at = now(), _xid = {XID} WHERE t.project_id = $1::bigint{ours} "
        "AND t._deleted_at IS NULL AND (SELECT count(*) FROM "
        f"{quoted(schema)}.{quoted(parents.table)} AS p WHERE p.project_id = t.project_id "
        f"AND {theirs} AND {alive}) = 0"
        for spec in resource.tables
    ]


@dataclass(frozen=True, slots=True)
class Expired:
    """The statements about what expired: by its own instant, or by the source's rule.

    The rule counts only for what was not seen: servers that name no instant may keep for longer.
    """

    mark: tuple[str, ...]
    count: str | None = None
    sample: str | None = None
    recall: str | None = None

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
        """Return the statements for `spec`. Parameters are those of `expire`."""
        alive = " AND ".join(f"{mark} IS NULL" for mark in marks)
        typed = "$4::timestamptz, $5::timestamptz, $6::timestamptz, $7::text[]"
        drop_known = (
            f"WITH given AS (SELECT {typed}) DELETE FROM {suspects} AS u USING {table} AS t "
            f"WHERE {unit} AND {same} AND NOT ({alive})"
        )
        if spec.expiry is None:
            return cls((drop_known,))
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
        unseen = f"{unit} AND {same} AND {alive} AND {named_or_ruled} <= $4::timestamptz"
        both = (
            f"SELECT {key} AS key FROM {table} AS t WHERE {elsewhere} UNION "
            f"SELECT u.record_key FROM {suspects} AS u JOIN {table} AS t ON {same} WHERE {unseen}"
        )
        return cls(
            mark=(
                f"{mark} {at} WHERE {elsewhere}",
                f"WITH given AS (SELECT {typed}) "
                f"{mark} {named_or_ruled} FROM {suspects} AS u WHERE {unseen}",
                drop_known,
            ),
            recall=(
                f"UPDATE {table} AS t SET _updated_at = now(), _xid = {XID}, _expired_at = NULL "
                "WHERE t.project_id = $1::bigint AND t._expired_at > $2::timestamptz"
            ),
            count=f"SELECT count(*) FROM ({both}) AS e",
            # By a hash, so that it is not only the oldest or the youngest, nor the same every time.
            sample=(
                f"SELECT e.key FROM ({both}) AS e "
                "ORDER BY pg_catalog.hashtextextended("
                "e.key, extract(epoch FROM $4::timestamptz)::bigint) LIMIT $8::bigint"
            ),
        )
