"""ClickHouse's types: their names, their defaults, and how their values are kept and shown.

SQLite keeps instants as microseconds since 1970, dates and UUIDs as text, unsigned 64-bit numbers
as the signed ones with the same bits, arrays and tuples as JSON.
"""

import math
import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from etl.sandbox.clock import EPOCH, to_datetime, to_us
from etl.sandbox.hogql_tokens import refused

_NULLABLE = re.compile(r"Nullable\((.*)\)", re.DOTALL)
_DIGITS = re.compile(r"DateTime64\((\d)")
# The text that ClickHouse's basic parser takes. A zone at its end is refused, a final Z as well
# (ClickHouse docs, settings/formats, date_time_input_format = basic).
_BASIC = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?)?")
_SIGN = 1 << 63
_WORD = (1 << 64) - 1
ZERO_UUID = "00000000-0000-0000-0000-000000000000"


def bare(kind: str) -> str:
    """A type without Nullable."""
    match = _NULLABLE.fullmatch(kind)
    return match[1] if match else kind


def nullable(kind: str, when: bool = True) -> str:
    """A type that also has null. Arrays and tuples have none."""
    if not when or kind != bare(kind) or kind.startswith(("Array", "Tuple")):
        return kind
    return f"Nullable({kind})"


def is_nullable(kind: str) -> bool:
    """Whether values may be null."""
    return kind != bare(kind)


def is_instant(kind: str) -> bool:
    """Whether values are instants."""
    return bare(kind).startswith("DateTime")


def is_number(kind: str) -> bool:
    """Whether values are numbers."""
    return bare(kind).startswith(("Int", "UInt", "Float", "Bool")) and "val" not in bare(kind)


def instant_type(digits: int, zone: str) -> str:
    """The type of instants with so many digits after the second."""
    return f"DateTime64({digits}, '{zone}')" if digits else f"DateTime('{zone}')"


def digits_of(kind: str) -> int:
    """How many digits after the second instants of a type have."""
    match = _DIGITS.search(kind)
    return int(match[1]) if match else 0


def literal_type(value: Any) -> str:
    """The type of a literal: ClickHouse takes the narrowest."""
    if value is None:
        return "Nullable(Nothing)"
    if isinstance(value, bool):
        return "Bool"
    if isinstance(value, float):
        return "Float64"
    if not isinstance(value, int):
        return "String"
    for bits in (8, 16, 32, 64):
        if 0 <= value < 1 << bits:
            return f"UInt{bits}"
        if -(1 << bits - 1) <= value < 0:
            return f"Int{bits}"
    raise refused(f"The number {value} does not fit into 64 bits.")


def default_of(kind: str) -> Any:
    """What an aggregate of no rows gives: null only if the type has it."""
    if is_nullable(kind):
        return None
    if kind == "UUID":
        return ZERO_UUID
    if kind == "Date":
        return "1970-01-01"
    if kind.startswith("Array"):
        return "[]"
    return 0 if is_number(kind) or is_instant(kind) else ""


def signed(value: int) -> int:
    """The signed number with the same 64 bits."""
    return (value + _SIGN & _WORD) - _SIGN


def unsigned(value: int) -> int:
    """The unsigned number with the same 64 bits."""
    return value & _WORD


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """A time zone. Raises ApiError 400 for an unknown one."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise refused(f"Unknown time zone {name}") from exc


def read_basic(text: str, digits: int, zone: str) -> int:
    """Microseconds of an instant as toDateTime64 reads it. Raises ApiError 400."""
    match = _BASIC.match(text)
    kind = instant_type(digits, zone)
    if match is None:
        raise refused(f"Cannot parse string '{text}' as {kind}", "cannot_parse_text")
    if match.end() != len(text):
        raise refused(
            f"Cannot parse string '{text}' as {kind}: syntax error at position {match.end()} "
            f"(parsed just '{match[0]}')",
            "cannot_parse_text",
        )
    fraction = int((match[3] or "0").ljust(9, "0")[:digits].ljust(6, "0")[:6])
    try:
        at = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00:00'}")
    except ValueError as exc:
        raise refused(f"Cannot parse string '{text}' as {kind}", "cannot_parse_text") from exc
    return to_us(at.replace(tzinfo=zone_of(zone))) + fraction


def read_best(text: str, zone: str) -> int | None:
    """Microseconds of an instant in any usual form, cut to milliseconds; None if it is none.

    PostHog source, hogql/functions/clickhouse/conversions.py: parseDateTime64BestEffortOrNull,
    whose default are three digits.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=zone_of(zone))
    return to_us(at) // 1000 * 1000


def cut(instant_us: int, digits: int) -> int:
    """An instant with so many digits after the second, at most six."""
    unit: int = 10 ** max(0, 6 - digits)
    return instant_us // unit * unit


def text_of(value: Any, kind: str, zone: str) -> Any:
    """A value as toString shows it; instants in a zone."""
    if value is None:
        return None
    if is_instant(kind):
        at, digits = to_datetime(value).astimezone(zone_of(zone)), digits_of(kind)
        fraction = f".{at.microsecond:06d}"[: digits + 1] if digits else ""
        return at.strftime("%Y-%m-%d %H:%M:%S") + fraction
    if bare(kind) == "UInt64":
        return str(unsigned(value))
    if bare(kind) == "Bool":
        return "true" if value else "false"
    return value if isinstance(value, (str, bytes)) else str(value)


def shown(value: Any, kind: str, zone: str) -> Any:
    """A value as the answer has it; instants in a zone, with Z if that is UTC."""
    if value is None:
        return None
    inner = bare(kind)
    if inner.startswith(("Array(", "Tuple(")):
        return [shown(each, part, zone) for each, part in _parts(orjson.loads(value), inner)]
    if is_instant(inner):
        at = to_datetime(value).astimezone(zone_of(zone))
        return at.isoformat().replace("+00:00", "Z")
    if inner == "UInt64":
        return unsigned(value)
    if inner == "Bool":
        return bool(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def day_of(instant_us: int, zone: str) -> str:
    """The day of an instant in a zone."""
    return to_datetime(instant_us).astimezone(zone_of(zone)).date().isoformat()


def midnight_us(day: str, zone: str) -> int:
    """The first instant of a day in a zone."""
    at = datetime.combine(date.fromisoformat(day), EPOCH.time(), zone_of(zone))
    return to_us(at.astimezone(UTC))


def split_types(text: str) -> list[str]:
    """The types between commas, those inside of parentheses left alone."""
    found, depth, begin = [], 0, 0
    for at, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            found.append(text[begin:at].strip())
            begin = at + 1
    return [*found, text[begin:].strip()]


def _parts(values: list[Any], kind: str) -> list[tuple[Any, str]]:
    inside = kind[6:-1]
    if kind.startswith("Array("):
        return [(value, inside) for value in values]
    return list(zip(values, split_types(inside), strict=True))
