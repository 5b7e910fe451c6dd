"""The fast reader gives the same values as the reader by field, for all that it accepts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from etl.core.document import decode, decode_list
from etl.core.page import Batch, Page
from etl.core.stream import Kind
from etl.streams import TABLE_SPECS
from etl.transformers.fields import DEEPEST
from etl.transformers.recordings import read, transform
from tests.fixtures.records import INSTANTS, JSON
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


def batches_of(body: bytes) -> list[Batch]:
    """The batches of a list answer: from the bytes of its records, and from decoded records."""
    return [
        transform(Page(document["results"], dirty, NOON, len(body)))
        for document, dirty in (decode_list(body, read), decode(body))
    ]


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
    typed = read(Raw(json.dumps(USUAL).encode()))
    assert typed is not None
    assert (typed.key, typed.started_at) == ("a", NOON.replace(microsecond=123456))
    assert [table for table, _, _ in typed.rows] == [
        *["person_distinct_ids"] * 2,
        "persons",
        "session_recordings",
    ]


@given(st.lists(ANY_RECORDING | NEARLY_USUAL | NEARLY_USUAL_PERSONS, min_size=1, max_size=4))
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
    fast, slow = batches_of(json.dumps({"results": records, "has_next": False}).encode())
    assert by_value(fast) == by_value(slow)


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
        b'{"id": "a", "new": %b}' % (b"[" * 5000 + b"]" * 5000),
    ],
)
def test_odd_bytes_are_read_alike(odd: bytes) -> None:
    """Bad UTF-8, lone surrogates, invalid numbers, a repeated key, deep nesting."""
    odd = odd.replace(rb"\xe9", b"\xe9")
    usual = json.dumps(USUAL).encode()
    fast, slow = batches_of(b'{"results": [%b, %b], "next": null}' % (usual, odd))
    assert by_value(fast) == by_value(slow)
    assert len(fast.rows["session_recordings"]) + len(fast.rejected) >= 1
