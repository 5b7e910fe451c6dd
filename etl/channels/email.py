"""Sends a message by e-mail, through a server that takes it by SMTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

import aiosmtplib
import structlog
from msgspec import Struct

from etl.core.alerts import Message
from etl.errors import NotTold, words_of
from etl.extractors.connection import trust

_log = structlog.get_logger(__name__)

_TIMEOUT_S, _QUIT_S = 20.0, 2.0
_FIRST_REFUSAL = 400
_SHOWN_CHARACTERS = 150


class Mailbox(Struct, frozen=True):
    """The server that takes e-mails, and between whom. security: starttls, tls or none."""

    host: str
    port: int
    security: str
    sender: str
    to: Sequence[str]
    user: str | None = None
    password: str | None = None
    ca_file: Path | None = None


class Email:
    """One e-mail to all recipients for each message."""

    name = "email"

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def send(self, message: Message) -> None:
        """Send the message. Raises NotTold if no recipient gets it."""
        box, taking = self._mailbox, False
        where = f"{box.host}:{box.port}"
        encrypted = box.security != "none"
        client = aiosmtplib.SMTP(
            hostname=box.host,
            port=box.port,
            use_tls=box.security == "tls",
            start_tls=box.security == "starttls",
            tls_context=trust(box.ca_file) if encrypted else None,
            username=box.user,
            password=box.password,
            timeout=_TIMEOUT_S,
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await client.connect()
                taking = True
                refused, _ = await client.send_message(self._mail(message))
            with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await client.quit(timeout=_QUIT_S)  # the e-mail is taken already
        except aiosmtplib.SMTPRecipientsRefused as exc:
            code = exc.recipients[0].code if exc.recipients else 0
            raise NotTold(f"{where} refused every recipient ({code})", maybe=False) from None
        except aiosmtplib.SMTPAuthenticationError as exc:
            raise NotTold(
                f"{where} refused user and password ({exc.code})",
                remedy="Check the user and the password of the server for e-mails",
                maybe=False,
            ) from None
        except aiosmtplib.SMTPResponseException as exc:
            # What is no code of SMTP stands for an answer that broke off.
            maybe = taking and exc.code < _FIRST_REFUSAL
            raise NotTold(f"{where} refused the e-mail ({exc.code})", maybe=maybe) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as exc:
            if taking:
                why = "did not answer in time" if isinstance(exc, TimeoutError) else "broke off"
                raise NotTold(f"The connection to {where} {why}", maybe=True) from None
            cause = exc.__cause__ if isinstance(exc.__cause__, OSError) else exc
            why = words_of(cause)[:_SHOWN_CHARACTERS] or "no answer in time"
            raise NotTold(
                f"No connection to {where}: {why}",
                remedy="Check host, port and security of the server for e-mails",
                maybe=False,
            ) from None
        finally:
            client.close()
        if refused:
            _log.warning("recipient.refused", count=len(refused), recipients=len(box.to))

    def _mail(self, message: Message) -> EmailMessage:
        box, mail = self._mailbox, EmailMessage()
        mail["From"], mail["To"] = box.sender, ", ".join(box.to)
        mail["Subject"] = message.subject
        mail["Date"] = formatdate()
        mail["Message-ID"] = make_msgid(domain=box.sender.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text + "\n")
        return mail
