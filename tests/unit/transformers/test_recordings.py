"""Recordings, their persons and the persons' distinct ids."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.document import Unreadable
from etl.core.page import Batch, Page
from etl.core.stream import Kind
from etl.errors import InvalidRecord
from etl.extractors.protocol import parse_list
from etl.streams import TABLE_SPECS
from etl.transformers.fields import DEEPEST
from etl.transformers.recordings import RECORDINGS, transform
from etl.transformers.transformer import transform_page
from tests.fixtures.records import RECORDINGS as ANY_RECORDING

PAGES = Path(__file__).parents[2] / "fixtures" / "pages"
ADA, BOB = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def batch_of(*records: Any, dirty: bool = False) -> Batch:
    """The batch made from a page of these records."""
    return transform(Page(list(records), dirty, NOON, 0))


def rows_of(batch: Batch, table: str) -> list[dict[str, Any]]:
    """The rows of a table without nulls; JSON columns as values."""
    spec = TABLE_SPECS[table]
    json_columns = {f.name for f in spec.fields if f.kind is Kind.JSON} | {"extra"}
    return [
        {
            name: json.loads(value) if name in json_columns else value
            for name, value in zip(spec.columns, row, strict=True)
            if value is not None
        }
        for row in batch.rows[table]
    ]


def recording(recording_id: str, start: str | None = None, **person: Any) -> dict[str, Any]:
    """A recording of a person."""
    return {"id": recording_id, "start_time": start, "person": {"id": 1, "uuid": ADA, **person}}


@pytest.mark.parametrize("name", sorted(path.stem for path in PAGES.glob("*.json")))
def test_a_recorded_page_becomes_the_rows_beside_it(name: str) -> None:
    """Every row of every table, and every reason. A column that is not given is null."""
    page = json.loads((PAGES / f"{name}.json").read_text(encoding="utf-8"))
    listed = parse_list(json.dumps(page["answer"]).encode())
    batch = transform(Page(listed.records, listed.dirty, NOON, 0))
    rejected = page["expected"].pop("rejected")
    for table, expected in page["expected"].items():
        instants = {f.name for f in TABLE_SPECS[table].fields if f.kind is Kind.INSTANT}
        for row in expected:
            row |= {k: datetime.fromisoformat(v) for k, v in row.items() if k in instants}
        assert rows_of(batch, table) == expected
    assert [item.reason for item in batch.rejected] == [reason for _, reason in rejected]
    for item, (key, _) in zip(batch.rejected, rejected, strict=True):
        assert item.key == key or (key == "sha:" and item.key.startswith("sha:"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("b", "2026-05-01T10:00:00Z"), ("a", "2026-05-01T11:00:00Z")),
        (("a", "2026-05-01T10:00:00Z"), ("b", "2026-05-01T10:00:00Z")),
        (("a", None), ("b", None)),
        (("b", None), ("a", "2026-05-01T10:00:00Z")),
        (("a", "2026-05-01T12:00:00+02:00"), ("b", "2026-05-01T10:00:00Z")),
    ],
    ids=[
        "later start",
        "greater id",
        "greater id, no start",
        "a start",
        "same instant, greater id",
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_snapshots_of_a_person_the_one_observed_last_stays(
    first: tuple[str, str | None], second: tuple[str, str | None], turned: bool
) -> None:
    """In any order on the page. The distinct id goes with it."""
    records = [
        {**recording(*first, name="old"), "distinct_id": "d"},
        {**recording(*second, name="new", uuid=ADA), "distinct_id": "d"},
    ]
    batch = batch_of(*(reversed(records) if turned else records))
    assert [row["name"] for row in rows_of(batch, "persons")] == ["new"]
    assert len(batch.rows["session_recordings"]) == 2
    owners = [{**recording(*first), "distinct_id": "d"}, recording(*second, uuid=BOB)]
    owners[1]["distinct_id"] = "d"
    batch = batch_of(*(reversed(owners) if turned else owners))
    assert rows_of(batch, "person_distinct_ids") == [{"distinct_id": "d", "person_uuid": BOB}]


@pytest.mark.parametrize("turned", [False, True])
def test_null_properties_never_overwrite_also_within_a_page(turned: bool) -> None:
    """Nor do other fields that older servers leave out. All other values are the latest ones."""
    told = recording("a", "2026-05-01T10:00:00Z", name="A", properties={"k": 1}, is_identified=True)
    silent = recording("b", "2026-05-01T11:00:00Z", name=None, properties=None)
    batch = batch_of(*([silent, told] if turned else [told, silent]))
    assert rows_of(batch, "persons") == [
        {"uuid": ADA, "id": 1, "properties": {"k": 1}, "is_identified": True}
    ]


def test_a_missing_person_makes_no_row() -> None:
    """For an unknown distinct id PostHog sends an object of nulls with a made-up uuid."""
    missing = {"id": None, "name": None, "created_at": None, "uuid": ADA, "distinct_ids": ["d"]}
    empty: dict[str, Any] = {"properties": {}}
    for person in (missing, missing | empty, missing | {"properties": None}):
        batch = batch_of({"id": "a", "person": person})
        assert rows_of(batch, "session_recordings") == [{"id": "a"}]
        assert batch.rows["persons"] == batch.rows["person_distinct_ids"] == []


@pytest.mark.parametrize("told", [{"name": "Ada"}, {"properties": {"a": 1}}, {"id": 0}])
def test_a_person_of_whom_anything_is_told_is_a_person(told: dict[str, Any]) -> None:
    """Only the exact form of the made-up person is recognised as such."""
    batch = batch_of({"id": "a", "person": {"id": None, "name": None, "uuid": ADA, **told}})
    assert [row["uuid"] for row in rows_of(batch, "persons")] == [ADA]


def test_a_person_without_uuid_is_kept_in_extra() -> None:
    """Without a key it cannot be stored elsewhere, and nothing is lost."""
    person = {"id": 3, "name": "Ada"}
    (row,) = rows_of(batch_of({"id": "a", "person": person}), "session_recordings")
    assert row == {"id": "a", "extra": {"person": person}}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["x", "y"], ["x", "y", "own"]),
        ("x", ["x", "own"]),
        ([], ["own"]),
        (None, ["own"]),
        (["own"], ["own"]),
    ],
)
def test_distinct_ids_come_as_array_or_text(ids: Any, expected: list[str]) -> None:
    """And the recording's own distinct id is one of them."""
    batch = batch_of({**recording("a", distinct_ids=ids), "distinct_id": "own"})
    assert [row["distinct_id"] for row in rows_of(batch, "person_distinct_ids")] == expected


def test_a_field_under_a_name_of_ours_goes_to_extra() -> None:
    """person_uuid is computed here; a server's field of that name means something else."""
    (row,) = rows_of(batch_of({"id": "a", "person_uuid": "new"}), "session_recordings")
    assert row == {"id": "a", "extra": {"person_uuid": "new"}}


def test_a_rejected_record_leaves_no_row_of_its_person() -> None:
    """All of it is rejected."""
    too_deep: list[Any] = []
    for _ in range(DEEPEST + 50):
        too_deep = [too_deep]
    for wrong in ({"click_count": "many"}, {"unknown": too_deep}):
        batch = batch_of({**recording("a"), **wrong}, {"id": "b"})
        assert [row["id"] for row in rows_of(batch, "session_recordings")] == ["b"]
        assert [item.key for item in batch.rejected] == ["a"]
        assert batch.rows["persons"] == []


def test_an_unreadable_record_is_set_aside_with_its_text() -> None:
    """Always with the same key, so that it is rejected only once."""
    broken = Unreadable('{"id": "a", x}\0', "not JSON: Expecting property name")
    first, second = (batch_of(broken, dirty=True).rejected[0] for _ in range(2))
    assert first == second
    assert (first.reason, first.payload) == (broken.reason, '{"id": "a", x}\ufffd')


def test_the_same_record_without_an_id_has_the_same_key_each_time() -> None:
    """Another record has another key."""
    one, again, other = batch_of({"n": 1}, {"n": 1}, {"n": 2}).rejected
    assert one.key == again.key != other.key
    assert one.key.startswith("sha:")


def test_an_id_too_long_for_a_key_is_known_by_its_content() -> None:
    """PostHog's ids have at most 200 characters, so its key is a hash of its content."""
    (item,) = batch_of({"id": "x" * 201, "click_count": "many"}).rejected
    assert item.key.startswith("sha:")


def test_a_defect_of_ours_is_not_taken_for_a_bad_record() -> None:
    """Only InvalidRecord rejects a record."""

    def broken(*_: Any) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        transform_page(Page([{"id": "a"}], False, NOON, 0), (), ["id"], broken)

    def invalid(*_: Any) -> None:
        raise InvalidRecord("theirs")

    page = Page([{"id": "a"}], False, NOON, 0)
    assert transform_page(page, (), ["id"], invalid).rejected[0].reason == "theirs"


@given(st.lists(ANY_RECORDING | st.none() | st.text(max_size=3), max_size=6))
def test_every_record_is_a_row_or_a_reject_and_no_key_comes_twice(records: list[Any]) -> None:
    """And each row knows its record."""
    batch = batch_of(*records, dirty=True)
    assert len(batch.rows["session_recordings"]) + len(batch.rejected) <= len(records)
    origins = set(batch.origins["session_recordings"])
    ids = {row["id"] for row in rows_of(batch, "session_recordings")}
    assert ids == {records[index]["id"] for index in origins}
    loaded_or_not = ids | {item.key for item in batch.rejected}
    for record in records:
        if isinstance(record, dict) and record["id"].isprintable() and record["id"]:
            assert record["id"] in loaded_or_not
    for table, rows in batch.rows.items():
        key = TABLE_SPECS[table].columns.index(TABLE_SPECS[table].key[0])
        assert len({row[key] for row in rows}) == len(rows) == len(batch.origins[table])
        assert all(len(row) == len(TABLE_SPECS[table].columns) for row in rows)


def test_volatile_fields_are_declared_so() -> None:
    """They change by themselves, so they count as no change."""
    volatile = {field.name for field in RECORDINGS.fields if field.volatile}
    assert volatile == {"recording_ttl", "matches_filters"}
