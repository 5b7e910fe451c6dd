"""Tasks beside other work: whatever happens, they have ended when the block has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

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


async def is_set(event: asyncio.Event, within_s: float) -> bool:
    """Tell whether the event is set within this time; return as soon as it is."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


class Overlapping(Generic[T]):
    """Works in their order. Each is given the task of the one before, and two run at most.

    failed: is set once one has failed; then no other may begin.

    When its block ends, the works have ended. If it ends with an error of its own, they end well
    before. If a work fails or the block is cancelled, they are cancelled.
    """

    def __init__(self) -> None:
        self.failed = asyncio.Event()
        self._tasks: list[asyncio.Task[T]] = []

    async def __aenter__(self) -> Overlapping[T]:
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        async with none_left(self._tasks):
            if exc is None or isinstance(exc, Exception):
                for task in self._tasks:  # the first is the one that has failed, if any
                    await task

    async def begin(self, work: Callable[[asyncio.Task[T] | None], Coroutine[Any, Any, T]]) -> None:
        """Begin a work. Returns when the one before has ended, and raises what it raised."""
        before = self._tasks[-1] if self._tasks else None
        self._tasks.append(asyncio.create_task(self._run(work(before))))
        if before is not None:
            await before
            self._tasks.remove(before)

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except BaseException:
            self.failed.set()
            raise


async def succeeded(task: asyncio.Task[Any], within_s: float | None = None) -> bool:
    """Tell whether `task` has ended well within this time; None: wait until it has ended.

    If it fails, the caller is cancelled: another, who awaits the task itself, learns why. A
    cancellation of the caller does not reach `task`.
    """
    done, _ = await asyncio.wait({task}, timeout=within_s)
    if not done:
        return False
    if task.cancelled() or task.exception() is not None:
        raise asyncio.CancelledError
    return True
