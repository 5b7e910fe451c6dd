"""The fast reader: from a record's bytes to column values, for records without a surprise.

A struct made from the table's fields parses the bytes directly, without a dictionary, and JSON
columns keep their text. If it refuses a record (an unknown field, a number as text, an instant
without a zone), that is no verdict: `FieldReader` reads the record and decides whether anything is
wrong with it. A property test checks that both give the same values for what both accept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw
from msgspec.structs import astuple

from etl.core.stream import Kind, TableSpec
from etl.transformers.fields import CANONICAL_UUID, DEEPEST

ABSENT = Raw(b"")

# Raw covers null and absence too. A pattern in the struct would cost more than one outside it.
_TYPES: Mapping[Kind, Any] = {
    Kind.TEXT: str | None,
    Kind.BIGINT: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None,
    Kind.DOUBLE: float | None,
    Kind.BOOLEAN: bool | None,
    Kind.INSTANT: Annotated[datetime, Meta(tz=True)] | None,
    Kind.UUID: str | None,
    Kind.JSON: Raw,
    Kind.TEXTS: list[str] | None,
}


class TypedReader:
    """Parses the bytes of an object into the values of the fields of `spec`, in their order.

    others: for a column that has another name in the object: that name, and its type.
    more: keys that belong to no column; their values follow those of the columns.
    """

    def __init__(
        self,
        spec: TableSpec,
        others: Mapping[str, tuple[str, Any]] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        others, more = others or {}, more or {}
        types = {f.name: _TYPES[f.kind] for f in spec.fields}
        types |= {**{name: kind for name, (_, kind) in others.items()}, **more}
        struct = msgspec.defstruct(
            spec.name,
            [(name, kind, ABSENT if kind is Raw else None) for name, kind in types.items()],
            rename={name: key for name, (key, _) in others.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(struct).decode
        own = [(at, f.kind) for at, f in enumerate(spec.fields) if f.name not in others]
        self._instants = [at for at, kind in own if kind is Kind.INSTANT]
        self._uuids = [at for at, kind in own if kind is Kind.UUID]
        self._documents = [at for at, kind in own if kind is Kind.JSON]

    def read(self, record: Raw) -> list[Any] | None:
        """Return the values; None if the fast reader cannot read this record."""
        try:
            values = list(astuple(self._decode(record)))
            for at in self._instants:
                if (instant := values[at]) is not None and instant.tzinfo is not UTC:
                    values[at] = instant.astimezone(UTC)
            for at in self._documents:
                raw = values[at]
                values[at] = None if raw is ABSENT else _json_text(raw)
            for at in self._uuids:
                if (uuid := values[at]) is not None and not CANONICAL_UUID.fullmatch(uuid):
                    return None
        # ValueError also for bytes in a JSON column that are not UTF-8; the struct does not check
        # them.
        except (ValueError, OverflowError, RecursionError):
            return None
        return values


def _json_text(raw: Raw) -> str | None:
    """Return the JSON text of a value. Raises ValueError if the fast reader cannot take it."""
    body = bytes(raw)
    if body == b"null":
        return None
    if len(body) > DEEPEST and body.count(b"[") + body.count(b"{") > DEEPEST:
        raise ValueError("perhaps nested too deeply")
    return body.decode()
