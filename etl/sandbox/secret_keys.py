"""Secret API keys of a project: their value is told once, when they are made or rolled."""

import secrets
from typing import Any

from aiohttp import web

from etl.sandbox.bodies import Check, checked, read_body, text_up_to, texts
from etl.sandbox.clock import HOUR_US, to_datetime, to_us
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import ApiError, invalid, not_found, required
from etl.sandbox.kinds import SecretKey
from etl.sandbox.lists import by_offset, newest_first, single
from etl.sandbox.staff import asking_user, shown_user

READ, WRITE = "project:read", "project:write"
MOST_KEYS = 50


def _scopes(name: str, value: Any, now_us: int) -> list[str]:
    found = texts(name, value)
    if not found:
        raise invalid(name, "This list may not be empty.", "empty")
    return found


_CHECKS: dict[str, Check] = {"label": text_up_to(40), "scopes": _scopes}


def _shown(call: Call, key: SecretKey, value: str | None = None) -> dict[str, Any]:
    maker = call.store.user_id(key.created_by)
    return {
        "id": key.id,
        "label": key.label,
        "value": value,
        "mask_value": key.mask_value,
        "created_at": key.created_at,
        # The documentation shows a number here.
        "created_by": shown_user(call, maker) if call.is_cloud else maker,
        "last_used_at": _last_used(call, key),
        "last_rolled_at": key.last_rolled_at,
        "scopes": key.scopes,
    }


def _last_used(call: Call, key: SecretKey) -> Any:
    """A key in use is used all the time; the server notes it once an hour."""
    if key.last_used_at is None:
        return None
    since_us = max(0, call.now_us - to_us(key.last_used_at))
    return to_datetime(to_us(key.last_used_at) + since_us // HOUR_US * HOUR_US)


async def _list(call: Call) -> web.Response:
    found = list(call.store.secret_keys.values())
    found.sort(key=lambda each: newest_first(each.created_at, each.id), reverse=True)
    return by_offset(call, found, lambda each: _shown(call, each))


def _asked(call: Call) -> SecretKey:
    key = call.store.secret_keys.get(call.request.match_info["id"])
    if key is None:
        raise not_found("Not found.")
    return key


async def _retrieve(call: Call) -> web.Response:
    return single(call, _shown(call, _asked(call)))


async def _create(call: Call) -> web.Response:
    body = await read_body(call)
    for name in _CHECKS:
        if name not in body:
            raise required(name)
    values = checked(body, _CHECKS, call.now_us)
    if len(call.store.secret_keys) >= MOST_KEYS:
        detail = f"A project can have {MOST_KEYS} secret API keys at most."
        raise ApiError(400, "validation_error", "invalid_input", detail)
    key = SecretKey(
        id=secrets.token_hex(5), created_at=call.now, created_by=asking_user(call), **values
    )
    value = _new_value(key)
    call.store.add(key)
    return single(call, _shown(call, key, value), 201)


async def _update(call: Call) -> web.Response:
    key = _asked(call)
    for name, value in checked(await read_body(call), _CHECKS, call.now_us).items():
        setattr(key, name, value)
    return single(call, _shown(call, key))


async def _delete(call: Call) -> web.Response:
    del call.store.secret_keys[_asked(call).id]
    return web.Response(status=204)


async def _roll(call: Call) -> web.Response:
    key = _asked(call)
    key.last_rolled_at = call.now
    return single(call, _shown(call, key, _new_value(key)))


def _new_value(key: SecretKey) -> str:
    value = f"phs_{secrets.token_urlsafe(24)}"
    key.mask_value = f"phs_...{value[-4:]}"
    return value


_ONE = "/project_secret_api_keys/{id}"
ENDPOINTS = (
    Endpoint("GET", "/project_secret_api_keys", READ, _list),
    Endpoint("POST", "/project_secret_api_keys", WRITE, _create),
    Endpoint("GET", _ONE, READ, _retrieve),
    Endpoint("PATCH", _ONE, WRITE, _update),
    Endpoint("DELETE", _ONE, WRITE, _delete),
    # The pages name no scope; newer servers have this one (PostHog source, key API).
    Endpoint("POST", _ONE + "/roll", WRITE, _roll),
)
