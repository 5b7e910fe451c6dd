"""The status page mounted into an application of the tests' own, and histories to show on it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from aiohttp import web

from etl.app import open_destination
from etl.service.page import routes
from etl.settings import Settings

KEY = "phx_thekeyofthepage"
WINDOWS = "session_recordings"
# So far away that the page says the same for hours.
NEXT_SYNC_IN = timedelta(days=3, hours=2)


@asynccontextmanager
async def served_page(
    dsn: str, *, next_sync_in: timedelta = NEXT_SYNC_IN, **settings: Any
) -> AsyncIterator[str]:
    """Serve the page of a database; give its address."""
    chosen = {"host": "https://eu.posthog.com", "api_key": KEY, "start": "2025-01-01", **settings}
    read = Settings(database_url=dsn, **chosen)
    async with open_destination(read) as destination:
        application = web.Application()
        application.add_routes(routes(destination, read, {"all": datetime.now(UTC) + next_sync_in}))
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


class Books:
    """Writes bookkeeping rows, as runs would have left them."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], now: datetime) -> None:
        self._connection = connection
        self.now = now

    async def put(self, table: str, **values: Any) -> None:
        """Insert a row."""
        names = ", ".join(values)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await self._connection.execute(
            f"INSERT INTO posthog_etl.{table} ({names}) VALUES ({places})", *values.values()
        )

    async def run(
        self,
        stream: str = WINDOWS,
        status: str = "succeeded",
        *,
        ago_s: float = 60.0,
        took_s: float = 2.0,
        project_id: int = 1,
        unit: str | None = None,
        held: bool = True,
        position: str | None = None,
        **values: Any,
    ) -> str:
        """Insert a run that began `ago_s` ago, and return its id; a running one holds its unit."""
        run_id = str(uuid.uuid4())
        began = self.now - timedelta(seconds=ago_s)
        unit = unit or ("tail" if stream == WINDOWS else "snapshot")
        counts = ("records_read", "rows_inserted", "rows_updated", "rejected", "requests")
        row = {
            "id": run_id,
            "command": "sync",
            "project_id": project_id,
            "stream": stream,
            "unit": unit,
            "status": status,
            "started_at": began,
            "ended_at": None if status == "running" else began + timedelta(seconds=took_s),
            **dict.fromkeys((*counts, "bytes_read"), 0),
            **values,
        }
        await self.put("runs", **row)
        await self._connection.execute(
            "INSERT INTO posthog_etl.checkpoints (project_id, stream, unit, fence, batch, position,"
            " updated_at) VALUES ($1, $2, $3, 1, 1, $4, $5) ON CONFLICT DO NOTHING",
            *(project_id, stream, unit, position, began),
        )
        if status == "running" and held:
            await self.put(
                "leases",
                project_id=project_id,
                stream=stream,
                unit=unit,
                holder=run_id,
                expires_at=self.now + timedelta(hours=1),
            )
        return run_id

    async def end(self, run_id: str, status: str = "succeeded", **values: Any) -> None:
        """End a run now."""
        changes = {"status": status, "ended_at": datetime.now(UTC), **values}
        names = ", ".join(f"{name} = ${number}" for number, name in enumerate(changes, 2))
        await self._connection.execute(
            f"UPDATE posthog_etl.runs SET {names} WHERE id = $1", run_id, *changes.values()
        )

    async def complete(
        self,
        stream: str = WINDOWS,
        spans: Sequence[tuple[datetime, datetime]] = (),
        *,
        project_id: int = 1,
        until: datetime | None = None,
        traits: str | None = None,
    ) -> None:
        """Say how far a stream is known complete."""
        ranges = [asyncpg.Range(since, end) for since, end in spans]
        await self.put(
            "watermarks",
            project_id=project_id,
            stream=stream,
            complete=ranges,
            tail_until=until,
            traits=traits,
            updated_at=self.now,
        )

    async def verified(
        self, stream: str, window: tuple[datetime, datetime] | None = None, *, missing: int = 0
    ) -> None:
        """Say that a stream was compared eight hours ago, and that so many rows are missing."""
        since, end = window or (None, None)
        await self.put(
            "reconciliations",
            project_id=1,
            stream=stream,
            table_name=stream,
            since=since,
            until=end,
            how="contents",
            missing=missing,
            surplus=0,
            different=0,
            checked_at=self.now - timedelta(hours=8),
        )

    async def reject(
        self,
        key: str,
        reason: str,
        *,
        ago_s: float,
        stream: str = WINDOWS,
        project_id: int = 1,
        payload: str = "{}",
    ) -> None:
        """Set a record aside."""
        at = self.now - timedelta(seconds=ago_s)
        await self.put(
            "rejects",
            project_id=project_id,
            stream=stream,
            record_key=key,
            reason=reason,
            payload=payload,
            first_seen_at=at,
            last_seen_at=at,
        )

    async def requests(self, name: str, ages_s: Sequence[float]) -> None:
        """Say that requests of a class were sent so long ago."""
        await self._connection.executemany(
            "INSERT INTO posthog_etl.requests (class, at) VALUES ($1, $2)",
            [(name, self.now - timedelta(seconds=age_s)) for age_s in ages_s],
        )

    async def alert(self, kind: str, stream: str, detail: str, *told: str) -> None:
        """Say that an alert is open since an hour, and which channels were told."""
        alert_id = str(uuid.uuid4())
        began_at = self.now - timedelta(hours=1)
        key = {"project_id": 1, "stream": stream, "kind": kind, "subject": "", "detail": detail}
        await self.put("alerts", id=alert_id, **key, began_at=began_at, unwatched=False)
        for channel in told:
            message = {"project_id": 1, "alert_id": alert_id, "channel": channel}
            await self.put("alert_messages", **message, event="began", tried=True, told_at=began_at)


@asynccontextmanager
async def books_of(dsn: str) -> AsyncIterator[Books]:
    """Open the bookkeeping of a migrated database."""
    connection = await asyncpg.connect(dsn)
    try:
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        yield Books(connection, now)
    finally:
        await connection.close()


async def put_good_times(books: Books, project_id: int = 1, syncs: int = 30) -> None:
    """Put a history in which all went well: syncs of three streams, a quarter of an hour apart."""
    for turn in range(syncs):
        for place, stream in enumerate((WINDOWS, "subscriptions", "groups")):
            await books.run(
                stream,
                project_id=project_id,
                ago_s=900.0 * (syncs - 1 - turn) + 200 - 20 * place,
                took_s=(3, 0.4, 1.2)[place] * (1 + (turn * 7 + place * 3) % 5),
                records_read=(900, 12, 250)[place] + turn * 5 % 37,
                requests=1 + turn % 3,
                rows_inserted=turn % 4,
            )
    now = books.now
    start = datetime(2025, 1, 1, tzinfo=UTC)
    await books.complete(spans=[(start, now - timedelta(minutes=3))], project_id=project_id)
    for stream in ("subscriptions", "groups"):
        await books.complete(stream, project_id=project_id, until=now - timedelta(minutes=3))


async def put_trouble(books: Books) -> dict[str, str]:
    """Put two projects with one of everything that can be wrong; return the runs by a name."""
    now = books.now
    start = datetime(2025, 1, 1, tzinfo=UTC)
    await put_good_times(books, project_id=2, syncs=8)
    runs = {}
    for turn in range(28):
        bad = {5: "failed", 6: "failed", 13: "partial", 19: "paused"}.get(turn, "succeeded")
        await books.run(
            status=bad,
            ago_s=900.0 * (30 - turn),
            took_s=2 + (turn * 11) % 40,
            records_read=0 if bad == "failed" else 700 + turn,
            reason="PostHog answered 503 six times" if bad == "failed" else None,
            rows_inserted=turn,
            requests=3,
            complete_until=None if turn < 3 else now - timedelta(seconds=900.0 * (30 - turn)),
        )
    for number in range(4):
        until = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=30 * number)
        unit = f"{(until - timedelta(days=30)):%Y-%m-%dT%H:%M:%SZ}/{until:%Y-%m-%dT%H:%M:%SZ}"
        runs["window"] = await books.run(
            status="running" if number == 3 else "succeeded",
            ago_s=400 - 100 * number,
            took_s=95,
            unit=unit,
            command="backfill",
            records_read=30_000 - 7_000 * (number == 3),
            requests=31,
            position=f'{{"low": "{(until - timedelta(days=12)).isoformat()}"}}',
        )
    holes = [(300, 310), (120, 205)]
    edges = [start]
    for older, younger in sorted((-a, -b) for b, a in holes):
        edges += [now + timedelta(days=older), now + timedelta(days=younger)]
    edges.append(now - timedelta(minutes=4))
    await books.complete(spans=list(zip(edges[::2], edges[1::2], strict=True)))
    await books.verified(WINDOWS, (start, now - timedelta(hours=34)), missing=1234)
    await books.verified("playlists")
    forbidden = (
        "The key lacks the scope subscription:read. Add it to the key under Settings, "
        "Personal API keys, or switch the stream off: POSTHOG_ETL_DISABLED_STREAMS=subscriptions"
    )
    for turn in range(12):
        runs["forbidden"] = await books.run(
            "subscriptions", "partial", ago_s=900.0 * (12 - turn), took_s=0.3, reason=forbidden
        )
    runs["paused"] = await books.run(
        "recording_sharing",
        "paused",
        unit="rotation",
        ago_s=300,
        took_s=70,
        records_read=60,
        paused_until=now + timedelta(minutes=41),
        reason="The request budget is spent until the next hour",
    )
    await books.run("groups", "succeeded", ago_s=1000, took_s=9, records_read=250)
    runs["dead"] = await books.run("groups", "running", ago_s=600, held=False)
    runs["rejected"] = await books.run(
        "insights",
        "partial",
        ago_s=500,
        took_s=20,
        records_read=400,
        rejected=2,
        reason="Records that could not be stored: 2. See `posthog-etl rejects list`",
    )
    for number in range(2):
        payload = f'{{"id": {number}, "name": "Ann", "click_count": "many", "key": "{KEY}"}}'
        await books.reject(
            *(f"{number}", "click_count: not a number"),
            ago_s=490,
            stream="insights",
            payload=payload,
        )
    await books.put(
        "drift",
        project_id=1,
        stream=WINDOWS,
        table_name=WINDOWS,
        field="brand_new",
        found="string",
        first_seen_at=now - timedelta(days=3),
    )
    await books.requests("recordings_list", [30.0 + 59 * number for number in range(60)])
    await books.alert("failed", "groups", "the process ended without a word", "webhook")
    return runs
