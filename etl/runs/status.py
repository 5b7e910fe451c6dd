"""How far each stream is, for `status`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from etl.core.coverage import Span
from etl.core.expected import Counted, unaccounted_of
from etl.core.outliers import hint_before, known_before
from etl.core.statuses import Chosen
from etl.core.stream import Mode
from etl.loaders.database import Database
from etl.loaders.history import History
from etl.loaders.parents import ParentRows
from etl.loaders.queue import Jobs, count_jobs
from etl.loaders.tables import Tables
from etl.streams.queries import stream_named

_ALL = Chosen()


class StatusReport(Struct, frozen=True):
    """What `status` shows: a row per project and stream, and what is on the queue per project.

    never_run: the streams that are on and have not run yet, per project.
    """

    streams: Sequence[dict[str, Any]]
    queue: Mapping[int, Jobs]
    never_run: Mapping[int, Sequence[str]] = {}


async def read_status(
    database: Database,
    tables: Tables,
    start: datetime,
    recheck_after: timedelta,
    chosen: Chosen = _ALL,
    *,
    counts: bool = False,
    is_removed: Callable[[str], bool] = lambda _: False,
    on: Sequence[str] = (),
) -> StatusReport:
    """Return how far each chosen stream is. Raises DestinationError.

    counts: whether the rows of each table are counted, too; that reads the tables. is_removed:
    tells which stream is no longer configured; it is left out. on: the streams that a sync reads.

    complete: what is known complete. holes: what is not, from `start` on. incremental: whether
    the server lets us read only what is young; reads_front: whether its count tells when that is
    not enough. unaccounted: how many rows of its count are not explained. turns: the state of
    a rotation; None for other streams. read_fast_share: of the last run, see `read_fast_share`.
    lag_s: the age of what is known complete, in seconds; None if nothing is. rows: how many rows
    each table holds, without deleted ones; empty without `counts`.
    """
    history, parents = History(database, tables), ParentRows(database, tables)
    rows = [dict(row) for row in await history.status(is_removed) if chosen.has(row)]
    for row in rows:
        stream = stream_named(row["stream"])
        row["turns"], row["read_fast_share"] = None, read_fast_share(row)
        if stream is not None and stream.mode is Mode.ROTATION:
            asked_for = stream.resources[0].parents
            assert asked_for is not None
            row["turns"] = await parents.rotation_state(
                row["project_id"], stream.name, asked_for, recheck_after
            )
    now = await history.database_now()
    for row in rows:
        stream = stream_named(row["stream"])
        specs = stream.tables if counts and stream is not None else ()
        row["rows"] = await history.row_counts(row["project_id"], specs) if specs else {}
        known_until = row["complete"].until or row["tail_until"]
        row["lag_s"] = None if known_until is None else (now - known_until).total_seconds()
    for row in rows:
        complete, traits = row["complete"], row.pop("traits") or {}
        before = known_before(traits, start, complete)
        row["before_start"] = before
        row["before_start_hint"] = before and hint_before(row["stream"], start)
        row["unaccounted"] = unaccounted_of(traits)
        row["reads_front"] = Counted.of(traits) is not None
        row["incremental"] = traits.get("date_filter") not in ("refused", "ignored")
        until = complete.until
        within = None if until is None else Span(start, max(until, start))
        row["holes"] = [] if within is None else complete.holes(within)
    never_run: dict[int, Sequence[str]] = {}
    if chosen.is_all:
        ran = {(row["project_id"], row["stream"]) for row in rows}
        for project_id in sorted({project_id for project_id, _ in ran}):
            never_run[project_id] = [name for name in on if (project_id, name) not in ran]
    return StatusReport(rows, await count_jobs(database, tables), never_run)


def read_fast_share(run: Mapping[str, Any]) -> float | None:
    """Return which part of a run's records was typed from their bytes, 0 to 1.

    None if it read none, or for a stream whose records never are.
    """
    stream = stream_named(run["stream"])
    is_typed = stream is not None and any(each.reader for each in stream.resources)
    if not is_typed or not run["records_read"]:
        return None
    return float(run["records_read_fast"] / run["records_read"])
