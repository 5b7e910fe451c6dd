"""Where records differ from the catalogue: fields that it does not know, and other types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

# A server may send a new field with every record. A name may be as long as a record.
MOST_FIELDS = 64
LONGEST_NAME = 200
_SHOWN = 5

JSON_TYPES: Mapping[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
    type(None): "null",
}


class Drift(NamedTuple):
    """A field of a table that came otherwise than the catalogue says. It holds no value.

    field: its name, cut to LONGEST_NAME characters.
    expected: the JSON type in the catalogue; None if the catalogue does not know the field.
    found: the JSON type that came. A number without a fraction is an integer.
    """

    table: str
    field: str
    expected: str | None
    found: str


def news(known: Mapping[tuple[str, str], str | None], drift: Iterable[Drift]) -> list[Drift]:
    """Return what is still to be written, in the order of the table's key.

    known: the rows of the stream: what was expected, by table and field. Of one field, only the
    first difference is written, unless the catalogue has changed since. A stream has at most
    MOST_FIELDS rows.
    """
    new, changed = dict[tuple[str, str], Drift](), dict[tuple[str, str], Drift]()
    for each in drift:
        key = (each.table, each.field)
        if key not in known:
            new.setdefault(key, each)
        elif known[key] != each.expected:
            changed.setdefault(key, each)
    room = max(0, MOST_FIELDS - len(known))
    return sorted([*changed.values(), *[*new.values()][:room]], key=itemgetter(0, 1))


def differences(drift: Sequence[Mapping[str, Any]]) -> str:
    """Say in one line how records differ from the catalogue; of many fields, the first ones.

    drift: rows of the drift table.
    """
    said = [_difference(each) for each in drift[:_SHOWN]]
    if len(drift) > _SHOWN:
        said.append(f"and {len(drift) - _SHOWN} more in posthog_etl.drift")
    return "; ".join(said)


def _difference(row: Mapping[str, Any]) -> str:
    # A server can put anything into a name, also what a terminal obeys.
    field = "".join(each if each.isprintable() else "?" for each in row["field"])
    name = f"{row['table_name']}.{field}"
    if row["expected"] is None:
        return f"{name} is new ({row['found']})"
    return f"{name} came as {row['found']} instead of {row['expected']}"
