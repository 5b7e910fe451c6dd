"""Build the statements that load one table. Runs nothing.

Rows go by COPY into a temporary staging table, and from there into the table by one guarded upsert:

- It writes only rows that are new or changed. The join with the table comes first, so an unchanged
  row is not even locked (ON CONFLICT alone would lock it and write WAL).
- It writes in the order of the key, so two units never deadlock.
- A row observed earlier never overwrites a row observed later, also if the later reading found no
  change: while two runs read one stream, such sightings are kept in a table of their own.
- Volatile columns are written with a change, and are ignored when looking for one, unless the
  catalogue says after how many days they are one (`Field.after_days`).

If none of the staged rows is stored, they are inserted, without the join and without looking for
each key first. If another run stores one of them meanwhile, Postgres refuses that as a key that
comes twice, and the batch is loaded again by the upsert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from etl.core.stream import Expiry, TableSpec

# Staging is never analysed, and the table may not be, so the planner would have to guess. These
# settings give one index probe per row, whatever the statistics say.
PLAN_SETTINGS = {
    f"enable_{way}": "off" for way in ("hashjoin", "mergejoin", "seqscan", "bitmapscan", "material")
}

_PLACE, _OBSERVED_AT, _HASH = "_place", "_observed_at", "_hash"
# When a staged row was asked for; null stands for the commit's own instant.
_STAGED_AT = f"coalesce(s.{_OBSERVED_AT}, $2::timestamptz)"
# The id of the current transaction, as a number that only grows.
XID = "pg_catalog.pg_current_xact_id()::text::bigint"
_SOURCE_AT = "$5::timestamptz"


def quoted(name: str) -> str:
    """Return `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class LoadStatements:
    """The statements that load one table.

    columns: those of staging: the row's place in the batch (null belongs to every range), when it
    was asked for (null: at the instant of the commit), its hash, then the row.
    create_staging: safe to repeat; the table lasts as long as the connection, and each commit
    empties it.
    upsert: $1 project_id, $2 observed_at, $3 first place, $4 end of the places, and if
    takes_source_at, $5 the time on which the clocks agreed when the source answered. Returns
    (inserted, updated).
    any_stored: $1 project_id. Tells whether any staged row is stored; None if the table does not
    hold what windows are cut by.
    insert: $1, $2 as in upsert. Inserts all staged rows; none of them may be stored.
    note_unchanged: $1, $2 as in upsert. Notes which staged rows were seen without a change.
    forget: $1 project_id. Deletes these notes.
    sweep: $1, $2 as in upsert, $3 owners. Marks deleted what belongs to them and is not staged.
    """

    staging: str
    columns: tuple[str, ...]
    create_staging: str
    upsert: str
    any_stored: str | None
    insert: str
    takes_source_at: bool
    note_unchanged: str
    forget: str
    sweep: str


def load_statements(spec: TableSpec, schema: str, bookkeeping: str) -> LoadStatements:
    """Return the statements that load `spec` into `schema`."""
    table = f"{quoted(schema)}.{quoted(spec.name)}"
    sightings = f"{quoted(bookkeeping)}.sightings"
    columns = spec.columns
    types = {field.name: field.kind.value for field in spec.fields}
    types |= {"extra": "jsonb", "_repaired": "text[]"}
    declared = ", ".join(
        [
            f"{_PLACE} integer",
            f"{_OBSERVED_AT} timestamptz",
            f"{_HASH} bigint",
            *(f"{quoted(name)} {types[name]}" for name in columns),
        ]
    )
    # Behind a pooler a connection outlives us, so a staging table of another shape needs another
    # name.
    mark = blake2b(f"{schema}.{declared}".encode(), digest_size=6).hexdigest()
    staging = f"stage_{spec.name}_{mark}"
    return LoadStatements(
        staging=staging,
        columns=(_PLACE, _OBSERVED_AT, _HASH, *columns),
        create_staging=(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {quoted(staging)} ({declared}) "
            "ON COMMIT DELETE ROWS"
        ),
        upsert=_upsert(spec, table, sightings, staging),
        any_stored=_any_stored(spec, table, staging),
        insert=_insert(spec, table, staging) + _in_key_order(spec),
        takes_source_at=spec.expiry is not None,
        # The upsert has just set `_observed_at` of what it wrote.
        note_unchanged=(
            f"INSERT INTO {sightings} AS g SELECT $1::bigint, {literal(spec.unique_name)}, "
            f"{row_key(spec, 't')}, {_STAGED_AT} "
            f"FROM pg_temp.{quoted(staging)} AS s JOIN {table} AS t "
            f"ON t.project_id = $1::bigint AND {_same_key(spec)} "
            f"WHERE t._observed_at < {_STAGED_AT} ORDER BY {row_key(spec, 't')} "
            "ON CONFLICT ON CONSTRAINT sightings_pkey DO UPDATE SET "
            "observed_at = excluded.observed_at WHERE g.observed_at < excluded.observed_at"
        ),
        forget=(
            f"DELETE FROM {sightings} WHERE project_id = $1::bigint "
            f"AND table_name = {literal(spec.unique_name)}"
        ),
        sweep=(
            f"UPDATE {table} AS t SET _deleted_at = now(), _updated_at = now(), _xid = {XID}, "
            "_observed_at = $2::timestamptz FROM unnest($3::text[]) AS o (owner) "
            f"WHERE t.project_id = $1::bigint AND {key_is(spec, spec.key[:-1], 'o.owner')} "
            "AND t._deleted_at IS NULL AND t._observed_at <= $2::timestamptz "
            f"AND NOT EXISTS (SELECT FROM pg_temp.{quoted(staging)} AS s WHERE {_same_key(spec)}) "
            f"AND {unseen_since(spec, sightings, '$2::timestamptz')}"
        ),
    )


def literal(text: str) -> str:
    """Return `text` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _same_key(spec: TableSpec) -> str:
    return " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in spec.key)


def key_is(spec: TableSpec, names: Sequence[str], text: str) -> str:
    """Return the condition that these columns of row `t` equal the key `text` (see `key_text`)."""
    types = {field.name: field.kind.value for field in spec.fields}
    if len(names) == 1:
        return f"t.{quoted(names[0])} = {text}::{types[names[0]]}"
    return (
        " AND ".join(
            f"t.{quoted(name)} = ({text}::jsonb ->> {place})::{types[name]}"
            for place, name in enumerate(names)
        )
        or "true"
    )


def row_key(spec: TableSpec, source: str) -> str:
    """Return the key of a row as one text, the same as `key_text` returns."""
    return key_of(spec.key, source)


def key_of(names: Sequence[str], source: str) -> str:
    """Return the values of these columns as one text, the same as `key_text` returns."""
    columns = [f"{source}.{quoted(name)}" for name in names]
    if len(columns) == 1:
        return f"{columns[0]}::text"
    return f"jsonb_build_array({', '.join(columns)})::text"


def is_alive(spec: TableSpec, source: str) -> str:
    """Return the condition that a row is neither deleted nor expired at the source.

    As one condition. Two would equal the predicate of the index by expiry; the planner would then
    use that index instead of the one by start, and every page would scan all rows.
    """
    marks = [f"{source}._deleted_at"] + ([f"{source}._expired_at"] if spec.expiry else [])
    return f"coalesce({', '.join(marks)}) IS NULL"


def unseen_since(spec: TableSpec, sightings: str, observed_at: str) -> str:
    """Return the condition that no run saw row `t` without a change after `observed_at`."""
    return (
        f"NOT EXISTS (SELECT FROM {sightings} AS g WHERE g.project_id = $1::bigint "
        f"AND g.table_name = {literal(spec.unique_name)} AND g.row_key = {row_key(spec, 't')} "
        f"AND g.observed_at > {observed_at})"
    )


def expires_by_rule(expiry: Expiry, source: str, days: str) -> str:
    """Return when a row of `source` expires if the server names no time (see `Expiry`)."""
    started = f"{source}.{quoted(expiry.started)}"
    kept_for = f"coalesce({days}, {expiry.default_days})"
    return (
        f"((({started} AT TIME ZONE 'UTC')::date + {kept_for}::integer)::timestamp "
        "AT TIME ZONE 'UTC')"
    )


def _any_stored(spec: TableSpec, table: str, staging: str) -> str | None:
    # Of a stretch of time often none is stored. Of other tables some nearly always are.
    if spec.started is None or len(spec.key) != 1:
        return None
    key = quoted(spec.key[0])
    # As an array of keys: a join would look up each key separately and take much longer.
    return (
        f"SELECT EXISTS (SELECT FROM {table} AS t WHERE t.project_id = $1::bigint "
        f"AND t.{key} = ANY (ARRAY(SELECT s.{key} FROM pg_temp.{quoted(staging)} AS s)))"
    )


def _insert(spec: TableSpec, table: str, staging: str) -> str:
    written = [*spec.columns, _HASH] if spec.hashed else spec.columns
    names = ", ".join(quoted(name) for name in written)
    values = ", ".join(f"s.{quoted(name)}" for name in written)
    return f"""
    INSERT INTO {table} AS t
        (project_id, {names}, _observed_at, _first_seen_at, _updated_at, _xid)
    SELECT $1::bigint, {values}, {_STAGED_AT}, now(), now(), {XID}
    FROM pg_temp.{quoted(staging)} AS s"""


def _in_key_order(spec: TableSpec) -> str:
    return f"""
    ORDER BY {", ".join(f"s.{quoted(name)}" for name in spec.key)}"""


def _value(spec: TableSpec, source: str, name: str) -> str:
    """Return what a column of row `t` becomes if `source` is loaded."""
    keeps = any(field.name == name and field.null_keeps for field in spec.fields)
    column = f"{source}.{quoted(name)}"
    return f"coalesce({column}, t.{quoted(name)})" if keeps else column


def differs(
    spec: TableSpec, source: str, source_at: str = _SOURCE_AT, *, fills: bool = True
) -> str:
    """Return the condition that loading row `source` would change row `t`, volatile fields aside.

    source_at: the time on which the clocks agreed when the source answered; null if it did not
    answer. fills: whether it is a change that a null of a `null_keeps` field becomes a value.
    """
    volatile = {field.name for field in spec.fields if field.volatile}
    keeps = {field.name for field in spec.fields if field.null_keeps and not fills}
    compared = [name for name in spec.columns if name not in volatile and name not in spec.key]
    held = ", ".join(
        f"coalesce(t.{quoted(name)}, {source}.{quoted(name)})"
        if name in keeps
        else f"t.{quoted(name)}"
        for name in compared
    )
    read = ", ".join(_value(spec, source, name) for name in compared)
    changed = f"t._deleted_at IS NOT NULL OR ({held}) IS DISTINCT FROM ({read})"
    for field in spec.fields:
        if field.after_days is not None:
            at, held_at = f"{source}.{quoted(field.name)}", f"t.{quoted(field.name)}"
            due = f"{held_at} + interval '{field.after_days} days' <= {at}"
            changed += f" OR coalesce({due}, {held_at} IS NULL AND {at} IS NOT NULL)"
    if spec.expiry is None:
        return f"({changed})"
    named = _value(spec, source, spec.expiry.at)
    days = _value(spec, source, spec.expiry.days)
    expires_at = f"coalesce({named}, {expires_by_rule(spec.expiry, source, days)})"
    # What the source shows is alive, whatever its expiry says. A replay shows nothing.
    changed += f" OR (t._expired_at IS NOT NULL AND {source_at} IS NOT NULL)"
    held_by_rule = expires_by_rule(spec.expiry, "t", f"t.{quoted(spec.expiry.days)}")
    held_until = f"coalesce(t.{quoted(spec.expiry.at)}, {held_by_rule})"
    # In its last day older servers drop a recording piece by piece (PostHog source,
    # session_recording_list_from_query.py, before the expiry became one instant). The rest of it
    # has a later start, and so a later expiry.
    return (
        f"({changed}) AND NOT coalesce(least({expires_at}, {held_until}) <= "
        f"{source_at} + interval '25 hours' AND "
        f"t.{quoted(spec.expiry.started)} < {source}.{quoted(spec.expiry.started)}, false)"
    )


def _upsert(spec: TableSpec, table: str, sightings: str, staging: str) -> str:
    content = [name for name in spec.columns if name not in spec.key]

    def news(source: str, observed_at: str) -> str:
        unseen = unseen_since(spec, sightings, observed_at)
        return f"t._observed_at <= {observed_at} AND {differs(spec, source)} AND {unseen}"

    alive = ", _deleted_at = NULL"
    if spec.expiry is not None:
        alive += f", _expired_at = CASE WHEN {_SOURCE_AT} IS NULL THEN t._expired_at END"
    key = ", ".join(quoted(name) for name in spec.key)
    changes = ", ".join(f"{quoted(name)} = {_value(spec, 'excluded', name)}" for name in content)
    if spec.hashed:
        # Not compared: other bytes may be the same row. It is that of what was written last.
        changes += f", {_HASH} = excluded.{_HASH}"
    return f"""
WITH written AS ({_insert(spec, table, staging)}
    LEFT JOIN {table} AS t ON t.project_id = $1::bigint AND {_same_key(spec)}
    WHERE coalesce(s.{_PLACE} >= $3::integer AND s.{_PLACE} < $4::integer, true)
        AND (t.project_id IS NULL OR ({news("s", _STAGED_AT)})){_in_key_order(spec)}
    ON CONFLICT (project_id, {key}) DO UPDATE SET
        {changes},
        _observed_at = excluded._observed_at, _updated_at = excluded._updated_at,
        _xid = excluded._xid{alive}
    WHERE {news("excluded", "excluded._observed_at")}
    RETURNING (xmax = 0) AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
"""
