"""The tools and options that every way of reading is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta

import structlog
from msgspec import Struct
from msgspec.structs import replace

from etl.core.clocks import TOLERANCE, written_since
from etl.core.guard import Guard
from etl.core.lookback import Lookback
from etl.core.stream import Resource, Stream
from etl.errors import Stopped
from etl.extractors.client import Client
from etl.loaders.budget import PostgresBudget
from etl.loaders.database import Database
from etl.loaders.growing import GrowingLists
from etl.loaders.history import History, Watermark
from etl.loaders.leases import Leases, Unit
from etl.loaders.loader import Loader
from etl.loaders.parents import ParentRows
from etl.loaders.row_counts import Count
from etl.loaders.slots import PostgresSlots
from etl.loaders.tables import Tables
from etl.loaders.verified import Looks
from etl.runs.prefetch import Room
from etl.waits import Wait, Waits

_log = structlog.get_logger(__name__)


class ReadingProgress(Struct, frozen=True):
    """How far a reading is: records and requests so far, counts.

    low: the start down to which everything was read, where the list is ordered. share: of the
    whole, 0 to 1; None if it is not known. least_s: what the request budget takes for the rest at
    least, in seconds. window: which one of how many is read; None if there is only one.
    """

    records: int
    requests: int
    low: datetime | None = None
    share: float | None = None
    least_s: float = 0.0
    window: tuple[int, int] | None = None


class Progress:
    """Is told how the work on a stream comes along. This one shows nothing.

    shown: whether somebody watches, so that a request is worth it to know how much there is.
    """

    shown = False

    def reached(self, progress: ReadingProgress) -> None:
        """Take in how far it is, after each batch."""

    def waits(self, wait: Wait | None) -> None:
        """Take in what it waits for from now on; None: it goes on."""


# Shows progress: (project, stream) -> a block in which the work on that stream is shown. Before any
# stream begins, there is no project.
Watch = Callable[[int | None, str], AbstractContextManager[Progress]]


def unwatched(_project_id: int | None, _stream: str) -> AbstractContextManager[Progress]:
    """Show nothing; the table `runs` has it."""
    return nullcontext(Progress())


async def show_waits(waits: Waits, progress: Progress) -> None:
    """Tell `progress` what is waited for, for ever. A run does that by itself."""
    while True:
        await waits.changed.wait()
        waits.changed.clear()
        progress.waits(waits.current)


class Tools(Struct, frozen=True):
    """What a unit is executed with; `app.py` opens and closes it."""

    client: Client
    database: Database
    budget: PostgresBudget
    waits: Waits
    leases: Leases
    history: History
    parents: ParentRows
    growing: GrowingLists
    looks: Looks
    loader: Callable[[str, Resource], Loader]
    slots: PostgresSlots
    tables: Tables


class RunOptions(Struct, frozen=True):
    """How a stream is read: from where at first, how much again, in what portions.

    guard: how much may vanish at once. accept_deletions: streams that may vanish all the same.
    accept_counts: streams whose server may count as many rows too many as in the last run.
    confirm_requests: how many requests a run may send for single records that its reading did not
    show, a count. rotation_requests: how many resources a sync checks, a count;
    recheck_after: when one is due again. keep_fields: see `SingleReader`. believes_hashes: whether
    a record is skipped whose rows are stored with its hashes. at_once: streams that are read though
    they are not due.
    """

    start: datetime
    lookback: Lookback
    prefix: str
    page_size_records: int
    room: Room
    guard: Guard
    accept_deletions: Collection[str] = ()
    accept_counts: Collection[str] = ()
    confirm_requests: int = 500
    rotation_requests: int = 200
    recheck_after: timedelta = timedelta(hours=6)
    keep_fields: Collection[str] = ()
    believes_hashes: bool = True
    at_once: Collection[str] = ()


class Assignment(Struct, frozen=True):
    """What the runs of one stream of one project are given.

    stop: once it is set, a run ends after the batch in hand. progress: told after each batch, and
    of waits.
    """

    tools: Tools
    options: RunOptions
    stream: Stream
    project_id: int
    stop: asyncio.Event
    progress: Progress


async def trusted_watermark(
    tools: Tools, options: RunOptions, stream: Stream, unit: Unit
) -> Watermark:
    """Return the stream's watermarks, cut back where a wrong clock wrote them into the future.

    A stretch that ends there is cut back to the start of the run that wrote it, so that what was
    not read since is read, or shows as a hole. Safe to repeat. Raises DestinationError.
    """
    for attempt in tools.database.attempts():
        async with attempt:
            watermark = await tools.history.watermark(unit)
    latest = tools.client.clocks.latest + TOLERANCE
    end, tail = watermark.complete.until, watermark.tail_until
    if not any(at is not None and at > latest for at in (end, tail)):
        return watermark
    for attempt in tools.database.attempts():
        async with attempt:
            until = tail
            if tail is not None and tail > latest:
                runs = await tools.history.past_runs(replace(unit, name=stream.unit))
                until = written_since(tail, options.lookback.grades[-1].age, runs)
            _log.warning("watermark.cut_back", was=text_of(tail or end), until=text_of(until))
            await tools.history.cut_back(unit, until)
            watermark = await tools.history.watermark(unit)
    return watermark


def text_of(at: datetime | None) -> str | None:
    """Return an instant as logs and traits write it."""
    return None if at is None else at.isoformat()


async def rows_now(tools: Tools, stream: Stream, project_id: int) -> Mapping[str, Count]:
    """Return how many rows each of the stream's tables holds. Raises DestinationError."""
    return await tools.history.row_counts(project_id, stream.tables)


def stopped() -> Stopped:
    """Return the error of a run that was asked to stop."""
    return Stopped(
        "Stopped before the end; what was read is committed", remedy="The next run goes on"
    )
