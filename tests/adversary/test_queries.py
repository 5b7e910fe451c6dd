"""Configured queries against a server that nobody here wrote: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from etl.errors import EXIT_HELD, EXIT_PARTIAL, EXIT_PAUSED, EXIT_SUCCEEDED
from tests.adversary.foreign import cut, error, half, page
from tests.adversary.hogql import Query, Row, Table, nanos
from tests.adversary.server import Adversary, Asked
from tests.support.command import Command, finish
from tests.support.pgproxy import PgProxy, Point
from tests.support.pipeline import EVERY_STREAM, Pipeline
from tests.support.sql import select, value

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
EVENTS = {
    "uuid": "UUID",
    "event": "String",
    "timestamp": "DateTime64(6, 'UTC')",
    "created_at": "DateTime64(6, 'UTC')",
}


def event(server: Adversary, ago: timedelta = HOUR, **fields: Any) -> Row:
    """An event that was processed so long ago. Its uuid is random."""
    at = nanos(server.now - ago)
    return {
        **{"uuid": uuid.uuid4(), "event": "seen", "timestamp": at, "created_at": at},
        **fields,
    }


def events(server: Adversary, count: int, ago: timedelta = HOUR, **fields: Any) -> list[Row]:
    """Events of one instant."""
    at = nanos(server.now - ago)
    return [event(server, **{"created_at": at, **fields}) for _ in range(count)]


def serve(server: Adversary, rows: list[Row], **columns: str) -> Table:
    """Let the server have these rows in its table `events`."""
    server.hogql.tables["events"] = Table({**EVENTS, **columns}, rows)
    return server.hogql.tables["events"]


def spec(**more: Any) -> dict[str, Any]:
    """A configured query of events by their arrival."""
    return {
        "name": "mine",
        "query": "SELECT uuid, event, created_at FROM events",
        "key": ["uuid"],
        "cursor": "created_at",
        **more,
    }


WHOLE = {"name": "mine", "query": "SELECT uuid, event FROM events", "key": ["uuid"]}


def flow_of(server: Adversary, dsn: str, *specs: dict[str, Any], **more: Any) -> Pipeline:
    """A pipeline of configured queries."""
    names = [f"query:{each['name']}" for each in specs]
    return Pipeline(server, dsn, streams=names, queries=list(specs), **more)


def command_of(server: Adversary, dsn: str, *specs: dict[str, Any], **more: str) -> Command:
    """The command with configured queries and nothing else to read."""
    return Command(
        server.url,
        dsn,
        **{
            "POSTHOG_ETL_QUERIES": json.dumps(specs),
            "POSTHOG_ETL_DISABLED_STREAMS": ",".join(EVERY_STREAM),
            **more,
        },
    )


async def stored(dsn: str, *columns: str, table: str = "mine") -> list[Any]:
    """The living rows of a table, in any order."""
    chosen = ", ".join('"' + each.replace('"', '""') + '"' for each in columns or ("uuid",))
    rows = await select(
        dsn, f"SELECT {chosen} FROM posthog_queries.{table} WHERE _deleted_at IS NULL"
    )
    return [tuple(row.values()) if len(columns) > 1 else next(iter(row.values())) for row in rows]


def truth(server: Adversary) -> list[uuid.UUID]:
    """The uuids of all events, each once, in order."""
    return sorted({row["uuid"] for row in server.hogql.tables["events"].rows})


async def assert_equal(dsn: str, server: Adversary) -> None:
    """Nothing is lost and nothing is doubled."""
    assert sorted(await stored(dsn)) == truth(server)


async def succeeds(flow: Pipeline, **more: Any) -> Any:
    """Sync, and return the report of the only stream."""
    (report,) = await flow.sync_each(**more)
    assert (report.ending.exit_code, report.ending.reason) == (EXIT_SUCCEEDED, None)
    return report


def identical(server: Adversary) -> list[str]:
    """Queries that were sent more than once, unchanged."""
    contents = [query.content for query in server.hogql.asked]
    return [each for each in set(contents) if contents.count(each) > 1]


# What pages do


@pytest.mark.parametrize("cap", [3, 7, 50_000])
@pytest.mark.parametrize("zone", [timedelta(0), timedelta(hours=5, minutes=45)], ids=["utc", "far"])
async def test_ties_at_the_edges_of_pages_are_neither_lost_nor_doubled(
    adversary: Adversary, dsn: str, cap: int, zone: timedelta
) -> None:
    """LIMIT is lowered without a word, UUIDs go by their second half, the zone is far."""
    serve(adversary, [*events(adversary, 40, 3 * HOUR), *events(adversary, 25)])
    adversary.hogql.cap, adversary.hogql.zone = cap, zone
    flow = flow_of(adversary, dsn, spec())
    await succeeds(flow)
    await assert_equal(dsn, adversary)
    again = await succeeds(flow)
    assert (again.rows_inserted, again.rows_updated) == (0, 0)


@pytest.mark.parametrize("kind", ["DateTime64(9, 'UTC')", "DateTime64(3, 'UTC')", "DateTime"])
async def test_a_cursor_of_any_precision_is_read_exactly(
    adversary: Adversary, dsn: str, kind: str
) -> None:
    """Nanoseconds order rows that a microsecond does not."""
    step = {"DateTime": 10**9, "DateTime64(3, 'UTC')": 10**6}.get(kind, 1)
    base = nanos(adversary.now - HOUR) // 10**9 * 10**9
    rows = [event(adversary, created_at=base + number * step) for number in range(30)]
    serve(adversary, rows, created_at=kind)
    adversary.hogql.cap = 4
    await succeeds(flow_of(adversary, dsn, spec()))
    await assert_equal(dsn, adversary)


async def test_a_cursor_of_nanoseconds_in_another_zone_is_read_exactly(
    adversary: Adversary, dsn: str
) -> None:
    """A column may have a zone of its own, whatever the modifiers say."""
    base = nanos(adversary.now - HOUR)
    rows = [event(adversary, created_at=base + number) for number in range(30)]
    serve(adversary, rows, created_at="DateTime64(9, 'Asia/Kathmandu')")
    adversary.hogql.cap = 4
    adversary.hogql.own_zone = timedelta(hours=5, minutes=45)
    await succeeds(flow_of(adversary, dsn, spec()))
    await assert_equal(dsn, adversary)


async def test_a_cursor_that_is_shown_less_exactly_than_it_is_ends_with_one_clear_line(
    adversary: Adversary, dsn: str
) -> None:
    """A driver cuts nanoseconds to microseconds, so the row after the last one is the last one."""
    at = nanos(adversary.now - HOUR) // 1000 * 1000 + 999
    serve(adversary, [event(adversary, created_at=at)], created_at="DateTime64(9, 'UTC')")
    adversary.hogql.digits = 6
    (report,) = await flow_of(adversary, dsn, spec()).sync_each()
    assert report.ending.exit_code == 1
    assert "toDateTime64(created_at, 6" in str(report.ending.reason)


async def test_the_same_row_twice_and_an_older_copy_of_it_are_one_row(
    adversary: Adversary, dsn: str
) -> None:
    """Before a merge an event that was sent twice is there twice; the later copy stays."""
    rows = events(adversary, 3)
    older = {**rows[0], "created_at": rows[0]["created_at"] - 10**9, "event": "older"}
    serve(adversary, [*rows, rows[1], older])
    await succeeds(flow_of(adversary, dsn, spec(later_wins=True)))
    await assert_equal(dsn, adversary)
    assert set(await stored(dsn, "event")) == {"seen"}


async def test_rows_that_change_and_vanish_between_two_pages_cost_no_other_row(
    adversary: Adversary, dsn: str
) -> None:
    """One is moved behind the place of the reading, one is deleted, one is added before it."""
    table = serve(adversary, [event(adversary, HOUR + n * MINUTE) for n in range(20)])
    adversary.hogql.cap = 4

    def change(_query: Query) -> None:
        if len(adversary.hogql.asked) == 3:
            table.rows.sort(key=lambda row: row["created_at"])
            table.rows[0]["created_at"] = nanos(adversary.now - HOUR / 2)
            table.rows[0]["event"] = "moved"
            del table.rows[-1], table.rows[1]
            table.rows.append(event(adversary, 2 * HOUR))

    adversary.hogql.before.append(change)
    flow = flow_of(adversary, dsn, spec(lookback="3h"))
    await succeeds(flow)
    await succeeds(flow)
    assert set(truth(adversary)) <= set(await stored(dsn))
    assert (await stored(dsn, "event")).count("moved") == 1
    (report,) = await flow.resync_each()
    assert report.ending.exit_code == EXIT_SUCCEEDED
    await assert_equal(dsn, adversary)


async def test_a_row_that_is_visible_late_is_read_within_the_settle_lag(
    adversary: Adversary, dsn: str
) -> None:
    """It arrived before the last sync by its own time; rows at both edges are read, too."""
    late = event(adversary, 5 * MINUTE, visible_at=nanos(adversary.now + HOUR))
    edges = [event(adversary, each * MINUTE) for each in (9, 11)]
    serve(adversary, [late, *edges, *events(adversary, 3)])
    await succeeds(flow_of(adversary, dsn, spec(settle="10m", lookback="1m")))
    assert len(await stored(dsn)) == 4
    late["visible_at"] = 0
    # The same as if nine minutes had passed.
    await succeeds(flow_of(adversary, dsn, spec(settle="1m", lookback="1m")))
    await assert_equal(dsn, adversary)


async def test_an_answer_of_the_cache_is_never_taken(adversary: Adversary, dsn: str) -> None:
    """The first page of a whole reading is the same question each time."""
    table = serve(adversary, events(adversary, 5))
    flow = flow_of(adversary, dsn, WHOLE)
    await succeeds(flow)
    table.rows += events(adversary, 2)
    await succeeds(flow)
    await assert_equal(dsn, adversary)


@pytest.mark.parametrize("change", ["vanishes", "changes its type"])
async def test_a_column_that_vanishes_or_changes_between_two_pages_is_no_crash(
    adversary: Adversary, dsn: str, change: str
) -> None:
    """What no longer fits goes to `extra`."""
    table = serve(adversary, [event(adversary, HOUR + n * MINUTE, more=n) for n in range(8)])
    table.columns["more"] = "UInt8"
    adversary.hogql.cap = 4

    async def changed(_asked: Asked, proceed: Callable[[], web.Response]) -> web.Response:
        found = json.loads(bytes(proceed().body))
        at = found["columns"].index("more")
        if change == "vanishes":
            for each in (found["columns"], found["types"], *found["results"]):
                del each[at]
        else:
            found["types"][at][1] = "String"
            found["results"] = [[*r[:at], f"n{r[at]}", *r[at + 1 :]] for r in found["results"]]
        return web.json_response(found)

    adversary.when(lambda each: each.path == "query/" and bool(adversary.hogql.asked), changed)
    query = "SELECT uuid, event, more, created_at FROM events"
    await succeeds(flow_of(adversary, dsn, spec(query=query)))
    await assert_equal(dsn, adversary)
    later = [{"more": f"n{n}"} for n in range(4)] if change != "vanishes" else [None] * 4
    found = await stored(dsn, "more", "extra")
    assert sorted(more for more, _ in found if more is not None) == [4, 5, 6, 7]
    assert sorted((extra for more, extra in found if more is None), key=str) == later


@pytest.mark.parametrize(
    "broken",
    [cut, half, page(502), page(404)],
    ids=["cut", "half", "502", "404"],
)
@pytest.mark.parametrize("polls", [0, 1])
async def test_an_answer_of_a_proxy_or_a_cut_one_loses_nothing(
    adversary: Adversary, dsn: str, broken: Any, polls: int
) -> None:
    """At any request: the first, one in the middle, and those about a status."""
    serve(adversary, [event(adversary, HOUR + n * MINUTE) for n in range(12)])
    adversary.hogql.cap, adversary.hogql.polls = 4, polls
    for nth in (1, 2, 3):
        adversary.requests.clear()
        adversary.when(lambda each, at=nth: each.number == at, broken, 1)
        (report,) = await flow_of(adversary, dsn, spec(), request_attempts=2).resync_each()
        assert (report.ending.exit_code, report.ending.reason) == (EXIT_SUCCEEDED, None)
        await assert_equal(dsn, adversary)


async def test_a_500_without_the_form_of_posthog_is_one_line(
    adversary: Adversary, dsn: str
) -> None:
    """It fails this stream, and the next sync goes on."""
    serve(adversary, events(adversary, 5))
    adversary.when("query/", page(500), 1)
    flow = flow_of(adversary, dsn, spec())
    (report,) = await flow.sync_each()
    assert report.ending.exit_code == 1
    assert "\n" not in str(report.ending.reason)
    await succeeds(flow)
    await assert_equal(dsn, adversary)


# The life of a query


async def test_a_query_that_is_answered_in_the_background_is_asked_after(
    adversary: Adversary, dsn: str
) -> None:
    """Under a name that the server chose."""
    serve(adversary, events(adversary, 9))
    adversary.hogql.polls, adversary.hogql.cap = 2, 4
    adversary.hogql.rename = lambda id: f"cache_{id}"
    await succeeds(flow_of(adversary, dsn, spec()))
    await assert_equal(dsn, adversary)


@pytest.mark.parametrize("losing", [1, 2])
async def test_a_query_whose_status_is_lost_is_begun_again(
    adversary: Adversary, dsn: str, losing: int
) -> None:
    """Statuses are kept for minutes only."""
    serve(adversary, events(adversary, 9))
    adversary.hogql.polls, adversary.hogql.losing = 1, losing
    await succeeds(flow_of(adversary, dsn, spec()))
    await assert_equal(dsn, adversary)


async def test_a_status_of_another_query_is_not_taken(adversary: Adversary, dsn: str) -> None:
    """Its rows are not those that were asked for."""
    serve(adversary, events(adversary, 3))
    foreign = str(uuid.uuid4())
    results = {
        "results": [[foreign, "foreign", "2026-01-01T00:00:00Z"]],
        "columns": ["uuid", "event", "created_at"],
        "types": [["uuid", "UUID"], ["event", "String"], ["created_at", EVENTS["created_at"]]],
    }
    times = [0]

    def other(status: dict[str, Any]) -> dict[str, Any]:
        times[0] += 1
        if times[0] != 2:
            return status
        return {**status, "id": "another", "complete": True, "results": results}

    adversary.hogql.polls, adversary.hogql.status_of = 1, other
    await succeeds(flow_of(adversary, dsn, spec()))
    await assert_equal(dsn, adversary)


@pytest.mark.parametrize(
    "failed",
    [
        {"error": True, "complete": False, "error_message": "Unknown column"},
        {"error": True, "complete": True, "error_message": "Unknown column"},
        {"complete": True, "results": {"results": [], "error": "Unknown column"}},
    ],
    ids=["error without complete", "error with complete", "error in the results"],
)
async def test_a_query_that_failed_is_one_line_in_every_form(
    adversary: Adversary, dsn: str, failed: dict[str, Any]
) -> None:
    """And it is sent once."""
    serve(adversary, events(adversary, 3))
    adversary.hogql.polls = 1
    adversary.hogql.status_of = lambda status: (
        {**status, **failed} if status["complete"] else status
    )
    (report,) = await flow_of(adversary, dsn, spec()).sync_each()
    assert report.ending.exit_code == 1
    assert "Unknown column" in str(report.ending.reason)
    assert "[[queries]] mine" in str(report.ending.reason)
    assert len(adversary.hogql.asked) == 1


async def test_a_query_that_fails_is_never_sent_again_unchanged(
    adversary: Adversary, dsn: str
) -> None:
    """The server stops whatever spans more than two hours, and keeps its failures."""
    serve(adversary, [event(adversary, n * HOUR) for n in range(1, 12)])

    def too_much(query: Query) -> bool:
        since, until = (
            datetime.fromisoformat(query.values[name]) for name in ("page_since", "page_until")
        )
        return until - since > 2 * HOUR

    adversary.hogql.stops = too_much
    flow = flow_of(adversary, dsn, spec(), start=adversary.now - 12 * HOUR)
    await succeeds(flow)
    await assert_equal(dsn, adversary)
    assert identical(adversary) == []


async def test_a_stretch_that_was_halved_for_a_moment_grows_again(
    adversary: Adversary, dsn: str
) -> None:
    """A proxy that fails for seconds must not cut a year into minutes."""
    serve(adversary, [event(adversary, n * HOUR) for n in range(1, 500)])
    adversary.when("query/", page(504), 16)
    flow = flow_of(adversary, dsn, spec(), start=adversary.now - timedelta(days=365))
    await succeeds(flow)
    await assert_equal(dsn, adversary)
    assert len(adversary.hogql.asked) < 120


async def test_a_wrong_column_with_the_name_of_a_limit_is_wrong_and_not_too_much(
    adversary: Adversary, dsn: str
) -> None:
    """`cancelled_at` is no cancelled query."""
    serve(adversary, events(adversary, 3))
    query = "SELECT uuid, created_at, cancelled_at FROM events"
    (report,) = await flow_of(adversary, dsn, spec(query=query)).sync_each()
    assert report.ending.exit_code == 1
    assert "is wrong" in str(report.ending.reason)
    assert len(adversary.hogql.asked) == 1


async def test_a_missing_scope_is_one_line_and_the_other_streams_go_on(
    adversary: Adversary, dsn: str
) -> None:
    """PostHog names the scope."""
    serve(adversary, [])

    async def answer(_asked: Asked, _proceed: Any) -> web.StreamResponse:
        return error(403, "permission_denied", "API key missing required scope 'query:read'")

    adversary.when("query/", answer)
    flow = Pipeline(adversary, dsn, streams=["query:mine", "insights"], queries=[spec()])
    by_stream = {report.stream: report for report in await flow.sync_each()}
    assert by_stream["insights"].ending.exit_code == EXIT_SUCCEEDED
    refused = by_stream["query:mine"].ending
    assert refused.exit_code == EXIT_PARTIAL
    assert "query:read" in str(refused.reason)


@pytest.mark.parametrize(
    ("code", "retry_after"), [("throttled", None), ("api_queries_budget_exceeded", "1800")]
)
async def test_refusals_for_others_queries_and_for_the_budget_are_a_pause(
    adversary: Adversary, dsn: str, code: str, retry_after: str | None
) -> None:
    """With its end in the reason. What was read stays, and the next sync goes on."""
    serve(adversary, [event(adversary, HOUR + n * MINUTE) for n in range(12)])
    adversary.hogql.cap = 4

    async def answer(_asked: Asked, proceed: Any) -> web.StreamResponse:
        if not adversary.hogql.asked:
            return proceed()
        headers = {"Retry-After": retry_after} if retry_after else None
        return error(429, code, "Too many queries are running right now", headers)

    adversary.when("query/", answer)
    flow = flow_of(adversary, dsn, spec(), max_wait_s=1)
    (report,) = await flow.sync_each()
    assert report.ending.exit_code == EXIT_PAUSED
    assert "UTC" in str(report.ending.reason)
    assert len(await stored(dsn)) == 4
    adversary.rules.clear()
    await select(dsn, "DELETE FROM posthog_etl.request_blocks")
    await succeeds(flow)
    await assert_equal(dsn, adversary)


async def test_odd_headers_about_bytes_are_ignored(adversary: Adversary, dsn: str) -> None:
    """A number that no column holds is none."""
    serve(adversary, events(adversary, 2))
    adversary.hogql.bytes_left = 10**40
    await succeeds(flow_of(adversary, dsn, spec()))
    await assert_equal(dsn, adversary)


# Whole readings


@pytest.mark.parametrize("cap", [3, 50_000])
async def test_only_what_is_gone_is_marked_where_limit_is_lowered(
    adversary: Adversary, dsn: str, cap: int
) -> None:
    """A key that an answer had no room for is not gone."""
    table = serve(adversary, events(adversary, 60))
    flow = flow_of(adversary, dsn, WHOLE)
    await succeeds(flow)
    hidden = table.rows[:5]
    gone = hidden.pop()
    table.rows.remove(gone)

    def hide(query: Query) -> None:
        # Four rows are not there while the reading passes, as of a replica that lags.
        for row in hidden:
            row["visible_at"] = 0 if " IN (" in query.text else nanos(adversary.now + HOUR)

    adversary.hogql.before.append(hide)
    adversary.hogql.cap = cap
    await succeeds(flow)
    await assert_equal(dsn, adversary)


async def test_copies_of_a_row_do_not_make_others_look_gone(adversary: Adversary, dsn: str) -> None:
    """Three copies each: twice as many rows as keys are too few."""
    rows = events(adversary, 60)
    table = serve(adversary, rows * 3)
    flow = flow_of(adversary, dsn, WHOLE)
    await succeeds(flow)
    hidden = rows[:5]

    def hide(query: Query) -> None:
        for row in hidden:
            row["visible_at"] = 0 if " IN (" in query.text else nanos(adversary.now + HOUR)

    adversary.hogql.before.append(hide)
    await succeeds(flow)
    assert len(table.rows) == 180
    await assert_equal(dsn, adversary)


@pytest.mark.parametrize("order", [("uuid", "timestamp"), ("timestamp", "uuid")])
async def test_a_key_with_an_instant_can_be_asked_for(
    adversary: Adversary, dsn: str, order: tuple[str, str]
) -> None:
    """toDateTime64 refuses a zone."""
    table = serve(adversary, events(adversary, 20))
    query = {"name": "mine", "query": "SELECT uuid, timestamp FROM events", "key": list(order)}
    flow = flow_of(adversary, dsn, query)
    await succeeds(flow)
    del table.rows[3]
    await succeeds(flow)
    await assert_equal(dsn, adversary)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("Float64", [0.1, 1.0, 2.5, 1e300]),
        ("Bool", [False, True]),
        ("Date", [date(1970, 1, 1), date(2026, 2, 3), date(2026, 2, 4)]),
        ("Date32", [date(1930, 1, 1), date(2026, 2, 3)]),
        ("Int64", [-(2**63), -1, 0, 2**53 + 1, 2**63 - 1]),
        ("LowCardinality(String)", ["a", "b'c", 'd"e', "f\\g", "ü", "{since}"]),
        ("DateTime64(9, 'UTC')", [1_700_000_000_000_000_001 + n for n in range(3)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_keys_of_every_type_are_paged_by_and_asked_for(
    adversary: Adversary, dsn: str, kind: str, values: list[Any], together: bool
) -> None:
    """One is gone, one is only not shown in passing, the others stay."""
    rows = [event(adversary, part=part, event="x") for part in values for _ in range(1 + together)]
    table = serve(adversary, rows, part=kind)
    query = {
        "name": "mine",
        "query": "SELECT part, uuid, event FROM events",
        "key": ["part", "uuid"] if together else ["part"],
    }
    adversary.hogql.cap = 1
    flow = flow_of(adversary, dsn, query)
    await succeeds(flow)
    assert len(await stored(dsn)) == len(rows)
    hidden = table.rows[-1]
    del table.rows[0]

    def hide(query: Query) -> None:
        hidden["visible_at"] = 0 if " IN (" in query.text else nanos(adversary.now + HOUR)

    adversary.hogql.before.append(hide)
    await succeeds(flow)
    await assert_equal(dsn, adversary)


async def test_a_table_that_is_empty_now_is_emptied_once_that_is_accepted(
    adversary: Adversary, dsn: str
) -> None:
    """The guard holds it back before."""
    table = serve(adversary, [*events(adversary, 30)])
    flow = flow_of(adversary, dsn, {**WHOLE, "key": ["uuid"]})
    await succeeds(flow)
    table.rows.clear()
    (report,) = await flow.sync_each()
    assert "vanished" in str(report.ending.reason)
    assert len(await stored(dsn)) == 30
    await succeeds(flow, accept_deletions=["query:mine"])
    assert await stored(dsn) == []


async def test_a_key_of_large_integers_stays_exact(adversary: Adversary, dsn: str) -> None:
    """Above 2^53, and above 2^63; the next page begins after the exact number."""
    large = [2**53 + 1, 2**53 + 2, 2**53 + 3, 2**63 + 1, 2**63 + 2, 2**64 - 2, 2**64 - 1]
    rows = [event(adversary, hash=number, ratio=float("nan")) for number in large]
    table = serve(adversary, rows, hash="UInt64", ratio="Float64")
    query = {"name": "mine", "query": "SELECT hash, ratio FROM events", "key": ["hash"]}
    adversary.hogql.cap = 1
    flow = flow_of(adversary, dsn, query)
    await succeeds(flow)
    assert sorted(map(int, await stored(dsn, "hash"))) == large
    assert set(await stored(dsn, "ratio")) == {None}
    del table.rows[3]
    await succeeds(flow)
    assert sorted(map(int, await stored(dsn, "hash"))) == large[:3] + large[4:]


LONG = "".join(uuid.uuid4().hex for _ in range(1000))


@pytest.mark.parametrize(
    "odd",
    ["a\x00b", "a\ud800b", LONG, ""],
    ids=["NUL", "half a surrogate", "too long for an index", "empty"],
)
async def test_a_key_that_postgres_cannot_hold_costs_only_its_row(
    adversary: Adversary, dsn: str, odd: str
) -> None:
    """It is the last of a page, so the next page begins after it."""
    names = [odd, "aa", "ab", "az", "b", "g"]
    rows = [event(adversary, distinct_id=name) for name in names]
    serve(adversary, rows, distinct_id="String")
    query = {"name": "mine", "query": "SELECT distinct_id FROM events", "key": ["distinct_id"]}
    adversary.hogql.cap = 1
    flow = flow_of(adversary, dsn, query)
    for _ in range(2):
        (report,) = await flow.sync_each()
        assert report.ending.exit_code in (EXIT_SUCCEEDED, EXIT_PARTIAL)
        assert sorted(await stored(dsn, "distinct_id")) == ["aa", "ab", "az", "b", "g"]


async def test_values_that_no_column_holds_go_to_extra(adversary: Adversary, dsn: str) -> None:
    """The row loads, whatever else is in it."""
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    kinds = {
        "big": "UInt64",
        "exact": "Decimal(38, 10)",
        "pair": "Tuple(String, UInt8)",
        "many": "Array(Nullable(String))",
        "maybe": "LowCardinality(Nullable(String))",
        "day": "Date",
        "yes": "Bool",
        "nothing": "Nullable(Nothing)",
        "deep": "Array(String)",
        "state": "AggregateFunction(uniq, String)",
        "address": "IPv6",
        "choice": "Enum8('a' = 1)",
    }
    row = event(
        adversary,
        **{"big": 2**63, "exact": "123456789012345678901234567.0123456789", "pair": ["a", 1]},
        **{"many": ["a", None, "\x00"], "maybe": None, "day": date(2026, 1, 2), "yes": True},
        **{"nothing": None, "deep": deep, "state": "?", "address": "::1", "choice": "a"},
    )
    other = {**row, "uuid": uuid.uuid4(), "big": "text", "yes": 1, "day": "never", "many": "m"}
    serve(adversary, [row, other], **kinds)
    query = f"SELECT uuid, created_at, {', '.join(kinds)} FROM events"
    flow = flow_of(adversary, dsn, spec(query=query))
    await succeeds(flow)
    await assert_equal(dsn, adversary)
    (found,) = await select(dsn, "SELECT * FROM posthog_queries.mine WHERE uuid = $1", row["uuid"])
    assert str(found["exact"]) == row["exact"]
    assert (found["pair"], found["many"]) == (["a", 1], ["a", None, "\ufffd"])
    assert (found["day"], found["yes"], found["choice"]) == (date(2026, 1, 2), True, "a")
    assert found["extra"] == {"big": 2**63}


# Deaths


@pytest.mark.long
@pytest.mark.parametrize(
    ("query", "point"),
    [
        (spec(), Point.AFTER_COMMIT_BEFORE_ANSWER),
        (WHOLE, Point.BEFORE_COMMIT),
        (WHOLE, Point.AFTER_COMMIT_BEFORE_ANSWER),
    ],
    ids=["by time", "whole, before", "whole, after"],
)
async def test_a_kill_at_any_commit_loses_and_doubles_nothing(
    adversary: Adversary, dsn: str, query: dict[str, Any], point: Point
) -> None:
    """The next sync goes on, also where only the judgement of what is gone was left."""
    table = serve(adversary, events(adversary, 600))
    setup = flow_of(adversary, dsn, query)
    await succeeds(setup)
    adversary.hogql.cap = 250
    columns = "uuid, event, extra"
    kills = 0
    for nth in range(1, 60):
        for row in table.rows:
            row["event"] = f"round {nth}"
        table.rows.append(event(adversary, event=f"round {nth}"))
        if "cursor" not in query:
            table.rows.pop(0)
        async with PgProxy.in_front_of(dsn) as proxy:
            command = command_of(
                adversary, proxy.dsn, query, POSTHOG_ETL_LEASE_S="1", POSTHOG_ETL_LOOKBACK="2h"
            )
            process = await command.start("sync")
            rule = proxy.when(point, nth, partial(process.send_signal, signal.SIGKILL))
            result = await finish(process)
            if not rule.fired.is_set():
                assert result.code == 0, result.err
                break
        kills += 1
        await select(dsn, "UPDATE posthog_etl.query_slots SET holder = NULL")
        await select(dsn, "UPDATE posthog_etl.leases SET expires_at = now() - interval '1 s'")
        await succeeds(setup)
        if "cursor" in query:
            assert set(truth(adversary)) <= set(await stored(dsn))
        else:
            await assert_equal(dsn, adversary)
        rows = await select(
            dsn, f"SELECT {columns} FROM posthog_queries.mine WHERE _deleted_at IS NULL"
        )
        assert {(row["event"], row["extra"]) for row in rows} == {(f"round {nth}", None)}
    assert kills > 4


async def test_two_syncs_of_a_query_at_once_are_one(adversary: Adversary, dsn: str) -> None:
    """The second is held; both leave the truth."""
    serve(adversary, events(adversary, 30))
    adversary.hogql.cap = 4
    ended = []
    for reports in await asyncio.gather(
        *(flow_of(adversary, dsn, spec()).sync_each() for _ in range(2))
    ):
        ended += [report.ending.exit_code for report in reports]
    assert sorted(ended) in ([EXIT_SUCCEEDED, EXIT_HELD], [EXIT_SUCCEEDED, EXIT_SUCCEEDED])
    await assert_equal(dsn, adversary)


@pytest.mark.parametrize("query", [spec(), WHOLE], ids=["by time", "whole"])
async def test_a_sync_and_a_resync_at_once_leave_the_truth(
    adversary: Adversary, dsn: str, query: dict[str, Any]
) -> None:
    """Also at the very first run, when both make the table."""
    table = serve(adversary, events(adversary, 30))
    adversary.hogql.cap = 4
    for _ in range(2):
        found = await asyncio.gather(
            flow_of(adversary, dsn, query).sync_each(),
            flow_of(adversary, dsn, query).resync_each(),
        )
        assert [each.ending.exit_code for reports in found for each in reports] == [0, 0]
        await assert_equal(dsn, adversary)
        table.rows[:] = [*table.rows[2:], *events(adversary, 2)]


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400)], ids=["on", "back"])
async def test_a_clock_that_jumps_loses_nothing_once_it_is_right_again(
    adversary: Adversary, dsn: str, jump: timedelta
) -> None:
    """A server's clock that is a year off moves no watermark."""
    table = serve(adversary, events(adversary, 10))
    flow = flow_of(adversary, dsn, spec(settle="1m"))
    await succeeds(flow)
    adversary.offset = jump
    await flow.sync_each()
    adversary.offset = timedelta(0)
    table.rows += events(adversary, 5, 2 * MINUTE)
    await succeeds(flow)
    await assert_equal(dsn, adversary)


# Odd configurations


ODD_NAMES = [
    "two words",
    'a "quote"',
    "it's",
    "ünïcödé",
    "percent%s",
    "colon:name",
    "$1",
    "back\\slash",
    "select",
    "é" * 31 + "x",
    "project",
    "count()",
]


async def test_names_that_need_quotes_are_columns_all_the_same(
    adversary: Adversary, dsn: str
) -> None:
    """Spaces, quotes, signs of drivers, 63 bytes."""
    table = serve(adversary, [], **dict.fromkeys(ODD_NAMES, "String"))
    table.rows += [
        event(adversary, **{name: f"{name} {n}" for name in ODD_NAMES}) for n in range(5)
    ]
    adversary.hogql.every_column = True
    query = {"name": "select", "query": "SELECT all FROM events", "key": ["uuid"]}
    flow = flow_of(adversary, dsn, query)
    await succeeds(flow)
    for name in ODD_NAMES:
        found = await stored(dsn, name, table='"select"')
        assert sorted(found) == [f"{name} {n}" for n in range(5)]


@pytest.mark.parametrize("name", ODD_NAMES[:-1])
async def test_names_that_need_quotes_are_keys_and_cursors_all_the_same(
    adversary: Adversary, dsn: str, name: str
) -> None:
    """They are part of the index, of the comparison and of the question for what is gone."""
    kinds = {name: "String", "created_at": EVENTS["created_at"]}
    rows = [event(adversary, **{name: f"{n}"}) for n in range(9)]
    table = serve(adversary, rows, **kinds)
    adversary.hogql.cap, adversary.hogql.every_column = 4, True
    query = {"name": "mine", "query": "SELECT all FROM events", "key": [name]}
    flow = flow_of(adversary, dsn, query)
    await succeeds(flow)
    table.rows.pop(2)
    await succeeds(flow)
    assert sorted(await stored(dsn, name)) == [str(n) for n in range(9) if n != 2]


@pytest.mark.parametrize(
    "name", ["", "x" * 64, "é" * 32, "_hash", "_place", "ctid", "xmin", "tableoid", "project_id"]
)
async def test_a_column_that_no_table_can_have_is_one_clear_line(
    adversary: Adversary, dsn: str, name: str
) -> None:
    """Before anything is made."""
    serve(adversary, [event(adversary, **{name: "x"})], **{name: "String"})
    adversary.hogql.every_column = True
    (report,) = await flow_of(adversary, dsn, spec(query="SELECT all FROM events")).sync_each()
    assert report.ending.exit_code == 1
    assert "cannot be named" in str(report.ending.reason)


async def test_three_hundred_columns_are_a_table(adversary: Adversary, dsn: str) -> None:
    """And what changed among them is found."""
    names = [f"column {n}" for n in range(300)]
    row = event(adversary, **dict.fromkeys(names, "x"))
    serve(
        adversary,
        [row, event(adversary, **dict.fromkeys(names, "y"))],
        **dict.fromkeys(names, "String"),
    )
    adversary.hogql.every_column = True
    flow = flow_of(adversary, dsn, spec(query="SELECT all FROM events"))
    await succeeds(flow)
    row["column 299"] = "changed"
    report = await succeeds(flow)
    assert report.rows_updated in (0, 1)
    (report,) = await flow.resync_each()
    assert sorted(await stored(dsn, "column 299")) == ["changed", "y"]


async def test_a_query_without_rows_makes_its_table_with_the_types_of_the_answer(
    adversary: Adversary, dsn: str
) -> None:
    """Rows come later."""
    table = serve(adversary, [], amount="Nullable(Decimal(10, 2))")
    query = "SELECT uuid, amount, created_at FROM events"
    flow = flow_of(adversary, dsn, spec(query=query, lookback="2h"))
    await succeeds(flow)
    kinds = await select(
        dsn,
        "SELECT attname, format_type(atttypid, atttypmod) AS kind FROM pg_attribute "
        "WHERE attrelid = 'posthog_queries.mine'::regclass AND attnum > 0",
    )
    found = {row["attname"]: row["kind"] for row in kinds}
    assert (found["uuid"], found["amount"]) == ("uuid", "numeric")
    table.rows += [event(adversary, amount=1.5), event(adversary, amount=None)]
    await succeeds(flow)
    await assert_equal(dsn, adversary)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT uuid, event, created_at FROM events -- the end",
        "SELECT uuid, event, created_at FROM events;",
        "SELECT uuid, event, created_at FROM events ;\n\n",
        "SELECT uuid, event, created_at FROM events -- since {since} until {until}",
        "SELECT uuid, event, created_at FROM events; -- the end",
    ],
)
async def test_a_text_may_end_in_a_comment_or_a_semicolon(
    adversary: Adversary, dsn: str, text: str
) -> None:
    """It stands inside of another query."""
    serve(adversary, events(adversary, 5))
    await succeeds(flow_of(adversary, dsn, spec(query=text)))
    await assert_equal(dsn, adversary)


async def test_another_order_of_the_key_is_one_clear_line(adversary: Adversary, dsn: str) -> None:
    """The table has the key that it was made with."""
    serve(adversary, events(adversary, 5))
    await succeeds(flow_of(adversary, dsn, spec(key=["uuid", "event"])))
    (report,) = await flow_of(adversary, dsn, spec(key=["event", "uuid"])).sync_each()
    assert report.ending.exit_code == 1
    assert "another key" in str(report.ending.reason)
    await succeeds(flow_of(adversary, dsn, spec(key=["uuid", "event"])))
    await assert_equal(dsn, adversary)


async def test_a_query_that_is_no_longer_configured_keeps_its_table_and_its_duties(
    adversary: Adversary, dsn: str
) -> None:
    """`status` shows no error, `forget` and `remove --project` reach its rows."""
    rows = [event(adversary, distinct_id=name) for name in ("anna", "bert")]
    serve(adversary, rows, distinct_id="String")
    query = spec(query="SELECT uuid, distinct_id, created_at FROM events")
    command = command_of(adversary, dsn, query)
    assert (await command.run("sync")).code == 0
    await select(dsn, "ALTER TABLE posthog_queries.mine ADD COLUMN note varchar(20)")
    await select(dsn, "CREATE TABLE posthog_queries.theirs (id integer PRIMARY KEY)")
    without = command_of(adversary, dsn)
    status = await without.run("status")
    assert "Traceback" not in status.err
    forgotten = await without.with_settings(POSTHOG_ETL_FORGET_KEY="k" * 40).run(
        "forget", "anna", "--yes"
    )
    assert forgotten.code == 0, forgotten.err
    assert await stored(dsn, "distinct_id") == ["bert"]
    known = command.with_settings(POSTHOG_ETL_FORGET_KEY="k" * 40)
    assert (await known.run("resync", "query:mine")).code == 0
    assert await stored(dsn, "distinct_id") == ["bert"]
    removed = await without.with_settings(POSTHOG_ETL_FORGET_KEY="k" * 40).run(
        "remove", "--project", "1", "--yes"
    )
    assert removed.code == 0, removed.err
    assert await stored(dsn, "distinct_id") == []


async def test_a_place_that_names_a_person_is_forgotten_with_the_person(
    adversary: Adversary, dsn: str
) -> None:
    """A reading that was interrupted keeps the key of its last row."""
    anna = "anna@example.com"
    names = ["aa", anna, "bert", "carl"]
    rows = [event(adversary, distinct_id=name) for name in names]
    serve(adversary, rows, distinct_id="String")
    query = {"name": "mine", "query": "SELECT distinct_id FROM events", "key": ["distinct_id"]}
    adversary.hogql.cap = 1
    adversary.when(lambda _each: len(adversary.hogql.asked) > 1, page(500))
    (report,) = await flow_of(adversary, dsn, query).sync_each()
    assert report.ending.exit_code == 1
    place = "SELECT position::text FROM posthog_etl.checkpoints"
    assert anna in await value(dsn, place)
    command = command_of(adversary, dsn, query, POSTHOG_ETL_FORGET_KEY="k" * 40)
    result = await command.run("forget", anna, "--yes")
    assert result.code == 0, result.err
    assert anna not in str(await value(dsn, place))
    adversary.rules.clear()
    assert (await command.run("sync")).code == 0
    assert sorted(await stored(dsn, "distinct_id")) == ["aa", "bert", "carl"]


async def test_a_query_with_the_name_of_another_table_leaves_its_notes_alone(
    adversary: Adversary, dsn: str
) -> None:
    """Two runs of the other stream keep there what they have seen; keys may be equal."""
    rows = [event(adversary, id=number) for number in (1, 2)]
    serve(adversary, rows, id="Int64")
    query = {"name": "insights", "query": "SELECT id, event FROM events", "key": ["id"]}
    flow = flow_of(adversary, dsn, query)
    await succeeds(flow)
    await select(
        dsn,
        "INSERT INTO posthog_etl.sightings (project_id, table_name, row_key, observed_at) "
        "VALUES (1, 'insights', '1', now() + interval '1 hour')",
    )
    rows[0]["event"] = "changed"
    await succeeds(flow)
    assert sorted(await stored(dsn, "event", table="insights")) == ["changed", "seen"]
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.sightings") == 1


async def test_a_table_that_somebody_dropped_is_filled_anew(adversary: Adversary, dsn: str) -> None:
    """Its watermark tells of rows that are no more."""
    serve(adversary, events(adversary, 12, 5 * HOUR))
    adversary.hogql.cap = 4
    flow = flow_of(adversary, dsn, spec())
    await succeeds(flow)
    await select(dsn, "DROP TABLE posthog_queries.mine")
    await succeeds(flow)
    await assert_equal(dsn, adversary)
    adversary.when(lambda _each: len(adversary.hogql.asked) > 1, page(500))
    await select(dsn, "DROP TABLE posthog_queries.mine")
    adversary.hogql.asked.clear()
    (report,) = await flow.sync_each()
    assert report.ending.exit_code == 1
    await select(dsn, "DROP TABLE posthog_queries.mine")
    adversary.rules.clear()
    await succeeds(flow)
    await assert_equal(dsn, adversary)


async def test_the_preset_of_events_sees_copies_and_late_events_of_old_days(
    adversary: Adversary, dsn: str
) -> None:
    """Old days are looked through seldom, but they are."""
    texts = ("distinct_id", "elements_chain", "properties", "$session_id", "$window_id")
    kinds = {
        **dict.fromkeys((*texts, "person_mode", *(f"$group_{n}" for n in range(5))), "String"),
        "person_id": "UUID",
    }
    filled = {**dict.fromkeys(kinds, "x"), "properties": '{"a": 1}', "person_id": uuid.uuid4()}
    rows = [event(adversary, HOUR + n * MINUTE, **filled) for n in range(9)]
    copies = [{**row, "created_at": row["created_at"] + 10**9} for row in rows[:3]]
    table = serve(adversary, [*rows, *copies], **kinds)
    adversary.hogql.cap = 5
    flow = Pipeline(adversary, dsn, streams=["query:events"], query_presets=["events"])
    await succeeds(flow)
    assert sorted(await stored(dsn, table="events")) == truth(adversary)
    old = nanos(adversary.now - timedelta(days=10))
    table.rows.append(event(adversary, 20 * MINUTE, **{**filled, "timestamp": old}))
    await select(
        dsn,
        "UPDATE posthog_etl.watermarks SET tail_until = tail_until - interval '2 hours', swept = "
        "(SELECT jsonb_object_agg(k, to_jsonb((v #>> '{}')::timestamptz - interval '2 days')) "
        "FROM jsonb_each(swept) AS s (k, v))",
    )
    await succeeds(flow)
    assert sorted(await stored(dsn, table="events")) == truth(adversary)


async def test_the_preset_of_distinct_ids_sees_merges_and_deletions(
    adversary: Adversary, dsn: str
) -> None:
    """Neither has a time."""
    people = [uuid.uuid4() for _ in range(2)]
    rows = [{"distinct_id": f"id {n}", "person_id": people[n % 2]} for n in range(11)]
    kinds = {"distinct_id": "String", "person_id": "UUID"}
    adversary.hogql.tables["person_distinct_ids"] = Table(kinds, rows)
    adversary.hogql.cap = 4
    name = "person_distinct_ids"
    flow = Pipeline(adversary, dsn, streams=[f"query:{name}"], query_presets=[name])
    await succeeds(flow)
    for row in rows:
        row["person_id"] = people[0]
    del rows[4]
    await select(dsn, "UPDATE posthog_etl.watermarks SET traits = traits - 'queried_at'")
    await succeeds(flow)
    found = await stored(dsn, "distinct_id", "person_id", table=name)
    assert sorted(found) == sorted((row["distinct_id"], people[0]) for row in rows)


async def test_a_query_beside_a_preset_of_the_same_name_is_refused_at_once(
    adversary: Adversary, dsn: str
) -> None:
    """With the preset off, the name is free."""
    serve(adversary, events(adversary, 5))
    named = spec(name="events")
    both = command_of(adversary, dsn, named, POSTHOG_ETL_QUERY_PRESETS="events")
    refused = await both.run("sync")
    assert refused.code == 2
    assert "preset" in refused.err
    assert "Traceback" not in refused.err
    assert (await command_of(adversary, dsn, named).run("sync")).code == 0
    assert len(await stored(dsn, table="events")) == 5


async def test_another_schema_has_its_own_tables_and_says_so(
    adversary: Adversary, dsn: str
) -> None:
    """The table that `query list` names is the one that is filled."""
    serve(adversary, events(adversary, 5))
    command = command_of(adversary, dsn, spec(), POSTHOG_ETL_SCHEMA="eu")
    assert (await command.run("sync")).code == 0
    assert await value(dsn, "SELECT count(*) FROM eu_queries.mine") == 5
    listed = (await command.run("query", "list", "--json")).document["queries"]
    assert {row["table"] for row in listed if row["on"]} == {"eu_queries.mine"}


async def test_a_role_that_may_not_create_is_told_what_to_grant(
    adversary: Adversary, dsn: str
) -> None:
    """One line with the remedy."""
    serve(adversary, events(adversary, 5))
    role = f"poor_{uuid.uuid4().hex[:8]}"
    admin = await asyncpg.connect(dsn)
    try:
        await admin.execute(f"CREATE ROLE {role} LOGIN")
        for schema in ("posthog", "posthog_etl", "posthog_queries"):
            await admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
            for what in ("TABLES", "SEQUENCES"):
                await admin.execute(f"GRANT ALL ON ALL {what} IN SCHEMA {schema} TO {role}")
        poor = dsn.replace("postgres@", f"{role}@", 1)
        assert poor != dsn
        result = await command_of(adversary, poor, spec()).run("sync")
        assert result.code in (1, 2), result.out
        assert "Traceback" not in result.err + result.out
        assert 'GRANT CREATE ON SCHEMA "posthog_queries"' in result.err + result.out
        assert (await command_of(adversary, dsn, spec()).run("sync")).code == 0
        await admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA posthog_queries TO {role}")
        await admin.execute("ALTER TABLE posthog_queries.mine DROP COLUMN event")
        result = await command_of(adversary, poor, spec()).run("sync")
        assert result.code in (1, 2), result.out
        assert "OWNER TO" in result.err + result.out
    finally:
        await admin.execute(f"DROP OWNED BY {role}")
        await admin.execute(f"DROP ROLE {role}")
        await admin.close()
