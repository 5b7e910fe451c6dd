"""Tasks beside other work."""

import asyncio

import pytest

from etl.tasks import beside, race


class Work:
    """Waits until it is told to end, or is cancelled; needs a moment to end then."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.ended = False

    async def run(self, result: int = 0) -> int:
        """Return `result` once it may end."""
        try:
            await self.may_end.wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            self.ended = True
        return result


async def test_what_runs_beside_a_block_has_ended_with_it() -> None:
    """It is cancelled, and waited for until it has cleaned up."""
    work, other = Work(), Work()
    async with beside(work.run(), other.run()) as tasks:
        await asyncio.sleep(0)
        assert [task.done() for task in tasks] == [False, False]
    assert (work.ended, other.ended) == (True, True)
    assert [task.cancelled() for task in tasks] == [True, True]


async def test_what_fails_beside_a_block_leaves_the_block_alone() -> None:
    """Its error stays in its task."""

    async def fail() -> None:
        raise ValueError("beside")

    async with beside(fail()) as (task,):
        await asyncio.wait({task})
    assert isinstance(task.exception(), ValueError)


async def test_an_error_of_the_block_ends_what_runs_beside_it() -> None:
    """The error of the block comes through, after the end of the other."""
    work = Work()

    async def fail() -> None:
        async with beside(work.run()):
            await asyncio.sleep(0)
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert work.ended


@pytest.mark.parametrize("first", [0, 1])
async def test_a_race_enters_its_block_when_either_is_done(first: int) -> None:
    """The one that is not done runs on in the block, and has ended after it."""
    works = [Work(), Work()]
    works[first].may_end.set()
    async with race(works[0].run(1), works[1].run(2)) as tasks:
        assert tasks[first].result() == first + 1
        assert not tasks[1 - first].done()
        assert not works[1 - first].ended
    assert works[1 - first].ended
    assert tasks[1 - first].cancelled()


async def test_a_race_that_is_cancelled_ends_both() -> None:
    """Cancelled before either is done, it waits for both."""
    works = [Work(), Work()]

    async def run() -> None:
        async with race(works[0].run(), works[1].run()):
            raise AssertionError("neither is done")

    running = asyncio.create_task(run())
    for _ in range(3):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [work.ended for work in works] == [True, True]
