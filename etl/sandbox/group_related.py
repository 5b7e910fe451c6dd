"""What was seen together with one group: persons, and groups of other types."""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import json_response, required
from etl.sandbox.groups import READ, asked_type, shown_group
from etl.sandbox.lists import bend
from etl.sandbox.persons import listed_person

_LISTED_IDS = 10


async def _related(call: Call) -> web.Response:
    """A bare array: persons first, then groups of other types that have the same name."""
    index, key = asked_type(call), call.request.query.get("id")
    if not key:
        raise required("id")
    owners, store = call.project.data.owners, call.store
    found: list[dict[str, Any]] = []
    for each in store.group_persons.values():
        number = owners.number_of(each.uuid)
        if (each.group_type_index, each.group_key) == (index, key) and number is not None:
            found.append(listed_person(call, number, _LISTED_IDS))
    ending = key.rpartition(":")[2]
    found += [
        {"type": "group", "id": group.group_key, **shown_group(group)}
        for group in store.groups.values()
        if group.group_type_index in store.group_types and group.group_key
        if group.group_type_index != index and group.group_key.rpartition(":")[2] == ending
    ]
    return json_response(bend(call, found, f"{call.request.path}?{index}&{key}"))


ENDPOINTS = (Endpoint("GET", "/groups/related", READ, _related, ("clickhouse",)),)
