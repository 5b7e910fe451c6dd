"""Compares the destination with the sandbox's own truth, row by row and column by column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
import asyncpg

from etl.core.stream import Field, Kind
from etl.streams import TABLE_SPECS

TABLES = ("session_recordings", "persons", "person_distinct_ids")
EVERY_TABLE = tuple(TABLE_SPECS)
# Rows that come along with others, so that their absence says nothing: they are never marked.
COMPANIONS = ("persons", "person_distinct_ids", "users")


async def fetch_truth(sandbox_url: str, project: int = 1) -> dict[str, Any]:
    """Return what the sandbox knows to be true now."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{sandbox_url}/_sandbox/truth", params={"project": str(project)}) as answer,
    ):
        answer.raise_for_status()
        return json.loads(await answer.read())


async def stored(
    dsn: str, table: str, *, project: int = 1, schema: str = "posthog"
) -> dict[str, dict[str, Any]]:
    """Return the rows of a table that are not marked deleted or expired, by their key."""
    spec = TABLE_SPECS[table]
    alive = "_deleted_at IS NULL" + (" AND _expired_at IS NULL" if spec.expiry else "")
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    try:
        await connection.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        rows = await connection.fetch(
            f'SELECT * FROM "{schema}"."{table}" WHERE project_id = $1 AND {alive}', project
        )
    finally:
        await connection.close()
    return {_key(spec.key, row): dict(row) for row in rows}


async def differences_from_truth(
    dsn: str,
    truth: Mapping[str, Any],
    *,
    project: int = 1,
    schema: str = "posthog",
    tables: Sequence[str] = TABLES,
    left_over: Sequence[str] = (),
) -> list[str]:
    """Return every difference in any column but volatile ones; empty when the copy is true.

    Missing and surplus rows are differences too, but for surplus ones in `left_over`. A field the
    truth does not name must be null.
    """
    found: list[str] = []
    for table in tables:
        spec = TABLE_SPECS[table]
        rows = await stored(dsn, table, project=project, schema=schema)
        expected = {_key(spec.key, record): record for record in truth[table]}
        found += [f"{table} {key}: missing" for key in expected.keys() - rows.keys()]
        if table not in left_over:
            found += [f"{table} {key}: surplus" for key in rows.keys() - expected.keys()]
        for key in expected.keys() & rows.keys():
            for field in spec.fields:
                if field.volatile:
                    continue
                want, have = _value(field, expected[key].get(field.name)), rows[key][field.name]
                if field.kind is Kind.UUID and have is not None:
                    have = str(have)
                if want != have:
                    found.append(f"{table} {key}.{field.name}: {have!r} instead of {want!r}")
            if rows[key]["extra"] is not None:
                found.append(f"{table} {key}.extra: {rows[key]['extra']!r}")
    return found


def _key(names: tuple[str, ...], row: Mapping[str, Any]) -> str:
    return "/".join(str(row[name]) for name in names)


def _value(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.kind is Kind.INSTANT:
        at = datetime.fromisoformat(value)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    if field.kind is Kind.DOUBLE:
        return float(value)
    return value
