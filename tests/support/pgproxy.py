"""A proxy that follows a conversation with Postgres and acts at exact points of it.

The command under test runs as it is shipped, in its own process. The proxy stands between it and
a real server, sees what both say, and calls back at the point that a test has named: to kill the
process there, to stop it, or to change something behind its back.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.pgwire import (
    GSS_REQUEST,
    SSL_REQUEST,
    Moment,
    Point,
    Script,
    complete_messages,
)

__all__ = ["PgProxy", "Point", "Rule"]

_CHUNK_BYTES = 65536


class Rule:
    """What to do at a point. `seen` counts how often the point came up since the rule stands.

    `fired` is set once the action was called.
    """

    def __init__(
        self,
        point: Point,
        nth: int | None,
        action: Callable[[], None] | None,
        sql: re.Pattern[str] | None,
        hold: bool,
    ) -> None:
        self.seen = 0
        self.fired = asyncio.Event()
        self._point = point
        self._nth = nth
        self._action = action
        self._sql = sql
        self._hold = hold

    def meet(self, moment: Moment) -> bool:
        """Count, and act if it is time; return whether the conversation is to be held now."""
        if self._point not in moment.points or (self._sql and not self._sql.search(moment.sql)):
            return False
        self.seen += 1
        if self._action is None or self.seen != self._nth:
            return False
        self._action()
        self.fired.set()
        return self._hold


class PgProxy:
    """An async context manager: listens on a free port of 127.0.0.1 and passes on to a server.

    `seen` counts the points that came up on all connections so far. Several connections at once
    are fine: they share rules and counts. Speaks no TLS, to neither side.
    """

    def __init__(
        self,
        target_socket_dir: Path | str,
        target_port: int = 5432,
        *,
        account: str = "postgres",
        database: str = "postgres",
    ) -> None:
        self.seen: Counter[Point] = Counter()
        self._target = (str(target_socket_dir), target_port)
        self._account = account
        self._database = database
        self._rules: list[Rule] = []
        self._released = asyncio.Event()
        self._refusing = False
        self._conversations: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    def in_front_of(cls, dsn: str) -> Self:
        """Return a proxy to the server, account and database that `dsn` names (socket or TCP)."""
        parts = urlsplit(dsn)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        return cls(
            query.get("host") or parts.hostname or "127.0.0.1",
            int(query.get("port") or parts.port or 5432),
            account=parts.netloc.rpartition("@")[0],
            database=unquote(parts.path.removeprefix("/")),
        )

    @property
    def dsn(self) -> str:
        """The address to give to the command under test."""
        assert self._server is not None, "the proxy listens only inside its context"
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://{self._account}@127.0.0.1:{port}/{self._database}?sslmode=disable"

    def when(
        self,
        point: Point,
        nth: int,
        action: Callable[[], None],
        *,
        sql: re.Pattern[str] | None = None,
        hold: bool = True,
    ) -> Rule:
        """Call `action` when `point` comes up for the nth time from now on, counted from 1.

        With `sql` only statements count in whose text it is found.

        With `hold` the message at hand, and all that follows in its direction, then waits for
        `release`, and is lost when the client dies before: so whoever was to receive it never
        does. Without, it goes on once the action is done, dead client or not.
        """
        if point is Point.AFTER_STATEMENT and sql is None:
            raise ValueError("this point needs the text of the statement: sql=re.compile(...)")
        self._released.clear()
        rule = Rule(point, nth, action, sql, hold)
        self._rules.append(rule)
        return rule

    def watch(self, point: Point, *, sql: re.Pattern[str] | None = None) -> Rule:
        """Only count how often `point` comes up from now on: see the rule's `seen`."""
        rule = Rule(point, None, None, sql, hold=False)
        self._rules.append(rule)
        return rule

    def release(self) -> None:
        """Let everything that is held go on. Holds again from the next `when` on."""
        self._released.set()

    def cut(self) -> None:
        """Drop all connections, on both sides. Reaches them when the event loop turns next."""
        for conversation in self._conversations:
            conversation.cancel()

    def refuse(self, refusing: bool) -> None:
        """Drop every new connection at once, or serve them again."""
        self._refusing = refusing

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._conversations)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            # Whichever side goes, by itself or cut off: this conversation ends, not the test.
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                if not self._refusing:
                    await self._converse(_Side(reader, writer))
        finally:
            writer.transport.abort()
            self._conversations.discard(task)

    async def _converse(self, client: _Side) -> None:
        greeting = await client.read_greeting()
        host, port = self._target
        if host.startswith("/"):
            streams = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            streams = await asyncio.open_connection(host, port)
        server = _Side(*streams)
        try:
            await server.send(greeting)
            script = Script()
            pumps = {
                asyncio.create_task(self._pump(client, server, script.client_says, client)),
                asyncio.create_task(self._pump(server, client, script.server_says, client)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
            await client.finish()
            await server.finish()
        finally:
            server.writer.transport.abort()

    async def _pump(
        self, source: _Side, target: _Side, take_in: Callable[[bytes], Moment], client: _Side
    ) -> None:
        """Pass messages on until the source ends, stopping where a rule says so."""
        pending = b""
        while chunk := await source.read():
            pending += chunk
            passed = 0
            for message in complete_messages(pending):
                passed += len(message)
                moment = take_in(message)
                self.seen.update(moment.points)
                begun = Point.IN_COPY in moment.points
                if begun:
                    await target.send(message)
                # Every rule is asked, also after one that holds: each keeps its own count.
                if any([rule.meet(moment) for rule in self._rules]):
                    await self._hold(source, source is client)
                if not begun:
                    await target.send(message)
            pending = pending[passed:]

    async def _hold(self, source: _Side, is_client: bool) -> None:
        """Wait for `release`. Raises EOFError when the source is a client and ends before."""
        released = asyncio.create_task(self._released.wait())
        ended = asyncio.create_task(source.wait_for_end())
        try:
            await asyncio.wait({released, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not released.done():
                if is_client:
                    raise EOFError
                # A server's last words are for its client, when that wakes up.
                await released
        finally:
            released.cancel()
            ended.cancel()
            await asyncio.gather(released, ended, return_exceptions=True)


class _Side:
    """One of the two connections of a conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._unread = b""

    async def read_greeting(self) -> bytes:
        """Return the client's first message, once it has heard that there is no encryption."""
        while True:
            length = await self._reader.readexactly(4)
            body = await self._reader.readexactly(int.from_bytes(length, "big") - 4)
            if int.from_bytes(body[:4], "big") not in (SSL_REQUEST, GSS_REQUEST):
                return length + body
            await self.send(b"N")

    async def read(self) -> bytes:
        """Return what came in; nothing at the end."""
        unread, self._unread = self._unread, b""
        return unread or await self._reader.read(_CHUNK_BYTES)

    async def wait_for_end(self) -> None:
        """Return at the end. What came in before is kept for `read`; may be cancelled."""
        while chunk := await self._reader.read(_CHUNK_BYTES):
            self._unread += chunk

    async def send(self, data: bytes) -> None:
        """Send, and wait while the other end is behind."""
        self.writer.write(data)
        await self.writer.drain()

    async def finish(self) -> None:
        """Close once everything is sent."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
