"""Goes through projects and their streams, several at once: what fails keeps no other out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from etl.core.stream import Stream
from etl.errors import EtlError, KeyRefused
from etl.extractors.projects import project_id_of
from etl.runs.report import Ending, Report, ending_of, not_begun
from etl.runs.work import Tools, Watch, show_waits
from etl.tasks import beside, none_left

# Brings a stream of a project up to date, until the event is set.
StreamWork = Callable[[Tools, Stream, int, asyncio.Event], Awaitable[list[Report]]]


class Entry(Struct, eq=False):
    """A stream of a project. reports: None until the stream has ended."""

    project: int | str
    stream: Stream
    begun: bool = False
    reports: list[Report] | None = None

    def end(self, ending: Ending) -> None:
        """Report one unit, which did not run."""
        self.reports = [Report(self.project, self.stream.name, self.stream.unit, ending)]

    def is_refused(self) -> bool:
        """Tell whether the stream ended because the key was refused."""
        return any(r.ending.exit_code == KeyRefused.exit_code for r in self.reports or ())


def next_entry(entries: Sequence[Entry]) -> Entry | None:
    """Return the first entry that may begin now; None if all others have to wait.

    A stream begins after those of its project that it builds on. The projects' streams of one name
    follow each other, because they draw from the same budget.
    """
    left = [entry for entry in entries if entry.reports is None]
    names = set[str]()
    for entry in left:
        if entry.stream.name not in names and not entry.begun:
            siblings = (other.stream for other in left if other.project == entry.project)
            if not any(entry.stream.builds_on(sibling) for sibling in siblings):
                return entry
        names.add(entry.stream.name)
    return None


async def for_each(
    tools: Sequence[Tools],
    host: str,
    projects: Sequence[str],
    streams: Sequence[Stream],
    stop: asyncio.Event,
    work: StreamWork,
    watch: Watch,
) -> list[Report]:
    """Do `work` for each stream of each project; return all reports in the order of `streams`.

    tools: one for each stream that may run at once. host: noted as the source once records came
    from it. watch: shows what is waited for before they begin. A refused key ends
    it and stops the streams that run, as a set `stop` does; what has not begun then has no report.
    Raises DestinationError.
    """
    with watch(None, "starting") as progress:
        async with beside(show_waits(tools[0].waits, progress)):
            entries = await _entries(tools[0], projects, streams, stop)
    if not any(entry.is_refused() for entry in entries):
        known = host in await tools[0].history.hosts()
        halt = asyncio.Event()
        async with beside(_pass_on(stop, halt)):
            await _run_entries(entries, tools, None if known else host, halt, work)
        if not any(entry.is_refused() for entry in entries):
            for entry in entries:
                if entry.reports is None:
                    entry.end(ending_of(not_begun()))
    return [report for entry in entries for report in entry.reports or ()]


async def _entries(
    tools: Tools, projects: Sequence[str], streams: Sequence[Stream], stop: asyncio.Event
) -> list[Entry]:
    """Return an entry for each stream of each project; those of unknown projects have ended."""
    entries: list[Entry] = []
    for project in projects:
        try:
            if stop.is_set():
                raise not_begun()
            project_id = await project_id_of(tools.client, project)
        except EtlError as exc:
            failed = [Entry(project, stream) for stream in streams]
            for entry in failed:
                entry.end(ending_of(exc))
            entries += failed
            if isinstance(exc, KeyRefused):
                return entries
            continue
        if all(entry.project != project_id for entry in entries):  # @current may have a number, too
            entries += [Entry(project_id, stream) for stream in streams]
    return entries


async def _run_entries(
    entries: Sequence[Entry],
    tools: Sequence[Tools],
    new_host: str | None,
    halt: asyncio.Event,
    work: StreamWork,
) -> None:
    """Let the streams run until all have ended or `halt` is set. A refused key sets it.

    new_host: noted as the source once records came from it; None if it is known. If an entry
    raises, the others are cancelled.
    """
    idle = list(tools)
    running: set[asyncio.Task[None]] = set()

    async def take(entry: Entry, own: Tools) -> None:
        done = await work(own, entry.stream, int(entry.project), halt)
        idle.append(own)
        if new_host is not None and any(report.records_read for report in done):
            await own.history.add_host(new_host)
        entry.reports = done
        if entry.is_refused():
            halt.set()

    async with none_left(running):
        while True:
            while idle and not halt.is_set() and (entry := next_entry(entries)) is not None:
                entry.begun = True
                # The one used last knows the server's clock.
                running.add(asyncio.create_task(take(entry, idle.pop())))
            if not running:
                return
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
            running -= ended


async def _pass_on(stop: asyncio.Event, halt: asyncio.Event) -> None:
    await stop.wait()
    halt.set()
