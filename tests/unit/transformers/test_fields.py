"""What each kind of column accepts and refuses."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from etl.core.drift import LONGEST_NAME, Drift
from etl.core.stream import Field, Kind, TableSpec
from etl.errors import InvalidRecord
from etl.transformers.fields import (
    DEEPEST,
    REPLACEMENT,
    FieldReader,
    repair,
    to_bigint,
    to_boolean,
    to_double,
    to_instant,
    to_json,
    to_text,
    to_texts,
    to_uuid,
)
from tests.fixtures.records import JSON

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
UUID_TEXT = "0195e5a0-1b2c-7d3e-8f40-5a6b7c8d9e0f"


def nested(levels: int) -> Any:
    """An empty list inside this many lists."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def _each(convert: Any, *values: Any) -> list[tuple[Any, Any]]:
    return [(convert, value) for value in values]


ACCEPTED: list[tuple[Any, Any, Any]] = [
    (to_text, "", ""),
    (to_text, "e\u0301\U0001f600", "e\u0301\U0001f600"),
    (to_bigint, 0, 0),
    (to_bigint, 3.0, 3),
    (to_bigint, "3", 3),
    (to_bigint, "-12", -12),
    (to_bigint, "+12", 12),
    (to_bigint, 2**63 - 1, 2**63 - 1),
    (to_bigint, -(2**63), -(2**63)),
    (to_bigint, str(2**63 - 1), 2**63 - 1),
    (to_double, 1, 1.0),
    (to_double, 1.5, 1.5),
    (to_double, "1.5", 1.5),
    (to_double, "-2", -2.0),
    (to_double, "1e3", 1000.0),
    (to_double, 10**20, 1e20),
    (to_boolean, True, True),
    (to_boolean, False, False),
    (to_instant, "2026-05-04T12:00:00Z", NOON),
    (to_instant, "2026-05-04T12:00:00+00:00", NOON),
    (to_instant, "2026-05-04T14:00:00+02:00", NOON),
    (to_instant, "2026-05-04T12:00:00", NOON),
    (to_instant, "2026-05-04 12:00:00", NOON),
    (to_instant, "2026-05-04T12:00:00.25Z", NOON + timedelta(milliseconds=250)),
    (to_instant, "2026-05-04T12:00:00.123456789Z", NOON + timedelta(microseconds=123457)),
    (to_instant, "2026-05-04", NOON.replace(hour=0)),
    (to_uuid, UUID_TEXT, UUID_TEXT),
    (to_uuid, UUID_TEXT.upper(), UUID_TEXT),
    (to_uuid, UUID_TEXT.replace("-", ""), UUID_TEXT),
    (to_uuid, f"{{{UUID_TEXT}}}", UUID_TEXT),
    (to_uuid, f"urn:uuid:{UUID_TEXT}", UUID_TEXT),
    (to_texts, [], []),
    (to_texts, ["a", ""], ["a", ""]),
    (to_json, {"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'),
    (to_json, "text", '"text"'),
    (to_json, 10**30, str(10**30)),
]

REFUSED: list[tuple[Any, Any]] = [
    *_each(to_text, 3, 1.5, True, [], {}),
    *_each(to_bigint, True, 3.5, "3.0", "three", "", " 3", "1_0", "٣", [], {}),
    *_each(to_bigint, 2**63, -(2**63) - 1, 1e19, math.nan, math.inf, "9" * 30),
    *_each(to_double, True, "", "nan", "inf", "-Infinity", "1_000", "٣", " 1"),
    *_each(to_double, math.nan, -math.inf, 10**400, "1e999", "0x10", [], {}),
    *_each(to_boolean, 0, 1, "true", "", [], {}),
    *_each(to_instant, "", "soon", "2026-13-01", "12:00", 1777896000, [], {}),
    (to_instant, "0001-01-01T00:00:00+14:00"),
    (to_instant, "9999-12-31T23:59:59-14:00"),
    *_each(to_uuid, "", "7", UUID_TEXT[:-1], UUID_TEXT[:-1] + "g", 7, [], {}),
    (to_uuid, "0" * 15 + "_" + "0" * 16),
    (to_uuid, "+" + "0" * 31),
    *_each(to_texts, "a", [1], ["a", None], [["a"]], {}, 3),
    (to_json, nested(400)),
]


@pytest.mark.parametrize(
    ("convert", "value", "expected"), ACCEPTED, ids=[f"{f.__name__} {v!r}" for f, v, _ in ACCEPTED]
)
def test_a_value_in_any_documented_form_is_accepted(
    convert: Any, value: Any, expected: Any
) -> None:
    """The result has one form, of the column's type."""
    converted = convert(value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("convert", "value"), REFUSED, ids=[f"{f.__name__} {str(v)[:30]!r}" for f, v in REFUSED]
)
def test_what_does_not_fit_is_refused_with_a_reason(convert: Any, value: Any) -> None:
    """In one line: what was expected, and the beginning of the value."""
    with pytest.raises(InvalidRecord, match=r"expected|nested too deeply") as caught:
        convert(value)
    assert len(caught.value.message) < 200
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "value", ["x" * 10**6, ["x" * 10**6] * 100, nested(1000), {"a": nested(1000)}, 10**3999]
)
def test_a_reason_is_short_whatever_the_value_is(value: Any) -> None:
    """It goes into a log line and a table, and a record may have 60 MB."""
    with pytest.raises(InvalidRecord) as caught:
        to_boolean(value)
    assert len(caught.value.message) < 200


@given(JSON)
def test_json_text_means_what_the_value_meant(value: Any) -> None:
    """After the repair that every dirty record gets."""
    clean, _ = repair(value)
    assert json.loads(to_json(clean)) == clean


@given(JSON)
def test_repair_leaves_nothing_that_postgres_cannot_hold(value: Any) -> None:
    """No NUL, no lone surrogate, only finite numbers. It tells whether it repaired anything."""
    clean, changed = repair(value)
    text = json.dumps(clean, allow_nan=False)
    assert "\\u0000" not in text
    json.dumps(clean, ensure_ascii=False).encode()
    assert repair(clean) == (clean, False)
    assert changed == (json.dumps(clean) != json.dumps(value))


def test_repair_replaces_and_marks() -> None:
    """Each kind of damage, in values and in names."""
    assert repair("a\0b\ud83d") == (f"a{REPLACEMENT}b{REPLACEMENT}", True)
    assert repair("😀") == ("😀", False)
    assert repair([1, math.nan, {"n": -math.inf}]) == ([1, None, {"n": None}], True)
    assert repair({"k\0": 1}) == ({f"k{REPLACEMENT}": 1}, True)


def test_what_is_nested_too_deeply_is_refused_or_cut_off() -> None:
    """At the same depth, however full the interpreter's stack is."""
    assert repair(nested(DEEPEST)) == (nested(DEEPEST), False)
    with pytest.raises(InvalidRecord, match="nested too deeply"):
        repair(nested(DEEPEST + 1))
    with pytest.raises(InvalidRecord, match="nested too deeply"):
        to_json(nested(DEEPEST + 900))
    cut, changed = repair([1, nested(DEEPEST + 900)], cut=True)
    assert changed
    assert cut[0] == 1
    assert len(json.dumps(cut)) < 3 * DEEPEST


def _reader() -> FieldReader:
    return FieldReader(
        TableSpec(
            name="things",
            about="Things.",
            key=("n",),
            fields=(
                Field("n", Kind.BIGINT, "A number."),
                Field("at", Kind.INSTANT, "An instant.", lenient=True),
                Field("share", Kind.DOUBLE, "A share."),
                Field("days", Kind.BIGINT, "A number, or text.", or_text=True),
                Field("ours", Kind.TEXT, "A column of our own."),
                Field("any", Kind.JSON, "Anything."),
            ),
        ),
        known=("elsewhere",),
        omitted=("ours",),
    )


def test_a_record_is_read_field_by_field() -> None:
    """Absent and null give null. A field without a column is extra, null or not."""
    record = {"n": "7", "elsewhere": 1, "new": None, "newer": [1]}
    assert _reader().read(record) == ([7, None, None, None, None], {"new": None, "newer": [1]})
    assert _reader().read({"n": None}) == ([None] * 5, {})


def test_a_forgiving_field_keeps_what_does_not_fit_in_extra() -> None:
    """The row loads without the value, and nothing is lost."""
    assert _reader().read({"n": 1, "at": "soon"}) == ([1, None, None, None, None], {"at": "soon"})


def test_a_record_as_the_catalogue_expects_does_not_drift() -> None:
    """Null has no type, an integer is a number, and a JSON column takes anything."""
    usual = {"n": 7, "at": "2026-05-01", "share": 1, "any": 1.5, "days": "3", "elsewhere": {}}
    assert _reader().drift(usual) == []
    assert _reader().drift({"n": None, "share": 0.5, "any": [None]}) == []


def test_unknown_fields_and_other_types_are_drift() -> None:
    """Named by field and JSON type, without the value; also what loads in spite of it."""
    record = {"n": "7", "at": 20260501, "share": True, "ours": "x", "new" * 100: None}
    assert _reader().drift(record) == [
        Drift("things", "n", "integer", "string"),
        Drift("things", "at", "string", "integer"),
        Drift("things", "share", "number", "boolean"),
        Drift("things", "ours", None, "string"),
        Drift("things", ("new" * 100)[:LONGEST_NAME], None, "null"),
    ]


def test_a_reason_names_the_field() -> None:
    """So that a person finds it in the payload."""
    with pytest.raises(InvalidRecord, match=r"^n: expected a 64-bit integer, got 'many'$"):
        _reader().read({"n": "many"})
