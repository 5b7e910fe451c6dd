"""Queries that run in the background."""

from dataclasses import dataclass
from typing import Any

from etl.sandbox.clock import MINUTE_US, to_datetime

KEPT_US = 20 * MINUTE_US
"""How long a query and its result are known."""


@dataclass(slots=True)
class Job:
    """A query in the background; it is carried out when its status is first asked for."""

    id: str
    sql: str
    begun_us: int
    task_id: str
    ended_us: int | None = None
    results: dict[str, Any] | None = None
    error_message: str | None = None

    def status(self, project: int) -> dict[str, Any]:
        """The body of every answer about it."""
        ended = None if self.ended_us is None else to_datetime(self.ended_us)
        status = {
            "id": self.id,
            "team_id": project,
            "query_async": True,
            "complete": ended is not None,
            "error": self.error_message is not None,
            "error_message": self.error_message,
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
        }
        return {"query_status": status}
