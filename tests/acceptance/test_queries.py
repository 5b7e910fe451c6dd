"""Configured queries: their tables equal the truth, whatever the server and fate do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl import app
from etl.errors import EXIT_PARTIAL, EXIT_PAUSED, EXIT_SUCCEEDED
from etl.runs.work import unwatched
from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline
from tests.support.queries import PRESETS, pipeline, stored, untruths
from tests.support.sql import select, value
from tests.support.streams import SMALL, endings

FEW = {**SMALL, "groups": 12}
QUERY = {"path": "/query/"}
WHOLE = {"name": "mine", "query": "SELECT uuid, event FROM events", "key": ["uuid"]}


def queries(sandbox: RunningSandbox, dsn: str, *specs: dict[str, Any], **more: Any) -> Pipeline:
    """A pipeline of these configured queries."""
    names = [f"query:{spec['name']}" for spec in specs]
    return Pipeline(sandbox, dsn, streams=names, queries=list(specs), **more)


def events_query(**more: Any) -> dict[str, Any]:
    """A query of events by their arrival."""
    return {
        "name": "mine",
        "query": "SELECT uuid, event, created_at FROM events",
        "key": ["uuid"],
        "cursor": "created_at",
        "settle": "5m",
        **more,
    }


def add_events(sandbox: RunningSandbox, count: int, ago_s: float = 3600, **more: Any) -> list[str]:
    """Add events that were processed so long ago, all in one instant."""
    now = datetime.fromisoformat(sandbox.control.state()["now"])
    at = (now - timedelta(seconds=ago_s)).isoformat()
    done = sandbox.control.change({"op": "add_events", "count": count, "created_at": at, **more})
    return list(done[0]["uuids"])


async def test_every_ready_query_makes_a_table_equal_to_the_truth(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """At first, after changes, and a second sync finds nothing to write."""
    sandbox = await start_sandbox(**FEW)
    flow = pipeline(sandbox, dsn, *PRESETS)
    assert not endings(await flow.sync_each())
    add_events(sandbox, 30, ago_s=0)
    sandbox.control.advance(2 * 86_400)
    await select(dsn, "UPDATE posthog_etl.watermarks SET traits = traits - 'queried_at'")
    assert not endings(await flow.sync_each())
    for table in PRESETS:
        assert await untruths(dsn, sandbox, table) == []
    again = await flow.sync_each()
    assert {r.stream: r.rows_inserted + r.rows_updated for r in again} == {
        f"query:{name}": 0 for name in PRESETS
    }


@pytest.mark.parametrize("cap", [7, 50_000])
async def test_rows_with_one_time_are_neither_lost_nor_doubled_at_the_edges_of_pages(
    start_sandbox: StartSandbox, dsn: str, cap: int
) -> None:
    """Also where the server lowers LIMIT without a word, so that no page is full."""
    sandbox = await start_sandbox(**FEW, query_cap_rows=cap)
    wanted = {uuid for ago in (9000, 3600) for uuid in add_events(sandbox, 250, ago)}
    assert not endings(await queries(sandbox, dsn, events_query()).sync_each())
    have = [uuid for (uuid,) in await stored(dsn, "mine", "uuid")]
    assert len(have) == len(set(have))
    assert wanted <= set(have)
    assert len(have) == len(list(sandbox.control.truth_rows("events", 1)))


async def test_a_row_that_becomes_visible_late_is_read(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It carries the time of its processing, which is before the last sync by then."""
    sandbox = await start_sandbox(**FEW)
    flow = queries(sandbox, dsn, events_query(settle="5m", lookback="1m"))
    (late,) = add_events(sandbox, 1, ago_s=120, visible_after_s=200)
    assert not endings(await flow.sync_each())
    sandbox.control.advance(3600)
    assert not endings(await flow.sync_each())
    assert (late,) in await stored(dsn, "mine", "uuid")


@pytest.mark.parametrize("nth", [1, 2, 3, 5])
async def test_a_sync_that_dies_anywhere_loses_nothing(
    start_sandbox: StartSandbox, dsn: str, nth: int
) -> None:
    """The next one goes on after the last row that was committed."""
    sandbox = await start_sandbox(**FEW, query_cap_rows=20)
    add_events(sandbox, 90)
    flow = queries(sandbox, dsn, events_query())
    sandbox.control.add_faults({"match": QUERY, "at": nth, "fault": {"hang": True}})
    work = asyncio.ensure_future(flow.sync_each())
    while not any(rule["hits"] for rule in sandbox.control.faults()):
        await asyncio.wait({work}, timeout=0.01)
    work.cancel()
    await asyncio.wait({work})
    sandbox.control.clear_faults()
    await select(dsn, "UPDATE posthog_etl.leases SET expires_at = now() - interval '1 second'")
    (report,) = await flow.sync_each()
    assert report.ending.exit_code == EXIT_SUCCEEDED
    truth = {row["uuid"] for row in sandbox.control.truth_rows("events", 1)}
    have = [uuid for (uuid,) in await stored(dsn, "mine", "uuid")]
    assert sorted(have) == sorted(truth)
    assert report.records_read <= len(truth) - 20 * (nth - 1)


@pytest.mark.parametrize("fault", [{"killed": "time"}, {"killed": "bytes"}, {"status": 504}])
async def test_a_query_that_is_stopped_asks_for_less_and_reads_everything(
    start_sandbox: StartSandbox, dsn: str, fault: dict[str, Any]
) -> None:
    """It is never sent again unchanged: failures are cached, so it would fail again."""
    sandbox = await start_sandbox(**FEW, events_per_recording=6)
    add_events(sandbox, 120)
    sandbox.control.add_faults({"match": QUERY, "at": [1, 2, 4], "fault": fault})
    assert not endings(await queries(sandbox, dsn, events_query()).sync_each())
    truth = sorted(row["uuid"] for row in sandbox.control.truth_rows("events", 1))
    assert sorted(uuid for (uuid,) in await stored(dsn, "mine", "uuid")) == truth


async def test_a_query_that_fails_in_the_background_without_a_word_asks_for_less(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Nobody says whether it was wrong or too much."""
    sandbox = await start_sandbox(**FEW)
    add_events(sandbox, 20)
    sandbox.control.add_faults(
        {"match": QUERY, "at": 1, "fault": {"status": 504}},
        {"match": {**QUERY, "method": "GET"}, "at": 1, "fault": {"failed": True}},
    )
    assert not endings(await queries(sandbox, dsn, events_query()).sync_each())
    truth = sorted(row["uuid"] for row in sandbox.control.truth_rows("events", 1))
    assert sorted(uuid for (uuid,) in await stored(dsn, "mine", "uuid")) == truth


async def test_an_answer_of_the_cache_is_never_taken(start_sandbox: StartSandbox, dsn: str) -> None:
    """By default answers stay fresh for a day."""
    sandbox = await start_sandbox(**FEW)
    whole = {"name": "mine", "query": "SELECT uuid FROM events", "key": ["uuid"]}
    flow = queries(sandbox, dsn, whole)
    assert not endings(await flow.sync_each())
    new = add_events(sandbox, 1)
    assert not endings(await flow.sync_each())
    assert {(uuid,) for uuid in new} <= set(await stored(dsn, "mine", "uuid"))


async def test_a_whole_reading_marks_what_is_gone_and_nothing_else(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Each row that was not shown is asked for by its key first; the guard holds more back."""
    sandbox = await start_sandbox(**FEW)
    uuids = add_events(sandbox, 60)
    flow = queries(sandbox, dsn, WHOLE)
    assert not endings(await flow.sync_each())
    sandbox.control.change({"op": "delete_events", "uuids": uuids[:3]})
    assert not endings(await flow.sync_each())
    truth = sorted(row["uuid"] for row in sandbox.control.truth_rows("events", 1))
    assert sorted(uuid for (uuid,) in await stored(dsn, "mine", "uuid")) == truth
    sandbox.control.change({"op": "delete_events", "uuids": uuids[3:]})
    (report,) = await flow.sync_each()
    assert "vanished" in str(report.ending.reason)
    assert len(await stored(dsn, "mine", "uuid")) == len(truth)


async def test_columns_have_the_types_of_the_answer_and_say_so(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """JSON inside of text becomes JSON; what Postgres cannot hold is replaced and marked."""
    sandbox = await start_sandbox(**FEW)
    odd = '{"a": "x\\u0000y", "b": "\\ud800"}'
    (uuid,) = add_events(sandbox, 1, properties=odd)
    text = "SELECT uuid, properties, timestamp, created_at, count() OVER () AS n FROM events"
    spec = events_query(
        query=text.replace(", count() OVER () AS n", ", 7 AS seven, true AS yes, 1.5 AS half"),
        json=["properties"],
    )
    assert not endings(await queries(sandbox, dsn, spec).sync_each())
    kinds = await select(
        dsn,
        "SELECT attname AS name, format_type(atttypid, atttypmod) AS kind, "
        "col_description(attrelid, attnum) AS about FROM pg_attribute "
        "WHERE attrelid = 'posthog_queries.mine'::regclass AND attnum > 0",
    )
    found = {row["name"]: row["kind"] for row in kinds}
    assert found["properties"] == "jsonb"
    assert found["timestamp"] == "timestamp with time zone"
    assert (found["seven"], found["yes"]) == ("bigint", "boolean")
    assert found["half"] == "double precision"
    assert all(row["about"] for row in kinds)
    (row,) = await select(
        dsn, "SELECT properties, _repaired FROM posthog_queries.mine WHERE uuid = $1::uuid", uuid
    )
    assert row["properties"] == {"a": "x�y", "b": "�"}
    assert row["_repaired"] == ["properties"]


async def test_a_query_that_changes_keeps_its_table(start_sandbox: StartSandbox, dsn: str) -> None:
    """A new column is added, one that is left out stays, and a value of another type is kept."""
    sandbox = await start_sandbox(**FEW)
    add_events(sandbox, 2)
    assert not endings(await queries(sandbox, dsn, events_query()).sync_each())
    changed = events_query(query="SELECT uuid, created_at, 5 AS event, 'x' AS more FROM events")
    assert not endings(await queries(sandbox, dsn, changed).sync_each())
    rows = await select(dsn, "SELECT event, more, extra FROM posthog_queries.mine")
    assert {(row["more"], row["event"], str(row["extra"])) for row in rows} == {
        ("x", None, "{'event': 5}")
    }
    drift = await select(dsn, "SELECT field, found FROM posthog_etl.drift")
    assert {"field": "event", "found": "integer"} in drift


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query": "SELECT uuid, FROM events"}, "query mine is wrong"),
        ({"query": "SELECT uuid, created_at, nothing FROM events"}, "nothing"),
        ({"query": "SELECT uuid, created_at FROM events LIMIT 5 OFFSET 2"}, "OFFSET"),
        ({"key": ["other"]}, "other"),
        ({"query": "SELECT 1 AS uuid, event, created_at FROM events"}, "two different rows"),
        ({"query": "SELECT uuid, created_at, 1 AS project_id FROM events"}, "cannot be named"),
        ({"query": "SELECT distinct_id AS uuid, event, created_at FROM events"}, "different rows"),
        ({"json": ["nothing"]}, "which json names"),
    ],
)  # fmt: skip
async def test_a_wrong_query_is_one_line_with_the_words_of_the_server(
    start_sandbox: StartSandbox, dsn: str, change: dict[str, Any], said: str
) -> None:
    """And with the place where it is configured. It is asked once."""
    sandbox = await start_sandbox(**FEW)
    add_events(sandbox, 2)
    (report,) = await queries(sandbox, dsn, events_query(**change)).sync_each()
    assert report.ending.exit_code == 1
    assert said in str(report.ending.reason)
    assert "[[queries]] mine" in str(report.ending.reason)
    assert report.requests == 1


@pytest.mark.parametrize("access", ["forbidden", "paid", "missing"])
async def test_a_project_that_refuses_the_endpoint_costs_one_line(
    start_sandbox: StartSandbox, dsn: str, access: str
) -> None:
    """The other streams go on."""
    sandbox = await start_sandbox(**FEW, query_access=access)
    streams = ["query:events", "insights"]
    flow = Pipeline(sandbox, dsn, streams=streams, query_presets=["events"])
    by_stream = {report.stream: report for report in await flow.sync_each()}
    assert by_stream["insights"].ending.exit_code == EXIT_SUCCEEDED
    refused = by_stream["query:events"]
    assert (refused.ending.exit_code, refused.requests) == (EXIT_PARTIAL, 1)


async def test_a_spent_budget_of_bytes_is_a_pause_with_its_end(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """What was read is kept, and the run says how much the server read and has left."""
    sandbox = await start_sandbox(**FEW)
    add_events(sandbox, 30)
    flow = queries(sandbox, dsn, events_query(), max_wait_s=1)
    assert not endings(await flow.sync_each())
    spent = "SELECT query_bytes_read > 0 AND query_bytes_left > 0 FROM posthog_etl.runs"
    assert await value(dsn, spent)
    sandbox.control.add_faults(
        {
            "match": QUERY,
            "fault": {
                "status": 429,
                "headers": {"Retry-After": "1800"},
                "body": {
                    "type": "throttled_error",
                    "code": "api_queries_budget_exceeded",
                    "detail": "Budget exceeded",
                    "attr": None,
                },
            },
        }
    )
    (report,) = await flow.sync_each()
    assert report.ending.exit_code == EXIT_PAUSED
    assert "1800 seconds" in str(report.ending.reason)


async def test_one_place_is_left_to_people(start_sandbox: StartSandbox, dsn: str) -> None:
    """Of three queries that may run at once for a project, two are ours, whatever runs."""
    sandbox = await start_sandbox(**FEW, query_concurrency=2)
    sandbox.control.add_faults({"match": QUERY, "from": 1, "fault": {"query_s": 0.2}})
    specs = [events_query(name=f"q{number}") for number in range(5)]
    flow = queries(sandbox, dsn, *specs, streams_at_once=5)
    assert not endings(await flow.sync_each())
    statuses = sandbox.control.state()["requests"]["by_status"]
    assert set(statuses) <= {"200"}


async def test_a_query_in_the_background_is_asked_after_and_cancelled_when_stopped(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A slow one is followed by queries that do not keep a connection open."""
    sandbox = await start_sandbox(**FEW, query_polls=2)
    add_events(sandbox, 10)
    sandbox.control.add_faults({"match": QUERY, "at": 1, "fault": {"status": 504}})
    flow = queries(sandbox, dsn, events_query())
    assert not endings(await flow.sync_each())
    methods = [each["method"] for each in sandbox.control.requests() if "/query/" in each["path"]]
    assert methods.count("GET") >= 2
    sandbox.control.answer_as(query_polls=1000)
    sandbox.control.reset_requests()
    stop = asyncio.Event()
    sandbox.control.add_faults({"match": QUERY, "at": 1, "fault": {"status": 504}})
    work = asyncio.ensure_future(
        app.sync(flow.settings, [flow.settings.catalogue["query:mine"]], stop, unwatched)
    )
    while not any(each["method"] == "GET" for each in sandbox.control.requests()):
        await asyncio.wait({work}, timeout=0.01)
        assert not work.done(), work.result()
    stop.set()
    (report,) = await work
    assert report.ending.exit_code == EXIT_PARTIAL
    assert sandbox.control.requests()[-1]["method"] == "DELETE"


async def test_old_events_that_arrive_late_are_found_when_old_days_are_looked_through(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Each sync bounds the events' own time, because only that has an index."""
    sandbox = await start_sandbox(**FEW)
    flow = pipeline(sandbox, dsn, "events")
    assert not endings(await flow.sync_each())
    old = (datetime.now(UTC) - timedelta(days=10)).isoformat()
    sandbox.control.advance(3600)
    (uuid,) = add_events(sandbox, 1, ago_s=1200, timestamp=old)
    assert not endings(await flow.sync_each())
    assert (uuid,) not in await stored(dsn, "events", "uuid")
    sandbox.control.advance(2 * 86_400)
    assert not endings(await flow.sync_each())
    assert (uuid,) in await stored(dsn, "events", "uuid")
    assert await untruths(dsn, sandbox, "events") == []


async def test_an_older_server_gives_sessions_by_their_start_until_it_is_newer(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It does not know when a session arrived. The better query is tried again once a week."""
    sandbox = await start_sandbox(**FEW, sessions_version=2)
    flow = pipeline(sandbox, dsn, "sessions")
    assert not endings(await flow.sync_each())
    assert await untruths(dsn, sandbox, "sessions") == []
    (report,) = await flow.sync_each()
    assert report.requests <= 2
    sandbox.control.answer_as(sessions_version=3)
    assert not endings(await flow.sync_each())
    arrived = "SELECT count(max_inserted_at) FROM posthog_queries.sessions"
    assert "max_inserted_at" not in await columns(dsn, "sessions")
    ago = (datetime.now(UTC) - timedelta(days=8)).isoformat()
    earlier = "jsonb_set(traits, '{chosen_at}', to_jsonb($1::text))"
    await select(dsn, f"UPDATE posthog_etl.watermarks SET traits = {earlier}", ago)
    assert not endings(await flow.sync_each())
    assert await untruths(dsn, sandbox, "sessions") == []
    assert await value(dsn, arrived) > 0


async def columns(dsn: str, table: str) -> set[str]:
    """The columns of the table of a query."""
    rows = await select(
        dsn,
        "SELECT column_name AS name FROM information_schema.columns "
        "WHERE table_schema = 'posthog_queries' AND table_name = $1",
        table,
    )
    return {row["name"] for row in rows}


async def test_resync_reads_all_of_a_query_and_marks_what_is_gone(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """An increment never sees a row that vanished."""
    sandbox = await start_sandbox(**FEW)
    uuids = add_events(sandbox, 20)
    flow = queries(sandbox, dsn, events_query())
    assert not endings(await flow.sync_each())
    await select(dsn, "UPDATE posthog_queries.mine SET event = 'spoilt'")
    sandbox.control.add_faults({"match": QUERY, "at": 1, "fault": {"killed": "time"}})
    sandbox.control.change({"op": "delete_events", "uuids": uuids[:2]})
    assert not endings(await flow.resync_each())
    truth = sorted((row["uuid"], row["event"]) for row in sandbox.control.truth_rows("events", 1))
    assert sorted(await stored(dsn, "mine", "uuid", "event")) == truth


async def test_a_query_is_asked_no_more_often_than_configured(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Unless it is asked for by name."""
    sandbox = await start_sandbox(**FEW)
    flow = queries(sandbox, dsn, events_query(every="6h"))
    assert not endings(await flow.sync_each())
    (report,) = await flow.sync_each()
    assert (report.ending.exit_code, report.requests) == (EXIT_SUCCEEDED, 0)
    streams = [flow.settings.catalogue["query:mine"]]
    accepted = app.Acceptance(at_once=["query:mine"])
    (report,) = await app.sync(flow.settings, streams, asyncio.Event(), unwatched, accepted)
    assert report.requests > 0


async def test_a_row_that_changes_while_all_is_read_anew_is_not_taken_for_gone(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It has left the stretch that is read, and the query itself bounds that stretch."""
    sandbox = await start_sandbox(**FEW)
    since, until = (f"toDateTime64({{{name}}}, 6, 'UTC')" for name in ("since", "until"))
    bounds = f"created_at >= {since} AND created_at < {until}"
    spec = events_query(query=f"SELECT uuid, event, created_at FROM events WHERE {bounds}")
    (uuid,) = add_events(sandbox, 1)
    flow = queries(sandbox, dsn, spec)
    assert not endings(await flow.sync_each())
    sandbox.control.change({"op": "delete_events", "uuids": [uuid]})
    now = sandbox.control.state()["now"]
    sandbox.control.change({"op": "add_events", "uuid": uuid, "created_at": now})
    assert not endings(await flow.resync_each())
    assert (uuid,) in await stored(dsn, "mine", "uuid")


async def test_a_longer_reach_brings_in_what_a_shorter_one_left_out(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Also what arrived before it was configured."""
    sandbox = await start_sandbox(**FEW)
    bound = "timestamp >= toDateTime64({reach}, 6, 'UTC')"
    text = f"SELECT uuid, event, created_at FROM events WHERE {bound}"
    short = events_query(query=text, reach="3d")
    assert not endings(await queries(sandbox, dsn, short).sync_each())
    old = (datetime.now(UTC) - timedelta(days=10)).isoformat()
    sandbox.control.advance(3600)
    (uuid,) = add_events(sandbox, 1, ago_s=1200, timestamp=old)
    for _ in range(2):
        assert not endings(await queries(sandbox, dsn, short).sync_each())
        sandbox.control.advance(2 * 86_400)
    assert (uuid,) not in await stored(dsn, "mine", "uuid")
    long = events_query(query=text, reach="3d, 30d every 1d")
    assert not endings(await queries(sandbox, dsn, long).sync_each())
    assert (uuid,) in await stored(dsn, "mine", "uuid")


async def test_rows_are_asked_for_in_halves_where_the_server_stops_that_query(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It would be stopped again and again, at every sync."""
    sandbox = await start_sandbox(**FEW)
    uuids = add_events(sandbox, 60)
    flow = queries(sandbox, dsn, WHOLE)
    assert not endings(await flow.sync_each())
    sandbox.control.change({"op": "delete_events", "uuids": uuids[:4]})
    by_key = {"path": "/query/", "body": "key_3_0"}
    sandbox.control.add_faults({"match": by_key, "from": 1, "fault": {"killed": "time"}})
    assert not endings(await flow.sync_each())
    truth = sorted(row["uuid"] for row in sandbox.control.truth_rows("events", 1))
    assert sorted(uuid for (uuid,) in await stored(dsn, "mine", "uuid")) == truth


async def test_a_whole_reading_that_goes_on_later_is_true_as_of_its_beginning(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """What was read before the interruption is older than what was read after it."""
    sandbox = await start_sandbox(**FEW, query_cap_rows=20)
    add_events(sandbox, 60)
    flow = queries(sandbox, dsn, WHOLE)
    began = datetime.fromisoformat(sandbox.control.state()["now"])
    sandbox.control.add_faults({"match": QUERY, "at": 2, "fault": {"status": 400}})
    (report,) = await flow.sync_each()
    assert report.ending.exit_code == 1
    sandbox.control.clear_faults()
    sandbox.control.advance(3600)
    (report,) = await flow.sync_each()
    assert report.ending.exit_code == EXIT_SUCCEEDED
    assert report.complete_until is not None
    assert report.complete_until < began + timedelta(minutes=5)
