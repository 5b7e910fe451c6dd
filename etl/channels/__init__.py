"""The channels that alerts are told by. Each sends one message, or says why it could not."""

from __future__ import annotations

from typing import Protocol

from etl.channels.email import Email, Mailbox
from etl.channels.webhook import Webhook
from etl.core.alerts import Message

__all__ = ["Channel", "Email", "Mailbox", "Webhook"]


class Channel(Protocol):
    """One way to tell somebody."""

    name: str

    async def send(self, message: Message) -> None:
        """Send the message within 20 seconds. Raises NotTold."""
