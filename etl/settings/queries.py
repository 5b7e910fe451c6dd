"""Reads the configured queries of the file: `[[queries]]`."""

from __future__ import annotations

import json
from typing import Any

from etl.core.lookback import Lookback, parse_duration
from etl.core.query import QuerySpec
from etl.settings.values import nearest
from etl.streams.presets import PRESETS

_FIELDS = (
    "name",
    "query",
    "key",
    "cursor",
    "settle",
    "lookback",
    "every",
    "reach",
    "json",
    "later_wins",
    "about",
)
_DURATIONS = ("settle", "lookback", "every")


def read_queries(value: Any) -> tuple[QuerySpec, ...]:
    """Return queries, from JSON or from the tables of the file. Raises ValueError."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("must be a list in JSON, or [[queries]] in the file") from None
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list: write [[queries]] above each of them")
    found = [
        each if isinstance(each, QuerySpec) else _query_of(each, number)
        for number, each in enumerate(value)
    ]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"there are two queries {name!r}")
    return tuple(found)


def read_presets(value: Any) -> tuple[str, ...]:
    """Return names of presets, from text with commas or a list. Raises ValueError."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("must be a list of names")
    found = tuple(name.strip() for name in names if name.strip())
    for name in found:
        if name not in PRESETS:
            raise ValueError(f"there is no preset {name!r}{nearest(name, PRESETS)}")
    return found


def _query_of(written: Any, number: int) -> QuerySpec:
    if not isinstance(written, dict):
        raise ValueError("must be tables: write [[queries]] above each of them")
    name = written.get("name")
    called = f"query {name!r}" if isinstance(name, str) else f"query {number + 1}"
    try:
        for field in written:
            if field not in _FIELDS:
                raise ValueError(f"there is no {field!r} in it{nearest(field, _FIELDS)}")
        if not isinstance(name, str):
            raise ValueError("it needs a name")
        given: dict[str, Any] = {
            field: parse_duration(_text(written, field)) for field in _DURATIONS if field in written
        }
        if "reach" in written:
            given["reach"] = Lookback.parse(_text(written, "reach"))
        if "later_wins" in written:
            given["later_wins"] = _flag(written, "later_wins")
        if "cursor" in written:
            given["cursor"] = _text(written, "cursor")
        return QuerySpec(
            name=name,
            text=_text(written, "query"),
            key=_names(written, "key"),
            documents=_names(written, "json"),
            about=_text(written, "about") if "about" in written else "",
            place=f"[[queries]] {name}",
            **given,
        )
    except ValueError as exc:
        raise ValueError(f"{called}: {exc}") from exc


def _text(written: dict[str, Any], field: str) -> str:
    value = written.get(field, "")
    if not isinstance(value, str):
        raise ValueError(f"{field} must be text, in quotes")
    return value


def _flag(written: dict[str, Any], field: str) -> bool:
    value = written[field]
    if not isinstance(value, bool):
        raise ValueError(f"{field} must be true or false")
    return value


def _names(written: dict[str, Any], field: str) -> tuple[str, ...]:
    value = written.get(field, ())
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError(f'{field} must be a list of columns: ["uuid"]')
    return tuple(value)
