"""ClickHouse's functions and aggregates in Python, for SQLite to call."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

import orjson

from etl.sandbox.errors import ApiError
from etl.sandbox.hogql_tokens import refused
from etl.sandbox.hogql_types import (
    cut,
    day_of,
    digits_of,
    midnight_us,
    read_basic,
    read_best,
    signed,
    text_of,
    unsigned,
)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


def _string(value: bytes) -> str | bytes:
    """ClickHouse's String is bytes; here it is text where it can be, so that it compares equal."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _hex(value: Any) -> str:
    if isinstance(value, int):
        number = unsigned(value)
        return number.to_bytes(max(1, (number.bit_length() + 7) // 8)).hex().upper()
    return _bytes(value).hex().upper()


def _unhex(value: Any) -> str | bytes:
    try:
        return _string(bytes.fromhex(_bytes(value).decode().rjust((len(value) + 1) // 2 * 2, "0")))
    except ValueError:
        return ""


def _substring(value: Any, offset: int, length: int | None = None) -> str | bytes:
    text = _bytes(value)
    begin = offset - 1 if offset > 0 else len(text) + offset if offset < 0 else len(text)
    begin = max(0, begin)
    return _string(text[begin:] if length is None else text[begin : begin + max(0, length)])


def _reinterpret(value: Any, size: int) -> int:
    """The first bytes as a number, the lowest byte first."""
    if isinstance(value, int):
        return signed(unsigned(value) & ((1 << 8 * size) - 1))
    return signed(int.from_bytes(_bytes(value)[:size], "little"))


def _number(value: Any, low: str, high: str) -> int | None:
    """accurateCastOrNull. The bounds are text, because SQLite has no unsigned numbers."""
    try:
        found = int(value) if not isinstance(value, float) or value.is_integer() else None
    except (ValueError, TypeError):
        return None
    return signed(found) if found is not None and int(low) <= found < int(high) else None


def _floating(value: Any) -> float | None:
    try:
        return float(value)
    except (ValueError, TypeError):
        return None


def uuid_of(value: Any) -> str:
    """A UUID in its usual form. Raises ApiError 400 for other text, as ClickHouse does."""
    text = str(value).lower()
    digits = text.replace("-", "")
    if len(digits) != 32 or set(digits) - set("0123456789abcdef"):
        raise refused(f"Cannot parse UUID from String: '{value}'", "cannot_parse_uuid")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _uuid_or_null(value: Any) -> str | None:
    try:
        return uuid_of(value)
    except ApiError:
        return None


def _property(text: Any, name: str) -> str | None:
    """A property as text, whatever it was; null if it is missing (PostHog source, HogQL)."""
    try:
        value = json.loads(text)[name]
    except (ValueError, KeyError, TypeError):
        return None
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _like(value: Any, pattern: str, folded: int) -> bool:
    parts = [".*" if sign == "%" else "." if sign == "_" else re.escape(sign) for sign in pattern]
    flags = re.DOTALL | (re.IGNORECASE if folded else 0)
    return re.fullmatch("".join(parts), str(value), flags) is not None


def _mod(left: int, right: int, wide: int) -> int:
    a, b = (unsigned(left), unsigned(right)) if wide else (left, right)
    if b == 0:
        raise refused("Division by zero", "illegal_division")
    found = abs(a) % abs(b)
    return signed(-found if a < 0 else found)


def _lower(value: Any) -> str | bytes:
    return _string(_bytes(value).lower())


def _upper(value: Any) -> str | bytes:
    return _string(_bytes(value).upper())


def _rounded(instant_us: int, digits: str) -> int:
    return cut(instant_us, digits_of(digits))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "hex": _hex,
    "unhex": _unhex,
    "md5": lambda value: hashlib.md5(_bytes(value), usedforsecurity=False).digest(),
    "hex_md5": lambda value: hashlib.md5(_bytes(value), usedforsecurity=False).hexdigest().upper(),
    "substring": _substring,
    "reverse": lambda value: _string(_bytes(value)[::-1]),
    "reinterpret": _reinterpret,
    "lower": _lower,
    "upper": _upper,
    "length": lambda value: len(_bytes(value)),
    "number": _number,
    "floating": _floating,
    "uuid": uuid_of,
    "uuid_or_null": _uuid_or_null,
    "property": _property,
    "like": _like,
    "mod": _mod,
    "text": text_of,
    "basic": read_basic,
    "best": read_best,
    "cut": _rounded,
    "day": day_of,
    "midnight": midnight_us,
    # Texts of equal length order as their numbers do: 2^63 more than each, in hexadecimal.
    "wide": lambda value, wide: f"{(unsigned(value) if wide else value) + (1 << 63):017x}",
    "ordered": lambda value: value ^ -(1 << 63),
    "bitxor": lambda left, right: left ^ right,
    "concat": lambda *values: _string(b"".join(_bytes(v) for v in values if v is not None)),
    "tuple": lambda *values: orjson.dumps([_kept(v) for v in values]).decode(),
}
"""By name. They are called with null only if they are in `WITH_NULL`; else null gives null."""
WITH_NULL = ("text", "concat", "tuple")


def _kept(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class _Xor:
    def __init__(self) -> None:
        self.value = 0

    def step(self, value: int | None) -> None:
        self.value ^= value or 0

    def finalize(self) -> int:
        return self.value


class _Sum:
    def __init__(self) -> None:
        self.value: int = 0

    def step(self, value: int | None) -> None:
        self.value += value or 0

    def finalize(self) -> int:
        """Goes round at 64 bits, as ClickHouse's sum does."""
        return signed(self.value)


class _Array:
    def __init__(self) -> None:
        self.values: list[Any] = []

    def step(self, value: Any) -> None:
        if value is not None:
            self.values.append(_kept(value))

    def finalize(self) -> str:
        return orjson.dumps(self.values).decode()


class Raised:
    """Keeps the error of a function, which SQLite itself does not hand on."""

    def __init__(self) -> None:
        """None yet."""
        self.error: ApiError | None = None


def register(connection: sqlite3.Connection, raised: Raised) -> None:
    """Makes all functions and aggregates known, under names that begin with `ch_`."""

    def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any) -> Any:
            if name not in WITH_NULL and None in values:
                return None
            try:
                return function(*values)
            except ApiError as error:
                raised.error = error
                raise

        return call

    for name, function in FUNCTIONS.items():
        connection.create_function(f"ch_{name}", -1, guarded(name, function), deterministic=True)
    aggregates: dict[str, Any] = {"xor": _Xor, "sum": _Sum, "array": _Array}
    for name, made in aggregates.items():
        connection.create_aggregate(f"ch_{name}", 1, made)
