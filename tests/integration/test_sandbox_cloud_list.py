"""The recordings list as the real server answers it."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import aiohttp
import pytest

from etl.sandbox.server import running
from tests.unit.sandbox.reader import LIST, Reader, by_id, small


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    """A reader of a small sandbox of its own."""
    async with running(small()) as sandbox, aiohttp.ClientSession() as session:
        yield Reader(sandbox, session)


async def test_the_default_is_fifty_rows_of_the_last_three_days(reader: Reader) -> None:
    """300 recordings in 30 days make about 30 in three."""
    _, page, _ = await reader.get(LIST)
    assert (page["has_next"], page["version"]) == (False, 4)
    assert 20 < len(page["results"]) < 40
    assert min(row["start_time"] for row in page["results"]) > "2026-05-01T12:00"
    _, page, _ = await reader.get(LIST, date_from="-7d")
    assert (page["has_next"], len(page["results"])) == (True, 50)
    _, week, _ = await reader.get(LIST, date_from="null", limit=300)
    assert 50 < len(week["results"]) < 90
    for nothing in (0, -3):
        assert len((await reader.get(LIST, date_from="-7d", limit=nothing))[1]["results"]) == 50


async def test_both_bounds_of_the_window_are_inclusive(reader: Reader) -> None:
    """To the microsecond."""
    rows = await reader.cursor_walk(order_direction="ASC")
    instant = datetime.fromisoformat(rows[100]["start_time"])
    tick = timedelta(microseconds=1)
    for bound, included in ((instant, True), (instant + tick, False)):
        shown = await reader.cursor_walk(date_from=bound.isoformat())
        assert (rows[100] in shown) is included
    for bound, included in ((instant, True), (instant - tick, False)):
        shown = await reader.cursor_walk(date_to=bound.isoformat())
        assert (rows[100]["id"] in {row["id"] for row in shown}) is included


async def test_only_the_keys_that_the_real_server_sends_are_sent(reader: Reader) -> None:
    """No count, next or previous, and no cursor on the last page."""
    _, page, _ = await reader.get(LIST, limit=1)
    assert page.keys() == {"results", "has_next", "next_cursor", "version"}
    _, page, _ = await reader.get(LIST, limit=1, offset=0)
    assert page.keys() == {"results", "has_next", "version"}
    assert "storage" not in page["results"][0]


async def test_has_next_is_exact_on_a_full_last_page(reader: Reader) -> None:
    """The server asks for one row more than the limit."""
    for limit, more in ((299, True), (300, False), (301, False)):
        for direction in ("ASC", "DESC"):
            _, page, _ = await reader.get(
                LIST, date_from="all", limit=limit, order_direction=direction
            )
            assert page["has_next"] is more


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize(
    "order",
    ["start_time", "duration", "active_seconds", "inactive_seconds", "click_count",
     "activity_score", "recording_ttl", "surfacing_score"],
)  # fmt: skip
async def test_every_order_can_be_walked_by_cursor_and_by_offset_alike(
    reader: Reader, order: str, direction: str
) -> None:
    """The session id breaks ties."""
    asked = {"order": order, "order_direction": direction}
    rows = await reader.cursor_walk(limit=41, **asked)
    assert len({row["id"] for row in rows}) == 300
    by_offset = []
    for offset in range(0, 300, 50):
        _, page, _ = await reader.get(LIST, date_from="all", limit=50, offset=offset, **asked)
        assert page["has_next"] is (offset < 250)
        by_offset += page["results"]
    assert by_offset == rows
    shown = {"duration": "recording_duration", "surfacing_score": "start_time"}.get(order, order)
    keys = [(row[shown] if row[shown] is not None else -1, row["id"]) for row in rows]
    assert keys == sorted(keys, reverse=direction == "DESC")


async def test_equal_starts_are_walked_once_each_across_pages() -> None:
    """Groups of five with one start, pages of three."""
    options = small(recordings=100, start_ties=5)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        rows = await Reader(sandbox, session).cursor_walk(limit=3)
        assert len({row["id"] for row in rows}) == len(rows) == 100
        assert len({row["start_time"] for row in rows}) == 20


async def test_a_cursor_survives_new_and_deleted_recordings(reader: Reader) -> None:
    """What was there the whole time is read once, also when the cursor's own row is deleted."""
    _, first, _ = await reader.get(LIST, date_from="all", limit=10)
    control = reader.sandbox.control
    before = {row["id"] for row in control.truth()["session_recordings"]}
    control.change(
        {"op": "delete_recording", "id": first["results"][-1]["id"]}, {"op": "start_session"}
    )
    rows = await reader.cursor_walk(limit=100, after=first["next_cursor"])
    read = [row["id"] for row in first["results"] + rows]
    assert len(read) == len(set(read))
    assert set(read) == before


@pytest.mark.parametrize("cursor", ["nonsense", "eyJhIjoxfQ==", "e30=", "W10=", "%%%"])
async def test_a_broken_cursor_is_a_server_error(reader: Reader, cursor: str) -> None:
    """500 with `error`."""
    status, body, _ = await reader.get(LIST, after=cursor)
    assert (status, body.keys()) == (500, {"error"})


async def test_a_cursor_of_another_order_is_a_server_error(reader: Reader) -> None:
    """A number where a time is wanted."""
    _, page, _ = await reader.get(LIST, date_from="all", order="click_count", limit=1)
    status, _, _ = await reader.get(LIST, after=page["next_cursor"])
    assert status == 500


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("colour", "blue", "extra_forbidden"),
        ("limit", "many", "int_type"),
        ("limit", "1.5", "int_type"),
        ("person_uuid", "123", "string_type"),
        ("session_ids", "one", "list_type"),
        ("session_ids", "[1]", "string_type"),
        ("distinct_ids", '"user"', "list_type"),
        ("date_from", "20260101", "string_type"),
        ("order", "colour", "enum"),
        ("order_direction", "desc", "enum"),
    ],
)
async def test_a_parameter_that_the_server_does_not_know_is_refused(
    reader: Reader, name: str, value: str, kind: str
) -> None:
    """The detail is a JSON list inside a string."""
    status, body, _ = await reader.get(LIST, **{name: value})
    assert (status, body["type"], body["code"]) == (400, "validation_error", "invalid_input")
    complaint = json.loads(body["detail"])[0]
    assert (complaint["type"], complaint["loc"]) == (kind, [name])


async def test_the_other_documented_filters_are_accepted(reader: Reader) -> None:
    """Without effect."""
    status, page, _ = await reader.get(
        LIST, filter_test_accounts="true", operand="AND", properties="[]", events="[]",
        actions="[]", console_log_filters="[]", having_predicates="[]", comment_text="{}",
        hide_viewed_recordings="false",
    )  # fmt: skip
    assert status == 200
    assert page["results"]


async def test_recordings_asked_for_by_id_come_in_the_order_asked_for(reader: Reader) -> None:
    """Outside the default window too; the default limit still cuts."""
    ids = [row["id"] for row in await reader.cursor_walk(order="click_count")]
    wanted = [*ids[100:170], "unknown"]
    _, page, _ = await reader.get(LIST, session_ids=json.dumps(wanted), limit=71)
    assert [row["id"] for row in page["results"]] == ids[100:170]
    _, page, _ = await reader.get(LIST, session_ids=json.dumps(wanted))
    assert (len(page["results"]), page["has_next"]) == (50, True)
    _, page, _ = await reader.get(LIST, session_ids=json.dumps(wanted), date_from="-1h")
    assert len(page["results"]) < 5


async def test_rows_can_be_asked_for_by_person_and_by_distinct_id(reader: Reader) -> None:
    """Both filters narrow the list."""
    rows = await reader.cursor_walk()
    person = max(
        (row["person"] for row in rows if row["person"]["id"] is not None),
        key=lambda found: sum(found["uuid"] == row["person"]["uuid"] for row in rows),
    )
    expected = [row for row in rows if row["person"]["uuid"] == person["uuid"]]
    assert await reader.cursor_walk(limit=2, person_uuid=person["uuid"]) == expected
    wanted = json.dumps(sorted({row["distinct_id"] for row in expected}))
    assert await reader.cursor_walk(distinct_ids=wanted) == expected
    assert await reader.cursor_walk(person_uuid="nobody") == []


async def test_one_extra_recording_can_be_put_in_front(reader: Reader) -> None:
    """With matches_filters false if the filters leave it out."""
    rows = await reader.cursor_walk(order_direction="ASC")
    _, page, _ = await reader.get(LIST, limit=3, session_recording_id=rows[0]["id"])
    assert [row["matches_filters"] for row in page["results"]] == [False, True, True, True]
    assert page["results"][0]["id"] == rows[0]["id"]
    _, page, _ = await reader.get(LIST, limit=3, session_recording_id=rows[-2]["id"])
    assert [row["id"] for row in page["results"]] == [
        rows[-2]["id"], rows[-1]["id"], rows[-3]["id"],
    ]  # fmt: skip


async def test_an_older_server_knows_only_offset_and_breaks_no_ties() -> None:
    """No cursor, `after` is unknown, and equal starts have no fixed order."""
    options = small(server_version="offset_only", start_ties=4)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        status, _, _ = await reader.get(LIST, after="eyJ9")
        assert status == 400
        pages = [(await reader.get(LIST, date_from="all", limit=6))[1] for _ in range(4)]
        assert all(page["has_next"] and "next_cursor" not in page for page in pages)
        assert len({tuple(row["id"] for row in page["results"]) for page in pages}) > 1
        _, whole, _ = await reader.get(LIST, date_from="all", limit=300)
        assert len({row["id"] for row in whole["results"]}) == 300


@pytest.mark.parametrize(("mode", "expected"), [("ignored", 300), ("refused", None)])
async def test_the_date_filter_can_be_ignored_or_refused(mode: str, expected: int | None) -> None:
    """As servers are known to do."""
    async with running(small(date_filter=mode)) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        status, page, _ = await reader.get(LIST, date_from="-1d", limit=1000)
        assert status == (400 if expected is None else 200)
        if expected is not None:
            assert len(page["results"]) == expected
        assert (await reader.get(LIST))[0] == 200


async def test_the_generated_data_has_the_odd_cases_that_real_data_has() -> None:
    """Missing persons, late and ongoing ones, odd ids, persons with several recordings."""
    async with running(small(recordings=3000)) as sandbox, aiohttp.ClientSession() as session:
        rows = await Reader(sandbox, session).cursor_walk(limit=1000)
        missing = [row for row in rows if row["person"]["id"] is None]
        assert 0 < len(missing) < 150
        assert all(row["person"]["distinct_ids"] == [row["distinct_id"]] for row in missing)
        assert all(row["person"]["properties"] == {} for row in missing)
        assert sum(row["ongoing"] for row in rows) >= 3
        assert any(row["activity_score"] is None for row in rows)
        assert any(row["recording_duration"] > 6 * 3600 for row in rows)
        assert any(row["recording_duration"] == 0 for row in rows)
        assert any(len(row["id"]) != 36 for row in rows)
        assert any(len(row["start_url"] or "") == 512 for row in rows)
        assert any(row["start_url"] is None for row in rows)
        assert {row["retention_period_days"] for row in rows} == {30, 90}
        assert {len(row["viewers"]) for row in rows} == {0, 1, 2}
        assert any(not row["person"]["distinct_ids"][0].isascii() for row in rows)


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_a_server_may_begin_its_lists_with_the_oldest(flavour: str) -> None:
    """Unless the request says otherwise."""
    options = small(recordings=40, flavour=flavour, default_order="oldest")
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        rows = await (reader.cursor_walk() if flavour == "cloud" else reader.link_walk())
        starts = [row["start_time"] for row in rows]
        assert (len(starts), starts) == (40, sorted(starts))


async def test_an_older_server_drops_a_recording_piece_by_piece() -> None:
    """Across midnight, 30 days later: whole, then what began on the second day, then gone."""
    options = small(recordings=200, days=60.0, expires_by_piece=True)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader, control = Reader(sandbox, session), sandbox.control
        control.change(
            {"op": "set_retention", "days": 30},
            {
                "op": "start_session",
                "id": "long",
                "start_time": "2026-05-03T22:00:00Z",
                "duration_s": 4 * 3600,
            },
        )
        starts = []
        for day in ("2026-06-01", "2026-06-02", "2026-06-03"):
            control.set_clock(datetime.fromisoformat(f"{day}T12:00:00+00:00"))
            rows = by_id(await reader.cursor_walk())
            starts.append(rows["long"]["start_time"][:10] if "long" in rows else None)
            others = {row["id"] for row in control.truth_rows("session_recordings")}
            assert others <= rows.keys()
        assert starts == ["2026-05-03", "2026-05-04", None]
        control.change({"op": "delete_recording", "id": min(others)})
        control.change({"op": "restore_recording", "id": min(others)})
        assert min(others) in by_id(await reader.cursor_walk())
