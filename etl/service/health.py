"""The routes for machines: /healthz (alive), /readyz (ready for runs) and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from etl.app import Destination
from etl.errors import DestinationError, DestinationUnavailable
from etl.loaders.history import History
from etl.loaders.queue import count_jobs
from etl.loaders.version import is_current
from etl.service.access import HEALTHZ
from etl.service.metrics import CONTENT_TYPE, Metrics
from etl.settings import Settings

CURRENT = "@current"
# Less than the time-outs of the database, because clients of these routes wait less.
_PATIENCE_S = 4.0


class Health:
    """Reports the state of the process and its database.

    hidden: removes secrets from a text.
    """

    def __init__(
        self,
        destination: Destination,
        metrics: Metrics,
        hidden: Callable[[str], str],
        settings: Settings,
    ) -> None:
        self._settings = settings
        self._destination = destination
        self._history = History(destination.database, destination.tables)
        self._metrics = metrics
        self._hidden = hidden
        # Simultaneous requests share one query.
        self._one = asyncio.Lock()

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(HEALTHZ, self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._show_metrics),
        ]

    async def why_not_ready(self) -> str | None:
        """Return why no run could begin now, None if one could."""
        try:
            async with asyncio.timeout(_PATIENCE_S), self._one:
                database, tables = self._destination.database, self._destination.tables
                if not await is_current(database, tables):
                    return "The database is not migrated: run `posthog-etl migrate`"
        except DestinationError as exc:
            return self._hidden(str(exc))
        except TimeoutError:
            return "The database does not answer in time"
        return None

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"alive": True})  # the answer itself is the proof

    async def _readyz(self, _request: web.Request) -> web.Response:
        reason = await self.why_not_ready()
        body = {"ready": reason is None, "reason": reason}
        return web.json_response(body, status=200 if reason is None else 503)

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        await self._look()
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _look(self) -> None:
        """Update the metrics from the database, or mark them as unknown."""
        try:
            async with asyncio.timeout(_PATIENCE_S), self._one:
                for attempt in (1, 2):
                    try:
                        now = await self._history.database_now()
                        runs = await self._history.runs_since(self._metrics.counted_until or now)
                        rows = await self._history.status(self._settings.is_removed)
                        held = await self._history.leases_held()
                        database, tables = self._destination.database, self._destination.tables
                        jobs = await count_jobs(database, tables)
                        break
                    except DestinationUnavailable:
                        if attempt == 2:  # the first attempt may meet a dead connection
                            raise
        except (DestinationError, TimeoutError):
            self._metrics.unseen()
        else:
            self._metrics.count(runs, now)
            expected = self._expected(rows)
            self._metrics.seen(rows, held, jobs, now, expected, self._settings.named)

    def _expected(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Return project and name of the streams that are to be read.

        The number of @current is that of the project with the latest run, once there is one.
        """
        projects = list(self._settings.projects)
        if CURRENT in projects and rows:
            latest = max(rows, key=lambda row: row["started_at"])
            projects[projects.index(CURRENT)] = str(latest["project_id"])
        streams = self._settings.scheduled
        return [(project, stream.name) for project in projects for stream in streams]
