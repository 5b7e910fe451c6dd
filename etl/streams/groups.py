"""Group types, groups, their properties, and what was done to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

from etl.core.budget import CLICKHOUSE
from etl.core.identity import Identity, Names
from etl.core.stream import (
    Address,
    Field,
    Kind,
    Mode,
    Parents,
    Resource,
    Stream,
    TableSpec,
    results_of,
)
from etl.errors import InvalidRecord
from etl.transformers.fields import scalar_text, sha256
from etl.transformers.objects import object_rows
from etl.transformers.reduced import ids_only

# Python refuses to parse very long integers; a real index has one digit.
_INDEX = re.compile("[0-9]{1,9}")
_BARE = (str, int, float, bool, NoneType, list)

_TYPE = Field("group_type_index", Kind.BIGINT, "Index of the group type, see group_types.")

GROUP_TYPES = TableSpec(
    name="group_types",
    about="One row per group type of the project, at most five.",
    key=("group_type_index",),
    fields=(
        Field("group_type_index", Kind.BIGINT, "Index of the group type, from 0."),
        Field("group_type", Kind.TEXT, "Name of the type, as events give it."),
        Field("name_singular", Kind.TEXT, "Name of one, for people."),
        Field("name_plural", Kind.TEXT, "Name of several, for people."),
        Field("detail_dashboard", Kind.BIGINT, "Id of its dashboard.", null_keeps=True),
        Field("default_columns", Kind.JSON, "Columns shown, as JSON.", null_keeps=True),
        Field("created_at", Kind.INSTANT, "When it was made.", null_keeps=True),
    ),
)

GROUP_TABLE = TableSpec(
    name="groups",
    about="One row per group.",
    key=("group_type_index", "group_key"),
    fields=(
        _TYPE,
        Field("group_key", Kind.TEXT, "Key of the group, as events give it."),
        Field("group_properties", Kind.JSON, "Properties of the group, as JSON."),
        Field("created_at", Kind.INSTANT, "When PostHog first saw it; can move."),
        Field("notebook", Kind.TEXT, "Its notebook.", volatile=True, null_keeps=True, lenient=True),
    ),
)

GROUP_PROPERTY_DEFINITIONS = TableSpec(
    name="group_property_definitions",
    about="One row per property that groups of a type have.",
    key=("group_type_index", "name"),
    fields=(
        _TYPE,
        Field("name", Kind.TEXT, "Name of the property."),
        Field("count", Kind.BIGINT, "Groups that have it, a count."),
    ),
)

GROUP_PROPERTY_VALUES = TableSpec(
    name="group_property_values",
    about="The values of group properties, as the server lists them: the 20 most frequent ones.",
    key=("group_type_index", "key", "value"),
    fields=(
        _TYPE,
        Field("key", Kind.TEXT, "Name of the property."),
        Field("value", Kind.TEXT, "The value: text as it is, anything else as JSON."),
        Field("count", Kind.BIGINT, "Groups that have it, a count."),
    ),
)

GROUP_ACTIVITY_TABLE = TableSpec(
    name="group_activity",
    about="What was done to groups, by whom; one row per entry of the activity log.",
    key=("group_type_index", "group_key", "entry"),
    fields=(
        _TYPE,
        Field("group_key", Kind.TEXT, "Key of the group."),
        Field("entry", Kind.TEXT, "Hash of time and content, because the log has no key."),
        Field("created_at", Kind.INSTANT, "When it was done."),
        Field("activity", Kind.TEXT, "What was done."),
        Field("scope", Kind.TEXT, "What it was done to."),
        Field("item_id", Kind.TEXT, "Id of what it was done to.", lenient=True),
        Field("detail", Kind.JSON, "What changed, as JSON."),
        Field("user", Kind.JSON, "Who did it, as JSON."),
        Field("is_system", Kind.BOOLEAN, "Whether PostHog did it.", null_keeps=True),
        Field(
            "unread",
            Kind.BOOLEAN,
            "Whether the key's owner has not read it.",
            volatile=True,
            null_keeps=True,
        ),
    ),
)


# In place of a group type where the related thing is a person.
NO_TYPE = -1

GROUP_RELATED_TABLE = TableSpec(
    name="group_related",
    about="Persons and groups of other types that events of the last 90 days show with a group.",
    key=("group_type_index", "group_key", "related_type_index", "related_id"),
    identities=(Identity("person_uuid", Names.PERSON),),
    fields=(
        _TYPE,
        Field("group_key", Kind.TEXT, "Key of the group."),
        Field(
            "related_type_index",
            Kind.BIGINT,
            "Index of the group type of the related group, see group_types; -1: it is a person.",
        ),
        Field("related_id", Kind.TEXT, "Key of the related group, or the person's uuid."),
        Field("person_uuid", Kind.UUID, "The person's uuid, see persons; null: it is a group."),
    ),
)


def only_related(record: dict[str, Any]) -> dict[str, Any]:
    """Return only the ids of what is related: other streams read the group or the person."""
    id = record.get("id")
    if record.get("type") == "person":
        return ids_only({"related_type_index": NO_TYPE, "related_id": id, "person_uuid": id})
    return ids_only({"related_type_index": record.get("group_type_index"), "related_id": id})


def definitions_of(document: Any) -> list[Any] | None:
    """Return the records of `{"0": [{name, count}, ...], ...}`; None if it has another form."""
    if not isinstance(document, dict):
        return None
    records: list[Any] = []
    for index, found in document.items():
        if not isinstance(found, list):
            return None
        # A number, as in other answers: the key of a rejected record must be the same.
        at = {"group_type_index": int(index) if _INDEX.fullmatch(index) else index}
        records += [{**each, **at} if isinstance(each, dict) else each for each in found]
    return records


def values_of(document: Any) -> list[Any] | None:
    """Return the values of a property as records; None if there is no list of them.

    Older servers send a bare array.
    """
    found = results_of(document)
    return None if found is None else [_value(each) for each in found]


def _value(each: Any) -> Any:
    """Return the record of a value. Malformed values are returned unchanged, to be rejected."""
    try:
        if not isinstance(each, dict):
            return {"value": scalar_text(each)} if isinstance(each, _BARE) else each
        if "name" not in each:
            return each
        others = {name: value for name, value in each.items() if name != "name"}
        return {**others, "value": scalar_text(each["name"])}
    except InvalidRecord:
        return each


def entries_of(document: Any) -> list[Any] | None:
    """Return the entries of an activity log, each with a hash as its key."""
    found = results_of(document)
    if found is None:
        return None
    return [{**each, "entry": _entry(each)} if isinstance(each, dict) else each for each in found]


def _entry(record: Mapping[str, Any]) -> str:
    return sha256(
        [record.get(name) for name in ("created_at", "activity", "scope", "item_id", "detail")]
    )


_PER_TYPE = Parents("group_types", {"group_type_index": "group_type_index"})
_OF_TYPE = ("group_type_index", "{group_type_index}")
# The server treats an empty parameter as a missing one and answers 400.
_NAMED = "t.{} <> ''"

GROUPS = Stream(
    name="groups",
    about="Group types and groups",
    scope="group:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # The server does not register it under the other prefix (PostHog source,
            # rest_router.py).
            lists=(Address("groups_types/", prefix="projects"),),
            key=("group_type_index",),
            paged=False,
            tables=(GROUP_TYPES,),
            transform=object_rows(GROUP_TYPES),
        ),
        Resource(
            lists=(Address("groups/", params=(_OF_TYPE,)),),
            # Without the last parameter a read creates a notebook (ee/clickhouse/views/groups).
            one=Address(
                "groups/find/",
                params=(
                    _OF_TYPE,
                    ("group_key", "{group_key}"),
                    ("skip_create_notebook", "true"),
                ),
            ),
            key=("group_type_index", "group_key"),
            created="created_at",
            budget_classes=(CLICKHOUSE,),
            retrieve_classes=(CLICKHOUSE,),
            parents=_PER_TYPE,
            tables=(GROUP_TABLE,),
            transform=object_rows(GROUP_TABLE),
        ),
    ),
)

GROUP_PROPERTIES = Stream(
    name="group_properties",
    about="The properties that groups have, and their most frequent values",
    scope="group:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            lists=(Address("groups/property_definitions/"),),
            key=("group_type_index", "name"),
            paged=False,
            records=definitions_of,
            budget_classes=(CLICKHOUSE,),
            tables=(GROUP_PROPERTY_DEFINITIONS,),
            transform=object_rows(GROUP_PROPERTY_DEFINITIONS),
        ),
        Resource(
            lists=(Address("groups/property_values/", params=(_OF_TYPE, ("key", "{key}"))),),
            key=("group_type_index", "key", "value"),
            paged=False,
            records=values_of,
            budget_classes=(CLICKHOUSE,),
            parents=Parents(
                "group_property_definitions",
                {"group_type_index": "group_type_index", "key": "name"},
                where=_NAMED.format("name"),
            ),
            tables=(GROUP_PROPERTY_VALUES,),
            transform=object_rows(GROUP_PROPERTY_VALUES),
        ),
    ),
)

GROUP_ACTIVITY = Stream(
    name="group_activity",
    about="What was done to groups; one request for each group",
    scope="activity_log:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            lists=(
                Address(
                    "groups/activity/",
                    params=(_OF_TYPE, ("group_key", "{group_key}"), ("limit", "1000")),
                ),
            ),
            key=("group_type_index", "group_key", "entry"),
            paged=False,
            mirrors=False,
            records=entries_of,
            parents=Parents(
                "groups",
                {"group_type_index": "group_type_index", "group_key": "group_key"},
                where=_NAMED.format("group_key"),
            ),
            tables=(GROUP_ACTIVITY_TABLE,),
            transform=object_rows(GROUP_ACTIVITY_TABLE),
        ),
    ),
)

GROUP_RELATED = Stream(
    name="group_related",
    about="What events show together with a group; one request for each group",
    scope="group:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            # Of a group it shows persons and groups of other types, all of them (PostHog source,
            # ee/clickhouse/queries/related_actors_query.py).
            lists=(Address("groups/related/", params=(_OF_TYPE, ("id", "{group_key}"))),),
            key=("group_type_index", "group_key", "related_type_index", "related_id"),
            paged=False,
            budget_classes=(CLICKHOUSE,),
            parents=Parents(
                "groups",
                {"group_type_index": "group_type_index", "group_key": "group_key"},
                where=_NAMED.format("group_key"),
            ),
            tables=(GROUP_RELATED_TABLE,),
            redact=only_related,
            transform=object_rows(GROUP_RELATED_TABLE),
        ),
    ),
)
