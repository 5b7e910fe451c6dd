"""One deployment has one source. Commands that ask another source refuse, or warn."""

from __future__ import annotations

import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.sql import select

OTHER = "https://eu.posthog.example"
REFUSED = f"This database holds data of {OTHER}, and POSTHOG_HOST is "
REMEDY = "Set POSTHOG_ETL_SCHEMA to another name for another server"
A_DAY = ("--since", "2026-01-01", "--until", "2026-01-02")


@pytest.fixture
def command(sandbox: RunningSandbox, dsn: str) -> Command:
    """The installed command, with a server of 300 recordings."""
    return Command(sandbox.url, dsn)


async def data_came_from(dsn: str, host: str) -> None:
    """Write the host from which the data of the database was read."""
    await select(dsn, f"INSERT INTO posthog_etl.hosts VALUES ('{host}', now())")


@pytest.mark.parametrize(
    "arguments",
    [
        ("sync",),
        ("backfill", "session_recordings", *A_DAY),
        ("backfill", "session_recordings", *A_DAY, "--enqueue"),
        ("plan",),
        ("plan", *A_DAY),
        ("check",),
        ("serve", "--port", "0"),
        ("worker",),
    ],
    ids=" ".join,
)
async def test_every_command_that_asks_the_source_refuses_another_one(
    command: Command, dsn: str, arguments: tuple[str, ...]
) -> None:
    """Exit code 2, naming both hosts, before anything is read. `check` goes on."""
    await data_came_from(dsn, OTHER)
    result = await command.run(*arguments)
    said = result.out if arguments == ("check",) else result.err
    assert result.code == 2, result.err
    assert REFUSED + command.environment["POSTHOG_HOST"] in " ".join(said.split())
    assert REMEDY in " ".join(said.split())
    assert await select(dsn, "SELECT FROM posthog_etl.runs") == []


async def test_two_servers_of_this_machine_are_named_in_a_warning(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """They may be one server that was restarted on another port, so the sync goes on."""
    first, second = await start_sandbox(), await start_sandbox()
    before = await Command(first.url, dsn).run("sync", "--json")
    assert "source.doubted" not in [event["event"] for event in before.events]
    after = Command(second.url, dsn)
    for arguments in (("plan",), ("sync", "--json")):
        result = await after.run(*arguments)
        assert result.code == 0, result.err
        (warning,) = [e for e in result.events if e["event"] == "source.doubted"]
        assert warning["reason"] == (
            f"This database holds data of {first.url}, and POSTHOG_HOST is {second.url}: taken for "
            "the same server, because both are this machine. If it is another one, set "
            "POSTHOG_ETL_SCHEMA to another name"
        )
    findings = (await Command(first.url, dsn).run("check", "--json")).document["findings"]
    assert "source" not in [finding["about"] for finding in findings]


async def test_one_server_under_two_names_of_this_machine_is_one(command: Command) -> None:
    """localhost and 127.0.0.1, with the same port."""
    assert (await command.run("sync")).code == 0
    named = command.environment["POSTHOG_HOST"].replace("127.0.0.1", "localhost")
    other = command.with_settings(POSTHOG_HOST=named, NO_PROXY="localhost")
    result = await other.run("sync")
    assert result.code == 0, result.err
    assert "source.doubted" not in [event["event"] for event in result.events]
