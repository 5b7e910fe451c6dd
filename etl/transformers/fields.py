"""Convert one JSON value into one column value, or raise InvalidRecord.

Every documented form of a value is accepted: a number as text, an integer as 3.0, an instant with
or without a zone (without one it is UTC, as PostHog's own serialisers read it).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from msgspec import ValidationError
from msgspec import convert as _rfc3339

from etl.core.drift import JSON_TYPES, LONGEST_NAME, Drift
from etl.core.stream import Kind, TableSpec
from etl.errors import InvalidRecord

CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ANY_UUID = re.compile(r"(?:urn:uuid:)?\{?[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\}?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BIGINT = range(-(2**63), 2**63)

# Deeper values are refused. Python's own limit depends on its version and on the stack in use, so a
# fixed limit gives the same result everywhere.
DEEPEST = 250
CUT_OFF = "…"

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def to_text(value: Any) -> str:
    """Return text. Raises InvalidRecord for a number: the field may have changed its meaning."""
    if type(value) is str:
        return value
    raise InvalidRecord(f"expected text, got {_shown(value)}")


def to_bigint(value: Any) -> int:
    """Return an integer of at most 64 bits, given also as 3.0 or "3". Raises InvalidRecord."""
    if (type(value) is float and value.is_integer()) or (
        type(value) is str and _INTEGER.fullmatch(value)
    ):
        value = int(value)
    if type(value) is int and value in _BIGINT:
        return value
    raise InvalidRecord(f"expected a 64-bit integer, got {_shown(value)}")


def to_double(value: Any) -> float:
    """Return a finite number; old servers sent durations as text. Raises InvalidRecord."""
    try:
        if type(value) in (int, float) or (type(value) is str and _NUMBER.fullmatch(value)):
            number = float(value)
            if math.isfinite(number):
                return number
    except OverflowError:
        pass
    raise InvalidRecord(f"expected a finite number, got {_shown(value)}")


def to_boolean(value: Any) -> bool:
    """Return true or false. Raises InvalidRecord for any other value."""
    if type(value) is bool:
        return value
    raise InvalidRecord(f"expected true or false, got {_shown(value)}")


def to_instant(value: Any) -> datetime:
    """Return the instant in ISO 8601 text; without a zone it is UTC. Raises InvalidRecord.

    RFC 3339 text is read as the fast reader reads it (nanoseconds are rounded, as Postgres does);
    other ISO 8601 text is read by the standard library.
    """
    if type(value) is str:
        try:
            try:
                instant = _rfc3339(value, datetime)
            except ValidationError:
                instant = datetime.fromisoformat(value)
            return (
                instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
            )
        except (ValueError, OverflowError):
            pass
    raise InvalidRecord(f"expected a date-time, got {_shown(value)}")


def to_uuid(value: Any) -> str:
    """Return a UUID, given in any usual form, in canonical form. Raises InvalidRecord."""
    if type(value) is str:
        if CANONICAL_UUID.fullmatch(value):
            return value
        if _ANY_UUID.fullmatch(value.lower()):
            return str(UUID(value.lower()))
    raise InvalidRecord(f"expected a UUID, got {_shown(value)}")


def to_json(value: Any) -> str:
    """Return any value as JSON text. Raises InvalidRecord if it is deeper than DEEPEST levels."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits, or nesting that orjson refuses
        return json.dumps(repair(value)[0], ensure_ascii=False)


def to_texts(value: Any) -> list[str]:
    """Return an array of text. Raises InvalidRecord."""
    if type(value) is list and all(type(item) is str for item in value):
        return value
    raise InvalidRecord(f"expected an array of text, got {_shown(value)}")


def to_numeric(value: Any) -> Decimal:
    """Return a number of any size exactly, given as a number or as text. Raises InvalidRecord."""
    if type(value) in (int, float) or (type(value) is str and _NUMBER.fullmatch(value)):
        number = Decimal(str(value))
        if number.is_finite():
            return number
    raise InvalidRecord(f"expected a number, got {_shown(value)}")


def to_date(value: Any) -> date:
    """Return the day in ISO 8601 text. Raises InvalidRecord."""
    if type(value) is str:
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise InvalidRecord(f"expected a date, got {_shown(value)}")


_CONVERTERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: to_text,
    Kind.BIGINT: to_bigint,
    Kind.DOUBLE: to_double,
    Kind.BOOLEAN: to_boolean,
    Kind.INSTANT: to_instant,
    Kind.UUID: to_uuid,
    Kind.JSON: to_json,
    Kind.TEXTS: to_texts,
    Kind.NUMERIC: to_numeric,
    Kind.DATE: to_date,
}


# Values of these types need no conversion. The table pays, because they are a third of all values.
_AS_IS: Mapping[Kind, type] = {Kind.TEXT: str, Kind.BOOLEAN: bool}


def scalar_text(value: Any) -> str:
    """Return a JSON value as the text that is its key: text unchanged, all else as JSON.

    Raises InvalidRecord if it is deeper than DEEPEST levels.
    """
    return value if type(value) is str else to_json(value)


def sha256(value: Any, *, bare: bool = False) -> str:
    """Return the SHA-256 of a secret in hexadecimal, by which a change of it can be seen.

    Accepts any value and never raises.
    """
    if type(value) is not str:
        value, _ = repair(value, cut=True)
    digest = hashlib.sha256(scalar_text(value).encode("utf-8", "surrogatepass")).hexdigest()
    return digest if bare else f"sha256:{digest}"


class FieldReader:
    """Turns an object into the values of the fields of `spec`, in their order, and extra fields.

    known: further keys of the object that other code reads, so they are not extra.
    omitted: fields of `spec` that other code fills.
    """

    def __init__(
        self, spec: TableSpec, known: Sequence[str] = (), omitted: Sequence[str] = ()
    ) -> None:
        fields = [field for field in spec.fields if field.name not in omitted]
        self._table = spec.name
        self._expected = {field.name: field.kind.json_type for field in fields}
        self._usual: dict[str, Collection[type]] = dict.fromkeys(known, JSON_TYPES.keys())
        for field in fields:
            usual = [each for each, name in JSON_TYPES.items() if field.expects(name)]
            self._usual[field.name] = frozenset(usual)
        self._plan = [
            (field.name, _AS_IS.get(field.kind), _CONVERTERS[field.kind], field.lenient)
            for field in fields
        ]
        self._known = {*known, *(field.name for field in fields)}

    def read(self, record: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the values and the extra fields. Raises InvalidRecord naming the field."""
        values: list[Any] = []
        extra: dict[str, Any] = {}
        get = record.get
        for name, as_is, convert, lenient in self._plan:
            value = get(name)
            if value is not None and type(value) is not as_is:
                try:
                    value = convert(value)
                except InvalidRecord as exc:
                    if not lenient:
                        raise InvalidRecord(f"{name}: {exc.message}") from exc
                    extra[name] = value
                    value = None
            values.append(value)
        if not record.keys() <= self._known:
            extra.update({k: v for k, v in record.items() if k not in self._known})
        return values, extra

    def drift(self, record: Mapping[str, Any]) -> list[Drift]:
        """Return where the object differs from the catalogue: unknown fields, and other types."""
        usual = self._usual.get
        return [
            Drift(self._table, name[:LONGEST_NAME], self._expected.get(name), JSON_TYPES[kind])
            for name, value in record.items()
            if (kind := type(value)) not in usual(name, ())
        ]


def is_storable(text: str) -> bool:
    """Tell whether Postgres can store `text` unchanged."""
    return _UNSTORABLE.search(text) is None


def repair(value: Any, *, cut: bool = False, levels: int = DEEPEST) -> tuple[Any, bool]:
    """Return `value` without what Postgres cannot store, and whether anything was repaired.

    NUL and lone surrogates become U+FFFD; numbers that are not finite become null. What is nested
    deeper than `levels` is cut off if `cut` is true; otherwise it raises InvalidRecord.
    """
    if type(value) is str:
        repaired = _UNSTORABLE.sub(REPLACEMENT, value)
        return repaired, repaired != value
    if type(value) is float:
        return (value, False) if math.isfinite(value) else (None, True)
    if not isinstance(value, list | dict):
        return value, False
    if levels == 0:
        if cut:
            return CUT_OFF, True
        raise InvalidRecord("nested too deeply")
    if isinstance(value, list):
        items = [repair(item, cut=cut, levels=levels - 1) for item in value]
        return [item for item, _ in items], any(changed for _, changed in items)
    pairs = [(repair(key), repair(item, cut=cut, levels=levels - 1)) for key, item in value.items()]
    return (
        {key: item for (key, _), (item, _) in pairs},
        any(key_changed or changed for (_, key_changed), (_, changed) in pairs),
    )


# Shortens any value, in length and in depth.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 3, 60


def _shown(value: Any) -> str:
    return _SHORT.repr(value)[:100]
