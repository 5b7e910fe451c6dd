"""Send requests, within the budget and with retries. Only this module speaks HTTP to the API."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import aiohttp
import structlog
from multidict import CIMultiDict
from yarl import URL

from etl.core.clocks import Clocks
from etl.core.retry import RetryPolicy, retry_wait_s
from etl.errors import BudgetSpent, ForeignAnswer, SourceError, SourceOverloaded, Throttled
from etl.extractors import clocks
from etl.extractors.connection import NOT_REACHED, connection_error
from etl.extractors.protocol import (
    HIDDEN,
    LONGEST_WAIT_S,
    Answer,
    Request,
    error_of,
    source_clock,
)
from etl.waits import Cause, Waits

_log = structlog.get_logger(__name__)

# If nothing has ever answered, a wrong address is likelier than a server that restarts.
FIRST_CONTACT_ATTEMPTS = 3

# Longer waits that a server names are shown as this, in seconds.
_LONGEST_NAMED_S = 1e9

# How long a request may take whose answer nobody needs, in seconds.
TELL_S = 2.0

LARGEST_BODY_BYTES = 64 * 1024 * 1024
_JSON = {"Content-Type": "application/json"}


class Budget(Protocol):
    """What every request has to pass; see `etl.loaders.budget` for what it promises."""

    async def acquire(self, classes: Sequence[str]) -> None:
        """Return when a request that draws from `classes` may be sent; count it as sent.

        Raises BudgetSpent if the wait would be too long.
        """
        ...

    async def block(self, classes: Sequence[str], seconds: float) -> None:
        """Delay every request of `classes` for as long as the server asked."""
        ...


class DatabaseClock:
    """The database's clock without a query each time: one reading, plus the time since."""

    def __init__(self, database_now: datetime) -> None:
        self.set(database_now)

    def set(self, database_now: datetime) -> None:
        """Replace the reading."""
        self._at = database_now
        self._read_s = _elapsed_s()

    def now(self) -> datetime:
        """Return the current time by the database's clock."""
        return self._at + timedelta(seconds=_elapsed_s() - self._read_s)


def _elapsed_s() -> float:
    """Return seconds that only grow, including those in which the machine slept."""
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux; elsewhere the next unit reads the clock again
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Client:
    """A session with one host and one key.

    waits: are told of each wait before a request is repeated.
    requests, bytes_read: counts that only grow.
    source_ahead_s: how many seconds the server's clock is ahead of the database's, by the Date
    header of the latest answer (in whole seconds); None before the first answer.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        host: str,
        budget: Budget,
        clock: DatabaseClock,
        policy: RetryPolicy,
        max_wait_s: float,
        waits: Waits,
        *,
        secret: str,
    ) -> None:
        # aiohttp repeats a GET by itself if a kept connection was dropped, without asking the
        # budget. So this is switched off, and we repeat it. (aiohttp's own test client does the
        # same.)
        session._retry_connection = False
        self._session = session
        self._host = URL(host)
        self._budget = budget
        self._clock = clock
        self._policy = policy
        self._max_wait_s = max_wait_s
        self._waits = waits
        self._secret = secret
        self._reached = False
        self.requests = 0
        self.bytes_read = 0
        self.source_ahead_s: float | None = None

    @property
    def now(self) -> datetime:
        """The current time by the database's clock."""
        return self._clock.now()

    def set_clock(self, database_now: datetime) -> None:
        """Replace the reading of the database's clock. The server's clock stays as it is."""
        before = self._clock.now()
        self._clock.set(database_now)
        if self.source_ahead_s is not None:
            self.source_ahead_s += (before - self._clock.now()).total_seconds()

    @property
    def clocks(self) -> Clocks:
        """What each clock says now."""
        now, ahead_s = self._clock.now(), self.source_ahead_s
        source = None if ahead_s is None else now + timedelta(seconds=ahead_s)
        return Clocks(*clocks.clocks_here(now), source)

    @property
    def source_now(self) -> datetime:
        """The time on which the clocks agree; the earliest clock if no two agree.

        Too early an instant only makes a later sync read more than needed.
        """
        read = self.clocks
        return read.agreed or read.earliest

    async def fetch(
        self,
        request: Request,
        *,
        shrinkable: bool = False,
        attempts: int | None = None,
        waits: bool = True,
    ) -> Answer:
        """Return an answer. Waits and repeats as the policy and the server say.

        shrinkable: raise SourceOverloaded at once, so that the caller can ask for less.
        attempts: replaces the policy's number. waits: whether to wait when the server says so; else
        Throttled is raised.

        Raises a SourceError if it is final, BudgetSpent if a wait would be too long, and
        DestinationError if the budget cannot be counted.
        """
        # One id for all attempts; it is not sent. It stays bound after the return, because what the
        # caller logs about the answer is about this request too.
        structlog.contextvars.bind_contextvars(request_id=secrets.token_hex(4))
        failures: dict[type[SourceError], int] = {}
        while True:
            await self._budget.acquire(request.budget_classes)
            try:
                return await self._send(request)
            except SourceError as exc:
                if shrinkable and isinstance(exc, SourceOverloaded):
                    raise
                kind = Throttled if isinstance(exc, Throttled) else SourceError
                failures[kind] = failures.get(kind, 0) + 1
                allowed = attempts if self._reached else attempts or FIRST_CONTACT_ATTEMPTS
                if allowed is not None and kind is SourceError and failures[kind] >= allowed:
                    raise
                wait_s = retry_wait_s(exc, failures[kind], self._policy, random.random())
                if wait_s is None or (kind is Throttled and not waits):
                    raise
                await self._wait(request, exc, wait_s, failures[kind], allowed)

    async def tell(self, request: Request) -> None:
        """Send a request whose answer nobody needs, also while the run is cancelled.

        Waits neither for the budget nor long for the server, and raises nothing.
        """
        sending = asyncio.ensure_future(self._send(request))
        await asyncio.wait({sending}, timeout=TELL_S)
        if not sending.done():
            sending.cancel()
        elif not sending.cancelled() and (error := sending.exception()) is not None:
            _log.debug("request.untold", path=request.path, reason=str(error))

    async def _wait(
        self,
        request: Request,
        error: SourceError,
        wait_s: float,
        attempt: int,
        allowed: int | None,
    ) -> None:
        _log.warning(
            "request.failed",
            path=request.path,
            status=error.status,
            reason=error.message,
            attempt=attempt,
            wait_s=round(wait_s, 1),
            named_wait_s=_named_wait_s(error),
        )
        if isinstance(error, Throttled):
            # Kept in the database, so that other processes wait too, also after a restart.
            await self._budget.block(request.budget_classes, wait_s)
        if wait_s > self._max_wait_s:
            until = self._clock.now() + timedelta(seconds=wait_s)
            named_s = min(error.named_wait_s or wait_s, _LONGEST_NAMED_S)
            as_hour = "; we wait an hour," if named_s > LONGEST_WAIT_S else ","
            raise BudgetSpent(
                f"The server asks us to wait {named_s:.0f} seconds{as_hour} until "
                f"{until:%Y-%m-%d %H:%M:%S} UTC",
                wait_s=wait_s,
            ) from error
        if not isinstance(error, Throttled):
            most = min(allowed or self._policy.attempts, self._policy.attempts)
            said = "no answer came" if error.status is None else f"status {error.status}"
            then = f"attempt {attempt + 1} of {most}"
            await self._waits.sleep(Cause("PostHog to answer", said, then=then), wait_s)

    async def _send(self, request: Request) -> Answer:
        url = self._host.joinpath(request.path.lstrip("/"), encoded=True)
        url = url.with_query(list(request.params))
        requested_at, started_s = self._clock.now(), time.monotonic()
        self.requests += 1
        try:
            # No redirects: they would send the key to another host.
            async with self._session.request(
                request.method,
                url,
                data=request.body,
                headers=_JSON if request.body is not None else None,
                allow_redirects=False,
            ) as response:
                body = await self._read(response)
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError) as exc:
            self._reached = self._reached or not isinstance(exc, NOT_REACHED)
            error = connection_error(exc, self._host)
            if request.body is not None and _took_too_long(exc):
                # A query that was too slow is never sent again unchanged.
                raise SourceOverloaded(error.message, remedy=error.remedy) from exc
            raise error from exc
        self.bytes_read += len(body)
        self._note_clock(headers)
        if status not in request.answers:
            error = self._error_of(request, status, headers, body)
            # An answer of a proxy does not show that the address is PostHog's.
            self._reached = self._reached or not isinstance(error, ForeignAnswer)
            raise error
        self._reached = True
        _log.debug(
            "page.fetched",
            path=request.path,
            size_bytes=len(body),
            seconds=round(time.monotonic() - started_s, 3),
        )
        return Answer(body, requested_at, self.clocks.agreed, status, headers)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read the body up to a limit: a server that ignores `limit` must not fill our memory."""
        chunks, size_bytes = [], 0
        async for chunk in response.content.iter_any():
            size_bytes += len(chunk)
            if size_bytes > LARGEST_BODY_BYTES:
                response.close()
                raise SourceOverloaded(
                    f"An answer of more than {LARGEST_BODY_BYTES >> 20} MiB was not read"
                )
            chunks.append(chunk)
        return b"".join(chunks)

    def _error_of(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> SourceError:
        """Return the error without our key: a server may quote it, and errors are stored."""
        said = CIMultiDict((k, v.replace(self._secret, HIDDEN)) for k, v in headers.items())
        read_error = request.read_error or error_of
        return read_error(status, said, body.replace(self._secret.encode(), HIDDEN.encode()))

    def _note_clock(self, headers: Mapping[str, str]) -> None:
        if (source_at := source_clock(headers)) is not None:
            self.source_ahead_s = (source_at - self._clock.now()).total_seconds()


def _took_too_long(exc: Exception) -> bool:
    return isinstance(exc, TimeoutError) and not isinstance(exc, aiohttp.ConnectionTimeoutError)


def _named_wait_s(error: SourceError) -> float | None:
    """Return the wait that the server named if it is longer than the cap; None otherwise."""
    named_s = error.named_wait_s
    if named_s is None or named_s <= LONGEST_WAIT_S:
        return None
    return min(named_s, _LONGEST_NAMED_S)
