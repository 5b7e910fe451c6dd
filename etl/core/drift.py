"""Where records differ from the catalogue: fields that it does not know, and other types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# A server may send a new field with every record. A name may be as long as a record.
MOST_FIELDS = 64
LONGEST_NAME = 200
_SHOWN = 5

_JSON_TYPES = {
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


def drift_of(table: str, field: str, expected: str | None, value: Any) -> Drift | None:
    """Return how a value differs from the type that is expected; None if it does not."""
    found = _JSON_TYPES[type(value)]
    fits = found == expected or (found, expected) == ("integer", "number")
    return None if fits else Drift(table, field[:LONGEST_NAME], expected, found)
