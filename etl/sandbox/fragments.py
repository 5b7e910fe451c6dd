"""Persons inside recordings, serialised once and kept."""

from datetime import datetime
from typing import Any, Literal

import orjson

from etl.sandbox.clock import to_datetime
from etl.sandbox.generate import NO_PERSON
from etl.sandbox.people import Person, missing_uuid
from etl.sandbox.world import ADDED, Project

PersonShape = Literal["list", "full", "A", "C", "D"]
"""`list` has only the distinct id that made the recording, the others up to ten or one text."""

MOST_DISTINCT_IDS = 10
CACHE_BYTES = 96 * 1024 * 1024


class Fragments:
    """Serialised persons of one project, limited in bytes."""

    def __init__(self, project: Project) -> None:
        """Empty at first."""
        self._project = project
        self._kept: dict[tuple[PersonShape, int], tuple[str, orjson.Fragment]] = {}
        self._kept_bytes = 0
        self._version = 0

    def of(self, number: int, shape: PersonShape) -> tuple[str, orjson.Fragment]:
        """Returns the distinct id that made the recording, and its person's JSON."""
        project = self._project
        if project.owners.version != self._version or self._kept_bytes > CACHE_BYTES:
            self._kept.clear()
            self._kept_bytes, self._version = 0, project.owners.version
        if number >= ADDED:
            return self._make(number, shape)
        columns = project.columns
        slot = columns.slot[number]
        if slot == NO_PERSON:
            return self._make(number, shape)
        key = (shape, columns.person[number] << 4 | slot)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._make(number, shape)
        return found

    def size_bytes(self) -> int:
        """Returns about how much memory the kept persons take."""
        return self._kept_bytes

    def _make(self, number: int, shape: PersonShape) -> tuple[str, orjson.Fragment]:
        distinct_id, owner = self._project.owner(number)
        if owner is None:
            body = _missing(self._project.id, distinct_id, shape)
        else:
            body = _present(self._project.owners.person(owner), distinct_id, shape)
        # Copied, because the serialiser allocates several times the memory that it fills.
        text = bytes(memoryview(orjson.dumps(body, option=orjson.OPT_UTC_Z)))
        self._kept_bytes += len(text) + 200
        return distinct_id, orjson.Fragment(text)


def display_name(person: Person) -> str:
    """The name by which the project shows a person: email, name or first distinct id."""
    found = person.properties.get("email") or person.properties.get("name")
    return str(found) if found else (*person.distinct_ids, person.uuid)[0]


def _present(person: Person, distinct_id: str, shape: PersonShape) -> dict[str, Any]:
    body = {
        "id": person.id,
        "name": display_name(person),
        "distinct_ids": _distinct_ids(person.distinct_ids, distinct_id, shape),
        # The oldest documented page shows null.
        "properties": None if shape == "A" else person.properties,
        "created_at": to_datetime(person.created_us),
        "uuid": person.uuid,
    }
    return _seen(body, person.last_seen_us, shape)


def _missing(project: int, distinct_id: str, shape: PersonShape) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": None,
        "name": None,
        "distinct_ids": _distinct_ids((distinct_id,), distinct_id, shape),
        "properties": None if shape == "A" else {},
        "created_at": None,
        "uuid": missing_uuid(project, distinct_id),
    }
    return _seen(body, None, shape)


def _distinct_ids(owned: tuple[str, ...], maker: str, shape: PersonShape) -> str | tuple[str, ...]:
    if shape == "A":
        return maker
    return (maker,) if shape == "list" else owned[:MOST_DISTINCT_IDS]


def _seen(body: dict[str, Any], last_seen_us: int | None, shape: PersonShape) -> dict[str, Any]:
    if shape in ("list", "full", "D"):
        seen: datetime | None = None if last_seen_us is None else to_datetime(last_seen_us)
        body["last_seen_at"] = seen
    return body
