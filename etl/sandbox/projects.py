"""Projects and the key's own description."""

from typing import Any

from aiohttp import web

from etl.sandbox.clock import to_text
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import json_response
from etl.sandbox.tenants import Tenant
from etl.sandbox.traits import OWNER_EMAIL

_ORGANIZATION = "018f0000-0000-7000-8000-000000000001"


def _described(call: Call, tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "uuid": f"018f0000-0000-7000-8000-{tenant.id:012x}",
        "organization": _ORGANIZATION,
        "api_token": tenant.token,
        "name": f"Sandbox {tenant.id}",
        "timezone": call.state.options.timezone,
        "is_demo": False,
    }


async def _list(call: Call) -> web.Response:
    visible = [
        _described(call, tenant)
        for number, tenant in call.state.tenants.items()
        if call.key.projects is None or number in call.key.projects
    ]
    body = {"count": len(visible), "next": None, "previous": None, "results": visible}
    return json_response(body)


async def _retrieve(call: Call) -> web.Response:
    return json_response(_described(call, call.project))


async def _current_key(call: Call) -> web.Response:
    key = call.key
    projects = key.projects
    return json_response(
        {
            "id": "sandbox-key",
            "label": "sandbox",
            "value": None,
            "mask_value": "phx_...",
            "created_at": to_text(key.created_us),
            "last_used_at": None if key.last_used_us is None else to_text(key.last_used_us),
            "scopes": list(key.scopes),
            "scoped_teams": None if projects is None else list(projects),
            "scoped_organizations": None,
            "user_id": 1,
            "user": {"email": OWNER_EMAIL},
        }
    )


ENDPOINTS = (
    Endpoint("GET", "/api/projects", "project:read", _list),
    Endpoint("GET", "", "project:read", _retrieve),
    Endpoint("GET", "/api/personal_api_keys/@current", "", _current_key),
)
