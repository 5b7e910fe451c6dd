"""P11, no secret leaks: planted ones are looked for wherever they could turn up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import psutil
import pytest
import pytest_asyncio
from aiohttp import web

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.channels import PASSWORD as MAIL_PASSWORD
from tests.support.channels import PATH, USER, webhook
from tests.support.command import Command, Result
from tests.support.guarded import free_port
from tests.support.sql import select, value
from tests.support.truth import differences_from_truth, fetch_truth

LIST = {"path": "session_recordings"}
KEY = "phx_canaryKeyThatNobodyMaySee"
PASSWORD = "canary/Pass wörd@that:nobody?may#see"

ECHOES: dict[str, dict[str, Any]] = {
    "no error": {},
    "refused with the key in the words": {
        "status": 401,
        "body": {"type": "authentication_error", "detail": f"The key {KEY} is unknown."},
    },
    "not to be had, with the key at the cut of a long text": {
        "status": 403,
        "body": {"detail": "x" * 185 + " " + KEY},
    },
    "failed with the whole request in the words": {
        "status": 500,
        "body": {"error": f"GET / Authorization: Bearer {KEY}"},
    },
    "throttled with the key in the words": {
        "status": 429,
        "body": {"detail": f"Key {KEY} was throttled. Expected available in 90 seconds."},
    },
    "redirected to an address with the key in it": {
        "status": 302,
        "headers": {"Location": f"https://elsewhere.example/{KEY}/"},
    },
    "a page about the key instead of JSON": {"not_json": True},
}


def shown(secret: str) -> list[str]:
    """The forms that a secret could be shown in: whole, quoted, or enough of it to be useful."""
    return [secret, quote(secret, safe=""), quote(secret), repr(secret)[1:-1], secret[:18]]


async def dump(dsn: str) -> str:
    """All rows of all tables of both schemas, as text."""
    tables = await select(
        dsn,
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
        "WHERE schemaname LIKE 'posthog%'",
    )
    assert len(tables) > 8
    rows = [
        await select(dsn, f"SELECT t::text AS row FROM {table['name']} AS t") for table in tables
    ]
    return "\n".join(row["row"] for found in rows for row in found)


def assert_hidden(secret: str, result: Result, dumped: str) -> None:
    """None of its forms is in what the command printed or stored."""
    for form in shown(secret):
        assert form not in result.out
        assert form not in result.err
        assert form not in dumped


@pytest_asyncio.fixture
async def secret_dsn(dsn: str) -> AsyncIterator[str]:
    """The test's database under a role of its own, whose password is the canary."""
    role = urlsplit(dsn).path.removeprefix("/")
    connection = await asyncpg.connect(dsn)
    try:
        literal = await connection.fetchval("SELECT quote_literal($1::text)", PASSWORD)
        await connection.execute(f'CREATE ROLE "{role}" LOGIN SUPERUSER PASSWORD {literal}')
        host = urlsplit(dsn)
        server = host.netloc.rpartition("@")[2]
        yield host._replace(netloc=f"{role}:{quote(PASSWORD, safe='')}@{server}").geturl()
        await connection.execute(f'DROP OWNED BY "{role}"')
        await connection.execute(f'DROP ROLE "{role}"')
    finally:
        await connection.close()


@pytest.mark.parametrize("flags", [(), ("--debug",)], ids=["as usual", "with --debug"])
@pytest.mark.parametrize("fault", ECHOES.values(), ids=ECHOES.keys())
async def test_neither_key_nor_password_is_printed_or_stored(
    start_sandbox: StartSandbox, secret_dsn: str, fault: dict[str, Any], flags: tuple[str, ...]
) -> None:
    """Whatever the server says of the key, and however the run ends."""
    sandbox = await start_sandbox(recordings=150, key=KEY)
    if fault:
        sandbox.control.add_faults({"match": LIST, "from": 2, "fault": fault})
    command = Command(
        sandbox.url,
        secret_dsn,
        POSTHOG_PERSONAL_API_KEY=KEY,
        POSTHOG_ETL_PAGE_SIZE_RECORDS="100",
        POSTHOG_ETL_REQUEST_ATTEMPTS="2",
        POSTHOG_ETL_MAX_WAIT_S="5",
    )
    result = await command.run("sync", *flags)
    assert (result.code == 0) == (not fault), result.err
    dumped = await dump(secret_dsn)
    assert "session_recordings" in dumped
    for secret in (KEY, PASSWORD):
        assert_hidden(secret, result, dumped)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda dsn: dsn.replace("/etl_test", "/no_such_database"),
        lambda dsn: dsn + "&port=1",
        lambda dsn: dsn + "&sslmode=sometimes",
        lambda dsn: dsn.replace("postgresql://", "mysql://"),
        lambda dsn: dsn.replace("%40", "@").replace("%2F", "/").replace("%3F", "?"),
    ],
    ids=["no such database", "nobody listens", "no such mode", "another scheme", "not encoded"],
)
async def test_an_address_that_does_not_work_is_shown_without_its_password(
    start_sandbox: StartSandbox, secret_dsn: str, spoil: Any
) -> None:
    """The words name what is wrong, and not the password."""
    sandbox = await start_sandbox(recordings=1)
    command = Command(sandbox.url, spoil(secret_dsn))
    async with command.running("sync", "--debug") as process:
        out, err = b"", b""
        try:
            async with asyncio.timeout(8):
                out, err = await process.communicate()
        except TimeoutError:  # still trying to reach it: what it said so far is what counts
            process.terminate()
            out, err = await process.communicate()
    result = Result(process.returncode or 0, out.decode(), err.decode())
    assert result.err
    assert_hidden(PASSWORD, result, "")
    assert "canary" not in result.out + result.err


@pytest.mark.parametrize("cut", [0, 55])
async def test_neither_the_address_of_a_webhook_nor_the_password_for_e_mails_is_shown(
    start_sandbox: StartSandbox, secret_dsn: str, cut: int
) -> None:
    """Also if the other side repeats it, at the cut of a long text too."""
    sandbox = await start_sandbox(recordings=1, key=KEY)
    async with webhook() as hook:
        hook.status, hook.says = 404, "x" * cut + hook.url
        command = Command(
            sandbox.url,
            secret_dsn,
            POSTHOG_ETL_ALERTS_WEBHOOK_URL=hook.url,
            POSTHOG_ETL_ALERTS_EMAIL_TO="ops@example.com",
            POSTHOG_ETL_ALERTS_SMTP_HOST="127.0.0.1",
            POSTHOG_ETL_ALERTS_SMTP_PORT=str(free_port()),
            POSTHOG_ETL_ALERTS_SMTP_USER=USER,
            POSTHOG_ETL_ALERTS_SMTP_PASSWORD=MAIL_PASSWORD,
        )
        for arguments, code in (
            (("sync", "--debug"), 5),
            (("alerts", "test"), 1),
            (("alerts", "test", "--json"), 1),
            (("alerts", "list"), 0),
        ):
            result = await command.run(*arguments)
            assert result.code == code, result.err
            for secret in (PATH, MAIL_PASSWORD):
                assert_hidden(secret, result, await dump(secret_dsn))
        wrong = command.with_settings(POSTHOG_ETL_ALERTS_WEBHOOK_URL=f"ftp://127.0.0.1{PATH}")
        result = await wrong.run("alerts", "test")
        assert result.code == 2
        assert "POSTHOG_ETL_ALERTS_WEBHOOK_URL is no address that begins with" in result.err
        assert_hidden(PATH, result, "")


async def test_secrets_are_in_no_command_line(start_sandbox: StartSandbox, secret_dsn: str) -> None:
    """Looked for while the command works, in every process of the machine."""
    sandbox = await start_sandbox(recordings=150, key=KEY)
    sandbox.control.add_faults({"match": LIST, "fault": {"hang": True}})
    command = Command(sandbox.url, secret_dsn, POSTHOG_PERSONAL_API_KEY=KEY)
    async with command.running("sync"):

        async def it_works() -> bool:
            return bool(sandbox.control.faults()[0]["hits"])

        await until(it_works, "the command asks")
        lines = _command_lines()
    assert any("etl" in line and "sync" in line for line in lines)
    for secret in (KEY, PASSWORD):
        assert not any(form in line for line in lines for form in shown(secret))


async def test_a_token_inside_the_data_is_data(start_sandbox: StartSandbox, dsn: str) -> None:
    """A start_url that carries somebody's token is stored as it came, and is not logged."""
    sandbox = await start_sandbox(recordings=20)
    url = "https://app.example.com/?token=canaryTokenOfAUser"
    sandbox.control.change({"op": "start_session", "id": "mine", "start_url": url})
    result = await Command(sandbox.url, dsn).run("sync", "--debug")
    assert result.code == 0, result.err
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
    assert "canaryTokenOfAUser" not in result.out + result.err


async def test_a_secret_that_turns_up_in_the_data_is_not_logged(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Somebody's recording holds our own key where a number belongs: the reason is logged, not it.

    What the source holds is data: it stays in the payload that is set aside.
    """
    sandbox = await start_sandbox(recordings=20, key=KEY)
    sandbox.control.add_faults(
        {"match": LIST, "at": 1, "fault": {"mutate": {"set": {"click_count": KEY}}}}
    )
    command = Command(sandbox.url, dsn, POSTHOG_PERSONAL_API_KEY=KEY)
    result = await command.run("sync", "--debug")
    assert (result.code, "record.rejected" in result.err) == (3, True), result.err
    assert_hidden(KEY, result, "")


@pytest_asyncio.fixture
async def elsewhere() -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """Another server's address, and the headers of every request it got."""
    got: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        got.append(dict(request.headers))
        return web.json_response({"results": [], "has_next": False})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}", got
    await runner.cleanup()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_key_never_travels_to_the_target_of_a_redirect(
    start_sandbox: StartSandbox, dsn: str, elsewhere: tuple[str, list[Any]], status: int
) -> None:
    """It is not followed at all: the run fails and names where it would have led."""
    address, got = elsewhere
    sandbox = await start_sandbox(recordings=20)
    redirect = {"status": status, "headers": {"Location": f"{address}/api/?a=b"}}
    sandbox.control.add_faults({"match": LIST, "fault": redirect})
    result = await Command(sandbox.url, dsn).run("sync", "--json")
    assert (result.code, got) == (1, []), result.err
    assert address in result.report["reason"]
    assert "POSTHOG_HOST" in result.report["reason"]


async def test_settings_that_are_wrong_are_named_without_their_values(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A key with a blank in it, and a project token by mistake."""
    sandbox = await start_sandbox(recordings=1)
    for wrong in (f"{KEY} {KEY}", f"phc_{KEY}"):
        result = await Command(sandbox.url, dsn, POSTHOG_PERSONAL_API_KEY=wrong).run("sync")
        assert result.code == 2
        assert "canary" not in json.dumps([result.out, result.err])


def _command_lines() -> list[str]:
    """The command line of every process of this machine that may be looked at."""
    found = (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
    return ["\0".join(words) for words in found if words]


async def test_a_key_of_the_old_form_is_hidden_in_what_a_server_says(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Old keys begin like any word, so nothing but the key itself tells that it is one."""
    key = "canaryKeyOfTheOldForm"
    sandbox.control.put_key(key)
    refusal = {"status": 403, "detail": f"No access with {key}"}
    sandbox.control.add_faults({"match": {"path": "session_recordings"}, "fault": refusal})
    result = await Command(sandbox.url, dsn, POSTHOG_PERSONAL_API_KEY=key).run("sync", "--json")
    assert result.code == 3
    assert "No access with" in result.report["reason"]
    assert key not in await value(dsn, "SELECT reason FROM posthog_etl.runs")
