"""Reads from the database what the page shows: a few statements, one reader at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etl.app import Destination
from etl.core.lookback import parse_duration
from etl.core.statuses import PAUSED, RUNNING, Chosen, asked_share
from etl.core.stream import Mode
from etl.loaders.alerts import open_alerts
from etl.loaders.budget import used
from etl.loaders.history import History
from etl.loaders.listing import Listing
from etl.loaders.parents import ParentRows
from etl.loaders.queue import count_jobs
from etl.loaders.row_counts import Count
from etl.loaders.status_queries import StatusQueries
from etl.loaders.stream_history import stream_history
from etl.service.page import rejects, runs, stream
from etl.service.page.filters import LENGTHS, Given, read_length, read_rejects, read_runs
from etl.service.page.fresh import Fresh
from etl.service.page.overview import (
    Bar,
    Books,
    Line,
    Overview,
    Source,
    bars_of,
    build,
    share_of,
    state_of,
)
from etl.service.page.rejects import RejectsPage, rejects_page
from etl.service.page.runs import RunsPage, runs_page
from etl.service.page.stream import StreamPage, stream_page
from etl.settings import Settings
from etl.streams.queries import stream_named

SHOWN_RUNS = 30
SHOWN_REJECTS = 50
SHOWN_LATEST_REJECTS = 5
# Counting rows is the slowest part; it takes at most this share of the time.
_COUNTING_SHARE = 0.05
_COUNT_EVERY_S = 10.0


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

    def __init__(
        self, destination: Destination, settings: Settings, ticks: Mapping[str, datetime]
    ) -> None:
        self._destination = destination
        self._ticks = ticks
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
            limits=settings.limits_with_share,
        )
        self._parents = ParentRows(destination.database, destination.tables)
        self._recheck_after = parse_duration(settings.sharing_recheck)
        self._asked: Mapping[tuple[int, str], str | None] = {}
        self._is_removed = settings.is_removed
        self._tells_alerts = settings.tells_alerts
        self._listing = Listing(destination.database, destination.tables)
        self._catalogue = tuple(settings.catalogue)
        self._overviews: Fresh[Overview] = Fresh()
        self._run_pages: Fresh[RunPage | None] = Fresh()
        self._stream_pages: Fresh[StreamPage | None] = Fresh()
        self._runs_pages: Fresh[RunsPage] = Fresh()
        self._rejects_pages: Fresh[RejectsPage] = Fresh()
        self._oldest: Mapping[tuple[int, str], datetime] = {}
        self._counts: Mapping[tuple[int, str], Count] = {}
        self._counted: set[tuple[int, str]] = set()
        self._counted_at: datetime | None = None
        self._count_next_s = 0.0

    async def overview(self) -> Overview:
        """Return the whole page, at most a second old."""
        return await self._overviews.get((), self._overview)

    async def run(self, run_id: str) -> RunPage | None:
        """Return the run with this id, None if there is none."""
        try:
            wanted = str(uuid.UUID(run_id))
        except ValueError:
            return None
        return await self._run_pages.get(wanted, lambda: self._run(wanted))

    async def stream(self, project: str, name: str, given: Given) -> StreamPage | None:
        """Return the page of a stream, None if it has not run or is not configured any more.

        Raises BadFilter.
        """
        length = read_length(given)
        overview = await self.overview()
        lines = {(str(each.project_id), each.stream): each for each in overview.lines}
        if (line := lines.get((project, name))) is None:
            return None
        return await self._stream_pages.get(
            (project, name, length), lambda: self._stream(overview, line, length)
        )

    async def runs(self, given: Given) -> RunsPage:
        """Return the runs that are asked for. Raises BadFilter."""
        overview = await self.overview()
        streams = self._streams_of(overview)
        asked = read_runs(given, streams, overview.at)

        async def read() -> RunsPage:
            turn = asked.turn
            listed = await self._listing.runs(asked.chosen, asked.projects, turn, runs.SHOWN)
            return runs_page(asked, listed, streams, _projects_of(overview))

        return await self._runs_pages.get(tuple(given), read)

    async def rejects(self, given: Given) -> RejectsPage:
        """Return the rejects that are asked for. Raises BadFilter."""
        overview = await self.overview()
        streams = self._streams_of(overview)
        asked = read_rejects(given, streams)

        async def read() -> RejectsPage:
            listed = await self._listing.rejects(
                *(asked.chosen.streams, asked.projects, asked.turn, rejects.SHOWN),
                resolved=asked.resolved,
                payload_characters=rejects.SHOWN_CHARACTERS,
            )
            return rejects_page(asked, listed, streams, _projects_of(overview))

        return await self._rejects_pages.get(tuple(given), read)

    async def _stream(self, overview: Overview, line: Line, length: str) -> StreamPage:
        key = (line.project_id, line.stream)
        history = await stream_history(
            *(self._destination.database, self._destination.tables, key),
            *(LENGTHS[length], stream.PARTS, stream.SHOWN_COMPARED),
        )
        own = (Chosen((line.stream,)), (line.project_id,), None)
        latest = await self._listing.runs(*own, stream.SHOWN_RUNS)
        rejected = await self._listing.rejects(
            *((line.stream,), (line.project_id,), None, stream.SHOWN_REJECTS),
            payload_characters=rejects.SHOWN_CHARACTERS,
        )
        found = stream.Found(history, latest, rejected)
        return stream_page(overview, line, length, found, unlimited=not self._source.limits)

    def _streams_of(self, overview: Overview) -> tuple[str, ...]:
        """Return the names of the streams that there are, or were."""
        ran = [line.stream for line in overview.lines]
        return tuple(dict.fromkeys([*self._catalogue, *ran]))

    async def _overview(self) -> Overview:
        began_at, recent = await self._queries.recent_runs(SHOWN_RUNS)
        status = await self._history.status(self._is_removed)
        backfilling = {
            (run["project_id"], run["stream"])
            for run in recent
            if run["command"] == "backfill" and run["status"] in (RUNNING, PAUSED)
        }
        windows = await self._queries.windows(sorted(backfilling)) if backfilling else []
        counts = await self._row_counts(
            {(row["project_id"], row["stream"]) for row in status}, began_at
        )
        queue = await count_jobs(self._destination.database, self._destination.tables)
        latest = await self._history.rejects(SHOWN_LATEST_REJECTS, resolved=False)
        database, tables = self._destination.database, self._destination.tables
        # Without a channel nobody evaluates them, so those that are open may be old.
        alerts = await open_alerts(database, tables) if self._tells_alerts else ()
        at, sent = await used(database, tables)
        books = Books(
            *(status, recent, counts, windows, queue, self._asked, latest, alerts, sent),
            counted_at=self._counted_at,
            oldest=self._oldest,
            ticks=dict(self._ticks),
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
            self._oldest = await self._queries.oldest(shares)
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
            known = stream_named(name)
            if known is None or known.mode is not Mode.ROTATION:
                continue
            parents = known.resources[0].parents
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
        known = stream_named(run["stream"])
        rejected, first = await self._queries.set_aside(run, SHOWN_REJECTS)
        return RunPage(
            run=run,
            state=state_of(run),
            seconds=((run["ended_at"] or run["now"]) - run["started_at"]).total_seconds(),
            tables=() if known is None else tuple(table.name for table in known.tables),
            bars=bars_of(unit_runs, run["now"]),
            rejected=rejected,
            rejects=first,
        )


def _projects_of(overview: Overview) -> tuple[int, ...]:
    return tuple(project.id for project in overview.projects)
