"""Loads answers into Postgres and reads them back, and says what a record is to become.

What is expected is worked out from the record as it was sent, column by column, and shares no code
with the transformers.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from types import MappingProxyType
from typing import Any

import asyncpg

from etl.core.stream import Kind, Resource, Stream
from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.leases import Leases, Unit
from etl.loaders.loader import Commit, Loaded
from etl.loaders.postgres import PostgresLoader
from etl.loaders.tables import Tables
from etl.streams import SESSION_RECORDINGS, TABLE_SPECS
from tests.support.batches import batch_of_answer

TABLES = Tables("posthog")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


# --- what is expected -------------------------------------------------------------------------


class Refused(Exception):
    """The record is to be set aside."""


def clean(value: Any) -> Any:
    """The value as Postgres can hold it."""
    if isinstance(value, str):
        return "".join(
            "\N{REPLACEMENT CHARACTER}" if char == "\0" or 0xD800 <= ord(char) < 0xE000 else char
            for char in value
        )
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    return value


def is_dirty(value: Any) -> bool:
    """Whether there is something in the value that Postgres cannot hold."""
    if isinstance(value, dict):
        return any(is_dirty(key) or is_dirty(item) for key, item in value.items())
    if isinstance(value, list):
        return any(is_dirty(item) for item in value)
    return (isinstance(value, str) and clean(value) != value) or (
        isinstance(value, float) and clean(value) is None
    )


def text(value: Any) -> str:
    """Text as it is."""
    if isinstance(value, str):
        return value
    raise Refused


def whole(value: Any) -> int:
    """An integer that fits 64 bits, also written as 3.0 or as text."""
    if isinstance(value, str):
        if not value.isascii() or not value.removeprefix("-").isdigit():
            raise Refused
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused
    if value != int(value) or not -(2**63) <= value < 2**63:
        raise Refused
    return int(value)


def number(value: Any) -> float:
    """A finite number, also written as text."""
    if isinstance(value, str) and (not value.isascii() or "_" in value or value != value.strip()):
        raise Refused
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise Refused from None
    if not math.isfinite(found):
        raise Refused
    return found


def truth(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise Refused


def instant(value: Any) -> datetime:
    """An instant; without a zone it is in UTC."""
    if not isinstance(value, str):
        raise Refused
    for form in ("%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S"):
        for zone in ("%z", ""):
            try:
                at = datetime.strptime(value, form + zone)  # noqa: DTZ007 - some have none
                return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
            except (ValueError, OverflowError):
                continue
    raise Refused


def uuid_text(value: Any) -> str:
    """A UUID in its usual form."""
    if not isinstance(value, str):
        raise Refused
    digits = value.lower().replace("-", "")
    if len(digits) != 32 or set(digits) - set("0123456789abcdef"):
        raise Refused
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def texts(value: Any) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list):
        raise Refused
    return [text(item) for item in value]


def as_is(value: Any) -> Any:
    """Any JSON."""
    return value


Reader = Callable[[Any], Any]
READERS: Mapping[Kind, Reader] = {
    Kind.TEXT: text,
    Kind.BIGINT: whole,
    Kind.DOUBLE: number,
    Kind.BOOLEAN: truth,
    Kind.INSTANT: instant,
    Kind.UUID: uuid_text,
    Kind.JSON: as_is,
    Kind.TEXTS: texts,
}


def columns_of(
    record: Mapping[str, Any],
    columns: Mapping[str, Reader],
    skip: Sequence[str] = (),
    forgiving: Container[str] = (),
) -> dict[str, Any]:
    """The columns of one object; what none of them is for is `extra`."""
    row: dict[str, Any] = {}
    extra = {key: item for key, item in record.items() if key not in columns and key not in skip}
    for name, read in columns.items():
        value = record.get(name)
        try:
            row[name] = None if value is None else read(value)
        except Refused:
            if name not in forgiving:
                raise
            row[name], extra[name] = None, value
    return {**row, "extra": extra or None}


# --- what is there ----------------------------------------------------------------------------


@dataclass
class Store:
    """A database that pages are loaded into, each for a project of its own."""

    database: Database
    connection: asyncpg.Connection[asyncpg.Record]
    projects: Iterator[int] = field(default_factory=lambda: count(1))
    loaded: list[Loaded] = field(default_factory=list)

    async def load(
        self,
        *bodies: bytes,
        stream: Stream = SESSION_RECORDINGS,
        resource: Resource = SESSION_RECORDINGS.resources[0],
        parent: Mapping[str, Any] = MappingProxyType({}),
    ) -> int:
        """Load answers, one after the other, and return the project they are in.

        What each one changed is in `loaded`. parent: what each record is given.
        """
        project = next(self.projects)
        leases = Leases(self.database, TABLES, ttl_s=60)
        lease = await leases.acquire(
            Unit(project, stream.name, stream.unit), str(uuid.uuid4()), "sync"
        )
        loader = PostgresLoader(self.database, TABLES, stream.name, resource)
        self.loaded = []
        for number, body in enumerate(bodies):
            batch = batch_of_answer(resource, body, parent, NOON + timedelta(seconds=number))
            commit = Commit(NOON + timedelta(seconds=number), {}, 1, len(body))
            self.loaded.append(await loader.load(lease, batch, commit))
        return project

    async def rows(self, table: str, project: int) -> list[dict[str, Any]]:
        """What is in a table of a project."""
        names = ", ".join(f'"{name}"' for name in TABLE_SPECS[table].columns)
        found = await self.connection.fetch(
            f"SELECT {names} FROM posthog.{table} WHERE project_id = $1", project
        )
        return [dict(row) for row in found]

    async def rejects(self, project: int) -> dict[str, asyncpg.Record]:
        """What is set aside, by key."""
        found = await self.connection.fetch(
            "SELECT * FROM posthog_etl.rejects WHERE project_id = $1", project
        )
        return {row["record_key"]: row for row in found}


@asynccontextmanager
async def open_store(dsn: str) -> AsyncIterator[Store]:
    """Open a migrated database to load into."""
    database = Database(parse_database_url(dsn), Timeouts())
    connection = await asyncpg.connect(dsn)
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    yield Store(database, connection)
    await connection.close()
    await database.close()


def differences(expected: Any, found: Any) -> list[str]:
    """Where a row is not as expected; numbers inside JSON are equal by value."""
    return [
        f"{name}: {found[name]!r} instead of {expected[name]!r}"
        for name in expected.keys() | found.keys()
        if not equal(expected[name], found[name])
    ]


def equal(one: Any, other: Any) -> bool:
    """Whether two values are equal; a number read back as another type is the same number."""
    if isinstance(other, uuid.UUID):
        other = str(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, int | float):
        return one == float(other)
    return type(one) is type(other) and bool(one == other)


def body_of(records: Sequence[Any]) -> bytes:
    """The answer of a real server."""
    return json.dumps({"results": records, "has_next": False, "version": 4}).encode()
