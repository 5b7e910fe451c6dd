"""Hashes of objects as they came, so that what did not change is neither typed nor sent.

The hash is over the bytes of every field but the volatile ones, in the order of the catalogue, and
over the keys that the catalogue does not know. The same bytes become the same row, so a row whose
hash is that of the record needs no writing. Other bytes may become the same row, too: then the
upsert finds that out.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec
import orjson
from msgspec import Raw
from msgspec.structs import astuple

from etl.core.stream import TableSpec
from etl.transformers.typed import ABSENT, MOST_KEYS, is_learnable

# Raise it when the same record becomes another row than before. Then no stored hash is believed.
_RULES = 1
_HASH_BYTES = 8  # as many as a bigint has


class Hasher:
    """Hashes the contents of one table's rows.

    The catalogue's fingerprint is part of each hash: with other columns a record becomes another
    row.
    """

    def __init__(self, spec: TableSpec) -> None:
        about = [_RULES, spec.name, *((f.name, f.kind.value, f.volatile) for f in spec.fields)]
        self._person = blake2b(orjson.dumps(about), digest_size=16).digest()

    def __call__(self, content: bytes) -> int:
        """Return the hash as Postgres stores it."""
        digest = blake2b(content, digest_size=_HASH_BYTES, person=self._person).digest()
        return int.from_bytes(digest, "big", signed=True)


class ContentReader:
    """Reads an object's content: the bytes of its fields, without the volatile ones.

    head: keys of which the value is read, and their types. They are not part of the content.
    """

    def __init__(self, spec: TableSpec, head: Mapping[str, Any]) -> None:
        self._head = dict(head)
        fields = [field for field in spec.fields if field.name not in head]
        self._volatile = [field.name for field in fields if field.volatile]
        self._fields = [field.name for field in fields if not field.volatile]
        self._learned: list[str] = []
        self._build()

    def read(self, record: Raw) -> tuple[tuple[Any, ...], bytes] | None:
        """Return the values of `head`, and the content. None if the object holds a surprise."""
        try:
            values = astuple(self._decode(record))
        except (ValueError, RecursionError):
            return None
        content = b",".join(values[self._from : self._to])
        if self._learned:
            learned = zip(self._names, values[self._to :], strict=False)
            content += b"".join(name + bytes(raw) for name, raw in learned if raw is not ABSENT)
        return values[: self._from], content

    def learn(self, record: Mapping[str, Any]) -> None:
        """Accept, from now on, the keys of a decoded record that `read` has refused.

        At most MOST_KEYS keys. Safe to repeat.
        """
        known = {*self._head, *self._volatile, *self._fields, *self._learned}
        room = MOST_KEYS - len(self._learned)
        keys = [key for key in record if key not in known and is_learnable(key)][:room]
        if keys:
            # Sorted, so that the content is the same in whatever order they were learned.
            self._learned = sorted([*self._learned, *keys])
            self._build()

    def _build(self) -> None:
        raws = [*self._fields, *self._learned, *self._volatile]
        kinds = [*self._head.items(), *((name, Raw) for name in raws)]
        self._names = [b"," + orjson.dumps(key) + b":" for key in self._learned]
        self._from = len(self._head)
        self._to = self._from + len(self._fields)
        struct = msgspec.defstruct(
            "Content",
            [
                (f"field_{at}", kind, ABSENT if kind is Raw else None)
                for at, (_, kind) in enumerate(kinds)
            ],
            rename={f"field_{at}": key for at, (key, _) in enumerate(kinds)},
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(struct).decode
