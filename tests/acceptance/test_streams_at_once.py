"""P8, streams side by side: a stream that waits keeps no other waiting, unless it builds on it."""

from __future__ import annotations

import signal
from collections import Counter

from etl.streams import STREAMS
from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.command import Command, finish
from tests.support.pipeline import EVERY_STREAM, LIST, Pipeline
from tests.support.sql import select
from tests.support.streams import SMALL, endings, untruths

STOPPED = "Stopped before the end; what was read is committed. The next run goes on"
NOT_BEGUN = "Stopped before it began; the next run goes on there"


async def test_a_list_that_waits_for_its_budget_keeps_no_other_stream_waiting(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The others end meanwhile, but for the one that builds on it. Ctrl-C ends the wait."""
    sandbox = await start_sandbox(**SMALL)
    command = Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_DISABLED_STREAMS="",
        POSTHOG_ETL_STREAMS_AT_ONCE="2",
        POSTHOG_ETL_LIST_REQUESTS_PER_MINUTE="1",
        POSTHOG_ETL_PAGE_SIZE_RECORDS="5",
    )
    waits = ("session_recordings", "recording_sharing")
    others = {name for name, stream in STREAMS.items() if not stream.off} - {*waits}

    async def others_have_ended() -> bool:
        rows = await select(dsn, "SELECT stream, status FROM posthog_etl.runs")
        statuses = {row["stream"]: row["status"] for row in rows}
        return statuses == {**dict.fromkeys(others, "succeeded"), "session_recordings": "running"}

    async with command.running("sync", "--json") as process:
        await until(others_have_ended, "the other streams end")
        process.send_signal(signal.SIGINT)
        result = await finish(process)
    assert result.code == 3, result.err
    left = {r["stream"]: r["reason"] for r in result.document["reports"] if r["reason"]}
    assert left == dict(zip(waits, (STOPPED, NOT_BEGUN), strict=True))


async def test_a_stream_begins_when_the_one_it_builds_on_has_ended(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """However they are named, so one sync copies everything. Reports keep the order of names."""
    sandbox = await start_sandbox(**SMALL)
    # So that the recordings end after streams that come after them.
    sandbox.control.add_faults({"match": LIST, "at": 1, "fault": {"latency_s": 1}})
    named = ("recording_sharing", *(n for n in EVERY_STREAM if n != "recording_sharing"))
    reports = await Pipeline(sandbox, dsn, streams=named, streams_at_once=8).sync_each()
    assert (endings(reports), [report.stream for report in reports]) == ({}, [*named])
    assert await untruths(dsn, sandbox, *EVERY_STREAM) == []
    rows = await select(dsn, "SELECT * FROM posthog_etl.runs ORDER BY ended_at")
    runs = {row["stream"]: row for row in rows}
    too_soon = [
        (child, parent)
        for child in runs
        for parent in runs
        if STREAMS[child].builds_on(STREAMS[parent])
        and runs[child]["started_at"] < runs[parent]["ended_at"]
    ]
    assert too_soon == []
    assert [*runs].index("session_recordings") > [*runs].index("project_secret_api_keys")


async def test_each_run_counts_the_requests_of_its_own_stream(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Of streams that read at once: as many as the server saw for each."""
    sandbox = await start_sandbox(**SMALL)
    paths = {
        "session_recordings": "session_recordings",
        "subscriptions": "subscriptions",
        "insights": "insights",
        "project_secret_api_keys": "project_secret_api_keys",
    }
    sandbox.control.reset_requests()
    pipeline = Pipeline(sandbox, dsn, streams=tuple(paths), page_size_records=4)
    reports = await pipeline.sync_each()
    seen = Counter(
        stream
        for request in sandbox.control.requests()
        for stream, path in paths.items()
        if f"/{path}" in request["path"]
    )
    assert {report.stream: report.requests for report in reports} == seen
    assert seen.total() == len(sandbox.control.requests())


async def test_a_refused_key_stops_the_streams_that_run(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """What they have read is committed, and nothing more begins."""
    sandbox = await start_sandbox(**SMALL)
    sandbox.control.add_faults(
        {"match": {"path": "/subscriptions"}, "from": 2, "fault": {"hang": True}},
        {"match": {"path": "/insights"}, "at": 2, "fault": {"preset": "401"}},
    )
    streams = ("subscriptions", "insights", "playlists")
    pipeline = Pipeline(sandbox, dsn, streams=streams, page_size_records=4, streams_at_once=2)
    stopped, refused = await pipeline.sync_each()
    assert (stopped.stream, stopped.ending.exit_code) == ("subscriptions", 3)
    assert (stopped.ending.reason, stopped.records_read) == (STOPPED, 4)
    assert (refused.stream, refused.ending.exit_code) == ("insights", 5)
