"""Decides which jobs are queued. A job is one unit, or neighbouring windows of a backfill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from typing import Any

from etl.app import Destination, open_source
from etl.core.coverage import Span
from etl.core.stream import VERIFY_SLICE, Stream
from etl.extractors.projects import project_ids_of
from etl.loaders.history import Watermark
from etl.loaders.leases import Unit
from etl.loaders.queue import NewJob, Queue, open_queue
from etl.runs.backfill import BackfillRange, windows_left
from etl.runs.slices import streams_due
from etl.runs.work import Tools
from etl.settings import Settings
from etl.streams import STREAMS
from etl.upkeep import pace_of

SYNC, BACKFILL, VERIFICATION = "sync", "backfill", "verify"

# The windows of one job cover at least this much time, and about this many pages. They are read
# under one cursor. A job also reads 25 hours beyond its newest window, and one page more at each
# end: less than a tenth of this (docs/decisions/0012).
PORTION = timedelta(days=60)
PORTION_PAGES = 20

# A job that would wait longer for the request budget goes back to the queue, so that the worker is
# free, in seconds.
LONGEST_WAIT_S = 60.0

# Syncs come first, then verification, which takes a small share of the budget, then backfills.
_AFTER_ALL_SYNCS = -1_000_000
_BEFORE_BACKFILLS = -500_000


@dataclass(frozen=True, slots=True)
class QueuedWork:
    """One job: a unit, or the windows of `window_s` seconds within one span.

    first_portion_only: nothing has been read of the stream yet, so it is unknown whether its server
    filters by date. The newest portion is read first, and the rest is queued after it.
    """

    project_id: int
    stream: str
    unit: str
    command: str
    window_s: float = 0.0
    newest_first: bool = True
    again: bool = False
    first_portion_only: bool = False

    @property
    def key(self) -> str:
        """The queue holds at most one job with this key."""
        return f"{self.project_id}/{self.stream}/{self.unit}"

    @property
    def span(self) -> Span:
        """The range of time of a backfill."""
        return Span.parse(self.unit)

    @property
    def past(self) -> BackfillRange:
        """The backfill of this job."""
        since, until = self.span
        return BackfillRange(
            since, until, timedelta(seconds=self.window_s), self.newest_first, self.again
        )

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> QueuedWork:
        """Parse what `asdict` writes. Names that a newer release has added are ignored."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})

    def within(self, span: Span) -> QueuedWork:
        """Return the job for a part of the time."""
        return replace(self, unit=str(span), first_portion_only=False)

    def as_new(self) -> NewJob:
        """Return the job in the form that the queue takes."""
        return NewJob(self.key, asdict(self))


@dataclass(frozen=True, slots=True)
class Enqueued:
    """Counts: windows and jobs that were queued, and jobs that were queued already."""

    windows: int = 0
    jobs: int = 0
    already: int = 0

    def __add__(self, other: Enqueued) -> Enqueued:
        return Enqueued(
            self.windows + other.windows, self.jobs + other.jobs, self.already + other.already
        )


def with_short_waits(settings: Settings) -> Settings:
    """Return the settings with a budget wait of at most `LONGEST_WAIT_S`."""
    wait_s = min(settings.max_wait_s, LONGEST_WAIT_S)
    return settings.model_copy(update={"max_wait_s": wait_s})


def portions(windows: Sequence[Span], length: timedelta = PORTION) -> list[Span]:
    """Join adjacent windows into spans of about `length`, in the order given."""
    spans: list[Span] = []
    for window in windows:
        if spans:
            last = spans[-1]
            both = Span(min(last.since, window.since), max(last.until, window.until))
            touch = last.since == window.until or last.until == window.since
            if touch and both.until - both.since <= length:
                spans[-1] = both
                continue
        spans.append(window)
    return spans


async def enqueue_sync(settings: Settings, streams: Sequence[Stream]) -> Enqueued:
    """Queue one sync of each of `streams` in every project, unless it is queued already.

    Safe to repeat. Raises EtlError.
    """
    enqueued = Enqueued()
    async with open_source(with_short_waits(settings)) as (destination, tools):
        for project_id in await project_ids_of(tools.client, settings.projects):
            jobs = [QueuedWork(project_id, each.name, each.unit, SYNC).as_new() for each in streams]
            address, bookkeeping = destination.queue, destination.tables.bookkeeping
            async with open_queue(address, bookkeeping) as queue, queue.exclusively():
                put = await queue.put(project_id, jobs)
            enqueued += Enqueued(jobs=len(put), already=len(jobs) - len(put))
    return enqueued


async def enqueue_verification(settings: Settings, streams: Sequence[Stream]) -> Enqueued:
    """Queue the verification of each stream that has its turn, unless it is queued already.

    Safe to repeat. Raises EtlError.
    """
    enqueued, pace = Enqueued(), pace_of(settings)
    async with open_source(with_short_waits(settings)) as (destination, tools):
        for project_id in await project_ids_of(tools.client, settings.projects):
            due = await streams_due(tools, streams, project_id, pace)
            jobs = [
                QueuedWork(project_id, each.name, VERIFY_SLICE, VERIFICATION).as_new()
                for each in due
            ]
            address, bookkeeping = destination.queue, destination.tables.bookkeeping
            async with open_queue(address, bookkeeping) as queue, queue.exclusively():
                put = await queue.put(project_id, jobs, _BEFORE_BACKFILLS)
            enqueued += Enqueued(jobs=len(put), already=len(jobs) - len(put))
    return enqueued


async def enqueue_backfill(
    settings: Settings, streams: Sequence[Stream], past: BackfillRange
) -> Enqueued:
    """Queue the windows of `past` in every project, without those that are queued or complete.

    Safe to repeat. Raises EtlError.
    """
    enqueued = Enqueued()
    async with open_source(with_short_waits(settings)) as (destination, tools):
        for project_id in await project_ids_of(tools.client, settings.projects):
            for stream in streams:
                job = QueuedWork(
                    project_id,
                    stream.name,
                    "",
                    BACKFILL,
                    past.window.total_seconds(),
                    past.newest_first,
                    past.again,
                )
                size = settings.page_size_records
                enqueued += await _put_left(destination, tools, size, job, past)
    return enqueued


async def enqueue_rest(
    destination: Destination, tools: Tools, settings: Settings, job: QueuedWork, job_id: int
) -> None:
    """Queue the rest of a job, once it is known whether its server filters.

    Safe to repeat. Raises DestinationError.
    """
    await _put_left(destination, tools, settings.page_size_records, job, job.past, but=job_id)


async def _put_left(
    destination: Destination,
    tools: Tools,
    page_size_records: int,
    job: QueuedWork,
    past: BackfillRange,
    *,
    but: int | None = None,
) -> Enqueued:
    unit, history = Unit(job.project_id, job.stream), tools.history
    for attempt in tools.database.attempts():
        async with attempt:
            watermark = await history.watermark(unit)
            spans = watermark.complete.spans
            rows = await history.count_started(unit, STREAMS[job.stream], spans)
    known = sum((span.until - span.since for span in spans), timedelta())
    length = portion_length(watermark, known, rows, page_size_records)
    windows = windows_left(past, watermark, tools.client.source_now)
    async with open_queue(destination.queue, destination.tables.bookkeeping) as queue:
        is_first = watermark.traits is None
        return await _put_windows(queue, job, windows, length, is_first=is_first, but=but)


def portion_length(
    watermark: Watermark, known: timedelta, rows: int, page_size_records: int
) -> timedelta:
    """Return how much time a job covers, computed from the rows per time that are stored."""
    unfiltered = (watermark.traits or {}).get("date_filter") in ("refused", "ignored")
    if unfiltered or (known and not rows):
        return timedelta.max
    if not rows:
        return PORTION
    # A century stands for "no limit", and fits into a timedelta.
    factor = min(PORTION_PAGES * page_size_records / rows, timedelta(days=36_500) / known)
    return max(PORTION, known * factor)


async def _put_windows(
    queue: Queue,
    job: QueuedWork,
    windows: Sequence[Span],
    length: timedelta,
    *,
    is_first: bool,
    but: int | None,
) -> Enqueued:
    """Queue `windows` as portions of `job` that are `length` long.

    is_first: it is unknown whether the server filters. but: a job that does not count as queued.
    """
    async with queue.exclusively():
        documents = await queue.documents(job.project_id, but=but)
        others = [QueuedWork.read(document) for document in documents]
        taken = [
            other.span
            for other in others
            if other.command == BACKFILL and other.stream == job.stream
        ]
        left = [
            window
            for window in windows
            if not any(s.since < window.until and window.since < s.until for s in taken)
        ]
        jobs = [job.within(span) for span in portions(left, length)]
        if is_first and len(jobs) > 1:
            # Only one portion: if the server does not filter, this one loads everything.
            whole = Span(min(w.since for w in left), max(w.until for w in left))
            jobs = [replace(job, unit=str(whole), again=False, first_portion_only=True)]
        await queue.put(job.project_id, [each.as_new() for each in jobs], _AFTER_ALL_SYNCS)
    return Enqueued(len(left), len(jobs), len(windows) - len(left))
