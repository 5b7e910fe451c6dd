"""Applies faults: answers in place of the server, or changes its answer."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from etl.sandbox.errors import json_response
from etl.sandbox.faults import NO_FAULT, Fault, Mutation

_HTML = "<!doctype html><html><head><title>{title}</title></head><body>{title}</body></html>"
_POLL_S = 0.05
_WORDS = {
    401: ("authentication_error", "authentication_failed",
          "Personal API key found in request Authorization header is invalid."),
    402: ("server_error", "payment_required", "This feature is part of a paid plan."),
    403: ("authentication_error", "permission_denied",
          "You do not have permission to perform this action."),
    404: ("invalid_request", "not_found", "Not found."),
    429: ("throttled_error", "throttled", "Request was throttled."),
    503: ("server_error", "service_unavailable", "The database is at capacity."),
    504: ("server_error", "query_timeout", "Query has hit the max execution time."),
    512: ("server_error", "estimated_query_execution_time_too_long",
          "Query has been stopped because its estimated execution time is too long."),
    513: ("server_error", "memory_limit_exceeded", "Query has hit the memory limit."),
}  # fmt: skip


async def answer(
    request: web.Request,
    fault: Fault,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    """Returns the handler's answer with the fault applied, or another answer instead."""
    if fault is NO_FAULT:
        return await handler(request)
    if fault.latency_s:
        await asyncio.sleep(fault.latency_s)
    if fault.hang:
        await _until_client_leaves(request)
    if fault.reset == "before" or fault.hang:
        _reset(request)
        return web.Response(status=499)
    response: web.StreamResponse = _replacement(fault) or await handler(request)
    if not isinstance(response, web.Response):
        return response
    for name, value in fault.headers.items():
        response.headers.pop(name, None)
        if value is not None:
            response.headers[name] = value
    body = response.body if isinstance(response.body, bytes) else b""
    if fault.truncate is not None:
        response.body = body[: fault.truncate]
    if fault.reset == "mid":
        return await _reset_midway(request, response, body)
    return response


def mutate_rows(rows: list[Any], mutations: tuple[Mutation, ...]) -> list[Any]:
    """Returns the rows of a page with their mutations."""
    changed = list(rows)
    for mutation in mutations:
        chosen = range(len(rows)) if mutation.record == "all" else [mutation.record]
        for at in chosen:
            if at < len(changed):
                changed[at] = _mutate(changed[at], mutation)
    return changed


def _mutate(row: Any, mutation: Mutation) -> orjson.Fragment:
    record = orjson.loads(orjson.dumps(row, option=orjson.OPT_UTC_Z))
    for path, value in mutation.set.items():
        _place(record, path)[path.rsplit(".", 1)[-1]] = value
    for path in mutation.unset:
        _place(record, path).pop(path.rsplit(".", 1)[-1], None)
    for path, text in mutation.raw.items():
        # Not checked, so that text can be sent that no JSON writer would write.
        _place(record, path)[path.rsplit(".", 1)[-1]] = orjson.Fragment(text)
    return orjson.Fragment(orjson.dumps(record))


def _place(record: Any, path: str) -> Any:
    """Returns the object with the last name of a dotted path; makes it if it is missing."""
    for name in path.split(".")[:-1]:
        if not isinstance(record.get(name), dict):
            record[name] = {}
        record = record[name]
    return record


def _replacement(fault: Fault) -> web.Response | None:
    if fault.not_json:
        return web.Response(text="upstream says: OK\n", content_type="application/json")
    status = fault.status
    if status is None:
        return None
    if fault.body == "html":
        title = "PostHog" if status == 200 else f"{status} Error"
        return web.Response(text=_HTML.format(title=title), status=status, content_type="text/html")
    if fault.body == "empty":
        return web.Response(status=status)
    if fault.body != "json":
        return json_response(fault.body, status)
    kind, code, detail = _WORDS.get(status, ("server_error", "error", "A server error occurred."))
    headers = {}
    if fault.wait_s is not None:
        detail += f" Expected available in {fault.wait_s} seconds."
        headers["Retry-After"] = str(fault.wait_s)
    body = {"type": kind, "code": code, "detail": fault.detail or detail, "attr": None}
    return json_response(body, status, headers)


async def _until_client_leaves(request: web.Request) -> None:
    # When a client is gone, the web server tells its handler only by cancelling all handlers.
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)


def _reset(request: web.Request) -> None:
    """Ends the connection with a TCP reset instead of an orderly close."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()


async def _reset_midway(
    request: web.Request, response: web.Response, body: bytes
) -> web.StreamResponse:
    cut = web.StreamResponse(status=response.status, headers=response.headers)
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    # The first half must be sent before the connection is closed.
    await asyncio.sleep(_POLL_S)
    _reset(request)
    return cut
