"""Asks HogQL queries: begins one, asks after it, cancels it when nobody waits for it any more.

PostHog does not want the endpoint to be used for bulk reading, so at most two queries of a project
run at once for all processes, and each answer's size decides how much the next one asks for.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog
from msgspec import Struct

from etl.errors import SourceError, SourceOverloaded, SourceUnavailable
from etl.extractors.client import Client
from etl.extractors.protocol import Answer, is_record_gone
from etl.extractors.query_protocol import (
    BYTES_LEFT,
    BYTES_READ,
    Query,
    QueryRows,
    QueryState,
    cancel_request,
    query_request,
    read_state,
    status_request,
)

_log = structlog.get_logger(__name__)

# Longer than any query may take (60 s), or wait for others. In seconds.
PATIENCE_S = 300.0
# A query that took longer is followed by queries in the background. In seconds.
QUICK_S = 5.0
# Waits between two questions after a query; the last one is repeated. In seconds.
POLLS_S = (0.25, 0.5, 1.0, 2.0, 4.0)
# Of bytes, in digits.
_LONGEST_NUMBER = 18
# How often a query is begun again whose status the server lost.
ATTEMPTS = 3


class QueryLost(SourceUnavailable):
    """The server does not know a query any more: begin it again."""


class Slots(Protocol):
    """How many queries run at once; see `etl.loaders.slots`."""

    def held(self, project_id: int) -> AbstractAsyncContextManager[None]:
        """Wait for a slot and hold it."""
        ...


class Answered(Struct, frozen=True):
    """The rows of a query and the answer that held them."""

    rows: QueryRows
    answer: Answer


class Queries:
    """The query endpoint of one project.

    bytes_read: how many bytes the server read for our queries; bytes_left: how many its budget
    still has, None if it did not say.
    """

    def __init__(self, client: Client, slots: Slots, project_id: int, prefix: str) -> None:
        self._client = client
        self._slots = slots
        self._project_id = project_id
        self._path = f"/api/{prefix}/{project_id}/query/"
        self._in_background = False
        self.bytes_read = 0
        self.bytes_left: int | None = None

    @property
    def bytes(self) -> tuple[int, int | None]:
        """How many bytes were read for these queries, and how many the budget had left."""
        return self.bytes_read, self.bytes_left

    async def ask(
        self, query: Query, *, attempts: int | None = None, waits: bool = True
    ) -> Answered:
        """Return the rows of a query. One that is not waited for any more is cancelled.

        attempts, waits: see `Client.fetch`. Raises SourceOverloaded if less has to be asked for,
        RequestRefused if the query is wrong, another SourceError, and what `Client.fetch` raises.
        """
        async with self._slots.held(self._project_id):
            for attempt in range(ATTEMPTS):
                began_s = time.monotonic()
                try:
                    found = await self._ask(query, attempts, waits=waits)
                except SourceOverloaded:
                    self._in_background = True
                    raise
                except SourceUnavailable as exc:
                    # `fetch` has repeated what can be repeated.
                    again = isinstance(exc, QueryLost) or exc.status == 200
                    if not again or attempt + 1 == ATTEMPTS:
                        raise
                    _log.warning("query.lost", reason=exc.message, attempt=attempt + 1)
                    continue
                self._in_background = time.monotonic() - began_s > QUICK_S
                return found
        raise AssertionError("unreachable")

    async def _ask(self, query: Query, attempts: int | None, *, waits: bool) -> Answered:
        query_id, ended = uuid.uuid4().hex, False
        try:
            answer = await self._client.fetch(
                query_request(self._path, query, query_id, in_background=self._in_background),
                shrinkable=True,
                # A 500 is also the answer to some mistakes of users.
                attempts=attempts or ATTEMPTS,
                waits=waits,
            )
            state, waited_s, polls = self._state(answer), 0.0, iter(POLLS_S)
            while state.rows is None:
                query_id, wait_s = state.id, next(polls, POLLS_S[-1])
                if waited_s > PATIENCE_S:
                    raise SourceOverloaded(
                        f"A query was not answered within {PATIENCE_S:.0f} seconds",
                        remedy="Run it again later, or let the query read less",
                    )
                await asyncio.sleep(wait_s)
                waited_s += wait_s
                try:
                    answer = await self._client.fetch(
                        status_request(self._path, query_id), shrinkable=True
                    )
                except SourceError as exc:
                    if not is_record_gone(exc):
                        raise
                    # Kept for 20 minutes, in older versions 10; cancelled by somebody, too.
                    raise QueryLost(f"The server lost a query: {exc.message}", status=404) from exc
                state = self._state(answer)
                if state.id not in ("", query_id):
                    raise QueryLost("The server answered with another query")
            ended = True
            return Answered(state.rows, answer)
        except SourceError as exc:
            # One that broke off, or took too long for us, may still go on there.
            ended = exc.status is not None
            raise
        finally:
            if not ended:
                # Nobody waits for it any more, and it holds a place.
                await self._client.tell(cancel_request(self._path, query_id))

    def _state(self, answer: Answer) -> QueryState:
        self.bytes_read += _whole(answer.headers.get(BYTES_READ)) or 0
        left = _whole(answer.headers.get(BYTES_LEFT))
        self.bytes_left = self.bytes_left if left is None else left
        return read_state(answer)


def _whole(text: str | None) -> int | None:
    """Return the number in a header, None if there is none, or a larger one than can be kept."""
    if not text or len(text) > _LONGEST_NUMBER or not text.removeprefix("-").isdecimal():
        return None
    return int(text)
