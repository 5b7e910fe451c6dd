"""Any record loads into Postgres and reads back equal, or is rejected with a reason.

The expected values are computed here from the record as sent, column by column, without code of the
transformer.
"""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.streams import SESSION_RECORDINGS, TABLE_SPECS
from etl.transformers.fields import DEEPEST
from tests.fixtures.records import RECORDINGS
from tests.support.roundtrip import (
    NOON,
    Reader,
    Refused,
    Store,
    as_is,
    body_of,
    clean,
    columns_of,
    differences,
    instant,
    is_dirty,
    number,
    open_store,
    text,
    texts,
    truth,
    uuid_text,
    whole,
)

OURS = ("extra", "_repaired")
BY_CONTENT = re.compile("sha:[0-9a-f]{32}")  # the key of a reject without an id


# --- expected rows ----------------------------------------------------------------------------


RECORDING_COLUMNS: dict[str, Reader] = {
    "id": text, "distinct_id": text, "start_time": instant, "end_time": instant,
    "recording_duration": number, "active_seconds": number, "inactive_seconds": number,
    "click_count": whole, "keypress_count": whole, "mouse_activity_count": whole,
    "console_log_count": whole, "console_warn_count": whole, "console_error_count": whole,
    "start_url": text, "activity_score": number, "viewed": truth, "viewers": texts,
    "ongoing": truth, "snapshot_source": text, "snapshot_library": text,
    "retention_period_days": whole, "expiry_time": instant, "recording_ttl": whole,
    "storage": text, "external_references": as_is, "has_summary": truth,
    "summary_outcome": as_is, "total_size": whole, "event_count": whole,
    "matches_filters": truth, "matching_events": as_is, "email": text,
}  # fmt: skip
PERSON_COLUMNS: dict[str, Reader] = {
    "uuid": uuid_text, "id": whole, "name": text, "properties": as_is, "created_at": instant,
    "last_seen_at": instant, "is_identified": truth,
}  # fmt: skip
# If a value does not fit these columns, it is kept in `extra` and the row loads.
FORGIVING = ("expiry_time", "recording_ttl")
# Null or absence in these fields says nothing, so it overwrites nothing.
SILENT_NULLS = {
    "session_recordings": {
        "activity_score", "viewers", "snapshot_library", "retention_period_days", "expiry_time",
        "recording_ttl", "storage", "external_references", "has_summary", "summary_outcome",
        "total_size", "event_count", "matches_filters", "matching_events", "email", "ongoing",
    },
    "persons": {"id", "properties", "last_seen_at", "is_identified"},
    "person_distinct_ids": set(),
}  # fmt: skip


@dataclass
class Expected:
    """The tables after a page, by key; and the rejects, by id or else by content."""

    tables: dict[str, dict[str, tuple[Any, dict[str, Any]]]] = field(
        default_factory=lambda: {name: {} for name in SILENT_NULLS}
    )
    set_aside: set[str] = field(default_factory=set)
    set_aside_without_id: set[str] = field(default_factory=set)

    def add(self, record: dict[str, Any]) -> None:
        """Add the next record of the page."""
        try:
            rank, rows = rows_of(record)
        except Refused:
            if record["id"]:
                self.set_aside.add(clean(record["id"]))
            else:
                self.set_aside_without_id.add(json.dumps(clean(record)))
            return
        for table, key, row in rows:
            held_rank, held = self.tables[table].get(key, (rank, {}))
            (low, (best_rank, best)) = sorted(
                [(held_rank, held), (rank, row)], key=lambda pair: pair[0]
            )
            silent = SILENT_NULLS[table]
            filled = {
                name: low[1].get(name) if value is None and name in silent else value
                for name, value in best.items()
            }
            self.tables[table][key] = (best_rank, filled)


def rows_of(sent: dict[str, Any]) -> tuple[Any, list[tuple[str, str, dict[str, Any]]]]:
    """The rows of one record, with its rank among rows of the same key."""
    if not sent["id"] or is_dirty(sent["id"]):
        raise Refused
    record = clean(sent)
    repaired = [clean(name) for name, value in sent.items() if is_dirty(name) or is_dirty(value)]
    row = columns_of(record, RECORDING_COLUMNS, ("person",), FORGIVING)
    row |= {"person_uuid": None, "_repaired": repaired or None}
    started = row["start_time"]
    rank = (started is not None, started or NOON, row["id"])
    rows = [("session_recordings", row["id"], row)]
    person = record.get("person")
    if person is not None and not is_made_up(person):
        if person.get("uuid") is None:
            row["extra"] = {**(row["extra"] or {}), "person": person}
        else:
            rows += person_rows(record, person, repaired)
            row["person_uuid"] = rows[1][1]
    return rank, rows


def is_made_up(person: dict[str, Any]) -> bool:
    """PostHog's answer for a distinct id without a person."""
    told = (person.get(name) for name in ("id", "name", "created_at"))
    return all(value is None for value in told) and not person.get("properties")


def person_rows(
    record: dict[str, Any], person: dict[str, Any], repaired: Sequence[str]
) -> list[tuple[str, str, dict[str, Any]]]:
    """The person and the distinct ids of a recording."""
    row = columns_of(person, PERSON_COLUMNS, ("distinct_ids",), ("id",))
    row["_repaired"] = ["person"] if "person" in repaired else None
    ids = person.get("distinct_ids") or []
    ids = [ids] if isinstance(ids, str) else list(ids)
    if person.get("distinct_ids") == "":
        ids = [""]
    if record.get("distinct_id") is not None:
        ids.append(record["distinct_id"])
    marked = bool({"person", "distinct_id"} & set(repaired))
    return [
        ("persons", row["uuid"], row),
        *(
            (
                "person_distinct_ids",
                text(one),
                {
                    "distinct_id": one,
                    "person_uuid": row["uuid"],
                    "extra": None,
                    "_repaired": ["distinct_id"] if marked and "\ufffd" in one else None,
                },
            )
            for one in ids
        ),
    ]


@pytest_asyncio.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    """A migrated database to load into."""
    async with open_store(dsn) as opened:
        yield opened


# --- the tests --------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.lists(RECORDINGS, min_size=1, max_size=3))
@example([{"id": "a", "recording_duration": "1_000"}])
@example([{"id": "a", "person_uuid": "not ours"}])
async def test_any_record_reads_back_equal_or_is_set_aside(
    store: Store, records: list[dict[str, Any]]
) -> None:
    """Column by column, in all three tables; nothing is lost or invented."""
    expected = Expected()
    for record in records:
        expected.add(record)
    project = await store.load(body_of(records))
    for table, rows in expected.tables.items():
        spec = TABLE_SPECS[table]
        found = {str(row[spec.key[0]]): row for row in await store.rows(table, project)}
        assert found.keys() == rows.keys(), table
        for key, (_, row) in rows.items():
            assert differences(row, found[key]) == [], (table, key)
    rejects = await store.rejects(project)
    assert {key for key in rejects if not BY_CONTENT.fullmatch(key)} == expected.set_aside
    assert len(rejects) == len(expected.set_aside) + len(expected.set_aside_without_id)
    assert all(row["reason"] for row in rejects.values())


@pytest.mark.parametrize("depth", [100, 240, 260, 500, 980, 1010, 1100, 5000])
@pytest.mark.parametrize("place", ["start_url", "unknown", "person"])
@pytest.mark.parametrize("beside", ["", ', "y": NaN'], ids=["clean", "dirty"])
async def test_a_deeply_nested_record_costs_neither_the_page_nor_the_run(
    store: Store, depth: int, place: str, beside: str
) -> None:
    """Only its depth decides whether it loads; its neighbours load in any case."""
    nested = "[" * depth + "]" * depth
    value = f'{{"uuid": "{uuid.UUID(int=7)}", "id": 1, "x": {nested}}}'
    deep = f'{{"id": "deep", "{place}": {value if place == "person" else nested}{beside}}}'
    project = await store.load(f'{{"results": [{{"id": "a"}}, {deep}, {{"id": "c"}}]}}'.encode())
    ids = {row["id"] for row in await store.rows("session_recordings", project)}
    rejects = await store.rejects(project)
    if place != "start_url" and depth <= DEEPEST - 10:
        assert ids == {"a", "deep", "c"}
        assert rejects == {}
    else:
        assert ids == {"a", "c"}
        (reject,) = rejects.values()
        assert reject["reason"]
        assert reject["payload"]


async def test_what_only_postgres_notices_costs_one_record(store: Store) -> None:
    """An id too long for an index is rejected with the database's reason; the others load."""
    too_long = "".join(random.Random(5).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))
    records = [{"id": f"r{i}", "distinct_id": "d"} for i in range(10)]
    project = await store.load(body_of([*records[:4], {"id": too_long}, *records[4:]]))
    assert len(await store.rows("session_recordings", project)) == 10
    (reject,) = (await store.rejects(project)).values()
    assert reject["payload"] == {"id": too_long}
    assert reject["reason"].startswith("session_recordings: ")


async def test_silence_in_a_later_answer_overwrites_nothing(store: Store) -> None:
    """An older server, or an older form of the record, leaves out fields of a newer one."""
    person = {"uuid": str(uuid.UUID(int=7)), "id": 1, "name": "Ada", "properties": {"plan": "pro"}}
    told = {"id": "a", "viewers": ["x@example.com"], "start_url": "/one", "person": person}
    later = {"id": "a", "start_url": None, "person": {**person, "name": "B", "properties": None}}
    project = await store.load(body_of([told]), body_of([later]))
    (recording,) = await store.rows("session_recordings", project)
    assert (recording["viewers"], recording["start_url"]) == (["x@example.com"], None)
    (row,) = await store.rows("persons", project)
    assert (row["name"], row["properties"]) == ("B", {"plan": "pro"})


async def test_a_distinct_id_moves_to_the_person_observed_with_it_last(store: Store) -> None:
    """Persons are merged and split. The row changes its person and is not removed."""
    owners = [str(uuid.UUID(int=n)) for n in (1, 2)]
    bodies = [
        body_of([{"id": "a", "distinct_id": "d", "person": {"uuid": owner, "id": 1}}])
        for owner in owners
    ]
    project = await store.load(*bodies)
    (row,) = await store.rows("person_distinct_ids", project)
    assert str(row["person_uuid"]) == owners[1]
    assert len(await store.rows("persons", project)) == 2


def test_the_expectation_covers_every_column() -> None:
    """A new column of a table must be expected here too."""
    columns = {
        "session_recordings": {*RECORDING_COLUMNS, "person_uuid", *OURS},
        "persons": {*PERSON_COLUMNS, *OURS},
        "person_distinct_ids": {"distinct_id", "person_uuid", *OURS},
    }
    assert {spec.name: set(spec.columns) for spec in SESSION_RECORDINGS.tables} == columns
    for spec in SESSION_RECORDINGS.tables:
        assert {f.name for f in spec.fields if f.null_keeps} == SILENT_NULLS[spec.name]
