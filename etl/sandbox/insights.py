"""Insights: listed with or without their results, and deleted by a patch."""

from datetime import timedelta
from typing import Any

from aiohttp import web

from etl.sandbox.bodies import Check, boolean, checked, maybe, read_body, text_up_to
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds import Insight
from etl.sandbox.lists import by_offset, newest_first, single
from etl.sandbox.staff import asking_user, shown_user

READ, WRITE = "insight:read", "insight:write"
_DAYS = 120
_CHECKS: dict[str, Check] = {
    "name": maybe(text_up_to(400)),
    "description": maybe(text_up_to(400)),
    "deleted": boolean,
    "favorited": boolean,
}


def _shown(call: Call, insight: Insight) -> dict[str, Any]:
    refreshed = call.now.replace(minute=insight.id % 60, second=0, microsecond=0)
    refreshed -= timedelta(hours=1)
    row: dict[str, Any] = {
        "id": insight.id,
        "short_id": insight.short_id,
        "name": insight.name,
        "derived_name": insight.derived_name,
        "description": insight.description,
        "query": insight.query,
        "filters": insight.filters,
        "dashboards": insight.dashboards,
        "dashboard_tiles": [
            {"id": insight.id * 10 + nth, "dashboard_id": each, "deleted": None}
            for nth, each in enumerate(insight.dashboards)
        ],
        "saved": insight.saved,
        "favorited": insight.favorited,
        "deleted": insight.deleted,
        "tags": insight.tags,
        "created_at": insight.created_at,
        "created_by": shown_user(call, insight.created_by),
        "last_modified_at": insight.last_modified_at,
        "last_modified_by": shown_user(call, insight.last_modified_by),
        "updated_at": refreshed,
        "last_refresh": refreshed,
        "refreshing": False,
        "last_viewed_at": None,
        "user_access_level": "editor",
    }
    if call.request.query.get("basic", "").lower() not in ("true", "1"):
        row |= _result(call, insight)
    return row


def _result(call: Call, insight: Insight) -> dict[str, Any]:
    """The last result, by far the largest part of an insight."""
    days = [f"{call.now - timedelta(days=nth):%Y-%m-%d}" for nth in reversed(range(_DAYS))]
    data = [(insight.id * 31 + nth * nth) % 997 for nth in range(_DAYS)]
    return {
        "result": [{"label": "$pageview", "count": sum(data), "data": data, "days": days}],
        "hasMore": None,
        "columns": None,
        "types": None,
        "hogql": None,
        "timezone": "UTC",
        "is_cached": True,
        "query_status": None,
        "resolved_date_range": None,
        "alerts": [],
        "cache_target_age": None,
        "next_allowed_client_refresh": None,
    }


async def _list(call: Call) -> web.Response:
    """Newest first, without those that were deleted."""
    found = [each for each in call.store.insights.values() if not each.deleted]
    found.sort(key=lambda each: newest_first(each.created_at, f"{each.id:020}"), reverse=True)
    return by_offset(call, found, lambda each: _shown(call, each))


def _asked(call: Call, *, deleted_too: bool = False) -> Insight:
    wanted = call.request.match_info["id"]
    for each in call.store.insights.values():
        if str(each.id) == wanted and (deleted_too or not each.deleted):
            return each
    raise not_found("Not found.")


async def _retrieve(call: Call) -> web.Response:
    return single(call, _shown(call, _asked(call)))


async def _update(call: Call) -> web.Response:
    """Also brings back what was deleted."""
    insight = _asked(call, deleted_too=True)
    values = checked(await read_body(call), _CHECKS, call.now_us)
    for name, value in values.items():
        setattr(insight, name, value)
    if values:
        insight.last_modified_at, insight.last_modified_by = call.now, asking_user(call)
    return single(call, _shown(call, insight))


ENDPOINTS = (
    Endpoint("GET", "/insights", READ, _list),
    Endpoint("GET", "/insights/{id}", READ, _retrieve),
    Endpoint("PATCH", "/insights/{id}", WRITE, _update),
)
