"""The past windows of one stream: which are left, in which order; one unit each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from etl.core.coverage import Span, split
from etl.core.stream import TAIL
from etl.errors import EtlError
from etl.loaders.history import Watermark
from etl.loaders.leases import Unit
from etl.runs.report import FAILED, PAUSED, Report, ending_of, not_begun
from etl.runs.sync import execute_unit
from etl.runs.windows import Chain, WindowsWork
from etl.runs.work import Assignment, Progress, ReadingProgress, trusted_watermark
from etl.waits import Wait


class BackfillRange(Struct, frozen=True):
    """What a backfill is asked for: the time since an instant, cut into windows of a length.

    until: None means up to where sync goes on, or to now. newest_first: the order of the windows.
    again: also what is known complete, but for the windows in `done`.
    """

    since: datetime
    until: datetime | None
    window: timedelta
    newest_first: bool = True
    again: bool = False
    done: Collection[str] = ()


def windows_left(past: BackfillRange, watermark: Watermark, now: datetime) -> list[Span]:
    """Return the windows that are not known complete, in the order in which they are read."""
    # Up to a full hour, so that a later call cuts the same windows.
    hour = now.replace(minute=0, second=0, microsecond=0)
    ends = (at for at in (watermark.tail_until, hour) if at is not None and at > past.since)
    span = Span(past.since, past.until or next(ends, now))
    holes = (span,) if past.again else watermark.complete.holes(span)
    pieces = [piece for hole in holes for piece in split(hole, past.window)]
    windows = [piece for piece in pieces if str(piece) not in past.done]
    return windows[::-1] if past.newest_first else windows


def chained(windows: Sequence[Span]) -> list[list[Span]]:
    """Gather the windows that one cursor reads: each begins where the next, older one ends."""
    chains: list[list[Span]] = []
    for window in windows:
        if chains and chains[-1][-1].since == window.until:
            chains[-1].append(window)
        else:
            chains.append([window])
    return chains


async def backfill_stream(given: Assignment, past: BackfillRange) -> list[Report]:
    """Load what is left of `past`; one report per window. Never raises EtlError.

    A window that another run holds, or that was read but not without fault, does not keep the
    others out; after anything else the next backfill goes on there. When the stop leaves windows
    unread, the report of the first of them says so.
    """
    tools, stream, project_id = given.tools, given.stream, given.project_id
    try:
        tail = Unit(project_id, stream.name)
        watermark = await trusted_watermark(tools, given.options, stream, tail)
    except EtlError as exc:
        return [Report(project_id, stream.name, TAIL, ending_of(exc))]
    reports: list[Report] = []
    left = windows_left(past, watermark, tools.client.source_now)
    whole = Whole(left, given.progress)
    for windows in chained(left):
        chain = Chain(reach=windows[-1].since)
        for window in windows:
            if given.stop.is_set():
                ending = ending_of(not_begun())
                return [*reports, Report(project_id, stream.name, str(window), ending)]
            watched = replace(given, progress=whole.within(window))
            make = partial(WindowsWork, chain=chain)
            report = await execute_unit(watched, str(window), "backfill", make)
            reports.append(report)
            whole.close(window, report)
            if report.ending.status in (FAILED, PAUSED) or chain.broken:
                return reports
            if chain.showed_everything:
                return reports
    return reports


class Whole:
    """The progress of all windows, from the progress of each."""

    def __init__(self, windows: Sequence[Span], progress: Progress) -> None:
        self.total_s = sum(_length_s(window) for window in windows)
        self.windows = len(windows)
        self.progress = progress
        self.begun = 0
        self.done_s = 0.0
        self.records = 0
        self.requests = 0

    def within(self, window: Span) -> Progress:
        """Return what is told while `window`, the next one, is read."""
        self.begun += 1
        part = _Part(self, window)
        part.reached(ReadingProgress(0, 0))
        return part

    def close(self, window: Span, report: Report) -> None:
        """Note that `window` was read."""
        self.done_s += _length_s(window)
        self.records += report.records_read
        self.requests += report.requests


class _Part(Progress):
    """The progress of one window, passed on as that of all."""

    def __init__(self, whole: Whole, window: Span) -> None:
        self._whole = whole
        self._window = window

    def reached(self, progress: ReadingProgress) -> None:
        """Add the windows that were read before."""
        whole, window = self._whole, self._window
        # By time, because a server with cursors does not say how many records there are.
        read_s = (progress.share or 0.0) * _length_s(window)
        if progress.low is not None:
            read_s = max(0.0, (window.until - max(progress.low, window.since)).total_seconds())
        share = (whole.done_s + read_s) / whole.total_s
        whole.progress.reached(
            replace(
                progress,
                records=whole.records + progress.records,
                requests=whole.requests + progress.requests,
                share=share or None,
                window=(whole.begun, whole.windows) if whole.windows > 1 else None,
            )
        )

    def waits(self, wait: Wait | None) -> None:
        """Pass it on."""
        self._whole.progress.waits(wait)


def _length_s(window: Span) -> float:
    return (window.until - window.since).total_seconds()
