"""The drift table: what the catalogue did not expect is written once, and in bounded number."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest_asyncio
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from etl.core.drift import MOST_FIELDS, Drift
from etl.core.page import Batch
from etl.loaders.database import Database
from etl.loaders.drift import DriftTable
from etl.loaders.history import History
from etl.loaders.leases import Lease
from etl.loaders.postgres import PostgresLoader
from etl.streams import SESSION_RECORDINGS
from tests.contract.test_loader import TABLES, Load, batch_of, commit_at, record, take
from tests.support.sql import select, value


@pytest_asyncio.fixture
async def lease(database: Database) -> Lease:
    """A lease of the test's unit."""
    return await take(database)


@pytest_asyncio.fixture
async def load(database: Database, lease: Lease) -> Load:
    """A function that loads records, or drift alone."""
    loader = PostgresLoader(
        database, TABLES, SESSION_RECORDINGS.name, SESSION_RECORDINGS.resources[0]
    )

    async def act(*records: Any, drift: Sequence[Drift] = ()) -> Sequence[Drift]:
        batch = Batch([], drift=drift) if drift else batch_of(*records)
        return (await loader.load(lease, batch, commit_at())).drift

    return act


async def drift_in(dsn: str) -> list[tuple[Any, ...]]:
    """The rows of the table."""
    rows = await select(dsn, "SELECT * FROM posthog_etl.drift ORDER BY table_name, field")
    names = ("project_id", "stream", "table_name", "field", "expected", "found")
    return [tuple(row[name] for name in names) for row in rows]


async def test_what_the_catalogue_did_not_expect_is_written_once(dsn: str, load: Load) -> None:
    """The names and types of fields; a second batch writes nothing."""
    drifted = record(mood="good", click_count="3")
    drifted["person"]["shoe_size"] = 43
    shown = [
        Drift("persons", "shoe_size", None, "integer"),
        Drift("session_recordings", "click_count", "integer", "string"),
        Drift("session_recordings", "mood", None, "string"),
    ]
    assert list(await load(drifted)) == shown
    assert await drift_in(dsn) == [(1, "session_recordings", *each) for each in shown]
    versions = "SELECT array_agg(xmin::text) FROM posthog_etl.drift"
    before = await value(dsn, versions)
    assert list(await load(record("two", mood=["other"], click_count="4"))) == []
    assert await value(dsn, versions) == before


async def test_drift_of_a_record_that_is_rejected_is_left_to_the_rejects(
    dsn: str, load: Load
) -> None:
    """They name the field and keep the record."""
    assert list(await load(record(click_count={}, mood="good"))) == []
    assert await drift_in(dsn) == []


async def test_ever_new_fields_fill_no_table(dsn: str, load: Load) -> None:
    """A stream has so many rows and no more."""
    drift = [Drift("persons", f"f{n:03}", None, "string") for n in range(MOST_FIELDS + 9)]
    assert len(await load(drift=drift[:9])) == 9
    assert len(await load(drift=drift)) == MOST_FIELDS - 9
    assert list(await load(drift=drift)) == []
    assert [row[3] for row in await drift_in(dsn)] == [each.field for each in drift[:MOST_FIELDS]]


@contextmanager
def statements_on_drift() -> Iterator[list[str]]:
    """The statements about the table that are executed meanwhile."""
    sent: list[str] = []

    def note(*about: Any) -> None:
        if "drift" in f"{about[2]}{about[3]}":
            sent.append(about[2].split()[0])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_only_what_is_new_costs_statements(load: Load) -> None:
    """An ordinary page none; known drift one in a whole run, to read what is known."""
    with statements_on_drift() as sent:
        await load(record())
        assert sent == []
        await load(record(mood="good"))
        assert sent == ["SELECT", "SELECT", "SELECT", "INSERT"]  # the second one locks
        for _ in range(3):
            await load(record(mood="good"))
        assert len(sent) == 5


async def test_what_two_runs_find_at_once_is_told_once(database: Database) -> None:
    """The second one waits until the first has committed."""
    drift = [Drift("persons", "mood", None, "string")]
    ours, theirs = (DriftTable(TABLES, SESSION_RECORDINGS.name) for _ in range(2))

    async def other() -> Sequence[Drift]:
        async with database.transaction() as connection:
            return await theirs.note(connection, 1, drift)

    async with database.transaction() as connection:
        assert await ours.note(connection, 1, drift) == drift
        second = asyncio.create_task(other())
        while not await value_of(database, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not second.done()
    assert await second == []


async def value_of(database: Database, query: str) -> Any:
    """The value that a query answers."""
    async with database.transaction() as connection:
        return (await connection.execute(text(query))).scalar_one()


async def test_what_the_catalogue_has_learned_since_is_drift_no_more(
    database: Database, dsn: str, load: Load
) -> None:
    """A row from before an upgrade is not shown; if the type differs again, the row says so."""
    since = ("id", "properties")
    learned = [Drift("persons", name, None, "object") for name in since]
    as_text = Drift("session_recordings", "recording_ttl", "integer", "string")
    await load(drift=[*learned, as_text, Drift("persons", "x", None, "null")])
    (status,) = await History(database, TABLES).status()
    assert [(each["field"], each["found"]) for each in status["drift"]] == [("x", "null")]
    text = Drift("persons", "id", "integer", "string")
    assert list(await load(drift=[text])) == [text]
    (status,) = await History(database, TABLES).status()
    assert [each["field"] for each in status["drift"]] == ["x", "id"]


async def test_drift_of_another_project_is_its_own(dsn: str, load: Load) -> None:
    """Each project has its own rows."""
    await load(record(mood="good"))
    await select(dsn, "UPDATE posthog_etl.drift SET project_id = 2")
    assert len(await load(record(mood="good"))) == 1
    assert sorted(row[0] for row in await drift_in(dsn)) == [1, 2]
