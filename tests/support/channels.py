"""Real servers that take alerts: one for webhooks, one for e-mails."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

USER, PASSWORD = "ops", "the-password-of-ops"
PATH = "/services/T000/B000/a-path-that-is-secret"


class Hook:
    """A webhook: what it took. status, says: what it answers. held: it answers once this is set."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.status, self.says = 200, "said by the hook"
        self.held: asyncio.Event | None = None
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """Take one message."""
        body = json.loads(await request.read())
        if self.status < 300:
            self.bodies.append(body)
        if self.held is not None:
            await self.held.wait()
        return web.Response(status=self.status, text=self.says)

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        """Event, kind and stream of each line that it took, in their order."""
        return [
            (each["event"], each["kind"], each["stream"])
            for body in self.bodies
            for each in body["alerts"]
        ]


@asynccontextmanager
async def webhook(port: int = 0) -> AsyncIterator[Hook]:
    """Run a webhook on a port of this machine."""
    hook, app = Hook(), web.Application()
    app.router.add_post(PATH, hook.take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        yield hook
    finally:
        if hook.held is not None:
            hook.held.set()
        await runner.cleanup()


class Mail:
    """A server for e-mails: what it took.

    refused: the recipients it does not know. dies: it breaks off after it has taken an e-mail.
    """

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.dies = False
        self.refused: set[str] = set()
        self.port = 0

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        """Take or refuse one recipient."""
        if address in self.refused:
            return "550 nobody of this name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Take one e-mail."""
        assert isinstance(envelope.content, bytes)
        found = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.taken.append(found)
        self.recipients.append(list(envelope.rcpt_tos))
        if self.dies:
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
        return "250 OK"


@asynccontextmanager
async def mail_server(certificate: Path | None = None) -> AsyncIterator[Mail]:
    """Run a server for e-mails; with a certificate it demands STARTTLS, user and password."""
    mail = Mail()
    options: dict[str, Any] = {}
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, certificate.with_name("key"))

        def known(_server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> AuthResult:
            given = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
            return AuthResult(success=given, handled=False)

        options = {
            "tls_context": context,
            "require_starttls": True,
            "auth_required": True,
            "authenticator": known,
        }
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mail, loop=loop, **options), "127.0.0.1", 0)
    mail.port = server.sockets[0].getsockname()[1]
    try:
        yield mail
    finally:
        server.close()
