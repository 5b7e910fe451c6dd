"""Deliveries of a subscription: 50 a page by cursor, newest first, with all that was sent."""

from dataclasses import asdict
from typing import Any

from aiohttp import web

from etl.sandbox.bodies import one_of
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds_organization import Delivery
from etl.sandbox.lists import by_cursor, newest_first

PAGE_ROWS = 50
_STATUSES = ("starting", "completed", "failed", "skipped")


def _shown(call: Call, delivery: Delivery) -> dict[str, Any]:
    row = {
        **asdict(delivery),
        "temporal_workflow_id": f"deliver-{delivery.id}",
        "idempotency_key": f"key-{delivery.id}",
    }
    if call.is_cloud:
        row |= {"change_summary": "Weekly users rose", "ai_report": None}
    return row


async def _list(call: Call) -> web.Response:
    wanted, status = call.request.match_info["id"], call.request.query.get("status")
    if wanted not in map(str, call.store.subscriptions):
        raise not_found("Not found.")
    if status is not None:
        one_of(*_STATUSES)("status", status, call.now_us)
    found = [
        each
        for each in call.store.deliveries.values()
        if str(each.subscription) == wanted and status in (None, each.status)
    ]
    found.sort(key=lambda each: newest_first(each.created_at, each.id), reverse=True)
    return by_cursor(
        call,
        found,
        lambda each: newest_first(each.created_at, each.id),
        lambda each: _shown(call, each),
        PAGE_ROWS,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/projects/{project_id}/subscriptions/{id}/deliveries",
        "subscription:read",
        _list,
    ),
)
