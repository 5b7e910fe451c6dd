"""Looks into the destination's bookkeeping, past the command under test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.sql import select, value
from tests.support.truth import TABLES

DEADLINE_S = 60.0
# Looking costs a connection, so the longer something takes the less often it is looked for.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _GROWTH = 0.01, 0.1, 1.2

# What a run that commits nothing leaves as it is, down to the stamps of every row.
_COMMITTED = (
    *(f"posthog.{name}" for name in TABLES),
    "posthog_etl.checkpoints",
    "posthog_etl.watermarks",
    "posthog_etl.rejects",
)


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, within_s: float = DEADLINE_S
) -> None:
    """Return once `condition` holds; fail when it does not in time."""
    pause_s = _FIRST_PAUSE_S
    try:
        async with asyncio.timeout(within_s):
            while not await condition():
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * _GROWTH, _LONGEST_PAUSE_S)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {within_s} seconds") from None


async def nobody_is_connected(dsn: str) -> None:
    """Return once the server has noticed that the clients of this database are gone."""

    async def alone() -> bool:
        others = await select(
            dsn,
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        return not others

    await until(alone, "the server lets go of its clients")


async def no_unit_is_held(dsn: str) -> None:
    """Return once every lease was given back or has run out."""

    async def free() -> bool:
        held = await select(
            dsn,
            "SELECT FROM posthog_etl.leases "
            "WHERE holder IS NOT NULL AND expires_at >= clock_timestamp()",
        )
        return not held

    await until(free, "the lease runs out")


async def batches_committed(dsn: str) -> int:
    """Return how many batches the latest holder of the unit has committed."""
    return await value(dsn, "SELECT batch FROM posthog_etl.checkpoints") or 0


async def run_endings(dsn: str) -> list[tuple[str, str | None]]:
    """Return status and reason of every run, in the order they began."""
    rows = await select(dsn, "SELECT status, reason FROM posthog_etl.runs ORDER BY started_at")
    return [(row["status"], row["reason"]) for row in rows]


async def row_count(dsn: str, table: str) -> int:
    """Return how many rows a data table holds."""
    return int(await value(dsn, f"SELECT count(*) FROM posthog.{table}"))


async def rows_inserted(dsn: str) -> int:
    """Return how many rows all runs together say that they have inserted."""
    return int(await value(dsn, "SELECT coalesce(sum(rows_inserted), 0) FROM posthog_etl.runs"))


async def everything_committed(dsn: str) -> dict[str, list[str]]:
    """Return all rows that a batch writes, stamps and hidden versions included, as text."""
    lines = "SELECT xmin::text || ' ' || t::text AS line FROM {} AS t ORDER BY 1"
    return {
        table: [row["line"] for row in await select(dsn, lines.format(table))]
        for table in _COMMITTED
    }
