"""Who may see something by a link: one object for each recording, insight and dashboard.

It is answered even if nothing is stored.
"""

import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from etl.sandbox.bodies import (
    Check,
    an_object,
    boolean,
    checked,
    maybe,
    read_body,
    text,
    text_up_to,
)
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import invalid, json_response, not_found
from etl.sandbox.kinds import SharePassword, Sharing
from etl.sandbox.lists import single
from etl.sandbox.staff import asking_user, email_of
from etl.sandbox.store import new_token

READ, WRITE = "sharing_configuration:read", "sharing_configuration:write"
_SHORTEST = 8
_CHECKS: dict[str, Check] = {
    "enabled": boolean,
    "settings": maybe(an_object),
    "password_required": boolean,
}


@dataclass(frozen=True, slots=True)
class _Resource:
    """What is shared: `path` holds its id under the name `parameter`."""

    type: str
    path: str
    parameter: str

    def asked(self, call: Call) -> tuple[str, str]:
        """Returns type and id. Raises ApiError 404 if an insight or dashboard does not exist.

        A recording is not looked up: real servers answer for any id (PostHog source,
        api/sharing.py).
        """
        wanted = call.request.match_info[self.parameter]
        if self.type == "insight":
            found = [i for i in call.store.insights.values() if str(i.id) == wanted]
            if not found or found[0].deleted:
                raise not_found("Insight not found.")
        if self.type == "dashboard":
            living = {str(d.id) for d in call.store.dashboards.values() if not d.deleted}
            if wanted not in living:
                raise not_found("Dashboard not found.")
        return self.type, wanted

    def endpoints(self) -> tuple[Endpoint, ...]:
        """All endpoints about the sharing of such a resource."""
        passwords = self.path + "/passwords"

        async def retrieve(call: Call) -> web.Response:
            return single(call, _shown(call, _found(call, self.asked(call))))

        async def update(call: Call) -> web.Response:
            resource = self.asked(call)
            values = checked(await read_body(call), _CHECKS, call.now_us)
            sharing = _saved(call, resource)
            _change(sharing, values)
            return single(call, _shown(call, sharing))

        async def refresh(call: Call) -> web.Response:
            """Makes a new link, in a new configuration. The body is ignored."""
            sharing = _saved(call, self.asked(call))
            sharing.access_token, sharing.created_at = new_token(), call.now
            return single(call, _shown(call, sharing))

        async def add_password(call: Call) -> web.Response:
            return await _add_password(call, self.asked(call))

        async def remove_password(call: Call) -> web.Response:
            wanted = call.request.match_info["password_id"]
            for password in call.store.passwords_of(self.asked(call)):
                if str(password.id) == wanted:
                    password.is_active = False
                    return web.Response(status=204)
            raise not_found("Not found.")

        return (
            Endpoint("GET", self.path, READ, retrieve),
            Endpoint("PATCH", self.path, WRITE, update),
            Endpoint("POST", self.path + "/refresh", WRITE, refresh),
            Endpoint("POST", passwords, WRITE, add_password),
            Endpoint("DELETE", passwords + "/{password_id}", WRITE, remove_password),
        )


def _found(call: Call, resource: tuple[str, str]) -> Sharing:
    """The configuration. If nothing was shared, one with a new token that is not stored."""
    sharing = call.store.sharings.get(resource)
    if sharing is None:
        return Sharing(*resource, enabled=False, access_token=new_token())
    return sharing


def _saved(call: Call, resource: tuple[str, str]) -> Sharing:
    """The configuration, stored from now on."""
    sharing = _found(call, resource)
    if sharing.created_at is None:
        sharing.created_at = call.now
    call.store.add(sharing)
    return sharing


def _change(sharing: Sharing, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(sharing, name, value)


def _shown(call: Call, sharing: Sharing) -> dict[str, Any]:
    """The configuration in the form of the server's version, or of the documentation's."""
    row: dict[str, Any] = {
        "created_at": sharing.created_at,
        "enabled": sharing.enabled,
        "access_token": sharing.access_token,
    }
    version = "D" if call.is_cloud else _page_version(call, sharing)
    if version == "A":
        return row
    passwords = _shown_passwords(call, (sharing.resource_type, sharing.resource_id))
    row |= {"settings": sharing.settings, "password_required": sharing.password_required}
    # One page of the documentation has a string here.
    row["share_passwords"] = json.dumps(passwords) if version == "C" else passwords
    if call.is_cloud:
        row["user_access_level"] = "editor"
    return row


def _page_version(call: Call, sharing: Sharing) -> str:
    version = call.state.options.page_version
    return "ACD"[sum(sharing.resource_id.encode()) % 3] if version == "mixed" else version


def _shown_passwords(call: Call, resource: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "id": each.id,
            "created_at": each.created_at and each.created_at.isoformat().replace("+00:00", "Z"),
            "note": each.note,
            "created_by_email": email_of(call, each.created_by),
            "is_active": each.is_active,
        }
        for each in call.store.passwords_of(resource)
    ]


async def _add_password(call: Call, resource: tuple[str, str]) -> web.Response:
    body = await read_body(call)
    if not call.is_cloud:
        # By the documentation it takes and returns the configuration.
        values = checked(body, _CHECKS, call.now_us)
        sharing = _saved(call, resource)
        _change(sharing, values)
        _new_password(call, resource, None)
        return single(call, _shown(call, sharing))
    found = _found(call, resource)
    if not found.password_required:
        error = "Password protection must be enabled before a password can be added."
        return json_response({"error": error}, 400)
    raw = text("raw_password", body["raw_password"]) if body.get("raw_password") else new_token()
    if len(raw) < _SHORTEST:
        raise invalid("raw_password", f"At least {_SHORTEST} characters are needed.", "min_length")
    note = maybe(text_up_to(100))("note", body.get("note"), call.now_us)
    made = _new_password(call, resource, note)
    return json_response(
        {
            "id": made.id,
            "password": raw,
            "note": made.note,
            "created_at": made.created_at,
            "created_by_email": email_of(call, made.created_by),
        },
        201,
    )


def _new_password(call: Call, resource: tuple[str, str], note: str | None) -> SharePassword:
    made = SharePassword(
        call.store.new_id(), *resource, call.now, note, created_by=asking_user(call)
    )
    call.store.add(made)
    return made


ENDPOINTS = (
    *_Resource(
        "recording", "/session_recordings/{recording_id}/sharing", "recording_id"
    ).endpoints(),
    *_Resource("insight", "/insights/{insight_id}/sharing", "insight_id").endpoints(),
    *_Resource(
        "dashboard",
        "/api/projects/{project_id}/dashboards/{dashboard_id}/sharing",
        "dashboard_id",
    ).endpoints(),
)
