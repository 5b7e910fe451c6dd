"""The server that shares nothing with the sandbox, and the command and the pipeline against it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.adversary.server import Adversary, listening
from tests.support.command import Command
from tests.support.pipeline import Pipeline

StartAdversary = Callable[..., Awaitable[Adversary]]


@pytest_asyncio.fixture
async def start_adversary() -> AsyncIterator[StartAdversary]:
    """Start servers on free ports; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(**options: object) -> Adversary:
            return await stack.enter_async_context(listening(**options))

        yield start


@pytest_asyncio.fixture
async def adversary(start_adversary: StartAdversary) -> Adversary:
    """A server of the newest kind that holds nothing yet."""
    return await start_adversary()


@pytest.fixture
def command(adversary: Adversary, dsn: str) -> Command:
    """The real command against it."""
    return Command(adversary.url, dsn)


@pytest.fixture
def pipeline(adversary: Adversary, dsn: str) -> Pipeline:
    """The pipeline in the test's process against it: the recordings alone."""
    return Pipeline(adversary, dsn)
