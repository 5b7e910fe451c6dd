"""Reads from the database what the page shows: a few statements, one reader at a time."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from etl.app import Destination
from etl.core.lookback import parse_duration
from etl.core.statuses import PAUSED, RUNNING, asked_share
from etl.core.stream import Mode
from etl.errors import DestinationUnavailable
from etl.loaders.history import History
from etl.loaders.parents import ParentRows
from etl.loaders.queue import count_jobs
from etl.loaders.row_counts import Count
from etl.loaders.status_queries import StatusQueries
from etl.service.page.overview import (
    Bar,
    Books,
    Overview,
    Source,
    bars_of,
    build,
    share_of,
    state_of,
)
from etl.settings import Settings
from etl.streams.queries import stream_named

SHOWN_RUNS = 30
SHOWN_REJECTS = 50
SHOWN_LATEST_REJECTS = 5
# However many browsers ask, the database is read once in this many seconds.
_FRESH_S = 1.0
# Counting rows is the slowest part; it takes at most this share of the time.
_COUNTING_SHARE = 0.05
_COUNT_EVERY_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run, its rejects, and the runs of the same unit before and after it.

    tables: those that its stream fills.
    """

    run: Mapping[str, Any]
    state: str
    seconds: float
    bars: tuple[Bar, ...]
    rejected: int
    rejects: Sequence[Mapping[str, Any]]
    tables: tuple[str, ...] = ()


class Look:
    """Reads what the pages show. Every method raises DestinationError."""

    def __init__(self, destination: Destination, settings: Settings) -> None:
        self._destination = destination
        self._queries = StatusQueries(destination.database, destination.tables)
        self._history = History(destination.database, destination.tables)
        self._source = Source(
            host=settings.host,
            schema=settings.schema_name,
            start=settings.start,
            streams=tuple(
                name
                for name, stream in settings.catalogue.items()
                if name not in settings.disabled_streams
                and (not stream.off or name in settings.enabled_streams)
            ),
        )
        self._parents = ParentRows(destination.database, destination.tables)
        self._recheck_after = parse_duration(settings.sharing_recheck)
        self._asked: Mapping[tuple[int, str], str | None] = {}
        self._is_removed = settings.is_removed
        self._one_at_a_time = asyncio.Lock()
        self._seen: tuple[float, Overview] | None = None
        self._counts: Mapping[tuple[int, str], Count] = {}
        self._counted: set[tuple[int, str]] = set()
        self._counted_at: datetime | None = None
        self._count_next_s = 0.0

    async def overview(self) -> Overview:
        """Return the whole page, at most a second old."""
        async with self._one_at_a_time:
            if self._seen is None or time.monotonic() - self._seen[0] >= _FRESH_S:
                found = await _twice(self._overview)
                self._seen = (time.monotonic(), found)
            return self._seen[1]

    async def run(self, run_id: str) -> RunPage | None:
        """Return the run with this id, None if there is none."""
        try:
            wanted = str(uuid.UUID(run_id))
        except ValueError:
            return None
        return await _twice(lambda: self._run(wanted))

    async def _overview(self) -> Overview:
        at, recent = await self._queries.recent_runs(SHOWN_RUNS)
        status = await self._history.status(self._is_removed)
        backfilling = {
            (run["project_id"], run["stream"])
            for run in recent
            if run["command"] == "backfill" and run["status"] in (RUNNING, PAUSED)
        }
        windows = await self._queries.windows(sorted(backfilling)) if backfilling else []
        counts = await self._row_counts({(row["project_id"], row["stream"]) for row in status}, at)
        queue = await count_jobs(self._destination.database, self._destination.tables)
        rejects = await self._history.rejects(SHOWN_LATEST_REJECTS, resolved=False)
        books = Books(
            status, recent, counts, windows, queue, self._asked, rejects, self._counted_at
        )
        return build(at, self._source, books)

    async def _row_counts(
        self, wanted: set[tuple[int, str]], at: datetime
    ) -> Mapping[tuple[int, str], Count]:
        """Return the rows of each stream, counted at `at` or a while before."""
        began_s = time.monotonic()
        if began_s >= self._count_next_s or wanted != self._counted:
            shares = [
                share
                for name in sorted({stream for _, stream in wanted})
                if (share := share_of(name, [p for p, stream in wanted if stream == name]))
            ]
            self._counts, self._counted = await self._queries.row_counts(shares), wanted
            self._asked = await self._asked_shares(wanted)
            self._counted_at = at
            took_s = time.monotonic() - began_s
            self._count_next_s = began_s + max(_COUNT_EVERY_S, took_s / _COUNTING_SHARE)
        return self._counts

    async def _asked_shares(
        self, wanted: set[tuple[int, str]]
    ) -> Mapping[tuple[int, str], str | None]:
        """Return which part of its resources each rotation has asked about; that reads them all."""
        shares: dict[tuple[int, str], str | None] = {}
        for project_id, name in sorted(wanted):
            stream = stream_named(name)
            if stream is None or stream.mode is not Mode.ROTATION:
                continue
            parents = stream.resources[0].parents
            assert parents is not None
            turns = await self._parents.rotation_state(
                project_id, name, parents, self._recheck_after
            )
            shares[project_id, name] = asked_share(turns.resources, turns.never_checked)
        return shares

    async def _run(self, run_id: str) -> RunPage | None:
        run = await self._queries.run(run_id)
        if run is None:
            return None
        unit_runs = await self._queries.unit_runs(run, SHOWN_RUNS // 2)
        stream = stream_named(run["stream"])
        rejected, rejects = await self._queries.set_aside(run, SHOWN_REJECTS)
        return RunPage(
            run=run,
            state=state_of(run),
            seconds=((run["ended_at"] or run["now"]) - run["started_at"]).total_seconds(),
            tables=() if stream is None else tuple(table.name for table in stream.tables),
            bars=bars_of(unit_runs, run["now"]),
            rejected=rejected,
            rejects=rejects,
        )


async def _twice(work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`, and again if the connection broke: after a restart the pool holds dead ones."""
    try:
        return await work()
    except DestinationUnavailable:
        return await work()
