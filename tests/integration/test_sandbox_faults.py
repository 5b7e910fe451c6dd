"""Faults on demand."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from etl.sandbox.faults import PRESETS
from etl.sandbox.server import running
from tests.unit.sandbox.reader import LIST, Reader, small

_HERE = {"path": "session_recordings", "method": "GET"}


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    """A reader of a small sandbox of its own."""
    async with running(small(recordings=90)) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


def _add(reader: Reader, fault: dict[str, Any], **when: Any) -> None:
    reader.sandbox.control.add_faults({"match": _HERE, "fault": fault, **when})


async def _statuses(reader: Reader, count: int) -> list[int]:
    return [(await reader.get(LIST, limit=1))[0] for _ in range(count)]


@pytest.mark.parametrize(
    ("when", "struck"),
    [
        ({"at": [2, 4]}, [2, 4]),
        ({"at": 3}, [3]),
        ({"every": 2}, [2, 4, 6]),
        ({"from": 5}, [5, 6]),
        ({"first": 2}, [1, 2]),
        ({"from": 2, "times": 2}, [2, 3]),
        ({}, [1, 2, 3, 4, 5, 6]),
    ],
)
async def test_a_rule_strikes_the_requests_it_names(
    reader: Reader, when: dict[str, Any], struck: list[int]
) -> None:
    """Counted among matching requests since it was added."""
    await reader.get(LIST)
    _add(reader, {"status": 503}, **when)
    await reader.get("/api/projects/")
    statuses = await _statuses(reader, 6)
    assert [n for n, status in enumerate(statuses, 1) if status == 503] == struck
    assert reader.sandbox.control.faults()[0]["hits"] == len(struck)
    reader.sandbox.control.clear_faults()
    assert await _statuses(reader, 1) == [200]


@pytest.mark.parametrize("preset", sorted(PRESETS))
async def test_every_preset_answers_with_its_status(reader: Reader, preset: str) -> None:
    """The 429s differ in whether they tell the wait, and how."""
    _add(reader, {"preset": preset})
    status, body, headers = await reader.get(LIST)
    assert status == PRESETS[preset]["status"]
    if status == 429:
        assert ("Retry-After" in headers) is (preset in ("429_header", "429_budget"))
        assert ("30 seconds" in body["detail"]) is (preset in ("429_header", "429_text"))
        code = "api_queries_budget_exceeded" if preset == "429_budget" else "throttled"
        assert body["code"] == code
    if preset in ("502_html", "login_page"):
        assert body.startswith("<!doctype html>")
    elif preset == "500_error_body":
        assert body.keys() == {"error"}
    else:
        assert body.keys() == {"type", "code", "detail", "attr"}


async def test_a_fault_can_be_combined_and_has_its_own_headers(reader: Reader) -> None:
    """A preset with another header, another body and a little patience."""
    _add(reader, {"preset": "429_bare", "headers": {"Retry-After": "soon"}, "latency_s": 0.01})
    _, _, headers = await reader.get(LIST)
    assert headers["Retry-After"] == "soon"
    reader.sandbox.control.clear_faults()
    _add(reader, {"status": 599, "body": {"a": 1}})
    assert (await reader.get(LIST))[:2] == (599, {"a": 1})
    reader.sandbox.control.clear_faults()
    _add(reader, {"status": 502, "body": "empty"})
    assert (await reader.get(LIST))[:2] == (502, "")


@pytest.mark.parametrize("moment", ["before", "mid"])
async def test_a_connection_can_be_reset(reader: Reader, moment: str) -> None:
    """Noted in the log without a status."""
    # Twice, because aiohttp's client repeats a request once by itself.
    _add(reader, {"reset": moment}, first=2)
    with pytest.raises(aiohttp.ClientError):
        await reader.get(LIST, limit=50, date_from="all")
    reader.sandbox.control.clear_faults()
    log = reader.sandbox.control.requests()
    assert log[0]["status"] is None
    assert await _statuses(reader, 1) == [200]


async def test_a_body_can_be_cut_or_be_no_json(reader: Reader) -> None:
    """With a length that fits, so that only the JSON is bad."""
    url = reader.sandbox.url + LIST
    key = {"Authorization": "Bearer phx_sandbox"}
    for fault, size in (({"truncate": 100}, 100), ({"not_json": True}, 18)):
        reader.sandbox.control.clear_faults()
        _add(reader, fault)
        async with reader.session.get(url, headers=key) as response:
            body = await response.read()
        assert (response.status, len(body)) == (200, size)
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)


async def test_a_request_can_hang_until_the_client_leaves(reader: Reader) -> None:
    """No answer comes."""
    _add(reader, {"hang": True}, at=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.get(LIST), 0.2)
    assert await _statuses(reader, 1) == [200]


async def _walk(reader: Reader, pages: int, **query: Any) -> list[dict[str, Any]]:
    """Pages by cursor, at most so many."""
    asked = {"date_from": "all", "limit": 20, **query}
    answers = []
    for _ in range(pages):
        _, page, _ = await reader.get(LIST, **asked)
        answers.append(page)
        if not page["has_next"]:
            break
        asked["after"] = page.get("next_cursor", "")
    return answers


def _ids(pages: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for page in pages for row in page["results"]]


@pytest.mark.parametrize("fault", [{"clamp_limit": 7}, {"short_page": 3}, {"empty_page": True}])
async def test_pages_smaller_than_asked_for_hide_nothing(
    reader: Reader, fault: dict[str, Any]
) -> None:
    """The end mark and the cursor are still right."""
    expected = _ids(await _walk(reader, 9))
    for direction in ("DESC", "ASC"):
        reader.sandbox.control.clear_faults()
        _add(reader, fault, at=[1, 3])
        pages = await _walk(reader, 30, order_direction=direction)
        assert _ids(pages) == (expected if direction == "DESC" else expected[::-1])
        assert len(pages[0]["results"]) < 20
        assert pages[0]["has_next"]
        assert not pages[-1]["has_next"]


async def test_an_empty_page_says_that_there_is_more_even_on_the_last_one(reader: Reader) -> None:
    """Its cursor leads to the rows that it did not show."""
    _add(reader, {"empty_page": True})
    _, page, _ = await reader.get(LIST, date_from="all", limit=500)
    assert (page["results"], page["has_next"]) == ([], True)
    reader.sandbox.control.clear_faults()
    _, page, _ = await reader.get(LIST, date_from="all", limit=500, after=page["next_cursor"])
    assert len(page["results"]) == 90


async def test_a_cursor_can_repeat_and_a_list_can_start_over(reader: Reader) -> None:
    """A reader that does not look loops for ever."""
    first, *_ = await _walk(reader, 1)
    _add(reader, {"repeat_cursor": True})
    _, page, _ = await reader.get(LIST, date_from="all", limit=20, after=first["next_cursor"])
    assert (page["next_cursor"], page["has_next"]) == (first["next_cursor"], True)
    reader.sandbox.control.clear_faults()
    _add(reader, {"restart_cursor": True})
    _, page, _ = await reader.get(LIST, date_from="all", limit=20, after=first["next_cursor"])
    assert page == first


async def test_rows_can_be_repeated(reader: Reader) -> None:
    """Those of the page before, or each within its page."""
    _add(reader, {"repeat_page": True}, at=2)
    first, second, third, *_ = await _walk(reader, 3)
    assert second["results"] == first["results"]
    assert not set(_ids([third])) & set(_ids([first]))
    reader.sandbox.control.clear_faults()
    _add(reader, {"duplicate_rows": True})
    _, page, _ = await reader.get(LIST, date_from="all", limit=20)
    assert _ids([page]) == [each for row in first["results"] for each in (row["id"], row["id"])]


async def test_a_record_can_be_changed_beyond_what_json_writers_write(reader: Reader) -> None:
    """Raw text is put in as it is."""
    change = {
        "record": 1,
        "set": {"id": "mine", "person.properties.new": 1},
        "unset": ["viewers", "person.name"],
        "raw": {"activity_score": "NaN", "start_url": '"\\ud800"', "click_count": "1e400"},
    }
    _add(reader, {"mutate": change})
    url = f"{reader.sandbox.url}{LIST}?date_from=all&limit=3"
    key = {"Authorization": "Bearer phx_sandbox"}
    async with reader.session.get(url, headers=key) as response:
        text = await response.text()
    assert '"activity_score":NaN' in text
    assert '"start_url":"\\ud800"' in text
    row = json.loads(text)["results"][1]
    assert (row["id"], row["person"]["properties"]["new"]) == ("mine", 1)
    assert "viewers" not in row
    assert "name" not in row["person"]
    reader.sandbox.control.clear_faults()
    _add(reader, {"mutate": [{"record": "all", "set": {"colour": "blue"}}, {"record": 99}]})
    _, page, _ = await reader.get(LIST)
    assert {row["colour"] for row in page["results"]} == {"blue"}


async def test_data_can_change_between_two_pages(reader: Reader) -> None:
    """After the answer that the rule strikes."""
    expected = _ids(await _walk(reader, 9))
    operation = {"op": "delete_recording", "id": expected[50]}
    _add(reader, {"then": [operation]}, at=2)
    pages = await _walk(reader, 9)
    assert expected[50] not in _ids(pages)
    assert len(_ids(pages)) == 89


async def test_the_documented_list_can_be_spoilt_too() -> None:
    """Its links repeat, lead elsewhere or follow a smaller limit."""
    options = small(flavour="docs", recordings=90)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        expected = [row["id"] for row in await reader.link_walk(limit=100)]
        for fault in ({"clamp_limit": 7}, {"short_page": 3}, {"empty_page": True}):
            _add(reader, fault, at=[1, 3])
            assert [row["id"] for row in await reader.link_walk(limit=20)] == expected
            sandbox.control.clear_faults()
        _add(reader, {"next_host": "http://evil.example"})
        _, page, _ = await reader.get(LIST, limit=20)
        assert page["next"] == f"http://evil.example{LIST}?limit=20&offset=20"
        sandbox.control.clear_faults()
        _add(reader, {"repeat_cursor": True})
        _, page, _ = await reader.get(LIST, limit=20, offset=40)
        assert page["next"] == f"{sandbox.url}{LIST}?limit=20&offset=40"
        sandbox.control.clear_faults()
        _add(reader, {"restart_cursor": True})
        _, page, _ = await reader.get(LIST, limit=20, offset=40)
        assert [row["id"] for row in page["results"]] == expected[:20]


async def test_a_page_leaves_rows_out_without_a_trace(reader: Reader) -> None:
    """Nothing but the rows is missing; the cursor goes on behind them."""
    whole = await reader.cursor_walk(limit=30)
    _add(reader, {"omit": [0, -1]}, at=2)
    _, page, _ = await reader.get(LIST, date_from="all", limit=30)
    _, bent, _ = await reader.get(LIST, date_from="all", limit=30, after=page["next_cursor"])
    assert bent["results"] == whole[31:59]
    _, last, _ = await reader.get(LIST, date_from="all", limit=30, after=bent["next_cursor"])
    assert last["results"] == whole[60:]


async def test_a_rule_may_strike_only_requests_with_a_parameter(reader: Reader) -> None:
    """What is asked for by ids, for example; other requests are not even counted."""
    match = {**_HERE, "parameter": "session_ids"}
    reader.sandbox.control.add_faults({"match": match, "fault": {"status": 503}, "at": 2})
    by_ids = {"session_ids": '["x"]'}
    asked = [{}, by_ids, {}, by_ids, by_ids]
    statuses = [(await reader.get(LIST, **query))[0] for query in asked]
    assert statuses == [200, 200, 200, 503, 200]
