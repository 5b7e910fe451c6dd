"""The web server of `serve`: sockets, access by token, and the routes given to it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from etl.errors import EtlError
from etl.service.access import LARGEST_FORM, Guard, Handler, LoginPage, refusal
from etl.service.connections import Connections, connection_limit, listen
from etl.tasks import beside

_log = structlog.get_logger(__name__)

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_SHUTDOWN_S = 2.0
# A connection without a complete request is closed after this, in seconds.
_IDLE_S = 30.0
# A body that arrives after the answer has this long, in seconds. Only the login form has one.
_BODY_S = 5.0


class NotListening(EtlError):
    """The address is not one of this machine, or another program uses it."""


def build(
    routes: Sequence[web.RouteDef], token: str | None, login_page: LoginPage
) -> web.Application:
    """Return the application. Every request except /healthz must show `token`; see `Guard`."""
    guard = Guard(token, login_page)
    app = web.Application(middlewares=[_answered, guard.let_in], client_max_size=LARGEST_FORM)
    app.add_routes([*routes, *guard.routes()])
    app.on_response_prepare.append(_put_headers)
    return app


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Listen until the block ends; gives the address. Raises NotListening."""
    # Requests are not logged: an address may hold a token by mistake, and the page asks often.
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        keepalive_timeout=_IDLE_S,
        lingering_time=_BODY_S,
    )
    await runner.setup()
    assert runner.server is not None
    try:
        try:
            sockets = await listen(host, port)
        except OSError as exc:
            number = exc.errno or 0
            why = os.strerror(number) if number > 0 else exc.strerror
            raise NotListening(
                f"Cannot listen on {host}:{port}: {why}",
                remedy="Choose another with --host and --port, or end the program that uses it",
            ) from exc
        bound, number = sockets[0].getsockname()[:2]
        shown = f"[{bound}]" if ":" in bound else bound
        connections = Connections(runner.server, connection_limit())
        try:
            async with beside(*(connections.accept(each) for each in sockets)):
                yield f"http://{shown}:{number}"
        finally:
            for each in sockets:
                each.close()
    finally:
        await runner.cleanup()


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer, and log an unexpected error. The log omits the query."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:
        _log.exception("answer.broke", path=request.path)
        return refusal(500, "Unexpected error; the log says more")


async def _put_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "posthog-etl"
