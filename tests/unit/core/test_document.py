"""Bytes to records, also if one record is not JSON."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.document import Unreadable, decode

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
ENVELOPES: dict[str, Any] = {
    "cursor": lambda records: {"results": records, "has_next": True, "next_cursor": "x"},
    "count": lambda records: {"count": 3, "next": None, "previous": None, "results": records},
    "bare": lambda records: records,
    "results twice": lambda records: {"extra": {"results": [1, 2]}, "results": records},
}

# What breaks one record: its text, and a part of the reason for which it is rejected.
BROKEN = {
    "unquoted junk": ('{"id": "b", "url": http//x}', "not JSON"),
    "a missing value": ('{"id": "b", "n": }', "not JSON"),
    "a word cut in half": ('{"id": "b", "ok": tru}', "not JSON"),
    "a stray word": ("undefined", "not JSON"),
    # How deep Python can read depends on its version; the transformer refuses far less.
    "100,000 levels": ('{"id": "b", "x": ' + "[" * 10**5 + "]" * 10**5 + "}", "nested too deeply"),
}


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal, also in type: 1 is neither 1.0 nor true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_any_json_is_read_as_the_standard_library_reads_it(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    """Also integers of any length: none silently becomes a float."""
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    document, _ = decode(body)
    assert same(document, json.loads(body))


@given(st.lists(JSON, max_size=5), st.sampled_from(sorted(ENVELOPES)))
def test_any_envelope_is_read_as_the_standard_library_reads_it(
    records: list[Any], envelope: str
) -> None:
    """For any kind of server."""
    body = json.dumps(ENVELOPES[envelope](records)).encode()
    assert same(decode(body)[0], json.loads(body))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, -(10**19) + 1, 10**30])
def test_integers_beyond_64_bits_stay_integers(number: int) -> None:
    """The fast reader would round them."""
    assert decode(b'{"n": %d}' % number)[0] == {"n": number}
    assert type(decode(b'{"n": %d}' % number)[0]["n"]) is int


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\ud83d"', "\ud83d"),
        ('"a\\u0000b"', "a\0b"),
        ('"a\0b"', "a\0b"),
        ("Infinity", math.inf),
        ("1e999", math.inf),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
    ids=["half surrogate", "NUL", "raw NUL", "infinity", "too large a float", "long integer"],
)
def test_what_only_the_standard_library_reads_makes_the_answer_dirty(text: str, value: Any) -> None:
    """So the transformer inspects each record; the other records are unchanged."""
    document, dirty = decode(f'{{"results": [{{"id": "a"}}, {{"id": "b", "x": {text}}}]}}'.encode())
    assert dirty
    assert document == {"results": [{"id": "a"}, {"id": "b", "x": value}]}


def test_a_number_that_is_none_becomes_nan_and_the_answer_dirty() -> None:
    """NaN, as the server's JSON writer may send it, and an integer of 100,000 digits."""
    for text in ("NaN", "9" * 100_000, "-" + "9" * 100_000):
        document, dirty = decode(f'{{"results": [{{"id": "a", "x": {text}}}]}}'.encode())
        assert dirty
        assert math.isnan(document["results"][0]["x"])


def test_bytes_that_are_not_utf_8_are_kept_to_be_repaired() -> None:
    """They come as lone surrogates, which the transformer replaces and marks."""
    document, dirty = decode(b'{"results": [{"id": "a", "name": "caf\xe9"}]}')
    assert dirty
    assert document["results"][0]["name"] == "caf\udce9"


def test_a_clean_answer_is_not_dirty() -> None:
    """Long texts of digits that fit 64 bits cost nothing."""
    body = b'{"results": [{"id": "1234567890123456789", "n": 9223372036854775807, "m": -12345}]}'
    assert decode(body) == (json.loads(body), False)


@pytest.mark.parametrize("envelope", ENVELOPES.keys())
@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_record_does_not_cost_its_neighbours(
    text: str, reason: str, envelope: str
) -> None:
    """It comes as its text, with the reason; the envelope and the other records are complete."""
    good: list[Any] = [{"id": "a", "x": '[{"\\":,'}, {"id": "c", "y": [1, {"z": None}]}]
    whole = json.dumps(ENVELOPES[envelope]([good[0], "BROKEN", good[1]]))
    document, dirty = decode(whole.replace('"BROKEN"', text).encode())
    assert dirty
    records = document if isinstance(document, list) else document["results"]
    assert [records[0], records[2]] == good
    assert isinstance(records[1], Unreadable)
    assert records[1].text == text
    assert records[1].reason.startswith(reason)
    if isinstance(document, dict):
        assert {**document, "results": None} == {**ENVELOPES[envelope]([]), "results": None}


@given(st.lists(JSON, min_size=1, max_size=3), st.data(), st.sampled_from(sorted(ENVELOPES)))
def test_a_cut_answer_is_no_answer(records: list[Any], data: st.DataObject, envelope: str) -> None:
    """Wherever it was cut: a missing part must not look like the end of the list."""
    body = json.dumps(ENVELOPES[envelope](records)).encode()
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(ValueError, match=r"\w"):
        decode(cut)


@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"<!doctype html><title>Log in</title>", b"\xff\xfe", b'{"results": 3', b"[1}"],
)
def test_what_is_not_json_raises(body: bytes) -> None:
    """It raises ValueError."""
    with pytest.raises(ValueError, match=r"\w"):
        decode(body)


def test_a_long_text_in_a_broken_answer_takes_memory_for_some_copies_only() -> None:
    """Finding where records begin must not store a note per character."""
    size = 1_000_000
    body = b'{"results": [{"id": "a", "x": "' + b"x" * size + b'"}, {"id": nothing}]}'
    tracemalloc.start()
    try:
        document, _ = decode(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert document["results"][0]["id"] == "a"
    assert peak < 25 * size
