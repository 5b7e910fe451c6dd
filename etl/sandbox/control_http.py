"""The control endpoint over HTTP, under /_sandbox/: JSON, no key, no limits, no faults."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
from aiohttp import web

from etl.sandbox.control import Control
from etl.sandbox.errors import json_response

PREFIX = "/_sandbox/"
_ROWS_AT_ONCE = 500
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_control(app: web.Application, control: Control) -> None:
    """Makes the control endpoint answer."""

    async def state(request: web.Request) -> web.StreamResponse:
        return json_response(control.state())

    async def clock(request: web.Request) -> web.StreamResponse:
        body = await _body(request, dict)
        if "advance_s" in body:
            control.advance(float(body["advance_s"]))
        now = body.get("now")
        instant = None if now is None else datetime.fromisoformat(now)
        return json_response(control.set_clock(instant, body.get("mode")))

    async def requests(request: web.Request) -> web.StreamResponse:
        return json_response(control.requests(int(request.query.get("since", "0"))))

    async def reset_requests(request: web.Request) -> web.StreamResponse:
        return json_response(control.reset_requests())

    async def add_faults(request: web.Request) -> web.StreamResponse:
        return json_response(control.add_faults(*await _body(request, list)))

    async def faults(request: web.Request) -> web.StreamResponse:
        return json_response(control.faults())

    async def clear_faults(request: web.Request) -> web.StreamResponse:
        return json_response(control.clear_faults())

    async def data(request: web.Request) -> web.StreamResponse:
        operations = await _body(request, list)
        return json_response(control.change(*operations, project=_project(request)))

    async def keys(request: web.Request) -> web.StreamResponse:
        return json_response(control.put_key(**await _body(request, dict)))

    async def truth(request: web.Request) -> web.StreamResponse:
        return json_response(control.truth(_project(request)))

    async def truth_stream(request: web.Request) -> web.StreamResponse:
        rows = control.truth_rows(request.match_info["stream"], _project(request))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while chunk := [orjson.dumps(row) for row in islice(rows, _ROWS_AT_ONCE)]:
            await response.write(b"\n".join([*chunk, b""]))
        return response

    routes: list[tuple[str, str, Answer]] = [
        ("GET", "state", state),
        ("POST", "clock", clock),
        ("GET", "requests", requests),
        ("POST", "requests/reset", reset_requests),
        ("POST", "faults", add_faults),
        ("GET", "faults", faults),
        ("DELETE", "faults", clear_faults),
        ("POST", "data", data),
        ("POST", "keys", keys),
        ("GET", "truth", truth),
        ("GET", "truth/{stream}", truth_stream),
    ]
    for method, path, answer in routes:
        app.router.add_route(method, PREFIX + path, _explained(answer))


def _explained(answer: Answer) -> Answer:
    """Answers 400 with a reason to an invalid call."""

    async def explain(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except (ValueError, TypeError) as exc:
            return json_response({"error": str(exc)}, 400)

    return explain


def _project(request: web.Request) -> int | None:
    text = request.query.get("project")
    return None if text is None else int(text)


async def _body(request: web.Request, kind: type[Any]) -> Any:
    body = await request.json()
    if not isinstance(body, kind):
        raise ValueError(f"the body must be a JSON {'object' if kind is dict else 'array'}")
    return body
