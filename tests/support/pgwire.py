"""What client and server of Postgres say to each other, read as points of a conversation.

Postgres documentation, "Message Formats": a message is one letter, its length in four bytes (its
own four included) and a body. Only the greeting has no letter.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

# What a client may ask before anything else, told apart by a number in place of a version.
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104

_BEGIN = re.compile(r"\s*(BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE)
_COMMIT = re.compile(r"\s*(COMMIT|END)\b", re.IGNORECASE)


class Point(enum.Enum):
    """Where in a conversation to act."""

    BEFORE_BEGIN = "the client has sent BEGIN, the server does not have it"
    IN_COPY = "the first data of a COPY went to the server, the rest has not"
    AFTER_COPY = "the server is done with a COPY, the client does not know"
    AFTER_UPSERT = "the server is done with an INSERT, the client does not know"
    AFTER_STATEMENT = "the server is done with any statement, the client does not know"
    # The same under the name of its main use: only the text tells a checkpoint's UPDATE.
    AFTER_CHECKPOINT = AFTER_STATEMENT
    CREATE_TABLE = "the server is done with a CREATE TABLE, the client does not know"
    BEFORE_COMMIT = "the client has sent COMMIT, the server does not have it"
    AFTER_COMMIT_BEFORE_ANSWER = "the server has committed, the client does not know"
    ON_TERMINATE = "the client has said goodbye, the server has not heard it"


_POINTS_BY_TAG = {
    "COPY": Point.AFTER_COPY,
    "INSERT": Point.AFTER_UPSERT,
    "CREATE TABLE": Point.CREATE_TABLE,
    "COMMIT": Point.AFTER_COMMIT_BEFORE_ANSWER,
}


class Moment(NamedTuple):
    """What one message means: the points it stands for, and the statement they belong to."""

    points: tuple[Point, ...] = ()
    sql: str = ""


def complete_messages(data: bytes) -> Iterator[bytes]:
    """Yield the messages that `data` holds whole, in order."""
    start = 0
    while len(data) >= start + 5:
        end = start + 1 + int.from_bytes(data[start + 1 : start + 5], "big")
        if end > len(data):
            return
        yield data[start:end]
        start = end


class Script:
    """One connection's conversation so far: knows which statement an answer belongs to.

    Follows the simple protocol and the extended one, with named and unnamed statements.
    """

    def __init__(self) -> None:
        self._statements: dict[bytes, str] = {}
        self._portals: dict[bytes, str] = {}
        # What was asked and is not answered yet: Q a query, E an execution, S a sync.
        self._asked: deque[tuple[bytes, str]] = deque()
        self._copying = False

    def client_says(self, message: bytes) -> Moment:
        """Take in a message to the server."""
        kind, body = message[:1], message[5:]
        if kind == b"P":
            name, sql, _ = body.split(b"\0", 2)
            self._statements[name] = sql.decode(errors="replace")
        elif kind == b"B":
            portal, statement, _ = body.split(b"\0", 2)
            self._portals[portal] = self._statements.get(statement, "")
        elif kind == b"Q":
            return self._asks(kind, body.rstrip(b"\0").decode(errors="replace"))
        elif kind == b"E":
            return self._asks(kind, self._portals.get(body.split(b"\0", 1)[0], ""))
        elif kind == b"S":
            self._asked.append((kind, ""))
        elif kind == b"d" and not self._copying:
            self._copying = True
            return Moment((Point.IN_COPY,), self._asked[-1][1] if self._asked else "")
        elif kind in (b"c", b"f"):
            self._copying = False
        elif kind == b"X":
            return Moment((Point.ON_TERMINATE,))
        return Moment()

    def server_says(self, message: bytes) -> Moment:
        """Take in a message to the client."""
        kind, body = message[:1], message[5:]
        if kind == b"Z":
            self._copying = False
            # An error skips what was asked up to here.
            while self._asked and self._asked.popleft()[0] == b"E":
                pass
        elif kind in (b"C", b"I", b"s") and self._asked:
            asked, sql = self._asked[0]
            # A query of the simple protocol may hold several statements: Z ends it.
            if asked == b"E":
                self._asked.popleft()
            if kind == b"C":
                tag = body.rstrip(b"\0").decode().rstrip(" 0123456789")
                special = _POINTS_BY_TAG.get(tag)
                return Moment((Point.AFTER_STATEMENT, *([special] if special else [])), sql)
        return Moment()

    def _asks(self, kind: bytes, sql: str) -> Moment:
        self._asked.append((kind, sql))
        if _BEGIN.match(sql):
            return Moment((Point.BEFORE_BEGIN,), sql)
        if _COMMIT.match(sql):
            return Moment((Point.BEFORE_COMMIT,), sql)
        return Moment()
