"""Leave out of records what is not copied: what other streams hold, and what answers compute.

Records may have any form, so a value that is not what the API sends stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a copy of a record without these fields."""
    return {name: value for name, value in record.items() if name not in names}


def id_of(value: Any) -> Any:
    """Return the id of an object that stands in a record as a whole."""
    return value.get("id") if isinstance(value, dict) else value


def ids_only(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without the fields that are no id: neither text nor a number."""
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


def changed_inside(value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return JSON with `change` made to each object in it, the outer ones first."""
    if isinstance(value, dict):
        return {name: changed_inside(each, change) for name, each in change(value).items()}
    if isinstance(value, list):
        return [changed_inside(each, change) for each in value]
    return value


def without_inside(value: Any, *names: str) -> Any:
    """Return JSON without these fields, at any depth."""
    return changed_inside(value, lambda each: without(each, *names))
