"""Actions. A list has no `next`; an older server answers all of them whatever limit is sent."""

from datetime import timedelta
from typing import Any

from aiohttp import web

from etl.sandbox.clock import EPOCH
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import json_response, not_found
from etl.sandbox.kinds_product import Action
from etl.sandbox.lists import bend, single, size_of_page, whole
from etl.sandbox.staff import shown_user

READ = "action:read"


def shown_action(call: Call, action: Action) -> dict[str, Any]:
    """An action as lists, single answers and surveys show it."""
    calculated = action.last_calculated_at
    if calculated is not None:
        calculated = call.now.replace(minute=action.id % 60, second=0) - timedelta(hours=1)
    row: dict[str, Any] = {
        "id": action.id,
        "name": action.name,
        "description": action.description,
        "tags": action.tags,
        "post_to_slack": action.post_to_slack,
        "slack_message_format": action.slack_message_format,
        "steps": action.steps,
        "created_at": action.created_at,
        "created_by": shown_user(call, action.created_by),
        "deleted": action.deleted,
        "is_calculating": False,
        "last_calculated_at": calculated,
        "team_id": call.project.id,
    }
    if call.is_cloud:
        regex = f"compiled by version {call.now:%Y%m%d%H}"
        row |= {
            "steps": [{**step, "selector_regex": regex} for step in action.steps],
            "is_action": True,
            "bytecode_error": None,
            "pinned_at": action.pinned_at,
            "creation_context": None,
            "user_access_level": "editor",
        }
    return row


async def _list(call: Call) -> web.Response:
    """What was calculated last comes first, then by name; deleted ones are left out."""
    found = [each for each in call.store.actions.values() if not each.deleted]
    found.sort(key=lambda each: each.name or "")
    found.sort(key=lambda each: each.last_calculated_at or EPOCH, reverse=True)
    count, query = len(found), call.request.query
    if call.is_cloud and (limit := whole(query.get("limit"))):
        offset = whole(query.get("offset"))
        found = found[offset : offset + size_of_page(call, limit)]
    rows = bend(call, [shown_action(call, each) for each in found])
    return json_response({"count": count, "results": rows})


async def _retrieve(call: Call) -> web.Response:
    """Also one that was deleted."""
    wanted = call.request.match_info["id"]
    for each in call.store.actions.values():
        if str(each.id) == wanted:
            return single(call, shown_action(call, each))
    raise not_found("Not found.")


ENDPOINTS = (
    Endpoint("GET", "/api/projects/{project_id}/actions", READ, _list),
    Endpoint("GET", "/api/projects/{project_id}/actions/{id}", READ, _retrieve),
)
