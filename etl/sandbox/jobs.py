"""Queries that run in the background."""

from dataclasses import dataclass
from typing import Any

from etl.sandbox.clock import MINUTE_US, to_datetime
from etl.sandbox.errors import ApiError
from etl.sandbox.faults import Fault
from etl.sandbox.query_answers import Asked

KEPT_US = 20 * MINUTE_US
"""How long a query and its result are known."""


@dataclass(slots=True)
class Job:
    """A query in the background; it is carried out when its status is asked for.

    forced: whether a cached result won't do. polls: how often it is still running when it is
    asked for. fault: what was to happen to it when it began.
    """

    id: str
    asked: Asked
    forced: bool
    begun_us: int
    task_id: str
    polls: int
    fault: Fault
    ended_us: int | None = None
    results: dict[str, Any] | None = None
    error: ApiError | None = None
    bytes_read: int = 0

    @property
    def is_nameless(self) -> bool:
        """Whether it failed without a message."""
        return self.error is not None and self.error.status == 500

    @property
    def status_code(self) -> int:
        """202 while it runs, 200 when it is complete, 400 or 500 when it failed."""
        if self.ended_us is None:
            return 202
        return 200 if self.error is None else 500 if self.is_nameless else 400

    def status(self, project: int) -> dict[str, Any]:
        """The body of every answer about it (PostHog source, execute_async.py)."""
        ended = None if self.ended_us is None else to_datetime(self.ended_us)
        named = None if self.error is None or self.is_nameless else self.error
        status = {
            "id": self.id,
            "team_id": project,
            "query_async": True,
            "complete": ended is not None,
            "error": self.error is not None,
            "error_message": None if named is None else str(named),
            "error_code": None if named is None else named.body["code"],
            "results": self.results,
            "start_time": to_datetime(self.begun_us),
            "pickup_time": ended,
            "end_time": ended,
            "expiration_time": to_datetime(self.begun_us + KEPT_US),
            "task_id": self.task_id,
            "insight_id": None,
            "dashboard_id": None,
            "labels": None,
            "query_progress": None,
            "cache_key": self.asked.cache_key(project),
            "bytes_read": self.bytes_read if ended is not None else None,
            "query_scan": None if named is None else named.body.get("extra", {}).get("query_scan"),
        }
        return {"query_status": status}
