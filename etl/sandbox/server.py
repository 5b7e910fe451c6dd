"""The sandbox as a web server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from etl.sandbox.auth import fingerprint, sent_key
from etl.sandbox.clock import to_text
from etl.sandbox.control import Control
from etl.sandbox.control_http import PREFIX, add_control
from etl.sandbox.endpoints import CLASSES, FAULT, STATE, add_endpoints
from etl.sandbox.faulty import answer
from etl.sandbox.options import SandboxOptions
from etl.sandbox.resources import ENDPOINTS
from etl.sandbox.state import State
from etl.sandbox.world import World

CONTROL = web.AppKey("control", Control)
_BODY_BYTES = 16 * 1024 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that listens. `control` does what the control endpoint does."""

    url: str
    world: World
    control: Control


def build_app(options: SandboxOptions) -> web.Application:
    """The sandbox as an application, its data generated. Nothing listens yet."""
    state = State(options)
    app = web.Application(middlewares=[_watch], client_max_size=_BODY_BYTES)
    app[STATE] = state
    app[CONTROL] = Control(state)
    app.on_response_prepare.append(_date)
    add_control(app, app[CONTROL])
    add_endpoints(app, ENDPOINTS)
    return app


@asynccontextmanager
async def running(options: SandboxOptions) -> AsyncIterator[RunningSandbox]:
    """Listens until the block ends. Raises OSError if the port is in use."""
    app = build_app(options)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port)
        await site.start()
        host, port = runner.addresses[0][:2]
        shown = f"[{host}]" if ":" in host else host
        yield RunningSandbox(f"http://{shown}:{port}", app[STATE].world, app[CONTROL])
    finally:
        await runner.cleanup()


async def serve(
    options: SandboxOptions, stop: asyncio.Event, announce: Callable[[str], None]
) -> None:
    """Announces the address, then listens until `stop` is set. Raises OSError as `running`."""
    async with running(options) as sandbox:
        announce(sandbox.url)
        await stop.wait()


@web.middleware
async def _watch(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Applies faults and logs the request, except for the control endpoint."""
    if request.path.startswith(PREFIX):
        return await handler(request)
    state = request.app[STATE]
    body = await request.read() if state.faults.read_bodies else b""
    fault = state.faults.strike(request.method, request.path, request.query.keys(), body)
    request[FAULT] = fault
    sent = await sent_key(request)
    at = to_text(state.clock.now_us())
    response: web.StreamResponse | None = None
    try:
        response = await answer(request, fault, handler)
    finally:
        lost = response is None or fault.hang or fault.reset is not None
        state.traffic.add(
            request.get(CLASSES, ()),
            at=at,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            status=None if lost or response is None else response.status,
            key_fingerprint=None if sent is None else fingerprint(sent[0]),
            size_bytes=_size_bytes(response),
        )
    if fault.then:
        state.change(fault.then)
    return response


def _size_bytes(response: web.StreamResponse | None) -> int:
    body: Any = getattr(response, "body", None)
    return len(body) if isinstance(body, bytes) else 0


async def _date(request: web.Request, response: web.StreamResponse) -> None:
    """Sends the sandbox's own time in the Date header."""
    now = request.app[STATE].clock.now()
    response.headers["Date"] = format_datetime(now, usegmt=True)
