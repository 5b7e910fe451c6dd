"""Any record is loaded into Postgres and reads back equal, or is set aside with a reason.

What is expected is worked out here from the record as it was sent, column by column, and shares
no code with the transformer.
"""

from __future__ import annotations

import json
import math
import random
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.core.page import Page
from etl.extractors.protocol import parse_list
from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.leases import Leases, Unit
from etl.loaders.loader import Commit
from etl.loaders.postgres import PostgresLoader
from etl.loaders.tables import Tables
from etl.streams import SESSION_RECORDINGS, TABLE_SPECS
from etl.transformers.fields import DEEPEST
from etl.transformers.recordings import transform
from tests.fixtures.records import RECORDINGS

TABLES = Tables("posthog")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
OURS = ("extra", "_repaired")
BY_CONTENT = re.compile("sha:[0-9a-f]{32}")  # how a record without an id is known


# --- what is expected -------------------------------------------------------------------------


class Refused(Exception):
    """The record is to be set aside."""


def clean(value: Any) -> Any:
    """The value as Postgres can hold it."""
    if isinstance(value, str):
        return "".join(
            "\N{REPLACEMENT CHARACTER}" if char == "\0" or 0xD800 <= ord(char) < 0xE000 else char
            for char in value
        )
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return value


def is_dirty(value: Any) -> bool:
    """Whether there is something in the value that Postgres cannot hold."""
    if isinstance(value, dict):
        return any(is_dirty(key) or is_dirty(item) for key, item in value.items())
    if isinstance(value, list):
        return any(is_dirty(item) for item in value)
    return (isinstance(value, str) and clean(value) != value) or (
        isinstance(value, float) and clean(value) is None
    )


def text(value: Any) -> str:
    """Text as it is."""
    if isinstance(value, str):
        return value
    raise Refused


def whole(value: Any) -> int:
    """An integer that fits 64 bits, also written as 3.0 or as text."""
    if isinstance(value, str):
        if not value.isascii() or not value.removeprefix("-").isdigit():
            raise Refused
        value = int(value)
    if isinstance(value, bool) or value != int(value) or not -(2**63) <= value < 2**63:
        raise Refused
    return int(value)


def number(value: Any) -> float:
    """A finite number, also written as text."""
    if isinstance(value, str) and (not value.isascii() or "_" in value or value != value.strip()):
        raise Refused
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise Refused from None
    if not math.isfinite(found):
        raise Refused
    return found


def truth(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise Refused


def instant(value: Any) -> datetime:
    """An instant; without a zone it is in UTC."""
    for form in ("%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S"):
        for zone in ("%z", ""):
            try:
                at = datetime.strptime(value, form + zone)  # noqa: DTZ007 - some have none
                return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
            except (ValueError, OverflowError):
                continue
    raise Refused


def person_uuid(value: Any) -> str:
    """A UUID in its usual form."""
    digits = value.lower().replace("-", "")
    if len(digits) != 32 or set(digits) - set("0123456789abcdef"):
        raise Refused
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def texts(value: Any) -> list[str]:
    """A list of texts."""
    return [text(item) for item in value]


def as_is(value: Any) -> Any:
    """Any JSON."""
    return value


Reader = Callable[[Any], Any]
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
    "uuid": person_uuid, "id": whole, "name": text, "properties": as_is, "created_at": instant,
    "last_seen_at": instant, "is_identified": truth,
}  # fmt: skip
# A value that does not fit these is kept in `extra`, and the row loads.
FORGIVING = ("expiry_time", "recording_ttl", "persons.id")
# Null or absent in these says nothing, so it does not overwrite what is known.
SILENT_NULLS = {
    "session_recordings": {
        "activity_score", "viewers", "snapshot_library", "retention_period_days", "expiry_time",
        "recording_ttl", "storage", "external_references", "has_summary", "summary_outcome",
        "total_size", "event_count", "matches_filters", "matching_events", "email",
    },
    "persons": {"properties", "last_seen_at", "is_identified"},
    "person_distinct_ids": set(),
}  # fmt: skip


@dataclass
class Expected:
    """The tables after a page, by key, and what is set aside: by its id, else by its content."""

    tables: dict[str, dict[str, tuple[Any, dict[str, Any]]]] = field(
        default_factory=lambda: {name: {} for name in SILENT_NULLS}
    )
    set_aside: set[str] = field(default_factory=set)
    set_aside_without_id: set[str] = field(default_factory=set)

    def add(self, record: dict[str, Any]) -> None:
        """Take in the next record of the page."""
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
    """The rows of one record, with the rank by which it overrules others of the page."""
    if not sent["id"] or is_dirty(sent["id"]):
        raise Refused
    record = clean(sent)
    repaired = [clean(name) for name, value in sent.items() if is_dirty(name) or is_dirty(value)]
    row = columns_of(record, RECORDING_COLUMNS, skip=("person",))
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
    """PostHog's answer for a distinct id of nobody."""
    told = (person.get(name) for name in ("id", "name", "created_at"))
    return all(value is None for value in told) and not person.get("properties")


def person_rows(
    record: dict[str, Any], person: dict[str, Any], repaired: Sequence[str]
) -> list[tuple[str, str, dict[str, Any]]]:
    """The person and the distinct ids of a recording."""
    row = columns_of(person, PERSON_COLUMNS, skip=("distinct_ids",), table="persons.")
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


def columns_of(
    record: dict[str, Any], columns: dict[str, Reader], skip: tuple[str, ...], table: str = ""
) -> dict[str, Any]:
    """The columns of one object; what none of them is for is `extra`."""
    row: dict[str, Any] = {}
    extra = {key: item for key, item in record.items() if key not in columns and key not in skip}
    for name, read in columns.items():
        value = record.get(name)
        try:
            row[name] = None if value is None else read(value)
        except Refused:
            if table + name not in FORGIVING:
                raise
            row[name], extra[name] = None, value
    return {**row, "extra": extra or None}


# --- what is there ----------------------------------------------------------------------------


@dataclass
class Store:
    """A database that pages are loaded into, each for a project of its own."""

    database: Database
    connection: asyncpg.Connection[asyncpg.Record]
    projects: Iterator[int] = field(default_factory=lambda: count(1))

    async def load(self, *bodies: bytes) -> int:
        """Load list answers, one after the other, and return the project they are in."""
        project = next(self.projects)
        leases = Leases(self.database, TABLES, ttl_s=60)
        lease = await leases.acquire(
            Unit(project, SESSION_RECORDINGS.name), str(uuid.uuid4()), "sync"
        )
        loader = PostgresLoader(
            self.database, TABLES, SESSION_RECORDINGS.name, SESSION_RECORDINGS.resources[0]
        )
        for number, body in enumerate(bodies):
            listed = parse_list(body)
            observed_at = NOON + timedelta(seconds=number)
            page = Page(listed.records, listed.dirty, observed_at, len(body), {}, last=False)
            await loader.load(lease, transform(page), Commit(observed_at, {}, 1, len(body)))
        return project

    async def rows(self, table: str, project: int) -> list[dict[str, Any]]:
        """What is in a table of a project."""
        names = ", ".join(f'"{name}"' for name in TABLE_SPECS[table].columns)
        found = await self.connection.fetch(
            f"SELECT {names} FROM posthog.{table} WHERE project_id = $1", project
        )
        return [dict(row) for row in found]

    async def rejects(self, project: int) -> dict[str, asyncpg.Record]:
        """What is set aside, by key."""
        found = await self.connection.fetch(
            "SELECT * FROM posthog_etl.rejects WHERE project_id = $1", project
        )
        return {row["record_key"]: row for row in found}


@pytest_asyncio.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    """A migrated database, to load into."""
    database = Database(parse_database_url(dsn), Timeouts())
    connection = await asyncpg.connect(dsn)
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    yield Store(database, connection)
    await connection.close()
    await database.close()


def differences(expected: Any, found: Any) -> list[str]:
    """Where a row is not as expected; numbers inside JSON are equal by value."""
    return [
        f"{name}: {found[name]!r} instead of {expected[name]!r}"
        for name in expected.keys() | found.keys()
        if not equal(expected[name], found[name])
    ]


def equal(one: Any, other: Any) -> bool:
    """Whether two values are equal; a number read back as another type is the same number."""
    if isinstance(other, uuid.UUID):
        other = str(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, int | float):
        return one == float(other)
    return type(one) is type(other) and bool(one == other)


def body_of(records: Sequence[Any]) -> bytes:
    """The answer of a real server."""
    return json.dumps({"results": records, "has_next": False, "version": 4}).encode()


# --- the tests --------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.lists(RECORDINGS, min_size=1, max_size=3))
@example([{"id": "a", "recording_duration": "1_000"}])
@example([{"id": "a", "person_uuid": "not ours"}])
async def test_any_record_reads_back_equal_or_is_set_aside(
    store: Store, records: list[dict[str, Any]]
) -> None:
    """Column by column, in all three tables; nothing is lost, nothing is invented."""
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
    """Whether it loads or not depends on its depth alone; its neighbours load in any case."""
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
    """An id too long for an index is set aside, with the database's reason; the others load."""
    too_long = "".join(random.Random(5).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))
    records = [{"id": f"r{i}", "distinct_id": "d"} for i in range(10)]
    project = await store.load(body_of([*records[:4], {"id": too_long}, *records[4:]]))
    assert len(await store.rows("session_recordings", project)) == 10
    (reject,) = (await store.rejects(project)).values()
    assert reject["payload"] == {"id": too_long}
    assert reject["reason"].startswith("session_recordings: ")


async def test_silence_in_a_later_answer_overwrites_nothing(store: Store) -> None:
    """An older server, or an older form of the record, leaves out what a newer one told."""
    person = {"uuid": str(uuid.UUID(int=7)), "id": 1, "name": "Ada", "properties": {"plan": "pro"}}
    told = {"id": "a", "viewers": ["x@example.com"], "start_url": "/one", "person": person}
    later = {"id": "a", "start_url": None, "person": {**person, "name": "B", "properties": None}}
    project = await store.load(body_of([told]), body_of([later]))
    (recording,) = await store.rows("session_recordings", project)
    assert (recording["viewers"], recording["start_url"]) == (["x@example.com"], None)
    (row,) = await store.rows("persons", project)
    assert (row["name"], row["properties"]) == ("B", {"plan": "pro"})


async def test_a_distinct_id_moves_to_the_person_observed_with_it_last(store: Store) -> None:
    """Persons are merged and split; the row follows, and none is removed."""
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
    """A column that is added to a table is to be expected here as well."""
    columns = {
        "session_recordings": {*RECORDING_COLUMNS, "person_uuid", *OURS},
        "persons": {*PERSON_COLUMNS, *OURS},
        "person_distinct_ids": {"distinct_id", "person_uuid", *OURS},
    }
    assert {name: set(spec.columns) for name, spec in TABLE_SPECS.items()} == columns
    for name, spec in TABLE_SPECS.items():
        assert {f.name for f in spec.fields if f.null_keeps} == SILENT_NULLS[name]
