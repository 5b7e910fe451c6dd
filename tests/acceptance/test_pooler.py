"""Behind a real transaction-mode PgBouncer, when one is on PATH."""

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from etl.sandbox.server import RunningSandbox
from tests.support.command import Command, finish
from tests.support.pgproxy import PgProxy
from tests.support.postgres import database_of
from tests.support.truth import differences_from_truth, fetch_truth

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer on PATH")


@pytest_asyncio.fixture
async def pooled(dsn: str) -> AsyncIterator[str]:
    """A DSN through a PgBouncer that gives every transaction another connection."""
    # It may not run as root, and nobody else may enter our server's socket directory: so by TCP.
    async with PgProxy.in_front_of(dsn) as proxy:
        with tempfile.TemporaryDirectory() as name:
            async with _pgbouncer(Path(name), proxy.dsn) as address:
                yield address


@contextlib.asynccontextmanager
async def _pgbouncer(directory: Path, dsn: str) -> AsyncIterator[str]:
    url = urlsplit(dsn)
    user = url.username or "postgres"
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = free.getsockname()[1]
    (directory / "users").write_text(f'"{user}" "{url.password or ""}"\n')
    (directory / "ini").write_text(
        f"[databases]\n{database_of(dsn)} = host={url.hostname} port={url.port} user={user}\n"
        "[pgbouncer]\npool_mode = transaction\ndefault_pool_size = 2\nauth_type = trust\n"
        "server_round_robin = 1\nunix_socket_dir =\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {listen}\nauth_file = {directory / 'users'}\n"
    )
    account = []
    if os.geteuid() == 0:  # it refuses to run as root
        directory.chmod(0o755)
        account = ["-u", "nobody"]
    assert PGBOUNCER is not None
    process = await asyncio.create_subprocess_exec(
        PGBOUNCER, "-q", *account, str(directory / "ini"), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        address = f"postgresql://{user}@127.0.0.1:{listen}/{database_of(dsn)}?sslmode=disable"
        await _reachable(address)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _reachable(address: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                connection = await asyncpg.connect(address, statement_cache_size=0)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
            else:
                await connection.close()
                return


async def test_syncs_behind_a_transaction_pooler_equal_the_truth(
    sandbox: RunningSandbox, dsn: str, pooled: str
) -> None:
    """No step relies on the connection of the step before."""
    command = Command(sandbox.url, pooled, POSTHOG_ETL_PAGE_SIZE_RECORDS="20")
    first = await command.run("sync", "--json")
    assert first.code == 0, first.err
    second = await command.run("sync", "--json")
    assert (second.code, second.report["rows_updated"]) == (0, 0), second.err
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_two_projects_at_once_share_the_connections_of_a_pooler(
    sandbox: RunningSandbox, dsn: str, pooled: str
) -> None:
    """Four connections, two of them real: staging of one never shows in the other."""
    command = Command(sandbox.url, pooled, POSTHOG_ETL_PAGE_SIZE_RECORDS="10")
    other = command.with_settings(POSTHOG_ETL_SCHEMA="second")
    results = await asyncio.gather(
        finish(await command.start("sync", "--json")), finish(await other.start("sync", "--json"))
    )
    assert [result.code for result in results] == [0, 0], [result.err for result in results]
    truth = await fetch_truth(sandbox.url)
    assert await differences_from_truth(dsn, truth) == []
    assert await differences_from_truth(dsn, truth, schema="second") == []


async def test_a_queue_behind_a_transaction_pooler_says_what_it_needs(
    sandbox: RunningSandbox, dsn: str, pooled: str
) -> None:
    """In one line; and leaves nothing behind in a session that others get."""
    command = Command(sandbox.url, pooled)
    line = ("backfill", "session_recordings", "--since", "2026-01-01", "--enqueue")
    refused = await command.run(*line)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1), refused.err
    assert "Set POSTHOG_ETL_QUEUE_DATABASE_URL to the address of the server itself" in refused.err
    direct = await command.with_settings(POSTHOG_ETL_QUEUE_DATABASE_URL=dsn).run(*line)
    assert direct.code == 0, direct.err


async def test_a_worker_behind_a_transaction_pooler_says_what_it_needs(
    sandbox: RunningSandbox, pooled: str
) -> None:
    """It ends, as its queue cannot work there however long it waits."""
    command = Command(sandbox.url, pooled)
    assert (await command.run("migrate")).code == 0
    refused = await command.run("worker")
    assert refused.code == 1, refused.err
    assert "Set POSTHOG_ETL_QUEUE_DATABASE_URL to the address of the server itself" in refused.err
