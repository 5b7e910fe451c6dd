"""The pipeline in the test's own process: what the commands call, without starting one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, Protocol

from structlog.testing import capture_logs

from etl import app, upkeep
from etl.core.lookback import parse_duration
from etl.runs.backfill import BackfillRange
from etl.runs.check import Finding
from etl.runs.report import Report
from etl.runs.unit_forecast import Plan, UnitForecast
from etl.runs.work import Progress, ReadingProgress, Watch, unwatched
from etl.sandbox.server import RunningSandbox
from etl.settings import Settings
from etl.streams import STREAMS
from tests.support.command import DATA_DIR

LIST = {"path": "session_recordings"}
EVERY_STREAM = tuple(STREAMS)


class Source(Protocol):
    """A server to read from: the sandbox, or another one."""

    url: str


class Pipeline:
    """`sync`, `backfill`, `plan` and `status` against one source and one destination.

    The recordings, unless `streams` names others. Pages hold 20 records unless told otherwise; a
    failing request is not sent again. Nothing is logged: what is drawn of a traceback takes longer
    than a run.
    """

    def __init__(
        self,
        source: Source,
        dsn: str,
        *,
        streams: Sequence[str] = ("session_recordings",),
        **settings: Any,
    ) -> None:
        chosen = {
            "host": source.url,
            "api_key": "phx_sandbox",
            "project_id": "1",
            "database_url": dsn,
            "plan": "unlimited",
            "page_size_records": 20,
            "data_dir": DATA_DIR,
            "request_attempts": 1,
            **settings,
        }
        self.settings = Settings(**chosen)
        known = self.settings.catalogue
        self._streams = [known[name] for name in streams]

    async def sync(
        self, *, accept_deletions: Collection[str] = (), accept_counts: Collection[str] = ()
    ) -> Report:
        """Run a sync of one stream; the report of its only unit."""
        (report,) = await self.sync_each(
            accept_deletions=accept_deletions, accept_counts=accept_counts
        )
        return report

    async def sync_each(
        self, *, accept_deletions: Collection[str] = (), accept_counts: Collection[str] = ()
    ) -> list[Report]:
        """Run a sync of every project and stream; a report for each."""
        with capture_logs():
            return await app.sync(
                self.settings,
                self._streams,
                asyncio.Event(),
                unwatched,
                app.Acceptance(accept_deletions, accept_counts),
            )

    async def stopped_sync(self) -> list[Report]:
        """Run a sync that is asked to stop as soon as it has read anything."""
        stop = asyncio.Event()
        with capture_logs():
            return await app.sync(self.settings, self._streams, stop, _stopping(stop))

    async def stopped_backfill(self, since: datetime, until: datetime) -> list[Report]:
        """Run a backfill by the day that is asked to stop as soon as it has read anything."""
        stop, past = asyncio.Event(), BackfillRange(since, until, timedelta(days=1))
        with capture_logs():
            return await app.backfill(self.settings, self._streams, past, stop, _stopping(stop))

    async def backfill(
        self,
        since: datetime,
        until: datetime | None = None,
        window: str = "1d",
        *,
        newest_first: bool = True,
        again: bool = False,
    ) -> list[Report]:
        """Run a backfill; a report per window that was read."""
        past = BackfillRange(since, until, parse_duration(window), newest_first, again)
        with capture_logs():
            return await app.backfill(
                self.settings, self._streams, past, asyncio.Event(), unwatched
            )

    async def resync_each(self, *, accept_deletions: Collection[str] = ()) -> list[Report]:
        """Read every project and stream anew."""
        accepted = app.Acceptance(accept_deletions)
        with capture_logs():
            return await app.resync(
                self.settings, self._streams, asyncio.Event(), unwatched, accepted
            )

    async def stopped_resync(self) -> list[Report]:
        """Begin to read every stream anew, and stop as soon as anything is read."""
        stop = asyncio.Event()
        with capture_logs():
            return await app.resync(self.settings, self._streams, stop, _stopping(stop))

    async def verify(self, *, deep: bool = True, repair: bool = False, **more: Any) -> Report:
        """Compare one stream with its source."""
        (report,) = await self.verify_each(deep=deep, repair=repair, **more)
        return report

    async def verify_each(self, **asked: Any) -> list[Report]:
        """Compare every project and stream with the source."""
        with capture_logs():
            return await upkeep.verify(
                self.settings,
                self._streams,
                upkeep.Verification(**asked),
                asyncio.Event(),
                unwatched,
            )

    async def verify_slices(self) -> list[Report]:
        """Verify what of each project and stream has its turn; a report for each stretch."""
        with capture_logs():
            return await upkeep.verify_slices(
                self.settings, self._streams, asyncio.Event(), unwatched
            )

    async def plan(self, past: BackfillRange | None = None) -> Sequence[UnitForecast]:
        """Ask what would be done, by what is known here."""
        return (await self.whole_plan(past, 0)).units

    async def whole_plan(self, past: BackfillRange | None = None, most_asked: int = 10) -> Plan:
        """Ask what would be done, and the source how much there is."""
        with capture_logs():
            return await app.make_forecast(
                self.settings, self._streams, past, unwatched, most_asked
            )

    async def status(self) -> dict[str, Any]:
        """Return the status of one stream."""
        (row,) = await self.status_each()
        return row

    async def status_each(self) -> list[dict[str, Any]]:
        """Return the status of each stream."""
        names = {stream.name for stream in self._streams}
        found = await app.status(self.settings)
        return [row for row in found.streams if row["stream"] in names]

    async def check(self) -> list[Finding]:
        """Have everything looked at that a sync needs."""
        with capture_logs():
            return await app.check(self.settings, self._streams)


def lists(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    """The requests for a page of the list since the last `reset_requests`, oldest first."""
    return [
        request
        for request in sandbox.control.requests()
        if request["path"].rstrip("/").endswith("session_recordings")
        and "session_ids" not in request["query"]
    ]


def questions(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    """The requests for named recordings: by `session_ids`, or one by one."""
    pages = [request["n"] for request in lists(sandbox)]
    return [
        request
        for request in sandbox.control.requests()
        if "session_recordings" in request["path"] and request["n"] not in pages
    ]


def truth_starts(sandbox: RunningSandbox) -> dict[str, datetime]:
    """The recordings that can be seen now, and when they truly start."""
    return {
        row["id"]: datetime.fromisoformat(row["start_time"])
        for row in sandbox.control.truth_rows("session_recordings")
    }


def now_of(sandbox: RunningSandbox) -> datetime:
    """The sandbox's clock."""
    return datetime.fromisoformat(sandbox.control.state()["now"])


def midnight(sandbox: RunningSandbox, days_ago: int = 0) -> datetime:
    """The beginning of a day by the sandbox's clock."""
    today = now_of(sandbox).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days_ago)


class _Stopping(Progress):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def reached(self, progress: ReadingProgress) -> None:
        if progress.requests:
            self._stop.set()


def _stopping(stop: asyncio.Event) -> Watch:
    return lambda _project, _stream: nullcontext(_Stopping(stop))
