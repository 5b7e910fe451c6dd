"""How records differ from the catalogue, in words."""

from __future__ import annotations

from typing import Any

from etl.core.drift import differences


def row(field: str, expected: str | None = None, found: str = "array") -> dict[str, Any]:
    """A row of the drift table."""
    return {"table_name": "persons", "field": field, "expected": expected, "found": found}


def test_new_fields_and_other_types_are_named() -> None:
    """Each with its table and its JSON types."""
    said = differences([row("mood"), row("id", "integer", "string")])
    assert said == "persons.mood is new (array); persons.id came as string instead of integer"


def test_of_many_fields_the_first_are_named() -> None:
    """The table has the others."""
    said = differences([row(f"f{n}") for n in range(7)])
    assert said.count("is new") == 5
    assert said.endswith("; and 2 more in posthog_etl.drift")


def test_a_name_cannot_command_a_terminal() -> None:
    """The server chooses it."""
    assert differences([row("a\x1b[2Jb\n")]) == "persons.a?[2Jb? is new (array)"


def test_nothing_is_said_of_no_difference() -> None:
    """An empty line is left out."""
    assert differences([]) == ""
