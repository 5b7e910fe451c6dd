"""Tasks beside other work."""

import asyncio
from functools import partial

import pytest

from etl.tasks import Overlapping, beside, race, succeeded


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


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


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


async def test_a_work_begins_while_the_one_before_runs_and_no_third_does() -> None:
    """Each is given the task of the one before."""
    works, begun, works_before = [Work(), Work(), Work()], [], []

    async def run(number: int, before: asyncio.Task[None] | None) -> None:
        begun.append(number)
        works_before.append(before)
        await works[number].run()

    async def run_all() -> None:
        async with Overlapping() as overlapping:
            for number in range(3):
                await overlapping.begin(partial(run, number))

    running = asyncio.create_task(run_all())
    await settle()
    assert begun == [0, 1]
    works[0].may_end.set()
    await settle()
    assert begun == [0, 1, 2]
    assert works_before[0] is None
    assert works_before[1].done()
    assert not works_before[2].done()
    for work in works:
        work.may_end.set()
    await running
    assert [work.ended for work in works] == [True] * 3


async def test_an_error_of_the_block_lets_the_last_work_end() -> None:
    """It was begun before the error, so it is not undone."""
    work, ends = Work(), []

    async def run(before: asyncio.Task[None] | None) -> None:
        ends.append(await work.run(7))

    async def fail() -> None:
        async with Overlapping() as overlapping:
            await overlapping.begin(run)
            await settle()
            raise KeyError

    failing = asyncio.create_task(fail())
    await settle()
    work.may_end.set()
    with pytest.raises(KeyError):
        await failing
    assert ends == [7]


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_a_work_that_fails_ends_the_one_after_it(how: str) -> None:
    """Its error comes through; a block that waits for something else learns of it at once."""
    after, may_fail = Work(), asyncio.Event()

    async def fail(before: asyncio.Task[None] | None) -> None:
        await may_fail.wait()
        raise ZeroDivisionError

    async def follow(before: asyncio.Task[None] | None) -> None:
        assert before is not None
        try:
            await succeeded(before)
        finally:
            after.ended = True

    overlapping = Overlapping()

    async def block() -> None:
        async with overlapping:
            await overlapping.begin(fail)
            await overlapping.begin(follow)
            raise AssertionError("the first has failed")

    running = asyncio.create_task(block())
    await settle()
    if how == "fails":
        may_fail.set()
    else:
        running.cancel()
    with pytest.raises(ZeroDivisionError if how == "fails" else asyncio.CancelledError):
        await running
    assert after.ended
    assert overlapping.failed.is_set()


async def test_whether_a_task_has_succeeded_is_told_in_time() -> None:
    """A task that takes longer runs on; one that fails cancels who waits for it."""
    work = Work()
    task = asyncio.create_task(work.run())
    assert not await succeeded(task, within_s=0)
    work.may_end.set()
    assert await succeeded(task)
    task = asyncio.create_task(Work().run())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await succeeded(task)
