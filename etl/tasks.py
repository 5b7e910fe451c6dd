"""Tasks beside other work: whatever happens, they have ended when the block has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def beside(
    *works: Coroutine[Any, Any, Any],
) -> AsyncIterator[tuple[asyncio.Task[Any], ...]]:
    """Run `works` beside the block; at its end they are cancelled and waited for.

    What they raise stays in their tasks.
    """
    tasks = tuple(asyncio.create_task(work) for work in works)
    async with none_left(tasks):
        yield tasks


@asynccontextmanager
async def none_left(tasks: Collection[asyncio.Task[Any]]) -> AsyncIterator[None]:
    """At the end of the block, the tasks then in `tasks` are cancelled and waited for."""
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def race(
    work: Coroutine[Any, Any, T], rival: Coroutine[Any, Any, Any]
) -> AsyncIterator[tuple[asyncio.Task[T], asyncio.Task[Any]]]:
    """Enter the block once either is done; at its end both are cancelled and waited for.

    What they raise stays in their tasks.
    """
    async with beside(work, rival) as tasks:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        yield tasks[0], tasks[1]


async def first_of(event: asyncio.Event, other: asyncio.Event) -> None:
    """Return once either event is set."""
    async with race(event.wait(), other.wait()):
        pass


async def result_of(task: asyncio.Task[T]) -> T:
    """Return what `task` returns, once it has ended well. If it fails, the caller is cancelled.

    Another, who awaits the task itself, learns why. A cancellation of this does not reach `task`.
    """
    await asyncio.wait({task})
    if task.cancelled() or task.exception() is not None:
        raise asyncio.CancelledError
    return task.result()
