"""Counts the requests of the ways found to read windows whose edges cut sessions.

    python benchmarks/edges.py
    python benchmarks/edges.py --per-day 300

Against the sandbox, by its own request counter; nothing is timed. Each way reads the same thirty
days in windows of a day, a week and thirty days, as if each window were to be closed by itself, and
what it holds at the end is compared with the truth: a way that is cheap and wrong shows as such.
Ends with 1 when ours is wrong, or dearer than one that is right.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import aiohttp
import structlog

from etl.core.coverage import Span, split
from etl.core.page import HashedRecord
from etl.core.place import RecordingsPlace
from etl.core.retry import RetryPolicy
from etl.core.walk import Ask
from etl.core.window import MARGIN, Window
from etl.extractors.client import Client, DatabaseClock
from etl.extractors.protocol import id_batches, ids_request, list_request
from etl.extractors.recordings import RecordingsReader
from etl.runs.check import NoBudget
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import RunningSandbox, running
from etl.streams.recordings import SESSION_RECORDINGS
from etl.waits import Waits

DAYS = 30
KEY = "phx_sandbox"
LENGTHS = (timedelta(days=1), timedelta(days=7), timedelta(days=30))
PATH = f"/api/projects/1/{SESSION_RECORDINGS.resources[0].lists[0].path}"
# What a cut session gets wrong.
COMPARED = ("start_time", "recording_duration", "active_seconds", "click_count", "keypress_count")
# The longest pause in a session that the cheap variant of re-reading by ids allows for.
PAUSE = timedelta(hours=1)

Record = dict[str, Any]
Held = dict[str, Record]


class Source:
    """The sandbox's list, asked as each way likes."""

    def __init__(self, client: Client, page_rows: int) -> None:
        self._client = client
        self._page_rows = page_rows

    async def rows(self, asked: Span) -> AsyncIterator[Record]:
        """Yield the list between two dates, to its end."""
        after = None
        while True:
            ask = Ask(self._page_rows, after=after)
            answer = await self._client.fetch(list_request(PATH, ask, asked, ()))
            document = _parsed(answer.body)
            for row in document["results"]:
                yield row
            if not document["has_next"]:
                return
            after = document["next_cursor"]

    async def by_ids(self, ids: Iterable[str]) -> AsyncIterator[Record]:
        """Yield recordings by their ids, in batches that fit into an address."""
        for batch in id_batches(ids):
            answer = await self._client.fetch(ids_request(PATH, batch, ()))
            for row in _parsed(answer.body)["results"]:
                yield row

    def reader(self) -> RecordingsReader:
        """Return what the pipeline reads with."""
        return RecordingsReader(
            self._client,
            SESSION_RECORDINGS,
            1,
            prefix="projects",
            page_size_records=self._page_rows,
        )


async def margins_to_the_end(source: Source, windows: list[Span]) -> Held:
    """(a) A margin on both sides of each window, and the list read to its end."""
    held: Held = {}
    for window in windows:
        async for row in source.rows(Span(window.since - MARGIN, window.until + MARGIN)):
            if window.since <= _start(row) < window.until:
                held[row["id"]] = row
    return held


async def margins_left_early(source: Source, windows: list[Span]) -> Held:
    """(a') The same, left when the list has come down to before the window."""
    held: Held = {}
    for window in windows:
        reader = source.reader()
        async for page in reader.pages(Window(*window)):
            held |= {row["id"]: row for row in map(_plain, page.records)}
    return held


def by_ids(near: timedelta, *, ends: bool) -> Callable[[Source, list[Span]], Awaitable[Held]]:
    """(b) No margin; what may be cut is read again by its ids, once for both windows it is in.

    near: how far from an edge of a window. ends: whether a session that is shown to end before
    that is believed.
    """

    async def read(source: Source, windows: list[Span]) -> Held:
        held: Held = {}
        doubtful: dict[str, None] = {}
        for window in windows:
            async for row in source.rows(window):
                start, end = _start(row), datetime.fromisoformat(row["end_time"])
                last = end if ends else start
                if start < window.since + near or last > window.until - near:
                    doubtful[row["id"]] = None
                elif start < window.until:
                    held[row["id"]] = row
        async for row in source.by_ids(doubtful):
            if windows[0].since <= _start(row) < windows[-1].until:
                held[row["id"]] = row
        return held

    return read


async def one_cursor(source: Source, windows: list[Span]) -> Held:
    """(c) Newest first under one cursor; the margin above is read once."""
    held: Held = {}
    reader, place = source.reader(), cast("RecordingsPlace | None", None)
    for since, until in reversed(windows):
        window = Window(since, until, also_since=windows[0].since)
        follows = None if place is None else place.followed_by(window)
        # A window that the last page has shown whole needs no page of its own.
        place = follows
        async for page in reader.pages(window, follows):
            place = cast("RecordingsPlace", page.place)
            held |= {row["id"]: row for row in map(_plain, page.records)}
    return held


WAYS: dict[str, Callable[[Source, list[Span]], Awaitable[Held]]] = {
    "a   margins, to the end of the list": margins_to_the_end,
    "a'  margins, left below the window": margins_left_early,
    "b   by ids, all within 25 h of an edge": by_ids(MARGIN, ends=False),
    "b'  by ids, shown within 1 h of an edge": by_ids(PAUSE, ends=True),
    "c   one cursor for all windows (ours)": one_cursor,
}


async def measure(per_day: int, page_rows: int) -> tuple[list[str], bool]:
    """Return the lines of the table for one size of project, and whether ours is the cheapest."""
    options = SandboxOptions(
        recordings=per_day * (DAYS + 4), days=DAYS + 4.0, clock="frozen", port=0
    )
    lines = []
    right: dict[timedelta, int] = {}
    is_cheapest = False
    async with (
        running(options) as sandbox,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
    ):
        now = datetime.fromisoformat(sandbox.control.state()["now"])
        until = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
        whole = Span(until - timedelta(days=DAYS), until)
        add_sessions_at_edges(sandbox, whole)
        truth = {
            row["id"]: row
            for row in sandbox.control.truth_rows("session_recordings")
            if whole.since <= datetime.fromisoformat(row["start_time"]) < whole.until
        }
        source = Source(client_of(session, sandbox, now), page_rows)
        for name, way in WAYS.items():
            cells = []
            is_cheapest = True
            for length in LENGTHS:
                sandbox.control.reset_requests()
                held = await way(source, windows_of(whole, length))
                requests = sandbox.control.state()["requests"]["total"]
                wrong = count_wrong(held, truth)
                is_cheapest &= not wrong and requests <= right.get(length, requests)
                if not wrong:
                    right[length] = min(requests, right.get(length, requests))
                cells.append(f"{requests:,}" + (f" ({wrong} wrong)" if wrong else ""))
            lines.append(f"| {per_day:,} | {name} | " + " | ".join(cells) + " |")
    return lines, is_cheapest


def windows_of(whole: Span, length: timedelta) -> list[Span]:
    """Cut from the beginning of the range, so that 30 days are one window."""
    edges = [whole.since]
    while edges[-1] < whole.until:
        edges.append(min(edges[-1] + length, whole.until))
    return [Span(*pair) for pair in itertools.pairwise(edges)]


def add_sessions_at_edges(sandbox: RunningSandbox, whole: Span) -> None:
    """Add sessions across every midnight: short, a day long, and one that pauses for hours."""
    operations: list[dict[str, Any]] = []
    for day in split(Span(whole.since - timedelta(days=1), whole.until), timedelta(days=1)):
        for name, before, hours in (("long", 23, 24), ("short", 0.2, 0.5), ("pauses", 4, 0.5)):
            start = day.until - timedelta(hours=before)
            each = f"{name} {day.until:%m-%d}"
            operations.append(
                {
                    "op": "start_session",
                    "id": each,
                    "start_time": start.isoformat(),
                    "duration_s": hours * 3600,
                }
            )
            if name == "pauses":
                later = (day.until + timedelta(hours=4)).isoformat()
                operations.append({"op": "add_piece", "id": each, "start_time": later})
    sandbox.control.change(*operations)


def count_wrong(held: Held, truth: Held) -> int:
    """Return how many recordings are missing, surplus or cut."""
    cut = sum(
        any(held[each][name] != truth[each][name] for name in COMPARED)
        for each in held.keys() & truth.keys()
    )
    return cut + len(held.keys() ^ truth.keys())


def client_of(session: aiohttp.ClientSession, sandbox: RunningSandbox, now: datetime) -> Client:
    """Return a client without a budget."""
    policy, clock = RetryPolicy(attempts=1), DatabaseClock(now)
    return Client(session, sandbox.url, NoBudget(), clock, policy, 0.0, Waits(), secret=KEY)


def _plain(record: Any) -> Record:
    plain: Record = _parsed(bytes(record.raw)) if isinstance(record, HashedRecord) else record
    return plain


def _parsed(body: bytes) -> Any:
    return json.loads(body)


def _start(row: Record) -> datetime:
    return datetime.fromisoformat(row["start_time"]).astimezone(UTC)


async def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--per-day", type=int, nargs="*", default=[30, 300, 3000])
    parser.add_argument("--page-rows", type=int, default=1000)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print("| recordings a day | way | 1 d | 7 d | 30 d |")
    print("|---:|---|---:|---:|---:|")
    code = 0
    for per_day in chosen.per_day:
        lines, ours_is_cheapest = await measure(per_day, chosen.page_rows)
        print("\n".join(lines), flush=True)
        code |= not ours_is_cheapest
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
