"""Reads file, environment and flags into Settings. Its errors are one line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from etl.core.dates import parse_date
from etl.errors import ConfigurationError
from etl.settings.alerts import PREFIX as ALERTS
from etl.settings.fields import PREFIX, Settings, environment_name, setting_names
from etl.settings.values import nearest, nearest_name

# A key, or user and password of an address, given as the value of another setting.
_SECRET = re.compile(r"ph[a-z]_[\w-]+|(?<=://)[^\s'\"]*@")

# Settings that are lists of tables in the file.
_TABLES = ("queries", "schedules")


def load_settings(
    config: Path | None = None, flags: Mapping[str, Any] | None = None
) -> tuple[Settings, list[str]]:
    """Return the settings and warnings. Raises ConfigurationError, which names every mistake."""
    from_file = {} if config is None else _read_file(config)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    if "start" in given:
        given["start"] = read_date("--start", given["start"])
    # The environment replaces the file, so settings that it has are taken out of the file.
    merged = {
        name: value
        for name, value in from_file.items()
        if not os.environ.get(environment_name(name))
    }
    try:
        settings = Settings(**(merged | given))
    except ValidationError as exc:
        origins = {name: f"{name} in {config}" for name in merged}
        origins |= {name: f"--{name}" for name in given}
        raise ConfigurationError(_explain(exc, origins)) from exc
    return settings, _unknown_variables()


def read_date(option: str, text: str) -> datetime:
    """Return the date that was given to a command. Raises ConfigurationError naming the option."""
    try:
        return parse_date(text, datetime.now(UTC))
    except ValueError as exc:
        raise ConfigurationError(f"{option} {exc}") from exc


def deprecations(settings: Settings) -> list[str]:
    """Return a warning for each setting whose value will stop working."""
    if settings.api_prefix != "environments":
        return []
    # PostHog/posthog#68511: rewritten to /api/projects, with the headers Deprecation and Sunset.
    return [
        "POSTHOG_ETL_API_PREFIX is environments, which PostHog has deprecated and may end after "
        "2026-07-31: leave it out, or set it to projects"
    ]


def _read_file(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} is not TOML: {exc}") from exc
    values = _with_alerts(values, path)
    for name, value in values.items():
        # [[query]] in place of [[queries]]: lists of tables have names in the plural.
        are_tables = isinstance(value, list) and all(isinstance(each, dict) for each in value)
        meant = nearest_name(name, _TABLES) if are_tables and name not in _TABLES else None
        if meant is not None:
            raise ConfigurationError(
                f"{path}: there is no [[{name}]] (did you mean [[{meant}]]?)",
                remedy=f"Write [[{meant}]] above each table of the list",
            )
        if name not in setting_names():
            raise ConfigurationError(
                f"{path}: there is no setting {name!r}{nearest(name, setting_names())}",
                remedy="See the configuration reference for all names",
            )
    return values


def _with_alerts(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the settings of a file; those of the table [alerts] under their full names."""
    table = values.get("alerts", {})
    if not isinstance(table, dict):
        raise ConfigurationError(
            f"{path}: alerts is not a table", remedy="Write [alerts] above its settings"
        )
    full = [name for name in setting_names() if name.startswith(ALERTS)]
    found = {name: value for name, value in values.items() if name != "alerts"}
    for name, value in table.items():
        if ALERTS + name not in full:
            known = [each.removeprefix(ALERTS) for each in full]
            raise ConfigurationError(
                f"{path}: there is no {name!r} in [alerts]{nearest(name, known)}",
                remedy="See the configuration reference for all names",
            )
        if ALERTS + name in found:
            raise ConfigurationError(
                f"{path} has {ALERTS}{name}, and {name} in [alerts]", remedy="Remove one of them"
            )
        found[ALERTS + name] = value
    return found


def _unknown_variables() -> list[str]:
    known = {environment_name(name) for name in setting_names()}
    return [
        f"{name} is set, but there is no such setting{nearest(name, known)}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known
    ]


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    """Return all mistakes in one line, without anything that looks like a secret.

    origins: where a setting was given, if not in the environment.
    """
    names = {environment_name(name): name for name in setting_names()}
    mistakes = []
    for item in error.errors(include_url=False, include_input=False):
        given = str(item["loc"][0]) if item["loc"] else ""
        name = names.get(given, given)
        shown = [environment_name(name)] if name else []
        if name in origins:
            shown.append(f"({origins[name]})")
        text = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        mistakes.append(" ".join([*shown, _SECRET.sub("•••", text)]))
    return "; ".join(mistakes)
