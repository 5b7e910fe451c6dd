"""Runs as they are shown: whether a run waits is believed only while it lives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, case, exists, extract, func, or_, select

from etl.core.statuses import FAILED, REJECTS, RUNNING, Chosen
from etl.core.stream import OF_VERIFY
from etl.loaders.connection import AsyncConnection
from etl.loaders.driver import driver_of
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables

# A wait is over then, even if its end could not be noted.
_OVERDUE = timedelta(seconds=5)
_WAITING = ("waiting_for", "waiting_since", "waiting_until")


class RunWait(Struct, frozen=True):
    """What a living run waits for. until: None if nobody knows."""

    run_id: str
    command: str
    unit: str
    waiting_for: str
    since: datetime
    until: datetime | None

    @property
    def what(self) -> str:
        """What it waits for, without how things stand."""
        return self.waiting_for.partition(":")[0]


def run_columns(tables: Tables) -> list[ColumnElement[Any]]:
    """Return the columns of `runs`, for a statement that selects from it.

    A run that has died waits for nothing. `waited_s` counts a wait under way, too.
    """
    runs, now = tables.runs, func.clock_timestamp()
    waits = and_(
        runs.c.status == RUNNING,
        runs.c.waiting_since.is_not(None),
        or_(runs.c.waiting_until.is_(None), runs.c.waiting_until + _OVERDUE > now),
        still_holds(tables),
    )
    under_way_s = func.greatest(0, extract("epoch", now - runs.c.waiting_since))
    shown: dict[str, ColumnElement[Any]] = {
        "waited_s": runs.c.waited_s + case((waits, under_way_s), else_=0),
        **{name: case((waits, runs.c[name])) for name in _WAITING},
    }
    return [shown.get(column.name, column).label(column.name) for column in runs.c]


def still_holds(tables: Tables) -> ColumnElement[bool]:
    """Return whether a run still holds its unit, for a statement that selects from `runs`."""
    runs, leases = tables.runs, tables.leases
    alive = and_(leases.c.holder == runs.c.id, leases.c.expires_at >= func.clock_timestamp())
    return exists().where(alive).correlate(runs)


def is_chosen(tables: Tables, chosen: Chosen) -> list[ColumnElement[bool]]:
    """Return what holds for the chosen runs. A run that holds its unit no more has failed."""
    runs, held = tables.runs, still_holds(tables)
    wanted: list[ColumnElement[bool]] = []
    if chosen.statuses:
        ended = [name for name in chosen.statuses if name != RUNNING]
        ways: list[ColumnElement[bool]] = [runs.c.status.in_(ended)]
        if RUNNING in chosen.statuses:
            ways.append(and_(runs.c.status == RUNNING, held))
        if FAILED in chosen.statuses:
            ways.append(and_(runs.c.status == RUNNING, ~held))
        wanted.append(or_(*ways))
    if chosen.streams:
        wanted.append(runs.c.stream.in_(chosen.streams))
    if chosen.since is not None:
        wanted.append(runs.c.started_at >= chosen.since)
    if chosen.until is not None:
        wanted.append(runs.c.started_at < chosen.until)
    return wanted


async def waits_by_stream(
    connection: AsyncConnection, tables: Tables
) -> dict[tuple[int, str], Sequence[RunWait]]:
    """Return what the living runs wait for, by project and stream; also those of `verify`."""
    runs, leases = tables.runs, tables.leases
    # By way of the leases, which are few.
    seen = (
        select(*run_columns(tables))
        .join(leases, leases.c.holder == runs.c.id)
        .where(runs.c.waiting_since.is_not(None))
        .subquery()
    )
    query = select(seen).where(seen.c.waiting_for.is_not(None)).order_by(seen.c.waiting_since)
    found: dict[tuple[int, str], list[RunWait]] = {}
    for row in (await connection.execute(query)).mappings():
        wait = RunWait(
            str(row["id"]),
            row["command"],
            row["unit"],
            row["waiting_for"],
            row["waiting_since"],
            row["waiting_until"],
        )
        found.setdefault((row["project_id"], row["stream"]), []).append(wait)
    return dict(found)


async def last_successes(
    connection: AsyncConnection, tables: Tables
) -> dict[tuple[int, str], datetime]:
    """Return when the latest run that brought a stream up to date has ended, by project and stream.

    Windows of backfills and comparisons do not count. Streams that never succeeded are left out.
    """
    driver, book = await driver_of(connection), quoted(tables.bookkeeping)
    # Unit by unit, as runs are indexed so: then the total number of runs does not matter.
    rows = await driver.fetch(
        f"SELECT r.project_id, r.stream, max(r.ended_at) FROM {book}.checkpoints AS c, LATERAL "
        f"(SELECT * FROM {book}.runs AS r WHERE r.project_id = c.project_id "
        "AND r.stream = c.stream AND r.unit = c.unit AND r.status = 'succeeded' "
        "ORDER BY r.started_at DESC LIMIT 1) AS r "
        "WHERE c.unit <> ALL ($1::text[]) AND c.unit NOT LIKE '%/%' GROUP BY 1, 2",
        [*OF_VERIFY, REJECTS],
    )
    return {(project_id, stream): at for project_id, stream, at in rows}
