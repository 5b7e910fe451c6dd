"""A forgotten person is met again in ways that `forget` itself could not see."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.project_rows import ProjectRows
from etl.loaders.tables import Tables
from tests.acceptance.test_forget import LOOKS, WAITING, forgetting, traces
from tests.adversary.rows import recording
from tests.adversary.server import Adversary
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value

HOUR = timedelta(hours=1)
ANNA, BOB = "anna@example.com", "bob@example.com"
RECORDINGS = "SELECT count(*) FROM posthog.session_recordings"


def uuid_of(number: int) -> str:
    """The uuid of a person."""
    return f"00000000-0000-4000-8000-{number:012}"


def person(number: int, *distinct_ids: str, **properties: Any) -> dict[str, Any]:
    """A person as it comes inside of a recording."""
    return {
        "id": number,
        "uuid": uuid_of(number),
        "name": f"Name {number}",
        "distinct_ids": [*distinct_ids],
        "properties": properties,
        "created_at": "2025-01-01T00:00:00Z",
    }


def nobody(distinct_id: str) -> dict[str, Any]:
    """What PostHog makes up where it knows no person."""
    return {**person(999, distinct_id), "id": None, "name": None, "created_at": None}


def reading_all(adversary: Adversary, dsn: str, **more: Any) -> Pipeline:
    """A pipeline that reads all recordings at each sync."""
    return Pipeline(adversary, dsn, lookback="1000h", **more)


async def test_a_load_that_learns_a_name_waits_for_the_loads_in_hand(
    adversary: Adversary, dsn: str
) -> None:
    """They did not know the name when they looked, and their rows are not to be seen yet."""
    pipeline, phone = reading_all(adversary, dsn), "phone-000001"
    await forgetting(pipeline, uuid_of(1))
    connection = await asyncpg.connect(dsn)
    loading = connection.transaction()
    await loading.start()
    await connection.fetch(LOOKS)
    await connection.execute(
        "INSERT INTO posthog.session_recordings (project_id, id, distinct_id, _observed_at, "
        "_first_seen_at, _updated_at, _xid) VALUES (1, 'late', $1, now(), now(), now(), 1)",
        phone,
    )
    adversary.add(recording("rec-anna-1", adversary.now - HOUR, person=person(1, ANNA, phone)))
    syncing = asyncio.ensure_future(pipeline.sync())
    while not await value(dsn, WAITING):
        assert not syncing.done()
    await loading.commit()
    await connection.close()
    assert (await syncing).ending.exit_code == 0
    assert await traces(dsn, [phone]) == []


async def test_names_that_stored_rows_connect_are_followed_to_the_end(
    adversary: Adversary, dsn: str
) -> None:
    """A stranger's telephone becomes the person's; the stranger's laptop was stored as nobody's."""
    now, phone, laptop = adversary.now, "phone-000001", "laptop-000001"
    adversary.add(
        recording("rec-anna-1", now - 2 * HOUR, person=person(1, ANNA)),
        recording("rec-phone-1", now - 3 * HOUR, person=person(2, phone)),
        recording("rec-laptop-1", now - 4 * HOUR, person=nobody(laptop)),
    )
    pipeline = reading_all(adversary, dsn)
    await pipeline.sync()
    await forgetting(pipeline, uuid_of(1))
    adversary.add(
        recording("rec-phone-1", now - 3 * HOUR, person=person(1, phone)),
        recording("rec-phone-2", now - 1 * HOUR, person=person(2, laptop)),
    )
    await pipeline.sync()
    assert await traces(dsn, [phone, laptop]) == []
    noted = await value(
        dsn, "SELECT sum((rows -> 'session_recordings')::int) FROM posthog_etl.audit"
    )
    assert noted == 3, "what loads have deleted is in the audit, too"


async def test_a_person_is_found_by_each_of_several_distinct_ids(
    adversary: Adversary, dsn: str
) -> None:
    """One leads to the uuid, that to a recording under another, and that to an earlier uuid."""
    anna, before = person(1, "telephone-1", ANNA), person(2, "telephone-1")
    adversary.add(
        recording("rec-telephone", adversary.now - HOUR, person=anna),
        recording("rec-old", adversary.now - 2 * HOUR, person=before),
    )
    pipeline = reading_all(adversary, dsn)
    await pipeline.sync()
    await select(
        dsn,
        "INSERT INTO posthog.sharing_configurations (project_id, resource_type, resource_id, "
        "_observed_at, _first_seen_at, _updated_at, _xid) "
        "VALUES (1, 'recording', 'rec-telephone', now(), now(), now(), 1)",
    )
    await forgetting(pipeline, ANNA)
    names = ["rec-telephone", "rec-old", "telephone-1", ANNA, uuid_of(1), uuid_of(2)]
    assert await traces(dsn, names) == []


async def test_a_comparison_that_learns_a_name_deletes_what_is_stored_under_it(
    adversary: Adversary, dsn: str
) -> None:
    """The recording changed its person beyond the lookback."""
    now = adversary.now
    adversary.add(
        recording("rec-anna-1", now - 2 * HOUR, person=person(1, ANNA)),
        recording("rec-old-1", now - timedelta(days=20), person=person(2, "phone-000001")),
    )
    await reading_all(adversary, dsn).sync()
    pipeline = Pipeline(adversary, dsn, lookback="1h")
    await forgetting(pipeline, uuid_of(1))
    adversary.add(
        recording("rec-old-1", now - timedelta(days=20), person=person(1, "phone-000001"))
    )
    await pipeline.verify()
    assert await traces(dsn, ["phone-000001", "rec-old-1"]) == []


async def test_a_reject_of_another_stays_without_the_name(adversary: Adversary, dsn: str) -> None:
    """It was rejected before and is rejected again: neither time does it vanish."""
    now = adversary.now
    adversary.add(recording("rec-anna-1", now - 2 * HOUR, person=person(1, ANNA)))
    bob = person(2, BOB, invited_by=ANNA)
    adversary.add(recording("rec-bob-01", now - HOUR, person=bob, click_count="many"))
    pipeline = reading_all(adversary, dsn)
    await pipeline.sync()
    await forgetting(pipeline, uuid_of(1))
    for _ in range(2):
        (reject,) = await select(dsn, "SELECT record_key, payload FROM posthog_etl.rejects")
        assert reject["record_key"] == "rec-bob-01"
        assert reject["payload"]["person"]["properties"] == {"invited_by": "[forgotten]"}
        await select(dsn, "DELETE FROM posthog_etl.rejects")
        await pipeline.sync()


async def test_a_record_that_cannot_be_read_is_not_kept_as_text(
    adversary: Adversary, dsn: str
) -> None:
    """Its payload is one text; the names are inside of it."""
    now = adversary.now
    adversary.add(recording("rec-anna-1", now - 2 * HOUR, person=person(1, ANNA)))
    pipeline = reading_all(adversary, dsn)
    await pipeline.sync()
    await forgetting(pipeline, uuid_of(1))
    adversary.add(recording("rec-anna-2", now - HOUR, person=person(1, ANNA, deep="DEEP")))
    adversary.rewrite = lambda answer: answer.replace('"DEEP"', "[" * 3000 + "]" * 3000)
    await pipeline.sync()
    assert await traces(dsn, [ANNA, uuid_of(1), "rec-anna-2"]) == []


async def test_a_removal_that_was_interrupted_leaves_nothing_that_is_called_complete(
    adversary: Adversary, dsn: str
) -> None:
    """The next sync loads everything anew, also what no lookback reaches."""
    for day in range(20):
        begun = adversary.now - timedelta(days=day, hours=1)
        adversary.add(recording(f"rec-{day:05}", begun, person=person(2, BOB)))
    pipeline = Pipeline(adversary, dsn, lookback="1h")
    await pipeline.sync()
    database = Database(parse_database_url(dsn), Timeouts())
    async with database.transaction() as connection:
        assert await ProjectRows(Tables("posthog"), 1).delete_some(connection) == 20
    await database.close()
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await value(dsn, RECORDINGS) == 20


async def test_what_was_done_to_a_recording_is_found_whatever_its_id_looks_like(
    adversary: Adversary, dsn: str
) -> None:
    """One column of the log names a recording or a person; an id of a recording need be no uuid."""
    adversary.add(recording("rec-anna-1", adversary.now - HOUR, person=person(1, ANNA)))
    viewed = {
        **{"id": uuid_of(7), "created_at": "2026-11-01T00:00:00Z", "activity": "viewed"},
        **{"scope": "Replay", "item_id": "rec-anna-1", "user": None, "detail": {"name": "rec"}},
    }
    adversary.answers["activity_log/"] = {"next": None, "previous": None, "results": [viewed]}
    streams = ("session_recordings", "activity_log")
    pipeline = reading_all(adversary, dsn, streams=streams)
    await pipeline.sync_each()
    logged = "SELECT count(*) FROM posthog.activity_log"
    assert await value(dsn, logged) == 1
    await forgetting(pipeline, uuid_of(1))
    await pipeline.sync_each()
    assert await value(dsn, logged) == 0
    assert await traces(dsn, ["rec-anna-1", ANNA]) == []
