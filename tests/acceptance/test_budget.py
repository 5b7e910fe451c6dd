"""P8, inside the budget: what the API allows is shared by all processes, and its word is obeyed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.books import run_endings
from tests.support.command import Command
from tests.support.sql import value
from tests.support.truth import differences_from_truth, fetch_truth

LIST = {"path": "session_recordings"}
PAGE = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "100"}
IMPATIENT = {"POSTHOG_ETL_MAX_WAIT_S": "5"}


def asked(sandbox: RunningSandbox) -> int:
    """How many requests the sandbox has seen."""
    total: int = sandbox.control.state()["requests"]["total"]
    return total


def seconds_ahead(at: str) -> float:
    """How far an instant of a report lies ahead, in seconds."""
    return (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()


async def test_two_processes_at_once_share_one_limit(start_sandbox: StartSandbox, dsn: str) -> None:
    """Together they send exactly what one may, and both say when they may go on."""
    sandbox = await start_sandbox(recordings=900, projects=(1, 2))
    settings = {"POSTHOG_ETL_LIST_REQUESTS_PER_MINUTE": "7", **PAGE, **IMPATIENT}
    results = await asyncio.gather(
        *(
            Command(sandbox.url, dsn, POSTHOG_PROJECT_ID=project, **settings).run("sync", "--json")
            for project in ("1", "2")
        )
    )
    assert asked(sandbox) == 7
    for result in results:
        assert (result.code, result.report["status"]) == (6, "paused"), result.err
        assert 45 < seconds_ahead(result.report["paused_until"]) < 61


async def test_a_spent_budget_outlives_the_process(start_sandbox: StartSandbox, dsn: str) -> None:
    """The next run knows of it and sends nothing; what was read is committed."""
    sandbox = await start_sandbox(recordings=900)
    settings = {"POSTHOG_ETL_LIST_REQUESTS_PER_MINUTE": "4", **PAGE, **IMPATIENT}
    command = Command(sandbox.url, dsn, **settings)
    assert (await command.run("sync")).code == 6
    again = await command.run("sync", "--json")
    assert (again.code, asked(sandbox)) == (6, 4), again.err
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recordings") == 400
    # The limit is ours, not the server's: without it the list is read on from there.
    await Command(sandbox.url, dsn, **PAGE).run("sync")
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_the_hour_has_a_limit_of_its_own(start_sandbox: StartSandbox, dsn: str) -> None:
    """Far from the limit a minute, at the limit an hour: paused for an hour."""
    sandbox = await start_sandbox(recordings=900)
    command = Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_LIST_REQUESTS_PER_MINUTE="100",
        POSTHOG_ETL_LIST_REQUESTS_PER_HOUR="3",
        **PAGE,
        **IMPATIENT,
    )
    result = await command.run("sync", "--json")
    assert (result.code, asked(sandbox)) == (6, 3), result.err
    assert 3500 < seconds_ahead(result.report["paused_until"]) < 3601


async def test_every_request_is_counted_also_one_that_failed(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """As many in the database as the server has seen: resets and errors included."""
    sandbox = await start_sandbox(recordings=350)
    sandbox.control.add_faults(
        {"match": LIST, "at": 2, "fault": {"reset": "before"}},
        {"match": LIST, "at": 4, "fault": {"status": 500}},
        {"match": LIST, "at": 6, "fault": {"reset": "mid"}},
    )
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PLAN="paid", **PAGE)
    assert (await command.run("sync")).code == 0
    counted = "SELECT count(*) FROM posthog_etl.requests WHERE class = $1"
    # Seven for the list, one for what is dated far ahead, one for what lies before `start`.
    assert asked(sandbox) == 9
    assert await value(dsn, counted, "recordings_list") == 9
    assert await value(dsn, counted, "clickhouse") == 9


@pytest.mark.parametrize("preset", ["429_header", "429_text"])
async def test_a_wait_that_the_server_names_is_kept(
    start_sandbox: StartSandbox, dsn: str, preset: str
) -> None:
    """Two seconds, from the header or from the text: no sooner, and then the run succeeds."""
    sandbox = await start_sandbox(recordings=350, clock="running")
    sandbox.control.add_faults({"match": LIST, "at": 2, "fault": {"preset": preset, "wait_s": 2}})
    result = await Command(sandbox.url, dsn, **PAGE).run("sync", "--json")
    assert result.code == 0, result.err
    at = [datetime.fromisoformat(request["at"]) for request in sandbox.control.requests()]
    statuses = [request["status"] for request in sandbox.control.requests()]
    assert statuses[:3] == [200, 429, 200]
    # Backing off by ourselves would take ten seconds.
    assert 2.0 <= (at[2] - at[1]).total_seconds() < 9.0
    assert result.report["waited_s"] >= 1.5


@pytest.mark.parametrize("preset", ["429_bare", "429_capacity"])
async def test_without_a_named_wait_we_back_off_by_ourselves(
    start_sandbox: StartSandbox, dsn: str, preset: str
) -> None:
    """At least ten seconds, which is more than this run is willing to wait: it is paused."""
    sandbox = await start_sandbox(recordings=350)
    sandbox.control.add_faults({"match": LIST, "at": 2, "fault": {"preset": preset}})
    result = await Command(sandbox.url, dsn, **PAGE, **IMPATIENT).run("sync", "--json")
    assert (result.code, result.report["status"]) == (6, "paused"), result.err
    assert 5 < seconds_ahead(result.report["paused_until"]) <= 12.5


@pytest.mark.parametrize("preset", ["429_header", "429_text"])
async def test_a_wait_that_is_too_long_pauses_every_process(
    start_sandbox: StartSandbox, dsn: str, preset: str
) -> None:
    """Exit 6 and until when; no other run asks before that, of no project."""
    sandbox = await start_sandbox(recordings=350, projects=(1, 2))
    sandbox.control.add_faults({"match": LIST, "at": 2, "fault": {"preset": preset, "wait_s": 90}})
    paused = await Command(sandbox.url, dsn, **PAGE, **IMPATIENT).run("sync", "--json")
    assert (paused.code, paused.report["status"]) == (6, "paused"), paused.err
    assert 75 < seconds_ahead(paused.report["paused_until"]) < 91
    other = Command(sandbox.url, dsn, POSTHOG_PROJECT_ID="2", **PAGE, **IMPATIENT)
    assert (await other.run("sync")).code == 6
    assert asked(sandbox) == 2
    assert [status for status, _ in await run_endings(dsn)] == ["paused", "paused"]


@pytest.mark.long
async def test_the_servers_own_limiter_never_has_to_refuse_two_processes(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Together they need more than a minute allows: they wait, both succeed, and no 429 is seen."""
    sandbox = await start_sandbox(recordings=700, projects=(1, 2), clock="running", limits="free")
    results = await asyncio.gather(
        *(
            Command(
                sandbox.url, dsn, POSTHOG_PROJECT_ID=project, POSTHOG_ETL_PLAN="free", **PAGE
            ).run("sync", "--json")
            for project in ("1", "2")
        )
    )
    assert [result.code for result in results] == [0, 0]
    assert sandbox.control.state()["requests"]["by_status"] == {"200": asked(sandbox)}
    assert asked(sandbox) > 12
    assert sum(result.report["waited_s"] for result in results) > 40
