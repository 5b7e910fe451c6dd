"""Answers other than the true one: pages of proxies, throttling, broken connections.

Each is passed to `Adversary.when`. It is called with the request and a function that returns the
true answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from tests.adversary.server import Asked

Proceed = Callable[[], web.Response]
Answer = Callable[["Asked", Proceed], Awaitable[web.StreamResponse]]
Predicate = Callable[["Asked"], bool]

_KINDS = {401: "authentication_error", 403: "authentication_error", 429: "throttled_error"}


def error(
    status: int, code: str, detail: str, headers: dict[str, str] | None = None, kind: str = ""
) -> web.Response:
    """Return an error in PostHog's form."""
    kind = kind or _KINDS.get(status) or ("server_error" if status >= 500 else "invalid_request")
    body = {"type": kind, "code": code, "detail": detail, "attr": None}
    return web.json_response(body, status=status, headers=headers)


def page(status: int, text: str = "Request blocked") -> Answer:
    """Answer with the HTML page of a firewall or a proxy."""

    async def answer(_asked: Asked, _proceed: Proceed) -> web.StreamResponse:
        html = f"<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>"
        return web.Response(text=html, status=status, content_type="text/html")

    return answer


def refused(status: int, code: str, detail: str) -> Answer:
    """Answer with an error in PostHog's form."""

    async def answer(_asked: Asked, _proceed: Proceed) -> web.StreamResponse:
        return error(status, code, detail)

    return answer


def throttled(
    text: str = "Query timeout exceeded. Try again later.", retry_after: int | None = None
) -> Answer:
    """Answer 429, with or without the seconds to wait."""

    async def answer(_asked: Asked, _proceed: Proceed) -> web.StreamResponse:
        headers = None if retry_after is None else {"Retry-After": str(retry_after)}
        return error(429, "throttled", text, headers)

    return answer


def document(body: Any, status: int = 200) -> Answer:
    """Answer with this JSON."""

    async def answer(_asked: Asked, _proceed: Proceed) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return answer


async def half(asked: Asked, proceed: Proceed) -> web.StreamResponse:
    """Send the first half of the true answer, then drop the connection."""
    body = bytes(proceed().body)
    broken = web.StreamResponse(headers={"Content-Type": "application/json"})
    broken.content_length = len(body)
    await broken.prepare(asked.http)
    await broken.write(body[: len(body) // 2])
    assert asked.http.transport is not None
    asked.http.transport.close()
    return broken


async def cut(_asked: Asked, proceed: Proceed) -> web.StreamResponse:
    """Send half of the true answer as if it were complete."""
    body = bytes(proceed().body)
    return web.Response(body=body[: len(body) // 2], content_type="application/json")


def after(event: asyncio.Event) -> Answer:
    """Send the true answer once the event is set."""

    async def answer(_asked: Asked, proceed: Proceed) -> web.StreamResponse:
        await event.wait()
        return proceed()

    return answer
