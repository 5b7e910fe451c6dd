"""Projects and the key's own description."""

from dataclasses import asdict
from typing import Any

from aiohttp import web

from etl.sandbox.clock import to_text
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import json_response
from etl.sandbox.kinds_organization import ProjectRow
from etl.sandbox.lists import by_offset
from etl.sandbox.store import new_token
from etl.sandbox.tenants import Tenant
from etl.sandbox.traits import OWNER_EMAIL

# What older servers do not show.
_NEWER = (
    "completed_snippet_onboarding",
    "has_completed_onboarding_for",
    "ingested_event",
    "access_control",
)


def _described(call: Call, tenant: Tenant) -> dict[str, Any]:
    """A project with its public token; of one that is not listed only what tells which it is."""
    project = tenant.data.store.projects.get(tenant.id, ProjectRow(tenant.id))
    row = {**asdict(project), "api_token": tenant.token}
    if not call.is_cloud:
        return {name: value for name, value in row.items() if name not in _NEWER}
    return {**row, "project_id": tenant.id}


async def _list(call: Call) -> web.Response:
    visible = [
        tenant
        for number, tenant in call.state.tenants.items()
        if (call.key.projects is None or number in call.key.projects)
        and number in tenant.data.store.projects
    ]
    return by_offset(call, visible, lambda tenant: _described(call, tenant))


async def _retrieve(call: Call) -> web.Response:
    """Shows secrets, and makes a token that was never seen before."""
    made = {
        "secret_api_token": f"phs_sandbox_{call.project.id}",
        "secret_api_token_backup": None,
        "live_events_token": new_token(),
        "slack_incoming_webhook": None,
    }
    return json_response(_described(call, call.project) | (made if call.is_cloud else {}))


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
