"""Builds the statements that load one table. Runs nothing.

Rows go into a temporary staging table by COPY and from there in one guarded upsert:

- only rows that are new or changed are written at all: the join with the table comes first, so a
  row without news is not even locked (on conflict alone would lock it, and write WAL);
- in the order of the key, so that two units never wait for each other in a circle;
- what was observed earlier never overwrites what was observed later, also where the later reading
  found nothing new: while two runs read one stream, such sightings are kept apart;
- volatile columns are set with a change, and take no part in finding one.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from etl.core.stream import TableSpec

# Staging is never analysed and the table may not be either, so the planner would have to guess.
# One index probe a row is what we want, whatever the statistics say.
PLAN_SETTINGS = {
    f"enable_{way}": "off" for way in ("hashjoin", "mergejoin", "seqscan", "bitmapscan", "material")
}

_PLACE = "_place"
_XID = "pg_catalog.pg_current_xact_id()::text::bigint"
_SOURCE_AT = "$5::timestamptz"


def quoted(name: str) -> str:
    """Return `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class LoadStatements:
    """What it takes to load one table.

    columns: of staging: a row's place in the batch (null: in any range), then the row.
    create_staging: safe to repeat; the table lives as long as the connection and is emptied at each
    commit. upsert: takes $1 project_id, $2 observed_at, the places from $3 to before $4, and, if
    takes_source_at, $5 the source's clock when it answered; answers (inserted, updated). sight: $1
    and $2 as before: keeps which rows of staging were seen without news. forget: $1 project_id.
    """

    staging: str
    columns: tuple[str, ...]
    create_staging: str
    upsert: str
    takes_source_at: bool
    sight: str
    forget: str


def load_statements(spec: TableSpec, schema: str, bookkeeping: str) -> LoadStatements:
    """Return the statements that load `spec` into `schema`."""
    table = f"{quoted(schema)}.{quoted(spec.name)}"
    sightings = f"{quoted(bookkeeping)}.sightings"
    columns = spec.columns
    types = {field.name: field.kind.value for field in spec.fields}
    types |= {"extra": "jsonb", "_repaired": "text[]"}
    declared = ", ".join(
        [f"{_PLACE} integer", *(f"{quoted(name)} {types[name]}" for name in columns)]
    )
    # Behind a pooler a connection outlives us: another shape must have another name.
    mark = blake2b(f"{schema}.{declared}".encode(), digest_size=6).hexdigest()
    staging = f"stage_{spec.name}_{mark}"
    return LoadStatements(
        staging=staging,
        columns=(_PLACE, *columns),
        create_staging=(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {quoted(staging)} ({declared}) "
            "ON COMMIT DELETE ROWS"
        ),
        upsert=_upsert(spec, table, sightings, staging),
        takes_source_at=spec.expiry is not None,
        # What the upsert has just written was observed at $2.
        sight=(
            f"INSERT INTO {sightings} AS g SELECT $1::bigint, {_literal(spec.name)}, "
            f"{_row_key(spec, 't')}, $2::timestamptz "
            f"FROM pg_temp.{quoted(staging)} AS s JOIN {table} AS t "
            f"ON t.project_id = $1::bigint AND {_same_key(spec)} "
            f"WHERE t._observed_at < $2::timestamptz ORDER BY {_row_key(spec, 't')} "
            "ON CONFLICT ON CONSTRAINT sightings_pkey DO UPDATE SET "
            "observed_at = excluded.observed_at WHERE g.observed_at < excluded.observed_at"
        ),
        forget=(
            f"DELETE FROM {sightings} WHERE project_id = $1::bigint "
            f"AND table_name = {_literal(spec.name)}"
        ),
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _same_key(spec: TableSpec) -> str:
    return " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in spec.key)


def _row_key(spec: TableSpec, source: str) -> str:
    """Return the key of a row as one text."""
    columns = [f"{source}.{quoted(name)}" for name in spec.key]
    if len(columns) == 1:
        return f"{columns[0]}::text"
    return f"jsonb_build_array({', '.join(columns)})::text"


def _unseen_since(spec: TableSpec, sightings: str, observed_at: str) -> str:
    return (
        f"NOT EXISTS (SELECT FROM {sightings} AS g WHERE g.project_id = $1::bigint "
        f"AND g.table_name = {_literal(spec.name)} AND g.row_key = {_row_key(spec, 't')} "
        f"AND g.observed_at > {observed_at})"
    )


def _upsert(spec: TableSpec, table: str, sightings: str, staging: str) -> str:
    keeps = {field.name for field in spec.fields if field.null_keeps}
    volatile = {field.name for field in spec.fields if field.volatile}
    content = [name for name in spec.columns if name not in spec.key]
    compared = [name for name in content if name not in volatile]

    def value(source: str, name: str) -> str:
        column = f"{source}.{quoted(name)}"
        return f"coalesce({column}, t.{quoted(name)})" if name in keeps else column

    def news(source: str, observed_at: str) -> str:
        held = ", ".join(f"t.{quoted(name)}" for name in compared)
        read = ", ".join(value(source, name) for name in compared)
        changed = f"t._deleted_at IS NOT NULL OR ({held}) IS DISTINCT FROM ({read})"
        whole = ""
        if spec.expiry is not None:
            expires_at = value(source, spec.expiry.at)
            changed += f" OR (t._expired_at IS NOT NULL AND {lives(source)})"
            # Older servers drop a recording piece by piece in its last day (PostHog source,
            # session_recording_list_from_query.py, before the expiry was one instant).
            whole = (
                f" AND NOT coalesce({expires_at} <= {_SOURCE_AT} + interval '25 hours' AND "
                f"t.{quoted(spec.expiry.started)} < {source}.{quoted(spec.expiry.started)}, false)"
            )
        unseen = _unseen_since(spec, sightings, observed_at)
        return f"t._observed_at <= {observed_at} AND ({changed}){whole} AND {unseen}"

    def lives(source: str) -> str:
        assert spec.expiry is not None
        return f"coalesce({value(source, spec.expiry.at)} > {_SOURCE_AT}, true)"

    alive = ", _deleted_at = NULL"
    if spec.expiry is not None:
        alive += f", _expired_at = CASE WHEN {lives('excluded')} THEN NULL ELSE t._expired_at END"
    key = ", ".join(quoted(name) for name in spec.key)
    names = ", ".join(quoted(name) for name in spec.columns)
    values = ", ".join(f"s.{quoted(name)}" for name in spec.columns)
    changes = ", ".join(f"{quoted(name)} = {value('excluded', name)}" for name in content)
    return f"""
WITH written AS (
    INSERT INTO {table} AS t
        (project_id, {names}, _observed_at, _first_seen_at, _updated_at, _xid)
    SELECT $1::bigint, {values}, $2::timestamptz, now(), now(), {_XID}
    FROM pg_temp.{quoted(staging)} AS s
    LEFT JOIN {table} AS t ON t.project_id = $1::bigint AND {_same_key(spec)}
    WHERE coalesce(s.{_PLACE} >= $3::integer AND s.{_PLACE} < $4::integer, true)
        AND (t.project_id IS NULL OR ({news("s", "$2::timestamptz")}))
    ORDER BY {", ".join(f"s.{quoted(name)}" for name in spec.key)}
    ON CONFLICT (project_id, {key}) DO UPDATE SET
        {changes},
        _observed_at = excluded._observed_at, _updated_at = excluded._updated_at,
        _xid = excluded._xid{alive}
    WHERE {news("excluded", "excluded._observed_at")}
    RETURNING (xmax = 0) AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
"""


@dataclass(frozen=True, slots=True)
class AbsenceStatements:
    """What it takes to find out which stored records are gone from the source.

    Parameters begin with $1 project_id, $2 stream and $3 unit.

    doubt_span: also $4 and $5, two starts, both counted in, and $6, keys: suspects what is stored
    between and is none of the keys. doubt_all: $4 and $5 may be null: suspects all that is stored
    between. clear: $4 keys: these were seen. expire: $4 the source's clock: marks what expired, and
    clears it. weigh: answers (suspects, alive). withhold: $4 a unit, whose suspects they become.
    next: $4 a key, $5 how many: the suspects after it. delete: $4 keys, $5 observed_at: marks them
    deleted, and clears them.
    """

    doubt_span: str
    doubt_all: str
    clear: str
    expire: tuple[str, ...]
    weigh: str
    withhold: tuple[str, ...]
    next: str
    delete: str


def absence_statements(
    spec: TableSpec, key: str, schema: str, bookkeeping: str
) -> AbsenceStatements:
    """Return the statements for the records in `spec`, known by their field `key`."""
    table = f"{quoted(schema)}.{quoted(spec.name)}"
    suspects = f"{quoted(bookkeeping)}.suspects"
    unit = "u.project_id = $1::bigint AND u.stream = $2::text AND u.unit = $3::text"
    same = f"t.project_id = $1::bigint AND t.{quoted(key)} = u.record_key"
    alive = "t._deleted_at IS NULL"
    if spec.expiry is not None:
        alive += " AND t._expired_at IS NULL"
    begin = f"INSERT INTO {suspects} SELECT $1::bigint, $2::text, $3::text, t.{quoted(key)} "
    begin += f"FROM {table} AS t WHERE t.project_id = $1::bigint AND {alive}"
    never_twice = "ON CONFLICT DO NOTHING"
    started = f"t.{quoted(spec.started or key)}"
    return AbsenceStatements(
        doubt_span=(
            f"{begin} AND {started} BETWEEN $4::timestamptz AND $5::timestamptz "
            f"AND NOT t.{quoted(key)} = ANY ($6::text[]) {never_twice}"
        ),
        doubt_all=(
            f"{begin} AND ($4::timestamptz IS NULL OR "
            f"{started} BETWEEN $4::timestamptz AND $5::timestamptz) {never_twice}"
        ),
        clear=f"DELETE FROM {suspects} AS u WHERE {unit} AND u.record_key = ANY ($4::text[])",
        expire=_expire(spec, table, suspects, unit, same, alive),
        weigh=(
            f"WITH absent AS (SELECT count(*) AS n FROM {suspects} AS u WHERE {unit}) "
            f"SELECT n, CASE WHEN n = 0 THEN 0 ELSE (SELECT count(*) FROM {table} AS t "
            f"WHERE t.project_id = $1::bigint AND {alive}) END FROM absent"
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
        delete=(
            f"WITH cleared AS (DELETE FROM {suspects} AS u WHERE {unit} "
            "AND u.record_key = ANY ($4::text[]) RETURNING u.record_key) "
            f"UPDATE {table} AS t SET _deleted_at = now(), _updated_at = now(), _xid = {_XID}, "
            "_observed_at = $5::timestamptz FROM cleared AS u "
            f"WHERE {same} AND {alive} AND t._observed_at <= $5::timestamptz AND "
            + _unseen_since(spec, f"{quoted(bookkeeping)}.sightings", "$5::timestamptz")
        ),
    )


def _expire(
    spec: TableSpec, table: str, suspects: str, unit: str, same: str, alive: str
) -> tuple[str, ...]:
    """Return the statements that mark what expired: by its own instant, or by the source's rule.

    The rule counts only for what was not seen: servers that name no instant may keep for longer.
    """
    drop_known = (
        f"DELETE FROM {suspects} AS u USING {table} AS t WHERE {unit} AND {same} AND NOT ({alive})"
    )
    if spec.expiry is None:
        return (drop_known + " AND $4::timestamptz IS NOT NULL",)
    at, started = quoted(spec.expiry.at), quoted(spec.expiry.started)
    days = f"coalesce(t.{quoted(spec.expiry.days)}, {spec.expiry.default_days})"
    by_rule = (
        f"((t.{started} AT TIME ZONE 'UTC')::date + {days}::integer)::timestamp AT TIME ZONE 'UTC'"
    )
    mark = f"UPDATE {table} AS t SET _updated_at = now(), _xid = {_XID}, _expired_at = "
    return (
        f"{mark} t.{at} WHERE t.project_id = $1::bigint AND {alive} AND t.{at} <= $4::timestamptz "
        "AND $2::text IS NOT NULL AND $3::text IS NOT NULL",
        f"{mark} {by_rule} FROM {suspects} AS u WHERE {unit} AND {same} AND {alive} "
        f"AND t.{at} IS NULL AND {by_rule} <= $4::timestamptz",
        drop_known + " AND $4::timestamptz IS NOT NULL",
    )
