"""Forgets old runs after a sync, so that their table stays small where only cron runs syncs."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from etl.errors import EtlError
from etl.loaders.database import Database
from etl.loaders.prune import prune_when_due
from etl.loaders.tables import Tables
from etl.streams import STREAMS
from etl.tasks import race

_log = structlog.get_logger(__name__)


async def tidy(
    database: Database, tables: Tables, keep_runs: timedelta, stop: asyncio.Event
) -> None:
    """Prune when it is due, until `stop` is set. Safe to repeat.

    A failure is logged: what was loaded is no worse for it. Raises only CancelledError.
    """
    if stop.is_set():
        return
    pruning = prune_when_due(database, tables, STREAMS.values(), keep_runs)
    async with race(pruning, stop.wait()) as (pruned, _):
        if not pruned.done():
            return
    if (exc := pruned.exception()) is not None:
        reason = str(exc) if isinstance(exc, EtlError) else f"Unexpected {type(exc).__name__}"
        _log.warning("prune.failed", reason=reason)
    elif (counts := pruned.result()) is not None:
        _log.info("history.pruned", runs=counts[0], checks=counts[1])
