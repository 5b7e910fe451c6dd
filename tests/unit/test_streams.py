"""The catalogue: what must hold for every entry."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest

from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec, key_text
from etl.streams import STREAMS, TABLE_SPECS, catalogue

RESOURCES = [
    pytest.param(stream, resource, id=f"{stream.name} {resource.tables[0].name}")
    for stream in STREAMS.values()
    for resource in stream.resources
]


def blanks(address: Address) -> set[str]:
    """The names that an address needs values for."""
    texts = (address.path, *(text for _, text in address.params))
    return {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_stream_of_the_design_is_there() -> None:
    """Under the names that users type; each stream comes after those that it builds on."""
    assert list(STREAMS) == [
        "session_recordings",
        "persons",
        "subscriptions",
        "groups",
        "group_properties",
        "group_activity",
        "group_related",
        "cohorts",
        "cohort_members",
        "insights",
        "dashboards",
        "dashboard_collaborators",
        "playlists",
        "project_secret_api_keys",
        "session_properties",
        "event_definitions",
        "property_definitions",
        "annotations",
        "actions",
        "feature_flags",
        "surveys",
        "experiments",
        "comments",
        "projects",
        "organization_members",
        "activity_log",
        "subscription_deliveries",
        "recording_sharing",
        "insight_sharing",
        "dashboard_sharing",
    ]
    assert [name for name, stream in STREAMS.items() if stream.off] == [
        "persons",
        "group_activity",
        "group_related",
        "cohort_members",
        "dashboard_collaborators",
        "event_definitions",
        "property_definitions",
        "comments",
        "organization_members",
        "activity_log",
        "subscription_deliveries",
    ]


def test_a_table_name_means_one_table() -> None:
    """Streams may share a table, but two tables never share a name."""
    for stream in STREAMS.values():
        for spec in stream.tables:
            assert TABLE_SPECS[spec.name] is spec


@pytest.mark.parametrize(("stream", "resource"), RESOURCES)
def test_what_a_resource_builds_on_is_read_before_it(stream: Stream, resource: Resource) -> None:
    """By an earlier stream, or earlier in the same stream; and it has the columns needed."""
    if resource.parents is None:
        return
    before: list[str] = []
    for each in STREAMS.values():
        for other in each.resources:
            if other is resource:
                assert resource.parents.table in before
            before += [spec.name for spec in other.tables]
    assert set(resource.parents.fields.values()) <= set(TABLE_SPECS[resource.parents.table].columns)


@pytest.mark.parametrize(("stream", "resource"), RESOURCES)
def test_every_address_can_be_filled(stream: Stream, resource: Resource) -> None:
    """A list by its parent's fields, a single record by its own key."""
    given = set() if resource.parents is None else set(resource.parents.fields)
    for address in resource.lists:
        assert blanks(address) <= given
    if resource.one is not None:
        assert blanks(resource.one) <= set(resource.key)


@pytest.mark.parametrize(("stream", "resource"), RESOURCES)
def test_a_record_is_given_what_tells_it_from_those_of_other_lists(
    stream: Stream, resource: Resource
) -> None:
    """What its list gives it is in its key, with a value of its own for each list."""
    given = [address.given for address in resource.lists]
    if any(given):
        assert all(set(each) <= set(resource.key) for each in given)
        assert len({tuple(each.values()) for each in given}) == len(resource.lists)


@pytest.mark.parametrize(("stream", "resource"), RESOURCES)
def test_a_record_is_given_what_tells_it_from_those_of_other_parents(
    stream: Stream, resource: Resource
) -> None:
    """The parent's fields begin its key, so the rows of one parent are next to each other."""
    if resource.parents is not None:
        given = [*resource.parents.constant, *resource.parents.fields]
        assert list(resource.key[: len(given)]) == given


@pytest.mark.parametrize(("stream", "resource"), RESOURCES)
def test_what_tells_that_lists_are_unchanged_is_fresh(stream: Stream, resource: Resource) -> None:
    """Volatile columns are not, and neither are those that keep a value that is null by now."""
    if resource.parents is not None:
        columns = {field.name: field for field in TABLE_SPECS[resource.parents.table].fields}
        fields = [columns[name] for name in resource.parents.unchanged]
        assert not any(field.volatile or field.null_keeps for field in fields)


@pytest.mark.parametrize(("stream", "resource"), RESOURCES)
def test_the_field_that_says_since_when_is_an_instant(stream: Stream, resource: Resource) -> None:
    """If the resource has such a field."""
    kinds = {field.name: field.kind for field in resource.tables[0].fields}
    assert resource.created is None or kinds[resource.created] is Kind.INSTANT


def test_an_address_quotes_what_it_is_filled_with() -> None:
    """In the path. Parameters are quoted when they are sent."""
    address = Address("a/{id}/b/", params=(("key", "{id}"),))
    assert address.fill({"id": "x/../y?z"}) == ("a/x%2F..%2Fy%3Fz/b/", [("key", "x/../y?z")])


def test_an_address_is_below_the_project_unless_it_begins_with_a_slash() -> None:
    """A prefix of its own goes before that of the deployment; values are quoted in both forms."""
    assert Address("a/").below_host({}, 2, "environments") == ("/api/environments/2/a/", [])
    named = Address("a/", prefix="projects")
    assert named.below_host({}, 2, "environments") == ("/api/projects/2/a/", [])
    above = Address("/api/organizations/{id}/members/")
    assert above.below_host({"id": "x/y"}, 2, "projects")[0] == "/api/organizations/x%2Fy/members/"


@pytest.mark.parametrize(
    ("path", "prefix", "said"), [("a", None, "slash"), ("/a/", "projects", "prefix")]
)
def test_a_wrong_address_raises_when_the_catalogue_is_imported(
    path: str, prefix: str | None, said: str
) -> None:
    """The error says what is wrong."""
    with pytest.raises(ValueError, match=said):
        Address(path, prefix=prefix)


ID = Field("id", Kind.TEXT, "Id.")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"fields": (ID, ID)}, "twice"),
        ({"key": ("other",)}, "without a field"),
        ({"fields": (Field("id", Kind.TEXT, "Id.", volatile=True),)}, "plain"),
        ({"fields": (ID, Field("at", Kind.INSTANT, "At.", after_days=1))}, "only volatile"),
        (
            {
                "fields": (ID, Field("at", Kind.INSTANT, "At.", volatile=True, after_days=1)),
                "hashed": True,
            },
            "only volatile",
        ),
        ({"about": ""}, "says what it is"),
        ({"fields": (Field("id", Kind.TEXT, ""),)}, "says what it is"),
        ({"started": "other"}, "no such fields"),
    ],
)
def test_a_wrong_table_fails_at_import(wrong: dict[str, Any], said: str) -> None:
    """The error says what is wrong."""
    good: dict[str, Any] = {"name": "t", "about": "A table.", "key": ("id",), "fields": (ID,)}
    TableSpec(**good)
    with pytest.raises(ValueError, match=said):
        TableSpec(**{**good, **wrong})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lists": ()}, "a resource has"),
        ({"key": ()}, "a resource has"),
        ({"key": ("id", "more")}, "its key differs"),
        ({"lists": (Address("a/", given={"saved": 1}), Address("b/"))}, "the same fields"),
        (
            {"lists": (Address("a/", given={"saved": 1}),), "one": Address("a/{id}/")},
            "the same fields",
        ),
    ],
)
def test_a_wrong_resource_fails_at_import(wrong: dict[str, Any], said: str) -> None:
    """The error says what is wrong."""
    good = STREAMS["insights"].resources[0]
    values = {name: getattr(good, name) for name in ("lists", "tables", "key", "transform")}
    Resource(**values)
    with pytest.raises(ValueError, match=said):
        Resource(**{**values, **wrong})


def test_a_wrong_stream_fails_at_import() -> None:
    """A stream in windows needs a field for them; other streams must not have one."""
    resources = STREAMS["insights"].resources
    for mode, started in ((Mode.WINDOWS, None), (Mode.SNAPSHOT, "created_at")):
        with pytest.raises(ValueError, match="windows"):
            Stream("s", "A stream", "a:read", mode, resources, started)
    with pytest.raises(ValueError, match="has a resource"):
        Stream("s", "A stream", "a:read", Mode.SNAPSHOT, ())


def test_the_catalogue_for_people_says_how_each_stream_is_read() -> None:
    """What `posthog-etl streams` prints."""
    found = {row["stream"]: row for row in catalogue()}
    assert list(found) == list(STREAMS)
    assert found["session_recordings"]["mode"] == "windows by start_time"
    assert found["group_activity"]["mode"] == "snapshot, off by default"
    assert found["insight_sharing"]["mode"] == "rotation"
    assert found["insight_sharing"]["cursor"] == "none: one request a resource"
    assert found["session_properties"]["cursor"] == "none: one answer"
    assert found["subscriptions"]["tables"] == ["subscriptions", "users"]
    json.dumps(catalogue())


def test_a_key_of_several_parts_is_a_json_array() -> None:
    """Postgres makes the same text."""
    assert key_text([5]) == "5"
    assert key_text([0, 'ä"b']) == '[0, "ä\\"b"]'
