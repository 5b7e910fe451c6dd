"""Groups and their types: lists, and one group by its key."""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import invalid, not_found, required
from etl.sandbox.kinds import Group, GroupType
from etl.sandbox.lists import Position, bare, by_cursor, by_offset, newest_first, single

READ, WRITE = "group:read", "group:write"


def shown_group(group: Group) -> dict[str, Any]:
    """A group as the list has it."""
    return {
        "group_type_index": group.group_type_index,
        "group_key": group.group_key,
        "group_properties": group.group_properties,
        "created_at": group.created_at,
    }


def asked_type(call: Call) -> int:
    """The group type that the query names. Raises ApiError 400 without one."""
    text = call.request.query.get("group_type_index")
    if text is None:
        raise required("group_type_index")
    if not text.isdecimal() or len(text) > 3:
        raise invalid("group_type_index", "A valid integer is required.")
    return int(text)


def asked_group(call: Call) -> Group:
    """The group that the query names. Raises ApiError 400 without one, 404 if there is none."""
    index, key = asked_type(call), call.request.query.get("group_key")
    if key is None:
        raise required("group_key")
    group = call.store.groups.get((index, key))
    if group is None:
        raise not_found("Not found.")
    return group


def _position(group: Group) -> Position:
    return newest_first(group.created_at, group.group_key)


async def _list(call: Call) -> web.Response:
    index, query = asked_type(call), call.request.query
    found = [each for each in call.store.groups.values() if each.group_type_index == index]
    if part := query.get("group_key"):
        found = [each for each in found if part in each.group_key]
    if wanted := query.get("search"):
        found = [
            each for each in found
            if each.group_key == wanted or wanted.lower() in str(each.group_properties).lower()
        ]  # fmt: skip
    found.sort(key=_position, reverse=True)
    if call.is_cloud:
        return by_cursor(call, found, _position, shown_group)
    return by_offset(call, found, shown_group)


async def _find(call: Call) -> web.Response:
    """One group. Newer servers create a notebook for it, unless the request says not to."""
    group = asked_group(call)
    row = shown_group(group)
    if call.is_cloud:
        if call.request.query.get("skip_create_notebook", "").lower() != "true":
            group.notebook = group.notebook or f"nb{call.store.new_id()}"
        row["notebook"] = group.notebook
    return single(call, row)


def _shown_type(group_type: GroupType) -> dict[str, Any]:
    return {
        "group_type": group_type.group_type,
        "group_type_index": group_type.group_type_index,
        "name_singular": group_type.name_singular,
        "name_plural": group_type.name_plural,
        "detail_dashboard": group_type.detail_dashboard,
        "default_columns": group_type.default_columns,
        "created_at": group_type.created_at,
    }


async def _types(call: Call) -> web.Response:
    found = sorted(call.store.group_types.values(), key=lambda each: each.group_type_index)
    return bare(call, [_shown_type(each) for each in found])


ENDPOINTS = (
    Endpoint("GET", "/groups", READ, _list, ("clickhouse",)),
    Endpoint("GET", "/groups/find", READ, _find, ("clickhouse",)),
    # Under the other prefix there is none (PostHog source, rest_router.py).
    Endpoint("GET", "/api/projects/{project_id}/groups_types", READ, _types),
)
