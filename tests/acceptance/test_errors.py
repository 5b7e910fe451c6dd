"""What goes wrong on day one: one line that names cause and remedy, the exit code, no traceback."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from etl.extractors.client import FIRST_CONTACT_ATTEMPTS
from etl.loaders.embedded import EmbeddedPostgres
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import RunningSandbox, running
from tests.conftest import StartSandbox
from tests.support.books import batches_committed, until
from tests.support.command import Command, Result, finish
from tests.support.guarded import (
    PASSWORD,
    ROLES,
    free_port,
    guarded_server,
    make_certificate,
    sandbox_with_tls,
)
from tests.support.postgres import Databases, database_of, with_database
from tests.support.sql import select
from tests.support.truth import differences_from_truth, fetch_truth

LIST = {"path": "session_recordings"}
ONCE = {"POSTHOG_ETL_REQUEST_ATTEMPTS": "1"}
NOWHERE = ("http://127.0.0.1:9", "postgresql://nobody@127.0.0.1:9/none")


class World:
    """What trouble is made with. Each part starts when first asked for, and ends with the test."""

    def __init__(
        self,
        directory: Path,
        databases: Databases,
        template: str,
        guarded: Callable[[], EmbeddedPostgres],
        stack: AsyncExitStack,
    ) -> None:
        self.directory = directory
        self.stack = stack
        self._databases = databases
        self._template = template
        self._guarded = guarded

    def nowhere(self, **settings: str) -> Command:
        """A command whose server and database do not exist: it has to end before it needs them."""
        return Command(*NOWHERE, **settings)

    async def sandbox(self, **options: Any) -> RunningSandbox:
        """A sandbox of a few recordings."""
        chosen = {"clock": "frozen", "port": 0, "recordings": 20, **options}
        return await self.stack.enter_async_context(running(SandboxOptions(**chosen)))

    async def database(self, *, migrated: bool = True) -> str:
        """A database of the test's own."""
        dsn = await self._databases.create_database(self._template if migrated else None)
        self.stack.push_async_callback(self._databases.drop_database, dsn)
        return dsn

    async def command(self, **settings: str) -> Command:
        """A command that would succeed but for `settings`."""
        return Command((await self.sandbox()).url, await self.database(), **settings)

    async def guarded_dsn(self, user: str, password: str = PASSWORD) -> str:
        """An address at the server that lets not everybody in."""
        server = self._guarded()
        have = {row["rolname"] for row in await select(server.dsn, "SELECT rolname FROM pg_roles")}
        for role in ROLES:
            if role.split()[2] not in have:
                await select(server.dsn, role)
        return f"postgresql://{user}:{quote(password)}@127.0.0.1:{server.port}/postgres"

    async def foreign_dsn(self) -> str:
        """An address of a user of that server, at a database where the tables are another's."""
        dsn, server = await self.guarded_dsn("loader"), self._guarded()
        await select(server.dsn, "CREATE DATABASE foreign_tables")
        await select(with_database(server.dsn, "foreign_tables"), "CREATE SCHEMA posthog_etl")
        return with_database(dsn, "foreign_tables")

    def file(self, text: str) -> str:
        """The path of a file with this text in it."""
        path = self.directory / "file"
        path.write_text(text)
        return str(path)


Bring = Callable[[World], Awaitable[Command]]


@dataclass(frozen=True)
class Trouble:
    """How to bring it about, the exit code, the line shown, and what is called.

    line: a pattern for all that follows the name of the program or of the stream.
    """

    bring: Bring
    code: int
    line: str
    arguments: Callable[[World], tuple[str, ...]] = lambda _: ("sync",)


def settings(*without: str, **values: str) -> Bring:
    """Settings that cannot be right: nothing may be connected to."""

    async def bring(world: World) -> Command:
        command = world.nowhere(**values)
        for name in without:
            del command.environment[name]
        return command

    return bring


def key_file(make: Callable[[World], object]) -> Bring:
    """The key comes from a file, and something is wrong with that file."""

    async def bring(world: World) -> Command:
        path = str(make(world))
        return await settings("POSTHOG_PERSONAL_API_KEY", POSTHOG_PERSONAL_API_KEY_FILE=path)(world)

    return bring


def config(text: str) -> Callable[[World], tuple[str, ...]]:
    """A file of settings with this text."""
    return lambda world: ("sync", "--config", world.file(text))


def calling(*arguments: str) -> Callable[[World], tuple[str, ...]]:
    """These arguments."""
    return lambda _: arguments


def source(**values: str) -> Bring:
    """Everything is well but for settings that concern the source."""

    async def bring(world: World) -> Command:
        return await world.command(**ONCE, **values)

    return bring


def answer(fault: dict[str, Any], **values: str) -> Bring:
    """The server answers every request for the list so."""

    async def bring(world: World) -> Command:
        sandbox = await world.sandbox()
        sandbox.control.add_faults({"match": LIST, "fault": fault})
        return Command(sandbox.url, await world.database(), **{**ONCE, **values})

    return bring


def key(**properties: Any) -> Bring:
    """The key is known to the server, but may not do everything."""

    async def bring(world: World) -> Command:
        sandbox = await world.sandbox()
        sandbox.control.put_key("phx_other", **properties)
        dsn = await world.database()
        return Command(sandbox.url, dsn, POSTHOG_PERSONAL_API_KEY="phx_other")

    return bring


def statements(*texts: str, migrated: bool = True) -> Bring:
    """The database was changed by these statements; {} stands for its name."""

    async def bring(world: World) -> Command:
        dsn = await world.database(migrated=migrated)
        for text in texts:
            await select(dsn, text.format(f'"{database_of(dsn)}"'))
        return Command((await world.sandbox()).url, dsn)

    return bring


def guarded(user: str, password: str = PASSWORD, *, query: str = "", database: str = "") -> Bring:
    """The database is one that lets not everybody in."""

    async def bring(world: World) -> Command:
        dsn = await world.guarded_dsn(user, password)
        return world.nowhere(DATABASE_URL=with_database(dsn, database or database_of(dsn)) + query)

    return bring


async def tables_of_another(world: World) -> Command:
    """Another role has made the tables."""
    return world.nowhere(DATABASE_URL=await world.foreign_dsn())


async def another_region(world: World) -> Command:
    """The key is right, but for another server."""
    return await world.command(POSTHOG_PERSONAL_API_KEY="phx_of_another_region")


async def nameless_project(world: World) -> Command:
    """The project of the key is asked for, and the answer has no id."""
    sandbox = await world.sandbox()
    fault = {"status": 200, "body": {"name": "somewhere"}}
    sandbox.control.add_faults({"match": {"path": "projects/@current"}, "fault": fault})
    return Command(sandbox.url, await world.database(), POSTHOG_PROJECT_ID="@current")


async def plain_to_tls(world: World) -> Command:
    """http:// where https:// is spoken."""
    port = await world.stack.enter_async_context(
        sandbox_with_tls(make_certificate(world.directory))
    )
    return await world.command(**ONCE, POSTHOG_HOST=f"http://127.0.0.1:{port}")


async def tls_to_plain(world: World) -> Command:
    """https:// where http:// is spoken. With all attempts: nothing but the setting mends it."""
    sandbox = await world.sandbox()
    return Command(sandbox.url.replace("http://", "https://"), await world.database())


async def self_signed(world: World) -> Command:
    """A certificate that nobody vouches for. With all attempts, as above."""
    port = await world.stack.enter_async_context(
        sandbox_with_tls(make_certificate(world.directory))
    )
    return await world.command(POSTHOG_HOST=f"https://127.0.0.1:{port}")


async def no_web_server(world: World) -> Command:
    """Something else listens, which says something else."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-something\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    await world.stack.enter_async_context(server)
    port = server.sockets[0].getsockname()[1]
    return await world.command(**ONCE, POSTHOG_HOST=f"http://127.0.0.1:{port}")


async def nobody_listens(world: World) -> Command:
    """With all attempts: where nothing has ever answered they are few."""
    return await world.command(POSTHOG_HOST=f"http://127.0.0.1:{free_port()}")


async def closed_proxy(world: World) -> Command:
    """A proxy is set that is not there."""
    proxy = f"http://someone:hidden@127.0.0.1:{free_port()}"
    return await world.command(
        **ONCE,
        POSTHOG_HOST="https://posthog.invalid",
        HTTPS_PROXY=proxy,
        NO_PROXY="",
    )


async def refusing_proxy(world: World) -> Command:
    """What is set as a proxy is none, and says so."""
    sandbox = await world.sandbox()
    return await world.command(
        POSTHOG_HOST="https://posthog.invalid", HTTPS_PROXY=sandbox.url, NO_PROXY=""
    )


async def database_down(world: World) -> Command:
    """Nobody listens where DATABASE_URL leads."""
    return world.nowhere(DATABASE_URL=f"postgresql://u:p@127.0.0.1:{free_port()}/copy")


async def silent_database(world: World) -> Command:
    """Connections are taken and never answered, as by a firewall."""
    listening = world.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    address = f"postgresql://u:p@127.0.0.1:{listening.getsockname()[1]}/copy?connect_timeout=2"
    return world.nowhere(DATABASE_URL=address)


async def no_postgres(world: World) -> Command:
    """A web server listens where DATABASE_URL leads."""
    port = (await world.sandbox()).url.rpartition(":")[2]
    return world.nowhere(DATABASE_URL=f"postgresql://u:p@127.0.0.1:{port}/copy")


async def unit_is_held(world: World) -> Command:
    """Another run is at it."""
    command = await world.command()
    await select(
        command.environment["DATABASE_URL"],
        "INSERT INTO posthog_etl.leases (project_id, stream, unit, holder, expires_at) VALUES "
        "(1, 'session_recordings', 'tail', gen_random_uuid(), clock_timestamp() + '1 hour')",
    )
    return command


async def port_taken(world: World) -> Command:
    """The sandbox is to listen where another does."""
    sandbox = await world.sandbox()
    (world.directory / "port").write_text(sandbox.url.rpartition(":")[2])
    return world.nowhere()


# A server that calls itself old: its own functions stand before those of the system.
OLD_SERVER = (
    "CREATE SCHEMA old",
    "CREATE FUNCTION old.current_setting(text) RETURNS text LANGUAGE sql AS "
    "$$SELECT CASE $1 WHEN 'server_version_num' THEN '140012' "
    "ELSE pg_catalog.current_setting($1) END$$",
    "CREATE FUNCTION old.version() RETURNS text LANGUAGE sql AS "
    "$$SELECT 'PostgreSQL 14.12 on a machine'$$",
    "ALTER DATABASE {} SET search_path = old, pg_catalog, public",
)
# The words and the state that a server has for a full disk.
FULL_DISK = (
    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION "
    "'could not extend file: No space left on device' USING ERRCODE = '53100'; END$$",
    "CREATE TRIGGER full_disk BEFORE INSERT ON posthog.session_recordings "
    "EXECUTE FUNCTION full_disk()",
)

KEY, URL = "POSTHOG_PERSONAL_API_KEY", "DATABASE_URL"
EXPECTED_URL = r"Expected postgresql://\S+, or the word embedded for a Postgres of our own"
UNREAD = r"Check that POSTHOG_HOST is the address of the PostHog app"

USAGE: dict[str, Trouble] = {
    "no settings": Trouble(
        settings("POSTHOG_HOST", KEY, "POSTHOG_PROJECT_ID", URL),
        2,
        rf"{KEY} is not set\. Create a personal API key \(phx_…\) under Settings, .*{KEY}_FILE",
    ),
    "no database": Trouble(
        settings(URL),
        2,
        r"DATABASE_URL is not set\. Set it to your Postgres .* the word embedded"
        r" for a Postgres kept in the data directory",
    ),
    "an empty database address": Trouble(
        settings(DATABASE_URL=""), 2, r"DATABASE_URL is not set\. Set it to your Postgres .*"
    ),
    "a blank database address": Trouble(
        settings(DATABASE_URL=" "), 2, rf"DATABASE_URL is empty\. {EXPECTED_URL}"
    ),
    "another database": Trouble(
        settings(DATABASE_URL="mysql://u:p@db/copy"),
        2,
        rf"DATABASE_URL is a mysql:// address\. {EXPECTED_URL}",
    ),
    "a web address for a database": Trouble(
        settings(DATABASE_URL="https://db.example.com/copy"),
        2,
        rf"DATABASE_URL is a https:// address\. {EXPECTED_URL}",
    ),
    "a port that is no number": Trouble(
        settings(DATABASE_URL="postgresql://u:p@db:99999/copy"),
        2,
        r"DATABASE_URL has a port that is not a number from 1 to 65535\. .*",
    ),
    "an unknown sslmode": Trouble(
        settings(DATABASE_URL="postgresql://u:p@db/copy?sslmode=always"),
        2,
        r"DATABASE_URL has an sslmode that is none of disable, .*",
    ),
    "an unknown setting in the file": Trouble(
        settings(),
        2,
        r"/\S+: there is no setting 'page_size' \(did you mean page_size_records\?\)\. See .*",
        config("page_size = 5"),
    ),
    "a wrong value in the file": Trouble(
        settings(),
        2,
        r"POSTHOG_ETL_LEASE_S \(lease_s in /\S+\) must be greater than or equal to 1",
        config("lease_s = -3"),
    ),
    "no such file": Trouble(
        settings(),
        2,
        r"/\S+none\.toml cannot be read: No such file or directory",
        lambda world: ("sync", "--config", str(world.directory / "none.toml")),
    ),
    "an unreadable file": Trouble(
        settings(),
        2,
        r"/\S+ cannot be read: Is a directory",
        lambda world: ("sync", "--config", str(world.directory)),
    ),
    "a file that is no TOML": Trouble(
        settings(), 2, r"/\S+ is not TOML: .* \(at .*\)", config("[plan")
    ),
    "a project token for a key": Trouble(
        settings(POSTHOG_PERSONAL_API_KEY="phc_public"),
        2,
        rf"{KEY} is a project token \(phc_…\), which can only send events\. "
        r"Create a personal API key \(phx_…\) under Settings, Personal API keys",
    ),
    "no such key file": Trouble(
        key_file(lambda world: world.directory / "none"),
        2,
        rf"{KEY}_FILE cannot be read: /\S+/none: No such file or directory",
    ),
    "an unreadable key file": Trouble(
        key_file(lambda world: world.directory),
        2,
        rf"{KEY}_FILE cannot be read: /\S+: Is a directory",
    ),
    "an empty key file": Trouble(
        key_file(lambda world: world.file("\n")), 2, rf"{KEY}_FILE holds no key"
    ),
    "the ingestion host": Trouble(
        settings(POSTHOG_HOST="https://eu.i.posthog.com"),
        2,
        r"POSTHOG_HOST is PostHog's ingestion host, which has no API\. "
        r"Use https://eu\.posthog\.com",
    ),
    "a host with a path": Trouble(
        settings(POSTHOG_HOST="https://us.posthog.com/project/1"),
        2,
        r"POSTHOG_HOST has a path; only the host is wanted: https://us\.posthog\.com",
    ),
    "a host without a scheme": Trouble(
        settings(POSTHOG_HOST="us.posthog.com"),
        2,
        r"POSTHOG_HOST must begin with https://, as in https://us\.posthog\.com",
    ),
    "a name for a project": Trouble(
        settings(POSTHOG_PROJECT_ID="Acme"),
        2,
        r"POSTHOG_PROJECT_ID 'Acme' is not a project id\. It is the number in the project's "
        r"settings .*",
    ),
    "a number that is no project's": Trouble(
        settings(POSTHOG_PROJECT_ID="9" * 30), 2, r"POSTHOG_PROJECT_ID '9+' is not a project id.*"
    ),
    "a key for a project": Trouble(
        settings(POSTHOG_PROJECT_ID="phx_private"),
        2,
        r"POSTHOG_PROJECT_ID '•••' is not a project id\..*",
    ),
    "a date that is none": Trouble(
        settings(),
        2,
        r"--start 'tomorrow' is not a date; write 2026-01-31, 2026-01-31T12:00Z, 30d, 2h, today .*",
        calling("sync", "--start", "tomorrow"),
    ),
    "a start that is still to come": Trouble(
        settings(),
        2,
        r"POSTHOG_ETL_START \(--start\) lies in the future; recordings are loaded .*",
        calling("sync", "--start", "9999-01-01"),
    ),
    "a stream that is switched off": Trouble(
        settings(POSTHOG_ETL_DISABLED_STREAMS="insights"),
        2,
        r"insights is switched off\. Take it out of POSTHOG_ETL_DISABLED_STREAMS, .*",
        calling("sync", "insights"),
    ),
    "a stream that is none": Trouble(
        settings(),
        2,
        r"There is no stream 'recordings' \(did you mean session_recordings\?\)\. Streams: .*",
        calling("sync", "recordings"),
    ),
    "a schema that Postgres keeps": Trouble(
        settings(POSTHOG_ETL_SCHEMA="pg_copy"),
        2,
        r"POSTHOG_ETL_SCHEMA may not begin with pg_, which Postgres keeps for itself",
    ),
    "a negative number": Trouble(
        settings(POSTHOG_ETL_MAX_WAIT_S="-1"),
        2,
        r"POSTHOG_ETL_MAX_WAIT_S must be greater than or equal to 0",
    ),
    "a lookback without a unit": Trouble(
        settings(POSTHOG_ETL_LOOKBACK="72"),
        2,
        r"POSTHOG_ETL_LOOKBACK '72' is not a grade; write for example 7d every 6h",
    ),
    "no number": Trouble(
        settings(POSTHOG_ETL_LEASE_S="long"), 2, r"POSTHOG_ETL_LEASE_S must be a valid number.*"
    ),
    "pages of nothing": Trouble(
        settings(POSTHOG_ETL_PAGE_SIZE_RECORDS="0"),
        2,
        r"POSTHOG_ETL_PAGE_SIZE_RECORDS must be greater than or equal to 1",
    ),
    "an unknown plan": Trouble(
        settings(POSTHOG_ETL_PLAN="gold"),
        2,
        r"POSTHOG_ETL_PLAN must be 'free', 'paid', 'enterprise' or 'unlimited'",
    ),
    "certificates that are none": Trouble(
        source(POSTHOG_ETL_CA_FILE="/dev/null"),
        2,
        r"POSTHOG_ETL_CA_FILE /dev/null holds no certificates: .*",
    ),
    "a data directory that cannot be": Trouble(
        settings(DATABASE_URL="embedded", POSTHOG_ETL_DATA_DIR="/dev/null/here"),
        2,
        r"/dev/null/here\S* cannot be used for Postgres: Not a directory\. "
        r"Set POSTHOG_ETL_DATA_DIR to another directory, or DATABASE_URL to a server",
    ),
    "a command that is none": Trouble(
        settings(),
        2,
        r"No such command 'snyc'\. Did you mean 'sync', 'resync'\? See posthog-etl --help",
        calling("snyc"),
    ),
    "an option that is none": Trouble(
        settings(),
        2,
        r"No such option: --sine.*\. See posthog-etl sync --help",
        calling("sync", "--sine", "2026-01-01"),
    ),
    "a limit below one": Trouble(
        settings(),
        2,
        r"Invalid value for '--limit': must be greater than or equal to 1\. "
        r"See posthog-etl runs --help",
        calling("runs", "--limit", "-1"),
    ),
}

SOURCE: dict[str, Trouble] = {
    "a key of another region": Trouble(
        another_region,
        5,
        rf"The API refused the key: .*invalid\. Set {KEY} to a personal key \(phx_…\) of this "
        r"host's region",
    ),
    "a key of somebody who left": Trouble(
        key(active=False), 5, rf"The API refused the key: User inactive .*\. Set {KEY} to a .*"
    ),
    "a missing scope": Trouble(
        key(scopes=["project:read"]),
        3,
        r"The API answered 403: API key missing required scope 'session_recording:read'\. "
        r"Add the scope session_recording:read to the personal API key",
    ),
    "a key of other projects": Trouble(
        key(projects=[2]),
        3,
        r"The API answered 403: API key does not have access to the requested project: ID 1\. "
        r"Give the key access to this project, .*",
    ),
    "a project that is not there": Trouble(
        source(POSTHOG_PROJECT_ID="77"),
        3,
        r"The API answered 404: Project not found\. Check POSTHOG_PROJECT_ID: the number in .*",
    ),
    "a server that does not say which project": Trouble(
        nameless_project,
        2,
        r"The server does not say which project is @current\. Set POSTHOG_PROJECT_ID to the .*",
    ),
    "an endpoint that is not there": Trouble(
        answer({"status": 404, "detail": "Endpoint not found."}),
        3,
        r"The API answered 404: Endpoint not found\. This server does not offer the stream: .*",
    ),
    "a stream that is gone": Trouble(
        answer({"status": 410}), 3, r"The API answered 410: .* does not offer the stream: .*"
    ),
    "a stream that costs more": Trouble(
        answer({"preset": "402"}),
        3,
        r"The API answered 402: .*paid plan\. Upgrade the PostHog plan, or switch this stream off",
    ),
    "a web server that is no PostHog": Trouble(
        answer({"status": 404, "body": "html"}),
        1,
        r"Something other than PostHog answered 404: a web page instead of JSON\. Check "
        r"POSTHOG_HOST, and what a proxy or a firewall before it lets through",
    ),
    "a login page": Trouble(
        answer({"preset": "login_page"}),
        1,
        rf"The server answered with a web page instead of JSON \(a login page .*\)\. {UNREAD}",
    ),
    "an empty answer": Trouble(
        answer({"status": 200, "body": "empty"}), 1, rf"The server's answer is empty\. {UNREAD}"
    ),
    "half an answer": Trouble(
        answer({"truncate": 30}), 1, rf"The server's answer is incomplete JSON\. {UNREAD}"
    ),
    "a redirect": Trouble(
        answer({"status": 301, "headers": {"Location": "https://eu.posthog.com/api/"}}),
        1,
        r"The server redirects to https://eu\.posthog\.com/api/\. Set POSTHOG_HOST to the .*",
    ),
    "a request that is not understood": Trouble(
        answer({"status": 400}), 1, r"The API answered 400: .*: check POSTHOG_HOST"
    ),
    "an error of the server's": Trouble(
        answer({"preset": "500_error_body"}), 1, r"The API answered 500: .*\. Run it again later.*"
    ),
    "too large a page, however small": Trouble(
        answer({"preset": "513"}),
        1,
        r"The server is too slow for 50 recordings of one hour, and less cannot be asked for: "
        r"The API answered 513: .*memory limit.*\. Run it again when the server is less busy.*",
    ),
    "a long wait": Trouble(
        answer({"status": 429, "wait_s": 9000}, POSTHOG_ETL_MAX_WAIT_S="60"),
        6,
        r"The server asks us to wait 9000 seconds; we wait an hour, until "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
    ),
    "no answer in time": Trouble(
        answer({"hang": True}, POSTHOG_ETL_REQUEST_TIMEOUT_S="0.5"),
        1,
        r"127\.0\.0\.1 did not answer in time\. Raise POSTHOG_ETL_REQUEST_TIMEOUT_S, or .*",
    ),
    "a connection that breaks off": Trouble(
        answer({"reset": "before"}),
        1,
        r"The connection to 127\.0\.0\.1 broke off: .*\. Check POSTHOG_HOST: .*",
    ),
    "http for https": Trouble(
        plain_to_tls,
        1,
        r"The connection to 127\.0\.0\.1 broke off: .*\. Check POSTHOG_HOST: a server that "
        r"speaks TLS needs https://",
    ),
    "a server that is no web server": Trouble(
        no_web_server,
        1,
        r"127\.0\.0\.1 does not answer in HTTP\. Check POSTHOG_HOST: its port, and whether it .*",
    ),
    "https for http": Trouble(
        tls_to_plain,
        1,
        r"127\.0\.0\.1 does not speak TLS on this port\. Correct the port in POSTHOG_HOST, .*",
    ),
    "a certificate signed by itself": Trouble(
        self_signed,
        1,
        r"The certificate of 127\.0\.0\.1 is not trusted: self.signed certificate\. "
        r"Set POSTHOG_ETL_CA_FILE if it is signed by your own authority",
    ),
    "a host that nobody knows": Trouble(
        source(POSTHOG_HOST="https://posthog.invalid"),
        1,
        r"posthog\.invalid cannot be reached: .*\. Check POSTHOG_HOST and the network",
    ),
    "nobody there": Trouble(
        nobody_listens,
        1,
        r"127\.0\.0\.1 cannot be reached: Connection refused\. Check POSTHOG_HOST and .*",
    ),
    "a proxy that is not there": Trouble(
        closed_proxy,
        1,
        r"The proxy 127\.0\.0\.1:\d+ cannot be reached: Connection refused\. "
        r"Check HTTPS_PROXY and HTTP_PROXY, or name posthog\.invalid in NO_PROXY",
    ),
    "a proxy that refuses": Trouble(
        refusing_proxy,
        1,
        r"The proxy does not lead to posthog\.invalid: 4\d\d .*\. Check HTTPS_PROXY, .*",
    ),
}

DESTINATION: dict[str, Trouble] = {
    "the database is down": Trouble(
        database_down,
        1,
        r"Postgres cannot be reached: Connection refused\. Check host and port in DATABASE_URL, .*",
    ),
    "a database that says nothing": Trouble(
        silent_database,
        1,
        r"Postgres cannot be reached: no answer in time\. Check host and port in DATABASE_URL, .*",
    ),
    "a database host that nobody knows": Trouble(
        settings(DATABASE_URL="postgresql://u:p@db.invalid/copy"),
        1,
        r"Postgres cannot be reached: .*\. Check host and port in DATABASE_URL, .*",
    ),
    "a server that is no Postgres": Trouble(
        no_postgres,
        1,
        r"The server at this address offers no TLS\. Check host and port in DATABASE_URL; .*",
    ),
    "a wrong password": Trouble(
        guarded("loader", "wrong"),
        1,
        r"Postgres refused the password \(.*\"loader\"\)\. Correct it in DATABASE_URL",
    ),
    "a user that may not come from here": Trouble(
        guarded("stranger"),
        1,
        r"Postgres requires TLS \(.*\)\. Write sslmode=require in DATABASE_URL",
    ),
    "TLS where there is none": Trouble(
        guarded("loader", query="?sslmode=require"),
        1,
        r"The server at this address offers no TLS\. Check host and port in DATABASE_URL; .*",
    ),
    "no such database": Trouble(
        guarded("loader", database="nothing"),
        1,
        r"The database does not exist \(.*\"nothing\".*\)\. Create it, or correct its name in .*",
    ),
    "too many connections": Trouble(
        guarded("crowded"), 1, r"Postgres broke off: too many connections .*\. Run it again: .*"
    ),
    "no right to make a schema": Trouble(
        guarded("loader"),
        1,
        r"The database role may not do this \(permission denied for database .*\)\. "
        r"Grant it CREATE on the database, or let another role run `posthog-etl migrate` first",
    ),
    "tables of another role": Trouble(
        tables_of_another,
        1,
        r"The database role may not do this \(permission denied for schema posthog_etl\)\. "
        r"Use the role that made the tables, or let it grant this one what it needs",
    ),
    "a copy that only reads": Trouble(
        statements("ALTER DATABASE {} SET default_transaction_read_only = on", migrated=False),
        1,
        r"Postgres is read-only \(.*\)\. Point DATABASE_URL at the primary, .*",
    ),
    "an old server": Trouble(
        statements(*OLD_SERVER, migrated=False),
        1,
        r"PostgreSQL 14\.12 is too old\. posthog-etl needs PostgreSQL 15 or newer",
    ),
    "a full disk": Trouble(
        statements(*FULL_DISK),
        1,
        r"The disk of the Postgres server is full \(.*\)\. Make room; the next run goes on",
    ),
    "tables that are not there": Trouble(
        statements(migrated=False),
        1,
        r"The database holds no posthog-etl tables of this version\. Run `posthog-etl sync` or .*",
        calling("status"),
    ),
    "a version of the schema that is none": Trouble(
        statements(),
        2,
        r"There is no version '0815' of the schema\. Write head, or base for no tables at all",
        calling("migrate", "--to", "0815"),
    ),
    "two at once": Trouble(
        unit_is_held,
        4,
        r"Another run holds session_recordings of project 1\. Wait for it, or look at it with "
        r"`posthog-etl status`",
    ),
    "an address that is not ours": Trouble(
        settings(),
        1,
        r"cannot listen on posthog\.invalid:0: .*\. Choose another with --host and --port, .*",
        calling("sandbox", "--host", "posthog.invalid", "--port", "0"),
    ),
    "a port that is taken": Trouble(
        port_taken,
        1,
        r"cannot listen on 127\.0\.0\.1:\d+: Address already in use\. Choose another with --host "
        r"and --port, .*",
        lambda world: ("sandbox", "--port", (world.directory / "port").read_text()),
    ),
}

TROUBLES = USAGE | SOURCE | DESTINATION
assert len(TROUBLES) == len(USAGE) + len(SOURCE) + len(DESTINATION)


@pytest.fixture(scope="module")
def guarded_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that lets not everybody in."""
    with guarded_server() as server:
        yield server


@pytest_asyncio.fixture
async def world(
    tmp_path: Path, databases: Databases, template: str, request: pytest.FixtureRequest
) -> AsyncIterator[World]:
    """What trouble is made with."""
    async with AsyncExitStack() as stack:
        yield World(
            tmp_path,
            databases,
            template,
            lambda: request.getfixturevalue("guarded_postgres"),
            stack,
        )


def line_shown(result: Result) -> str:
    """The only line on stderr that is no log; without one, the only reason in the result."""
    plain = [line for line in result.err.splitlines() if not line.startswith("{")]
    if plain:
        assert (len(plain), result.out) == (1, "")
        return plain[0]
    (reason,) = [
        line for line in result.out.splitlines() if line.startswith("session_recordings: ")
    ]
    return reason


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
async def test_trouble_is_told_in_one_line_with_its_remedy(world: World, trouble: Trouble) -> None:
    """Exit code and line are as foreseen, and nobody is shown a traceback."""
    command = await trouble.bring(world)
    result = await command.run(*trouble.arguments(world))
    shown = line_shown(result) if result.code else "nothing went wrong"
    assert re.fullmatch(f"(posthog-etl|session_recordings): {trouble.line}", shown), result
    assert result.code == trouble.code
    assert "Traceback" not in result.out + result.err


DEBUGGED = ("a stream that is none", "the database is down", "a missing scope", "a full disk")


@pytest.mark.parametrize("name", DEBUGGED)
async def test_debug_adds_the_traceback(world: World, name: str) -> None:
    """Wherever the trouble was met; line and exit code stay as they are."""
    trouble = TROUBLES[name]
    command = await trouble.bring(world)
    result = await command.run(*trouble.arguments(world), "--debug")
    assert result.code == trouble.code
    assert "Traceback" in result.err
    assert re.search(f": {trouble.line}$", result.out + result.err, re.MULTILINE), result


async def test_an_unknown_variable_of_ours_is_a_warning(world: World) -> None:
    """Platforms inject their own; the nearest name is told, and the sync goes on."""
    command = await world.command(POSTHOG_ETL_PAGE_SIZE="5")
    result = await command.run("sync")
    assert result.code == 0, result.err
    (warning,) = [event for event in result.events if event["event"] == "setting.unknown"]
    assert warning["level"] == "warning"
    assert "POSTHOG_ETL_PAGE_SIZE is set" in warning["reason"]
    assert "did you mean POSTHOG_ETL_PAGE_SIZE_RECORDS?" in warning["reason"]


async def test_a_server_whose_clock_is_wrong_is_read_all_the_same(world: World) -> None:
    """Two days ahead of the database: the run says so, and the copy is the truth."""
    sandbox = await world.sandbox(now=datetime.now(UTC) + timedelta(days=2))
    command = Command(sandbox.url, await world.database())
    result = await command.run("sync")
    assert result.code == 0, result.err
    (skewed,) = [event for event in result.events if event["event"] == "clock.skewed"]
    assert abs(skewed["seconds"] - 2 * 86_400) < 600
    dsn = command.environment["DATABASE_URL"]
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize("name", ["POSTHOG_ETL_CA_FILE", "SSL_CERT_FILE"])
async def test_an_authority_of_ones_own_is_trusted_when_it_is_named(
    world: World, name: str
) -> None:
    """The remedy for a certificate that nobody else vouches for."""
    certificate = make_certificate(world.directory)
    port = await world.stack.enter_async_context(sandbox_with_tls(certificate))
    command = await world.command(
        **{"POSTHOG_HOST": f"https://127.0.0.1:{port}", name: str(certificate)}
    )
    result = await command.run("sync")
    assert result.code == 0, result.err


async def test_a_request_to_stop_in_mid_load_keeps_what_was_read(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """SIGTERM: exit 3, and the line says that the next run goes on; it does."""
    sandbox = await start_sandbox(recordings=400)
    sandbox.control.add_faults({"match": LIST, "from": 3, "fault": {"latency_s": 0.5}})
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PAGE_SIZE_RECORDS="50")
    async with command.running("sync") as process:

        async def in_mid_load() -> bool:
            return await batches_committed(dsn) >= 2

        await until(in_mid_load, "two batches are committed")
        process.send_signal(signal.SIGTERM)
        result = await finish(process)
    assert result.code == 3, result.err
    assert line_shown(result) == (
        "session_recordings: Stopped before the end; what was read is committed. "
        "The next run goes on"
    )
    assert "Traceback" not in result.err
    sandbox.control.clear_faults()
    assert (await command.run("sync")).code == 0
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize(
    ("bring", "requests"),
    [
        (answer({"status": 503}, POSTHOG_ETL_REQUEST_ATTEMPTS="2"), 2),
        (answer({"reset": "before"}, POSTHOG_ETL_REQUEST_ATTEMPTS="2"), 2),
        (nobody_listens, FIRST_CONTACT_ATTEMPTS),
        (tls_to_plain, 1),
        (self_signed, 1),
    ],
    ids=["an error", "a reset", "nobody there", "no TLS there", "a certificate nobody vouches for"],
)
async def test_a_request_that_fails_is_repeated_as_often_as_makes_sense(
    world: World, bring: Bring, requests: int
) -> None:
    """No more than is set, soon over where nothing has ever answered, never where it is useless."""
    result = await (await bring(world)).run("sync", "--json")
    assert (result.code, result.report["requests"]) == (1, requests), result.err
