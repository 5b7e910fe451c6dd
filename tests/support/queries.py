"""What the tests of configured queries share: their tables beside the sandbox's truth."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from etl.sandbox.server import RunningSandbox
from tests.support.pipeline import Pipeline
from tests.support.sql import select

PRESETS = (
    "events",
    "sessions",
    "groups_by_query",
    "person_distinct_ids",
    "persons_by_query",
    "cohort_people",
)
Rows = list[tuple[Any, ...]]

# Of each table: the sandbox's name for its truth, and pairs of column and name of the truth.
_COMPARED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "events": (
        "events",
        {
            "uuid": "uuid",
            "event": "event",
            "timestamp": "timestamp",
            "created_at": "created_at",
            "distinct_id": "distinct_id",
            "person_id": "person_id",
        },
    ),
    "sessions": ("sessions", {"session_id": "session_id", "distinct_id": "distinct_id"}),
    "groups_by_query": (
        "groups_by_query",
        {"index": "group_type_index", "key": "group_key", "updated_at": "updated_at"},
    ),
    "person_distinct_ids": (
        "distinct_ids_by_query",
        {"distinct_id": "distinct_id", "person_id": "person_uuid"},
    ),
    "persons_by_query": ("persons_by_query", {"person_id": "uuid", "created_at": "created_at"}),
    "cohort_people": ("cohort_people", {"cohort_id": "cohort_id", "person_id": "person_uuid"}),
}


def pipeline(sandbox: RunningSandbox, dsn: str, *names: str, **settings: Any) -> Pipeline:
    """A pipeline of these presets."""
    streams = [f"query:{name}" for name in names]
    return Pipeline(sandbox, dsn, streams=streams, query_presets=names, **settings)


async def stored(dsn: str, table: str, *columns: str) -> Rows:
    """The living rows of the table of a query, in any order."""
    chosen = ", ".join(f'"{column}"' for column in columns)
    rows = await select(
        dsn, f'SELECT {chosen} FROM posthog_queries."{table}" WHERE _deleted_at IS NULL'
    )
    return [tuple(_plain(row[column]) for column in columns) for row in rows]


async def untruths(dsn: str, sandbox: RunningSandbox, table: str) -> list[str]:
    """Every difference between the table of a preset and the truth."""
    name, columns = _COMPARED[table]
    have = sorted(await stored(dsn, table, *columns), key=str)
    rows = sandbox.control.truth_rows(name, 1)
    truth = sorted((tuple(_plain(row[each]) for each in columns.values()) for row in rows), key=str)
    lost = [f"{table} lacks {row}" for row in truth if row not in have]
    return lost + [f"{table} has {row}" for row in have if row not in truth]


def _plain(value: Any) -> Any:
    """A value as the truth and the table both have it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, str) and value[4:5] == "-" and "T" in value and value.endswith("Z"):
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    return value if isinstance(value, int | str) or value is None else str(value)
