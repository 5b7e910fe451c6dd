"""A connection that runs SQLAlchemy Core on asyncpg.

SQLAlchemy has a class of this name in `sqlalchemy.ext.asyncio`. Importing that package imports the
ORM, a tenth of the CPU time of a quiet sync. This class has the same methods, as far as the loaders
use them, and does the same: Core runs in a greenlet, and waits there for the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, Executable
from sqlalchemy.engine import Transaction
from sqlalchemy.util import greenlet_spawn

T = TypeVar("T")


class AsyncConnection:
    """The connection of one transaction. core: SQLAlchemy's, which must run in a greenlet."""

    def __init__(self, core: Connection) -> None:
        self._core = core

    async def execute(
        self, statement: Executable, parameters: Any = None
    ) -> CursorResult[*tuple[Any, ...]]:
        """Execute a statement and return its result, which is complete."""
        return await greenlet_spawn(self._core.execute, statement, parameters)

    async def run_sync(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns for the connection of Core."""
        return await greenlet_spawn(work, self._core)

    def driver(self) -> Any:
        """Return the connection of asyncpg."""
        return self._core.connection.driver_connection

    @asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[None]:
        """Open a savepoint. If the block raises, what it did is undone."""
        async with _to_its_end(await greenlet_spawn(self._core.begin_nested)):
            yield


@asynccontextmanager
async def transaction_of(engine: Engine, first: str) -> AsyncIterator[AsyncConnection]:
    """Take a connection from the pool and open a transaction. Commits if the block does not raise.

    first: the statement that begins it. The connection is back in the pool at the end, also if this
    is cancelled.
    """
    core = await greenlet_spawn(engine.connect)
    try:
        async with _to_its_end(await greenlet_spawn(_begun, core, first)):
            yield AsyncConnection(core)
    finally:
        await _completed(greenlet_spawn(core.close))


def _begun(core: Connection, first: str) -> Transaction:
    transaction = core.begin()
    core.exec_driver_sql(first)
    return transaction


@asynccontextmanager
async def _to_its_end(transaction: Transaction) -> AsyncIterator[None]:
    transaction.__enter__()
    try:
        yield
    except BaseException as exc:
        await greenlet_spawn(transaction.__exit__, type(exc), exc, exc.__traceback__)
        raise
    await greenlet_spawn(transaction.__exit__, None, None, None)


async def _completed(work: Coroutine[Any, Any, None]) -> None:
    """Wait for `work`, and raise a cancellation that comes meanwhile once it is done."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        raise cancelled
    task.result()
