"""The drift table: what the catalogue did not expect is written once, and in bounded number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest_asyncio

from etl.core.drift import MOST_FIELDS, Drift
from etl.core.page import Batch
from etl.loaders.database import Database
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


async def test_what_the_catalogue_has_learned_since_is_drift_no_more(
    database: Database, dsn: str, load: Load
) -> None:
    """A row from before an upgrade is not shown; if the type differs again, the row says so."""
    await load(drift=[Drift("persons", "id", None, "integer"), Drift("persons", "x", None, "null")])
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
