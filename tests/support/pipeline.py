"""The pipeline in the test's own process: what the commands call, without starting one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from structlog.testing import capture_logs

from etl import app
from etl.core.lookback import parse_duration
from etl.runs.backfill import Past
from etl.runs.outlook import Outlook
from etl.runs.report import Report
from etl.sandbox.server import RunningSandbox
from etl.settings import Settings
from etl.streams import SESSION_RECORDINGS

LIST = {"path": "session_recordings"}
_STREAMS = (SESSION_RECORDINGS,)


class Pipeline:
    """`sync`, `backfill`, `plan` and `status` against one source and one destination.

    Pages hold 20 records unless told otherwise; a failing request is not sent again. Nothing is
    logged: what is drawn of a traceback takes longer than a run.
    """

    def __init__(self, sandbox: RunningSandbox, dsn: str, **settings: Any) -> None:
        chosen = {
            "host": sandbox.url,
            "api_key": "phx_sandbox",
            "project_id": "1",
            "database_url": dsn,
            "plan": "unlimited",
            "page_size_records": 20,
            "request_attempts": 1,
            **settings,
        }
        self.settings = Settings(**chosen)

    async def sync(self, *, accept_deletions: Collection[str] = ()) -> Report:
        """Run a sync of the recordings; the report of its only unit."""
        with capture_logs():
            (report,) = await app.sync(
                self.settings, _STREAMS, asyncio.Event(), _watch, accept_deletions
            )
        return report

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
        past = Past(since, until, parse_duration(window), newest_first, again)
        with capture_logs():
            return await app.backfill(self.settings, _STREAMS, past, asyncio.Event(), _watch)

    async def plan(self, past: Past | None = None) -> list[Outlook]:
        """Ask what would be done."""
        with capture_logs():
            return await app.foresee(self.settings, _STREAMS, past)

    async def status(self) -> dict[str, Any]:
        """Return the only row of the status."""
        (row,) = await app.status(self.settings)
        return row


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


def _watch(_project: int, _stream: str) -> Any:
    return lambda *_reached: None
