"""Validators of the settings. Their errors name the mistake; the caller adds the setting."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import AfterValidator, SecretStr, ValidationInfo
from yarl import URL

from etl.core.dates import parse_instant
from etl.core.query import PREFIX
from etl.core.schedule import VERIFY, Schedule, parse_jitter
from etl.streams import STREAMS

# Fields that a schedule takes from the settings of these names, unless it has its own.
OF_EVERY_SCHEDULE = ("time_zone", "jitter")
_OF_A_SCHEDULE = ("name", "cron", "streams", *OF_EVERY_SCHEDULE)
_SHORTEST_TOKEN = 16
_INGESTION_HOSTS = ("us.i.posthog.com", "eu.i.posthog.com", "app-static.posthog.com")


def read_host(value: str) -> str:
    """Return the address of an app, without a path. Raises ValueError."""
    try:
        url = URL(value.strip())
    except ValueError as exc:
        raise ValueError(f"is no address: {exc}") from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must begin with https://, as in https://us.posthog.com")
    if url.host in _INGESTION_HOSTS:
        app = f"https://{url.host.split('.')[0]}.posthog.com"
        raise ValueError(f"is PostHog's ingestion host, which has no API. Use {app}")
    if url.path not in ("", "/") or url.query_string:
        raise ValueError(f"has a path; only the host is wanted: {url.origin()}")
    return str(url.origin())


def read_key(value: SecretStr | None) -> SecretStr | None:
    """Return a personal API key. Raises ValueError."""
    if value is None:
        return None
    key = value.get_secret_value().strip()
    if not key:
        raise ValueError("holds no key")
    if key.startswith("phc_"):
        raise ValueError(
            "is a project token (phc_…), which can only send events. Create a personal API "
            "key (phx_…) under Settings, Personal API keys"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("holds characters that no key has")
    return SecretStr(key)


def read_projects(value: str) -> str:
    """Return project ids or @current, separated by commas. Raises ValueError."""
    for part in value.split(","):
        name = part.strip()
        if name != "@current" and not re.fullmatch("[0-9]{1,18}", name):
            raise ValueError(
                f"{name!r} is not a project id. It is the number in the project's settings "
                "(Settings, Project ID), or @current"
            )
    return value


def accepted_by(parse: Callable[[str], object]) -> AfterValidator:
    """Return a validator that keeps the text. It raises ValueError where `parse` does."""

    def read(value: str) -> str:
        parse(value)
        return value

    return AfterValidator(read)


def read_verify_schedule(text: str) -> Schedule | None:
    """Parse a cron expression; return None for "off". Raises ValueError."""
    return None if text.strip().lower() in ("", "off") else Schedule(VERIFY, text)


def read_instant(value: Any) -> Any:
    """Parse text as an instant; return anything else unchanged. Raises ValueError."""
    return value if not isinstance(value, str) else parse_instant(value)


def read_start(value: datetime) -> datetime:
    """Return an instant that lies in the past, aware. Raises ValueError."""
    at = value if value.tzinfo else value.replace(tzinfo=UTC)
    if at.year < 1970:
        raise ValueError("must be in 1970 or later")
    if at > datetime.now(UTC):
        # Nothing would be loaded, and all earlier time would count as complete.
        raise ValueError("lies in the future; recordings are loaded since this instant")
    return at


def read_streams(value: Any) -> Any:
    """Return names of streams, from text with commas or a list. Raises ValueError."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("must be a list of stream names")
    return known_streams(names)


def read_kept_fields(value: Any) -> Any:
    """Return fields of tables with secrets, each as TABLE.FIELD. Raises ValueError."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("must be a list of fields")
    found = [name.strip() for name in names if name.strip()]
    tables = [
        resource.tables[0].name
        for stream in STREAMS.values()
        for resource in stream.resources
        if resource.secrets is not None
    ]
    for name in found:
        table, _, field = name.partition(".")
        if table not in tables or not field:
            hint = nearest(table, tables) or f": it is one of {', '.join(dict.fromkeys(tables))}"
            raise ValueError(f"{name!r} is not TABLE.FIELD of a table with secrets{hint}")
    return tuple(found)


def read_schedules(value: Any, info: ValidationInfo) -> Any:
    """Return schedules, from JSON or from the tables of the file. Raises ValueError."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("must be a list in JSON, or [[schedules]] in the file") from None
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list: write [[schedules]] above each of them")
    common = {name: info.data[name] for name in OF_EVERY_SCHEDULE if name in info.data}
    found = [each if isinstance(each, Schedule) else schedule_of(each, common) for each in value]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"there are two schedules {name!r}")
    return tuple(found)


def read_token(value: SecretStr | None) -> SecretStr | None:
    """Return a token that is hard to guess. Raises ValueError."""
    if value is None:
        return None
    token = value.get_secret_value().strip()
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ValueError(
            f"must be {_SHORTEST_TOKEN} or more plain characters; make one with: "
            "openssl rand -hex 24"
        )
    return SecretStr(token)


def read_password(value: SecretStr) -> SecretStr:
    """Return a password. Raises ValueError."""
    if not value.get_secret_value():
        raise ValueError("holds no password")
    return value


def read_schema(value: str) -> str:
    """Return the name of a schema. Raises ValueError."""
    if not value or len(value.encode()) > 50 or "\0" in value:
        raise ValueError("must be a name of 1 to 50 bytes")
    if value.startswith("pg_"):
        raise ValueError("may not begin with pg_, which Postgres keeps for itself")
    if value.endswith(("_etl", "_queries")):
        raise ValueError("may not end in _etl or _queries, which are added to other names")
    return value


def known_streams(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, stripped. Raises ValueError for one that no stream has."""
    names = tuple(name.strip() for name in names)
    for name in names:
        # Queries are configured: whether there is one of this name is looked at later.
        if name not in STREAMS and not name.startswith(PREFIX):
            raise ValueError(f"there is no stream {name!r}{nearest(name, STREAMS)}")
    return names


def schedule_of(written: Any, common: Mapping[str, str]) -> Schedule:
    """Return the schedule of one table of the file. Raises ValueError.

    common: fields that apply if the table does not have them.
    """
    if not isinstance(written, dict):
        raise ValueError("must be tables: write [[schedules]] above each of them")
    name = written.get("name")
    if not isinstance(name, str) or name.startswith(":"):  # reserved for schedules of ours
        raise ValueError("each needs a name of small letters, digits, - and _")
    try:
        for key in written:
            if key not in _OF_A_SCHEDULE:
                raise ValueError(f"there is no {key!r} in it{nearest(key, _OF_A_SCHEDULE)}")
        given = {**common, **written}
        streams = given.pop("streams", ())
        if isinstance(streams, str) or not all(isinstance(each, str) for each in streams):
            raise ValueError('streams must be a list: ["session_recordings"]')
        if "cron" not in given:
            raise ValueError("it needs a cron expression")
        for key, value in given.items():
            if not isinstance(value, str):
                raise ValueError(f"{key} must be text, in quotes")
        jitter = parse_jitter(given.pop("jitter", "0"))
        return Schedule(**given, streams=known_streams(streams), jitter=jitter)
    except (ValueError, TypeError) as exc:
        raise ValueError(f"schedule {name!r}: {exc}") from exc


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ' (did you mean X?)', or an empty text if no name is similar."""
    found = nearest_name(name, names)
    return f" (did you mean {found}?)" if found else ""


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is meant; None if no name is similar.

    That is, the first of: its singular or plural, one that contains it, one that is spelt like it
    as a whole or in a word (sesion: session_recordings).
    """
    known = list(names)
    if not name:
        return None
    same = [each for each in known if _singular(each) == _singular(name)]
    same = same or [each for each in known if name in each]
    if same:
        return same[0]
    words = {word: each for each in reversed(known) for word in re.split("[_:]", each)}
    spelt = difflib.get_close_matches(name, [*known, *words], n=1, cutoff=0.75)
    spelt = spelt or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return words.get(spelt[0], spelt[0]) if spelt else None


def _singular(name: str) -> str:
    return re.sub("y$", "ie", name.removesuffix("s"))


def secret_in(path: Path, name: str) -> str:
    """Return the content of the file, stripped. Raises ValueError naming the variable `name`."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ValueError(f"{name} cannot be read: {path}: {why}") from exc
