"""Properties of sessions and their values."""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import ApiError, json_response
from etl.sandbox.group_properties import answer_values, value_text
from etl.sandbox.lists import bend
from etl.sandbox.session_properties import PROPERTIES, VALUES

READ = "query:read"


async def _definitions(call: Call) -> web.Response:
    """All of them at once."""
    search = call.request.query.get("search", "").lower()
    numerical = call.request.query.get("is_numerical", "").lower()
    rows: list[dict[str, Any]] = [
        {
            "id": name,
            "name": name,
            "property_type": kind,
            "is_numerical": number,
            "is_seen_on_filtered_events": None,
            "tags": [],
        }
        for name, (kind, number) in PROPERTIES.items()
        if search in name.lower() and numerical in ("", str(number).lower())
    ]
    return json_response({"count": len(rows), "results": bend(call, rows)})


async def _values(call: Call) -> web.Response:
    key = call.request.query.get("key")
    if not key:
        raise ApiError(400, "validation_error", "invalid_input", "Key not provided")
    wanted = call.request.query.get("value", "").lower()
    found = [each for each in VALUES.get(key, ()) if wanted in value_text(each).lower()]
    return answer_values(call, [{"name": each} for each in found])


ENDPOINTS = (
    Endpoint("GET", "/sessions/property_definitions", READ, _definitions),
    Endpoint("GET", "/sessions/values", READ, _values, ("clickhouse",)),
)
