"""Goes through projects and their streams: what fails does not keep the others out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from etl.core.stream import Stream
from etl.errors import EtlError, KeyRefused
from etl.extractors.projects import project_id_of
from etl.runs.report import Report, ending_of, not_begun
from etl.runs.work import Tools


async def for_each(
    tools: Tools,
    host: str,
    projects: Sequence[str],
    streams: Sequence[Stream],
    stop: asyncio.Event,
    work: Callable[[Tools, Stream, int], Awaitable[list[Report]]],
) -> list[Report]:
    """Do `work` for each stream of each project and return all reports.

    A refused key and a set `stop` end it. host: noted as the source once records came from it.
    Raises DestinationError.
    """
    reports: list[Report] = []
    begun: set[int] = set()
    known = host in await tools.history.hosts()
    for project in projects:
        try:
            if stop.is_set():
                raise not_begun()
            project_id = await project_id_of(tools.client, project)
        except EtlError as exc:
            reports += [Report(project, s.name, s.unit, ending_of(exc)) for s in streams]
            if isinstance(exc, KeyRefused):
                return reports
            continue
        if project_id in begun:  # @current may be one that has a number here, too
            continue
        begun.add(project_id)
        for stream in streams:
            if stop.is_set():
                ending = ending_of(not_begun())
                reports.append(Report(project_id, stream.name, stream.unit, ending))
                continue
            done = await work(tools, stream, project_id)
            reports += done
            if not known and any(r.records_read for r in done):
                await tools.history.add_host(host)
                known = True
            if any(r.ending.exit_code == KeyRefused.exit_code for r in done):
                return reports
    return reports
