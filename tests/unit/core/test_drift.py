"""How records differ from the catalogue, in words."""

from __future__ import annotations

from typing import Any

from etl.core.drift import MOST_FIELDS, Drift, differences, news
from etl.core.stream import Field, Kind


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


NEW = Drift("persons", "mood", None, "string")
OTHER = Drift("persons", "id", "integer", "string")


def test_of_a_field_only_the_first_difference_is_news() -> None:
    """Whatever type it comes with later; in the order of the table's key."""
    found = [NEW, NEW._replace(found="null"), OTHER]
    assert news({}, found) == [OTHER, NEW]
    assert news({("persons", "mood"): None}, found) == [OTHER]
    assert news({("persons", "mood"): None, ("persons", "id"): "integer"}, found) == []


def test_a_difference_from_a_newer_catalogue_is_news() -> None:
    """The field was unknown when its row was written."""
    assert news({("persons", "id"): None}, [OTHER]) == [OTHER]


def test_a_stream_has_so_many_rows_and_no_more() -> None:
    """A server may send a new field with every record."""
    ever_new = [NEW._replace(field=f"f{n:03}") for n in range(MOST_FIELDS + 9)]
    assert news({}, ever_new) == ever_new[:MOST_FIELDS]
    full = {(each.table, each.field): None for each in ever_new[:MOST_FIELDS]}
    assert news(full, ever_new) == []


def test_a_field_expects_the_json_types_of_its_kind() -> None:
    """An integer is a number, anything may be null, and a JSON column takes all."""
    types = ("string", "integer", "number", "boolean", "array", "object", "null")
    expected = {
        Kind.BIGINT: {"integer", "null"},
        Kind.DOUBLE: {"integer", "number", "null"},
        Kind.INSTANT: {"string", "null"},
        Kind.JSON: set(types),
    }
    for kind, wanted in expected.items():
        field = Field("f", kind, "A field.")
        assert {each for each in types if field.expects(each)} == wanted
    text = Field("f", Kind.BIGINT, "A number, documented as text.", or_text=True)
    assert {each for each in types if text.expects(each)} == {"integer", "number", "string", "null"}
