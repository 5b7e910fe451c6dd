"""Remove secrets from records before anything else sees them.

A secret may appear where no documentation shows it: inside another field, in a link, or in an
answer that is not an object. So

- fields with a secret's name are removed at every depth;
- the text of a secret is removed from all other texts;
- of a record that is not an object only a hash is kept;
- of text under unknown names, or in JSON fields, only hash and length are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from etl.core.document import Unreadable
from etl.core.stream import Field, Kind, Known, Secrets, TableSpec
from etl.transformers.fields import sha256

HIDDEN = "***"

# Shorter secrets are not searched for in other text: they might be an ordinary word.
_SHORTEST = 16
# Deeper than any record that loads (`fields.DEEPEST`).
_LEVELS = 300

_HASH = re.compile("sha256:[0-9a-f]{64}(:[0-9]+)?")

# Where a field is: the names of the objects around it, then its own name.
Path = tuple[str, ...]

Object = dict[str, Any]


def is_hash(value: Any) -> bool:
    """Tell whether `value` is a hash that `sha256` made; it is not hashed again."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def objects_in(value: Any) -> Iterator[Object]:
    """Yield every object in `value` at any depth, also `value` itself."""
    return (each for each in _parts(value) if isinstance(each, dict))


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in `value`, also the names of fields."""
    return (each for each in _parts(value) if isinstance(each, str))


def _parts(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, dict):
            waiting += part.keys()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def drop_named(record: Object, names: Iterable[str]) -> Object:
    """Return `record` without the fields of these names, and without their text elsewhere."""
    dropped = frozenset(names)
    held = [each[name] for each in objects_in(record) for name in dropped & each.keys()]

    def kept(each: Object) -> Object:
        return {name: value for name, value in each.items() if name not in dropped}

    return rewritten(record, kept, texts_in(held))


def rewritten(record: Object, change: Callable[[Object], Object], secrets: Iterable[str]) -> Object:
    """Return `record` with each object in it changed, and without `secrets` in any text."""
    hidden = sorted({each for each in secrets if len(each) >= _SHORTEST}, key=len, reverse=True)

    def again(value: Any, levels: int) -> Any:
        if isinstance(value, str):
            for each in hidden:
                value = value.replace(each, HIDDEN)
        elif isinstance(value, list | dict) and levels == 0:
            return []  # the transformer rejects such a record, whatever this holds
        elif isinstance(value, list):
            return [again(each, levels - 1) for each in value]
        elif isinstance(value, dict):
            pairs = change(value).items()
            return {again(name, levels): again(each, levels - 1) for name, each in pairs}
        return value

    found: Object = again(record, _LEVELS)
    return found


def known_fields(spec: TableSpec, **objects: TableSpec) -> Known:
    """Return what the catalogue knows of a record that fills `spec`.

    objects: fields that hold an object, or a list of objects, with the table that these fill.
    """
    known: dict[str, Kind | Known] = {
        field.name: plain_names(field) if field.kind is Kind.JSON else field.kind
        for field in spec.fields
    }
    return known | {name: known_fields(each) for name, each in objects.items()}


def plain_names(field: Field) -> Known:
    """Return what the catalogue knows of the objects in a JSON field."""
    known: dict[str, Any] = {}
    for name in field.plain:
        *path, last = name.split(".")
        within = known
        for part in path:
            within = within.setdefault(part, {})
        within[last] = Kind.TEXTS
    return known


def withhold_text(value: Any, known: Known) -> Any:
    """Return the value of a JSON field without text under names that are not `known`."""
    return _field(value, known, (), frozenset(), _LEVELS)


def withhold(record: Any, secrets: Secrets, admitted: Collection[Path] = ()) -> Any:
    """Return a record without secrets and without text under unknown names.

    Hash and length of such a text are kept, also in a JSON field. Numbers, booleans, null and all
    names are kept. If the record is not an object, only a hash is kept. Safe to repeat.

    admitted: fields that are kept in any case, each as its path.
    """
    if not isinstance(record, dict):
        return _withheld(record)
    return _object(secrets.hide(record), secrets.known, (), frozenset(admitted), _LEVELS)


def _object(
    value: Object, known: Known, path: Path, admitted: frozenset[Path], levels: int
) -> Object:
    return {
        name: _field(each, known.get(name), (*path, name), admitted, levels - 1)
        for name, each in value.items()
    }


def _field(
    value: Any, known: Kind | Known | None, path: Path, admitted: frozenset[Path], levels: int
) -> Any:
    if path in admitted:
        return value
    if isinstance(value, str):
        is_kept = _is_known(value, known) or not value or is_hash(value)
        return value if is_kept else f"{sha256(value)}:{len(value)}"
    if not isinstance(value, list | dict):
        return value
    if levels <= 0:
        return []  # the transformer rejects such a record, whatever this holds
    if isinstance(value, list):
        inner = None if isinstance(known, Kind) and known is not Kind.TEXTS else known
        return [_field(each, inner, path, admitted, levels - 1) for each in value]
    within: Known = known if isinstance(known, Mapping) else {}
    return _object(value, within, path, admitted, levels)


def _is_known(text: str, known: Kind | Known | None) -> bool:
    if isinstance(known, Mapping):  # an object; older servers give only its id
        return "id" in known and text.isascii() and text.isdigit()
    return known is not None


def _withheld(record: Any) -> Any:
    if isinstance(record, dict):
        return record
    text, reason = record, f"expected an object, got {type(record).__name__}"
    if isinstance(record, Unreadable):
        text, reason = record.text, record.reason
    return Unreadable(text if is_hash(text) else sha256(text), reason)
