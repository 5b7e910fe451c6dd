"""Any answer loads into Postgres and reads back equal, or is rejected with a reason.

For all tables except those of recordings. The expected rows are computed here from the records as
sent. Loading the same answer again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core.stream import Kind, TableSpec
from etl.loaders.loader import Loaded
from etl.streams import SESSION_RECORDINGS, TABLE_SPECS
from etl.streams.groups import entries_of
from tests.fixtures.objects import ANSWERS, WEBHOOK, Sent
from tests.support.batches import RESOURCES
from tests.support.reduced import REDUCED
from tests.support.roundtrip import (
    READERS,
    Refused,
    Store,
    clean,
    columns_of,
    differences,
    is_dirty,
    open_store,
    whole,
)

USERS = {
    "subscriptions": ("created_by",),
    "insights": ("created_by", "last_modified_by"),
    "dashboards": ("created_by",),
    "dashboard_collaborators": ("user",),
    "event_definitions": ("created_by", "owner", "updated_by", "verified_by"),
    "property_definitions": ("updated_by", "verified_by"),
    "cohorts": ("created_by",),
    "session_recording_playlists": ("created_by", "last_modified_by"),
    "project_secret_api_keys": ("created_by",),
    "annotations": ("created_by",),
    "actions": ("created_by",),
    "feature_flags": ("created_by", "last_modified_by"),
    "surveys": ("created_by",),
    "experiments": ("created_by",),
    "comments": ("created_by",),
    "organization_members": ("user",),
    "activity_log": ("user",),
}
# The only text that is kept in a JSON field of a resource with secrets.
HEDGEHOG = dict.fromkeys(("color", "skin", "accessories", "fixed_direction"), Kind.TEXTS)
# Never kept, not even in rejects.
LEFT_OUT = {
    "insights": ("result", "hasMore"),
    "event_definitions": ("media_preview_urls",),
    "project_secret_api_keys": ("value",),
    "actions": ("creation_context",),
    "feature_flags": ("surveys", "features", "experiment_set_metadata"),
    "projects": ("api_token", "project_id"),
    "subscription_deliveries": ("content_snapshot", "ai_report"),
}
# The fields of their records that hold a user; there may be none.
WITH_SECRETS: Mapping[str, Sequence[str]] = {
    "subscriptions": ("created_by",),
    "project_secret_api_keys": ("created_by",),
    "projects": (),
    "activity_log": ("user",),
    "subscription_deliveries": (),
}

Key = tuple[str, ...]
Row = dict[str, Any]


@dataclass
class Expected:
    """The tables after an answer, by key; and the rejects, by key or else by content."""

    table: str
    tables: dict[str, dict[Key, Row]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    unnamed: set[str] = field(default_factory=set)

    def add(self, record: Any) -> None:
        """Add the next record. Of two rows with one key the later one stays."""
        try:
            rows = rows_of(self.table, record)
        except Refused:
            self._set_aside(record)
            return
        for table, row in rows:
            spec = TABLE_SPECS[table]
            held = self.tables.setdefault(table, {})
            key = tuple(str(row[name]) for name in spec.key)
            silent = {each.name for each in spec.fields if each.null_keeps}
            before = held.get(key, {})
            held[key] = {
                name: before.get(name) if value is None and name in silent else value
                for name, value in row.items()
            }

    def _set_aside(self, record: Any) -> None:
        record = clean(record)
        parts = [None]
        if isinstance(record, dict):
            parts = [record.get(name) for name in RESOURCES[self.table][1].key]
        if self.table == "sharing_configurations":
            parts = [str(part) for part in parts]
        is_name = all(isinstance(part, str | int) and not isinstance(part, bool) for part in parts)
        if is_name and parts != [""]:
            text = str(parts[0]) if len(parts) == 1 else json.dumps(parts, ensure_ascii=False)
            self.named.add(text)
        else:
            self.unnamed.add(json.dumps(record))


def rows_of(table: str, sent: Any) -> list[tuple[str, Row]]:
    """The rows of one record."""
    if not isinstance(sent, dict):
        raise Refused
    spec = TABLE_SPECS[table]
    key = [sent.get(name) for name in RESOURCES[table][1].key]
    if key == [""] or any(value is None or is_dirty(value) for value in key):
        raise Refused
    record = clean(sent)
    repaired = [clean(name) for name, value in sent.items() if is_dirty(name) or is_dirty(value)]
    if table == "sharing_configurations":
        return sharing_rows(record, repaired)
    if table == "persons":
        return person_rows(record, repaired)
    if table == "session_recording_playlist_items":
        record["recording_id"] = record.pop("id")
    rows, unknown = [], {}
    for name in USERS.get(table, ()):
        if (user := record.get(name)) is None:
            continue
        if isinstance(user, dict):
            if "hedgehog_config" in user:
                veiled = unknown_hidden(user["hedgehog_config"], HEDGEHOG)
                user = {**user, "hedgehog_config": veiled}
            row = table_row(TABLE_SPECS["users"], user)
            extra = row.pop("extra")
            if row["id"] is None:
                raise Refused
            if extra:
                unknown[name] = extra
            marks = [field for field, value in row.items() if name in repaired and marked(value)]
            rows.append(("users", {**row, "extra": None, "_repaired": marks or None}))
            record[name] = row["id"]
        else:
            record[name] = whole(user)
    row = table_row(spec, record)
    row["extra"] = {**(row["extra"] or {}), **unknown} or None
    return [*rows, (table, {**row, "_repaired": repaired or None})]


def marked(value: Any) -> bool:
    """Whether something in a value was replaced."""
    return "\ufffd" in json.dumps(value, ensure_ascii=False, default=str)


def table_row(spec: TableSpec, record: Mapping[str, Any]) -> Row:
    """The columns of an object, by their kinds."""
    columns = {each.name: READERS[each.kind] for each in spec.fields}
    return columns_of(record, columns, (), {each.name for each in spec.fields if each.lenient})


def sharing_rows(record: Row, repaired: Sequence[str]) -> list[tuple[str, Row]]:
    """The configuration and its passwords."""
    listed = record.pop("share_passwords", None)
    record["resource_id"] = str(record["resource_id"])
    token = record.pop("access_token", None)
    if token is not None and record.get("created_at") is not None:
        record["access_token_sha256"] = hashlib.sha256(token.encode()).hexdigest()
    row = table_row(TABLE_SPECS["sharing_configurations"], record)
    row["_repaired"] = [name for name in repaired if name != "share_passwords"] or None
    rows = [("sharing_configurations", row)]
    if isinstance(listed, str):
        listed = None if listed == "string" else json.loads(listed)
    is_marked = "share_passwords" in repaired or is_dirty(listed)
    given = {name: record[name] for name in ("resource_type", "resource_id")}
    for each in clean(listed or []):
        row = table_row(TABLE_SPECS["share_passwords"], {**each, "id": str(each["id"]), **given})
        row["_repaired"] = ["share_passwords"] if is_marked else None
        rows.append(("share_passwords", row))
    return rows


def person_rows(record: Row, repaired: Sequence[str]) -> list[tuple[str, Row]]:
    """The person and the distinct ids, as a recording with this person gives them."""
    ids = record.pop("distinct_ids", None)
    ids = [ids] if isinstance(ids, str) else READERS[Kind.TEXTS]([] if ids is None else ids)
    row = table_row(TABLE_SPECS["persons"], record)
    rows = [("persons", {**row, "_repaired": ["person"] if repaired else None})]
    for each in ids:
        is_marked = "distinct_ids" in repaired and marked(each)
        given = {"distinct_id": each, "person_uuid": row["uuid"], "extra": None}
        given["_repaired"] = ["distinct_id"] if is_marked else None
        rows.append(("person_distinct_ids", given))
    return rows


def without_secrets(table: str, record: Any) -> Any:
    """The part of a record that may be stored."""
    if not isinstance(record, dict):
        if table in WITH_SECRETS:
            return hashed(record)
        return record
    record = {name: item for name, item in record.items() if name not in LEFT_OUT.get(table, ())}
    if table in REDUCED:
        record = REDUCED[table](record)
    target = record.get("target_value")
    if table == "subscriptions" and target not in (None, ""):
        is_plain = record.get("target_type") in ("email", "slack") and isinstance(target, str)
        if not is_plain or WEBHOOK in target or "/" in target:
            record["target_value"] = hashed(target)
    if table in WITH_SECRETS:
        known = {**shape(table), **dict.fromkeys(WITH_SECRETS[table], shape("users"))}
        record = {name: unknown_hidden(item, known.get(name)) for name, item in record.items()}
    if table == "sharing_configurations":
        listed = record.get("share_passwords")
        if isinstance(listed, str) and listed != "string":
            record["share_passwords"] = json.loads(listed)
        known = {**shape(table), "access_token": Kind.TEXT, "share_passwords": Kind.TEXT}
        if isinstance(record.get("share_passwords"), list):
            known["share_passwords"] = shape("share_passwords")
        record = {name: unknown_hidden(item, known.get(name)) for name, item in record.items()}
    if table == "session_recording_playlist_items":
        record = {name: record[name] for name in ("id", "short_id") if name in record}
    if table == "cohort_members":
        record = {"person_uuid": record["uuid"] if "uuid" in record else record.get("id")}
    if table == "group_related":
        shown, of_person = record.get("id"), record.get("type") == "person"
        record = {
            "related_type_index": -1 if of_person else record.get("group_type_index"),
            "related_id": shown,
            **({"person_uuid": shown} if of_person else {}),
        }
    if table in ("cohort_members", "group_related"):
        # Not even in a reject.
        record = {name: each for name, each in record.items() if type(each) in (str, int, float)}
    if table == "persons":
        actor = ("type", "matched_recordings", "value_at_data_point")
        record = {name: item for name, item in record.items() if name not in actor}
        if isinstance(record.get("id"), str) and record["id"] == record.get("uuid"):
            del record["id"]
    if table == "cohorts" and "filters" in record:
        record["filters"] = without(
            record["filters"], "bytecode", "bytecode_error", "conditionHash"
        )
    if table.endswith("_values"):
        value = record.pop("name")
        is_text = isinstance(value, str)
        record["value"] = value if is_text else json.dumps(value, separators=(",", ":"))
    return record


def without(value: Any, *names: str) -> Any:
    """The value without these names, wherever they stand."""
    if isinstance(value, list):
        return [without(each, *names) for each in value]
    if isinstance(value, dict):
        return {name: without(each, *names) for name, each in value.items() if name not in names}
    return value


def hashed(value: Any) -> str:
    """A secret as it is stored."""
    if not isinstance(value, str):
        value = json.dumps(clean(value), separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def shape(table: str) -> dict[str, Any]:
    """The names that a record of a table may have, with their kinds; none for a JSON field."""
    kinds = {each.name: each.kind for each in TABLE_SPECS[table].fields}
    named = dict.fromkeys(("type", "action", "field"), Kind.TEXTS)
    detail = {**dict.fromkeys(("name", "short_id", "type"), Kind.TEXTS), "changes": named}
    inside = {
        "hedgehog_config": HEDGEHOG,
        "detail": detail if table == "activity_log" else {},
        "error": dict.fromkeys(("type", "code"), Kind.TEXTS),
    }
    return {
        name: inside.get(name, {}) if kind is Kind.JSON else kind for name, kind in kinds.items()
    }


def unknown_hidden(value: Any, known: Any) -> Any:
    """The value with hash and length instead of each text under an unknown name."""
    if isinstance(value, list):
        inner = known if known is Kind.TEXTS or isinstance(known, dict) else None
        return [unknown_hidden(each, inner) for each in value]
    if isinstance(value, dict):
        names = known if isinstance(known, dict) else {}
        return {name: unknown_hidden(each, names.get(name)) for name, each in value.items()}
    if value == "" or not isinstance(value, str) or isinstance(known, Kind):
        return value
    is_id = isinstance(known, dict) and "id" in known and re.fullmatch("[0-9]+", value)
    if is_id or re.fullmatch("sha256:[0-9a-f]{64}(:[0-9]+)?", value):
        return value
    return f"{hashed(value)}:{len(value)}"


def records_of(table: str, sent: Sent) -> list[Any]:
    """The records of an answer with the fields they are given, without secrets."""
    records = list(sent.records)
    if table == "group_activity":
        # How the hash is computed is not tested here.
        records = entries_of(records) or []
    return [
        {**without_secrets(table, each), **sent.parent}
        if isinstance(each, dict)
        else without_secrets(table, each)
        for each in records
    ]


@pytest_asyncio.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    """A migrated database to load into."""
    async with open_store(dsn) as opened:
        yield opened


@pytest.mark.parametrize("table", ANSWERS)
@settings(max_examples=15)
@given(data=st.data())
async def test_any_answer_reads_back_equal_or_is_set_aside(
    store: Store, table: str, data: st.DataObject
) -> None:
    """Column by column, in all its tables. Loading the same answer again changes nothing."""
    sent = data.draw(ANSWERS[table])
    stream, resource = RESOURCES[table]
    expected = Expected(table)
    for record in records_of(table, sent):
        expected.add(record)
    body = json.dumps(sent.answer).encode()
    project = await store.load(body, body, stream=stream, resource=resource, parent=sent.parent)
    for spec in resource.tables:
        rows = expected.tables.get(spec.name, {})
        found = {
            tuple(str(row[name]) for name in spec.key): row
            for row in await store.rows(spec.name, project)
        }
        assert found.keys() == rows.keys(), spec.name
        for key, row in rows.items():
            assert differences(row, found[key]) == [], (spec.name, key)
    rejects = await store.rejects(project)
    assert {key for key in rejects if not key.startswith("sha:")} == expected.named
    assert len(rejects) == len(expected.named) + len(expected.unnamed)
    assert all(row["reason"] for row in rejects.values())
    first, again = store.loaded
    assert first.inserted == sum(map(len, expected.tables.values()))
    assert (first.rejected, again) == (len(rejects), Loaded())


async def test_a_password_that_is_no_longer_listed_is_gone(store: Store) -> None:
    """PostHog lists only active ones. An answer without the list changes nothing."""
    stream, resource = RESOURCES["sharing_configurations"]
    both = {"enabled": True, "share_passwords": [{"id": 1}, {"id": 2}]}
    answers = [both, {**both, "share_passwords": [{"id": 2}]}, {"enabled": True}]
    project = await store.load(
        *(json.dumps(answer).encode() for answer in answers),
        stream=stream,
        resource=resource,
        parent={"resource_type": "insight", "resource_id": 14},
    )
    found = await store.connection.fetch(
        "SELECT id FROM posthog.share_passwords WHERE project_id = $1 AND _deleted_at IS NULL",
        project,
    )
    assert [row["id"] for row in found] == ["2"]
    assert store.loaded[2] == Loaded()


def test_every_table_is_tried() -> None:
    """A new stream needs a strategy for its answers."""
    tables = {spec.name for _, resource in RESOURCES.values() for spec in resource.tables}
    assert set(ANSWERS) == set(RESOURCES)
    assert tables | {spec.name for spec in SESSION_RECORDINGS.tables} == set(TABLE_SPECS)
