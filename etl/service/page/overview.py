"""Computes what the page shows from rows of the bookkeeping. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from etl.core.budget import Limits
from etl.core.coverage import Coverage, Span
from etl.core.drift import differences
from etl.core.expected import Counted, unaccounted_of
from etl.core.schedule import PRUNE, VERIFY
from etl.core.statuses import (
    DIED,
    FAILED,
    PARTIAL,
    PAUSED,
    RUNNING,
    SUCCEEDED,
    Failure,
    is_first_load,
)
from etl.core.stream import Mode
from etl.loaders.budget import Used
from etl.loaders.queue import Jobs
from etl.loaders.row_counts import Count
from etl.loaders.seen_runs import RunWait
from etl.loaders.status_queries import Share
from etl.loaders.verified import Verified
from etl.service.page.budget import ClassUse, uses
from etl.service.page.calendar import Calendar, begin_of, calendar
from etl.service.page.pace import Pace, pace_of, span_of
from etl.service.page.words import plural, second
from etl.streams import STREAMS
from etl.streams.queries import stream_named

# The worst first. The page has the first state that occurs.
STATES = (FAILED, PARTIAL, PAUSED, RUNNING, SUCCEEDED)
LEVELS = 10
SHOWN_HOLES = 5
# Numbers that are older than the rest of the page by more than this are said to be.
_RECENT = timedelta(seconds=10)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """A run as a bar. level: its height, 1 to LEVELS, by the logarithm of its seconds."""

    id: str
    state: str
    command: str
    unit: str
    started_at: datetime
    seconds: float
    records_read: int
    rejected: int
    level: int


@dataclass(frozen=True, slots=True)
class Line:
    """One stream of one project.

    per_second: records read in the shown runs, by their time. days: of a windowed stream.
    differences: how records differ from the catalogue; empty if they do not. verified: what of it
    was compared with the source; None if nothing was. waits: what its runs wait for. retried: the
    failure that is being read again now. asked: which part of its resources was asked about, in
    words; None if it is all. read: records that the last run has read so far. drift: fields and
    types that the catalogue did not expect.
    """

    project_id: int
    stream: str
    state: str
    reason: str | None
    complete_until: datetime | None
    rows: Count | None
    bars: tuple[Bar, ...]
    per_second: float | None
    rejects: int
    paused_until: datetime | None
    holes: tuple[Span, ...]
    days: Calendar | None
    pace: Pace | None
    incremental: bool
    reads_front: bool
    unaccounted: int
    differences: str
    verified: Verified | None
    waits: tuple[RunWait, ...]
    retried: Failure | None
    asked: str | None
    read: int
    drift: Sequence[Row] = ()

    @property
    def is_first_load(self) -> bool:
        """Whether it is being read, and nothing is known complete yet."""
        return is_first_load(self.state, self.complete_until)

    @property
    def key(self) -> str:
        """The id of the line within the page."""
        return f"{self.project_id}-{self.stream}"


@dataclass(frozen=True, slots=True)
class Project:
    """The streams of a project, in the order in which they are read."""

    id: int
    lines: tuple[Line, ...]
    never_run: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The source and the settings that the page shows; none of them is secret."""

    host: str
    schema: str
    start: datetime
    streams: tuple[str, ...]
    limits: Limits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tick:
    """What the schedule does next. what: in words."""

    what: str
    at: datetime


# What a schedule does, in words; the others sync the streams that they name. The daily cleaning is
# nobody's concern.
TICKS = {"all": "sync", VERIFY: "verification", PRUNE: ""}


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole page, as of the database's time `at`; rows and shares are as of `counted_at`.

    alerts: those that are open, the oldest first. uses: what was used of each class of requests.
    ticks: what the schedule does next, the earliest first.
    """

    at: datetime
    source: Source
    projects: tuple[Project, ...]
    queue: Mapping[int, Jobs]
    rejects: Sequence[Row] = ()
    alerts: Sequence[Row] = ()
    uses: Sequence[ClassUse] = ()
    ticks: Sequence[Tick] = ()
    counted_at: datetime | None = None

    @property
    def counted_before(self) -> datetime | None:
        """When rows and shares were counted, if that is so long ago that it has to be said."""
        counted_at = self.counted_at
        return counted_at if counted_at and self.at - counted_at > _RECENT else None

    @property
    def lines(self) -> tuple[Line, ...]:
        """The streams of all projects."""
        return tuple(line for project in self.projects for line in project.lines)

    def has(self, project_id: int, stream: str) -> bool:
        """Tell whether a stream has a page of its own: one that has run."""
        return any((line.project_id, line.stream) == (project_id, stream) for line in self.lines)

    @property
    def counts(self) -> dict[str, int]:
        """How many streams are in which state, the worst first; the states that occur."""
        counted = Counter(line.state for line in self.lines)
        return {state: counted[state] for state in STATES if counted[state]}

    @property
    def state(self) -> str | None:
        """The worst state that occurs, None before anything ran."""
        return next(iter(self.counts), None)

    @property
    def tone(self) -> str | None:
        """The state that the verdict is shown in: a failure lasts until it is repaired."""
        failed = any(line.retried and line.retried.status == FAILED for line in self.lines)
        return FAILED if failed else self.state

    @property
    def rejected(self) -> int:
        """How many records are rejected now."""
        return sum(line.rejects for line in self.lines)

    @property
    def not_run(self) -> int:
        """How many streams that are on have not run yet."""
        return sum(len(project.never_run) for project in self.projects)

    @property
    def verdict(self) -> str:
        """The state of all streams in one sentence."""
        said = [self._worst]
        if behind := [line for line in self.lines if line.asked is not None]:
            (name, asked), more = (behind[0].stream, behind[0].asked), len(behind) - 1
            said.append(f"{name} {asked}" if not more else f"{more + 1} not asked to the end")
        if self.lines and self.not_run:
            said.append(f"{plural(self.not_run, 'stream')} not run yet")
        if self.rejected:
            said.append(f"{plural(self.rejected, 'record')} rejected")
        return ", ".join(said)

    @property
    def _worst(self) -> str:
        counts, total = self.counts, len(self.lines)
        of = f"{total} streams" if total != 1 else "1 stream"
        if not total:
            return "Nothing has run yet"
        again = sum(
            line.retried is not None and line.retried.status == FAILED for line in self.lines
        )
        if FAILED in counts:
            more = f", {again} more being tried again" if again else ""
            return f"{counts[FAILED]} of {of} failed{more}"
        if again:
            return f"{again} of {of} failed, {'is' if again == 1 else 'are'} tried again"
        if PARTIAL in counts:
            return f"{counts[PARTIAL]} of {of} not complete"
        if PAUSED in counts:
            return f"{counts[PAUSED]} of {of} paused: the request budget is spent"
        if RUNNING in counts:
            return self._running(counts[RUNNING])
        return f"All {of} succeeded" if total != 1 else "The only stream succeeded"

    def _running(self, running: int) -> str:
        waiting = [line for line in self.lines if line.state == RUNNING and line.waits]
        if len(waiting) == running:
            ends = [wait.until for line in waiting for wait in line.waits if wait.until]
            until = f" until {second(min(ends), self.at)}" if ends else ""
            return f"{plural(running, 'stream')} waiting{until}, {self._well}"
        streams = f"{plural(running, 'stream')} running"
        return f"{streams}, {f'{len(waiting)} of them waiting, ' if waiting else ''}{self._well}"

    @property
    def _well(self) -> str:
        """What is to be said of streams that run: on a first load nearly everything is missing."""
        first = any(line.is_first_load for line in self.lines)
        return "first load under way" if first else "nothing wrong"

    @property
    def least_fresh(self) -> Line | None:
        """The stream whose complete data ends earliest."""
        known = [line for line in self.lines if line.complete_until is not None]
        return min(known, key=lambda line: line.complete_until or self.at, default=None)

    @property
    def worrying(self) -> tuple[Line, ...]:
        """The streams that need attention, the worst first."""
        bad = (FAILED, PARTIAL, PAUSED)
        worth = [line for line in self.lines if line.state in bad or line.retried is not None]
        return tuple(sorted(worth, key=lambda line: STATES.index(line.state)))

    @property
    def waiting(self) -> tuple[tuple[Line, RunWait], ...]:
        """What the runs wait for, each with its stream."""
        return tuple((line, wait) for line in self.lines for wait in line.waits)

    @property
    def moving(self) -> bool:
        """Whether anything runs."""
        return RUNNING in self.counts


@dataclass(frozen=True, slots=True)
class Books:
    """What the bookkeeping says.

    status: as `History.status` has it. recent: the latest runs, the oldest first. windows: runs of
    the backfills that may be under way, the newest first. asked: see `Line`. rejects: the latest
    records that are rejected now. alerts: those that are open. used: what was used of each class of
    requests. oldest: the earliest instant of the rows of each stream that is read in windows.
    ticks: when each schedule ticks next. counted_at: when `counts` and `asked` were counted.
    """

    status: Sequence[Row]
    recent: Sequence[Row]
    counts: Mapping[tuple[int, str], Count]
    windows: Sequence[Row] = ()
    queue: Mapping[int, Jobs] = field(default_factory=dict)
    asked: Mapping[tuple[int, str], str | None] = field(default_factory=dict)
    rejects: Sequence[Row] = ()
    alerts: Sequence[Row] = ()
    used: Mapping[str, Used] = field(default_factory=dict)
    oldest: Mapping[tuple[int, str], datetime] = field(default_factory=dict)
    ticks: Mapping[str, datetime] = field(default_factory=dict)
    counted_at: datetime | None = None


def build(at: datetime, source: Source, books: Books) -> Overview:
    """Return the page's content."""
    runs = _by_stream(books.recent)
    backfills = _by_stream(books.windows)
    order = {name: place for place, name in enumerate(STREAMS)}
    rows = sorted(
        books.status,
        key=lambda r: (r["project_id"], order.get(r["stream"], len(order)), r["stream"]),
    )
    projects = []
    for project_id, those in groupby(rows, key=lambda row: int(row["project_id"])):
        lines = tuple(
            _line(
                at,
                source,
                row,
                runs.get((project_id, row["stream"]), []),
                backfills.get((project_id, row["stream"]), []),
                books,
            )
            for row in those
        )
        ran = {line.stream for line in lines}
        never_run = tuple(name for name in source.streams if name not in ran)
        projects.append(Project(project_id, lines, never_run))
    return Overview(
        at,
        source,
        tuple(projects),
        books.queue,
        books.rejects,
        books.alerts,
        uses(source.limits, books.used, at),
        _next_ticks(books.ticks, at),
        books.counted_at,
    )


def _next_ticks(ticks: Mapping[str, datetime], at: datetime) -> tuple[Tick, ...]:
    """Return the next ticks of syncs and verification, the earliest first."""
    found = [Tick(TICKS.get(name, f"sync {name}"), when) for name, when in ticks.items()]
    return tuple(sorted((tick for tick in found if tick.what), key=lambda tick: tick.at))


def bars_of(runs: Sequence[Row], at: datetime) -> tuple[Bar, ...]:
    """Return `runs`, each with `held`, as bars."""
    seconds = [_seconds(run, at) for run in runs]
    longest = math.log1p(max(seconds, default=0.0)) or 1.0
    return tuple(
        Bar(
            id=str(run["id"]),
            state=state_of(run),
            command=run["command"],
            unit=run["unit"],
            started_at=run["started_at"],
            seconds=took,
            records_read=run["records_read"],
            rejected=run["rejected"],
            level=1 + round((LEVELS - 1) * math.log1p(took) / longest),
        )
        for run, took in zip(runs, seconds, strict=True)
    )


def state_of(run: Row) -> str:
    """Return the state of a run, which says whether it is `held`; one that is not has died."""
    status = str(run["status"])
    if status == RUNNING and not run["held"]:
        return FAILED
    return status if status in STATES else FAILED


def share_of(stream: str, projects: Sequence[int]) -> Share | None:
    """Return the rows counted for a stream, None if the stream is unknown."""
    known = stream_named(stream)
    if known is None:
        return None
    table = next((each for each in known.tables if each.name == stream), known.tables[0])
    parents = known.resources[0].parents
    given = {} if parents is None else parents.constant
    where = {name: value for name, value in given.items() if name in table.key}
    return Share(stream, table, where, projects)


def _line(
    at: datetime,
    source: Source,
    row: Row,
    runs: Sequence[Row],
    backfill: Sequence[Row],
    books: Books,
) -> Line:
    project_id, stream = int(row["project_id"]), str(row["stream"])
    state = state_of(row)
    complete: Coverage = row["complete"]
    until = complete.until or row["tail_until"]
    windowed = stream in STREAMS and STREAMS[stream].mode is Mode.WINDOWS
    # As in `status`: holes before the latest complete instant.
    within = (
        None if complete.until is None else Span(min(source.start, complete.until), complete.until)
    )
    holes = () if within is None else complete.holes(within)
    running = [run for run in runs if run["status"] == RUNNING]
    # Before anything is complete, all of it is missing.
    missing = holes if complete.until is not None else (Span(min(source.start, at), at),)
    pace = pace_of(backfill, missing, at) if windowed else None
    reason = row["reason"]
    if row["status"] == RUNNING:
        reason = None if state == RUNNING else DIED
    return Line(
        project_id=project_id,
        stream=stream,
        state=state,
        reason=reason,
        complete_until=until,
        rows=books.counts.get((project_id, stream), Count(0, True))
        if stream_named(stream) is not None
        else None,
        bars=bars_of(runs, at),
        per_second=_per_second(runs, at),
        rejects=row["rejects"],
        paused_until=row["paused_until"] if state == PAUSED else None,
        holes=holes,
        days=calendar(
            complete,
            _being_read(running, row, at),
            begin_of(complete, source.start, books.oldest.get((project_id, stream))),
            at,
        )
        if windowed
        else None,
        pace=pace,
        incremental=(row["traits"] or {}).get("date_filter") not in ("refused", "ignored"),
        reads_front=Counted.of(row["traits"]) is not None,
        unaccounted=unaccounted_of(row["traits"]),
        differences=differences(row["drift"]),
        verified=row["verified"],
        waits=tuple(row["waiting"]),
        retried=row["retried"],
        asked=books.asked.get((project_id, stream)),
        read=row["records_read"],
        drift=row["drift"],
    )


def _being_read(running: Sequence[Row], row: Row, at: datetime) -> list[Span]:
    """Return the windows that runs are reading now."""
    spans = []
    for run in running:
        window = span_of(run["unit"])
        since = row["tail_until"] or row["complete"].since
        if window is not None:
            spans.append(window)
        elif since is not None and since < at:
            spans.append(Span(since, at))
        else:
            spans.append(Span(datetime.min.replace(tzinfo=at.tzinfo), at))
    return spans


def _per_second(runs: Sequence[Row], at: datetime) -> float | None:
    """Return records read per second, over runs that read any; None if none did."""
    reading = [run for run in runs if run["records_read"]]
    seconds = sum(_seconds(run, at) for run in reading)
    return sum(run["records_read"] for run in reading) / seconds if seconds > 0 else None


def _seconds(run: Row, at: datetime) -> float:
    length: timedelta = (run["ended_at"] or at) - run["started_at"]
    return max(0.0, length.total_seconds())


def _by_stream(rows: Sequence[Row]) -> dict[tuple[int, str], list[Row]]:
    found: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        found.setdefault((int(row["project_id"]), str(row["stream"])), []).append(row)
    return found
