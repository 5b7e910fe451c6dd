"""Compares a copy with the bench's records, value by value, without any code of the pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from records import Records

_AT_ONCE = 5000
_SHOWN = 10
_RECORDINGS = "SELECT * FROM posthog.session_recordings ORDER BY id DESC"
_PERSONS = (
    "SELECT p.*, d.distinct_ids FROM posthog.persons AS p LEFT JOIN (SELECT person_uuid, "
    "array_agg(distinct_id ORDER BY distinct_id) AS distinct_ids "
    "FROM posthog.person_distinct_ids GROUP BY person_uuid) AS d ON d.person_uuid = p.uuid"
)


@dataclass
class Compared:
    """What a comparison counted. words: some of what is wrong."""

    recordings: int
    persons: int
    wrong: int
    words: list[str]


async def compare(dsn: str, records: Records) -> Compared:
    """Compare every recording and person with what the server would send."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        persons: dict[str, bytes] = {}
        compared = Compared(0, 0, 0, [])
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            stored = _rows(connection, _RECORDINGS)
            # Ids descend as the index ascends, so both come in one order.
            for record in _wanted(records):
                persons[record["person"]["uuid"]] = _digest(record["person"])
                _note(compared, record["id"], _wrong_recording(record, await anext(stored, None)))
                compared.recordings += 1
            async for row in stored:
                _note(compared, row["id"], "is not at the source")
            async for row in _rows(connection, _PERSONS):
                wanted = persons.pop(str(row["uuid"]), None)
                same = wanted == _digest(_person(row)) and _is_whole(row)
                _note(compared, str(row["uuid"]), "" if same else "is another person")
                compared.persons += 1
        for uuid in persons:
            _note(compared, uuid, "is missing")
        return compared
    finally:
        await connection.close()


def _note(compared: Compared, key: str, words: str) -> None:
    if words:
        compared.wrong += 1
        if len(compared.words) < _SHOWN:
            compared.words.append(f"{key} {words}")


async def _rows(connection: asyncpg.Connection, statement: str) -> AsyncIterator[Any]:
    async for row in connection.cursor(statement, prefetch=_AT_ONCE):
        yield row


def _wanted(records: Records) -> Iterator[dict[str, Any]]:
    for first in range(0, records.count, _AT_ONCE):
        last = min(first + _AT_ONCE, records.count)
        yield from json.loads(b"[%b]" % b"".join(records.slices(first, last)))


def _wrong_recording(record: dict[str, Any], row: Any) -> str:
    if row is None:
        return "is missing"
    wanted = {**record, "person_uuid": record["person"]["uuid"]}
    del wanted["person"]
    for name, held in row.items():
        if name.startswith("_") or name in ("project_id", "extra"):
            continue
        if _value(wanted.pop(name, None), held) != (str(held) if name == "person_uuid" else held):
            return f"{name}: {held!r}"
    return f"lacks {', '.join(wanted)}" if wanted else "" if _is_whole(row) else "is marked"


def _is_whole(row: Any) -> bool:
    """Tell whether nothing was set aside, repaired or marked as gone."""
    unwanted = ("extra", "_repaired", "_deleted_at", "_expired_at")
    return all(row.get(name) is None for name in unwanted) and row["project_id"] == 1


def _value(wanted: Any, held: Any) -> Any:
    """Return the JSON value in the type of the column."""
    return datetime.fromisoformat(wanted) if isinstance(held, datetime) and wanted else wanted


def _person(row: Any) -> dict[str, Any]:
    names = ("id", "name", "distinct_ids", "properties", "created_at", "uuid", "last_seen_at")
    return {name: row[name] for name in names}


def _digest(person: dict[str, Any]) -> bytes:
    instants = ("created_at", "last_seen_at")
    values = {
        name: str(datetime.fromisoformat(value)) if isinstance(value, str) else str(value)
        for name in instants
        if (value := person[name])
    }
    text = json.dumps({**person, "uuid": str(person["uuid"]), **values}, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()
