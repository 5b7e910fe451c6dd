"""A PostHog server that costs next to nothing: pre-rendered records, cut at fixed bytes.

    python benchmarks/server.py --recordings 100000 --list cursor --shape today

It answers as much as a sync of recordings asks: the list of either kind, one recording, the
project. A page of 1,000 costs well below a millisecond. It checks no key and has no limits, so it
measures clients; the sandbox is what tests them.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from records import ROWS, Records, Shape

Kind = Literal["cursor", "offset"]
"""`cursor`: as real servers answer. `offset`: as documented, with count and next; no dates."""

LIST = "/api/projects/1/session_recordings/"
# The newest recording is older than what a server may call ongoing.
NEWEST_AGE = timedelta(hours=4)
_ONE = re.compile(re.escape(LIST) + "([^/]+)/")
_NOT_FOUND = json.dumps(
    {"type": "invalid_request", "code": "not_found", "detail": "Not found.", "attr": None}
).encode()

Body = Iterable[bytes | memoryview]


@dataclass
class Source:
    """The records, how they are listed, and what was asked.

    latency_s: how long every answer of the API waits.
    """

    records: Records
    kind: Kind
    latency_s: float = 0.0
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, target: str) -> tuple[int, list[bytes | memoryview]]:
        """Return status and body of a GET."""
        address = urlsplit(target)
        query = dict(parse_qsl(address.query))
        if address.path.startswith("/_bench/"):
            return 200, [self._control(address.path, query)]
        with self.lock:
            self.requests += 1
        if self.latency_s:
            time.sleep(self.latency_s)
        path = address.path.rstrip("/") + "/"
        if path == LIST:
            return 200, self._list(query)
        if path == "/api/projects/1/":
            return 200, [b'{"id":1,"name":"Bench"}']
        one = _ONE.fullmatch(path)
        index = None if one is None else self.records.index_of(one[1])
        if index is None:
            return 404, [_NOT_FOUND]
        return 200, [*self.records.slices(index, index + 1)]

    def _control(self, path: str, query: Mapping[str, str]) -> bytes:
        if path == "/_bench/latency":
            self.latency_s = float(query["s"])
        return json.dumps({"requests": self.requests, "cpu_s": time.process_time()}).encode()

    def _list(self, query: Mapping[str, str]) -> list[bytes | memoryview]:
        if "session_ids" in query:
            return self._chosen(json.loads(query["session_ids"]))
        limit = min(int(query.get("limit", 100)), ROWS)
        if self.kind == "offset":
            return self._page_by_offset(limit, int(query.get("offset", 0)))
        first, last = self.records.between(*_dates(query))
        by_cursor = "offset" not in query
        begin = first + int(query.get("offset", 0))
        if "after" in query:
            begin = json.loads(urlsafe_b64decode(query["after"]))["number"]
        end = min(begin + limit, last)
        tail = b'],"has_next":false,"version":4}'
        if end < last:
            tail = tail.replace(b"false", b"true")
            if by_cursor:
                cursor = urlsafe_b64encode(json.dumps({"number": end}).encode())
                tail = tail[:-1] + b',"next_cursor":"%b"}' % cursor
        return [b'{"results":[', *self.records.slices(begin, end), tail]

    def _page_by_offset(self, limit: int, offset: int) -> list[bytes | memoryview]:
        count = self.records.count
        end = min(offset + limit, count)
        following = _link(limit, end) if end < count else None
        previous = _link(limit, max(0, offset - limit)) if offset else None
        head = json.dumps({"count": count, "next": following, "previous": previous})
        slices = self.records.slices(offset, end)
        return [head[:-1].encode(), b',"results":[', *slices, b"]}"]

    def _chosen(self, ids: list[str]) -> list[bytes | memoryview]:
        indexes = [self.records.index_of(each) for each in ids]
        found = [bytes(*self.records.slices(i, i + 1)) for i in indexes if i is not None]
        return [b'{"results":[', b",".join(found), b'],"has_next":false,"version":4}']


def _link(limit: int, offset: int) -> str:
    return f"http://127.0.0.1{LIST}?{urlencode({'limit': limit, 'offset': offset})}"


def _dates(query: Mapping[str, str]) -> tuple[datetime, datetime | None]:
    """Return the dates asked for. Without them a real server shows three days."""
    since, until = query.get("date_from"), query.get("date_to")
    return (
        datetime.now(UTC) - timedelta(days=3) if since is None else datetime.fromisoformat(since),
        None if until is None else datetime.fromisoformat(until),
    )


def serve(source: Source, listener: socket.socket) -> None:
    """Answer for ever, each connection in a thread of its own."""
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        threading.Thread(target=_talk, args=(source, connection), daemon=True).start()


def _talk(source: Source, connection: socket.socket) -> None:
    with connection:
        try:
            while (request := _read(connection)) is not None:
                status, body = source.answer(request.split(b" ", 2)[1].decode())
                length = sum(map(len, body))
                reason = "OK" if status == 200 else "Not Found"
                head = (
                    f"HTTP/1.1 {status} {reason}\r\nDate: {formatdate(usegmt=True)}\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
                )
                connection.sendall(head.encode() + body[0])
                for part in body[1:]:
                    connection.sendall(part)
        except ConnectionError:
            pass  # the client has gone


def _read(connection: socket.socket) -> bytes | None:
    """Return the head of a request; None at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        received = connection.recv(65_536)
        if not received:
            return None
        head += received
    return head


def hour_of_newest() -> datetime:
    """Return the hour in which the newest recording starts."""
    return (datetime.now(UTC) - NEWEST_AGE).replace(minute=0, second=0, microsecond=0)


def main() -> None:
    """Print the address, then serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recordings", type=int, default=100_000)
    parser.add_argument("--list", choices=get_args(Kind), default="cursor")
    parser.add_argument("--shape", choices=get_args(Shape), default="today")
    parser.add_argument("--per-hour", type=int, default=100, help="recordings started in an hour")
    parser.add_argument(
        "--hour-at", type=datetime.fromisoformat, default=hour_of_newest(), help="of the newest one"
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--render", action="store_true", help="render blocks when asked for")
    chosen: Any = parser.parse_args()
    keep_blocks = 8 if chosen.render else chosen.recordings // ROWS
    records = Records(chosen.recordings, chosen.shape, chosen.hour_at, chosen.per_hour, keep_blocks)
    if not chosen.render:
        records.prerender()
    with socket.create_server(("127.0.0.1", chosen.port), backlog=64) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        serve(Source(records, chosen.list), listener)


if __name__ == "__main__":
    main()
