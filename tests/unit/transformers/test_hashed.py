"""A record's hash: over everything but what changes by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from etl.core.page import HashedRecord
from etl.core.stream import Field, Kind
from etl.transformers.hashed import Hasher
from etl.transformers.recordings import PERSONS, RECORDINGS, RecordingReader

ADA, BOB = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))
PERSON = {
    "uuid": ADA,
    "id": 1,
    "name": "Ada",
    "created_at": "2026-01-01T00:00:00Z",
    "distinct_ids": ["d", "e"],
    "properties": {"plan": "pro"},
    "is_identified": True,
    "last_seen_at": "2026-05-01T00:00:00Z",
}
RECORDING = {
    "id": "a",
    "distinct_id": "d",
    "start_time": "2026-05-01T12:00:00Z",
    "end_time": "2026-05-01T13:00:00Z",
    "click_count": 2,
    "recording_ttl": 30,
    "matches_filters": True,
    "viewers": ["ada@example.com"],
    "external_references": [{"id": 1}],
    "mood": "good",  # unknown to the catalogue
    "person": PERSON,
}


def reader(*taught: dict[str, Any]) -> RecordingReader:
    """A reader that knows the unknown fields of these records and of the usual one."""
    reader = RecordingReader()
    for record in (*taught, RECORDING):
        reader.read(Raw(json.dumps(record).encode()))
    return reader


def hashes(record: dict[str, Any], by: RecordingReader) -> tuple[Any, ...]:
    """The hashes of a record's rows, those of the recording first."""
    read = by.read(Raw(json.dumps(record).encode()))
    assert isinstance(read, HashedRecord)
    return (read.key, read.row_hash), sorted(read.others)


@given(st.randoms(), st.integers(), st.booleans())
def test_what_changes_by_itself_and_the_order_of_fields_are_no_change(
    chance: random.Random, days: int, matches: bool
) -> None:
    """Days left, whether filters matched, when the person was last seen."""
    person = {**PERSON, "last_seen_at": f"day {days}"}
    record = {**RECORDING, "recording_ttl": days, "matches_filters": matches, "person": person}
    shuffled = chance.sample([*record.items()], len(record))
    assert hashes(dict(shuffled), reader()) == hashes(RECORDING, reader())


@pytest.mark.parametrize(
    "change",
    [
        *({name: "changed"} for name in ("id", "distinct_id", "click_count", "mood")),
        {"start_time": "2026-05-01T12:00:01Z"},
        {"distinct_id": None},
        {"person": None},
        {"person": {**PERSON, "uuid": BOB}},
        {"viewers": ["ada@example.com", "bob@example.com"]},
        {"external_references": [{"id": 2}]},
    ],
    ids=str,
)
def test_any_other_change_is_one(change: dict[str, Any]) -> None:
    """Also of a field that the catalogue does not know."""
    (_, row_hash), _ = hashes({**RECORDING, **change}, reader())
    assert row_hash != hashes(RECORDING, reader())[0][1]


@pytest.mark.parametrize("name", sorted({*RECORDING} - {"id", "person"}))
def test_a_field_that_goes_away_is_a_change(name: str) -> None:
    """Unless it changes by itself."""
    less = {key: value for key, value in RECORDING.items() if key != name}
    same = hashes(less, reader()) == hashes(RECORDING, reader())
    assert same == (name in ("recording_ttl", "matches_filters"))


@pytest.mark.parametrize(
    "change",
    [{"name": "Bob"}, {"id": 2}, {"properties": {"plan": "free"}}, {"is_identified": False}],
    ids=str,
)
def test_a_change_of_the_person_is_one_of_its_row_only(change: dict[str, Any]) -> None:
    """Many recordings have one person; the recording itself is as it was."""
    before, of_person_before = hashes(RECORDING, reader())
    after, of_person = hashes({**RECORDING, "person": {**PERSON, **change}}, reader())
    assert before == after
    changed = {name for (name, *_), _ in zip(of_person, of_person_before, strict=True)}
    different = [each[0] for each in of_person if each not in of_person_before]
    assert (changed, different) == ({"persons", "person_distinct_ids"}, ["persons"])


def test_a_distinct_id_that_moves_to_another_person_is_a_change() -> None:
    """So its row is another one, though the text is the same."""
    _, of_ada = hashes(RECORDING, reader())
    _, of_bob = hashes({**RECORDING, "person": {**PERSON, "uuid": BOB}}, reader())
    assert not {*of_ada} & {*of_bob}


@given(st.permutations([{"new": 1}, {"newer": {"is": 2}}, {"newest": None}]))
def test_the_order_in_which_fields_were_learned_changes_no_hash(
    taught: list[dict[str, Any]],
) -> None:
    """Another run learns them in another order, or knows fewer."""
    record = {**RECORDING, "new": 1, "newer": 2, "newest": 3}
    by = reader(*({**RECORDING, **each} for each in taught))
    by.read(Raw(json.dumps(record).encode()))
    other = reader(record)
    assert hashes(record, by) == hashes(record, other)
    assert hashes(RECORDING, by) == hashes(RECORDING, other) == hashes(RECORDING, reader())


@pytest.mark.parametrize(
    "with_another",
    [
        lambda spec: replace(spec, fields=(*spec.fields, Field("new", Kind.TEXT, "A new one."))),
        lambda spec: replace(spec, fields=(spec.fields[0], *reversed(spec.fields[1:]))),
        lambda spec: replace(spec, name="others", started=None, ended=None),
    ],
    ids=["a field more", "another order", "another table"],
)
def test_another_catalogue_makes_other_hashes(with_another: Callable[[Any], Any]) -> None:
    """With another catalogue the same record becomes another row."""
    for spec in (RECORDINGS, PERSONS):
        assert Hasher(spec)(b"content") != Hasher(with_another(spec))(b"content")
