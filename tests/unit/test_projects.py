"""Which stream of which project may begin, and what becomes of the others when one breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from etl.core.stream import Stream
from etl.runs.projects import Entry, for_each, next_entry
from etl.runs.report import SUCCEEDED, Ending, Report
from etl.runs.work import unwatched
from etl.streams import STREAMS
from etl.waits import Waits


def begun(entries: Sequence[Entry]) -> list[tuple[int | str, str]]:
    """Begin every entry that may begin now, and return which these were."""
    found = []
    while (entry := next_entry(entries)) is not None:
        entry.begun = True
        found.append((entry.project, entry.stream.name))
    return found


def entries_of(*names: str, projects: Sequence[int] = (1,)) -> list[Entry]:
    """An entry for each of these streams in each of the projects."""
    return [Entry(project, STREAMS[name]) for project in projects for name in names]


def test_streams_begin_in_order_and_after_those_they_build_on() -> None:
    """Also when the one they build on comes after them."""
    entries = entries_of("insight_sharing", "group_activity", "groups", "insights")
    assert begun(entries) == [(1, "groups"), (1, "insights")]
    entries[3].reports = []
    assert begun(entries) == [(1, "insight_sharing")]
    entries[2].reports = []
    assert begun(entries) == [(1, "group_activity")]


def test_the_projects_share_the_budget_of_a_list_one_after_the_other() -> None:
    """The recordings of all projects, if they wait, take one place; the other streams go on."""
    entries = entries_of("session_recordings", "insights", projects=(1, 2))
    assert begun(entries) == [(1, "session_recordings"), (1, "insights")]
    entries[1].reports = []
    assert begun(entries) == [(2, "insights")]
    entries[0].reports = []
    assert begun(entries) == [(2, "session_recordings")]


async def test_a_stream_that_breaks_leaves_none_running() -> None:
    """Its error comes through once the others have ended."""
    waiting, ended = asyncio.Event(), list[str]()

    async def work(_tools: Any, stream: Stream, _id: int, _halt: asyncio.Event) -> list[Report]:
        if stream.name == "insights":
            await waiting.wait()
            raise ZeroDivisionError
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(stream.name)
        raise AssertionError

    with pytest.raises(ZeroDivisionError):
        await go_through(("insights", "playlists", "groups"), 2, work)
    assert ended == ["playlists"]


async def test_no_more_run_at_once_than_there_are_tools() -> None:
    """Two, of five."""
    running, most = 0, 0

    async def work(_tools: Any, stream: Stream, id: int, _halt: asyncio.Event) -> list[Report]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return [Report(id, stream.name, stream.unit, Ending(SUCCEEDED, 0))]

    names = ("session_recordings", "insights", "playlists", "groups", "subscriptions")
    reports = await go_through(names, 2, work)
    assert ([report.stream for report in reports], most) == ([*names], 2)


async def go_through(names: Sequence[str], at_once: int, work: Any) -> list[Report]:
    """Do `work` for these streams of one project of a known host."""

    class Known:
        async def hosts(self) -> list[str]:
            return ["host"]

    tools: Any = [
        SimpleNamespace(client=None, history=Known(), waits=Waits()) for _ in range(at_once)
    ]
    streams = [STREAMS[name] for name in names]
    return await for_each(tools, "host", ["1"], streams, asyncio.Event(), work, unwatched)
