"""Asks the destination directly."""

from __future__ import annotations

import json
from typing import Any

import asyncpg


async def select(dsn: str, statement: str, *arguments: Any) -> list[dict[str, Any]]:
    """Return the rows of a statement, JSON decoded. A connection of its own each time."""
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    try:
        await connection.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        return [dict(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


async def value(dsn: str, statement: str, *arguments: Any) -> Any:
    """Return the first value of the first row, None when there is no row."""
    rows = await select(dsn, statement, *arguments)
    return next(iter(rows[0].values())) if rows else None


async def watermark(dsn: str) -> Any:
    """Return how far the recordings of project 1 are known complete, None when nothing is."""
    return await value(
        dsn,
        "SELECT upper(complete) FROM posthog_etl.watermarks "
        "WHERE project_id = 1 AND stream = 'session_recordings'",
    )


def count_earlier(hours: float) -> str:
    """Return the statement that makes the noted counts of the server's list so many hours older."""
    traits = "traits"
    for name in ("at", "everything_at"):
        noted = f"(traits #>> '{{counted,{name}}}')::timestamptz"
        older = f"to_jsonb(({noted} - interval '{hours} hours')::text)"
        traits = f"jsonb_set({traits}, '{{counted,{name}}}', {older})"
    return f"UPDATE posthog_etl.watermarks SET traits = {traits} WHERE traits -> 'counted' ? 'at'"
