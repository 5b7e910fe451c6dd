"""One Postgres server for the session, one database cloned from a migrated template per test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.migrate import migrate
from etl.loaders.tables import Tables
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import RunningSandbox, running
from tests.support.clocks import following
from tests.support.command import Command
from tests.support.pipeline import now_of
from tests.support.postgres import Databases, database_of, run_databases

settings.register_profile(
    "here",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("here")

# The day whose share of the twins is tried: one for all workers, also of a run past midnight.
os.environ.setdefault("TWINS", str(datetime.now(UTC).toordinal()))

StartSandbox = Callable[..., Awaitable[RunningSandbox]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the long tests, so that none is left for the end.

    `--dist worksteal` first gives each worker one stretch of the list.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    stretch = -(-len(items) // workers)
    items.clear()
    for number in range(workers):
        first = long[number::workers]
        room = max(0, stretch - len(first))
        items += first + others[:room]
        del others[:room]


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The Postgres server of this session."""
    with run_databases() as found:
        yield found


@pytest_asyncio.fixture(scope="session")
async def template(databases: Databases) -> AsyncIterator[str]:
    """The name of a database migrated by our own migrate: TEST_TEMPLATE names one that is there."""
    if given := os.environ.get("TEST_TEMPLATE"):
        yield given
        await databases.drop_all()
        return
    dsn = await databases.create_database(name=databases.template_name)
    database = Database(parse_database_url(dsn), Timeouts())
    await migrate(database, Tables("posthog"))
    await database.close()
    yield database_of(dsn)
    await databases.drop_all()


@pytest_asyncio.fixture
async def dsn(databases: Databases, template: str) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    made = await databases.create_database(template)
    yield made
    await databases.drop_database(made)


@pytest_asyncio.fixture
async def empty_dsn(databases: Databases) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    made = await databases.create_database()
    yield made
    await databases.drop_database(made)


@pytest_asyncio.fixture(params=[False, True], ids=["pool", "connection per transaction"])
async def database(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Database]:
    """A migrated database, opened: once with a pool, once with a connection per transaction."""
    opened = Database(parse_database_url(dsn), Timeouts(), connection_per_transaction=request.param)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def empty_database(empty_dsn: str) -> AsyncIterator[Database]:
    """A database without any table, opened."""
    opened = Database(parse_database_url(empty_dsn), Timeouts())
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def start_sandbox() -> AsyncIterator[StartSandbox]:
    """Start sandboxes with a frozen clock on free ports; they end with the test.

    All other clocks follow that of the latest.
    """
    async with AsyncExitStack() as stack:

        async def start(**options: object) -> RunningSandbox:
            chosen = {"clock": "frozen", "port": 0, "recordings": 300, **options}
            sandbox = await stack.enter_async_context(running(SandboxOptions(**chosen)))
            stack.enter_context(following(lambda: now_of(sandbox)))
            return sandbox

        yield start


@pytest_asyncio.fixture
async def sandbox(start_sandbox: StartSandbox) -> RunningSandbox:
    """A small sandbox of the cloud flavour."""
    return await start_sandbox()


@pytest.fixture
def command(sandbox: RunningSandbox, dsn: str) -> Command:
    """The real command against the small sandbox and the test's database."""
    return Command(sandbox.url, dsn)
