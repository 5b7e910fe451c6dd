"""The activity log of a project: by cursor, newest first.

Only the form that every server opens to keys (PostHog source, posthog/api/advanced_activity_logs).
It knows no parameter for dates, and ignores those that it does not know.
"""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.kinds_organization import LogEntry
from etl.sandbox.lists import by_cursor, newest_first
from etl.sandbox.staff import shown_user


def _shown(call: Call, entry: LogEntry) -> dict[str, Any]:
    project = call.store.projects.get(call.project.id)
    return {
        "id": entry.id,
        "user": shown_user(call, entry.user),
        "organization_id": None if project is None else project.organization,
        "activity": entry.activity,
        "scope": entry.scope,
        "item_id": entry.item_id,
        "detail": entry.detail,
        "created_at": entry.created_at,
        "was_impersonated": entry.was_impersonated,
        "is_system": entry.is_system,
        "unread": entry.unread,
    }


async def _list(call: Call) -> web.Response:
    query = call.request.query
    found = [
        each
        for each in call.store.log_entries.values()
        if query.get("scope") in (None, each.scope) and query.get("item_id") in (None, each.item_id)
    ]
    found.sort(key=lambda each: newest_first(each.created_at, each.id), reverse=True)
    return by_cursor(
        call,
        found,
        lambda each: newest_first(each.created_at, each.id),
        lambda each: _shown(call, each),
    )


ENDPOINTS = (
    Endpoint("GET", "/api/projects/{project_id}/activity_log", "activity_log:read", _list),
)
