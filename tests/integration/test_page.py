"""The status page over HTTP, against a real Postgres."""

from __future__ import annotations

import html
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import asyncpg
import pytest_asyncio

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.history import History
from etl.loaders.row_counts import Count
from etl.loaders.status_queries import StatusQueries
from etl.loaders.tables import Tables
from etl.service.page.overview import share_of
from etl.streams import TABLE_SPECS
from tests.support.page import KEY, WINDOWS, books_of, put_trouble, served_page
from tests.support.sql import select

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
NOBODY = str(uuid.UUID(int=0))


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str


class Reader:
    """Asks the page."""

    def __init__(self, http: aiohttp.ClientSession, url: str, dsn: str, runs: dict[str, str]):
        self._http = http
        self._url = url
        self.dsn = dsn
        self.runs = runs

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for a path."""
        async with self._http.request(method, self._url + path, headers=headers) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.text())


@pytest_asyncio.fixture
async def reader(dsn: str) -> AsyncIterator[Reader]:
    """A page with one of everything that can be wrong."""
    async with books_of(dsn) as books:
        runs = await put_trouble(books)
    async with served_page(dsn) as url, aiohttp.ClientSession() as http:
        yield Reader(http, url, dsn, runs)


async def test_every_answer_carries_the_strict_headers(reader: Reader) -> None:
    """Also what is not found, and what a browser loads beside the page."""
    found = ["/", "/live", f"/runs/{reader.runs['dead']}", f"/live/runs/{reader.runs['dead']}"]
    found += ["/runs", "/live/runs?status=failed", "/rejects", "/streams/1/insights?over=1d"]
    found += ["/live/streams/2/groups"]
    static = ["/static/page.css", "/static/page.js", "/static/icon.svg"]
    lost = [f"/runs/{NOBODY}", "/runs/x", f"/live/runs/{NOBODY}", "/static/../views.py"]
    lost += ["/static/nothing", "/static/..%2fviews.py", "/streams/3/groups", "/streams/1/persons"]
    bad = [
        "/runs?stream=group",
        "/live/runs?since=x",
        "/rejects?older=1",
        "/streams/2/groups?over=1",
    ]
    for path in (*found, *static, *lost, *bad):
        for method in ("GET", "HEAD"):
            answer = await reader.get(path, method)
            assert answer.status == (404 if path in lost else 400 if path in bad else 200), path
            if path == "/static/../views.py":
                continue  # The client makes /views.py of it, which is no route of ours.
            assert answer.headers["Content-Security-Policy"] == POLICY
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert answer.headers["Cache-Control"] == "no-store"


async def test_the_page_only_reads(reader: Reader) -> None:
    """There is nothing to send anything to."""
    paths = ("/runs", "/rejects", "/streams/1/groups", f"/runs/{reader.runs['dead']}")
    for path in ("/", "/live", "/static/page.js", *paths):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert (await reader.get(path, method)).status == 405


async def test_no_secret_is_on_any_page(reader: Reader) -> None:
    """Neither the key, nor the address of the database."""
    parsed = parse_database_url(reader.dsn)
    secrets = {KEY, reader.dsn, str(parsed.url.database), "asyncpg"}
    others = ("/runs", "/rejects", "/streams/1/insights", "/rejects?project=1&stream=insights")
    for path in ("/", "/live", *others, *(f"/runs/{run}" for run in reader.runs.values())):
        text = (await reader.get(path)).text
        assert "posthog-etl" in text or "verdict" in text
        assert not [secret for secret in secrets if secret in text]


async def test_what_has_not_changed_is_not_sent_again(reader: Reader) -> None:
    """It has the same tag, and the time beside it."""
    path = f"/live/runs/{reader.runs['rejected']}"
    first = await reader.get(path)
    again = await reader.get(path, **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.text) == (304, "")
    assert again.headers["X-As-Of"] >= first.headers["X-As-Of"]
    other = await reader.get(path, **{"If-None-Match": '"other"'})
    assert (other.status, other.text) == (200, first.text)


async def test_a_run_is_shown_with_its_unit_and_what_was_set_aside(reader: Reader) -> None:
    """Its own row, its neighbours, and the rejects first seen within it; never a payload."""
    text = (await reader.get(f"/runs/{reader.runs['rejected']}")).text
    assert text.count("click_count: not a number") == 2
    for path, root in (("/runs", ""), (f"/runs/{reader.runs['rejected']}", "../")):
        text = (await reader.get(path)).text
        there = f"{root}rejects?project=1&amp;stream=insights"
        assert f'See <a href="{there}">the rejected records</a>' in text
        assert "posthog-etl rejects list" not in text
    text = (await reader.get(f"/runs/{reader.runs['forbidden']}")).text
    assert text.count('id="other-') == 12
    assert "subscription:read" in text


async def listed(reader: Reader, path: str, name: str) -> tuple[list[list[str]], str]:
    """Follow a list from its newest part to its oldest; return the ids by part, and the last."""
    parts, text = [], (await reader.get(path)).text
    while True:
        parts.append(re.findall(rf'{name}="([^"]+)"', text))
        older = re.search(r'rel="next" href="([^"]+)"', text)
        if older is None:
            return parts, text
        text = (await reader.get("/" + html.unescape(older[1]))).text


async def test_lists_are_turned_page_by_page(dsn: str) -> None:
    """Each row once, also if several have the same time and rows are added; and back again."""
    payload = '{"name": "Ann"}'
    async with books_of(dsn) as books:
        runs = [await books.run("groups", ago_s=60.0 * (n // 3)) for n in range(120)]
        for n in range(60):
            await books.reject(f"{n} <a'b>", "no", ago_s=60.0 * (n // 4), payload=payload)
        async with served_page(dsn) as url, aiohttp.ClientSession() as http:
            reader = Reader(http, url, dsn, {})
            first = await reader.get("/runs?stream=groups&project=1")
            await books.run("groups", ago_s=-9)
            parts, text = await listed(reader, "/runs?stream=groups&project=1", 'tr role="row" id')
            assert [len(part) for part in parts] == [50, 50, 20]
            seen = [each.removeprefix("run-") for part in parts for each in part]
            assert sorted(seen) == sorted(runs)
            for part in parts[-2::-1]:
                newer = re.search(r'rel="prev" href="([^"]+)"', text)
                assert newer is not None
                text = (await reader.get("/" + html.unescape(newer[1]))).text
                assert re.findall(r'tr role="row" id="([^"]+)"', text) == part
            older = re.search(r'rel="next" href="([^"]+)"', first.text)
            assert older is not None
            assert f'id="{parts[1][0]}"' in (await reader.get("/" + html.unescape(older[1]))).text
            keys, _ = await listed(reader, "/rejects?project=1", "aria-label")
            found = [key for part in keys for key in part if key.startswith("Record ")]
            wanted = {f"Record {n} &lt;a&#39;b&gt; as received" for n in range(60)}
            assert len(found) == 60
            assert set(found) == wanted


async def test_a_run_that_died_is_listed_as_failed_and_not_as_running(reader: Reader) -> None:
    """Its row still says that it runs."""
    for status, there in (("failed", True), ("running", False)):
        text = (await reader.get(f"/runs?stream=groups&status={status}")).text
        assert (reader.runs["dead"] in text) is there


async def test_a_stream_shows_its_history(dsn: str) -> None:
    """Lag, rows and requests over time, rejects with payload, drift and results of verify.

    Also a query's, whose name has a colon, and whatever else a name may hold.
    """
    async with books_of(dsn) as books:
        await put_trouble(books)
        now = books.now
        await books.run(
            "query:visits",
            unit="query",
            ago_s=3600,
            requests=7,
            complete_until=now - timedelta(hours=1, minutes=10),
        )
        await books.run("a/b c?d#e%f&g={h}", requests=77)
        query = {"name": "visits", "query": "SELECT 1 AS day", "key": "day"}
        async with served_page(dsn, queries=[query]) as url, aiohttp.ClientSession() as http:
            reader = Reader(http, url, dsn, {})
            text = (await reader.get("/")).text
            assert 'href="streams/1/query%3Avisits"' in text
            odd = re.search(r'href="(streams/1/a%2Fb[^"]+)"', text)
            assert odd is not None
            assert "77 requests by" in (await reader.get(f"/{odd[1]}")).text
            text = (await reader.get("/streams/1/query%3Avisits?over=1d")).text
            assert "Project 1." in text
            assert "7 requests by the runs that ended in this time" in text
            assert "lag: 10 min to 10 min" in text
            text = (await reader.get("/streams/1/session_recordings")).text
            assert 'href="../../streams/2/session_recordings"' in text
            assert "session_recordings.brand_new" in text
            assert "None left of 60 an hour: the next one at" in text
            assert "1,234 rows differ" in text
            assert text.count("posthog-etl backfill session_recordings --since") == 2
            assert "inserted: 0 rows to 378 rows" in text
            text = html.unescape((await reader.get("/streams/1/insights")).text)
            assert '"click_count": "many"' in text


async def test_connections_that_were_cut_are_not_noticed(reader: Reader) -> None:
    """As after a restart of Postgres: all of the pool are gone at once."""
    for _ in range(3):
        assert (await reader.get("/")).status == 200
        await select(
            reader.dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        assert (await reader.get(f"/runs/{reader.runs['dead']}")).status == 200


async def test_a_database_without_tables_is_said_on_the_page(empty_dsn: str) -> None:
    """With what to do about it, and 503 for whoever watches."""
    async with served_page(empty_dsn) as url, aiohttp.ClientSession() as http:
        answer = await Reader(http, url, empty_dsn, {}).get("/")
    assert answer.status == 503
    assert "The database cannot be read" in answer.text
    assert "<code>posthog-etl migrate</code>" in answer.text
    assert answer.headers["Content-Security-Policy"] == POLICY


async def test_large_tables_are_estimated_and_small_ones_counted(dsn: str) -> None:
    """By project; the server's estimate is near enough after an ANALYZE. Reports count so, too."""
    stamps = "now(), now(), now(), 1, CASE WHEN n % 10 = 0 THEN now() END"
    columns = "_observed_at, _first_seen_at, _updated_at, _xid, _deleted_at"
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            f"INSERT INTO posthog.insights (project_id, id, {columns}) "
            f"SELECT n % 2 + 1, n, {stamps} FROM generate_series(1, 2000) n; "
            "INSERT INTO posthog.sharing_configurations "
            f"(project_id, resource_type, resource_id, {columns}) "
            f"SELECT 1, CASE WHEN n < 30 THEN 'insight' ELSE 'recording' END, n::text, {stamps} "
            "FROM generate_series(1, 99) n; ANALYZE"
        )
    finally:
        await connection.close()
    shares = [share_of(name, [1, 2]) for name in ("insights", "insight_sharing", "groups")]
    wanted = [share for share in shares if share is not None]
    database = Database(parse_database_url(dsn), Timeouts())
    try:
        glance = StatusQueries(database, Tables("posthog"))
        exact = await glance.row_counts(wanted)
        rough = await glance.row_counts(wanted, counted_rows=1000)
        history = History(database, Tables("posthog"))
        insights = [TABLE_SPECS["insights"]]
        reported = await history.row_counts(1, insights)
        roughly_reported = await history.row_counts(1, insights, counted_rows=1000)
    finally:
        await database.close()
    assert exact == {
        (1, "insights"): Count(800),
        (2, "insights"): Count(1000),
        (1, "insight_sharing"): Count(27),
    }
    assert rough[1, "insight_sharing"] == Count(27)
    assert not rough[1, "insights"].exact
    assert reported == {"insights": Count(800)}
    assert roughly_reported == {"insights": rough[1, "insights"]}
    assert 600 <= rough[1, "insights"].rows <= 1200
    assert [share.table.name for share in wanted] == [
        "insights",
        "sharing_configurations",
        "groups",
    ]


async def test_only_the_latest_runs_of_each_stream_are_read(dsn: str) -> None:
    """The oldest of them first; those that hold their unit say so."""
    async with books_of(dsn) as books:
        ids = [await books.run(ago_s=900.0 * (500 - n)) for n in range(500)]
        other = await books.run("groups", "running", ago_s=10)
    database = Database(parse_database_url(dsn), Timeouts())
    try:
        now, found = await StatusQueries(database, Tables("posthog")).recent_runs(30)
    finally:
        await database.close()
    assert now >= books.now
    assert [run["id"] for run in found if run["stream"] == WINDOWS] == ids[-30:]
    assert [(run["id"], run["held"]) for run in found if run["held"]] == [(other, True)]
