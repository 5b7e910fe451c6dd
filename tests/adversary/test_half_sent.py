"""`serve` with clients that begin a request and never finish it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from etl.sandbox.server import RunningSandbox
from tests.support.command import Command, finish
from tests.support.pgproxy import PgProxy, Point
from tests.support.serving import Serving
from tests.support.stage import copy_of
from tests.support.truth import differences_from_truth, fetch_truth

DESCRIPTORS = 256
CONNECTIONS = 300
HALF_A_HEADER = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half"
HALF_A_BODY = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nhalf"


@pytest.fixture
def command(sandbox: RunningSandbox, dsn: str) -> Command:
    """The installed command, with a server of 300 recordings."""
    return Command(sandbox.url, dsn)


@asynccontextmanager
async def serving_with_few_descriptors(command: Command) -> AsyncIterator[Serving]:
    """Run `serve` in a shell with a lower limit of open files."""
    lowered = f'ulimit -n {DESCRIPTORS} && exec "$@"'
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", lowered, "sh", sys.executable, "-m", "etl", "serve", "--port", "0"),
        env=command.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        if not line:
            raise AssertionError((await finish(process)).err)
        yield Serving(line.split()[-1], process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@asynccontextmanager
async def half_sent_requests(url: str) -> AsyncIterator[None]:
    """Hold connections open that have sent half a header, or a header and half a body."""
    address, writers = URL(url), []
    try:
        for number in range(CONNECTIONS):
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(HALF_A_BODY if number % 2 else HALF_A_HEADER)
            writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)


async def test_half_sent_requests_keep_nobody_out_and_the_syncs_going(
    command: Command, sandbox: RunningSandbox, dsn: str
) -> None:
    """There are more of them than file descriptors. The sync ends; /healthz answers before and
    after.

    `serve` never runs out of descriptors.
    """
    async with PgProxy.in_front_of(dsn) as proxy:
        rule = proxy.when(Point.IN_COPY, 1, lambda: None, sql=copy_of("session_recordings"))
        held = command.with_settings(DATABASE_URL=proxy.dsn)
        async with serving_with_few_descriptors(held) as service:
            async with asyncio.timeout(60):
                await rule.fired.wait()
            async with asyncio.timeout(60), half_sent_requests(service.url):
                proxy.release()
                await service.ran()
                assert (await service.get("/healthz")).document == {"alive": True}
            async with asyncio.timeout(10):
                assert (await service.get("/healthz")).document == {"alive": True}
            result = await service.terminated()
    assert result.code == 0, result.err
    assert "connection.refused" not in [event["event"] for event in result.events]
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
