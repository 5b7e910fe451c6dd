"""Keep the alerts, and decide which process tells which of them.

An evaluation finds what is open, notes what began and ended, and takes what is to be told, all in
one transaction. One evaluation of a deployment waits for the other, so each change is noted once,
and each message has one process that tells it. `tried` is set before a message is sent, and it
stays set if the process dies: whoever tells it then can say that it may be a repetition.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import select

from etl.core.alerts import (
    NO_PROJECT,
    Event,
    Facts,
    Key,
    Kind,
    Line,
    Rules,
    Trouble,
    changes,
    found,
)
from etl.core.coverage import Coverage
from etl.core.statuses import RUNNING, Fault, failures
from etl.core.stream import OF_VERIFY
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.drift import drift_by_stream
from etl.loaders.driver import driver_of
from etl.loaders.history import coverage_of
from etl.loaders.seen_runs import last_successes
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables
from etl.loaders.verified import latest_verified

# Longer than all channels together may take, in seconds.
_TELLING_S = 90
# What nobody could be told in this time is given up, once it is over.
_KEPT = "30 days"
# The latest run of each unit that says something: it has ended, or has died. One that was stopped
# or paused goes on later.
_SAYING = (
    "(r.status IN ('succeeded', 'partial', 'failed') AND r.fault IS DISTINCT FROM "
    f"'{Fault.STOPPED}' OR r.status = '{RUNNING}' AND NOT EXISTS (SELECT FROM {{book}}.leases AS l "
    "WHERE l.holder = r.id AND l.expires_at >= clock_timestamp()))"
)
_Stream = tuple[int, str]


class Watched(Struct, frozen=True):
    """What a deployment looks after.

    projects: the configured ones. current: whether @current is one of them. streams: those that
    have to succeed again and again. known: all that are configured and not switched off. named:
    those that somebody asked for by name.
    """

    projects: Collection[int]
    current: bool
    streams: Collection[str]
    known: Collection[str]
    named: Collection[str]
    rules: Rules


class AlertBook:
    """The alerts of a deployment, for one process that tells them."""

    def __init__(self, database: Database, tables: Tables, watched: Watched) -> None:
        self._database = database
        self._tables = tables
        self._book = quoted(tables.bookkeeping)
        self._alerts, self._messages = (f"{self._book}.{n}" for n in ("alerts", "alert_messages"))
        self._watched = watched
        self._holder = str(uuid.uuid4())

    async def evaluate(
        self, channels: Collection[str], broken: Collection[str] = ()
    ) -> Mapping[str, Sequence[Line]]:
        """Note what began and ended, and return what this process has to tell, by channel.

        channels: all that are configured. broken: those that are told nothing now. What is returned
        is no other process's for 90 seconds: call `told` or `untold` before. Safe to repeat.
        Raises DestinationError.
        """
        async with self._database.transaction() as connection:
            driver = await self._locked(connection)
            now = await driver.fetchval("SELECT clock_timestamp()")
            projects = await self._projects(driver)
            await self._watch(driver, projects)
            facts = await self._facts(connection, driver, projects)
            await self._note(driver, projects, found(facts, self._watched.rules, now))
            await self._fill(driver, projects, channels)
            usable = [channel for channel in channels if channel not in broken]
            return await self._take(driver, projects, usable)

    async def told(self, channel: str, lines: Sequence[Line]) -> None:
        """Note that the channel took these lines. Safe to repeat. Raises DestinationError."""
        async with self._database.transaction() as connection:
            driver = await self._locked(connection)
            for line in lines:
                await driver.execute(
                    f"UPDATE {self._messages} SET told_at = clock_timestamp(), "
                    "holder = NULL, expires_at = NULL WHERE alert_id = $1::uuid AND channel = $2 "
                    "AND event = $3 AND holder = $4::uuid",
                    *(line.alert_id, channel, line.event, self._holder),
                )
            await driver.execute(
                f"DELETE FROM {self._alerts} AS a WHERE a.ended_at IS NOT NULL AND (NOT EXISTS "
                f"(SELECT FROM {self._messages} AS m WHERE m.alert_id = a.id "
                f"AND m.told_at IS NULL) OR a.ended_at < now() - interval '{_KEPT}')"
            )
            await driver.execute(
                f"DELETE FROM {self._messages} AS m WHERE NOT EXISTS "
                f"(SELECT FROM {self._alerts} AS a WHERE a.id = m.alert_id)"
            )

    async def untold(self, channel: str, lines: Sequence[Line], *, maybe: bool) -> None:
        """Note that the channel did not take these lines; maybe: that it may have taken them.

        Safe to repeat. Raises DestinationError.
        """
        async with self._database.transaction() as connection:
            driver = await self._locked(connection)
            for line in lines:
                await driver.execute(
                    f"UPDATE {self._messages} SET holder = NULL, expires_at = NULL, "
                    "tried = $5 WHERE alert_id = $1::uuid AND channel = $2 AND event = $3 "
                    "AND holder = $4::uuid",
                    *(line.alert_id, channel, line.event, self._holder, maybe or line.repeated),
                )

    async def _locked(self, connection: AsyncConnection) -> Any:
        """Wait until no other process evaluates or notes; return the driver of the transaction."""
        driver = await driver_of(connection)
        await driver.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            f"{self._tables.bookkeeping}.alerts",
        )
        return driver

    async def _projects(self, driver: Any) -> list[int]:
        """Return the numbers of the projects; of @current it is that of the latest run."""
        found = list(self._watched.projects)
        if self._watched.current:
            latest = await driver.fetchval(
                f"SELECT project_id FROM {self._book}.checkpoints ORDER BY updated_at DESC LIMIT 1"
            )
            found.append(NO_PROJECT if latest is None else latest)
        return list(dict.fromkeys(found))

    def _own(self, projects: Sequence[int]) -> list[int]:
        """Return the projects whose alerts are decided here."""
        return [*projects, NO_PROJECT] if self._watched.current else list(projects)

    async def _watch(self, driver: Any, projects: Sequence[int]) -> None:
        streams = list(self._watched.streams)
        await driver.execute(
            f"INSERT INTO {self._book}.watched_streams (project_id, stream, since) "
            "SELECT p, s, clock_timestamp() FROM unnest($1::bigint[]) AS p, "
            "unnest($2::text[]) AS s ON CONFLICT DO NOTHING",
            *(projects, streams),
        )
        await driver.execute(
            f"DELETE FROM {self._book}.watched_streams WHERE project_id = ANY($1::bigint[]) "
            "AND NOT (project_id = ANY($2::bigint[]) AND stream = ANY($3::text[]))",
            *(self._own(projects), projects, streams),
        )

    async def _facts(
        self, connection: AsyncConnection, driver: Any, projects: Sequence[int]
    ) -> list[Facts]:
        watched = self._watched
        since = await self._by_stream(
            driver, "SELECT project_id, stream, since FROM {book}.watched_streams"
        )
        succeeded = await last_successes(connection, self._tables)
        rejects = await self._by_stream(
            driver,
            "SELECT project_id, stream, count(*) FROM {book}.rejects WHERE resolved_at IS NULL "
            "GROUP BY 1, 2",
        )
        marks = {
            (project_id, stream): (complete, tail_until, traits)
            for project_id, stream, complete, tail_until, traits in await self._marks(connection)
        }
        runs = await self._latest_runs(driver)
        drift = await drift_by_stream(connection, self._tables)
        verified = await latest_verified(connection, self._tables)
        keys = {*since, *succeeded, *rejects, *runs, *drift, *verified}
        facts = []
        for key in sorted(keys):
            project_id, stream = key
            if project_id not in projects or stream not in watched.known:
                continue
            complete, tail_until, traits = marks.get(key, (Coverage(), None, None))
            troubles = _troubles(stream, runs.get(key, ()), complete, rejects.get(key, 0), traits)
            never = not complete.spans and tail_until is None
            unavailable = any(each.fault == Fault.UNAVAILABLE for each in troubles)
            facts.append(
                Facts(
                    project_id,
                    stream,
                    troubles,
                    rejects.get(key, 0),
                    [(each["table_name"], each["field"]) for each in drift.get(key, ())],
                    verified[key].differences if key in verified else 0,
                    succeeded.get(key),
                    since.get(key),
                    unavailable=never and unavailable and stream not in watched.named,
                )
            )
        return facts

    async def _by_stream(self, driver: Any, query: str) -> dict[_Stream, Any]:
        rows = await driver.fetch(query.replace("{book}", self._book))
        return {(project_id, stream): value for project_id, stream, value in rows}

    async def _marks(self, connection: AsyncConnection) -> Sequence[tuple[Any, ...]]:
        marks = self._tables.watermarks
        rows = await connection.execute(
            select(
                *(marks.c.project_id, marks.c.stream, marks.c.complete),
                *(marks.c.tail_until, marks.c.traits),
            )
        )
        return [(row[0], row[1], coverage_of(row[2]), row[3], row[4]) for row in rows]

    async def _latest_runs(self, driver: Any) -> Mapping[_Stream, Sequence[Mapping[str, Any]]]:
        rows = await driver.fetch(
            "SELECT r.project_id, r.stream, r.unit, r.status, r.reason, r.started_at, r.fault, "
            f"false AS held FROM {self._book}.checkpoints AS c, LATERAL (SELECT * FROM "
            f"{self._book}.runs AS r WHERE r.project_id = c.project_id AND r.stream = c.stream "
            f"AND r.unit = c.unit AND {_SAYING.format(book=self._book)} "
            "ORDER BY r.started_at DESC LIMIT 1) AS r WHERE c.unit <> ALL ($1::text[])",
            list(OF_VERIFY),
        )
        found: dict[_Stream, list[Mapping[str, Any]]] = {}
        for row in rows:
            found.setdefault((row["project_id"], row["stream"]), []).append(dict(row))
        return found

    async def _note(self, driver: Any, projects: Sequence[int], found: Mapping[Key, str]) -> None:
        """Write what began and what ended."""
        rows = await driver.fetch(
            "SELECT id, project_id, stream, kind, subject, detail "
            f"FROM {self._alerts} WHERE ended_at IS NULL AND project_id = ANY($1::bigint[])",
            self._own(projects),
        )
        before = {Key(row[1], row[2], Kind(row[3]), row[4]): (row[0], row[5]) for row in rows}
        now = changes(before, found)
        for key, detail in now.began.items():
            await driver.execute(
                f"INSERT INTO {self._alerts} (id, project_id, stream, kind, subject, detail, "
                "began_at, unwatched) VALUES ($1::uuid, $2, $3, $4, $5, $6, clock_timestamp(), "
                "false)",
                *(str(uuid.uuid4()), *key, detail),
            )
        for key in now.ended:
            unwatched = key.stream not in self._watched.known or (
                key.kind not in self._watched.rules.kinds
            )
            await driver.execute(
                f"UPDATE {self._alerts} SET ended_at = clock_timestamp(), unwatched = $2 "
                "WHERE id = $1",
                *(before[key][0], unwatched),
            )
        for key, detail in found.items():
            if key in before and before[key][1] != detail:
                await driver.execute(
                    f"UPDATE {self._alerts} SET detail = $2 WHERE id = $1",
                    *(before[key][0], detail),
                )

    async def _fill(self, driver: Any, projects: Sequence[int], channels: Collection[str]) -> None:
        """Write a message of each channel for each beginning and each end that has none."""
        await driver.execute(
            f"INSERT INTO {self._messages} (project_id, alert_id, channel, event, tried) "
            f"SELECT a.project_id, a.id, c, e, false FROM {self._alerts} AS a, "
            f"unnest($2::text[]) AS c, unnest(ARRAY['{Event.BEGAN}', '{Event.ENDED}']) AS e "
            "WHERE a.project_id = ANY($1::bigint[]) "
            f"AND (e = '{Event.BEGAN}' OR a.ended_at IS NOT NULL) ON CONFLICT DO NOTHING",
            *(self._own(projects), list(channels)),
        )

    async def _take(
        self, driver: Any, projects: Sequence[int], channels: Collection[str]
    ) -> Mapping[str, Sequence[Line]]:
        """Take what nobody tells at this moment; the messages of a channel go to one process."""
        rows = await driver.fetch(
            f"WITH free AS (SELECT m.* FROM {self._messages} AS m "
            "WHERE m.project_id = ANY($1::bigint[]) AND m.channel = ANY($2::text[]) "
            f"AND m.told_at IS NULL AND NOT EXISTS (SELECT FROM {self._messages} AS l "
            "WHERE l.channel = m.channel AND l.project_id = ANY($1::bigint[]) "
            "AND l.told_at IS NULL AND l.holder <> $3::uuid "
            "AND l.expires_at >= clock_timestamp())) "
            f"UPDATE {self._messages} AS m SET holder = $3::uuid, tried = true, "
            f"expires_at = clock_timestamp() + interval '{_TELLING_S} s' "
            f"FROM free, {self._alerts} AS a WHERE a.id = m.alert_id "
            "AND free.alert_id = m.alert_id AND free.channel = m.channel AND free.event = m.event "
            "RETURNING m.channel, m.event, free.tried, a.*",
            *(self._own(projects), list(channels), self._holder),
        )
        taken: dict[str, list[Line]] = {}
        for row in rows:
            line = Line(
                str(row["id"]),
                Key(row["project_id"], row["stream"], Kind(row["kind"]), row["subject"]),
                Event(row["event"]),
                row["detail"],
                row["began_at"],
                row["ended_at"],
                unwatched=row["unwatched"],
                repeated=row["tried"],
            )
            taken.setdefault(row["channel"], []).append(line)
        return {channel: sorted(lines, key=_order) for channel, lines in taken.items()}


def _order(line: Line) -> datetime:
    """Return when it happened: a stream may have failed, succeeded and failed again meanwhile."""
    return (line.ended_at if line.event is Event.ENDED else None) or line.began_at


def _troubles(
    stream: str,
    runs: Sequence[Mapping[str, Any]],
    complete: Coverage,
    rejects: int,
    traits: Mapping[str, Any] | None,
) -> list[Trouble]:
    filters = (traits or {}).get("date_filter") not in ("refused", "ignored")
    return [
        Trouble(each.status, each.fault, each.retry)
        for each in failures(stream, runs, complete, rejects, filters=filters)
    ]


async def open_alerts(database: Database, tables: Tables) -> Sequence[Mapping[str, Any]]:
    """Return the alerts that are open, the oldest first, with the channels that were told.

    Raises DestinationError.
    """
    book = quoted(tables.bookkeeping)
    async with database.transaction() as connection:
        driver = await driver_of(connection)
        rows = await driver.fetch(
            "SELECT a.project_id, a.stream, a.kind, a.subject, a.detail, a.began_at, "
            f"ARRAY(SELECT m.channel FROM {book}.alert_messages AS m WHERE m.alert_id = a.id "
            f"AND m.told_at IS NOT NULL AND m.event = '{Event.BEGAN}' ORDER BY 1) AS told "
            f"FROM {book}.alerts AS a WHERE a.ended_at IS NULL ORDER BY a.began_at, a.stream"
        )
    return [dict(row) for row in rows]
