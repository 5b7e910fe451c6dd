"""Everything that people made, as answered, against the truth about it."""

from typing import Any

import aiohttp
import pytest

from etl.sandbox.server import running
from etl.sandbox.truth_store import STORE_TABLES
from etl.streams import TABLE_SPECS
from tests.unit.sandbox.reader import Reader, small
from tests.unit.sandbox.whole import Whole, sorted_rows


async def _assert_true(reader: Reader) -> None:
    answered = await Whole(reader).tables()
    truth = reader.sandbox.control.truth()
    assert answered.keys() == set(STORE_TABLES)
    for table in STORE_TABLES:
        assert sorted_rows(answered[table], table) == sorted_rows(truth[table], table), table


_CHANGES: list[dict[str, Any]] = [
    {"op": "put", "kind": "subscription", "title": "New", "target_type": "webhook",
     "target_value": "https://hooks.example/1", "created_by": 2},
    {"op": "put", "kind": "group_type", "group_type_index": 4, "group_type": "team"},
    {"op": "put", "kind": "group", "group_type_index": 4, "group_key": "a", "group_properties":
     {"n": 1, "m": "1", "nested": [1, {"x": None}]}},
    {"op": "put", "kind": "group", "group_type_index": 4, "group_key": "b", "group_properties":
     {"n": "1", "m": None}},
    {"op": "put", "kind": "group_activity", "group_type_index": 4, "group_key": "a"},
    {"op": "put", "kind": "insight", "id": 10_001, "name": "Renamed"},
    {"op": "put", "kind": "dashboard", "id": 10_001, "name": "Renamed", "pinned": True},
    {"op": "put", "kind": "dashboard", "id": 10_777, "name": "New", "creation_mode": "unlisted"},
    {"op": "put", "kind": "dashboard", "id": 10_003, "deleted": True},
    {"op": "put", "kind": "collaborator", "dashboard_id": 10_777, "user": 2},
    {"op": "put", "kind": "sharing", "resource_type": "dashboard", "resource_id": 10_002},
    {"op": "put", "kind": "event_definition", "name": "new", "hidden": True},
    {"op": "put", "kind": "property_definition", "name": "new", "type": "group",
     "group_type_index": 4},
    {"op": "remove", "kind": "dashboard", "id": 10_004},
    {"op": "put", "kind": "playlist", "short_id": "mine", "name": "Mine"},
    {"op": "put", "kind": "playlist_item", "short_id": "mine", "recording_id": "gone"},
    {"op": "put", "kind": "secret_key", "label": "New", "scopes": ["*"]},
    {"op": "put", "kind": "user", "id": 4, "first_name": "Renamed"},
    {"op": "put", "kind": "sharing", "resource_type": "insight", "resource_id": 10_002},
    {"op": "put", "kind": "share_password", "resource_type": "insight", "resource_id": 10_002},
    {"op": "remove", "kind": "user", "id": 3},
    {"op": "remove", "kind": "insight", "id": 10_003},
    {"op": "remove", "kind": "group", "group_type_index": 0, "group_key": "0"},
]  # fmt: skip


@pytest.mark.parametrize("page_version", ["A", "C", "mixed"])
async def test_the_documented_server_answers_the_truth(page_version: str) -> None:
    """Whichever page its answers keep to."""
    options = small(flavour="docs", page_version=page_version, recordings=40)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        await _assert_true(Reader(sandbox, session))


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_it_answers_the_truth_before_and_after_changes(flavour: str) -> None:
    """Every kind of record put, changed and removed; later the clock moves on."""
    options = small(flavour=flavour, recordings=40, days=10.0, seed=7)
    async with running(options) as sandbox, aiohttp.ClientSession() as session:
        reader = Reader(sandbox, session)
        await _assert_true(reader)
        sandbox.control.change(*_CHANGES)
        row = sandbox.control.truth()["session_recordings"][0]
        for kind in ("sharing", "share_password"):
            named = {"resource_type": "recording", "resource_id": row["id"]}
            sandbox.control.change({"op": "put", "kind": kind, **named})
        item = {"short_id": "mine", "recording_id": row["id"]}
        sandbox.control.change({"op": "put", "kind": "playlist_item", **item})
        await _assert_true(reader)
        sandbox.control.change({"op": "delete_recording", "id": row["id"]})
        sandbox.control.advance(25 * 86_400)
        await _assert_true(reader)


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_the_truth_names_every_column_but_those_that_move_by_themselves(flavour: str) -> None:
    """And no other, so that it can be compared with the tables of a destination."""
    async with running(small(flavour=flavour, recordings=20)) as sandbox:
        truth = sandbox.control.truth()
        for table in STORE_TABLES:
            named = {each.name for each in TABLE_SPECS[table].fields if not each.volatile}
            assert truth[table], table
            for row in truth[table]:
                assert row.keys() == named, table


async def test_the_same_seed_makes_the_same_and_no_option_makes_nothing() -> None:
    """Another seed or project makes something else."""
    truths = []
    for changes in ({}, {}, {"seed": 2}, {"projects": (2,)}):
        async with running(small(recordings=20, **changes)) as sandbox:
            truths.append(sandbox.control.truth())
    assert truths[0] == truths[1]
    assert truths[0]["groups"] != truths[2]["groups"]
    assert truths[0]["subscriptions"] != truths[3]["subscriptions"]
    sizes = ("subscriptions", "groups", "insights", "playlists", "secret_keys", "cohorts", "others")
    async with running(small(recordings=0, **dict.fromkeys(sizes, 0))) as sandbox:
        truth = sandbox.control.truth()
        fixed = (
            "property_definitions",
            "session_property_definitions",
            "session_property_values",
            "projects",
        )
        assert [table for table in STORE_TABLES if truth[table]] == list(fixed)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "put", "kind": "planet"},
        {"op": "put", "kind": "group", "colour": "blue", "group_type_index": 0, "group_key": "a"},
        {"op": "put", "kind": "group", "group_type_index": 0},
        {"op": "put", "kind": "subscription", "created_at": "yesterday"},
        {"op": "put", "kind": "sharing", "resource_type": "planet", "resource_id": "x"},
        {"op": "put"},
        {"op": "remove", "kind": "subscription", "id": 5},
        {"op": "remove", "kind": "subscription", "id": 10_001, "colour": "blue"},
        {"op": "remove", "kind": "group", "group_key": "a"},
    ],
)
async def test_a_change_that_makes_no_sense_is_refused(operation: dict[str, Any]) -> None:
    """And nothing is changed."""
    async with running(small(recordings=5)) as sandbox:
        before = sandbox.control.truth()
        with pytest.raises(ValueError, match=r"\w"):
            sandbox.control.change(operation)
        assert sandbox.control.truth() == before
