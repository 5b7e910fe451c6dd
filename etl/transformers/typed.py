"""The fast reader: from a record's bytes to column values.

A struct made from the table's fields parses the bytes directly, without a dictionary, and JSON
columns keep their text. If it refuses a record, that is no verdict: the record is decoded, and
`FieldReader` decides whether anything is wrong with it. Property tests check that both give the
same values for what both accept.

The API changes: it adds fields, or sends a number as text. So the reader learns from a decoded
record: with the next struct it accepts its keys and types. What was learned changes which way a
record is read, never what it becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta, Raw, ValidationError, convert
from msgspec.structs import astuple

from etl.core.stream import Kind, TableSpec
from etl.errors import InvalidRecord
from etl.transformers.fields import (
    CANONICAL_UUID,
    DEEPEST,
    to_bigint,
    to_double,
    to_instant,
    to_uuid,
)

ABSENT = Raw(b"")

# A server may send a new key with every record. Further keys are read field by field.
MOST_KEYS = 64
LONGEST_KEY_BYTES = 200

_Bigint = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

# Raw covers null and absence too. A pattern in the struct would cost more than one outside it.
_TYPES: Mapping[Kind, Any] = {
    Kind.TEXT: str | None,
    Kind.BIGINT: _Bigint | None,
    Kind.DOUBLE: float | None,
    Kind.BOOLEAN: bool | None,
    Kind.INSTANT: datetime | None,
    Kind.UUID: str | None,
    Kind.JSON: Raw,
    Kind.TEXTS: list[str] | None,
    Kind.NUMERIC: Decimal | None,
    Kind.DATE: date | None,
}


@dataclass(frozen=True, slots=True)
class _Wider:
    """A type that accepts all forms of a kind. Values that are not `plain` are converted."""

    accepts: Any
    plain: type
    convert: Callable[[Any], Any]


_WIDER: Mapping[Kind, _Wider] = {
    Kind.BIGINT: _Wider(_Bigint | float | str | None, int, to_bigint),
    Kind.DOUBLE: _Wider(float | str | None, float, to_double),
    # A struct cannot accept both instants and other text.
    Kind.INSTANT: _Wider(str | None, datetime, to_instant),
}


class TypedReader:
    """Parses the bytes of an object into the values of the fields of `spec`, in their order.

    others: for a column that has another name in the object: that name, and its type.
    more: keys that belong to no column; their values follow those of the columns.

    Make one for each run: what it has learned is true of one server.
    """

    def __init__(
        self,
        spec: TableSpec,
        others: Mapping[str, tuple[str, Any]] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        others, more = others or {}, more or {}
        self._table = spec.name
        self._types = {f.name: _TYPES[f.kind] for f in spec.fields}
        self._types |= {**{name: kind for name, (_, kind) in others.items()}, **more}
        self._renamed = {name: key for name, (key, _) in others.items()}
        self._keys = {self._renamed.get(name, name) for name in self._types}
        self._own = {at: f for at, f in enumerate(spec.fields) if f.name not in others}
        self._width = len(self._types)
        # Of each learned key, its JSON text with a colon.
        self._learned: list[str] = []
        self._widened: dict[int, _Wider] = {}
        self._widen([at for at, field in self._own.items() if field.or_text])
        self._build()

    def read(self, record: Raw) -> list[Any] | None:
        """Return the values, and last the JSON text of the fields that the catalogue does not know.

        That text is None if there are no such fields. Returns None if the reader cannot read this
        record.
        """
        try:
            values = list(astuple(self._decode(record)))
            for at in self._instants:
                if (instant := values[at]) is not None and instant.tzinfo is not UTC:
                    values[at] = (
                        instant.replace(tzinfo=UTC)
                        if instant.tzinfo is None
                        else instant.astimezone(UTC)
                    )
            for at in self._documents:
                raw = values[at]
                values[at] = None if raw is ABSENT else _json_text(raw)
            for at in self._uuids:
                if (uuid := values[at]) is not None and not CANONICAL_UUID.fullmatch(uuid):
                    values[at] = to_uuid(uuid)
            for at, wider in self._widened.items():
                if (value := values[at]) is not None and type(value) is not wider.plain:
                    values[at] = wider.convert(value)
            if not self._learned:
                values.append(None)
            else:
                values[self._width :] = (_extra(self._learned, values[self._width :]),)
        # ValueError also for bytes in a JSON column that are not UTF-8; the struct does not check
        # them.
        except (ValueError, OverflowError, RecursionError, InvalidRecord):
            return None
        return values

    def learn(self, record: Mapping[str, Any]) -> set[str]:
        """Accept, from now on, the keys and types of a decoded record that `read` has refused.

        At most MOST_KEYS keys, and only types that `FieldReader` accepts. Returns the keys of
        which it has learned something. Safe to repeat.
        """
        room = MOST_KEYS - len(self._learned)
        keys = [key for key in record if key not in self._keys and is_learnable(key)][:room]
        narrow = [
            at
            for at, field in self._own.items()
            if at not in self._widened and _needs_wider(field.kind, record.get(field.name))
        ]
        if not (keys or narrow):
            return set()
        for key in keys:
            name = f"learned_{len(self._learned)}"
            self._types[name], self._renamed[name] = Raw, key
            self._keys.add(key)
            self._learned.append(f"{orjson.dumps(key).decode()}:")
        self._widen(narrow)
        self._build()
        return {*keys, *(self._own[at].name for at in narrow)}

    def _widen(self, places: Sequence[int]) -> None:
        for at in places:
            field = self._own[at]
            self._widened[at] = wider = _WIDER[field.kind]
            self._types[field.name] = wider.accepts

    def _build(self) -> None:
        struct = msgspec.defstruct(
            self._table,
            [(name, kind, ABSENT if kind is Raw else None) for name, kind in self._types.items()],
            rename=self._renamed,
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(struct).decode
        places = {
            kind: [at for at, f in self._own.items() if f.kind is kind and at not in self._widened]
            for kind in (Kind.INSTANT, Kind.UUID, Kind.JSON)
        }
        self._instants = places[Kind.INSTANT]
        self._uuids = places[Kind.UUID]
        self._documents = places[Kind.JSON]


def is_learnable(key: str) -> bool:
    """Tell whether a struct can have this key; keys with quotes or control characters it cannot."""
    is_plain = '"' not in key and "\\" not in key and min(key, default=" ") >= " "
    return is_plain and len(key.encode()) <= LONGEST_KEY_BYTES


def _needs_wider(kind: Kind, value: Any) -> bool:
    """Tell whether only the wider type of this kind accepts the value."""
    wider = _WIDER.get(kind)
    if wider is None or value is None:
        return False
    try:
        convert(value, _TYPES[kind])
    except ValidationError:
        pass
    else:
        return False
    try:
        wider.convert(value)
    except InvalidRecord:
        return False
    return True


def _extra(keys: Sequence[str], raws: Sequence[Raw]) -> str | None:
    """Return the JSON object of learned keys and their values; None if all are absent."""
    pairs = [
        key + _text(bytes(raw)) for key, raw in zip(keys, raws, strict=True) if raw is not ABSENT
    ]
    return f"{{{','.join(pairs)}}}" if pairs else None


def _json_text(raw: Raw) -> str | None:
    """Return the JSON text of a value. Raises ValueError if the fast reader cannot take it."""
    body = bytes(raw)
    return None if body == b"null" else _text(body)


def _text(body: bytes) -> str:
    if len(body) > DEEPEST and body.count(b"[") + body.count(b"{") > DEEPEST:
        raise ValueError("perhaps nested too deeply")
    return body.decode()
