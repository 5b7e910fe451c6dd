"""Sends a message to a webhook: in the form of Slack, or as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from etl import __version__
from etl.core.alerts import Message
from etl.errors import NotTold, words_of
from etl.extractors.connection import NOT_REACHED, connector_to, proxy_of

SLACK = "slack"
_TIMEOUT_S = 15.0
_READ_BYTES, _SHOWN_CHARACTERS = 10_000, 100
# Slack reads these as its own marks (docs.slack.dev, "Formatting message text").
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Webhook:
    """An address that takes messages by POST. form: slack or json."""

    name = "webhook"

    def __init__(self, url: str, form: str, ca_file: Path | None = None) -> None:
        self._url = URL(url)
        self._form = form
        self._ca_file = ca_file

    async def send(self, message: Message) -> None:
        """Send the message. Raises NotTold; no text in it holds the address."""
        host = self._url.host
        try:
            proxy, proxy_auth = proxy_of(self._url)
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
                    connector=connector_to(str(self._url), self._ca_file),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    proxy=proxy,
                    proxy_auth=proxy_auth,
                ) as session,
                session.post(
                    self._url,
                    data=orjson.dumps(self._body(message)),
                    headers={
                        "Content-Type": "application/json",
                        "User-Agent": f"posthog-etl/{__version__}",
                    },
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.ok and answer.status < 300:
                    return
                said = (await answer.content.read(_READ_BYTES)).decode(errors="replace")
                shown = self._hidden(_plain(said))[:_SHOWN_CHARACTERS]
                raise NotTold(
                    f"{host} answered {answer.status} {shown}".rstrip(),
                    remedy="Check the address and the form of the webhook",
                    maybe=answer.status >= 500,
                )
        except NOT_REACHED as exc:
            cause = getattr(exc, "os_error", None)
            why = "no answer in time" if cause is None else _plain(words_of(cause))
            raise NotTold(
                f"{host} cannot be reached: {why}",
                remedy="Check the address of the webhook and the network",
                maybe=False,
            ) from None
        except TimeoutError:
            raise NotTold(f"{host} did not answer in time", maybe=True) from None
        except (aiohttp.ClientError, OSError) as exc:
            # Their texts may hold the address.
            kind = type(exc).__name__
            raise NotTold(f"The connection to {host} broke off ({kind})", maybe=True) from None

    def _hidden(self, text: str) -> str:
        """Return the text without the address, of which a cut may leave a part."""
        for secret in (str(self._url), self._url.raw_path_qs, self._url.path_qs):
            if len(secret) > 1:
                text = text.replace(secret, "•••")
        return text

    def _body(self, message: Message) -> Mapping[str, Any]:
        if self._form != SLACK:
            return message.as_json()
        return {"text": "".join(_ESCAPED.get(each, each) for each in message.text)}


def _plain(text: str) -> str:
    """Return the text in one line, without what a terminal would not show."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
