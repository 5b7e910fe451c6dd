"""All streams except recordings and sharing: objects become rows, with the users they name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.document import Unreadable
from etl.core.page import Batch
from etl.errors import SourceUnavailable
from etl.streams import STREAMS
from etl.streams.groups import definitions_of, entries_of, values_of
from etl.transformers.fields import DEEPEST
from etl.transformers.secrets import withhold
from tests.fixtures.records import JSON
from tests.support.batches import RESOURCES, batch_of, batch_of_answer, rows_of

NOON_TEXT, NOON = "2026-05-04T12:00:00Z", datetime(2026, 5, 4, 12, tzinfo=UTC)
UUID_TEXT = "0195e5a0-1b2c-7d3e-8f40-5a6b7c8d9e0f"
ADA = {
    "id": 7,
    "uuid": UUID_TEXT,
    "distinct_id": "ada",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "ada@example.com",
    "is_email_verified": True,
    "hedgehog_config": {"color": "red"},
    "role_at_organization": "engineering",
}
WEBHOOK = "https://hooks.example.com/services/T0/B0/xyzzy-plugh"
KEY = "phs_0123456789abcdefXYZZY"
SECRETS = (WEBHOOK, KEY, "xyzzy", "XYZZY")
HASHED = r"sha256:[0-9a-f]{64}"

SUBSCRIPTION = {
    "id": 1,
    "dashboard": None,
    "insight": 14,
    "target_type": "email",
    "target_value": "ada@example.com,bob@example.com",
    "frequency": "weekly",
    "interval": 2,
    "byweekday": ["monday"],
    "bysetpos": None,
    "count": None,
    "start_date": NOON_TEXT,
    "until_date": None,
    "created_at": NOON_TEXT,
    "created_by": ADA,
    "deleted": False,
    "title": "Weekly",
    "summary": "sent every 2 weeks on Monday",
    "next_delivery_date": NOON_TEXT,
    "invite_message": None,
}
SECRET_KEY = {
    "id": "k1",
    "label": "deploy",
    "value": None,
    "mask_value": "phs_...9xyz",
    "created_at": NOON_TEXT,
    "last_used_at": NOON_TEXT,
    "last_rolled_at": None,
    "created_by": 7,
    "scopes": ["endpoint:read"],
}

# Table, the fields given to each record, the answer, and its rows without nulls.
ANSWERS: dict[str, tuple[str, dict[str, Any], Any, list[dict[str, Any]]]] = {
    "a group type": (
        "group_types",
        {},
        [
            {
                "group_type": "company",
                "group_type_index": 0,
                "name_singular": None,
                "name_plural": "Companies",
                "detail_dashboard": 5,
                "default_columns": ["group_name"],
                "created_at": NOON_TEXT,
            }
        ],
        [
            {
                "group_type": "company",
                "group_type_index": 0,
                "name_plural": "Companies",
                "detail_dashboard": 5,
                "default_columns": ["group_name"],
                "created_at": NOON,
            }
        ],
    ),
    "a group type of an older server": (
        "group_types",
        {},
        [{"group_type": "company", "group_type_index": 0}],
        [{"group_type": "company", "group_type_index": 0}],
    ),
    "a group": (
        "groups",
        {"group_type_index": 0},
        {
            "next": None,
            "previous": None,
            "results": [
                {
                    "group_type_index": 0,
                    "group_key": "acme",
                    "group_properties": {"plan": "pro"},
                    "created_at": NOON_TEXT,
                    "notebook": "nb1",
                }
            ],
        },
        [
            {
                "group_type_index": 0,
                "group_key": "acme",
                "group_properties": {"plan": "pro"},
                "created_at": NOON,
                "notebook": "nb1",
            }
        ],
    ),
    "definitions by type": (
        "group_property_definitions",
        {},
        {"0": [{"name": "plan", "count": 3}], "1": [], "2": [{"name": "plan", "count": "4"}]},
        [
            {"group_type_index": 0, "name": "plan", "count": 3},
            {"group_type_index": 2, "name": "plan", "count": 4},
        ],
    ),
    "values with counts": (
        "group_property_values",
        {"group_type_index": 0, "key": "plan"},
        {"results": [{"name": "pro", "count": 3}, {"name": "", "count": 1}], "refreshing": False},
        [
            {"group_type_index": 0, "key": "plan", "value": "pro", "count": 3},
            {"group_type_index": 0, "key": "plan", "value": "", "count": 1},
        ],
    ),
    "values in a bare array": (
        "group_property_values",
        {"group_type_index": 0, "key": "plan"},
        ["pro", 3],
        [
            {"group_type_index": 0, "key": "plan", "value": "pro"},
            {"group_type_index": 0, "key": "plan", "value": "3"},
        ],
    ),
    "an entry of the activity log": (
        "group_activity",
        {"group_type_index": 0, "group_key": "acme"},
        {
            "results": [
                {
                    "user": {"first_name": "Ada"},
                    "activity": "update_property",
                    "scope": "Group",
                    "item_id": 4,
                    "detail": {"changes": []},
                    "created_at": NOON_TEXT,
                    "unread": True,
                    "entry": "theirs",
                }
            ]
        },
        [
            {
                "group_type_index": 0,
                "group_key": "acme",
                "entry": "sha256:1d6a",
                "user": {"first_name": "Ada"},
                "activity": "update_property",
                "scope": "Group",
                "detail": {"changes": []},
                "created_at": NOON,
                "unread": True,
                "extra": {"item_id": 4},
            }
        ],
    ),
    "an insight with its results": (
        "insights",
        {},
        {
            "results": [
                {
                    "id": 14,
                    "short_id": "ab12",
                    "name": "",
                    "derived_name": "Pageviews",
                    "query": {"kind": "TrendsQuery"},
                    "dashboards": [1, 2],
                    "tags": ["a"],
                    "deleted": False,
                    "created_by": ADA,
                    "last_modified_by": 8,
                    "result": [{"data": [1]}],
                    "hasMore": False,
                    "is_sample": True,
                }
            ]
        },
        [
            {
                "id": 14,
                "short_id": "ab12",
                "name": "",
                "derived_name": "Pageviews",
                "query": {"kind": "TrendsQuery"},
                "dashboards": [1, 2],
                "tags": ["a"],
                "deleted": False,
                "created_by": 7,
                "last_modified_by": 8,
                "extra": {"is_sample": True},
            }
        ],
    ),
    "a playlist": (
        "session_recording_playlists",
        {},
        {"results": [{"short_id": "p1", "id": UUID_TEXT, "type": "collection", "created_by": 7}]},
        [{"short_id": "p1", "type": "collection", "created_by": 7, "extra": {"id": UUID_TEXT}}],
    ),
    "what is in a playlist": (
        "session_recording_playlist_items",
        {"short_id": "p1"},
        {"results": [{"id": "r1", "recording_id": "no", "person": {"id": 1}}], "has_next": False},
        [{"short_id": "p1", "recording_id": "r1"}],
    ),
    "session properties": (
        "session_property_definitions",
        {},
        {
            "count": 1,
            "results": [
                {
                    "id": "$channel_type",
                    "name": "$channel_type",
                    "is_numerical": False,
                    "property_type": "String",
                    "is_seen_on_filtered_events": None,
                    "tags": [],
                }
            ],
        },
        [
            {
                "id": "$channel_type",
                "name": "$channel_type",
                "is_numerical": False,
                "property_type": "String",
                "tags": [],
            }
        ],
    ),
    "values of a session property": (
        "session_property_values",
        {"key": "$is_bounce"},
        {"results": [{"name": True}, {"name": "Direct"}], "refreshing": False},
        [{"key": "$is_bounce", "value": "true"}, {"key": "$is_bounce", "value": "Direct"}],
    ),
    "values of a session property in a bare array": (
        "session_property_values",
        {"key": "$is_bounce"},
        [{"name": "Direct"}],
        [{"key": "$is_bounce", "value": "Direct"}],
    ),
}


def one(table: str, record: Any, *, dirty: bool = False) -> Batch:
    """The batch of a single record."""
    return batch_of(RESOURCES[table][1], [record], {}, dirty=dirty)


def nested(levels: int) -> Any:
    """A list inside this many lists."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("name", ANSWERS)
def test_a_documented_answer_becomes_rows(name: str) -> None:
    """In each of its versions; no record is rejected."""
    table, parent, document, expected = ANSWERS[name]
    batch = batch_of_answer(RESOURCES[table][1], json.dumps(document).encode(), parent)
    rows = rows_of(batch, table)
    if table == "group_activity":
        assert rows[0]["entry"].startswith("sha256:")
        rows[0]["entry"] = expected[0]["entry"]
    assert (rows, batch.rejected) == (expected, [])


@pytest.mark.parametrize(
    ("created_by", "expected", "users"),
    [
        (ADA, 7, [ADA]),
        ({"id": "7"}, 7, [{"id": 7}]),
        (7, 7, []),
        ("7", 7, []),
        (None, None, []),
    ],
    ids=["an object", "an object with little in it", "an id", "an id as text", "nobody"],
)
@pytest.mark.parametrize("table", ["subscriptions", "project_secret_api_keys", "insights"])
def test_a_user_comes_as_object_id_or_null(
    table: str, created_by: Any, expected: int | None, users: list[dict[str, Any]]
) -> None:
    """The column has the id. Only an object becomes a row of its own."""
    batch = one(table, {"id": "1" if table.startswith("project") else 1, "created_by": created_by})
    (row,) = rows_of(batch, table)
    assert row.get("created_by") == expected
    assert rows_of(batch, "users") == users


def test_a_users_unknown_fields_stay_with_the_record_that_shows_them() -> None:
    """Several streams show a user, some with fewer fields; the user's row must stay the same."""
    batch = one("subscriptions", {"id": 1, "created_by": {**ADA, "new": 1}})
    assert rows_of(batch, "users") == [ADA]
    (row,) = rows_of(batch, "subscriptions")
    assert row["extra"] == {"created_by": {"new": 1}}


def test_a_user_that_was_repaired_is_marked_by_its_own_fields() -> None:
    """Not by the field of the record that named it."""
    user = {**ADA, "first_name": "A\0", "email": None}
    record = {"id": 1, "created_by": user, "last_modified_by": user}
    batch = one("insights", record, dirty=True)
    (row,) = rows_of(batch, "users")
    assert row["_repaired"] == ["first_name"]
    (row,) = rows_of(batch, "insights")
    assert row["_repaired"] == ["created_by", "last_modified_by"]


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ({"email": "x@example.com"}, "created_by: id: missing"),
        ({"id": 7, "uuid": "none"}, "created_by: uuid: expected a UUID, got 'none'"),
        (True, "created_by: expected a 64-bit integer, got True"),
        ({"id": "Ada"}, "created_by: id: expected a 64-bit integer, got 'Ada'"),
    ],
)
def test_a_user_that_cannot_be_stored_costs_its_record(user: Any, reason: str) -> None:
    """And the user has no row."""
    batch = one("subscriptions", {**SUBSCRIPTION, "created_by": user})
    assert [item.reason for item in batch.rejected] == [reason]
    assert batch.rows == {"subscriptions": [], "users": []}


def test_what_is_left_out_of_an_insight_takes_no_part_in_anything() -> None:
    """Results change by themselves and may have megabytes: they are not stored and mark nothing."""
    clean = {"id": 14, "name": "a"}
    for result in ("a\0b", nested(DEEPEST + 5), [1]):
        batch = one("insights", {**clean, "result": result}, dirty=True)
        assert rows_of(batch, "insights") == [clean]
    batch = one("insights", {**clean, "result": [1], "saved": "perhaps"})
    assert batch.rejected[0].payload == {**clean, "saved": "perhaps"}


@pytest.mark.parametrize(
    "value", ["", "a", 0, 3, 1.5, True, False, None, 10**30, ["a", 1], {"b": []}]
)
@pytest.mark.parametrize("bare", [False, True], ids=["in an object", "bare"])
def test_any_json_is_a_value(value: Any, bare: bool) -> None:
    """Text unchanged, also empty text; anything else as JSON."""
    document = [value] if bare and not isinstance(value, dict) else [{"name": value, "count": 2}]
    resource = RESOURCES["group_property_values"][1]
    parent = {"group_type_index": 0, "key": "plan"}
    batch = batch_of_answer(resource, json.dumps(document).encode(), parent)
    ((row,), rejected) = rows_of(batch, "group_property_values"), batch.rejected
    assert rejected == []
    assert (row["value"] if isinstance(value, str) else json.loads(row["value"])) == value


def test_what_is_no_value_is_set_aside_alone() -> None:
    """Without a name, nested too deeply, or not JSON. The others load."""
    broken = Unreadable("{x", "not JSON")
    records = values_of([{"count": 2}, {"name": nested(400)}, nested(400), broken, "good"])
    assert records is not None
    resource, parent = RESOURCES["session_property_values"][1], {"key": "k"}
    batch = batch_of(resource, records, parent)
    assert rows_of(batch, "session_property_values") == [{"key": "k", "value": "good"}]
    reasons = [item.reason.split(",")[0] for item in batch.rejected]
    assert reasons == ["value: missing", "value: missing", "expected an object", "not JSON"]


def test_an_answer_in_another_form_is_no_list() -> None:
    """So it is asked for again, and not taken for an empty list."""
    for document in (3, "a", None, {"results": {}}, {"detail": "Not found."}):
        assert values_of(document) is entries_of(document) is None
    for document in (3, "a", None, [], {"detail": "Not found."}):
        assert definitions_of(document) is None
    with pytest.raises(SourceUnavailable):
        batch_of_answer(RESOURCES["groups"][1], b'{"results": 3}', {})


def test_entries_of_the_log_are_told_apart_by_what_happened() -> None:
    """Not by who has read it since. An entry nested too deeply has a key too."""
    entry = {"created_at": NOON_TEXT, "activity": "a", "detail": {"x": nested(400)}}
    other = {**entry, "created_at": "2026-05-04T12:00:01Z"}
    records = entries_of([entry, {**entry, "unread": True}, other])
    assert records is not None
    one, again, another = (record["entry"] for record in records)
    assert one == again != another


@pytest.mark.parametrize(
    ("table", "parent", "records"),
    [
        ("group_property_definitions", {}, definitions_of({"0": [{"name": "a", "count": "x"}]})),
        ("groups", {"group_type_index": 0}, [{"group_key": "a", "created_at": "x"}]),
        ("subscriptions", {}, [{"id": 5, "deleted": "x"}]),
        (
            "group_property_values",
            {"group_type_index": 0, "key": "k"},
            [{"value": "", "count": "x"}],
        ),
    ],
)
def test_a_record_set_aside_is_known_by_the_key_its_row_would_have(
    table: str, parent: dict[str, Any], records: list[dict[str, Any]]
) -> None:
    """So the stored row counts as seen, and the reject is resolved when the record loads."""
    resource = RESOURCES[table][1]
    (item,) = batch_of(resource, records, parent).rejected
    wrong = {"count", "created_at", "deleted"}
    good = [{k: v for k, v in record.items() if k not in wrong} for record in records]
    (row,) = batch_of(resource, good, parent).rows[table]
    assert item.key == resource.row_key(row)


# --- secrets ----------------------------------------------------------------------------------


def leaks(batch: Batch) -> list[str]:
    """The secrets that can still be found in anything that is stored."""
    seen = repr(batch)
    return [secret for secret in SECRETS if secret in seen]


BAD = {"deleted": "perhaps"}
HOOKS: dict[str, dict[str, Any]] = {
    "as documented": {"target_type": "webhook", "target_value": WEBHOOK},
    "without a type": {"target_value": WEBHOOK},
    "of an unknown type": {"target_type": "teams", "target_value": WEBHOOK},
    "of a type that is no text": {"target_type": ["email"], "target_value": WEBHOOK},
    "under a wrong type": {"target_type": "slack", "target_value": WEBHOOK},
    "without a scheme": {"target_type": "slack", "target_value": WEBHOOK.removeprefix("https://")},
    "as an object": {"target_type": "email", "target_value": {"url": WEBHOOK}},
    "as a list": {"target_type": "webhook", "target_value": [[WEBHOOK]]},
    "as a name": {"target_type": "webhook", "target_value": {WEBHOOK: 1}},
    "very deep": {"target_type": "webhook", "target_value": [WEBHOOK, nested(900)]},
    "in a field of another name": {
        "target_type": "webhook",
        "target_value": WEBHOOK,
        "target": {"label": f"to {WEBHOOK}", WEBHOOK: True},
        "summary": f"sent to {WEBHOOK}",
    },
    "in an object": {"integration": {"target_type": "webhook", "target_value": WEBHOOK}},
    "with what is no Unicode": {"target_type": "webhook", "target_value": WEBHOOK + "\ud800\0"},
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("wrong", [{}, BAD, {"id": None}], ids=["", "rejected", "without an id"])
@pytest.mark.parametrize("dirty", [False, True], ids=["clean", "dirty"])
def test_the_address_of_a_webhook_is_nowhere(name: str, wrong: dict[str, Any], dirty: bool) -> None:
    """Not in a row, not in `extra`, not in rejects, not in the reason."""
    batch = one("subscriptions", {**SUBSCRIPTION, **HOOKS[name], **wrong}, dirty=dirty)
    assert leaks(batch) == []
    assert bool(batch.rejected) == (bool(wrong) or name == "of a type that is no text")
    assert len(batch.rows["subscriptions"]) + len(batch.rejected) == 1


def test_a_webhook_is_told_from_another_by_its_hash() -> None:
    """Everything that is not secret is kept: recipients of emails, and the channel."""
    resource = RESOURCES["subscriptions"][1]
    targets = [
        ("webhook", WEBHOOK),
        ("webhook", WEBHOOK),
        ("webhook", WEBHOOK + "2"),
        ("email", "a@example.com"),
        ("slack", "C123|#name"),
        ("webhook", ""),
        ("webhook", None),
    ]
    records = [
        {"id": at, "target_type": kind, "target_value": to} for at, (kind, to) in enumerate(targets)
    ]
    rows = rows_of(batch_of(resource, records, {}), "subscriptions")
    stored = [row.get("target_value") for row in rows]
    assert stored[0] == stored[1] != stored[2]
    assert stored[3:] == ["a@example.com", "C123|#name", "", None]


def test_a_user_keeps_the_email_that_a_subscription_goes_to() -> None:
    """Also if no type says that it is an email; then its hash is stored for the target."""
    batch = one("subscriptions", {"id": 1, "target_value": ADA["email"], "created_by": ADA})
    assert rows_of(batch, "users") == [ADA]


KEYS: dict[str, dict[str, Any]] = {
    "as documented": {"value": KEY},
    "as an object": {"value": {"key": KEY}},
    "in a list": {"value": [KEY]},
    "in an object": {"rolled": {"value": KEY, "mask_value": "phs_..."}},
    "in another field": {"value": KEY, "curl": f"curl -H 'Authorization: Bearer {KEY}'"},
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("wrong", [{}, {"scopes": 3}, {"id": None}], ids=["", "rejected", "no id"])
def test_the_value_of_a_secret_key_is_nowhere(name: str, wrong: dict[str, Any]) -> None:
    """Only the part that PostHog itself shows."""
    batch = one("project_secret_api_keys", {**SECRET_KEY, **KEYS[name], **wrong})
    assert leaks(batch) == []
    assert bool(batch.rejected) == bool(wrong)
    if not wrong:
        (row,) = rows_of(batch, "project_secret_api_keys")
        assert row["mask_value"] == "phs_...9xyz"
        assert "sha256:" in str(row.get("extra", "sha256:")) or "rolled" in row["extra"]


@pytest.mark.parametrize(
    ("table", "secret"), [("subscriptions", WEBHOOK), ("project_secret_api_keys", KEY)]
)
def test_of_what_is_no_object_only_a_hash_is_set_aside(table: str, secret: str) -> None:
    """It has no fields. Its key is a hash of its content, which is the same in a replay."""
    resource = RESOURCES[table][1]
    others = [secret, [{"value": secret}], Unreadable(f'{{"value": "{secret}"', "not JSON"), None]
    batch = batch_of(resource, others, {})
    assert leaks(batch) == []
    assert len({item.key for item in batch.rejected}) == len(others)
    again = batch_of(resource, [item.payload for item in batch.rejected], {}, dirty=True)
    assert [item.key for item in again.rejected] == [item.key for item in batch.rejected]


# Any JSON around a secret, in places where secrets occur.
HIDEOUTS = st.recursive(
    JSON | st.just(WEBHOOK) | st.just(KEY),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(sorted(SUBSCRIPTION)), JSON, max_size=4),
    HIDEOUTS,
    st.sampled_from(["webhook", "email", "slack", None, 3]),
)
def test_no_webhook_is_stored_whatever_else_a_subscription_holds(
    others: dict[str, Any], target: Any, kind: Any
) -> None:
    """A second pass changes nothing."""
    record = {**SUBSCRIPTION, **others, "target_type": kind, "target_value": target}
    secrets = RESOURCES["subscriptions"][1].secrets
    assert secrets is not None
    once = withhold(record, secrets)
    assert repr(withhold(once, secrets)) == repr(once)
    batch = one("subscriptions", record, dirty=True)
    assert WEBHOOK not in repr(batch)
    assert len(batch.rejected) + len(batch.rows["subscriptions"]) == 1


@given(st.dictionaries(st.sampled_from(sorted(SECRET_KEY)), JSON, max_size=4), HIDEOUTS)
def test_no_secret_key_is_stored_whatever_else_its_record_holds(
    others: dict[str, Any], value: Any
) -> None:
    """A second pass changes nothing."""
    record = {**SECRET_KEY, **others, "value": value, "more": {"value": value, "old": [value]}}
    secrets = RESOURCES["project_secret_api_keys"][1].secrets
    assert secrets is not None
    once = withhold(record, secrets)
    assert repr(withhold(once, secrets)) == repr(once)
    batch = one("project_secret_api_keys", record, dirty=True)
    assert KEY not in repr(batch)


@given(st.sampled_from(sorted(RESOURCES)), st.lists(JSON, max_size=5))
def test_any_json_is_a_row_or_set_aside(table: str, records: list[Any]) -> None:
    """Nothing raises, whatever a server sends."""
    resource = RESOURCES[table][1]
    parents = resource.parents
    parent = {} if parents is None else dict.fromkeys((*parents.fields, *parents.constant), "1")
    found = resource.records(records) or []
    batch = batch_of(resource, found, parent, dirty=True)
    assert len(batch.rows[table]) + len(batch.rejected) <= len(found)
    assert set(range(len(found))) >= set(batch.origins[table])


def test_only_what_is_known_to_move_by_itself_is_volatile() -> None:
    """A volatile field that is not marked makes every sync write; one too many hides changes."""
    volatile = {
        spec.name: {field.name for field in spec.fields if field.volatile}
        for stream in STREAMS.values()
        for spec in stream.tables
        if stream.name != "session_recordings"
    }
    assert {name: fields for name, fields in volatile.items() if fields} == {
        "persons": {"last_seen_at"},
        "subscriptions": {"next_delivery_date", "summary"},
        "groups": {"notebook"},
        "group_activity": {"unread"},
        "cohorts": {
            "count",
            "errors_calculating",
            "is_calculating",
            "last_backfill_person_properties_at",
            "last_error_message",
            "pending_version",
        },
        "insights": {"last_refresh", "last_viewed_at", "refreshing", "updated_at"},
        "dashboards": {
            "effective_privilege_level",
            "effective_restriction_level",
            "last_accessed_at",
            "last_refresh",
            "last_viewed_at",
            "user_access_level",
        },
        "session_recording_playlists": {"recordings_counts"},
        "project_secret_api_keys": {"last_used_at"},
        "event_definitions": {
            "is_calculating",
            "last_calculated_at",
            "last_seen_at",
            "last_updated_at",
        },
        "annotations": {"dashboard_name", "insight_derived_name", "insight_name"},
        "actions": {"bytecode_error", "is_calculating", "last_calculated_at", "user_access_level"},
        "feature_flags": {
            "can_edit",
            "is_used_in_replay_settings",
            "last_called_at",
            "status",
            "user_access_level",
        },
        "surveys": {"current_iteration", "current_iteration_start_date", "user_access_level"},
        "experiments": {"status", "user_access_level"},
        "organization_members": {"last_login"},
        "activity_log": {"unread"},
    }
