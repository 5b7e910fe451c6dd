"""The properties of groups: which there are, their values, and how one is changed."""

from collections import Counter
from typing import Any

import orjson
from aiohttp import web

from etl.sandbox.bodies import an_object, read_body, text
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import json_response, required
from etl.sandbox.groups import READ, WRITE, asked_group, asked_type, shown_group
from etl.sandbox.kinds import Group, GroupActivity
from etl.sandbox.lists import bend
from etl.sandbox.staff import asking_user

MOST_VALUES = 20


def value_text(value: Any) -> str:
    """The text by which values are compared: text unchanged, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def answer_values(call: Call, rows: list[dict[str, Any]]) -> web.Response:
    """Values in an object, as real servers send them; a bare array, as the documentation says."""
    place = f"{call.request.path}?{call.request.query_string}"
    bent = bend(call, rows, place)
    return json_response({"results": bent, "refreshing": False} if call.is_cloud else bent)


async def _definitions(call: Call) -> web.Response:
    """By type index, the names with how many groups have them; most frequent first."""
    counts: dict[int, Counter[str]] = {}
    for group in call.store.groups.values():
        counts.setdefault(group.group_type_index, Counter()).update(group.group_properties.keys())
    body = {}
    for index in sorted(counts):
        ordered = sorted(counts[index].items(), key=lambda item: (-item[1], item[0]))
        rows = [{"name": name, "count": count} for name, count in ordered]
        body[str(index)] = bend(call, rows, f"{call.request.path}#{index}")
    return json_response(body)


async def _values(call: Call) -> web.Response:
    """The 20 most frequent values of one property; equal counts in the order of their text."""
    index, key = asked_type(call), call.request.query.get("key")
    if key is None:
        raise required("key")
    wanted = call.request.query.get("value", "").lower()
    counts: Counter[str] = Counter()
    named: dict[str, Any] = {}
    for group in call.store.groups.values():
        value = group.group_properties.get(key)
        if group.group_type_index == index and value is not None:
            shown = value_text(value)
            named.setdefault(shown, value)
            counts[shown] += wanted in shown.lower()
    ordered = sorted((-count, shown) for shown, count in counts.items() if count)
    rows = [{"name": named[shown], "count": -count} for count, shown in ordered[:MOST_VALUES]]
    return answer_values(call, rows)


async def _update(call: Call) -> web.Response:
    """Sets a property: real servers read key and value; the documentation has an object."""
    group, body = asked_group(call), await read_body(call)
    if not call.is_cloud and "group_properties" in body:
        for key, value in an_object("group_properties", body["group_properties"]).items():
            _set(call, group, key, value)
        return json_response(shown_group(group))
    for name in ("key", "value"):
        if name not in body:
            raise required(name)
    _set(call, group, text("key", body["key"]), body["value"])
    return json_response(shown_group(group))


async def _delete(call: Call) -> web.Response:
    """Removes a property: `$unset` names it; the documentation has an object."""
    group, body = asked_group(call), await read_body(call)
    if not call.is_cloud and "group_properties" in body:
        names = list(an_object("group_properties", body["group_properties"]))
    elif "$unset" in body:
        names = [text("$unset", body["$unset"])]
    else:
        raise required("$unset")
    for name in names:
        if name in group.group_properties:
            before = group.group_properties.pop(name)
            _log(call, group, "delete_property", name, {"action": "deleted", "before": before})
    return json_response(shown_group(group))


def _set(call: Call, group: Group, key: str, value: Any) -> None:
    created = key not in group.group_properties
    change = {"action": "created" if created else "changed", "after": value}
    if not created:
        change["before"] = group.group_properties[key]
    group.group_properties[key] = value
    _log(call, group, "create_property" if created else "update_property", key, change)


def _log(call: Call, group: Group, activity: str, name: str, change: dict[str, Any]) -> None:
    group.updated_at = call.now
    call.store.add(
        GroupActivity(
            id=call.store.new_id(),
            group_type_index=group.group_type_index,
            group_key=group.group_key,
            created_at=call.now,
            activity=activity,
            detail={"name": name, "changes": [{"type": "Group", **change}]},
            user=asking_user(call),
        )
    )


ENDPOINTS = (
    Endpoint("GET", "/groups/property_definitions", READ, _definitions, ("clickhouse",)),
    Endpoint("GET", "/groups/property_values", READ, _values, ("clickhouse",)),
    Endpoint("POST", "/groups/update_property", WRITE, _update),
    Endpoint("POST", "/groups/delete_property", WRITE, _delete),
)
