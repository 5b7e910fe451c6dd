"""Proxies in the environment are used; ~/.netrc is not."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from etl.sandbox.server import RunningSandbox
from tests.support.books import row_count
from tests.support.command import Command


@pytest.fixture
def command(sandbox: RunningSandbox, dsn: str) -> Command:
    """The installed command, with a server of 300 recordings."""
    return Command(sandbox.url, dsn)


@asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """Run a plain HTTP proxy; yield its port and the requests that it passed to `target`."""
    passed: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        passed.append(request)
        headers = {"Authorization": request.headers["Authorization"]}
        url = target + request.path_qs
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as found:
            body = await found.read()
            return web.Response(status=found.status, body=body, content_type=found.content_type)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1], passed
    finally:
        await runner.cleanup()


def with_netrc(command: Command, directory: Path, **settings: str) -> Command:
    """Return the command of a user whose ~/.netrc has logins for the host and the proxy."""
    netrc = directory / ".netrc"
    netrc.write_text(
        "machine 127.0.0.1 login somebody password netrc-secret\n"
        "default login anybody password netrc-secret\n"
    )
    netrc.chmod(0o600)
    return command.with_settings(HOME=str(directory), **settings)


async def test_a_netrc_entry_for_the_host_is_left_alone(
    command: Command, dsn: str, tmp_path: Path
) -> None:
    """Only the key authorizes, whatever logins other programs use."""
    result = await with_netrc(command, tmp_path).run("sync", "--json")
    assert result.code == 0, result.err
    assert await row_count(dsn, "session_recordings") == 300


async def test_the_proxy_of_the_environment_is_used_with_its_own_login(
    command: Command, dsn: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """Every request passes it. The login comes from the proxy's address, never from ~/.netrc."""
    async with proxy_to(sandbox.url) as (port, passed):
        proxied = {
            "POSTHOG_HOST": "http://posthog.invalid",
            "HTTP_PROXY": f"http://me:pass%20word@127.0.0.1:{port}",
            "NO_PROXY": "",
        }
        result = await with_netrc(command, tmp_path, **proxied).run("sync", "--json")
    assert result.code == 0, result.err
    assert await row_count(dsn, "session_recordings") == 300
    assert len(passed) == result.report["requests"]
    login = "Basic " + b64encode(b"me:pass word").decode()
    assert {each.headers["Proxy-Authorization"] for each in passed} == {login}
    assert {each.headers["Authorization"] for each in passed} == {"Bearer phx_sandbox"}
    assert {each.headers["Host"] for each in passed} == {"posthog.invalid"}


async def test_a_host_named_in_no_proxy_is_reached_directly(command: Command, dsn: str) -> None:
    """With its port or without."""
    host = command.environment["POSTHOG_HOST"].removeprefix("http://")
    nobody = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": f"posthog.invalid,{host}"}
    result = await command.with_settings(**nobody).run("sync", "--json")
    assert result.code == 0, result.err
    assert await row_count(dsn, "session_recordings") == 300


async def test_a_proxy_that_does_not_speak_http_is_named(command: Command) -> None:
    """It is not ignored."""
    proxy = {"HTTP_PROXY": "socks5://127.0.0.1:1080", "NO_PROXY": ""}
    result = await command.with_settings(**proxy).run("sync")
    assert result.code == 2
    assert "HTTP_PROXY does not name a proxy that speaks HTTP. Write it as http://" in result.err
