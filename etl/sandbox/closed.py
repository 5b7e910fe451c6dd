"""Endpoints that the documentation lists without a scope: no personal key may use them."""

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import forbidden

_ITEM = "/session_recording_playlists/{short_id}/recordings/{session_recording_id}"


async def _refuse(call: Call) -> web.Response:
    """Never reached, because no key is allowed."""
    raise forbidden("This action does not support personal API key access")


ENDPOINTS = (
    Endpoint("POST", _ITEM, None, _refuse),
    Endpoint("DELETE", _ITEM, None, _refuse),
    Endpoint("GET", "/query/draft_sql", None, _refuse),
    Endpoint("POST", "/session_summaries/create_session_summaries", None, _refuse),
)
