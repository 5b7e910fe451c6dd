"""Reads the body of a write: JSON, an object, its fields of the right type."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from etl.sandbox.endpoints import Call
from etl.sandbox.errors import ApiError, invalid
from etl.sandbox.store import read_instant

Check = Callable[[str, Any, int], Any]
"""Returns the value to keep, from the field's name, what was sent, and the present instant."""


async def read_body(call: Call) -> dict[str, Any]:
    """The body as an object; no body is an empty one. Raises ApiError 400."""
    text = await call.request.read()
    if not text:
        return {}
    try:
        body = orjson.loads(text)
    except ValueError as exc:
        raise ApiError(400, "invalid_request", "parse_error", f"JSON parse error - {exc}") from exc
    if not isinstance(body, dict):
        detail = f"Invalid data. Expected a dictionary, but got {type(body).__name__}."
        raise invalid("non_field_errors", detail)
    return body


def checked(body: Mapping[str, Any], checks: Mapping[str, Check], now_us: int) -> dict[str, Any]:
    """The known fields of a body; others are ignored. Raises ApiError 400 for the first bad one."""
    return {name: check(name, body[name], now_us) for name, check in checks.items() if name in body}


def text(name: str, value: Any, now_us: int = 0) -> str:
    """Text."""
    if not isinstance(value, str):
        raise invalid(name, "Not a valid string.")
    return value


def text_up_to(longest: int) -> Check:
    """Text of so many characters at most."""

    def check(name: str, value: Any, now_us: int) -> str:
        if len(text(name, value)) > longest:
            detail = f"Ensure this field has no more than {longest} characters."
            raise invalid(name, detail, "max_length")
        return str(value)

    return check


def whole_number(name: str, value: Any, now_us: int = 0) -> int:
    """An integer of 32 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise invalid(name, "A valid integer is required.")
    return value


def boolean(name: str, value: Any, now_us: int = 0) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise invalid(name, "Must be a valid boolean.")
    return value


def instant(name: str, value: Any, now_us: int) -> datetime:
    """An instant; without a zone it is UTC."""
    try:
        found = read_instant(text(name, value), now_us)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise invalid(name, "Datetime has wrong format.")
    return found


def an_object(name: str, value: Any, now_us: int = 0) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise invalid(name, "Expected a dictionary of items.")
    return value


def texts(name: str, value: Any, now_us: int = 0) -> list[str]:
    """An array of text."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise invalid(name, "Expected a list of items.")
    return value


def one_of(*allowed: str) -> Check:
    """One of some texts."""

    def check(name: str, value: Any, now_us: int) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise invalid(name, f'"{value}" is not a valid choice.', "invalid_choice")
        return value

    return check


def some_of(*allowed: str) -> Check:
    """An array of some texts."""

    def check(name: str, value: Any, now_us: int) -> list[str]:
        one = one_of(*allowed)
        return [one(name, item, now_us) for item in texts(name, value)]

    return check


def maybe(check: Check) -> Check:
    """As another check, or null."""
    return lambda name, value, now_us: None if value is None else check(name, value, now_us)
