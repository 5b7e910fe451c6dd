"""The answers of the sandbox against its truth, which is worked out by other code."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from etl.sandbox.server import running
from tests.unit.sandbox.reader import LIST, Reader, Row, as_truth, by_id, small

_NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
_COUNTS = ("click_count", "keypress_count", "mouse_activity_count", "console_log_count")


def _persons_seen(rows: list[Row]) -> dict[str, Row]:
    """Persons of the rows in the form of the truth."""
    seen: dict[str, Row] = {}
    for row in rows:
        person = dict(row["person"])
        del person["distinct_ids"]
        if person["id"] is not None:
            person.setdefault("last_seen_at", None)
            assert seen.setdefault(person["uuid"], person) == person
    return seen


def _distinct_ids_seen(rows: list[Row]) -> dict[str, str]:
    seen = {}
    for row in rows:
        person = row["person"]
        if person["id"] is not None:
            ids = person["distinct_ids"]
            for each in [row["distinct_id"], *([ids] if isinstance(ids, str) else ids)]:
                seen[each] = person["uuid"]
    return seen


def _assert_equal(rows: list[Row], truth: dict[str, Any]) -> None:
    expected = by_id(truth["session_recordings"])
    answered = by_id([as_truth(row) for row in rows])
    assert answered.keys() == expected.keys()
    for each, row in answered.items():
        assert row == expected[each]
    assert _persons_seen(rows) == {person["uuid"]: person for person in truth["persons"]}
    assert _distinct_ids_seen(rows) == {
        pair["distinct_id"]: pair["person_uuid"] for pair in truth["person_distinct_ids"]
    }


@pytest.mark.parametrize(
    ("seed", "days", "ties"), [(1, 30.0, 1), (2, 3.0, 4), (3, 0.2, 1), (4, 60.0, 7)]
)
async def test_a_cursor_walk_reads_exactly_the_truth_wherever_the_clock_stands(
    seed: int, days: float, ties: int
) -> None:
    """Late pieces, ongoing sessions, expiry and new recordings included."""
    options = small(seed=seed, days=days, start_ties=ties, recordings=500)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        moves_s = [0, 40, 300, 0.1 * days * 86_400, days * 86_400, -1.3 * days * 86_400]
        for direction, move_s in zip(["DESC", "ASC"] * 3, moves_s, strict=True):
            sandbox.control.advance(move_s)
            rows = await reader.cursor_walk(order_direction=direction)
            _assert_equal(rows, sandbox.control.truth())


@pytest.mark.parametrize("page_version", ["A", "C", "D", "mixed"])
async def test_a_walk_over_the_documented_list_reads_exactly_the_truth(page_version: str) -> None:
    """Every documented shape of the record."""
    options = small(flavour="docs", page_version=page_version)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        for move_s in (0, 86_400 * 20):
            sandbox.control.advance(move_s)
            rows = await Reader(sandbox, session).link_walk(limit=70)
            _assert_equal(rows, sandbox.control.truth())


async def test_a_walk_reads_the_truth_after_everything_was_changed_at_once() -> None:
    """Changes through the control endpoint reach answers and truth alike."""
    async with running(small(days=2.0)) as sandbox, aiohttp.ClientSession() as session:
        reader, control = Reader(sandbox, session), sandbox.control
        rows = await reader.cursor_walk()
        uuids = sorted(_persons_seen(rows))
        ids = [row["id"] for row in rows]
        control.change(
            {"op": "start_session", "id": "one"},
            {"op": "start_session", "duration_s": 7200, "start_time": "2026-05-04T11:50:00Z"},
            {"op": "start_session", "id": "nobody's", "distinct_id": "a stranger"},
            {"op": "add_piece", "id": ids[3], "start_time": "2026-05-03T08:00:00Z"},
            {"op": "add_piece", "id": ids[4], "arrives_s": 600},
            {"op": "end_session", "id": ids[0]},
            {"op": "delete_recording", "id": ids[7]},
            {"op": "view", "id": ids[8], "by": "owner"},
            {"op": "view", "id": ids[8], "by": "zoe@sandbox.example"},
            {"op": "change_person", "uuid": uuids[0], "set": {"email": "new@example.com"}},
            {"op": "change_person", "uuid": uuids[1], "unset": ["email", "name"]},
            {"op": "merge_persons", "from": uuids[2], "into": uuids[3]},
            {"op": "merge_persons", "from": uuids[3], "into": uuids[4]},
            {"op": "delete_person", "uuid": uuids[5]},
            {"op": "move_distinct_id", "distinct_id": rows[9]["distinct_id"], "to": uuids[6]},
            {"op": "shift", "id": ids[11], "start_time": "2026-05-01T00:00:00Z"},
        )
        for move_s in (0, 700, 86_400):
            control.advance(move_s)
            _assert_equal(await reader.cursor_walk(), control.truth())
        control.change({"op": "set_retention", "days": 2})
        _assert_equal(await reader.cursor_walk(), control.truth())


@pytest.mark.parametrize("seed", range(3))
async def test_a_window_shows_whole_what_lies_inside_and_cut_what_crosses_its_edges(
    seed: int,
) -> None:
    """Both bounds test the start of a piece."""
    draw = random.Random(seed)
    options = small(seed=seed, recordings=600, days=1.0)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        cut = 0
        for _ in range(6):
            sandbox.control.advance(draw.uniform(0, 1000))
            begin = _NOW - timedelta(seconds=draw.uniform(0, 86_400))
            end = begin + timedelta(seconds=draw.uniform(60, 40_000))
            rows = await reader.cursor_walk(
                limit=61, date_from=begin.isoformat(), date_to=end.isoformat()
            )
            answered = by_id([as_truth(row) for row in rows])
            truth = by_id(sandbox.control.truth()["session_recordings"])
            starts = {i: datetime.fromisoformat(r["start_time"]) for i, r in truth.items()}
            ends = {i: datetime.fromisoformat(r["end_time"]) for i, r in truth.items()}
            assert {i for i in truth if begin <= starts[i] <= end} <= answered.keys()
            for each, row in answered.items():
                if begin <= starts[each] and ends[each] <= end:
                    assert row == truth[each]
                    continue
                assert starts[each] <= end
                assert ends[each] >= begin
                assert row["start_time"] >= truth[each]["start_time"]
                assert row["end_time"] <= truth[each]["end_time"]
                assert begin <= datetime.fromisoformat(row["start_time"]) <= end
                assert all(row[name] <= truth[each][name] for name in _COUNTS)
                cut += row != truth[each]
        assert cut > 2


async def test_neighbouring_windows_share_every_piece_of_a_session_between_them() -> None:
    """The counts of a session cut in two add up to the whole."""
    options = small(recordings=1000, days=1.0)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        truth = by_id(sandbox.control.truth()["session_recordings"])
        shared = 0
        for hours in range(1, 22, 4):
            middle = _NOW - timedelta(hours=hours)
            following = middle + timedelta(microseconds=1)
            before = by_id(await reader.cursor_walk(date_to=middle.isoformat()))
            after = by_id(await reader.cursor_walk(date_from=following.isoformat()))
            assert before.keys() | after.keys() == truth.keys()
            for each in before.keys() & after.keys():
                shared += 1
                for name in _COUNTS:
                    assert before[each][name] + after[each][name] == truth[each][name]
        assert shared > 5


async def test_the_truth_as_a_stream_is_the_truth_in_one_piece() -> None:
    """NDJSON, sorted by key."""
    async with running(small()) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        _, whole, _ = await reader.get("/_sandbox/truth", project=1)
        for stream, key in (
            ("session_recordings", "id"),
            ("persons", "uuid"),
            ("person_distinct_ids", "distinct_id"),
        ):
            async with session.get(f"{sandbox.url}/_sandbox/truth/{stream}") as response:
                rows = [await response.content.readline() for _ in range(len(whole[stream]))]
                assert await response.content.read() == b""
            parsed = [json.loads(row) for row in rows]
            assert parsed == whole[stream]
            keys = [row[key] for row in parsed]
            assert keys == sorted(set(keys))
        status, body, _ = await reader.get(LIST, date_from="all", limit=1)
        assert (status, body["has_next"]) == (200, True)
