"""What the request budget promises, held by the one in Postgres."""

from __future__ import annotations

import asyncio

import pytest

from etl.core.budget import Limit
from etl.errors import BudgetSpent
from etl.loaders.budget import PostgresBudget
from etl.loaders.database import Database
from etl.loaders.tables import Tables

TABLES = Tables("posthog")
LIMITS = {"list": (Limit(20, 60), Limit(100, 3600)), "all": (Limit(30, 60),)}


def budget(database: Database, max_wait_s: float = 0.0) -> PostgresBudget:
    """A budget that does not wait."""
    return PostgresBudget(database, TABLES, LIMITS, max_wait_s)


async def _tries(database: Database, classes: list[str], count: int) -> int:
    """Ask for `count` requests at once; return how many may go."""
    outcomes = await asyncio.gather(
        *(budget(database).acquire(classes) for _ in range(count)), return_exceptions=True
    )
    assert all(outcome is None or isinstance(outcome, BudgetSpent) for outcome in outcomes)
    return outcomes.count(None)


async def test_many_at_once_get_no_more_than_the_limit(database: Database) -> None:
    """Fifty ask in the same instant, and the limit is twenty."""
    assert await _tries(database, ["list"], 50) == 20


async def test_a_request_draws_from_all_its_classes(database: Database) -> None:
    """Ten that count in one class only leave twenty for the two together, and then none."""
    assert await _tries(database, ["all"], 12) == 12
    assert await _tries(database, ["list", "all"], 40) == 18
    assert await _tries(database, ["all"], 1) == 0
    assert await _tries(database, ["list"], 5) == 2


async def test_a_refused_request_is_not_counted(database: Database) -> None:
    """Refusals of one class take nothing from the others it would have drawn from."""
    await budget(database).block(["list"], 60)
    assert await _tries(database, ["list", "all"], 10) == 0
    assert await _tries(database, ["all"], 40) == 30


async def test_of_two_blocks_the_longer_counts(database: Database) -> None:
    """A server that names a shorter wait later does not shorten the first."""
    await budget(database).block(["list"], 90)
    await budget(database).block(["list"], 5)
    with pytest.raises(BudgetSpent) as spent:
        await budget(database, max_wait_s=30).acquire(["list"])
    assert 80 < spent.value.wait_s <= 90


async def test_a_short_block_is_waited_for(database: Database) -> None:
    """No sooner than the server said, and the wait is told."""
    waiting = budget(database, max_wait_s=60)
    # On a busy machine the first block may be over before it is looked at.
    for block_s in (0.3, 30):
        began_s = asyncio.get_running_loop().time()
        await waiting.block(["list"], block_s)
        await waiting.acquire(["list"])
        waited_s = asyncio.get_running_loop().time() - began_s
        assert waited_s >= block_s - 0.05
        if waiting.waited_s:
            break
    assert 0 < waiting.waited_s <= waited_s + 0.05


async def test_a_class_without_a_limit_is_never_held_back_but_by_the_server(
    database: Database,
) -> None:
    """Unknown to us, known to the server."""
    assert await _tries(database, ["unheard of"], 40) == 40
    await budget(database).block(["unheard of"], 60)
    assert await _tries(database, ["unheard of"], 1) == 0
