"""`serve` as one who runs it sees it: it ticks, answers, survives Postgres, and ends well."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from etl.sandbox.server import RunningSandbox
from etl.service.serve import serve
from etl.settings import Settings
from tests.acceptance.test_postgres_trouble import started
from tests.conftest import StartSandbox
from tests.support.books import nobody_is_connected, until
from tests.support.clock import JumpingClock
from tests.support.command import Command
from tests.support.guarded import free_port
from tests.support.pgproxy import PgProxy, Point
from tests.support.pipeline import Pipeline
from tests.support.postgres import server_directory
from tests.support.serving import Serving, serving
from tests.support.sql import select, value
from tests.support.stage import copy_of
from tests.support.truth import differences_from_truth, fetch_truth

TOKEN = "a-token-that-is-long-enough"
STREAM = "1 session_recordings"
# What ten ticks may add to what is held: far less than a connection left open at each would.
GROWTH_BYTES = 200_000
TICKS = 10
LEAST_FREQUENT = {"POSTHOG_ETL_SCHEDULE": "0 0 1 1 *"}


# --- what it answers --------------------------------------------------------------------------


async def test_a_new_service_syncs_at_once_and_tells_how_it_went(
    command: Command, sandbox: RunningSandbox, dsn: str
) -> None:
    """Alive, ready, and its figures are those of the run and of the bookkeeping."""
    async with serving(command) as service:
        await service.ran()
        assert (await service.get("/healthz")).document == {"alive": True}
        assert (await service.get("/readyz")).document == {"ready": True, "reason": None}
        found = await service.metrics()
        result = await service.terminated()
    assert result.code == 0, result.err
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
    (run,) = await select(dsn, "SELECT * FROM posthog_etl.runs")
    for name, column in (
        ("records_read_total", "records_read"),
        ("records_read_fast_total", "records_read_fast"),
        ("rows_inserted_total", "rows_inserted"),
        ("rows_updated_total", "rows_updated"),
        ("records_rejected_total", "rejected"),
        ("requests_total", "requests"),
        ("received_bytes_total", "bytes_read"),
    ):
        assert found[f"posthog_etl_{name} {STREAM}"] == run[column], name
    assert run["records_read"] == 300
    assert found[f"posthog_etl_wait_seconds_total {STREAM}"] == 0
    assert found["posthog_etl_runs_total 1 succeeded session_recordings"] == 1
    assert found[f"posthog_etl_run_duration_seconds_count {STREAM}"] == 1
    assert 0 < found[f"posthog_etl_run_duration_seconds_sum {STREAM}"] < 60
    assert 0 <= found[f"posthog_etl_freshness_seconds {STREAM}"] < 120
    assert found[f"posthog_etl_leases_held {STREAM}"] == 0
    assert found[f"posthog_etl_rejects_unresolved {STREAM}"] == 0
    assert found[f"posthog_etl_drift_fields {STREAM}"] == 0
    assert found["posthog_etl_database_up"] == 1
    ahead_s = found["posthog_etl_next_tick_timestamp_seconds all"] - run["ended_at"].timestamp()
    assert 0 < ahead_s <= 15 * 60
    events = [event["event"] for event in result.events]
    assert events[0] == "service.started"
    assert events[-1] == "service.ended"
    assert "tick.finished" in events


async def test_it_is_alive_but_not_ready_until_the_database_is_migrated(
    sandbox: RunningSandbox, empty_dsn: str
) -> None:
    """It waits for whoever may create tables, and says for what."""
    command = Command(sandbox.url, empty_dsn, POSTHOG_ETL_AUTO_MIGRATE="false")
    async with serving(command) as service:
        assert (await service.get("/healthz")).status == 200
        answer = await service.get("/readyz")
        assert (answer.status, answer.document["ready"]) == (503, False)
        assert "posthog-etl migrate" in answer.document["reason"]
        assert (await service.metrics())["posthog_etl_database_up"] == 0
        assert (await command.run("migrate")).code == 0
        assert (await service.get("/readyz")).status == 200
        assert (await service.terminated()).code == 0


async def test_it_waits_for_a_database_that_is_not_there_and_hides_its_password(
    sandbox: RunningSandbox,
) -> None:
    """Both may have been started at once; /readyz has the error meanwhile."""
    dsn = f"postgresql://etl:hunter2secret@127.0.0.1:{free_port()}/none"
    async with serving(Command(sandbox.url, dsn)) as service:
        answer = await service.get("/readyz")
        assert answer.status == 503
        assert "Postgres cannot be reached" in answer.document["reason"]
        result = await service.terminated()
    assert result.code == 0
    assert "service.waiting" in result.err
    assert "hunter2secret" not in answer.text + result.err + result.out


async def test_a_token_lets_in_and_nothing_else_does(command: Command) -> None:
    """In a header, or by the form and then as a cookie that is not the token."""
    guarded = command.with_settings(POSTHOG_ETL_SERVE_TOKEN=TOKEN, **LEAST_FREQUENT)
    async with serving(guarded, "--host", "0.0.0.0") as service:
        assert (await service.get("/healthz")).status == 200
        for path in ("/metrics", "/readyz", "/nothing", f"/metrics?token={TOKEN}"):
            refused = await service.get(path)
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "<" not in refused.text
        for wrong in (f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", "Bearer é"):
            assert (await service.get("/metrics", Authorization=wrong)).status == 401
        for cookie in (f"posthog_etl={TOKEN}", "posthog_etl=é"):
            assert (await service.get("/metrics", Cookie=cookie)).status == 401
        right = {"Authorization": f"Bearer {TOKEN}", "Host": "etl.example.com"}
        assert (await service.get("/metrics", **right)).status == 200

        shown = await service.get(f"/runs?token={TOKEN}&stream=a%26b", Accept="text/html")
        assert (shown.status, TOKEN in shown.text) == (401, False)
        assert "A token in the address is not accepted" in shown.text
        assert 'name="next" value="/runs?stream=a%26b"' in shown.text
        welcome = await service.login(TOKEN, "/runs?stream=a%26b")
        assert (welcome.status, welcome.headers["Location"]) == (303, "./runs?stream=a%26b")
        cookie, *attributes = welcome.headers["Set-Cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
        assert TOKEN not in cookie
        assert (await service.get("/metrics", Cookie=cookie)).status == 200
        goodbye = await service.post("/logout", {}, Cookie=cookie)
        assert (goodbye.status, goodbye.headers["Location"]) == (303, "./login")
        assert "Max-Age=0" in goodbye.headers["Set-Cookie"]
        result = await service.terminated()
    assert result.code == 0
    assert TOKEN not in result.err + result.out


async def test_the_login_form_leads_nowhere_else_and_cannot_be_tried_for_long(
    command: Command,
) -> None:
    """Nor sent from a page of somebody else's, nor filled without end."""
    guarded = command.with_settings(POSTHOG_ETL_SERVE_TOKEN=TOKEN, **LEAST_FREQUENT)
    async with serving(guarded, "--host", "0.0.0.0") as service:
        for wanted in (
            "//elsewhere.example.com/x",
            "https://elsewhere.example.com/",
            "/\\elsewhere.example.com",
            "javascript:alert(1)",
            "/javascript:alert(1)",
            "",
        ):
            answer = await service.login(TOKEN, wanted)
            assert answer.status == 303
            assert answer.headers["Location"].startswith("./")
            assert not answer.headers["Location"].startswith(".//")
        for foreign in (
            {"Origin": "https://elsewhere.example.com"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert (await service.login(TOKEN, "/", **foreign)).status == 403
            assert (await service.post("/logout", {}, **foreign)).status == 403
        assert (await service.login("x" * 20_000, "/")).status == 413
        form = "application/x-www-form-urlencoded"
        for kind, status in (
            (f"{form}; charset=none", 400),
            ("multipart/form-data", 415),
        ):
            sent = await service.login("é", "/", **{"Content-Type": kind})
            assert sent.status == status, kind
        tries = [await service.login("wrong", "/") for _ in range(6)]
        assert [each.status for each in tries] == [401] * 5 + [429]
        assert "That is not the token" in tries[0].text
        assert 1 <= int(tries[-1].headers["Retry-After"]) <= 60
        assert (await service.login(TOKEN, "/")).status == 429
        assert (await service.terminated()).code == 0


async def test_without_a_token_it_answers_to_no_name_but_its_own(command: Command) -> None:
    """Else a page of somebody else's could be made to lead here."""
    async with serving(command.with_settings(**LEAST_FREQUENT)) as service:
        assert (await service.get("/readyz", Host="evil.example.com")).status == 403
        assert (await service.get("/readyz", Host="localhost:1")).status == 200
        assert (await service.get("/readyz", Host="[::1")).status in (400, 403)


# --- what is wrong at the start ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"POSTHOG_ETL_SCHEDULE": "61 * * * *"}, "POSTHOG_ETL_SCHEDULE '61 * * * *'"),
        ({"POSTHOG_ETL_SERVE_HOST": "0.0.0.0"}, "POSTHOG_ETL_SERVE_TOKEN"),
        ({"POSTHOG_PERSONAL_API_KEY": ""}, "POSTHOG_PERSONAL_API_KEY is not set"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
    ],
    ids=lambda each: next(iter(each.items())) if isinstance(each, dict) else "",
)
async def test_a_mistake_ends_it_at_once_in_one_line(
    command: Command, settings: dict[str, str], said: str
) -> None:
    """With 2, and not at three in the morning."""
    result = await command.with_settings(**settings).run("serve", "--port", "0")
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert len(result.err.splitlines()) == 1


async def test_a_mistake_in_the_file_names_the_schedule(command: Command, tmp_path: Path) -> None:
    """And the nearest name of a stream."""
    path = tmp_path / "etl.toml"
    path.write_text('[[schedules]]\nname = "often"\ncron = "* * * * *"\nstreams = ["insigths"]\n')
    result = await command.run("serve", "--config", str(path))
    assert result.code == 2
    assert "schedule 'often': there is no stream 'insigths' (did you mean insights?)" in result.err


async def test_a_port_that_is_taken_is_named(command: Command) -> None:
    """With what to do about it."""
    async with serving(command.with_settings(**LEAST_FREQUENT)) as service:
        port = service.url.rpartition(":")[2]
        result = await command.run("serve", "--port", port)
    assert result.code == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in result.err.splitlines()[-1]
    assert "--port" in result.err


async def test_the_data_of_another_server_is_refused_at_the_start(
    command: Command, start_sandbox: StartSandbox
) -> None:
    """As `sync` does; 127.0.0.1 is as good as any other name for the same machine."""
    assert (await command.run("sync")).code == 0
    other = command.with_settings(POSTHOG_HOST="https://us.posthog.com")
    result = await other.run("serve", "--port", "0")
    assert result.code == 2
    assert "--accept-host" in result.err


# --- how it ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_commits_the_batch_in_hand_and_ends_with_0(
    start_sandbox: StartSandbox, dsn: str, number: signal.Signals
) -> None:
    """Asked to stop in the middle of a COPY; the next start goes on at once."""
    sandbox = await start_sandbox(recordings=600, days=20.0)
    # One page in each transaction, so that some are left.
    pages = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "100", "POSTHOG_ETL_BUFFER_BYTES": "1"}
    async with PgProxy.in_front_of(dsn) as proxy:
        rule = proxy.when(Point.IN_COPY, 2, lambda: None, sql=copy_of("session_recordings"))
        async with serving(Command(sandbox.url, proxy.dsn, **pages)) as service:
            async with asyncio.timeout(30):
                await rule.fired.wait()
            process = service.process
            assert process is not None
            process.send_signal(number)

            # It answers still, and after this it has noticed.
            assert (await service.get("/healthz")).status == 200
            proxy.release()
            await process.wait()
            assert process.returncode == 0
    (run,) = await select(dsn, "SELECT * FROM posthog_etl.runs")
    stored = await value(dsn, "SELECT count(*) FROM posthog.session_recordings")
    assert run["status"] == "partial"
    assert run["records_read"] == stored
    assert stored in (200, 300, 400)  # whole pages, and not all of them
    await nobody_is_connected(dsn)

    async with serving(Command(sandbox.url, dsn, **pages)) as service:
        await service.ran()
        assert (await service.terminated()).code == 0
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


# --- what it goes through ---------------------------------------------------------------------


@asynccontextmanager
async def in_process(
    sandbox: RunningSandbox,
    dsn: str,
    clock: JumpingClock,
    stop: asyncio.Event | None = None,
    **settings: Any,
) -> AsyncIterator[Serving]:
    """Run the service in this process, under a clock of the test's."""
    chosen = {
        "host": sandbox.url,
        "api_key": "phx_sandbox",
        "project_id": "1",
        "database_url": dsn,
        "plan": "unlimited",
        "serve_port": 0,
        "verify_schedule": "off",
        "schedules": [
            {"name": "all", "cron": "*/15 * * * *", "streams": ["session_recordings"]},
        ],
        **settings,
    }
    stop, url = stop or asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        serve(Settings(**chosen), stop, str, clock=clock, announce=url.set_result)
    )
    try:
        yield Serving(await url)
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await running


def clock_of(sandbox: RunningSandbox, **ends: Any) -> JumpingClock:
    """A clock that moves the sandbox's along, as fast as the work goes."""
    now = datetime.fromisoformat(sandbox.control.state()["now"])
    return JumpingClock(now, 2, sandbox.control.advance, **ends)


async def test_it_comes_back_by_itself_when_postgres_is_restarted(
    start_sandbox: StartSandbox,
) -> None:
    """Not ready meanwhile, then ready and syncing; nobody has to do anything."""
    sandbox = await start_sandbox(recordings=50)
    with server_directory() as directory, capture_logs():
        async with AsyncExitStack() as servers:
            server = await servers.enter_async_context(started(directory))
            dsn = server.dsn
            # The run that is struck holds its lease for so long.
            async with in_process(sandbox, dsn, clock_of(sandbox), lease_s=1) as service:
                await service.ran(3)
                os.kill(server.server_pid, signal.SIGQUIT)
                await asyncio.to_thread(server.close)
                answer = await service.get("/readyz")
                assert (answer.status, answer.document["ready"]) == (503, False)
                found = await service.metrics()
                assert found["posthog_etl_database_up"] == 0

                await servers.enter_async_context(started(directory))
                before = await _succeeded(dsn)

                async def syncs() -> bool:
                    return await _succeeded(dsn) >= before + 3

                await until(syncs, "three more runs succeed")
                assert (await service.get("/readyz")).status == 200
            # The clock has moved since the service's last sync, perhaps by hours.
            assert (await Pipeline(sandbox, dsn).sync()).ending.exit_code == 0
            assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def _succeeded(dsn: str) -> int:
    return int(await value(dsn, "SELECT count(*) FROM posthog_etl.runs WHERE status = 'succeeded'"))


@contextmanager
def _no_logs() -> Iterator[None]:
    """Log nothing: what is kept of it would be weighed too, and it is slow to draw."""

    def drop(_logger: object, _method: str, _event: object) -> Any:
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[drop])
    try:
        yield
    finally:
        structlog.configure(processors=before)


@pytest.mark.long
async def test_a_day_of_service_leaves_nothing_behind(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """And it is the day on which Berlin puts its clocks back, so what comes at 2:30 comes once."""
    begin = datetime(2026, 10, 24, 18, 10, tzinfo=UTC)
    sandbox = await start_sandbox(recordings=100, days=3.0, now=begin)
    over = asyncio.Event()
    weighed: list[tracemalloc.Snapshot] = []

    def advance(seconds: float) -> None:
        """Move the sandbox's clock along, and weigh what there is; nobody works just now."""
        sandbox.control.advance(seconds)
        hours = (clock.now() - begin).total_seconds() / 3600
        if hours > 17 and not tracemalloc.is_tracing():
            gc.collect()
            tracemalloc.start(1)
        if hours > (18, 23)[len(weighed) > 0] and len(weighed) < 2:
            gc.collect()
            weighed.append(tracemalloc.take_snapshot())

    clock = JumpingClock(begin, 3, advance, ends_at=(begin + timedelta(days=1), over))
    schedules = [
        {"name": "often", "cron": "*/30 * * * *", "streams": ["session_recordings"]},
        {"name": "nightly", "cron": "30 2 * * *", "streams": ["playlists"]},
    ]
    try:
        with _no_logs():
            async with in_process(
                sandbox, dsn, clock, over, schedules=schedules, time_zone="Europe/Berlin"
            ):
                async with asyncio.timeout(900):
                    await over.wait()
    finally:
        tracemalloc.stop()
    others = tracemalloc.Filter(False, "*/etl/sandbox/*")
    early, late = (shot.filter_traces([others]) for shot in weighed)
    grown = late.compare_to(early, "filename")
    # What a tick leaves behind is a block a tick at least. A single block is not: the interpreter's
    # table of strings is one of several megabytes, and is made anew from time to time.
    left = [each for each in grown if each.count_diff >= TICKS]
    assert sum(each.size_diff for each in left) < GROWTH_BYTES, left[:5]

    runs = "SELECT stream, status, count(*) AS runs FROM posthog_etl.runs GROUP BY 1, 2 ORDER BY 1"
    assert await select(dsn, runs) == [
        # At once, and that night.
        {"stream": "playlists", "status": "succeeded", "runs": 2},
        # At once, and each half hour.
        {"stream": "session_recordings", "status": "succeeded", "runs": 49},
    ]
    latest = "SELECT ticked_at FROM posthog_etl.schedules WHERE name = 'nightly'"
    assert await value(dsn, latest) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    await nobody_is_connected(dsn)
    assert await value(dsn, "SELECT count(*) FROM pg_class WHERE relname LIKE 'stage%'") == 0
    for table in ("leases", "schedules"):
        held = f"SELECT count(*) FROM posthog_etl.{table} WHERE holder IS NOT NULL"
        assert await value(dsn, held) == 0
    assert (await Command(sandbox.url, dsn).run("sync")).code == 0
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
