"""Read the history of one stream, in equal stretches of time: lag, rows written, requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables

Row = Mapping[str, Any]


class LagPart(Struct, frozen=True):
    """The lag within one stretch of time.

    first_at, last_at: when its first and its last run ended. worst: the longest lag before one of
    them ended; None: not known. left: the lag after the last one.
    """

    first_at: datetime
    last_at: datetime
    worst: timedelta | None
    left: timedelta


class WorkPart(Struct, frozen=True):
    """What the runs that ended within one stretch of time have done. number: from 0."""

    number: int
    rows_inserted: int
    rows_updated: int
    requests: int


class Cost(Struct, frozen=True):
    """What the runs of one command took together. bytes_read: the size of the answers."""

    command: str
    runs: int
    requests: int
    bytes_read: int
    records_read: int
    waited_s: float


class StreamHistory(Struct, frozen=True):
    """The history of a stream from `since` to `until`, in stretches of `step`.

    compared: the latest results of `verify`, the newest first.
    """

    since: datetime
    until: datetime
    step: timedelta
    lag: Sequence[LagPart]
    work: Sequence[WorkPart]
    costs: Sequence[Cost]
    compared: Sequence[Row]


_COMPARED = (
    "table_name, since, until, how, source_count, destination_count, missing, surplus, different, "
    "checked_at, repaired_at"
)


async def stream_history(
    database: Database,
    tables: Tables,
    stream: tuple[int, str],
    length: timedelta,
    parts: int,
    compared: int,
) -> StreamHistory:
    """Return the history of the time `length` up to now, in so many parts.

    stream: project and name. compared: how many results of `verify`, at most. A run counts when it
    has ended; one that runs still, now. Raises DestinationError.
    """
    book = quoted(tables.bookkeeping)
    async with database.transaction() as connection:
        driver = await driver_of(connection)
        until: datetime = await driver.fetchval("SELECT clock_timestamp()")
        since, step = until - length, length / parts
        own = (
            "WITH own AS (SELECT r.*, coalesce(r.ended_at, $4::timestamptz) AS at "
            f"FROM {book}.runs AS r WHERE r.project_id = $1::bigint AND r.stream = $2::text "
            "AND coalesce(r.ended_at, $4::timestamptz) BETWEEN $3::timestamptz "
            "AND $4::timestamptz) "
        )
        # The last stretch has both of its ends.
        part = (
            "least(floor(extract(epoch FROM at - $3::timestamptz) "
            "/ extract(epoch FROM $5::interval))::int, $6::int - 1)"
        )
        given = (*stream, since, until, step, parts)
        lag = await driver.fetch(
            f"{own}, known AS (SELECT at, complete_until, lag(complete_until, 1, "
            f"(SELECT b.complete_until FROM {book}.runs AS b WHERE b.project_id = $1::bigint "
            "AND b.stream = $2::text AND b.ended_at < $3::timestamptz "
            "AND b.complete_until IS NOT NULL ORDER BY b.ended_at DESC LIMIT 1)) "
            "OVER (ORDER BY at) AS was FROM own WHERE complete_until IS NOT NULL) "
            "SELECT min(at), max(at), max(at - was), "
            "(array_agg(at - complete_until ORDER BY at DESC))[1] "
            f"FROM known GROUP BY {part} ORDER BY 1",
            *given,
        )
        work = await driver.fetch(
            f"{own} SELECT {part}, sum(rows_inserted)::bigint, sum(rows_updated)::bigint, "
            "sum(requests)::bigint FROM own GROUP BY 1 ORDER BY 1",
            *given,
        )
        costs = await driver.fetch(
            f"{own} SELECT command, count(*), sum(requests)::bigint, sum(bytes_read)::bigint, "
            "sum(records_read)::bigint, sum(waited_s) FROM own GROUP BY 1 ORDER BY 3 DESC, 1",
            *given[:4],
        )
        results = await driver.fetch(
            f"SELECT {_COMPARED} FROM {book}.reconciliations WHERE project_id = $1::bigint "
            "AND stream = $2::text ORDER BY checked_at DESC, until DESC, table_name, how LIMIT $3",
            *(*stream, compared),
        )
    return StreamHistory(
        since,
        until,
        step,
        [LagPart(*row) for row in lag],
        [WorkPart(*row) for row in work],
        [Cost(*row) for row in costs],
        [dict(row) for row in results],
    )
