"""What was verified when, by the results of all comparisons.

A later comparison replaces what an earlier one found in the same time. Windows may overlap in any
way: a difference stands until all of its window was looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from etl.core.coverage import Span, joined
from etl.core.reconciling import How
from etl.core.slices import Look, latest_looks
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.leases import Unit
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables

_KEYS = f"('{How.IDS}', '{How.DIGEST}')"
# Of a later comparison `l`: it compared contents.
_DEEP = f"AND l.how NOT IN {_KEYS}"


class Verified(Struct, frozen=True):
    """What of a stream is verified.

    checked_at: the latest comparison. how: what it compared. since, until: the latest stretch of
    time that is verified without a gap; None for streams without windows. oldest_at: when the part
    of it was verified that has waited longest. differences: how many rows differ that were not
    repaired.
    """

    checked_at: datetime
    how: str
    since: datetime | None
    until: datetime | None
    oldest_at: datetime
    differences: int


async def latest_verified(
    connection: AsyncConnection, tables: Tables
) -> dict[tuple[int, str], Verified]:
    """Return what is verified of each stream, by project and stream."""
    driver, book = await driver_of(connection), quoted(tables.bookkeeping)
    found = await driver.fetch(
        "SELECT DISTINCT project_id, stream, since, until, checked_at, how "
        f"FROM {book}.reconciliations ORDER BY project_id, stream, checked_at, how DESC"
    )
    looks: dict[tuple[int, str], list[Look]] = {}
    latest: dict[tuple[int, str], tuple[datetime, str]] = {}
    for project_id, stream, since, until, checked_at, how in found:
        latest[project_id, stream] = checked_at, how
        if since is not None:
            look = Look(Span(since, until), checked_at)
            looks.setdefault((project_id, stream), []).append(look)
    standing = {
        (project_id, stream): int(count)
        for project_id, stream, count in await driver.fetch(
            "SELECT project_id, stream, sum(standing) "
            f"FROM ({_standing(book)}) AS each GROUP BY 1, 2"
        )
    }
    verified = {}
    for key, (checked_at, how) in latest.items():
        span, oldest_at = _latest_stretch(looks.get(key, ()))
        verified[key] = Verified(
            checked_at,
            how,
            None if span is None else span.since,
            None if span is None else span.until,
            oldest_at or checked_at,
            standing.get(key, 0),
        )
    return verified


def _latest_stretch(looks: Sequence[Look]) -> tuple[Span | None, datetime | None]:
    """Return the latest stretch without a gap, and the oldest look at a part of it."""
    if not looks:
        return None, None
    latest = latest_looks(looks)
    stretch = joined([look.span for look in latest])[-1]
    return stretch, min(look.at for look in latest if look.span.since >= stretch.since)


def _standing(book: str) -> str:
    """Return the query of the results that are not repaired, each with its differences that stand.

    Keys alone do not show that contents are equal.
    """
    return (
        "SELECT project_id, stream, since, until, checked_at, "
        "CASE WHEN keys_again THEN 0 ELSE missing + surplus END "
        "+ CASE WHEN contents_again THEN 0 ELSE different END AS standing FROM (SELECT r.*, "
        f"{_seen_again(book, '')} AS keys_again, {_seen_again(book, _DEEP)} AS contents_again "
        f"FROM {book}.reconciliations AS r WHERE r.repaired_at IS NULL "
        "AND r.missing + r.surplus + r.different > 0) AS found"
    )


def _seen_again(book: str, condition: str) -> str:
    """Return the condition that later comparisons have looked at all of the window of row `r`."""
    later = (
        f"FROM {book}.reconciliations AS l WHERE l.project_id = r.project_id "
        "AND l.stream = r.stream AND l.table_name = r.table_name "
        f"AND l.checked_at > r.checked_at {condition}"
    )
    return (
        f"CASE WHEN r.since IS NULL THEN EXISTS (SELECT {later} AND l.since IS NULL) ELSE "
        f"coalesce((SELECT range_agg(tstzrange(l.since, l.until)) {later} "
        "AND l.since IS NOT NULL) @> tstzrange(r.since, r.until), false) END"
    )


async def prune_results(database: Database, tables: Tables, keep: timedelta) -> None:
    """Delete results older than this that later comparisons of contents replace.

    Safe to repeat. Raises DestinationError.
    """
    book = quoted(tables.bookkeeping)
    async with database.transaction() as connection:
        driver = await driver_of(connection)
        await driver.execute(
            f"DELETE FROM {book}.reconciliations AS r WHERE "
            f"r.checked_at < now() - $1::interval AND {_seen_again(book, _DEEP)}",
            keep,
        )


class Looks:
    """When contents were compared, and what that took. Every method raises DestinationError."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._book = quoted(tables.bookkeeping)
        self._tables = tables

    async def of(self, project_id: int, stream: str) -> list[Look]:
        """Return the stretches of time of which contents were compared."""
        found = await self._fetch(
            "SELECT DISTINCT since, until, checked_at "
            f"FROM {self._book}.reconciliations WHERE project_id = $1::bigint "
            f"AND stream = $2::text AND how NOT IN {_KEYS} AND since IS NOT NULL",
            project_id,
            stream,
        )
        return [Look(Span(since, until), at) for since, until, at in found]

    async def latest(self, project_id: int) -> dict[str, datetime]:
        """Return when contents were last compared, by stream."""
        found = await self._fetch(
            f"SELECT stream, max(checked_at) FROM {self._book}.reconciliations "
            f"WHERE project_id = $1::bigint AND how NOT IN {_KEYS} GROUP BY 1",
            project_id,
        )
        return {stream: at for stream, at in found}

    async def differing(self, project_id: int, stream: str, age: timedelta) -> list[Span]:
        """Return the stretches of time with differences that stand and were found so long ago."""
        found = await self._fetch(
            f"SELECT DISTINCT since, until FROM ({_standing(self._book)}) AS each "
            "WHERE project_id = $1::bigint AND stream = $2::text AND standing > 0 "
            "AND since IS NOT NULL AND checked_at < now() - $3::interval",
            project_id,
            stream,
            age,
        )
        return [Span(since, until) for since, until in found]

    async def position(self, unit: Unit) -> Any:
        """Return where an unfinished run of the unit goes on, None if there is none."""
        found = await self._fetch(
            f"SELECT position FROM {self._book}.checkpoints WHERE project_id = $1::bigint "
            "AND stream = $2::text AND unit = $3::text",
            *unit.key.values(),
        )
        return found[0][0] if found else None

    async def last_requests(self, project_id: int, stream: str, units: Sequence[str]) -> int | None:
        """Return the requests of the latest run of these units that succeeded; None: there is none.

        A comparison that found something counts, too.
        """
        found = await self._fetch(
            f"SELECT requests FROM {self._book}.runs WHERE project_id = $1::bigint "
            "AND stream = $2::text AND unit = ANY ($3::text[]) AND status IN ('succeeded', "
            "'partial') ORDER BY started_at DESC LIMIT 1",
            project_id,
            stream,
            list(units),
        )
        return None if not found else int(found[0][0])

    async def rows_by_day(
        self, project_id: int, table: str, started: str, days: Sequence[Span]
    ) -> list[int]:
        """Return how many records start on each day, also those that are gone."""
        if not days:
            return []
        column = quoted(started)
        counted = dict(
            await self._fetch(
                f"SELECT width_bucket({column}, $2::timestamptz[]), count(*) "
                f"FROM {quoted(self._tables.schema)}.{quoted(table)} "
                f"WHERE project_id = $1::bigint AND {column} >= $3::timestamptz "
                f"AND {column} < $4::timestamptz GROUP BY 1",
                project_id,
                [day.since for day in days],
                days[0].since,
                days[-1].until,
            )
        )
        return [counted.get(place, 0) for place in range(1, len(days) + 1)]

    async def _fetch(self, query: str, *given: object) -> Sequence[Any]:
        for attempt in self._database.attempts():
            async with attempt, self._database.transaction() as connection:
                driver = await driver_of(connection)
                found: Sequence[Any] = await driver.fetch(query, *given)
        return found
