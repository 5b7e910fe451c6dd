"""Addresses at work: real connections, with and without encryption."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from etl.loaders.address import parse_database_url
from etl.loaders.embedded import EmbeddedPostgres
from tests.support.pgproxy import PgProxy
from tests.support.postgres import FORGETFUL, server_directory

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """Give a server for this module."""
    with (
        server_directory() as directory,
        EmbeddedPostgres.start(directory, options=FORGETFUL) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a certificate for `localhost`, signed by itself, its key beside it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    directory = tmp_path_factory.mktemp("tls")
    request = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out {directory}/crt"
    names = f"-keyout {directory}/key -addext subjectAltName=DNS:localhost"
    subprocess.run([openssl, *request.split(), *names.split()], check=True, capture_output=True)
    return directory / "crt"


@pytest.fixture
async def encrypted_port(server: EmbeddedPostgres, certificate: Path) -> AsyncIterator[int]:
    """Give a port on which the server speaks TLS, by way of an encrypting front."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key"))
    query = parse_qs(urlsplit(server.dsn).query)
    socket = f"{query['host'][0]}/.s.PGSQL.{server.port}"

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            target.write(chunk)
        target.close()

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(8) == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                behind = await asyncio.open_unix_connection(socket)
                await asyncio.gather(copy(reader, behind[1]), copy(behind[0], writer))
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(front, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def ask(url: str, sql: str) -> object:
    """Return the one value that a statement gives, asked the way the loader asks."""
    address = parse_database_url(url)
    engine = create_async_engine(
        address.url, connect_args=dict(address.connect_args), poolclass=NullPool
    )
    async with engine.connect() as connection:
        return (await connection.execute(text(sql), {"one": 1})).scalar()


async def test_the_embedded_server_s_own_address_works(server: EmbeddedPostgres) -> None:
    """The DSN that the launcher gives is one of the forms."""
    assert await ask(server.dsn, "SELECT CAST(:one AS int)") == 1


async def test_no_statement_stays_prepared_on_the_server(server: EmbeddedPostgres) -> None:
    """Behind a pooler it would meet another client's of the same name."""
    prepared = "SELECT count(*) + 0 * CAST(:one AS int) FROM pg_prepared_statements"
    assert await ask(server.dsn, prepared) == 0


async def test_a_session_gets_its_options(server: EmbeddedPostgres) -> None:
    """Those in the address count from the first statement on."""
    url = f"{server.dsn}&options=-c%20search_path%3Dsomewhere&application_name=my%20etl"
    assert await ask(url, "SHOW search_path") == "somewhere"
    assert await ask(url, "SHOW application_name") == "my etl"


async def test_a_dead_first_host_is_passed_over(server: EmbeddedPostgres) -> None:
    """Port 1 refuses; the second host answers, and is writable."""
    async with PgProxy(server.socket_dir, server.port) as proxy:
        second = urlsplit(proxy.dsn).netloc.rpartition("@")[2]
        url = f"postgresql://postgres@127.0.0.1:1,{second}/postgres?sslmode=disable"
        assert await ask(f"{url}&target_session_attrs=read-write", "SHOW transaction_read_only")


@pytest.mark.parametrize("mode", ["allow", "prefer"])
async def test_a_server_without_encryption_is_taken_where_it_is_only_preferred(
    server: EmbeddedPostgres, mode: str
) -> None:
    """As libpq does by default."""
    async with PgProxy(server.socket_dir, server.port) as proxy:
        assert await ask(proxy.dsn.replace("disable", mode), "SELECT 1") == 1


async def test_a_server_without_encryption_is_refused_where_it_is_required(
    server: EmbeddedPostgres,
) -> None:
    """Nothing is sent in the clear, the password least of all."""
    async with PgProxy(server.socket_dir, server.port) as proxy:
        with pytest.raises(OSError, match="rejected SSL upgrade"):
            await ask(proxy.dsn.replace("disable", "require"), "SELECT 1")


@pytest.mark.parametrize(
    ("host", "parameters", "connects"),
    [
        ("localhost", "sslmode=require", True),
        ("localhost", "sslmode=prefer", True),
        ("localhost", "sslmode=verify-full&sslrootcert=OURS", True),
        ("localhost", "sslmode=verify-full&sslrootcert=system", False),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=OURS", False),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=OURS", True),
        ("127.0.0.1", "sslmode=require", True),
    ],
)
async def test_certificates_are_verified_as_far_as_the_address_asks(
    encrypted_port: int, certificate: Path, host: str, parameters: str, connects: bool
) -> None:
    """The certificate is good for `localhost` and signed by nobody the machine knows."""
    parameters = parameters.replace("OURS", str(certificate))
    url = f"postgresql://postgres@{host}:{encrypted_port}/postgres?{parameters}"
    if connects:
        assert await ask(url, "SELECT 1") == 1
    else:
        with pytest.raises((ssl.SSLCertVerificationError, DBAPIError)):
            await ask(url, "SELECT 1")
