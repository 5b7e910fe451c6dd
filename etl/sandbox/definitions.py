"""Definitions of events and properties. The real server's plan is paid: it describes them.

To open a single one writes: it makes the row that holds the description (PostHog source,
posthog/api/event_definition.py and property_definition.py).
"""

from typing import Any

from aiohttp import web

from etl.sandbox.clock import HOUR_US, to_datetime
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import invalid, not_found
from etl.sandbox.kinds_definitions import EventDefinition, PropertyDefinition
from etl.sandbox.lists import by_offset, single
from etl.sandbox.staff import shown_user

EVENTS_READ, PROPERTIES_READ = "event_definition:read", "property_definition:read"
# They are registered under this prefix only (PostHog source, rest_router.py).
_PROJECT = "/api/projects/{project_id}"
_TYPES = ("event", "person", "group", "session")
_GROUP_TYPES = 5
# A list of event properties never shows these.
_NEVER = {
    "$set", "$set_once", "distinct_id", "$initial_referrer", "$initial_referring_domain",
    "$groups", "$group_type", "$group_key", "$group_set",
    *(f"$group_{index}" for index in range(_GROUP_TYPES)),
}  # fmt: skip
# What the server computes for persons and for groups of any type.
_COMPUTED = {
    "person": (("$virt_initial_channel_type", "String"), ("$virt_revenue", "Numeric")),
    "group": (("$virt_revenue", "Numeric"),),
}


def _is_true(call: Call, name: str) -> bool:
    return call.request.query.get(name, "").lower() in ("true", "1")


def _described(call: Call, each: EventDefinition | PropertyDefinition) -> dict[str, Any]:
    """What only a paid plan has."""
    if not call.is_cloud:
        return {}
    return {
        "description": each.description,
        "updated_at": each.updated_at,
        "updated_by": shown_user(call, each.updated_by),
        "verified": each.verified,
        "verified_at": each.verified_at,
        "verified_by": shown_user(call, each.verified_by),
        "hidden": each.hidden,
    }


def _seen(call: Call, each: EventDefinition) -> Any:
    """Events go on: they were seen in this hour, unless they were never seen."""
    return None if each.last_seen_at is None else to_datetime(call.now_us // HOUR_US * HOUR_US)


def _shown_event(call: Call, each: EventDefinition) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": each.id,
        "name": each.name,
        "created_at": each.created_at,
        "last_seen_at": _seen(call, each),
        "last_updated_at": _seen(call, each),
        "tags": each.tags,
        "enforcement_mode": each.enforcement_mode,
        "is_action": False,
        "action_id": None,
        "is_calculating": False,
        "last_calculated_at": None,
        "created_by": None,
        "post_to_slack": False,
    }
    if call.is_cloud:
        signature = f"X-Signature={call.now_us:x}"
        row |= {
            "owner": shown_user(call, each.owner),
            "primary_property": each.primary_property,
            "default_columns": each.default_columns,
            "media_preview_urls": [f"https://media.sandbox.example/{each.id}?{signature}"],
        }
    return row | _described(call, each)


async def _list_events(call: Call) -> web.Response:
    """What was seen on the latest day comes first, unless `ordering` says otherwise."""
    found = list(call.store.event_definitions.values())
    if call.is_cloud and _is_true(call, "exclude_hidden"):
        found = [each for each in found if not each.hidden]
    found.sort(key=lambda each: each.name)
    order = call.request.query.get("ordering", "-last_seen_at::date")
    if not order.endswith("name"):
        found.sort(key=lambda each: str(each.created_at if "created" in order else each.id))
    if order.startswith("-"):
        found.reverse()
    return by_offset(call, found, lambda each: _shown_event(call, each))


async def _retrieve_event(call: Call) -> web.Response:
    wanted = call.request.match_info["event_definition_id"]
    found = call.store.event_definitions.get(wanted)
    if found is None:
        raise not_found("Not found.")
    _describe(call, found)
    return single(call, _shown_event(call, found))


def _describe(call: Call, found: EventDefinition | PropertyDefinition) -> None:
    """Makes the row that holds the description, where there is none."""
    if call.is_cloud and found.updated_at is None:
        found.updated_at, found.description = call.now, ""


def _shown_property(call: Call, each: PropertyDefinition) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": each.id,
        "name": each.name,
        "is_numerical": each.is_numerical,
        "property_type": each.property_type,
        "tags": each.tags,
        "is_seen_on_filtered_events": None,
    }
    return row | _described(call, each)


async def _list_properties(call: Call) -> web.Response:
    """Those of one type; confirmed ones first, then by name.

    What the server computes comes with the last page, which may be longer than asked for.
    """
    type, index = _asked_type(call)
    found = [
        each
        for each in call.store.property_definitions.values()
        if (each.type, each.group_type_index) == (type, index)
        and not (type == "event" and each.name in _NEVER)
    ]
    if call.is_cloud:
        if _is_true(call, "exclude_hidden"):
            found = [each for each in found if not each.hidden]
        found.sort(key=lambda each: (not each.verified, each.name))
    else:
        found.sort(key=lambda each: each.name)
    computed = [
        {
            "id": "$builtin_" + name,
            "name": name,
            "is_numerical": kind == "Numeric",
            "property_type": kind,
            "tags": [],
            "virtual": True,
        }
        for name, kind in _COMPUTED.get(type, ())
    ]
    return by_offset(call, found, lambda each: _shown_property(call, each), computed)


def _asked_type(call: Call) -> tuple[str, int]:
    """Returns the type and the index of the group type, -1 for none. Raises ApiError 400."""
    type, index = (
        call.request.query.get("type", "event"),
        call.request.query.get("group_type_index"),
    )
    if type not in _TYPES:
        raise invalid("type", f'"{type}" is not a valid choice.', "invalid_choice")
    if type != "group":
        if index is not None:
            raise invalid("", "`group_type_index` can only set for `group` type")
        return type, -1
    if index is None:
        raise invalid("", "`group_type_index` must be set for `group` type")
    if not (index.isascii() and index.isdecimal() and len(index) < 9):
        raise invalid("group_type_index", "A valid integer is required.", "invalid")
    if int(index) >= _GROUP_TYPES:
        raise invalid("", "Invalid value for `group_type_index`")
    return type, int(index)


async def _retrieve_property(call: Call) -> web.Response:
    wanted = call.request.match_info["property_definition_id"]
    found = call.store.property_definitions.get(wanted)
    if found is None:
        raise not_found("Not found.")
    _describe(call, found)
    return single(call, _shown_property(call, found))


_EVENTS, _PROPERTIES = _PROJECT + "/event_definitions", _PROJECT + "/property_definitions"
ENDPOINTS = (
    Endpoint("GET", _EVENTS, EVENTS_READ, _list_events),
    Endpoint("GET", _EVENTS + "/{event_definition_id}", EVENTS_READ, _retrieve_event),
    Endpoint("GET", _PROPERTIES, PROPERTIES_READ, _list_properties),
    Endpoint("GET", _PROPERTIES + "/{property_definition_id}", PROPERTIES_READ, _retrieve_property),
)
