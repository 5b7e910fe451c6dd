"""Goes through projects and their streams, several at once: what fails keeps no other out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from etl.core.stream import Stream
from etl.errors import EtlError, KeyRefused
from etl.extractors.projects import project_id_of
from etl.runs.report import Ending, Report, ending_of, not_begun
from etl.runs.work import Tools
from etl.tasks import beside, none_left

# Brings a stream of a project up to date, until the event is set.
StreamWork = Callable[[Tools, Stream, int, asyncio.Event], Awaitable[list[Report]]]


@dataclass(slots=True, eq=False)
class Turn:
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


def next_turn(turns: Sequence[Turn]) -> Turn | None:
    """Return the first turn that may begin now; None if all others have to wait.

    A stream begins after those of its project that it builds on. The projects' streams of one name
    follow each other, because they draw from the same budget.
    """
    left = [turn for turn in turns if turn.reports is None]
    names = set[str]()
    for turn in left:
        if turn.stream.name not in names and not turn.begun:
            siblings = (other.stream for other in left if other.project == turn.project)
            if not any(turn.stream.builds_on(sibling) for sibling in siblings):
                return turn
        names.add(turn.stream.name)
    return None


async def for_each(
    tools: Sequence[Tools],
    host: str,
    projects: Sequence[str],
    streams: Sequence[Stream],
    stop: asyncio.Event,
    work: StreamWork,
) -> list[Report]:
    """Do `work` for each stream of each project; return all reports in the order of `streams`.

    tools: one for each stream that may run at once. host: noted as the source once records came
    from it. A refused key ends it and stops the streams that run, as a set `stop` does; what has
    not begun then has no report. Raises DestinationError.
    """
    turns = await _turns(tools[0], projects, streams, stop)
    if not any(turn.is_refused() for turn in turns):
        known = host in await tools[0].history.hosts()
        halt = asyncio.Event()
        async with beside(_pass_on(stop, halt)):
            await _take_turns(turns, tools, None if known else host, halt, work)
        if not any(turn.is_refused() for turn in turns):
            for turn in turns:
                if turn.reports is None:
                    turn.end(ending_of(not_begun()))
    return [report for turn in turns for report in turn.reports or ()]


async def _turns(
    tools: Tools, projects: Sequence[str], streams: Sequence[Stream], stop: asyncio.Event
) -> list[Turn]:
    """Return a turn for each stream of each project; those of unknown projects have ended."""
    turns: list[Turn] = []
    for project in projects:
        try:
            if stop.is_set():
                raise not_begun()
            project_id = await project_id_of(tools.client, project)
        except EtlError as exc:
            failed = [Turn(project, stream) for stream in streams]
            for turn in failed:
                turn.end(ending_of(exc))
            turns += failed
            if isinstance(exc, KeyRefused):
                return turns
            continue
        if all(turn.project != project_id for turn in turns):  # @current may have a number, too
            turns += [Turn(project_id, stream) for stream in streams]
    return turns


async def _take_turns(
    turns: Sequence[Turn],
    tools: Sequence[Tools],
    new_host: str | None,
    halt: asyncio.Event,
    work: StreamWork,
) -> None:
    """Let the streams run until all have ended or `halt` is set. A refused key sets it.

    new_host: noted as the source once records came from it; None if it is known. If a turn raises,
    the others are cancelled.
    """
    idle = list(tools)
    running: set[asyncio.Task[None]] = set()

    async def take(turn: Turn, own: Tools) -> None:
        done = await work(own, turn.stream, int(turn.project), halt)
        idle.append(own)
        if new_host is not None and any(report.records_read for report in done):
            await own.history.add_host(new_host)
        turn.reports = done
        if turn.is_refused():
            halt.set()

    async with none_left(running):
        while True:
            while idle and not halt.is_set() and (turn := next_turn(turns)) is not None:
                turn.begun = True
                # The one used last knows the server's clock.
                running.add(asyncio.create_task(take(turn, idle.pop())))
            if not running:
                return
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
            running -= ended


async def _pass_on(stop: asyncio.Event, halt: asyncio.Event) -> None:
    await stop.wait()
    halt.set()
