"""Annotations: notes on a date. Those of a deleted insight are hidden as long as it is deleted."""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds_product import Annotation
from etl.sandbox.lists import by_offset, newest_first, single
from etl.sandbox.staff import shown_user

READ = "annotation:read"
_DEFAULT_LIMIT = 1000


def _shown(call: Call, annotation: Annotation) -> dict[str, Any]:
    insight = call.store.insights.get(annotation.dashboard_item or 0)
    row: dict[str, Any] = {
        "id": annotation.id,
        "content": annotation.content,
        "date_marker": annotation.date_marker,
        "creation_type": annotation.creation_type,
        "dashboard_item": annotation.dashboard_item,
        "insight_short_id": insight.short_id if insight else None,
        "insight_name": insight.name if insight else None,
        "insight_derived_name": insight.derived_name if insight else None,
        "created_at": annotation.created_at,
        "created_by": shown_user(call, annotation.created_by),
        "updated_at": annotation.updated_at,
        "deleted": annotation.deleted,
        "scope": annotation.scope,
    }
    if call.is_cloud:
        dashboard = annotation.dashboard_id
        row |= {
            "dashboard_id": dashboard,
            "dashboard_name": None if dashboard is None else f"Dashboard {dashboard}",
            "emoji": annotation.emoji,
            "hidden_in_user_interface": annotation.hidden_in_user_interface,
            "tags": annotation.tags,
        }
    return row


def _visible(call: Call) -> list[Annotation]:
    insights = call.store.insights
    return [
        each
        for each in call.store.annotations.values()
        if not each.deleted
        and not (
            each.scope == "dashboard_item"
            and each.dashboard_item in insights
            and insights[each.dashboard_item].deleted
        )
    ]


async def _list(call: Call) -> web.Response:
    """By the date they are about, newest first; 1,000 unless `limit` says."""
    found = _visible(call)
    found.sort(key=lambda each: newest_first(each.date_marker, f"{each.id:020}"), reverse=True)
    return by_offset(call, found, lambda each: _shown(call, each), default=_DEFAULT_LIMIT)


async def _retrieve(call: Call) -> web.Response:
    wanted = call.request.match_info["id"]
    for each in _visible(call):
        if str(each.id) == wanted:
            return single(call, _shown(call, each))
    raise not_found("Not found.")


ENDPOINTS = (
    Endpoint("GET", "/api/projects/{project_id}/annotations", READ, _list),
    Endpoint("GET", "/api/projects/{project_id}/annotations/{id}", READ, _retrieve),
)
