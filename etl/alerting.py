"""Tells of alerts: evaluates them, sends what began and ended, and notes what was told.

Nothing here fails a run: what cannot be told is logged as a warning and tried again by the next
evaluation, whichever process it is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from msgspec import Struct
from yarl import URL

from etl.app import Destination, Schema, open_destination
from etl.channels import Channel, Email, Mailbox, Webhook
from etl.core.alerts import Event, Line, Message
from etl.errors import ConfigurationError, EtlError, NotTold
from etl.loaders.alerts import AlertBook, Watched, open_alerts
from etl.settings import Settings
from etl.settings.alerts import PORTS, SLACK_HOST
from etl.tasks import is_set, none_left

_log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=1)


class Clock(Protocol):
    """Tells the time, and waits for an instant."""

    def now(self) -> datetime:
        """Return the instant now, in UTC."""
        ...

    async def wait(self, until: datetime, event: asyncio.Event) -> bool:
        """Return at `until`, or as soon as `event` is set; whether it is set."""
        ...


class Delivery(Struct, frozen=True):
    """How a test message went. reason: why it did not arrive; None if it was taken."""

    channel: str
    reason: str | None


def channels_of(settings: Settings) -> Sequence[Channel]:
    """Return the configured channels."""
    found: list[Channel] = []
    if settings.alerts_webhook_url is not None:
        url = settings.alerts_webhook_url.get_secret_value()
        form = settings.alerts_webhook_form
        form = form or ("slack" if URL(url).host == SLACK_HOST else "json")
        found.append(Webhook(url, form, settings.ca_file))
    if settings.alerts_smtp_host is not None:
        password = settings.alerts_smtp_password
        security = settings.alerts_smtp_security
        found.append(
            Email(
                Mailbox(
                    host=settings.alerts_smtp_host,
                    port=settings.alerts_smtp_port or PORTS[security],
                    security=security,
                    sender=settings.alerts_email_from or settings.alerts_email_to[0],
                    to=settings.alerts_email_to,
                    user=settings.alerts_smtp_user,
                    password=None if password is None else password.get_secret_value(),
                    ca_file=settings.ca_file,
                )
            )
        )
    return found


def _watched_by(settings: Settings) -> Watched:
    numbers = [int(project) for project in settings.projects if project.isdigit()]
    disabled = settings.disabled_streams
    return Watched(
        projects=numbers,
        current="@current" in settings.projects,
        streams=[stream.name for stream in settings.scheduled],
        known=[name for name in settings.catalogue if name not in disabled],
        named=settings.named,
        rules=settings.alert_rules,
    )


class Teller:
    """Evaluates the alerts of a deployment, and tells what this process has to tell."""

    def __init__(self, settings: Settings, destination: Destination) -> None:
        self._host = URL(settings.host).host or ""
        self._database = destination.database
        self._channels = {channel.name: channel for channel in channels_of(settings)}
        self._book = AlertBook(destination.database, destination.tables, _watched_by(settings))

    async def tell(self) -> None:
        """Evaluate once, and tell. Raises only CancelledError."""
        broken: set[str] = set()
        try:
            # What another process found meanwhile, and left to this one, is told, too.
            while taken := await self._evaluate(broken):
                took = await asyncio.gather(*(self._send(*each) for each in taken.items()))
                broken.update(name for name, well in zip(taken, took, strict=True) if not well)
        except EtlError as exc:
            _log.warning("alerts.unevaluated", reason=str(exc))
        except Exception:  # a defect of ours must not end a service, or fail a run
            _log.exception("alerts.broke")

    async def _evaluate(self, broken: set[str]) -> Mapping[str, Sequence[Line]]:
        for attempt in self._database.attempts():
            async with attempt:
                taken = await self._book.evaluate(list(self._channels), broken)
        return taken

    async def _send(self, name: str, lines: Sequence[Line]) -> bool:
        """Tell one channel, and note it; return whether it was told."""
        counts = {str(event): sum(line.event is event for line in lines) for event in Event}
        try:
            await self._channels[name].send(Message(self._host, lines))
        except EtlError as exc:
            _log.warning("alerts.untold", channel=name, reason=str(exc))
            maybe = not isinstance(exc, NotTold) or exc.maybe
            await self._noted(lambda: self._book.untold(name, lines, maybe=maybe))
            return False
        await self._noted(lambda: self._book.told(name, lines))
        _log.info("alerts.told", channel=name, began=counts["began"], ended=counts["ended"])
        return True

    async def _noted(self, note: Callable[[], Awaitable[None]]) -> None:
        for attempt in self._database.attempts():
            async with attempt:
                await note()


@asynccontextmanager
async def telling(
    settings: Settings, destination: Destination, clock: Clock | None = None
) -> AsyncIterator[None]:
    """Evaluate and tell each minute during the block, if anybody is told of alerts.

    A message that is being sent when the block ends is sent to its end.
    """
    if not settings.tells_alerts:
        yield
        return
    teller, over = Teller(settings, destination), asyncio.Event()

    async def keep() -> None:
        while not over.is_set():
            await teller.tell()
            if clock is None:
                await is_set(over, EVERY.total_seconds())
            else:
                await clock.wait(clock.now() + EVERY, over)

    task = asyncio.create_task(keep())
    async with none_left((task,)):
        try:
            yield
        finally:
            over.set()
            await asyncio.wait({task})


async def tell_once(settings: Settings) -> None:
    """Evaluate and tell at the end of a command. Raises only CancelledError."""
    try:
        async with open_destination(settings, Schema.CURRENT) as destination:
            await Teller(settings, destination).tell()
    except EtlError as exc:
        _log.warning("alerts.unevaluated", reason=str(exc))


async def test_channels(settings: Settings) -> Sequence[Delivery]:
    """Send a test message to every channel. Raises ConfigurationError if there is none."""
    channels = channels_of(settings)
    if not channels:
        raise ConfigurationError(
            "No channel for alerts is configured",
            remedy="Set POSTHOG_ETL_ALERTS_WEBHOOK_URL, or POSTHOG_ETL_ALERTS_EMAIL_TO and "
            "POSTHOG_ETL_ALERTS_SMTP_HOST",
        )
    message = Message(URL(settings.host).host or "")

    async def deliver(channel: Channel) -> Delivery:
        try:
            await channel.send(message)
        except EtlError as exc:
            return Delivery(channel.name, str(exc))
        return Delivery(channel.name, None)

    return await asyncio.gather(*(deliver(channel) for channel in channels))


async def list_open(settings: Settings) -> list[dict[str, Any]]:
    """Return the alerts that are open, the oldest first. Raises DestinationError."""
    async with open_destination(settings, Schema.CURRENT) as destination:
        return [dict(row) for row in await open_alerts(destination.database, destination.tables)]
