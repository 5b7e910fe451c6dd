"""The sandbox's query endpoint: at once, from the cache, in the background, and refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from etl.sandbox.server import running
from tests.unit.sandbox.reader import Reader, small

QUERY = "/api/projects/1/query/"
EVENTS = "select count() from events"
Answered = tuple[int, Any, Any]


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    """A reader of a small sandbox of the cloud flavour."""
    async with running(small(recordings=30)) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


async def _ask(reader: Reader, sql: str, refresh: str = "force_blocking", **more: Any) -> Answered:
    """Status, body and headers of one query."""
    given = {name: more.pop(name) for name in ("values", "modifiers") if name in more}
    body = {"query": {"kind": "HogQLQuery", "query": sql, **given}, "refresh": refresh, **more}
    headers = {"Authorization": "Bearer phx_sandbox"}
    url = reader.sandbox.url + QUERY
    async with reader.session.post(url, json=body, headers=headers) as response:
        return response.status, await response.json(), response.headers


def _fault(reader: Reader, fault: dict[str, Any], **rule: Any) -> None:
    reader.sandbox.control.add_faults({"match": {"path": "/query/"}, "fault": fault, **rule})


async def test_an_answer_names_its_columns_types_and_limit(reader: Reader) -> None:
    """An own LIMIT says nothing about further rows."""
    status, body, headers = await _ask(
        reader, "select event, count() as c from events group by event"
    )
    assert (status, body["columns"]) == (200, ["event", "c"])
    assert body["types"] == [["event", "String"], ["c", "UInt64"]]
    assert (body["hasMore"], body["limit"], body["offset"]) == (False, 100, 0)
    assert (body["error"], body["is_cached"], body["timezone"]) == (None, False, "UTC")
    assert int(headers["X-PostHog-Query-Bytes-Read"]) > 0
    _, body, _ = await _ask(reader, "select uuid from events where 1 = 2")
    assert not body["hasMore"]
    _, body, _ = await _ask(reader, "select key from groups")
    assert (body["hasMore"], len(body["results"])) == (True, 100)
    _, body, _ = await _ask(reader, "select key from groups limit 3")
    assert len(body["results"]) == 3
    assert body.keys().isdisjoint(("hasMore", "limit", "offset"))


async def test_values_fill_placeholders_and_modifiers_choose_the_zone(reader: Reader) -> None:
    """Text is text, whatever is in it."""
    reader.sandbox.control.answer_as(timezone="Asia/Tokyo")
    _, body, _ = await _ask(reader, "select {x}, now()", values={"x": "a' or 1=1 --"})
    assert body["results"] == [["a' or 1=1 --", "2026-05-04T21:00:00+09:00"]]
    modifiers = {"convertToProjectTimezone": False}
    _, body, _ = await _ask(reader, "select now()", modifiers=modifiers)
    assert body["results"] == [["2026-05-04T12:00:00Z"]]
    status, body, _ = await _ask(reader, "select {y}", values={"x": 1})
    assert (status, body["code"]) == (400, "illegal_hogql")
    assert body["detail"].endswith("You can use the following: x")
    assert (await _ask(reader, "select 1", values=[1]))[0] == 400


async def test_an_equal_query_is_answered_from_the_cache_for_a_day(reader: Reader) -> None:
    """Even if the data changed meanwhile; only a forced one calculates, and costs bytes."""
    control = reader.sandbox.control
    _, first, _ = await _ask(reader, EVENTS, "blocking")
    control.change({"op": "add_events", "count": 5})
    _, stale, headers = await _ask(reader, EVENTS, "blocking")
    assert (stale["results"], stale["is_cached"]) == (first["results"], True)
    assert stale["last_refresh"] == first["last_refresh"]
    assert headers["X-PostHog-Query-Bytes-Read"] == "0"
    _, other, _ = await _ask(
        reader, f"{EVENTS} where event != {{x}}", "blocking", values={"x": "added"}
    )
    assert (other["results"], other["is_cached"]) == (first["results"], False)
    _, fresh, _ = await _ask(reader, EVENTS)
    assert fresh["results"] == [[first["results"][0][0] + 5]]
    control.change({"op": "add_events"})
    control.advance(86_400)
    _, later, _ = await _ask(reader, EVENTS, "blocking")
    assert later["is_cached"] is False


async def test_a_query_in_the_background_is_polled_until_it_is_forgotten(reader: Reader) -> None:
    """202 while it runs, then 200 until twenty minutes have passed; cancelled is 404."""
    reader.sandbox.control.answer_as(query_polls=2)
    for ending in ("cancelled", "forgotten"):
        status, body, _ = await _ask(reader, EVENTS, "force_async", client_query_id=ending)
        begun = body["query_status"]
        assert (status, begun["id"], begun["complete"]) == (202, ending, False)
        one = f"{QUERY}{ending}/"
        assert [(await reader.get(one))[0] for _ in range(3)] == [202, 202, 200]
        _, body, headers = await reader.get(one)
        ended = body["query_status"]
        assert (ended["complete"], ended["error"]) == (True, False)
        assert ended["results"]["results"][0][0] > 0
        assert int(headers["X-PostHog-Query-Bytes-Read"]) > 0
        # The id is known, so nothing begins.
        assert (await _ask(reader, "select 2", "async", client_query_id=ending))[0] == 200
        if ending == "cancelled":
            answer = await reader.send("DELETE", one)
            assert answer == (200, {"message": "Query already complete"})
        else:
            reader.sandbox.control.advance(1200)
        assert (await reader.get(one))[0] == 404
    assert await reader.send("DELETE", f"{QUERY}unknown/") == (
        200, {"message": "Query task revoked"},
    )  # fmt: skip


async def test_a_query_that_fails_in_the_background_says_so_in_its_status(reader: Reader) -> None:
    """400 with a message, 500 without one, 404 if the status is lost."""
    await _ask(reader, "select nothing from events", "force_async", client_query_id="bad")
    status, body, _ = await reader.get(f"{QUERY}bad/")
    failed = body["query_status"]
    assert (status, failed["complete"], failed["error"]) == (400, True, True)
    assert failed["error_message"] == "Unable to resolve field: nothing"
    _fault(reader, {"failed": True}, at=1)
    await _ask(reader, EVENTS, "force_async", client_query_id="mute")
    status, body, _ = await reader.get(f"{QUERY}mute/")
    assert (status, body["query_status"]["error_message"]) == (500, None)
    _fault(reader, {"polls": 1}, at=1)
    await _ask(reader, EVENTS, "force_async", client_query_id="slow")
    assert [(await reader.get(f"{QUERY}slow/"))[0] for _ in range(2)] == [202, 200]
    reader.sandbox.control.clear_faults()
    await _ask(reader, EVENTS, "force_async", client_query_id="lost")
    _fault(reader, {"lost": True}, at=1)
    assert [(await reader.get(f"{QUERY}lost/"))[0] for _ in range(2)] == [404, 404]


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 offset 5",
        "select * from session_replay_events",
        "select count() from nowhere",
        "drop",
    ],
)
async def test_what_the_sandbox_cannot_answer_is_refused_with_a_reason(
    reader: Reader, sql: str
) -> None:
    """400 at once; in the background the status says the same."""
    status, answer, _ = await _ask(reader, sql)
    assert (status, answer["type"]) == (400, "validation_error")
    await _ask(reader, sql, "force_async", client_query_id="bad")
    status, later, _ = await reader.get(f"{QUERY}bad/")
    assert (status, later["query_status"]["error_message"]) == (400, answer["detail"])


async def test_a_killed_query_is_refused_again_at_once(reader: Reader) -> None:
    """Also when forced; another window is another query."""
    _fault(reader, {"killed_above_rows": 20})
    status, body, _ = await _ask(reader, EVENTS)
    scan = body["extra"]["query_scan"]
    assert (status, scan["killed"], scan["rows_read"] > 20) == (504, True, True)
    reader.sandbox.control.clear_faults()
    assert (await _ask(reader, EVENTS))[1] == body
    _fault(reader, {"killed_above_rows": 20})
    narrow = f"{EVENTS} where timestamp > toDateTime64('2026-05-03 12:00:00', 6, 'UTC')"
    assert (await _ask(reader, narrow))[0] == 200
    reader.sandbox.control.clear_faults()
    _fault(reader, {"killed": "bytes"}, at=1)
    answers = [await _ask(reader, "select count() from groups") for _ in range(2)]
    assert [(status, body["code"]) for status, body, _ in answers] == [(400, "too_many_bytes")] * 2
    reader.sandbox.control.clear_faults()
    reader.sandbox.control.advance(3600)
    assert (await _ask(reader, EVENTS))[0] == 200


async def test_an_empty_budget_refuses_until_it_has_filled_again(reader: Reader) -> None:
    """429 with its own code and the wait; answers from the cache cost nothing."""
    reader.sandbox.control.answer_as(query_budget_bytes=70_000)
    _, _, headers = await _ask(reader, EVENTS, "blocking")
    left = int(headers["X-PostHog-Query-Budget-Remaining-Bytes"])
    assert 0 < left < 70_000
    while (await _ask(reader, EVENTS))[0] == 200:
        pass
    status, body, headers = await _ask(reader, EVENTS)
    assert (status, body["code"]) == (429, "api_queries_budget_exceeded")
    assert (await _ask(reader, EVENTS, "blocking"))[0] == 200
    reader.sandbox.control.advance(int(headers["Retry-After"]))
    assert (await _ask(reader, EVENTS))[0] == 200


async def test_a_fourth_query_at_once_is_refused_without_a_wait(reader: Reader) -> None:
    """Three of a project run at once."""
    _fault(reader, {"query_s": 0.3})
    answers = await asyncio.gather(*(_ask(reader, f"select {n}") for n in range(5)))
    refused = [(body, headers) for status, body, headers in answers if status == 429]
    assert sorted(status for status, *_ in answers) == [200, 200, 200, 429, 429]
    assert all("Retry-After" not in headers for _, headers in refused)
    assert all("Too many queries" in body["detail"] for body, _ in refused)


async def test_a_rule_can_name_a_part_of_the_query(reader: Reader) -> None:
    """By a text that the body of the request contains."""
    rule = {"match": {"path": "/query/", "body": "from groups"}, "fault": {"status": 504}}
    reader.sandbox.control.add_faults(rule)
    assert (await _ask(reader, "select count() from groups"))[0] == 504
    assert (await _ask(reader, EVENTS))[0] == 200


async def test_a_fault_lowers_the_limit_without_a_word(reader: Reader) -> None:
    """As the cap of a server does."""
    _fault(reader, {"clamp_limit": 7})
    _, body, _ = await _ask(reader, "select key from groups limit 50")
    assert len(body["results"]) == 7


@pytest.mark.parametrize(
    ("access", "status"), [("forbidden", 403), ("paid", 402), ("missing", 404)]
)
async def test_a_project_can_refuse_the_endpoint(reader: Reader, access: str, status: int) -> None:
    """To every method."""
    reader.sandbox.control.answer_as(query_access=access)
    assert (await _ask(reader, "select 1"))[0] == status
    assert (await reader.get(f"{QUERY}x/"))[0] == status
    assert (await reader.send("DELETE", f"{QUERY}x/"))[0] == status


async def test_polls_count_against_the_limits_of_queries() -> None:
    """240 a minute, questions about a query included."""
    options = small(recordings=5, limits="free", query_polls=500)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        assert (await _ask(reader, "select 1", "async", client_query_id="mine"))[0] == 202
        polls = [(await reader.get(f"{QUERY}mine/"))[0] for _ in range(240)]
        assert polls == [202] * 239 + [429]


async def test_the_truth_about_queries_is_told_by_the_control_endpoint(reader: Reader) -> None:
    """Stream by stream; a name that is none is refused."""
    rows = [*reader.sandbox.control.truth_rows("events")]
    _, body, _ = await _ask(reader, "select uuid from events limit 1000")
    assert [row["uuid"] for row in rows] == sorted(uuid for (uuid,) in body["results"])
    _, text, _ = await reader.get("/_sandbox/truth/events", key=None)
    assert len(text.splitlines()) == len(rows)
    with pytest.raises(ValueError, match="persons_by_query"):
        reader.sandbox.control.truth_rows("nothing")
