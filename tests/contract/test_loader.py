"""Every promise of `etl.loaders.loader.Loader`, tested with the loader for Postgres."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from etl.core.coverage import Coverage, Span
from etl.core.page import Batch, Page
from etl.errors import LeaseLost
from etl.loaders.database import Database
from etl.loaders.history import History, Watermark
from etl.loaders.leases import Lease, Leases, Unit
from etl.loaders.loader import Closing, Commit, Loaded
from etl.loaders.postgres import PostgresLoader
from etl.loaders.tables import Tables
from etl.streams import SESSION_RECORDINGS
from etl.transformers.recordings import transform
from tests.support.books import until
from tests.support.sql import select, value

TABLES = Tables("posthog")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PERSON = "0195e5a0-0000-7000-8000-000000000001"
TOO_LONG = "".join(random.Random(3).choices("0123456789abcdefghijklmnop", k=9000))

Load = Callable[..., Awaitable[Loaded]]


def record(recording_id: str = "one", person: str | None = PERSON, **fields: Any) -> dict[str, Any]:
    """A recording as the API sends it. `name` and `properties` are its person's."""
    owner = {
        "uuid": person,
        "id": 7,
        "name": fields.pop("name", "Ada"),
        "properties": fields.pop("properties", {"plan": "free"}),
        "created_at": "2026-01-01T00:00:00Z",
        "distinct_ids": [f"d-{recording_id}"],
    }
    return {
        "id": recording_id,
        "distinct_id": f"d-{recording_id}",
        "start_time": "2026-05-01T10:00:00Z",
        "click_count": 1,
        "person": owner if person else None,
        **fields,
    }


def batch_of(*records: Any) -> Batch:
    """The batch made from a page of these records."""
    page = Page(records=list(records), dirty=True, observed_at=NOON, size_bytes=0)
    return transform(page)


def commit_at(
    observed_at: datetime = NOON,
    position: dict[str, Any] | None = None,
    closing: Closing | None = None,
) -> Commit:
    """The `Commit` of a batch that was read at `observed_at`."""
    return Commit(observed_at, position, requests=1, bytes_read=100, closing=closing)


async def take(database: Database, window: str = "tail") -> Lease:
    """Take a unit of project 1."""
    unit = Unit(1, SESSION_RECORDINGS.name, window)
    return await Leases(database, TABLES, ttl_s=30).acquire(unit, str(uuid.uuid4()), "sync")


@pytest_asyncio.fixture
async def lease(database: Database) -> Lease:
    """A lease of the test's unit."""
    return await take(database)


@pytest_asyncio.fixture
async def load(database: Database, lease: Lease) -> Load:
    """A function that loads records, read at noon by default."""
    loader = PostgresLoader(
        database, TABLES, SESSION_RECORDINGS.name, SESSION_RECORDINGS.resources[0]
    )

    async def act(*records: Any, at: datetime = NOON, **commit: Any) -> Loaded:
        return await loader.load(lease, batch_of(*records), commit_at(at, **commit))

    return act


async def recording(dsn: str, recording_id: str = "one") -> dict[str, Any]:
    """A stored recording."""
    (row,) = await select(
        dsn, "SELECT * FROM posthog.session_recordings WHERE id = $1", recording_id
    )
    return row


async def test_rows_rejects_counters_and_checkpoint_are_there_together(
    dsn: str, load: Load
) -> None:
    """One batch writes all of them."""
    loaded = await load(record(), record("two", click_count="many"), position={"page": 1})
    assert loaded == Loaded(inserted=3, updated=0, rejected=1)
    assert [
        row["id"] for row in await select(dsn, "SELECT id FROM posthog.session_recordings")
    ] == ["one"]
    (run,) = await select(dsn, "SELECT * FROM posthog_etl.runs")
    counted = (run["records_read"], run["rows_inserted"], run["rejected"], run["requests"])
    assert counted == (2, 3, 1, 1)
    (checkpoint,) = await select(dsn, "SELECT * FROM posthog_etl.checkpoints")
    assert (checkpoint["batch"], checkpoint["position"]) == (1, {"page": 1})
    (reject,) = await select(dsn, "SELECT * FROM posthog_etl.rejects")
    assert (reject["record_key"], reject["payload"]["click_count"]) == ("two", "many")


async def test_the_same_batch_again_changes_nothing(dsn: str, load: Load) -> None:
    """Not even the timestamps of a row."""
    await load(record())
    before = await recording(dsn)
    assert await load(record(), at=NOON + timedelta(hours=1)) == Loaded()
    assert await recording(dsn) == before


async def test_of_two_readings_the_one_observed_later_stays(dsn: str, load: Load) -> None:
    """In whatever order they are loaded."""
    early, late = record(click_count=5), record(click_count=8)
    await load(early, at=NOON)
    await load(late, at=NOON + timedelta(minutes=1))
    assert (await recording(dsn))["click_count"] == 8
    assert await load(early, at=NOON) == Loaded()
    assert (await recording(dsn))["click_count"] == 8


async def test_a_late_reading_never_wins_over_a_later_one_that_found_no_news(
    dsn: str, database: Database, load: Load
) -> None:
    """If one run saw a row unchanged, another run cannot overwrite it with what it saw earlier."""
    minute = timedelta(minutes=1)
    await load(record(click_count=1, name="Ada"), at=NOON)
    other = await take(database, "another window")
    late = batch_of(record(click_count=9, name="Countess"))
    assert await load(record(click_count=1, name="Ada"), at=NOON + 3 * minute) == Loaded()
    loader = PostgresLoader(
        database, TABLES, SESSION_RECORDINGS.name, SESSION_RECORDINGS.resources[0]
    )
    assert await loader.load(other, late, commit_at(NOON + 2 * minute)) == Loaded()
    assert (await recording(dsn))["click_count"] == 1
    assert await value(dsn, "SELECT name FROM posthog.persons") == "Ada"
    assert await loader.load(other, late, commit_at(NOON + 4 * minute)) == Loaded(updated=2)


async def test_sightings_are_kept_only_while_two_runs_read_one_stream(
    dsn: str, database: Database, load: Load
) -> None:
    """A single run that finds no change writes nothing. At its end it deletes the sightings."""
    kept = "SELECT count(*) FROM posthog_etl.sightings"
    await load(record(), at=NOON)
    await load(record(), at=NOON + timedelta(minutes=1))
    assert await value(dsn, kept) == 0
    other = await take(database, "another window")
    await load(record(), at=NOON + timedelta(minutes=2))
    assert await value(dsn, kept) == 3
    await Leases(database, TABLES, ttl_s=30).release(other)
    await load(closing=_closing(NOON, NOON + timedelta(minutes=3)))
    assert await value(dsn, kept) == 0


async def test_a_run_that_was_silent_for_too_long_commits_nothing_it_read_before(
    dsn: str, database: Database, lease: Lease, load: Load
) -> None:
    """No run took its unit, but other runs no longer waited for it."""
    silent = "UPDATE posthog_etl.leases SET expires_at = now() - interval '11 minutes' RETURNING 1"
    assert await value(dsn, silent) == 1
    with pytest.raises(LeaseLost, match="was suspended"):
        await load(record())
    assert await Leases(database, TABLES, ttl_s=30).renew(lease)
    assert await load(record()) == Loaded(inserted=3)


@pytest.mark.parametrize("table", ["persons", "person_distinct_ids"])
async def test_a_person_read_earlier_never_replaces_one_read_later(
    dsn: str, load: Load, table: str
) -> None:
    """The same for persons and their distinct ids, which come with recordings."""
    other = PERSON[:-1] + "2"
    content = f"SELECT * FROM posthog.{table} ORDER BY 1, 2"
    await load(record(person=other, name="Countess"), at=NOON + timedelta(minutes=1))
    await load(record("two", person=other, name="Countess"), at=NOON + timedelta(minutes=1))
    before = await select(dsn, content)
    await load(record(person=PERSON, name="Ada"), record("two", person=other, name="Ada"), at=NOON)
    after = [row for row in await select(dsn, content) if row.get("uuid", "") != uuid.UUID(PERSON)]
    assert after == before


async def test_null_where_the_server_does_not_say_keeps_what_is_known(dsn: str, load: Load) -> None:
    """A person without properties, and a recording without a score, keep both."""
    await load(record(activity_score=55.5))
    loaded = await load(
        record(properties=None, activity_score=None, click_count=2), at=NOON + timedelta(minutes=1)
    )
    assert loaded.updated == 1
    assert (await recording(dsn))["activity_score"] == 55.5
    assert await value(dsn, "SELECT properties FROM posthog.persons") == {"plan": "free"}


async def test_a_change_moves_its_stamps_and_nothing_else_does(dsn: str, load: Load) -> None:
    """_first_seen_at stays; _updated_at and _xid change, and only in the changed row."""
    await load(record(), record("two"))
    before = {name: await recording(dsn, name) for name in ("one", "two")}
    await load(record(click_count=9), record("two"), at=NOON + timedelta(minutes=1))
    one = await recording(dsn)
    assert await recording(dsn, "two") == before["two"]
    assert one["_first_seen_at"] == before["one"]["_first_seen_at"]
    assert one["_updated_at"] > before["one"]["_updated_at"]
    assert one["_xid"] > before["one"]["_xid"]
    outcome = await value(dsn, "SELECT pg_xact_status($1::text::xid8)", str(one["_xid"]))
    assert outcome == "committed"


async def test_a_row_that_was_marked_deleted_lives_again_when_it_is_seen(
    dsn: str, load: Load
) -> None:
    """Even if nothing in it has changed."""
    await load(record())
    await select(dsn, "UPDATE posthog.session_recordings SET _deleted_at = now()")
    loaded = await load(record(), at=NOON + timedelta(minutes=1))
    assert loaded.updated == 1
    assert (await recording(dsn))["_deleted_at"] is None


async def test_a_row_that_postgres_refuses_does_not_keep_the_others_out(
    dsn: str, load: Load
) -> None:
    """One of a hundred, found by halving."""
    records = [record(f"r{n:02}") for n in range(100)]
    records[41] = record("x" + TOO_LONG, distinct_id="short", person=None)
    loaded = await load(*records)
    assert loaded.rejected == 1
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recordings") == 99
    reason = await value(dsn, "SELECT reason FROM posthog_etl.rejects")
    assert reason.startswith("session_recordings: index row")


async def test_a_key_that_comes_twice_in_a_page_is_one_row(dsn: str, load: Load) -> None:
    """Of a recording the later place in the page wins, of a person the later start."""
    await load(
        record(click_count=1, start_time="2026-05-01T10:00:00Z", name="old"),
        record(click_count=2, start_time="2026-05-01T10:00:00Z", name="old"),
        record("two", start_time="2026-05-01T11:00:00Z", name="new"),
        record("three", start_time="2026-05-01T09:00:00Z", name="older"),
    )
    assert (await recording(dsn))["click_count"] == 2
    assert await value(dsn, "SELECT name FROM posthog.persons") == "new"


async def test_nothing_of_a_batch_is_there_when_the_unit_was_taken_over(
    dsn: str, database: Database, lease: Lease, load: Load
) -> None:
    """Rows, rejects and checkpoint stay as the new holder left them."""
    await load(record())
    await select(dsn, "UPDATE posthog_etl.leases SET expires_at = now() - interval '1 second'")
    await take(database)
    with pytest.raises(LeaseLost):
        await load(record(click_count=7), record("two", viewed="no"), at=NOON + timedelta(hours=1))
    assert (await recording(dsn))["click_count"] == 1
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.rejects") == 0
    (checkpoint,) = await select(dsn, "SELECT * FROM posthog_etl.checkpoints")
    assert (checkpoint["fence"] > lease.fence, checkpoint["batch"]) == (True, 0)


def _closing(since: datetime, until: datetime, *, tail: bool = False) -> Closing:
    return Closing(
        complete=[Span(since, until)],
        tail_until=until if tail else None,
        swept={"3600": until} if tail else None,
        traits={"envelope": "cursor"},
    )


async def test_what_is_known_complete_grows_when_a_window_closes_and_only_then(
    dsn: str, database: Database, load: Load
) -> None:
    """A batch does not move it, an earlier window does not move it back, a hole remains."""
    hour = timedelta(hours=1)
    unit, history = Unit(1, "session_recordings"), History(database, TABLES)
    await load(record())
    assert await history.watermark(unit) == Watermark()
    await load(closing=_closing(NOON - hour, NOON, tail=True))
    await load(closing=_closing(NOON - 3 * hour, NOON - 2 * hour))
    await load(closing=Closing([], None, None, {"envelope": "count"}))
    assert await history.watermark(unit) == Watermark(
        complete=Coverage((Span(NOON - 3 * hour, NOON - 2 * hour), Span(NOON - hour, NOON))),
        tail_until=NOON,
        swept={"3600": NOON},
        traits={"envelope": "count"},
    )
    await load(closing=_closing(NOON - 2 * hour, NOON - hour))
    mark = await history.watermark(unit)
    assert mark.complete == Coverage((Span(NOON - 3 * hour, NOON),))


@pytest.mark.parametrize("theirs_s", [-1, 1], ids=["seen before ours", "seen after ours"])
async def test_a_recording_that_another_run_stores_meanwhile_is_compared_with_theirs(
    dsn: str, load: Load, theirs_s: int
) -> None:
    """When we look, nothing is stored. Before we insert, the other run has inserted."""
    theirs = await asyncpg.connect(dsn, statement_cache_size=0)
    async with theirs.transaction():
        await theirs.execute(
            "INSERT INTO posthog.session_recordings (project_id, id, click_count, "
            "_observed_at, _first_seen_at, _updated_at, _xid) "
            "VALUES (1, 'one', 9, $1, now(), now(), pg_current_xact_id()::text::bigint)",
            NOON + timedelta(seconds=theirs_s),
        )
        ours = asyncio.create_task(load(record("one"), record("two")))

        async def waits() -> bool:
            return bool(
                await select(
                    dsn,
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() "
                    "AND wait_event_type = 'Lock' AND query LIKE '%session_recordings%'",
                )
            )

        await until(waits, "we wait for the other run")
    await theirs.close()
    done = await ours
    clicks = [(await recording(dsn, each))["click_count"] for each in ("one", "two")]
    updated = theirs_s < 0
    # With the person and two distinct ids.
    assert (done.inserted, done.updated, done.rejected) == (4, int(updated), 0)
    assert clicks == [1 if updated else 9, 1]


async def test_units_that_share_rows_load_them_at_once_without_a_deadlock(
    dsn: str, database: Database
) -> None:
    """Two units load the same recordings and persons in opposite orders, many times."""
    persons = [f"0195e5a0-0000-7000-8000-{n:012x}" for n in range(40)]

    async def write(window: str, order: Sequence[str], first: int) -> list[Loaded]:
        loader = PostgresLoader(
            database, TABLES, SESSION_RECORDINGS.name, SESSION_RECORDINGS.resources[0]
        )
        lease = await take(database, window)
        done = []
        for turn in range(8):
            clicks = first + 2 * turn
            records = [
                record(f"r-{each}", each, click_count=clicks, name=str(clicks)) for each in order
            ]
            at = NOON + timedelta(seconds=clicks)
            done.append(await loader.load(lease, batch_of(*records), commit_at(at)))
        return done

    await asyncio.gather(write("a/b", persons, 0), write("b/c", persons[::-1], 1))
    clicks = await select(dsn, "SELECT DISTINCT click_count FROM posthog.session_recordings")
    names = await select(dsn, "SELECT DISTINCT name FROM posthog.persons")
    assert (clicks, names) == ([{"click_count": 15}], [{"name": "15"}])
