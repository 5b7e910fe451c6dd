"""Fixtures: the adversary server, and the command and the pipeline that read from it."""

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
    """An empty server of the newest kind."""
    return await start_adversary()


@pytest.fixture
def command(adversary: Adversary, dsn: str) -> Command:
    """The installed command, reading from this server."""
    return Command(adversary.url, dsn)


@pytest.fixture
def pipeline(adversary: Adversary, dsn: str) -> Pipeline:
    """The pipeline in the test's process, reading only recordings from this server."""
    return Pipeline(adversary, dsn)
