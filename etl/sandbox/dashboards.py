"""Dashboards: listed without their tiles. To open one writes when that was."""

from typing import Any

from aiohttp import web

from etl.sandbox.clock import HOUR_US, to_datetime
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds_dashboards import Collaborator, Dashboard
from etl.sandbox.lists import bare, by_offset, single
from etl.sandbox.staff import shown_user

READ = "dashboard:read"
# Newer servers register them under this prefix only (PostHog source,
# products/dashboards/backend/routes.py).
_LIST = "/api/projects/{project_id}/dashboards"
_UNLISTED = "unlisted"


def _shown(call: Call, dashboard: Dashboard) -> dict[str, Any]:
    sharing = call.store.sharings.get(("dashboard", str(dashboard.id)))
    return {
        "id": dashboard.id,
        "name": dashboard.name,
        "description": dashboard.description,
        "pinned": dashboard.pinned,
        "created_at": dashboard.created_at,
        "created_by": shown_user(call, dashboard.created_by),
        "last_accessed_at": dashboard.last_accessed_at,
        "last_viewed_at": dashboard.last_accessed_at,
        "folder": dashboard.folder,
        "is_shared": sharing is not None and sharing.enabled,
        "deleted": dashboard.deleted,
        "creation_mode": dashboard.creation_mode,
        "tags": dashboard.tags,
        "restriction_level": dashboard.restriction_level,
        "effective_restriction_level": dashboard.restriction_level,
        "effective_privilege_level": 37,
        "user_access_level": "manager",
        "access_control_version": "v1" if dashboard.restriction_level > 21 else "v2",
        "last_refresh": to_datetime(call.now_us // HOUR_US * HOUR_US),
        "team_id": call.project.id,
    }


async def _list(call: Call) -> web.Response:
    """Pinned ones first, then by name; unlisted and deleted ones are left out.

    With `creation_mode` only those of this mode are listed.
    """
    mode = call.request.query.get("creation_mode")
    found = [
        each
        for each in call.store.dashboards.values()
        if not each.deleted
        and (each.creation_mode == mode if mode else each.creation_mode != _UNLISTED)
    ]
    found.sort(key=lambda each: (not each.pinned, each.name is None, each.name or ""))
    return by_offset(call, found, lambda each: _shown(call, each))


def _asked(call: Call) -> Dashboard:
    """The dashboard of the address, also an unlisted one."""
    wanted = call.request.match_info["dashboard_id"]
    for each in call.store.dashboards.values():
        if str(each.id) == wanted and not each.deleted:
            return each
    raise not_found("Dashboard not found.")


async def _retrieve(call: Call) -> web.Response:
    """Writes `last_accessed_at`. Tiles come with it."""
    dashboard = _asked(call)
    dashboard.last_accessed_at = call.now
    tiles = [
        {"id": insight.id * 10 + insight.dashboards.index(dashboard.id), "insight": insight.id}
        for insight in call.store.insights.values()
        if dashboard.id in insight.dashboards and not insight.deleted
    ]
    return single(call, _shown(call, dashboard) | {"tiles": tiles})


async def _collaborators(call: Call) -> web.Response:
    """Only active users."""
    dashboard = _asked(call)
    found = call.store.collaborators.values()
    shown = [
        _shown_collaborator(call, each)
        for each in found
        if each.dashboard_id == dashboard.id and each.is_active and each.user in call.store.users
    ]
    return bare(call, shown)


def _shown_collaborator(call: Call, collaborator: Collaborator) -> dict[str, Any]:
    return {
        "id": collaborator.id,
        "dashboard_id": collaborator.dashboard_id,
        "user": shown_user(call, collaborator.user),
        "level": collaborator.level,
        "added_at": collaborator.added_at,
        "updated_at": collaborator.updated_at,
    }


ENDPOINTS = (
    Endpoint("GET", _LIST, READ, _list),
    Endpoint("GET", _LIST + "/{dashboard_id}", READ, _retrieve),
    Endpoint("GET", _LIST + "/{dashboard_id}/collaborators", READ, _collaborators),
)
