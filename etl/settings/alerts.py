"""Validators of the settings of `[alerts]`. Their errors never hold what was given as a secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import SecretStr
from yarl import URL

from etl.core.alerts import Kind
from etl.core.lookback import parse_duration
from etl.core.query import PREFIX as QUERY_PREFIX
from etl.settings.values import known_streams, nearest

# The names of the settings in the table of the file begin so elsewhere.
PREFIX = "alerts_"
SLACK_HOST = "hooks.slack.com"
# By security: the port that servers listen on.
PORTS = {"starttls": 587, "tls": 465, "none": 25}
_OFF = "off"


def read_webhook(value: SecretStr | None) -> SecretStr | None:
    """Return the address of a webhook. Raises ValueError, without the address."""
    if value is None:
        return None
    text = value.get_secret_value().strip()
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("is no address that begins with https://")
    return SecretStr(text)


def read_addresses(value: Any) -> Any:
    """Return addresses of e-mail, from text with commas or a list. Raises ValueError."""
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise ValueError("must be a list of addresses")
    return tuple(read_address(each) for each in found if each.strip())


def read_address(text: str) -> str:
    """Return one address of e-mail. Raises ValueError."""
    address = text.strip()
    name, at, host = address.rpartition("@")
    if not (name and at and host) or not address.isprintable() or set(address) & set(" <>,;"):
        raise ValueError(f"{address!r} is not an address; write for example ops@example.com")
    return address


def read_sender(text: str | None) -> str | None:
    """Return the address of a sender. Raises ValueError."""
    return None if text is None else read_address(text)


def read_kinds(value: Any) -> Any:
    """Return kinds of alerts, from text with commas or a list. Raises ValueError."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("must be a list of kinds")
    known, found = [str(kind) for kind in Kind], []
    for name in filter(None, map(str.strip, names)):
        if name not in known:
            hint = nearest(name, known) or f": there are {', '.join(known)}"
            raise ValueError(f"there is no kind {name!r}{hint}")
        found.append(Kind(name))
    return tuple(found)


def read_patience(text: str) -> Mapping[str, timedelta | None]:
    """Parse "1d, group_activity 8d, query:events off". Raises ValueError.

    The duration without a stream is under "".
    """
    found: dict[str, timedelta | None] = {}
    for part in text.split(","):
        *names, duration = part.split() or [""]
        if len(names) > 1:
            raise ValueError(f"{part.strip()!r} is not a stream and a duration")
        after = None if duration == _OFF else parse_duration(duration)
        (name,) = known_streams(names) or ("",)
        if name in found:
            raise ValueError(f"names {name} twice" if name else "has two durations for all streams")
        found[name] = after
    return found


def queries_in(patience: Mapping[str, Any]) -> list[str]:
    """Return the streams of queries that are named; whether there are such is looked at later."""
    return [name for name in patience if name.startswith(QUERY_PREFIX)]
