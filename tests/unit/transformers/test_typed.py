"""The fast reader gives the same values as the reader by field, for all that it accepts."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from etl.core.document import decode, decode_list
from etl.core.drift import Drift
from etl.core.page import Batch, HashedRecord, Page, Record, TypedRecord
from etl.core.stream import Kind, TableSpec
from etl.streams import TABLE_SPECS
from etl.transformers.fields import DEEPEST
from etl.transformers.recordings import PERSONS, RecordingReader, transform
from etl.transformers.recordings import RECORDINGS as RECORDINGS_SPEC
from etl.transformers.typed import LONGEST_KEY_BYTES, MOST_KEYS
from tests.fixtures.records import DECIMALS_AS_TEXT, INSTANTS, INTEGERS, JSON, UUIDS
from tests.fixtures.records import RECORDINGS as ANY_RECORDING

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ADA = "00000000-0000-4000-8000-000000000001"
PERSON = {"uuid": ADA, "id": 1, "name": "Ada", "created_at": "2026-01-01T00:00:00Z"}
MADE_UP = {"id": None, "name": None, "properties": {}, "created_at": None, "uuid": ADA}
USUAL = {
    "id": "a",
    "distinct_id": "d",
    "start_time": "2026-05-01T12:00:00.123456Z",
    "recording_duration": 3,
    "activity_score": 1.5,
    "click_count": 2,
    "viewed": False,
    "viewers": ["ada@example.com"],
    "external_references": [{"id": 1}],
    "summary_outcome": None,
    "person": {**PERSON, "distinct_ids": ["d", "e"], "properties": {"plan": "pro"}},
}

# Mostly ordinary records, in which one thing may be anything.
NEARLY_USUAL = st.builds(
    lambda name, value: {**USUAL, name: value},
    st.sampled_from([*USUAL, "end_time", "recording_ttl", "email", "person_uuid", "new"]),
    JSON | INSTANTS,
)
NEARLY_USUAL_PERSONS = st.builds(
    lambda name, value: {**USUAL, "person": {**USUAL["person"], name: value}},  # type: ignore[dict-item]
    st.sampled_from([*PERSON, "distinct_ids", "properties", "last_seen_at", "new"]),
    JSON | INSTANTS,
)


# Fields that a newer server might add, and other types that it might send for known fields.
OTHER_INSTANTS = INSTANTS | st.sampled_from(["2026-05-01", "20260501T120000Z", "2026-W18-5"])
OTHER_FORMS = {
    Kind.BIGINT: INTEGERS | INTEGERS.map(str) | st.sampled_from(["+3", "9" * 19, "3.5", ""]),
    Kind.DOUBLE: DECIMALS_AS_TEXT | st.sampled_from(["1e3", "1e999", "-.5", "", 7]),
    Kind.INSTANT: OTHER_INSTANTS,
    Kind.UUID: UUIDS | UUIDS.map("urn:uuid:{}".format),
}


def drifted(spec: TableSpec) -> st.SearchStrategy[dict[str, Any]]:
    """Draw new fields, and known fields of `spec` in other forms than its struct knows."""
    known = {f.name: OTHER_FORMS[f.kind] for f in spec.fields if f.kind in OTHER_FORMS}
    new = st.dictionaries(st.text(max_size=5).map("new ".__add__), JSON, max_size=3)
    return st.builds(
        lambda changed, added: {**changed, **added},
        st.fixed_dictionaries({}, optional=known),
        new,
    )


DRIFTED = st.builds(
    lambda of_recording, of_person: {
        **USUAL,
        **of_recording,
        "person": {**USUAL["person"], **of_person},  # type: ignore[dict-item]
    },
    drifted(RECORDINGS_SPEC),
    drifted(PERSONS),
)


def list_of(*records: Any) -> bytes:
    """A list answer of these records."""
    return json.dumps({"results": records, "has_next": False}).encode()


def batch_of(body: bytes, reader: RecordingReader | None = None) -> Batch:
    """The batch of a list answer: read by `reader`, else from decoded records."""
    if reader is None:
        document, dirty = decode(body)
        return transform(Page(document["results"], dirty, NOON, len(body)))
    document, dirty = decode_list(body, reader.read)
    return transform(Page(document["results"], dirty, NOON, len(body), drift=reader.drift))


def batches_of(body: bytes) -> list[Batch]:
    """The batches of a list answer: read at first, read by what was learned then, and decoded."""
    reader = RecordingReader()
    return [batch_of(body, reader), batch_of(body, reader), batch_of(body)]


def typed(reader: RecordingReader, record: Any) -> Record:
    """Return the record as it is typed, or else decoded."""
    read = reader.read(Raw(json.dumps(record).encode()))
    return reader.typed(read) if isinstance(read, HashedRecord) else read


def again(record: Any) -> Record:
    """Return the record as it is read the second time."""
    reader = RecordingReader()
    typed(reader, record)
    return typed(reader, record)


def by_value(batch: Batch) -> Any:
    """A batch with JSON columns as values, because their text may differ in form."""
    rows = {}
    for table, found in batch.rows.items():
        spec = TABLE_SPECS[table]
        columns = {spec.columns.index(f.name) for f in spec.fields if f.kind is Kind.JSON}
        columns.add(spec.columns.index("extra"))
        rows[table] = [
            [
                json.loads(value) if value is not None and at in columns else value
                for at, value in enumerate(row)
            ]
            for row in found
        ]
    return rows, batch.origins, batch.rejected


def test_a_usual_record_goes_the_fast_way() -> None:
    """Otherwise these tests would compare nothing."""
    read = RecordingReader().read(Raw(json.dumps(USUAL).encode()))
    assert isinstance(read, HashedRecord)
    assert (read.key, read.started_at) == ("a", NOON.replace(microsecond=123456))
    record = read.reader.typed(read)
    assert isinstance(record, TypedRecord)
    hashes = [*read.others, ("session_recordings", "a", read.row_hash)]
    assert [(table, key, row_hash) for table, key, _, row_hash in record.rows] == hashes
    assert [table for table, *_ in record.rows] == [
        *["person_distinct_ids"] * 2,
        "persons",
        "session_recordings",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"new": None},
        {"new": {"is": ["good", 1.5]}},
        {"nöw": 1, "": 2, "person_uuid": "ours", "learned_0": "ours too"},
        {"click_count": "3"},
        {"click_count": 3.0},
        {"recording_duration": "12.5"},
        {"end_time": "2026-05-01"},
        {"person": {**PERSON, "shoe_size": 43, "id": "7"}},
    ],
)
def test_a_surprise_is_read_the_slow_way_once(change: dict[str, Any]) -> None:
    """A new field, or a value of another type, goes the fast way from then on."""
    reader = RecordingReader()
    assert isinstance(typed(reader, {**USUAL, **change}), dict)
    assert isinstance(typed(reader, {**USUAL, **change}), TypedRecord)
    assert isinstance(typed(reader, USUAL), TypedRecord)


@pytest.mark.parametrize(
    "change",
    [
        {"start_time": "2026-05-01T12:00:00"},
        {"recording_ttl": "3"},
        {"person": {**PERSON, "uuid": ADA.upper()}},
        {"person": {**PERSON, "distinct_ids": "d"}},
    ],
)
def test_usual_forms_of_a_value_go_the_fast_way_at_once(change: dict[str, Any]) -> None:
    """Instants without a zone, documented text, uuids in capitals, a single distinct id."""
    assert isinstance(typed(RecordingReader(), {**USUAL, **change}), TypedRecord)


@pytest.mark.parametrize(
    "change",
    [
        {"recording_ttl": "soon"},
        {"click_count": "many"},
        {"viewed": "true"},
        {"click_count": {}},
        {"viewers": [1]},
        {"start_time": 20260501},
        {"new": "\0"},
        {'"': 1},
        {"x" * (LONGEST_KEY_BYTES + 1): 1},
    ],
)
def test_what_is_to_be_repaired_or_refused_is_not_learned(change: dict[str, Any]) -> None:
    """Only the slow way repairs and refuses; and keys have a greatest length."""
    assert not isinstance(again({**USUAL, **change}), TypedRecord)


def test_a_server_with_ever_new_keys_fills_no_memory() -> None:
    """The reader learns so many keys and no more; records with others are still read."""
    reader = RecordingReader()
    records = [{**USUAL, f"new {n}": n} for n in range(2 * MOST_KEYS)]
    for record in records:
        typed(reader, record)
    fast = [isinstance(typed(reader, record), TypedRecord) for record in records]
    assert fast == [True] * MOST_KEYS + [False] * MOST_KEYS


def test_ever_new_persons_fill_no_memory() -> None:
    """The reader keeps the rows of persons that it has just seen, and no more."""
    reader = RecordingReader()

    def read(numbers: range) -> None:
        for n in numbers:
            person = {**PERSON, "id": n, "properties": {"about": f"{n:04}" * 500}}
            typed(reader, {**USUAL, "person": person})

    tracemalloc.start()
    try:
        read(range(1_000))
        before, _ = tracemalloc.get_traced_memory()
        read(range(1_000, 5_000))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2**21


@given(st.lists(DRIFTED, min_size=1, max_size=4), st.lists(DRIFTED, max_size=2))
@example([{**USUAL, "recording_ttl": "3"}], [{**USUAL, "recording_ttl": 3}])
@example([{**USUAL, "click_count": "3"}], [{**USUAL, "click_count": "many"}, USUAL])
@example([{**USUAL, "end_time": "2026-05-01"}], [USUAL, {**USUAL, "end_time": None}])
@example([{**USUAL, "new": 1}], [{**USUAL, "new": {"a": 0.1}}, {**USUAL, "new": None}, USUAL])
def test_what_was_learned_changes_no_value(
    taught: list[dict[str, Any]], records: list[dict[str, Any]]
) -> None:
    """For any records that drift: rows and rejects are those of the reader by field."""
    reader = RecordingReader()
    batch_of(list_of(*taught), reader)
    body = list_of(*taught, *records)
    assert by_value(batch_of(body, reader)) == by_value(batch_of(body))


@given(st.lists(DRIFTED, min_size=1, max_size=4))
def test_what_differs_from_the_catalogue_is_told_on_both_ways(
    records: list[dict[str, Any]],
) -> None:
    """For any records that drift; of a field that is learned, as it came first."""
    told = {each[:3] for each in batch_of(list_of(*records), RecordingReader()).drift}
    assert {each[:3] for each in batch_of(list_of(*records)).drift} <= told


def test_what_was_learned_is_told_without_the_record() -> None:
    """It may be outside of the window, or rejected; no later record shows what it taught."""
    reader = RecordingReader()
    rejected = {**USUAL, "mood": 1, "click_count": {}, "viewed": "true", "id": "b"}
    rejected["person"] = {**PERSON, "id": "7"}
    decode_list(list_of(rejected), reader.read)
    batch = batch_of(list_of({**USUAL, "mood": 2}), reader)
    assert batch.read_fast == 1
    assert set(batch.drift) == {
        Drift("session_recordings", "mood", None, "integer"),
        Drift("persons", "id", "integer", "string"),
    }


def test_records_as_the_catalogue_expects_show_no_drift() -> None:
    """So an ordinary page costs no statement."""
    assert list(batch_of(list_of(USUAL), RecordingReader()).drift) == []


@given(st.lists(ANY_RECORDING | NEARLY_USUAL | NEARLY_USUAL_PERSONS, min_size=1, max_size=4))
@example([USUAL, {**USUAL, "id": "b", "distinct_id": "other"}, {**USUAL, "id": "c"}])
@example([{**USUAL, "start_time": "0001-01-01T00:00:00+14:00"}])
@example([{**USUAL, "start_time": "2026-05-01T12:00:00.1234567Z"}])
@example([{**USUAL, "start_time": "2026-05-01t12:00:00z"}])
@example([{**USUAL, "click_count": 2**63}, {**USUAL, "recording_duration": 10**30}])
@example([{**USUAL, "person": {**PERSON, "uuid": ADA + "\n"}}])
@example([{**USUAL, "person": {**PERSON, "properties": None}}, USUAL])
@example([{**USUAL, "person": MADE_UP}, {**USUAL, "person": {**MADE_UP, "properties": {"a": 1}}}])
@example([{**USUAL, "person": {**MADE_UP, "uuid": None}}, {**USUAL, "person": {}}])
@example([{**USUAL, "person": {**MADE_UP, "created_at": "2026-01-01T00:00:00Z"}}])
@example([{**USUAL, "person": {**PERSON, "uuid": None}}])
@example([{**USUAL, "person": {"uuid": ADA, "distinct_ids": ["d"], "properties": {}}}])
def test_both_ways_give_equal_rows_and_rejects(records: list[dict[str, Any]]) -> None:
    """For any records: the fast reader refuses what it would read differently."""
    first, learned, slow = batches_of(list_of(*records))
    assert by_value(first) == by_value(learned) == by_value(slow)


@pytest.mark.parametrize(
    "odd",
    [
        rb'{"id": "a", "email": "caf\xe9"}',
        rb'{"id": "a", "external_references": ["caf\xe9"]}',
        rb'{"id": "a", "caf\xe9": 1}',
        rb'{"id": "a", "external_references": "\u0000"}',
        rb'{"id": "a", "external_references": ["\ud83d"]}',
        rb'{"id": "a", "external_references": [NaN]}',
        rb'{"id": "a", "activity_score": 1e400}',
        rb'{"id": "a", "click_count": 12345678901234567890}',
        rb'{"id": "a", "id": "b", "click_count": 1, "click_count": 2}',
        rb'{"id": ""}',
        rb'{"id": 7}',
        rb"[1]",
        b'{"id": "a", "external_references": %b}' % (b"[" * DEEPEST + b"]" * DEEPEST),
        b'{"id": "a", "external_references": %b}' % (b"[" * 300 + b"]" * 300),
        rb'{"id": "a", "new": "\ud83d"}',
        rb'{"id": "a", "new": ["caf\xe9"]}',
        rb'{"id": "a", "n\u0065w": 1, "new": 2}',
        rb'{"id": "a", "new": [12345678901234567890123, 1.5e3]}',
        b'{"id": "a", "new": %b}' % (b"[" * DEEPEST + b"]" * DEEPEST),
        b'{"id": "a", "new": %b}' % (b"[" * 5000 + b"]" * 5000),
    ],
)
def test_odd_bytes_are_read_alike(odd: bytes) -> None:
    """Bad UTF-8, lone surrogates, invalid numbers, a repeated key, deep nesting."""
    odd = odd.replace(rb"\xe9", b"\xe9")
    usual = json.dumps(USUAL).encode()
    first, learned, slow = batches_of(b'{"results": [%b, %b], "next": null}' % (usual, odd))
    assert by_value(first) == by_value(learned) == by_value(slow)
    assert len(first.rows["session_recordings"]) + len(first.rejected) >= 1
