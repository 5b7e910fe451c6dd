"""Troublesome counterparts: a Postgres that lets not everybody in, a web server with TLS."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from etl.loaders.embedded import EmbeddedPostgres
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import build_app
from tests.support.postgres import FORGETFUL, server_directory

PASSWORD = "right"

# Nobody but `loader` and `crowded` gets in by TCP, and they with their password.
_WHO_MAY_ENTER = """
local all all trust
host all loader,crowded 127.0.0.1/32 scram-sha-256
"""
ROLES = (
    f"CREATE ROLE loader LOGIN PASSWORD '{PASSWORD}'",
    f"CREATE ROLE crowded LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 0",
)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def guarded_server() -> Iterator[EmbeddedPostgres]:
    """Give a server that listens on 127.0.0.1 and wants passwords there; it offers no TLS."""
    with server_directory() as directory:
        rules = directory / "hba"
        rules.write_text(_WHO_MAY_ENTER)
        rules.chmod(0o644)
        options = {
            **FORGETFUL,
            "listen_addresses": "127.0.0.1",
            "port": str(free_port()),
            "hba_file": str(rules),
        }
        with EmbeddedPostgres.start(directory / "data", options=options) as server:
            yield server


def make_certificate(directory: Path) -> Path:
    """Make a certificate for 127.0.0.1, signed by itself, its key beside it; skip without openssl.

    Return its path.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    request = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out {directory}/crt"
    names = f"-keyout {directory}/key -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([openssl, *request.split(), *names.split()], check=True, capture_output=True)
    return directory / "crt"


@asynccontextmanager
async def sandbox_with_tls(certificate: Path) -> AsyncIterator[int]:
    """Give the port of a small sandbox that speaks TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key"))
    runner = web.AppRunner(build_app(SandboxOptions(recordings=5)), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
