"""What is kept of records with secrets."""

from __future__ import annotations

from typing import Any

import pytest

from etl.core.stream import Field, Kind, Known, Secrets, TableSpec
from etl.streams import STREAMS
from etl.transformers.fields import sha256
from etl.transformers.secrets import known_fields, withhold

USER = TableSpec("users", "About.", ("id",), (Field("id", Kind.BIGINT, "About."),))
TABLE = TableSpec(
    "things",
    "About.",
    ("id",),
    (
        Field("id", Kind.BIGINT, "About."),
        Field("title", Kind.TEXT, "About."),
        Field("tags", Kind.TEXTS, "About."),
        Field("config", Kind.JSON, "About.", plain=("color", "parts")),
    ),
)
KNOWN: Known = known_fields(TABLE, owner=USER)
SECRETS = Secrets(dict, KNOWN)
TEXT = "https://example.com/hook"
KEPT = f"{sha256(TEXT)}:{len(TEXT)}"


@pytest.mark.parametrize(
    ("record", "left"),
    [
        ({"title": TEXT, "tags": [TEXT], "config": {"color": TEXT, "parts": [TEXT]}}, None),
        ({"config": {"a": [TEXT, 1], "on": True}}, {"config": {"a": [KEPT, 1], "on": True}}),
        ({"config": {"a": {"color": TEXT}}}, {"config": {"a": {"color": KEPT}}}),
        ({"config": {"color": {"a": TEXT}}}, {"config": {"color": {"a": KEPT}}}),
        ({"config": [TEXT, {"color": TEXT}]}, {"config": [KEPT, {"color": TEXT}]}),
        ({"config": TEXT}, {"config": KEPT}),
        ({"new": 3, "other": 1.5, "yes": True, "no": None, "empty": ""}, None),
        ({"new": TEXT}, {"new": KEPT}),
        ({"new": {"a": [TEXT, 1, {"b": TEXT}]}}, {"new": {"a": [KEPT, 1, {"b": KEPT}]}}),
        ({"owner": {"id": 3, "title": TEXT}}, {"owner": {"id": 3, "title": KEPT}}),
        ({"owner": [{"id": "3", "x": TEXT}]}, {"owner": [{"id": "3", "x": KEPT}]}),
        ({"owner": "3"}, None),
        ({"owner": TEXT}, {"owner": KEPT}),
        ({"title": {"a": TEXT}}, {"title": {"a": KEPT}}),
        ({"title": [TEXT]}, {"title": [KEPT]}),
        ({"tags": [{"a": TEXT}]}, {"tags": [{"a": KEPT}]}),
    ],
)
def test_of_text_that_the_catalogue_does_not_know_hash_and_length_stay(
    record: dict[str, Any], left: dict[str, Any] | None
) -> None:
    """Names, numbers, booleans and null are kept at any depth. A second pass changes nothing."""
    found = withhold(record, SECRETS)
    assert found == (record if left is None else left)
    assert withhold(found, SECRETS) == found


def test_a_field_that_is_admitted_is_kept_with_all_that_is_in_it() -> None:
    """Only the field of that name at that place."""
    record = {
        "new": {"a": TEXT},
        "owner": {"new": TEXT, "other": TEXT},
        "other": {"new": TEXT},
        "config": {"new": TEXT, "other": TEXT},
    }
    found = withhold(record, SECRETS, [("new",), ("owner", "new"), ("config", "new")])
    assert found == {
        "new": {"a": TEXT},
        "owner": {"new": TEXT, "other": KEPT},
        "other": {"new": KEPT},
        "config": {"new": TEXT, "other": KEPT},
    }


def test_what_is_nested_without_end_is_cut() -> None:
    """The transformer rejects such a record anyway."""
    deep: Any = TEXT
    for _ in range(5000):
        deep = [deep]
    assert TEXT not in repr(withhold({"new": deep}, SECRETS))


def test_the_streams_with_secrets_are_these() -> None:
    """The catalogue marks them, and one mechanism serves all of them."""
    found = {
        stream.name
        for stream in STREAMS.values()
        for resource in stream.resources
        if resource.secrets is not None
    }
    assert found == {
        "subscriptions",
        "project_secret_api_keys",
        "recording_sharing",
        "insight_sharing",
        "dashboard_sharing",
        "projects",
        "activity_log",
        "subscription_deliveries",
    }
