"""Delete bookkeeping that is no longer needed: old runs and jobs, checks of gone resources."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import ColumnElement, Text, and_, cast, delete, exists, func, or_, select, text

from etl.core.stream import Mode, Stream
from etl.loaders.database import Database
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables
from etl.loaders.verified import prune_results

# The run of a job also says how the job ended.
_JOBS_KEPT = timedelta(days=1)
# A session that still comes cut after this time is asked for once more.
_CUTS_KEPT = timedelta(days=60)
# Pruning reads all of `checks`, so a sync prunes only what is overdue by a day.
_OVERDUE = timedelta(days=1)


async def prune(
    database: Database, tables: Tables, streams: Iterable[Stream], keep_runs: timedelta
) -> tuple[int, int]:
    """Delete old bookkeeping; return how many runs and how many checks. Safe to repeat.

    The latest run of each unit is kept, however old, and so is a run that has not ended. Raises
    DestinationError.
    """
    await prune_jobs(database, tables)
    await _prune_cuts(database, tables)
    await prune_results(database, tables, keep_runs)
    return await _prune_runs(database, tables, keep_runs), await _prune_checks(
        database, tables, streams
    )


async def prune_when_due(
    database: Database, tables: Tables, streams: Iterable[Stream], keep_runs: timedelta
) -> tuple[int, int] | None:
    """Prune when anything is overdue by a day; return as `prune` does, None when nothing was.

    Asks in one statement, so every sync may ask. Safe to repeat. Raises DestinationError.
    """
    overdue = or_(
        exists().where(*_old_runs(tables, keep_runs + _OVERDUE)),
        exists().where(*_old_cuts(tables, _CUTS_KEPT + _OVERDUE)),
    )
    async with database.transaction() as connection:
        if not (await connection.execute(select(overdue))).scalar_one():
            return None
    return await prune(database, tables, streams, keep_runs)


def _old_runs(tables: Tables, keep: timedelta) -> list[ColumnElement[bool]]:
    """Return the conditions of a run that ended longer ago and is not the latest of its unit."""
    runs, later = tables.runs, tables.runs.alias("later")
    is_followed = exists().where(
        later.c.project_id == runs.c.project_id,
        later.c.stream == runs.c.stream,
        later.c.unit == runs.c.unit,
        later.c.started_at > runs.c.started_at,
    )
    return [runs.c.ended_at < func.now() - keep, is_followed]


async def _prune_runs(database: Database, tables: Tables, keep_runs: timedelta) -> int:
    gone = delete(tables.runs).where(*_old_runs(tables, keep_runs))
    async with database.transaction() as connection:
        return (await connection.execute(gone)).rowcount


async def prune_jobs(database: Database, tables: Tables) -> None:
    """Delete the log entries of jobs older than a day. Safe to repeat. Raises DestinationError."""
    table = f"{quoted(tables.bookkeeping)}.pgqueuer_log"
    old = f"DELETE FROM {table} WHERE created < now() - CAST(:kept AS interval)"
    async with database.transaction() as connection:
        await connection.execute(text(old), {"kept": _JOBS_KEPT})


def _old_cuts(tables: Tables, keep: timedelta) -> list[ColumnElement[bool]]:
    cuts = tables.cuts
    return [~cuts.c.owed, cuts.c.noted_at < func.now() - keep]


async def _prune_cuts(database: Database, tables: Tables) -> None:
    async with database.transaction() as connection:
        await connection.execute(delete(tables.cuts).where(*_old_cuts(tables, _CUTS_KEPT)))


async def _prune_checks(database: Database, tables: Tables, streams: Iterable[Stream]) -> int:
    checks, count = tables.checks, 0
    for stream in streams:
        parents = stream.resources[0].parents
        if stream.mode is not Mode.ROTATION or parents is None:
            continue
        parent = tables.data[parents.table]
        (column,) = parents.fields.values()
        marks = [parent.c[name] for name in ("_deleted_at", "_expired_at") if name in parent.c]
        alive = select(parent.c.project_id).where(
            and_(
                parent.c.project_id == checks.c.project_id,
                cast(parent.c[column], Text()) == checks.c.record_key,
                func.coalesce(*marks).is_(None),
            )
        )
        gone = delete(checks).where(checks.c.stream == stream.name, ~alive.exists())
        async with database.transaction() as connection:
            count += (await connection.execute(gone)).rowcount
    return count
