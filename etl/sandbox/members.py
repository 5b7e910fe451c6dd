"""Members of the organization: of all its projects together, each user once."""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds_organization import Member
from etl.sandbox.lists import by_offset, newest_first
from etl.sandbox.staff import shown_user
from etl.sandbox.tenants import Tenant

_FIELDS = ("id", "level", "joined_at", "updated_at", "is_2fa_enabled", "has_social_auth")


def _shown(call: Call, tenant: Tenant, member: Member) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(member, name) for name in _FIELDS}
    row["user"] = shown_user(call, member.user, tenant.data.store)
    return {**row, "last_login": member.last_login}


async def _list(call: Call) -> web.Response:
    """Newest first. A user who is gone is left out."""
    wanted = call.request.match_info["organization_id"]
    tenants = [
        tenant
        for tenant in call.state.tenants.values()
        if any(each.organization == wanted for each in tenant.data.store.projects.values())
        and (call.key.projects is None or tenant.id in call.key.projects)
    ]
    if not tenants:
        raise not_found("Organization not found.")
    tenant = tenants[0]
    store = tenant.data.store
    found = [each for each in store.members.values() if each.user in store.users]
    found.sort(key=lambda each: newest_first(each.joined_at, each.id), reverse=True)
    return by_offset(call, found, lambda each: _shown(call, tenant, each))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/organizations/{organization_id}/members",
        "organization_member:read",
        _list,
    ),
)
