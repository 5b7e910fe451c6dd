"""Accepts a limited number of connections, so that file descriptors are left for the runs.

A server of asyncio has no limit. One of uvloop stops listening when no descriptor is left.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from asyncio import WriteTransport
from collections.abc import Iterable
from typing import Any

import structlog
from aiohttp import web

_log = structlog.get_logger(__name__)

MOST_CONNECTIONS = 64
# Descriptors kept for the runs, a count: two connection pools, requests to PostHog, files.
KEPT_DESCRIPTORS = 128
# Connections that wait in the kernel until we accept them, a count.
_BACKLOG = 128
_AFTER_ERROR_S = 0.5
# A name may have an IPv6 address although this machine has no IPv6.
_NOT_ON_THIS_MACHINE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def connection_limit() -> int:
    """Return how many connections may be open at once, by this process's descriptor limit."""
    try:
        import resource
    except ImportError:  # not on Windows
        return MOST_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(4, min(MOST_CONNECTIONS, (soft - KEPT_DESCRIPTORS) // 2))


async def listen(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of `host`. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            sockets.append(_listen(socket.socket(family, kind, protocol), address))
        except OSError as exc:
            if exc.errno in _NOT_ON_THIS_MACHINE:
                missing = exc
                continue
            for each in sockets:
                each.close()
            raise
    if not sockets and missing is not None:
        raise missing
    return sockets


def _listen(listening: socket.socket, address: Any) -> socket.socket:
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


class Connections:
    """The open connections of one server, at most `limit`.

    Above the limit, connections without a complete request are closed first, the longest idle one
    before the others. So a client that sends a request gets an answer, even if hundreds of others
    send only half of one.
    """

    def __init__(self, server: web.Server, limit: int) -> None:
        self._server = server
        self._limit = limit
        self._handler = server.request_handler
        server.request_handler = self._answer
        # Ordered by the time of the last answer, the oldest first.
        self._open: dict[web.RequestHandler, WriteTransport] = {}
        self._answering: set[web.RequestHandler] = set()

    async def accept(self, listening: socket.socket) -> None:
        """Accept connections for ever. Raises only CancelledError."""
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                connected, _ = await loop.sock_accept(listening)
            except OSError as exc:
                # No descriptor is left, or the client has gone. Other clients wait in the kernel.
                if not failing:
                    _log.warning("connection.refused", reason=exc.strerror)
                failing = True
                self._close(self._waiting())
                await asyncio.sleep(_AFTER_ERROR_S)
                continue
            failing = False
            self._make_room()
            try:
                transport, protocol = await loop.connect_accepted_socket(self._server, connected)
            except OSError:
                connected.close()
                continue
            self._open[protocol] = transport

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        self._answering.add(protocol)
        try:
            return await self._handler(request)
        finally:
            self._answering.discard(protocol)
            if (transport := self._open.pop(protocol, None)) is not None:
                self._open[protocol] = transport

    def _make_room(self) -> None:
        """Close connections until one more is within the limit."""
        alive = set(self._server.connections)
        self._open = {each: at for each, at in self._open.items() if each in alive}
        surplus = len(self._open) + 1 - self._limit
        if surplus > 0:
            self._close([*self._waiting(), *self._answering][:surplus])

    def _waiting(self) -> list[web.RequestHandler]:
        return [each for each in self._open if each not in self._answering]

    def _close(self, connections: Iterable[web.RequestHandler]) -> None:
        for each in connections:
            if (transport := self._open.pop(each, None)) is not None:
                transport.abort()
