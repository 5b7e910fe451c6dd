"""Who a row is about: the columns that name a person, a distinct id or a recording.

A row that names several of them says that they belong together. So a person's rows are found from
any one of the names (see `connected`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from msgspec import Struct


class Names(Enum):
    """What a value names."""

    PERSON = "person"
    DISTINCT_ID = "distinct id"
    RECORDING = "recording"


# What is named, and its name as text.
Identifier = tuple[Names, str]


class Identity(Struct, frozen=True):
    """A column that names somebody or something of somebody.

    when: a column and its value, if only rows with this value do; None: all rows.
    """

    column: str
    names: Names
    when: tuple[str, str] | None = None


# PostHog merges no persons by these distinct ids, because many people share them (PostHog source,
# plugin-server, person-merge-service.ts).
_SHARED = {"anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email"}
_SHARED |= {"undefined", "true", "false", "[object object]", "nan", "none", "null", "0", ""}

# A text in JSON, and the colon that follows the name of a value.
_TEXT = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?')
# A shorter text may be anything.
_SHORTEST = 8
# The fields of a record that hold distinct ids, also short ones.
DISTINCT_IDS_IN = ("distinct_id", "distinct_ids")
# What stands in JSON for the name of a person who was forgotten.
FORGOTTEN = "[forgotten]"


def is_shared(identifier: Identifier) -> bool:
    """Tell whether this is a distinct id that many people have."""
    names, text = identifier
    return names is Names.DISTINCT_ID and text.strip("\"' ").lower() in _SHARED


def identifiers_of(
    identities: Sequence[Identity], columns: Mapping[str, int], row: Sequence[Any]
) -> list[Identifier]:
    """Return what a row names. columns: the place of each column in the row."""
    found = []
    for each in identities:
        value = row[columns[each.column]]
        if value is None or (each.when and row[columns[each.when[0]]] != each.when[1]):
            continue
        text = str(value)
        found.append((each.names, text.lower() if each.names is Names.PERSON else text))
    return found


def connected(
    rows: Collection[Sequence[Identifier]], known: Collection[Identifier]
) -> set[Identifier]:
    """Return all identifiers that rows connect with the known ones, and these.

    Distinct ids that many people share connect nobody.
    """
    reached = set(known)
    while True:
        found = {
            each
            for row in rows
            if not reached.isdisjoint(row)
            for each in row
            if not is_shared(each)
        }
        if found <= reached:
            return reached
        reached |= found


def is_telling(text: str) -> bool:
    """Tell whether a text names somebody wherever it stands.

    The distinct id `42` does not: in JSON that may be anything else.
    """
    return len(text) >= _SHORTEST and not text.isdigit()


def names_in(value: Any, names: str = "") -> Iterator[str]:
    """Yield the texts inside of decoded JSON that may name somebody.

    names: the name of the value.
    """
    if isinstance(value, str):
        if is_telling(value) or names in DISTINCT_IDS_IN:
            yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from names_in(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from names_in(each, names)


def texts_in(document: str) -> Iterator[str]:
    """Yield the texts inside of JSON that may name somebody, but for the names of values."""
    for found in _TEXT.finditer(document):
        if not found[2] and is_telling(text := json.loads(found[1])):
            yield text


def without_texts(document: str, gone: Collection[str]) -> str:
    """Return JSON with FORGOTTEN in the place of the texts that are gone, if they are telling."""

    def kept(found: re.Match[str]) -> str:
        text = json.loads(found[1])
        if found[2] or text not in gone or not is_telling(text):
            return found[0]
        return json.dumps(FORGOTTEN)

    return _TEXT.sub(kept, document)


def by_names(identifiers: Iterable[Identifier]) -> dict[Names, list[str]]:
    """Return the texts by what they name, each list sorted."""
    sorted_by: dict[Names, list[str]] = {names: [] for names in Names}
    for names, text in sorted(identifiers, key=lambda each: each[1]):
        sorted_by[names].append(text)
    return sorted_by
