"""Builds the statements that load one table. Runs nothing.

Rows go into a temporary staging table by COPY and from there in one guarded upsert:

- only rows that are new or changed are written at all: the join with the table comes first, so a
  row without news is not even locked (on conflict alone would lock it, and write WAL);
- in the order of the key, so that two units never wait for each other in a circle;
- what was observed earlier never overwrites what was observed later;
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


def quoted(name: str) -> str:
    """Return `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class LoadStatements:
    """What it takes to load one table.

    columns: of staging: a row's place in the batch (null: in any range), then the row.
    create_staging: safe to repeat; the table lives as long as the connection and is emptied at each
    commit. upsert: takes $1 project_id, $2 observed_at, and the places from $3 to before $4;
    answers (inserted, updated).
    """

    staging: str
    columns: tuple[str, ...]
    create_staging: str
    upsert: str


def load_statements(spec: TableSpec, schema: str) -> LoadStatements:
    """Return the statements that load `spec` into `schema`."""
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
        upsert=_upsert(spec, f"{quoted(schema)}.{quoted(spec.name)}", staging),
    )


def _upsert(spec: TableSpec, table: str, staging: str) -> str:
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
        return (
            f"t._observed_at <= {observed_at} AND (t._deleted_at IS NOT NULL "
            f"OR ({held}) IS DISTINCT FROM ({read}))"
        )

    key = ", ".join(quoted(name) for name in spec.key)
    names = ", ".join(quoted(name) for name in spec.columns)
    values = ", ".join(f"s.{quoted(name)}" for name in spec.columns)
    same_key = " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in spec.key)
    changes = ", ".join(f"{quoted(name)} = {value('excluded', name)}" for name in content)
    stamp = "pg_catalog.pg_current_xact_id()::text::bigint"
    return f"""
WITH written AS (
    INSERT INTO {table} AS t
        (project_id, {names}, _observed_at, _first_seen_at, _updated_at, _xid)
    SELECT $1::bigint, {values}, $2::timestamptz, now(), now(), {stamp}
    FROM pg_temp.{quoted(staging)} AS s
    LEFT JOIN {table} AS t ON t.project_id = $1::bigint AND {same_key}
    WHERE coalesce(s.{_PLACE} >= $3::integer AND s.{_PLACE} < $4::integer, true)
        AND (t.project_id IS NULL OR ({news("s", "$2::timestamptz")}))
    ORDER BY {", ".join(f"s.{quoted(name)}" for name in spec.key)}
    ON CONFLICT (project_id, {key}) DO UPDATE SET
        {changes},
        _observed_at = excluded._observed_at, _updated_at = excluded._updated_at,
        _xid = excluded._xid, _deleted_at = NULL
    WHERE {news("excluded", "excluded._observed_at")}
    RETURNING (xmax = 0) AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
"""
