"""P3, honest, and P12: how a run ends is what happened, and one's trouble is its own."""

from __future__ import annotations

import signal
import uuid
from typing import Any

import pytest

from etl.streams import STREAMS
from tests.conftest import StartSandbox
from tests.support.books import batches_committed, run_endings, until
from tests.support.command import Command, finish
from tests.support.pipeline import Pipeline, midnight
from tests.support.sql import select, value, watermark
from tests.support.truth import differences_from_truth, fetch_truth, stored

LIST = {"path": "session_recordings"}
PAGE = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "100"}
ONCE = {"POSTHOG_ETL_REQUEST_ATTEMPTS": "1"}

FAILURES: dict[str, dict[str, Any]] = {
    "a status of 500": {"preset": "500_error_body"},
    "a status of 503": {"status": 503},
    "a proxy's web page": {"preset": "502_html"},
    "a login page": {"preset": "login_page"},
    "a reset connection": {"reset": "before"},
    "a body cut off": {"reset": "mid"},
    "half the JSON": {"truncate": 3000},
    "words instead of JSON": {"not_json": True},
    "memory limit": {"preset": "513"},
    "estimated time": {"preset": "512"},
    "a gateway time-out": {"preset": "504"},
}


@pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES.keys())
async def test_a_list_that_was_not_read_to_its_end_is_no_success(
    start_sandbox: StartSandbox, dsn: str, fault: dict[str, Any]
) -> None:
    """The third page fails for good: exit 1, the watermark stays, and what came before is kept."""
    sandbox = await start_sandbox(recordings=350)
    sandbox.control.add_faults({"match": LIST, "from": 3, "fault": fault})
    pipeline = Pipeline(sandbox, dsn, page_size_records=100)
    failed = await pipeline.sync()
    assert (failed.ending.exit_code, failed.ending.status) == (1, "failed"), failed
    assert failed.ending.reason
    assert await watermark(dsn) is None
    assert len(await stored(dsn, "session_recordings")) == 200
    sandbox.control.clear_faults()
    healed = await pipeline.sync()
    assert healed.ending.exit_code == 0, healed
    assert [status for status, _ in await run_endings(dsn)] == ["failed", "succeeded"]
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES.keys())
async def test_a_passing_failure_is_repeated_and_costs_nothing(
    start_sandbox: StartSandbox, dsn: str, fault: dict[str, Any]
) -> None:
    """The same failures, once: the run succeeds with the truth."""
    sandbox = await start_sandbox(recordings=350)
    sandbox.control.add_faults({"match": LIST, "at": 3, "fault": fault})
    report = await Pipeline(sandbox, dsn, page_size_records=100, request_attempts=2).sync()
    assert (report.ending.exit_code, report.ending.status) == (0, "succeeded"), report
    assert sandbox.control.faults()[0]["hits"] == 1
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


UNAVAILABLE: dict[str, tuple[dict[str, Any], str]] = {
    "402": ({"preset": "402"}, "Upgrade the PostHog plan"),
    "missing scope": ({"preset": "403_scope"}, "session_recording:read"),
    "another's project": ({"preset": "403_project"}, "access to this project"),
    "no such project": ({"preset": "404_project"}, "POSTHOG_PROJECT_ID"),
    "410": ({"status": 410}, "switch it off"),
}


@pytest.mark.parametrize(("fault", "remedy"), UNAVAILABLE.values(), ids=UNAVAILABLE.keys())
async def test_a_stream_that_is_not_to_be_had_says_how_to_fix_it_and_the_others_go_on(
    start_sandbox: StartSandbox, dsn: str, fault: dict[str, Any], remedy: str
) -> None:
    """Of two projects the first cannot be read: exit 3, and the second is complete."""
    sandbox = await start_sandbox(recordings=60, projects=(1, 2))
    sandbox.control.add_faults({"match": {"path": "projects/1/session_rec"}, "fault": fault})
    command = Command(sandbox.url, dsn, POSTHOG_PROJECT_ID="1,2")
    result = await command.run("sync", "--json")
    assert result.code == 3, result.err
    first, second = result.document["reports"]
    assert (first["status"], second["status"]) == ("partial", "succeeded")
    assert remedy in first["reason"]
    assert first["requests"] == 1
    truth = await fetch_truth(sandbox.url, 2)
    assert await differences_from_truth(dsn, truth, project=2) == []
    assert (await run_endings(dsn))[0] == ("partial", first["reason"])


async def test_a_refused_key_ends_everything_at_once(start_sandbox: StartSandbox, dsn: str) -> None:
    """Exit 5 after one request, with the words to fix it."""
    sandbox = await start_sandbox(recordings=60, projects=(1, 2))
    command = Command(
        sandbox.url, dsn, POSTHOG_PROJECT_ID="1,2", POSTHOG_PERSONAL_API_KEY="phx_revoked"
    )
    result = await command.run("sync", "--json")
    assert (result.code, result.report["status"]) == (5, "failed"), result.err
    assert "POSTHOG_PERSONAL_API_KEY" in result.report["reason"]
    assert sandbox.control.state()["requests"]["total"] == 1


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ({"status": 503}, {"preset": "402"}, 1),
        ({"preset": "402"}, {"status": 503}, 1),
        ({"preset": "402"}, {"preset": "401"}, 5),
        ({"preset": "429_header", "wait_s": 90}, {"preset": "402"}, 6),
    ],
    ids=["failed before partial", "in either order", "the key before all", "paused, then partial"],
)
async def test_when_streams_end_differently_the_gravest_sets_the_exit_code(
    start_sandbox: StartSandbox,
    dsn: str,
    first: dict[str, Any],
    second: dict[str, Any],
    code: int,
) -> None:
    """Two projects with a trouble each."""
    sandbox = await start_sandbox(recordings=10, projects=(1, 2))
    sandbox.control.add_faults(
        {"match": {"path": "projects/1/session_rec"}, "fault": first},
        {"match": {"path": "projects/2/session_rec"}, "fault": second},
    )
    command = Command(
        sandbox.url, dsn, POSTHOG_PROJECT_ID="1,2", POSTHOG_ETL_MAX_WAIT_S="5", **ONCE
    )
    result = await command.run("sync")
    assert (result.code, "Traceback" in result.err) == (code, False), result.err


async def test_a_unit_that_another_run_holds_is_left_to_it(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Exit 4, nothing is asked of the API, and the holder keeps its lease."""
    sandbox = await start_sandbox(recordings=10)
    holder = str(uuid.uuid4())
    await value(
        dsn,
        "INSERT INTO posthog_etl.leases VALUES "
        "(1, 'session_recordings', 'tail', $1, now() + interval '1 hour')",
        holder,
    )
    result = await Command(sandbox.url, dsn).run("sync", "--json")
    assert (result.code, result.report["status"]) == (4, "held"), result.err
    assert sandbox.control.state()["requests"]["total"] == 0
    assert str(await value(dsn, "SELECT holder FROM posthog_etl.leases")) == holder


@pytest.mark.parametrize(
    ("settings", "arguments", "named"),
    [
        ({"DATABASE_URL": ""}, (), "embedded"),
        ({"POSTHOG_PERSONAL_API_KEY": ""}, (), "POSTHOG_PERSONAL_API_KEY"),
        ({"POSTHOG_PERSONAL_API_KEY": "phc_project"}, (), "phx_"),
        ({"POSTHOG_HOST": "https://us.i.posthog.com"}, (), "ingestion"),
        ({"POSTHOG_PROJECT_ID": "my project"}, (), "POSTHOG_PROJECT_ID"),
        ({"POSTHOG_ETL_LOOKBACK": "-1"}, (), "POSTHOG_ETL_LOOKBACK"),
        ({}, ("session_recording",), "session_recordings"),
        ({}, ("--start", "soon"), "soon"),
    ],
    ids=lambda part: next(iter(part), "") if isinstance(part, dict | tuple) else "",
)
async def test_a_wrong_setting_is_named_and_nothing_starts(
    start_sandbox: StartSandbox,
    dsn: str,
    settings: dict[str, str],
    arguments: tuple[str, ...],
    named: str,
) -> None:
    """Exit 2, one line that names it, no request and no run."""
    sandbox = await start_sandbox(recordings=10)
    command = Command(sandbox.url, dsn).with_settings(**settings)
    result = await command.run("sync", *arguments)
    assert (result.code, result.out) == (2, ""), result.err
    assert named in result.err.strip().splitlines()[-1]
    assert "Traceback" not in result.err
    assert sandbox.control.state()["requests"]["total"] == 0
    assert await run_endings(dsn) == []


async def test_a_stream_that_is_switched_off_is_no_reason_for_anything(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Nothing is left to do: exit 0 without a request."""
    sandbox = await start_sandbox(recordings=10)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_DISABLED_STREAMS=",".join(STREAMS))
    result = await command.run("sync", "--json")
    assert (result.code, result.document) == (0, {"reports": []}), result.err
    assert sandbox.control.state()["requests"]["total"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_before_the_end_makes_it_partial(
    start_sandbox: StartSandbox, dsn: str, number: int
) -> None:
    """Exit 3 without a traceback; the unit is free again at once."""
    sandbox = await start_sandbox(recordings=350)
    sandbox.control.add_faults({"match": LIST, "at": 3, "fault": {"hang": True}})
    command = Command(sandbox.url, dsn, **PAGE)
    async with command.running("sync", "--json") as process:

        async def two_pages_are_in() -> bool:
            return await batches_committed(dsn) == 2

        await until(two_pages_are_in, "two pages are committed")
        process.send_signal(number)
        result = await finish(process)
    assert (result.code, result.report["status"]) == (3, "partial"), result.err
    assert "Traceback" not in result.err
    assert await watermark(dsn) is None
    assert await select(dsn, "SELECT FROM posthog_etl.leases WHERE holder IS NOT NULL") == []


async def test_the_report_counts_what_is_true(start_sandbox: StartSandbox, dsn: str) -> None:
    """Requests and bytes as the server saw them, rows as Postgres has them, the run as stored."""
    sandbox = await start_sandbox(recordings=250)
    report = (await Command(sandbox.url, dsn, **PAGE).run("sync", "--json")).report
    seen = sandbox.control.requests()
    assert report["requests"] == len(seen)
    assert report["bytes_read"] == sum(request["bytes"] for request in seen)
    assert report["records_read"] == 250
    counts = {
        table: await value(dsn, f"SELECT count(*) FROM posthog.{table}") for table in report["rows"]
    }
    assert report["rows"] == counts
    assert report["rows_inserted"] == sum(counts.values())
    (run,) = await select(dsn, "SELECT * FROM posthog_etl.runs")
    assert str(run["id"]) == report["run_id"]
    for name in ("status", "reason", "records_read", "rows_inserted", "requests", "bytes_read"):
        assert run[name] == report[name]


async def test_a_sync_that_is_stopped_between_two_streams_says_which_it_did_not_begin(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """What it began came to its end; what it did not begin is no success."""
    sandbox = await start_sandbox(recordings=10)
    streams = ("session_recordings", "insights", "playlists")
    pipeline = Pipeline(sandbox, dsn, streams=streams, streams_at_once=1)
    first, *others = await pipeline.stopped_sync()
    assert (first.stream, first.ending.status) == ("session_recordings", "succeeded")
    assert [(report.stream, report.ending.exit_code) for report in others] == [
        ("insights", 3),
        ("playlists", 3),
    ]
    assert {report.ending.reason for report in others} == {
        "Stopped before it began; the next run goes on there"
    }


async def test_a_backfill_that_is_stopped_between_two_windows_says_so(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The window in hand was its last page's, and yet the others are not read."""
    sandbox = await start_sandbox(recordings=40, days=5.0)
    reports = await Pipeline(sandbox, dsn).stopped_backfill(midnight(sandbox, 5), midnight(sandbox))
    assert [report.ending.status for report in reports] == ["succeeded", "partial"]
    assert reports[-1].ending.exit_code == 3
