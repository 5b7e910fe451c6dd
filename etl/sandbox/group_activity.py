"""The activity log of one group, newest first."""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import json_response, required
from etl.sandbox.groups import asked_type
from etl.sandbox.kinds import GroupActivity
from etl.sandbox.lists import bend, link, newest_first, size_of_page, whole

READ = "activity_log:read"
_DEFAULT_LIMIT = 10


def _shown(call: Call, entry: GroupActivity) -> dict[str, Any]:
    user = call.store.users.get(entry.user) if entry.user is not None else None
    return {
        "user": user
        and {"first_name": user.first_name, "last_name": user.last_name, "email": user.email},
        "activity": entry.activity,
        "scope": entry.scope,
        "item_id": entry.item_id,
        "detail": entry.detail,
        "created_at": entry.created_at,
        "is_system": entry.is_system,
        "unread": entry.unread,
    }


async def _list(call: Call) -> web.Response:
    index, query = asked_type(call), call.request.query
    key = query.get("group_key")
    if key is None:
        raise required("group_key")
    found = [
        each for each in call.store.group_activity.values()
        if (each.group_type_index, each.group_key) == (index, key)
    ]  # fmt: skip
    found.sort(key=lambda each: newest_first(each.created_at, f"{each.id:020}"), reverse=True)
    size = size_of_page(call, whole(query.get("limit")) or _DEFAULT_LIMIT)
    page = 1 if call.fault.restart_cursor else whole(query.get("page")) or 1
    cut = found[(page - 1) * size : page * size]
    following = page if call.fault.repeat_cursor or call.fault.empty_page else page + 1
    more = page * size < len(found) or following == page
    place = f"{call.request.path}?{index}&{key}"
    return json_response(
        {
            "results": bend(call, [_shown(call, each) for each in cut], place),
            "next": link(call, {"page": str(following)}, call.fault.next_host) if more else None,
            "previous": link(call, {"page": str(page - 1)}) if page > 1 else None,
            "total_count": len(found),
        }
    )


ENDPOINTS = (Endpoint("GET", "/groups/activity", READ, _list),)
