"""The web server of `serve`: sockets, access by token, and the routes given to it."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from yarl import URL

from etl.core.source import is_own_machine
from etl.errors import EtlError
from etl.service.connections import Connections, connection_limit, listen
from etl.tasks import beside

_log = structlog.get_logger(__name__)

HEALTHZ = "/healthz"
COOKIE = "posthog_etl"
# Lifetime of the cookie: weeks, because people keep the page open.
_COOKIE_AGE_S = 30 * 86_400
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SHUTDOWN_S = 2.0
# A connection without a complete request is closed after this, in seconds.
_IDLE_S = 30.0
# No route reads a body. A body that arrives after the answer has this long, in seconds.
_BODY_S = 5.0


class NotListening(EtlError):
    """The address is not one of this machine, or another program uses it."""


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build(routes: Sequence[web.RouteDef], token: str | None) -> web.Application:
    """Return the application. Every request except /healthz must show `token`.

    Without a token only this machine may ask, and only under its own names. Otherwise a foreign web
    page could read the answers through a name that DNS resolves to this machine (DNS rebinding).
    """
    app = web.Application(middlewares=[_answered, _Guard(token).let_in])
    app.add_routes(routes)
    app.on_response_prepare.append(_put_headers)
    return app


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Listen until the block ends; gives the address. Raises NotListening."""
    # Requests are not logged, because an address may hold the token.
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


class _Guard:
    """Accepts requests with the token: in a header, once in the address, then in a cookie."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()
        # Derived from the token, so that browsers do not store the token itself.
        self._cookie = (
            "" if token is None else hmac.digest(token.encode(), b"cookie", hashlib.sha256).hex()
        )

    @web.middleware
    async def let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer the request, or say why it is refused."""
        if request.path == HEALTHZ:
            return await handler(request)
        if self._token is None:
            if not is_own_machine(_name_of(request.host)):
                return _refusal(403, "Set POSTHOG_ETL_SERVE_TOKEN to allow other names")
            return await handler(request)
        given = request.query.get("token")
        if given is not None and self._is_token(given):
            return self._welcome(request)
        kind, _, shown = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(shown.strip()):
            return await handler(request)
        cookie = request.cookies.get(COOKIE, "")
        if hmac.compare_digest(cookie.encode(), self._cookie.encode()):
            return await handler(request)
        refusal = _refusal(401, "Show the token: Authorization: Bearer …, or once ?token=…")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    def _is_token(self, text: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token)

    def _welcome(self, request: web.Request) -> web.Response:
        """Set the cookie, and redirect to the address without the token."""
        rest = {name: value for name, value in request.query.items() if name != "token"}
        # A path that begins with // would name another host.
        path = "/" + request.path.lstrip("/\\")
        response = web.Response(
            status=303, headers={"Location": str(URL.build(path=path, query=rest))}
        )
        response.set_cookie(
            COOKIE,
            self._cookie,
            max_age=_COOKIE_AGE_S,
            httponly=True,
            secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
            # Not Strict: a link on another site would then come without the cookie.
            samesite="Lax",
        )
        return response


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer, and log an unexpected error. The log omits the query, which may hold the token."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception:
        _log.exception("answer.broke", path=request.path)
        return _refusal(500, "Unexpected error; the log says more")


async def _put_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "posthog-etl"


def _name_of(host: str) -> str:
    try:
        return URL(f"http://{host}").host or ""
    except ValueError:
        return ""


def _refusal(status: int, why: str) -> web.Response:
    return web.Response(status=status, text=why + "\n")
