"""Subscriptions: listed, made and changed. They are never deleted, only marked deleted."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from aiohttp import web

from etl.sandbox.bodies import (
    Check,
    boolean,
    checked,
    instant,
    maybe,
    one_of,
    read_body,
    some_of,
    text,
    text_up_to,
    whole_number,
)  # fmt: skip
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import invalid, method_not_allowed, not_found, required
from etl.sandbox.kinds import Subscription
from etl.sandbox.lists import by_offset, newest_first, single
from etl.sandbox.schedules import next_delivery, summary
from etl.sandbox.staff import asking_user, email_of, shown_user

READ, WRITE = "subscription:read", "subscription:write"
_TARGETS = ("email", "slack", "webhook")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CHECKS: dict[str, Check] = {
    "dashboard": maybe(whole_number),
    "insight": maybe(whole_number),
    "target_type": one_of(*_TARGETS),
    "target_value": text,
    "frequency": one_of("daily", "weekly", "monthly", "yearly"),
    "interval": whole_number,
    "byweekday": maybe(some_of(*_DAYS)),
    "bysetpos": maybe(whole_number),
    "count": maybe(whole_number),
    "start_date": instant,
    "until_date": maybe(instant),
    "deleted": boolean,
    "title": maybe(text_up_to(100)),
}
_NEEDED = ("target_type", "target_value", "frequency", "start_date")
# The documentation names none of these.
_SERVER_ONLY = (
    "content_type", "dashboard_export_insights", "prompt", "ai_config", "enabled",
    "integration_id", "summary_enabled", "summary_prompt_guide",
)  # fmt: skip
_DOCUMENTED = [each.name for each in fields(Subscription) if each.name not in _SERVER_ONLY]
_ORDERS: dict[str, Callable[[Call, Subscription], str]] = {
    "created_at": lambda call, each: str(each.created_at),
    "next_delivery_date": lambda call, each: str(next_delivery(each, call.now)),
    "title": lambda call, each: each.title or "",
    "created_by__email": lambda call, each: email_of(call, each.created_by),
}


def _shown(call: Call, subscription: Subscription) -> dict[str, Any]:
    row = {name: getattr(subscription, name) for name in _DOCUMENTED}
    row["created_by"] = shown_user(call, subscription.created_by)
    row["summary"] = summary(subscription, newer=call.is_cloud)
    row["next_delivery_date"] = next_delivery(subscription, call.now)
    row["invite_message"] = None
    if call.is_cloud:
        row |= {name: getattr(subscription, name) for name in _SERVER_ONLY}
        insight = call.store.insights.get(subscription.insight or 0)
        row["insight_short_id"] = None if insight is None else insight.short_id
        sent = insight or call.store.dashboards.get(subscription.dashboard or 0)
        row["resource_name"] = None if sent is None else sent.name
    return row


async def _list(call: Call) -> web.Response:
    """Newest first. Only real servers filter: without `deleted` they leave out deleted ones."""
    found = list(call.store.subscriptions.values())
    found.sort(key=lambda each: newest_first(each.created_at, f"{each.id:020}"), reverse=True)
    if call.is_cloud:
        found = _filtered(call, found)
        order = call.request.query.get("ordering", "")
        if value := _ORDERS.get(order.removeprefix("-")):
            found.sort(key=lambda each: value(call, each), reverse=order.startswith("-"))
    return by_offset(call, found, lambda each: _shown(call, each))


def _filtered(call: Call, found: list[Subscription]) -> list[Subscription]:
    query = call.request.query
    deleted = query.get("deleted", "").lower() in ("true", "1")
    found = [each for each in found if each.deleted == deleted]
    if (target := query.get("target_type")) is not None:
        found = [each for each in found if each.target_type == one_of(*_TARGETS)("", target, 0)]
    for name in ("insight", "dashboard"):
        if (wanted := query.get(name)) is not None:
            found = [each for each in found if str(getattr(each, name)) == wanted]
    if (uuid := query.get("created_by")) is not None:
        makers = {user.id for user in call.store.users.values() if user.uuid == uuid}
        found = [each for each in found if each.created_by in makers]
    if (kind := query.get("resource_type")) is not None:
        found = [each for each in found if each.content_type == kind]
    if wanted := query.get("search", "").lower():
        found = [each for each in found if wanted in (each.title or "").lower()]
    return found


def _asked(call: Call) -> Subscription:
    """The subscription of the address, also a deleted one."""
    wanted = call.request.match_info["id"]
    for each in call.store.subscriptions.values():
        if str(each.id) == wanted:
            return each
    raise not_found("Not found.")


async def _retrieve(call: Call) -> web.Response:
    return single(call, _shown(call, _asked(call)))


async def _create(call: Call) -> web.Response:
    body = await read_body(call)
    for name in _NEEDED:
        if name not in body:
            raise required(name)
    values = checked(body, _CHECKS, call.now_us)
    if call.is_cloud and not (values.get("insight") or values.get("dashboard")):
        raise invalid("non_field_errors", "Either dashboard or insight is required.")
    made = Subscription(
        id=call.store.new_id(),
        created_at=call.now,
        created_by=asking_user(call),
        content_type="insight" if values.get("insight") else "dashboard",
    )
    _change(made, values)
    call.store.add(made)
    return single(call, _shown(call, made), 201)


async def _update(call: Call) -> web.Response:
    subscription = _asked(call)
    _change(subscription, checked(await read_body(call), _CHECKS, call.now_us))
    return single(call, _shown(call, subscription))


async def _delete(call: Call) -> web.Response:
    """Not allowed: `deleted` is set by a patch."""
    raise method_not_allowed("DELETE")


def _change(subscription: Subscription, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(subscription, name, value)


ENDPOINTS = (
    Endpoint("GET", "/subscriptions", READ, _list),
    Endpoint("POST", "/subscriptions", WRITE, _create),
    Endpoint("GET", "/subscriptions/{id}", READ, _retrieve),
    Endpoint("PATCH", "/subscriptions/{id}", WRITE, _update),
    Endpoint("DELETE", "/subscriptions/{id}", WRITE, _delete),
)
