"""P8, waiting is visible while it lasts: terminal, log, status, page and metrics say what for."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from etl.core.statuses import DIED
from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.slots import PLACES, PostgresSlots
from etl.loaders.tables import Tables
from etl.tasks import is_set
from etl.waits import Waits
from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.command import Command
from tests.support.serving import Serving, serving
from tests.support.sql import select, value
from tests.support.terminal import COLUMNS, Terminal, on_terminal

LIMIT = "PostHog's hourly limit for the list of recordings"
USED = "60 of 60 requests used"
# How late a surface may notice that a wait has begun or ended, in seconds; the promise is 10.
LATE_S = 5.0
# How long the run waits at most, in seconds; on a busy machine half of it passes until it begins.
WAIT_S = 25.0


@dataclass
class Said:
    """What was said at a time (seconds since 1970): until when the run waits; 0: it does not."""

    where: str
    at: float
    until: float
    waited_s: float | None = None


def seconds(text: str) -> float:
    """Return an instant in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def today(clock: str) -> float:
    """Return the next time that a clock of the wall shows this, in seconds since 1970."""
    now = datetime.now().astimezone()
    hours, minutes, of_minute = map(int, clock.split(":"))
    shown = now.replace(hour=hours, minute=minutes, second=of_minute, microsecond=0).timestamp()
    return shown if shown > now.timestamp() - 43_200 else shown + 86_400


async def spend(dsn: str, left: int, wait_s: float) -> None:
    """Spend the hour's requests of the free plan but for some; they are free again in `wait_s`."""
    await select(
        dsn,
        "INSERT INTO posthog_etl.requests (class, at) SELECT 'recordings_list', "
        "now() - interval '1 hour' + $1::float8 * interval '1 second' "
        "FROM generate_series(1, $2::int)",
        wait_s,
        60 - left,
    )


async def on_the_terminal(terminal: Terminal) -> Said:
    """Read the terminal."""
    found = re.search(
        r"waiting for PostHog's hourly limit: 60 of 60 requests used, next at (\d\d:\d\d:\d\d)",
        terminal.text,
    )
    return Said("terminal", time.time(), today(found[1]) if found else 0.0)


async def in_status(command: Command) -> Said:
    """Ask for the status in JSON."""
    at = time.time()
    (row,) = [
        row
        for row in (await command.run("status", "--json")).document["streams"]
        if row["project_id"] == 1
    ] or [{"waiting": [], "waited_s": 0.0}]
    if not row["waiting"]:
        return Said("status --json", at, 0.0, row["waited_s"])
    (wait,) = row["waiting"]
    assert wait["waiting_for"] == f"{LIMIT}: {USED}"
    return Said("status --json", at, seconds(wait["until"]), row["waited_s"])


async def in_words(command: Command) -> Said:
    """Ask for the status as people do."""
    at = time.time()
    out = (await command.run("status")).out
    found = re.search(rf"the sync waits for {LIMIT}: {USED}, until (\S+ \S+)Z", out)
    waiting = bool(re.search(r"session_recordings +waiting", out))
    assert waiting == bool(found), out
    return Said("status", at, seconds(found[1] + "+00:00") if found else 0.0)


async def on_the_page(service: Serving) -> Said:
    """Look at the page."""
    at = time.time()
    text = (await service.get("/")).text
    found = re.search(
        rf"the sync waits for {LIMIT}: {USED}; it goes on at <b>(\S+) UTC".replace("'", "&#39;"),
        text,
    )
    # A load that has read everything may still be running for a moment, with nothing wrong.
    assert not (found and ("1 stream running" in text or "nothing wrong" in text))
    return Said("page", at, _utc(found[1]) if found else 0.0)


async def on_the_runs_page(service: Serving, dsn: str) -> Said:
    """Look at the page of the run."""
    at = time.time()
    runs = await select(dsn, "SELECT id FROM posthog_etl.runs WHERE project_id = 1")
    text = (await service.get(f"/runs/{runs[0]['id']}")).text if runs else ""
    found = re.search(
        rf"It waits for {LIMIT}: {USED}; it goes on at <b>(\S+) UTC".replace("'", "&#39;"), text
    )
    return Said("page of the run", at, _utc(found[1]) if found else 0.0)


def _utc(clock: str) -> float:
    """Return when UTC shows this, in seconds since 1970."""
    now = datetime.now(UTC)
    shown = datetime.fromisoformat(f"{now:%Y-%m-%d}T{clock}+00:00").timestamp()
    return shown if shown > now.timestamp() - 43_200 else shown + 86_400


async def in_metrics(service: Serving) -> Said:
    """Ask for the metrics."""
    at, of = time.time(), f"1 session_recordings {LIMIT}"
    found = await service.metrics()
    ends = found.get(f"posthog_etl_waiting_until_timestamp_seconds {of}", 0.0)
    assert (found.get(f"posthog_etl_waiting_runs {of}", 0.0) > 0) == (ends > 0)
    return Said(
        "metrics", at, ends, found.get("posthog_etl_wait_seconds_total 1 session_recordings", 0.0)
    )


async def test_nothing_untrue_is_said_while_a_first_load_waits_for_the_hourly_limit(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Whoever looks is told what for and until when, soon after it begins, and no longer.

    A service loads another project meanwhile, and waits for the same limit.
    """
    sandbox = await start_sandbox(recordings=250, projects=(1, 2), clock="running", limits="free")
    settings = {"POSTHOG_ETL_PLAN": "free", "POSTHOG_ETL_PAGE_SIZE_RECORDS": "100"}
    command = Command(sandbox.url, dsn, **settings)
    # Together they send ten requests, fewer than a minute allows.
    await spend(dsn, 1, WAIT_S)
    said: list[Said] = []
    async with serving(command.with_settings(POSTHOG_PROJECT_ID="2")) as service:
        async with on_terminal(command, "sync") as (process, terminal):
            looks: list[Callable[[], Awaitable[Said]]] = [
                lambda: on_the_terminal(terminal),
                lambda: on_the_page(service),
                lambda: on_the_runs_page(service, dsn),
                lambda: in_metrics(service),
                lambda: in_status(command),
                lambda: in_words(command),
            ]
            while process.returncode is None:
                said += [await look() for look in looks]
            assert await process.wait() == 0, terminal.text
        await service.ran()
        said += [await look() for look in looks]
        log = (await service.terminated()).events
    (run,) = await select(dsn, "SELECT * FROM posthog_etl.runs WHERE project_id = 1")
    lists = [each for each in sandbox.control.requests() if "recordings" in each["path"]]
    sent = [seconds(request["at"]) for request in lists]
    before, after = max(itertools.pairwise(sent), key=lambda pair: pair[1] - pair[0])
    before = max(before, run["started_at"].timestamp())
    assert after - before > 2 * LATE_S
    for each in said:
        if before + LATE_S < each.at < after - 0.5:
            assert abs(each.until - after) < 2.0, each
            if each.waited_s is not None:
                assert abs(each.waited_s - (each.at - before)) < LATE_S, each
        elif each.until:
            assert before - 1.0 < each.at < after + LATE_S, each
    assert {each.where for each in said if each.until} == {each.where for each in said}
    assert abs(run["waited_s"] - (after - before)) < 2.0
    assert terminal.widest <= COLUMNS

    began, ended = [event for event in log if event["event"] in ("wait.began", "wait.ended")]
    assert (began["reason"], ended["reason"]) == (f"{LIMIT}: {USED}", f"{LIMIT}: {USED}")
    assert abs(seconds(began["until"]) - seconds(ended["timestamp"])) < 2.0
    assert began["run_id"] == ended["run_id"] != str(run["id"])


async def test_a_run_that_died_while_it_waited_waits_no_longer(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Once its lease is out, nobody is told that it waits; the next run goes on."""
    sandbox = await start_sandbox(recordings=250, clock="running")
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PLAN="free")
    await spend(dsn, 0, 3000)
    waiting = "SELECT waiting_for FROM posthog_etl.runs WHERE waiting_until > now()"
    async with command.running("sync") as process:

        async def noted() -> bool:
            return bool(await select(dsn, waiting))

        await until(noted, "the wait is noted")
        shown = " ".join((await command.run("runs")).out.split())
        assert f"waiting 0 0 0 0 0 waits for {LIMIT}: {USED}, until " in shown
        process.kill()
        await process.wait()
    await select(dsn, "UPDATE posthog_etl.leases SET expires_at = now()")
    assert await noted()
    (row,) = (await command.run("status", "--json")).document["streams"]
    assert (row["status"], row["waiting"], row["waited_s"] < 1) == ("failed", [], True)
    (run,) = (await command.run("runs", "--json")).document["runs"]
    assert (run["waiting_for"], run["waiting_since"], run["waiting_until"]) == (None, None, None)
    assert (run["status"], run["reason"], run["fault"]) == ("failed", DIED, "died")
    listed = {
        status: (await command.run("runs", "--status", status, "--json")).document["runs"]
        for status in ("running", "failed")
    }
    assert listed == {"running": [], "failed": [run]}
    await select(dsn, "DELETE FROM posthog_etl.requests")
    assert (await command.run("sync")).code == 0
    assert not await noted()


async def test_a_second_query_waits_visibly_for_a_place(dsn: str) -> None:
    """Nobody knows how long; it is told after a few seconds, and ends with the wait."""
    database, waits = Database(parse_database_url(dsn), Timeouts()), Waits()
    slots = PostgresSlots(database, Tables("posthog"), waits)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        for _ in range(PLACES):
            await stack.enter_async_context(slots.held(1))
        third = asyncio.ensure_future(stack.enter_async_context(slots.held(1)))
        assert await is_set(waits.changed, within_s=30)
        assert waits.current is not None
        assert str(waits.current.cause) == (
            "a place among the queries: 2 of this project are running"
        )
        assert (waits.current.until, waits.waited_s > 2) == (None, True)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        assert waits.current is None


async def test_progress_stays_below_what_is_logged_and_ends_with_its_stream(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It says which window is read, and why it waits; nothing is wider than the terminal."""
    sandbox = await start_sandbox(recordings=900, days=9.0, clock="running")
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PAGE_SIZE_RECORDS="100")
    throttled = {"preset": "429_header", "wait_s": 5}
    rule = {"match": {"path": "session_recordings"}, "at": 6, "fault": throttled}
    sandbox.control.add_faults(rule)
    since = datetime.fromtimestamp(seconds(sandbox.control.state()["now"]) - 9 * 86_400, UTC)
    words = ("--since", since.isoformat(), "--window", "3d")
    screens: list[str] = []
    async with on_terminal(command, "backfill", "session_recordings", *words) as run:
        process, terminal = run

        async def waits() -> bool:
            screens.append(terminal.text)
            return "next at" in terminal.text

        await until(waits, "the terminal shows the wait")
        assert await process.wait() == 0, terminal.text
    lines = screens[-1].splitlines()
    (reading,) = [line for line in lines if "session_recordings  window" in line]
    assert re.search(r" window [1-4] of 4  [\d,]+ records/s  \d+ requests  \d+ %  ", reading)
    assert re.fullmatch(
        r"  waiting for PostHog to allow requests again: it answered 429, next at [\d:]{8}",
        lines[lines.index(reading) + 1],
    )
    above = " ".join(lines[: lines.index(reading)])
    assert "request.failed" in above
    assert not re.search("waiting for|window 2", terminal.text.partition("project ")[0])
    assert "succeeded" in terminal.text
    assert terminal.widest <= COLUMNS


async def test_a_first_load_shows_its_share_where_somebody_watches(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Lists with cursors have no count, so one query is sent for it; in a pipe none is."""
    sandbox = await start_sandbox(recordings=900, days=9.0, clock="running")
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PAGE_SIZE_RECORDS="100")
    hangs = {"match": {"path": "session_recordings"}, "at": 4, "fault": {"hang": True}}

    def queries() -> int:
        return sum("/query" in each["path"] for each in sandbox.control.requests())

    sandbox.control.add_faults(hangs)
    async with command.running("sync", "session_recordings") as process:

        async def loaded() -> bool:
            return await value(dsn, "SELECT count(*) FROM posthog.session_recordings") == 300

        await until(loaded, "three pages are loaded")
        process.kill()
    assert queries() == 0

    sandbox.control.add_faults(hangs)
    async with on_terminal(command, "sync", "session_recordings") as run:
        _, terminal = run

        async def shown() -> bool:
            # Three pages of the six that the broken run has left.
            return bool(re.search(r"300 records .* 50 %", terminal.text))

        await until(shown, "the terminal shows the share")
    assert queries() == 1
