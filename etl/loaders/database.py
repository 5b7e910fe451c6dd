"""Connections and transactions, and the one place that translates Postgres errors into ours.

Nothing needs a connection to outlive its transaction: settings are local, locks belong to the
transaction, no prepared statement is kept. So it works behind a transaction-mode pooler.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import asyncpg
import structlog
from msgspec import Struct
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.util import greenlet_spawn

from etl.errors import (
    DestinationError,
    DestinationUnavailable,
    EtlError,
    RowsRefused,
    words_of,
)
from etl.loaders.address import DatabaseAddress
from etl.loaders.connection import AsyncConnection, transaction_of
from etl.loaders.driver import encode_instants_fast

_log = structlog.get_logger(__name__)

# Waits between attempts to reach a Postgres that restarts, in seconds; about 40 in total.
RETRY_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 12.0)

# How long connecting may take, in seconds, unless connect_timeout says otherwise. A server that has
# to wake up needs several; asyncpg's default of a minute is too long if there is no server.
CONNECT_TIMEOUT_S = 20.0

_BROKEN_OFF = ("08", "57P", "40")  # connection, shutdown or start-up, serialisation or deadlock
_TRY_AGAIN = ("57014", "55P03", "25P03", "25P04", "53300")
_REMEDIES: Mapping[str, tuple[str, str]] = {
    "28P01": ("Postgres refused the password", "Correct it in DATABASE_URL"),
    "28000": ("Postgres refused the login", "Check user and sslmode in DATABASE_URL"),
    "3D000": ("The database does not exist", "Create it, or correct its name in DATABASE_URL"),
    "25006": (
        "Postgres is read-only",
        "Point DATABASE_URL at the primary, not at a standby, and check "
        "default_transaction_read_only",
    ),
    "42501": (
        "The database role may not do this",
        "Grant it CREATE on the database, or let another role run `posthog-etl migrate` first",
    ),
    "42P01": ("A table is missing", "Run `posthog-etl migrate`"),
    "42703": ("A column is missing", "Run `posthog-etl migrate`"),
    "3F000": ("A schema is missing", "Run `posthog-etl migrate`"),
    "53100": ("The disk of the Postgres server is full", "Make room; the next run goes on"),
}
# What a server says that requires TLS; what asyncpg says of a server without TLS, or of one that is
# not Postgres.
_WANTS_TLS = ("no encryption", "SSL off", "SSL required", "connection is insecure")
# The tables are there, and belong to another role.
_NOT_ITS_OWN = re.compile(r"for (schema|table|view|sequence)\b")
_WITH_DEBUG = "--debug shows more"
_HAS_NO_TLS = "rejected SSL upgrade"


class Timeouts(Struct, frozen=True):
    """Settings of every transaction, in seconds.

    idle_s: ends the transaction of a run that has stopped, so that its locks end before its lease.
    lock_s: longer than idle_s, so that the next run waits until those locks are gone.
    """

    statement_s: float = 120.0
    idle_s: float = 10.0
    lock_s: float = 30.0


class Database:
    """A pool of connections. Opens short transactions, and repeats them if Postgres broke off."""

    def __init__(
        self,
        address: DatabaseAddress,
        timeouts: Timeouts,
        *,
        connection_per_transaction: bool = False,
    ) -> None:
        pool = (
            {"poolclass": NullPool}
            if connection_per_transaction
            else {"pool_size": 4, "max_overflow": 8}
        )
        self.engine = create_engine(
            address.url,
            connect_args={"timeout": CONNECT_TIMEOUT_S, **address.connect_args},
            **pool,
        )
        encode_instants_fast(self.engine)
        self.address = address
        self._timeouts = timeouts

    @property
    def patience_s(self) -> float:
        """How long a transaction may wait for something else, in seconds."""
        return self._timeouts.idle_s / 2

    @asynccontextmanager
    async def transaction(
        self, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[AsyncConnection]:
        """Open a transaction with local `settings`. Commits at the end; rolls back on an error.

        Raises DestinationUnavailable if the same work may be tried again, RowsRefused if the values
        are at fault, and DestinationError otherwise.
        """
        local = {
            "statement_timeout": _milliseconds(self._timeouts.statement_s),
            "idle_in_transaction_session_timeout": _milliseconds(self._timeouts.idle_s),
            "lock_timeout": _milliseconds(self._timeouts.lock_s),
            # Up to Postgres 17 a plan that is forced by disabling the others counts as very costly,
            # so the server would compile every batch: a second each, to save milliseconds.
            "jit": "off",
            **(settings or {}),
        }
        with translated():
            async with transaction_of(self.engine, _set_local(local)) as connection:
                yield connection

    def attempts(self, waits_s: Sequence[float] = RETRY_WAITS_S) -> Iterator[Attempt]:
        """Yield attempts until one succeeds: `for attempt in attempts(): async with attempt: …`.

        Work that Postgres broke off is repeated after each of `waits_s`, in seconds; it must be
        safe to repeat. Any other error, and the one of the last attempt, leaves the loop.
        """
        for wait_s in (*waits_s, None):
            attempt = Attempt(wait_s)
            yield attempt
            if attempt.succeeded:
                return

    async def close(self) -> None:
        """Close all connections. Safe to repeat."""
        await greenlet_spawn(self.engine.dispose)


class Attempt:
    """One attempt at work that is safe to repeat. wait_s: until the next one; None: the last."""

    def __init__(self, wait_s: float | None) -> None:
        self._wait_s = wait_s
        self.succeeded = False

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: object, exc: BaseException | None, trace: object) -> bool:
        self.succeeded = exc is None
        if self._wait_s is None or not isinstance(exc, DestinationUnavailable):
            return False
        _log.warning("database.unavailable", reason=exc.message, wait_s=self._wait_s)
        await asyncio.sleep(self._wait_s)
        return True


class translated:
    """Translates errors of asyncpg, SQLAlchemy and the socket into ours. Keeps the cause."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if exc is None or isinstance(exc, EtlError):
            return
        ours = translate(exc)
        if ours is not None:
            raise ours from exc


def translate(exc: BaseException) -> DestinationError | None:
    """Return our error for an error of the database; None for any other error."""
    if isinstance(exc, DBAPIError) and exc.orig is not None:
        return translate(exc.orig.__cause__ or exc.orig) or DestinationError(
            "Postgres could not do what was asked of it", remedy=_WITH_DEBUG
        )
    if isinstance(exc, PoolTimeoutError):
        return DestinationUnavailable(
            "No connection to Postgres became free in time",
            remedy="Let fewer streams or units run at once",
        )
    if isinstance(exc, SQLAlchemyError):
        return DestinationUnavailable("The database did not answer", remedy=_WITH_DEBUG)
    state = getattr(exc, "sqlstate", None)
    if isinstance(exc, asyncpg.PostgresError | asyncpg.InterfaceError) and isinstance(state, str):
        return _by_state(state, exc)
    if isinstance(exc, asyncpg.TargetServerAttributeNotMatched):
        return DestinationUnavailable(
            "No server is what target_session_attrs asks for",
            remedy="Correct hosts or target_session_attrs in DATABASE_URL",
        )
    if isinstance(exc, asyncpg.ClientConfigurationError):
        return DestinationError(
            "The address of the database cannot be used as it is",
            remedy=f"Check user, name and certificate files in DATABASE_URL. {_WITH_DEBUG}",
        )
    if isinstance(exc, asyncpg.InternalClientError | asyncpg.InterfaceError):
        return _broken()
    if isinstance(exc, ConnectionError) and _HAS_NO_TLS in str(exc):
        return DestinationError(
            "The server at this address offers no TLS",
            remedy="Check host and port in DATABASE_URL; if they are right, enable TLS at the "
            "server or write sslmode=disable",
        )
    if isinstance(exc, ssl.SSLError):
        return DestinationError(
            f"The TLS handshake with Postgres failed: {_reason(exc)}",
            remedy="Check sslmode and sslrootcert in DATABASE_URL",
        )
    if isinstance(exc, OSError | TimeoutError):
        return DestinationUnavailable(
            f"Postgres cannot be reached: {_line(exc) or 'no answer in time'}",
            remedy="Check host and port in DATABASE_URL, and that the server runs",
        )
    return None


def _broken() -> DestinationUnavailable:
    return DestinationUnavailable(
        "The connection to Postgres broke",
        remedy="Run it again, and check that DATABASE_URL leads to a Postgres that stays up",
    )


def _by_state(state: str, exc: BaseException) -> DestinationError:
    # What no server sent, the driver says of itself.
    if state.startswith("08") and getattr(exc, "severity", None) is None:
        return _broken()
    if state in _REMEDIES:
        cause, remedy = _REMEDIES[state]
        if state == "28000" and any(words in str(exc) for words in _WANTS_TLS):
            cause, remedy = "Postgres requires TLS", "Write sslmode=require in DATABASE_URL"
        if state == "42501" and _NOT_ITS_OWN.search(str(exc)):
            remedy = "Use the role that made the tables, or let it grant this one what it needs"
        return DestinationError(f"{cause} ({_line(exc)})", remedy=remedy)
    if state in _TRY_AGAIN or state.startswith(_BROKEN_OFF):
        return DestinationUnavailable(
            f"Postgres broke off: {_line(exc)}", remedy="Run it again: the next run goes on"
        )
    if state[:2] in ("22", "23", "54"):
        return RowsRefused(_line(exc))
    return DestinationError(f"Postgres refused ({state}): {_line(exc)}")


def _reason(exc: ssl.SSLError) -> str:
    """Return why TLS failed, without the places in OpenSSL's code."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message
    return re.sub(r"\[[^\]]*\] |\(_ssl\.c:\d+\)", "", _line(exc)).strip()


def _line(exc: BaseException) -> str:
    return words_of(exc)[:300]


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


def _set_local(settings: Mapping[str, str]) -> str:
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    return f"SELECT {calls}"
