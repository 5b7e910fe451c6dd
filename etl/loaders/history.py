"""Read and write what users see: runs, watermarks, status."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    exists,
    false,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import TSTZMULTIRANGE, distinct_on, insert

from etl.core.clocks import PastRun
from etl.core.coverage import Coverage, Span
from etl.core.expected import Change, Counted
from etl.core.forecast import Forecast
from etl.core.statuses import Chosen, Fault, failures, retried, state_of
from etl.core.stream import OF_VERIFY, Stream, TableSpec
from etl.errors import DestinationError
from etl.loaders.database import Database
from etl.loaders.drift import drift_by_stream
from etl.loaders.driver import driver_of
from etl.loaders.leases import NO_WAIT, Lease, Unit, new_run
from etl.loaders.query_tables import is_there
from etl.loaders.row_counts import COUNTED_ROWS, Count, estimate, large_tables
from etl.loaders.seen_runs import (
    is_chosen,
    last_successes,
    run_columns,
    still_holds,
    waits_by_stream,
)
from etl.loaders.statements import expires_by_rule, quoted
from etl.loaders.tables import Tables
from etl.loaders.verified import latest_verified
from etl.waits import Wait

_UNIT = ("project_id", "stream", "unit")
OLDEST_SERVER = 150_000  # PostgreSQL 15, as server_version_num has it


class Watermark(Struct, frozen=True):
    """How far a stream is known complete, and how its server was found to behave.

    tail_until: where the next sync goes on.
    swept: when each grade of the lookback was read.
    """

    complete: Coverage = field(default_factory=Coverage)
    tail_until: datetime | None = None
    swept: Mapping[str, datetime] = field(default_factory=dict)
    traits: Mapping[str, Any] | None = None


class StoredReject(Struct, frozen=True):
    """A rejected record, and when it was observed. table: that it would fill; None: not known."""

    key: str
    payload: Any
    observed_at: datetime
    table: str | None


class RunEnd(Struct, frozen=True):
    """How a run ended, as its row keeps it.

    requests, bytes_read: since the last commit.
    waited_s: for the whole run. paused_for_s: until it may go on, None if it is not paused.
    query_bytes: how many bytes the server read for the run's queries, and how many its budget had
    left; None if it asked no query. fault: what is at fault; None if it is no `Fault`.
    """

    status: str
    reason: str | None
    requests: int = 0
    bytes_read: int = 0
    waited_s: float = 0.0
    paused_for_s: float | None = None
    forecast: Forecast | None = None
    query_bytes: tuple[int, int | None] | None = None
    fault: Fault | None = None


class History:
    """Run history and watermarks."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def database_now(self) -> datetime:
        """Return the database's time, which all processes share. Raises DestinationError."""
        async with self._database.transaction() as connection:
            now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        return now

    async def hosts(self) -> Sequence[str]:
        """Return the addresses of the source, the first one first. Raises DestinationError."""
        table = self._tables.hosts
        async with self._database.transaction() as connection:
            found = await connection.execute(select(table.c.host).order_by(table.c.since))
            return list(found.scalars())

    async def add_host(self, host: str) -> None:
        """Note that the source has this address. Safe to repeat. Raises DestinationError."""
        row = insert(self._tables.hosts).values(host=host, since=func.now())
        async with self._database.transaction() as connection:
            await connection.execute(row.on_conflict_do_nothing())

    async def watermark(self, unit: Unit) -> Watermark:
        """Return the stream's watermarks, empty at first. Raises DestinationError."""
        table = self._tables.watermarks
        async with self._database.transaction() as connection:
            row = (
                await connection.execute(
                    select(
                        table.c.complete, table.c.tail_until, table.c.swept, table.c.traits
                    ).where(table.c.project_id == unit.project_id, table.c.stream == unit.stream)
                )
            ).first()
        if row is None:
            return Watermark()
        return Watermark(
            complete=coverage_of(row.complete),
            tail_until=row.tail_until,
            swept={age: datetime.fromisoformat(at) for age, at in (row.swept or {}).items()},
            traits=row.traits,
        )

    async def past_runs(self, unit: Unit) -> Sequence[PastRun]:
        """Return the unit's runs that have ended, the latest first. Raises DestinationError."""
        runs = self._tables.runs
        query = (
            select(runs.c.started_at, runs.c.status, runs.c.records_read)
            .where(unit.of(runs), runs.c.ended_at.is_not(None))
            .order_by(runs.c.started_at.desc())
        )
        async with self._database.transaction() as connection:
            found = await connection.execute(query)
            return [PastRun(at, status == "succeeded", read) for at, status, read in found]

    async def why_unavailable(self, unit: Unit) -> str | None:
        """Return why the source refused the unit's latest run that has ended; None if it did not.

        Raises DestinationError.
        """
        runs = self._tables.runs
        query = (
            select(runs.c.fault, runs.c.reason)
            .where(unit.of(runs), runs.c.ended_at.is_not(None))
            .order_by(runs.c.started_at.desc())
            .limit(1)
        )
        async with self._database.transaction() as connection:
            row = (await connection.execute(query)).first()
        return row.reason if row is not None and row.fault == Fault.UNAVAILABLE else None

    async def cut_back(self, unit: Unit, until: datetime | None) -> None:
        """Forget what is known complete after `until`; None: all of it. Safe to repeat.

        Raises DestinationError.
        """
        table = self._tables.watermarks
        kept = func.tstzmultirange(func.tstzrange(None, until), type_=TSTZMULTIRANGE())
        empty = func.tstzmultirange(type_=TSTZMULTIRANGE())
        async with self._database.transaction() as connection:
            await connection.execute(
                update(table)
                .where(table.c.project_id == unit.project_id, table.c.stream == unit.stream)
                .values(
                    complete=empty if until is None else table.c.complete * kept,
                    tail_until=None if until is None else func.least(table.c.tail_until, until),
                    updated_at=func.now(),
                )
            )

    async def count_started(self, unit: Unit, stream: Stream, spans: Sequence[Span]) -> int:
        """Return how many stored records of the project, not gone, start within `spans`.

        Raises DestinationError.
        """
        table = self._tables.data[stream.tables[0].name]
        started = table.c[stream.started or ""]
        query = select(func.count()).where(
            table.c.project_id == unit.project_id,
            or_(false(), *(and_(started >= since, started < until) for since, until in spans)),
            *alive(table),
        )
        async with self._database.transaction() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def change_since(
        self, unit: Unit, spec: TableSpec, counted: Counted, now: datetime
    ) -> Change:
        """Return how the records of the unit's stream have changed since they were counted.

        Raises DestinationError.
        """
        expires = "NULL::timestamptz"
        if spec.expiry is not None:
            by_rule = expires_by_rule(spec.expiry, "t", f"t.{quoted(spec.expiry.days)}")
            expires = f"coalesce(t.{quoted(spec.expiry.at)}, {by_rule})"
        query = (
            "SELECT count(*) FILTER (WHERE t._first_seen_at > $2::timestamptz), count(*) FILTER "
            "(WHERE t._deleted_at > $2::timestamptz), count(*) FILTER (WHERE t._deleted_at IS NULL "
            f"AND {expires} >= $3::timestamptz AND {expires} < $4::timestamptz), (SELECT count(*) "
            f"FROM {quoted(self._tables.bookkeeping)}.rejects AS r WHERE r.project_id = $1::bigint "
            "AND r.stream = $5::text AND r.resolved_at IS NULL "
            "AND r.first_seen_at > $2::timestamptz) "
            f"FROM {quoted(self._tables.schema)}.{quoted(spec.name)} AS t "
            "WHERE t.project_id = $1::bigint"
        )
        since, until = counted.expiring(now)
        async with self._database.transaction() as connection:
            driver = await driver_of(connection)
            row = await driver.fetchrow(
                query, unit.project_id, counted.loaded_at, since, until, unit.stream
            )
        new, gone, expiring, set_aside = row
        return Change(new=new + set_aside, gone=gone, expiring=expiring)

    async def read_since(self, project_id: int, stream: str, at: datetime) -> set[str]:
        """Return the windows that were read to their end in a reading that began after `at`.

        Raises DestinationError.
        """
        runs = self._tables.runs
        query = select(runs.c.unit).where(
            runs.c.project_id == project_id,
            runs.c.stream == stream,
            runs.c.command == "backfill",
            runs.c.status == "succeeded",
            runs.c.started_at >= at,
        )
        async with self._database.transaction() as connection:
            return set((await connection.execute(query)).scalars())

    async def note_wait(self, lease: Lease, wait: Wait | None, waited_s: float) -> None:
        """Note what the run waits for from now on; None: it goes on. Safe to repeat.

        waited_s: how long it has waited before, in seconds. Raises DestinationError.
        """
        runs, now = self._tables.runs, func.clock_timestamp()
        noted = dict(NO_WAIT)
        if wait is not None:
            left_s = wait.left_s
            noted = {
                "waiting_for": str(wait.cause),
                "waiting_since": now - timedelta(seconds=wait.waited_s),
                "waiting_until": None if left_s is None else now + timedelta(seconds=left_s),
            }
        async with self._database.transaction() as connection:
            await connection.execute(
                update(runs)
                .where(runs.c.id == lease.run_id, runs.c.status == "running")
                .values(**noted, waited_s=waited_s)
            )

    async def finish(self, lease: Lease, end: RunEnd) -> Mapping[str, Any]:
        """Close the run and return its row. A run that was closed already stays unchanged.

        If the database has lost the run, its row is written again, so that the failure can be seen.

        Raises DestinationError.
        """
        runs = self._tables.runs
        bytes_read, bytes_left = end.query_bytes or (None, None)
        paused_until = (
            None
            if end.paused_for_s is None
            else func.clock_timestamp() + timedelta(seconds=end.paused_for_s)
        )
        async with self._database.transaction() as connection:
            await connection.execute(
                insert(runs)
                .values(**new_run(lease.unit, lease.run_id, lease.command))
                .on_conflict_do_nothing(constraint="runs_pkey")
            )
            await connection.execute(
                update(runs)
                .where(runs.c.id == lease.run_id, runs.c.status == "running")
                .values(
                    complete_until=self._complete_until(lease.unit).scalar_subquery(),
                    status=end.status,
                    reason=end.reason,
                    fault=end.fault,
                    ended_at=func.clock_timestamp(),
                    paused_until=paused_until,
                    requests=runs.c.requests + end.requests,
                    bytes_read=runs.c.bytes_read + end.bytes_read,
                    waited_s=end.waited_s,
                    **NO_WAIT,
                    forecast_requests=None if end.forecast is None else end.forecast.requests,
                    forecast_exact=None if end.forecast is None else end.forecast.exact,
                    query_bytes_read=bytes_read,
                    query_bytes_left=bytes_left,
                )
            )
            found = await connection.execute(select(runs).where(runs.c.id == lease.run_id))
            return dict(found.mappings().one())

    def _complete_until(self, unit: Unit) -> Select[Any]:
        """Return the query of the instant up to which the unit's stream is known complete."""
        marks = self._tables.watermarks
        return select(func.coalesce(func.upper(marks.c.complete), marks.c.tail_until)).where(
            marks.c.project_id == unit.project_id, marks.c.stream == unit.stream
        )

    async def server_version(self) -> str:
        """Return name and version of the server. Raises DestinationError if it is too old."""
        async with self._database.transaction() as connection:
            version = (await connection.execute(select(func.version()))).scalar_one()
            number = (
                await connection.execute(select(func.current_setting("server_version_num")))
            ).scalar_one()
        if int(number) < OLDEST_SERVER:
            raise DestinationError(
                f"{version.split(' on ')[0]} is too old",
                remedy="posthog-etl needs PostgreSQL 15 or newer",
            )
        return str(version.split(" on ")[0])

    async def may_create(self) -> bool:
        """Tell whether our role may create schemas in this database. Raises DestinationError."""
        async with self._database.transaction() as connection:
            granted = await connection.execute(
                select(func.has_database_privilege(func.current_database(), "CREATE"))
            )
            return bool(granted.scalar_one())

    async def runs(self, limit: int, chosen: Chosen) -> Sequence[Mapping[str, Any]]:
        """Return the latest `limit` of the chosen runs, newest first. Raises DestinationError.

        `held`: whether it still holds its unit.
        """
        query = (
            select(*run_columns(self._tables), still_holds(self._tables).label("held"))
            .where(*is_chosen(self._tables, chosen))
            .order_by(self._tables.runs.c.started_at.desc())
            .limit(limit)
        )
        async with self._database.transaction() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def runs_since(self, at: datetime) -> Sequence[Mapping[str, Any]]:
        """Return the runs that have ended since `at`, and those that are still running.

        Raises DestinationError.
        """
        runs = self._tables.runs
        query = select(*run_columns(self._tables)).where(
            or_(runs.c.ended_at.is_(None), runs.c.ended_at >= at)
        )
        async with self._database.transaction() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def status(
        self, is_removed: Callable[[str], bool] = lambda _: False
    ) -> Sequence[Mapping[str, Any]]:
        """Return one row per project and stream: watermarks, last run, rows, rejects, lease.

        is_removed: tells which stream is no longer configured; it is left out.
        failures: the failures that still count. retried: the one that is being read again now.
        status, reason: those of the worst failure; without one, those of the last run. The runs of
        `verify` do not count. verified: see `Verified`, None if nothing was. waiting: what its
        living runs wait for, also those of `verify`. succeeded_at: when the latest run that brought
        the stream up to date has ended, None if none has.

        Raises DestinationError.
        """
        t = self._tables
        async with self._database.transaction() as connection:
            latest = (
                select(*run_columns(t))
                .where(t.runs.c.unit.not_in(OF_VERIFY))
                .ext(distinct_on(t.runs.c.project_id, t.runs.c.stream))
                .order_by(t.runs.c.project_id, t.runs.c.stream, t.runs.c.started_at.desc())
                .subquery()
            )
            rejects = (
                select(t.rejects.c.project_id, t.rejects.c.stream, func.count().label("rejects"))
                .where(t.rejects.c.resolved_at.is_(None))
                .group_by(t.rejects.c.project_id, t.rejects.c.stream)
                .subquery()
            )
            leases, marks = t.leases, t.watermarks
            found = await connection.execute(
                select(
                    latest,
                    marks.c.complete,
                    marks.c.tail_until,
                    marks.c.traits,
                    func.coalesce(rejects.c.rejects, 0).label("rejects"),
                    (leases.c.holder.is_not(None) & (leases.c.expires_at >= func.now())).label(
                        "held"
                    ),
                )
                .outerjoin(
                    marks,
                    and_(
                        marks.c.project_id == latest.c.project_id,
                        marks.c.stream == latest.c.stream,
                    ),
                )
                .outerjoin(
                    rejects,
                    and_(
                        rejects.c.project_id == latest.c.project_id,
                        rejects.c.stream == latest.c.stream,
                    ),
                )
                .outerjoin(
                    leases,
                    and_(
                        leases.c.project_id == latest.c.project_id,
                        leases.c.stream == latest.c.stream,
                        leases.c.unit == latest.c.unit,
                    ),
                )
                .order_by(latest.c.project_id, latest.c.stream)
            )
            rows = [
                {**row, "complete": coverage_of(row["complete"])}
                for row in found.mappings()
                if not is_removed(row["stream"])
            ]
            of_units: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
            for run in (await connection.execute(self._latest_of_units())).mappings():
                of_units.setdefault((run["project_id"], run["stream"]), []).append(dict(run))
            drift = await drift_by_stream(connection, t)
            verified = await latest_verified(connection, t)
            waits = await waits_by_stream(connection, t)
            succeeded = await last_successes(connection, t)
        for row in rows:
            row["succeeded_at"] = succeeded.get((row["project_id"], row["stream"]))
            row["waiting"] = waits.get((row["project_id"], row["stream"]), [])
            for name in NO_WAIT:
                del row[name]
            row["verified"] = verified.get((row["project_id"], row["stream"]))
            row["drift"] = drift.get((row["project_id"], row["stream"]), [])
            filters = (row["traits"] or {}).get("date_filter") not in ("refused", "ignored")
            units = of_units.get((row["project_id"], row["stream"]), [])
            row["failures"] = failures(
                row["stream"], units, row["complete"], row["rejects"], filters=filters
            )
            row["retried"] = retried(row["stream"], units, row["rejects"])
            row.update(state_of(row, row["failures"]))
        return rows

    def _latest_of_units(self) -> Select[Any]:
        """Return the query of the latest run of each unit, with `held`.

        `was_status`, `was_reason` and `was_started_at` are those of the latest run before it that
        has ended.
        """
        t = self._tables
        same = [t.runs.c[name] == t.checkpoints.c[name] for name in _UNIT]
        # Unit by unit, as runs are indexed so: then the total number of runs does not matter.
        latest = (
            select(t.runs)
            .where(*same)
            .order_by(t.runs.c.started_at.desc())
            .limit(1)
            .lateral("latest")
        )
        before = (
            select(t.runs)
            .where(*same, t.runs.c.ended_at.is_not(None), t.runs.c.id != latest.c.id)
            .order_by(t.runs.c.started_at.desc())
            .limit(1)
            .lateral("before")
        )
        alive = and_(t.leases.c.holder == latest.c.id, t.leases.c.expires_at >= func.now())
        held = exists().where(alive, *(t.leases.c[name] == latest.c[name] for name in _UNIT))
        columns = [latest.c[name] for name in (*_UNIT, "status", "reason", "started_at", "fault")]
        columns += [before.c[n].label(f"was_{n}") for n in ("status", "reason", "started_at")]
        query = (
            select(*columns, held.label("held"))
            .select_from(t.checkpoints)
            .join(latest, true())
            .outerjoin(before, and_(latest.c.status == "running", true()))
        )
        # What a comparison found is said apart.
        return query.where(t.checkpoints.c.unit.not_in(OF_VERIFY))

    async def leases_held(self) -> Mapping[tuple[int, str], int]:
        """Return how many units are held, by project and stream. Raises DestinationError."""
        leases = self._tables.leases
        query = (
            select(leases.c.project_id, leases.c.stream, func.count())
            .where(leases.c.holder.is_not(None), leases.c.expires_at >= func.now())
            .group_by(leases.c.project_id, leases.c.stream)
        )
        async with self._database.transaction() as connection:
            return {(row[0], row[1]): row[2] for row in await connection.execute(query)}

    async def unresolved(self, project_id: int, stream: str) -> Sequence[StoredReject]:
        """Return the unresolved rejects, earliest observed first. Raises DestinationError."""
        table = self._tables.rejects
        async with self._database.transaction() as connection:
            found = await connection.execute(
                select(
                    table.c.record_key, table.c.payload, table.c.last_seen_at, table.c.table_name
                )
                .where(
                    table.c.project_id == project_id,
                    table.c.stream == stream,
                    table.c.resolved_at.is_(None),
                )
                .order_by(table.c.last_seen_at, table.c.record_key)
            )
            return [StoredReject(*row) for row in found]

    async def unresolved_count(self, project_id: int, stream: str) -> int:
        """Return how many rejects are unresolved. Raises DestinationError."""
        table = self._tables.rejects
        query = select(func.count()).where(
            table.c.project_id == project_id,
            table.c.stream == stream,
            table.c.resolved_at.is_(None),
        )
        async with self._database.transaction() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def rejects(self, limit: int, *, resolved: bool) -> Sequence[Mapping[str, Any]]:
        """Return the latest `limit` rejects, without payload. Raises DestinationError."""
        table = self._tables.rejects
        columns = [column for column in table.c if column.name != "payload"]
        query = select(*columns).order_by(table.c.last_seen_at.desc(), table.c.record_key)
        if not resolved:
            query = query.where(table.c.resolved_at.is_(None))
        async with self._database.transaction() as connection:
            found = await connection.execute(query.limit(limit))
            return [dict(row) for row in found.mappings()]

    async def reject(self, key: str) -> Sequence[Mapping[str, Any]]:
        """Return the rejects with this key, with their payload. Raises DestinationError.

        There may be several, of different streams or projects.
        """
        table = self._tables.rejects
        query = select(table).where(table.c.record_key == key)
        async with self._database.transaction() as connection:
            found = await connection.execute(query.order_by(table.c.project_id, table.c.stream))
            return [dict(row) for row in found.mappings()]

    async def projects_with_rejects(self, stream: str) -> Sequence[int]:
        """Return the projects that have rejected records in `stream`. Raises DestinationError."""
        table = self._tables.rejects
        async with self._database.transaction() as connection:
            found = await connection.execute(
                select(table.c.project_id)
                .distinct()
                .where(table.c.stream == stream, table.c.resolved_at.is_(None))
                .order_by(table.c.project_id)
            )
            return list(found.scalars())

    async def row_counts(
        self, project_id: int, specs: Sequence[TableSpec], counted_rows: int = COUNTED_ROWS
    ) -> Mapping[str, Count]:
        """Return how many rows of the project each data table holds. Raises DestinationError.

        For a table with over `counted_rows` rows it is the server's own estimate. The table of a
        query that has not run yet is left out.
        """
        counts = {}
        async with self._database.transaction() as connection:
            large: dict[str, set[str]] = {}
            for spec in specs:
                tables = self._tables.queried if spec.queried else self._tables
                schema = tables.schema
                if schema not in large:
                    large[schema] = await large_tables(connection, schema, counted_rows)
                if spec.queried and not await is_there(connection, self._tables, spec.name):
                    continue
                table = tables.table(spec)
                own = [table.c.project_id == project_id]
                if spec.name in large[schema]:
                    counts[spec.name] = await estimate(connection, table, own)
                    continue
                found = await connection.execute(select(func.count()).where(*own, *alive(table)))
                counts[spec.name] = Count(found.scalar_one())
        return counts


def alive(table: FromClause) -> list[ColumnElement[bool]]:
    """Return the conditions that a row is neither deleted nor expired at the source."""
    marks = [table.c[name] for name in ("_deleted_at", "_expired_at") if name in table.c]
    # As one condition: see `is_alive`.
    return [func.coalesce(*marks).is_(None)]


def coverage_of(multirange: Any) -> Coverage:
    """Return what a column of a watermark says is complete."""
    return Coverage(tuple(Span(part.lower, part.upper) for part in multirange or ()))
