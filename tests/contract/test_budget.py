"""The promises of the request budget, tested with the one in Postgres."""

from __future__ import annotations

import asyncio

import pytest

from etl.core.budget import Limit
from etl.errors import BudgetSpent
from etl.loaders.budget import PostgresBudget
from etl.loaders.database import Database
from etl.loaders.tables import Tables
from etl.tasks import is_set
from etl.waits import Waits

TABLES = Tables("posthog")
LIMITS = {"list": (Limit(20, 60), Limit(100, 3600)), "all": (Limit(30, 60),)}


def budget(
    database: Database, max_wait_s: float = 0.0, waits: Waits | None = None
) -> PostgresBudget:
    """A budget that never waits."""
    return PostgresBudget(database, TABLES, LIMITS, max_wait_s, waits or Waits())


async def _tries(database: Database, classes: list[str], count: int) -> int:
    """Ask for `count` requests at once; return how many may be sent."""
    outcomes = await asyncio.gather(
        *(budget(database).acquire(classes) for _ in range(count)), return_exceptions=True
    )
    assert all(outcome is None or isinstance(outcome, BudgetSpent) for outcome in outcomes)
    return outcomes.count(None)


async def test_many_at_once_get_no_more_than_the_limit(database: Database) -> None:
    """Fifty ask at the same instant; the limit is twenty."""
    assert await _tries(database, ["list"], 50) == 20


async def test_a_request_draws_from_all_its_classes(database: Database) -> None:
    """Ten requests of one class leave twenty for both classes together; then none are left."""
    assert await _tries(database, ["all"], 12) == 12
    assert await _tries(database, ["list", "all"], 40) == 18
    assert await _tries(database, ["all"], 1) == 0
    assert await _tries(database, ["list"], 5) == 2


async def test_a_refused_request_is_not_counted(database: Database) -> None:
    """If one class refuses a request, the other classes do not count it."""
    await budget(database).block(["list"], 60)
    assert await _tries(database, ["list", "all"], 10) == 0
    assert await _tries(database, ["all"], 40) == 30


async def test_the_rest_waits_for_what_was_sent_before_by_anybody(database: Database) -> None:
    """A run knows that from its first request on, and counts its own requests, too."""
    assert await _tries(database, ["list"], 15) == 15
    mine = budget(database)
    assert mine.least_s(9, ["list"]) == 0
    await mine.acquire(["list"])
    assert mine.least_s(4, ["list"]) == 0
    assert 50 < mine.least_s(5, ["list"]) < 61
    assert 110 < mine.least_s(25, ["list"]) < 121
    assert 3_590 < mine.least_s(85, ["list"]) < 3_601


async def test_of_two_blocks_the_longer_counts(database: Database) -> None:
    """A shorter wait that the server names later does not shorten the first one."""
    await budget(database).block(["list"], 90)
    await budget(database).block(["list"], 5)
    with pytest.raises(BudgetSpent) as spent:
        await budget(database, max_wait_s=30).acquire(["list"])
    assert 80 < spent.value.wait_s <= 90


async def test_a_short_block_is_waited_for(database: Database) -> None:
    """It waits as long as the server said, and reports the wait."""
    waits = Waits()
    waiting = budget(database, max_wait_s=60, waits=waits)
    # On a busy machine the first block may be over before it is looked at.
    for block_s in (0.3, 30):
        began_s = asyncio.get_running_loop().time()
        await waiting.block(["list"], block_s)
        await waiting.acquire(["list"])
        waited_s = asyncio.get_running_loop().time() - began_s
        assert waited_s >= block_s - 0.05
        if waits.waited_s:
            break
    assert 0 < waits.waited_s <= waited_s + 0.05


async def test_a_class_without_a_limit_is_never_held_back_but_by_the_server(
    database: Database,
) -> None:
    """We know no limit of it; the server may still block it."""
    assert await _tries(database, ["unheard of"], 40) == 40
    await budget(database).block(["unheard of"], 60)
    assert await _tries(database, ["unheard of"], 1) == 0


async def test_a_wait_is_told_while_it_lasts_and_counted_also_when_it_is_broken_off(
    database: Database,
) -> None:
    """With the limit that is reached; a pause that the server asked for is told as that."""
    waits = Waits()
    waiting = budget(database, max_wait_s=3600, waits=waits)
    assert await _tries(database, ["all"], 30) == 30
    for classes, said in (
        (["all", "list"], "PostHog's limit per minute for all: 30 of 30 requests used"),
        (["asked"], "PostHog to allow requests again: it answered 429"),
    ):
        await waiting.block(["asked"], 50)
        asking = asyncio.ensure_future(waiting.acquire(classes))
        assert await is_set(waits.changed, within_s=30)
        waits.changed.clear()
        assert waits.current is not None
        assert str(waits.current.cause) == said
        assert 40 < (waits.current.left_s or 0) < 61
        before_s = waits.waited_s
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert waits.current is None
        assert 0 < before_s <= waits.waited_s < 60
        waits.changed.clear()
