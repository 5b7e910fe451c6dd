"""The control endpoint, over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from etl.sandbox.server import running
from tests.unit.sandbox.reader import LIST, Reader, small


class _Steering(Reader):
    """A reader that also steers."""

    async def steer(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer of one control call."""
        url = f"{self.sandbox.url}/_sandbox/{path}"
        async with self.session.request(method, url, json=body) as response:
            return response.status, await response.json()


@pytest.fixture
async def reader() -> AsyncIterator[_Steering]:
    """A steering reader of a small sandbox of its own."""
    async with running(small(recordings=60)) as sandbox, aiohttp.ClientSession() as session:
        yield _Steering(sandbox, session)


async def test_the_clock_makes_recordings_appear_and_vanish(reader: _Steering) -> None:
    """At the rate at which they were generated: two a day, each kept for 30 days or more."""
    _, state = await reader.steer("GET", "state")
    assert (state["now"], state["recordings"], state["flavour"]) == (
        "2026-05-04T12:00:00Z", {"1": 60}, "cloud",
    )  # fmt: skip
    before = {row["id"] for row in reader.sandbox.control.truth()["session_recordings"]}
    _, state = await reader.steer("POST", "clock", {"advance_s": 36 * 3600})
    assert state["now"] == "2026-05-06T00:00:00Z"
    after = {row["id"] for row in reader.sandbox.control.truth()["session_recordings"]}
    assert len(after - before) == 3
    _, state = await reader.steer("POST", "clock", {"now": "2026-04-20T12:00:00+00:00"})
    assert 30 <= state["recordings"]["1"] <= 33
    _, state = await reader.steer("POST", "clock", {"mode": "running"})
    assert state["clock"] == "running"


async def test_what_appears_between_two_requests_is_seen_however_far_apart(
    reader: _Steering,
) -> None:
    """Also when nothing was under way before."""
    for _ in range(12):
        reader.sandbox.control.advance(3 * 3600)
        _, page, _ = await reader.get(LIST, date_from="all", limit=200)
        truth = reader.sandbox.control.truth()["session_recordings"]
        assert {row["id"] for row in page["results"]} == {row["id"] for row in truth}


@pytest.mark.parametrize("count", [0, 1, 19, 20, 513])
@pytest.mark.parametrize("days", [0.01, 30.0, 1000.0])
@pytest.mark.parametrize("ties", [1, 7])
async def test_any_number_of_recordings_is_exact(count: int, days: float, ties: int) -> None:
    """For short and long spans alike."""
    options = small(recordings=count, days=days, start_ties=ties)
    async with running(options) as sandbox:
        assert sandbox.control.state()["recordings"] == {"1": count}
        assert len(sandbox.control.truth()["session_recordings"]) == count


async def test_requests_are_listed_and_counted_without_keys(reader: _Steering) -> None:
    """The control endpoint's own calls are not."""
    await reader.get(LIST, limit=3)
    await reader.get(LIST, key="phx_wrong", personal_api_key="phx_query")
    await reader.get("/api/none/")
    _, log = await reader.steer("GET", "requests?since=0")
    assert [(entry["n"], entry["status"]) for entry in log] == [(1, 200), (2, 401), (3, 404)]
    assert (log[0]["method"], log[0]["path"], log[0]["query"]) == ("GET", LIST, {"limit": "3"})
    assert log[0]["bytes"] > 1000
    assert log[0]["key_fingerprint"] != log[1]["key_fingerprint"]
    assert "phx_" not in str(log)
    _, state = await reader.steer("GET", "state")
    assert state["requests"] == {
        "total": 3,
        "by_class": {"recordings_list": 2, "clickhouse": 2, "none": 1},
        "by_status": {"200": 1, "401": 1, "404": 1},
    }
    assert (await reader.steer("GET", "requests?since=2"))[1] == log[2:]
    await reader.steer("POST", "requests/reset")
    assert (await reader.steer("GET", "requests"))[1] == []


async def test_a_session_that_was_started_arrives_piece_by_piece(reader: _Steering) -> None:
    """And stops being ongoing five minutes after its last piece."""
    operation = {
        "op": "start_session", "id": "mine", "duration_s": 900,
        "start_time": "2026-05-04T12:00:00Z",
    }  # fmt: skip
    status, done = await reader.steer("POST", "data", [operation])
    assert (status, done[0]["id"]) == (200, "mine")
    lengths = []
    for _ in range(5):
        _, row, _ = await reader.get(f"{LIST}mine/")
        lengths.append(row["recording_duration"])
        assert row["ongoing"] is True
        await reader.steer("POST", "clock", {"advance_s": 240})
    await reader.steer("POST", "clock", {"advance_s": 60})
    assert lengths == sorted(lengths)
    assert (len(set(lengths)) > 3, lengths[-1]) == (True, 900)
    assert (await reader.get(f"{LIST}mine/"))[1]["ongoing"] is False


async def test_a_late_piece_can_begin_before_the_recording(reader: _Steering) -> None:
    """Its start moves back and its counts grow."""
    _, page, _ = await reader.get(LIST, date_from="all", limit=1, offset=20)
    before = page["results"][0]
    late = {
        "op": "add_piece", "id": before["id"], "start_time": "2026-04-10T00:00:00Z",
        "duration_s": 5, "click_count": 7, "arrives_s": 3600, "start_url": "https://late/",
    }  # fmt: skip
    await reader.steer("POST", "data", [late])
    assert (await reader.get(f"{LIST}{before['id']}/"))[1]["start_time"] == before["start_time"]
    await reader.steer("POST", "clock", {"advance_s": 3600})
    _, after, _ = await reader.get(f"{LIST}{before['id']}/")
    assert after["start_time"] == "2026-04-10T00:00:00Z"
    assert after["click_count"] == before["click_count"] + 7
    assert (after["start_url"], after["ongoing"]) == ("https://late/", True)


async def test_a_deleted_person_becomes_the_missing_person(reader: _Steering) -> None:
    """Made up from project and distinct id."""
    _, page, _ = await reader.get(LIST, date_from="all", limit=60)
    row = next(row for row in page["results"] if row["person"]["id"] is not None)
    uuid = row["person"]["uuid"]
    await reader.steer("POST", "data", [{"op": "delete_person", "uuid": uuid}])
    _, after, _ = await reader.get(f"{LIST}{row['id']}/")
    person = after["person"]
    assert (person["id"], person["name"], person["created_at"]) == (None, None, None)
    assert (person["properties"], person["distinct_ids"]) == ({}, [row["distinct_id"]])
    assert person["uuid"] != uuid
    assert person["uuid"][14] == "5"


async def test_merged_persons_share_the_survivors_ids(reader: _Steering) -> None:
    """The recordings of both show one person."""
    _, page, _ = await reader.get(LIST, date_from="all", limit=60)
    found = {r["person"]["uuid"]: r for r in page["results"] if r["person"]["id"] is not None}
    gone, kept = sorted(found)[:2]
    await reader.steer("POST", "data", [{"op": "merge_persons", "from": gone, "into": kept}])
    _, one, _ = await reader.get(f"{LIST}{found[gone]['id']}/")
    _, two, _ = await reader.get(f"{LIST}{found[kept]['id']}/")
    assert one["person"] == two["person"]
    assert one["person"]["uuid"] == kept
    assert found[gone]["distinct_id"] in one["person"]["distinct_ids"]
    status, body = await reader.steer(
        "POST", "data", [{"op": "merge_persons", "from": gone, "into": kept}]
    )
    assert (status, gone in body["error"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("data", [{"op": "dance"}]),
        ("data", [{"op": "view"}]),
        ("data", [{"op": "view", "id": "unknown"}]),
        ("data", {"op": "view"}),
        ("data", ["view"]),
        ("data?project=9", []),
        ("faults", [{"fault": {"colour": "blue"}}]),
        ("faults", [{"fault": {"preset": "418"}}]),
        ("faults", [{"colour": "blue", "fault": {"hang": True}}]),
        ("faults", [{"fault": {}}]),
        ("clock", {"mode": "backwards"}),
        ("keys", {"colour": "blue"}),
    ],
)
async def test_a_control_call_that_makes_no_sense_says_so(
    reader: _Steering, path: str, body: Any
) -> None:
    """400 with the reason."""
    status, answer = await reader.steer("POST", path, body)
    assert (status, bool(answer["error"])) == (400, True)


async def test_it_becomes_another_server_over_the_same_data(reader: _Steering) -> None:
    """As after an upgrade; what data there is cannot be changed so."""
    control = reader.sandbox.control
    _, before, _ = await reader.get(LIST, date_from="all", limit=200)
    control.answer_as(flavour="docs", date_filter="ignored")
    _, after, _ = await reader.get(LIST, limit=200)
    assert {"has_next", "version"} < before.keys()
    assert {"count", "next"} < after.keys()
    shown = [{row["id"] for row in page["results"]} for page in (before, after)]
    assert shown[0] == shown[1]
    with pytest.raises(ValueError, match="recordings"):
        control.answer_as(recordings=1)
