"""Persons, cohorts, and who is in them: changes, deletions, what is hidden, what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from tests.acceptance.test_quiet import rows_written
from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.pipeline import Pipeline
from tests.support.sql import select
from tests.support.streams import NOTHING, marked, put, remove, untruths

each_flavour = pytest.mark.parametrize("flavour", ["cloud", "docs"])


async def cohorts(start_sandbox: StartSandbox, **options: Any) -> RunningSandbox:
    """Nothing but cohorts."""
    return await start_sandbox(**{**NOTHING, "cohorts": 6, "persons": 20, **options})


async def test_a_cohort_that_a_user_deletes_says_so_and_lives_on_when_it_is_restored(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The list hides it, the question for it shows it; one that is gone for good is marked."""
    sandbox = await cohorts(start_sandbox)
    pipeline = Pipeline(sandbox, dsn, streams=("cohorts",))
    assert (await pipeline.sync()).ending.exit_code == 0
    sandbox.control.change(put("cohort", id=10_001, deleted=True), remove("cohort", id=10_002))
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.rows_updated, report.requests) == (0, 2, 3)
    assert await marked(dsn, "cohorts") == {"10002"}
    deleted = "SELECT id FROM posthog.cohorts WHERE deleted"
    assert [row["id"] for row in await select(dsn, deleted)] == [10_001]
    assert (await pipeline.sync()).requests == 1
    sandbox.control.change(put("cohort", id=10_001, deleted=False))
    assert (await pipeline.sync()).rows_updated == 1
    assert await untruths(dsn, sandbox, "cohorts") == []


@each_flavour
async def test_a_calculation_is_no_news_and_code_that_the_server_compiles_is_not_kept(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """The next day all is compiled and calculated anew: no row is written. A new name is."""
    sandbox = await cohorts(start_sandbox, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=("cohorts",))
    await pipeline.sync()
    before = await rows_written(dsn)
    sandbox.control.advance(26 * 3600)
    failed = put("cohort", id=10_001, persons=[], errors_calculating=1, last_error_message="slow")
    sandbox.control.change(failed)
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await rows_written(dsn) == before
    found = await select(dsn, "SELECT filters::text AS f FROM posthog.cohorts WHERE id = 10002")
    assert "email" in found[0]["f"]
    assert "bytecode" not in found[0]["f"]
    assert "conditionHash" not in found[0]["f"]
    sandbox.control.change(put("cohort", id=10_001, name="Renamed"))
    assert (await pipeline.sync()).rows_updated == 1
    calculated = "SELECT errors_calculating FROM posthog.cohorts WHERE id = 10001"
    assert [row["errors_calculating"] for row in await select(dsn, calculated)] == [1]
    assert await untruths(dsn, sandbox, "cohorts") == []


# --- persons ----------------------------------------------------------------------------------

BOTH = ("session_recordings", "persons")
NOT_FOUND = {
    "type": "invalid_request",
    "code": "not_found",
    "detail": "Not found.",
    "attr": None,
}


async def persons(start_sandbox: StartSandbox, **options: Any) -> RunningSandbox:
    """Nothing but persons, of whom 30 are no more: their ids fill a page and parts of others."""
    sandbox = await start_sandbox(**{**NOTHING, "persons": 130, **options})
    newest = [row["uuid"] for row in listed(sandbox)]
    gone = [*newest[20:42], *newest[60:70:2], newest[-1]]
    sandbox.control.change(
        *({"op": "delete_person", "uuid": uuid, "lingers": True} for uuid in gone)
    )
    return sandbox


def listed(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    """All persons as the source lists them: newest first."""
    rows = sandbox.control.truth_rows("persons_listed")
    return sorted(rows, key=lambda row: (row["created_at"], row["uuid"]), reverse=True)


def of_person(op: str, uuid: str, **more: Any) -> dict[str, Any]:
    """The operation on a person."""
    return {"op": op, "uuid": uuid, **more}


@each_flavour
async def test_all_persons_arrive_in_one_pass_though_pages_are_short_and_even_empty(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """A second sync takes as many requests, which `plan` has said, and writes nothing."""
    sandbox = await persons(start_sandbox, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=("persons",))
    first = await pipeline.sync()
    assert (first.ending.exit_code, first.ending.reason) == (0, None)
    assert await untruths(dsn, sandbox, "persons") == []
    assert first.requests <= 1 + 130 / 10  # half of each page repeats what was read, at most
    before = await rows_written(dsn)
    (plan,) = await pipeline.plan()
    again = await pipeline.sync()
    assert (again.requests, plan.forecast.requests) == (first.requests, first.requests)
    assert (plan.forecast.exact, await rows_written(dsn)) == (True, before)


async def test_persons_change_merge_and_vanish(start_sandbox: StartSandbox, dsn: str) -> None:
    """Those that are gone are marked, with the distinct ids that nobody owns any more."""
    sandbox = await persons(start_sandbox, recordings=40, days=6.0)
    pipeline = Pipeline(sandbox, dsn, streams=BOTH, lookback="1000h")
    for report in await pipeline.sync_each():
        assert report.ending.exit_code == 0, report.ending
    assert await untruths(dsn, sandbox, *BOTH) == []
    numbers = await select(dsn, "SELECT count(id) AS known, count(*) FROM posthog.persons")
    assert 0 < numbers[0]["known"] < numbers[0]["count"] == 102
    first, second, third, fourth, *_ = (row["uuid"] for row in listed(sandbox)[5:])
    sandbox.control.change(
        {"op": "add_person"},
        of_person("change_person", first, set={"email": "new@example.com"}),
        {"op": "merge_persons", "from": second, "into": first},
        of_person("delete_person", third),
        of_person("delete_person", fourth, lingers=True),
    )
    for report in await pipeline.sync_each():
        assert report.ending.exit_code == 0, report.ending
    assert await untruths(dsn, sandbox, *BOTH) == []
    assert await marked(dsn, "persons", "uuid") == {second, third, fourth}
    gone = "SELECT DISTINCT person_uuid::text AS p FROM posthog.person_distinct_ids "
    gone += "WHERE _deleted_at IS NOT NULL"
    assert {row["p"] for row in await select(dsn, gone)} == {third, fourth}


@pytest.mark.parametrize("at", [1, 2, 4])
async def test_no_person_is_lost_while_others_come_and_go_between_pages(
    start_sandbox: StartSandbox, dsn: str, at: int
) -> None:
    """30 vanish before the place, of 20 a page; others appear at the front."""
    sandbox = await persons(start_sandbox)
    before = {row["uuid"] for row in listed(sandbox)}
    gone = [row["uuid"] for row in listed(sandbox)[:30]]
    then = [of_person("delete_person", uuid) for uuid in gone] + [{"op": "add_person"}] * 3
    sandbox.control.add_faults({"match": {"path": "/persons"}, "at": at, "fault": {"then": then}})
    pipeline = Pipeline(sandbox, dsn, streams=("persons",), deletion_guard_rows=1000)
    assert (await pipeline.sync()).ending.exit_code == 0
    rows = await select(dsn, "SELECT uuid::text FROM posthog.persons WHERE _deleted_at IS NULL")
    assert before - {*gone} <= {row["uuid"] for row in rows}
    sandbox.control.clear_faults()
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await untruths(dsn, sandbox, "persons") == []


async def test_plan_says_when_another_way_to_read_persons_is_cheaper(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Above 100,000 persons that are stored, which are also the least that a first sync reads."""
    sandbox = await start_sandbox(**NOTHING)
    pipeline = Pipeline(sandbox, dsn, streams=("persons",), page_size_records=1000)
    more = "INSERT INTO posthog.persons (project_id, uuid, _observed_at, _first_seen_at, "
    more += "_updated_at, _xid) SELECT 1, gen_random_uuid(), now(), now(), now(), 1 "
    for rows in (100_000, 1):
        await select(dsn, more + f"FROM generate_series(1, {rows})")
        (plan,) = await pipeline.plan()
        # 1,000 at first, then 980 new ones a page.
        assert (plan.forecast.requests, plan.forecast.exact) == (103, False)
        assert ("persons_by_query" in (plan.advice or "")) == (rows == 1)


async def lost(sandbox: RunningSandbox, dsn: str, **fault: Any) -> str:
    """Let the source deny a person who made a recording; the uuid."""
    find = "SELECT person_uuid::text AS p FROM posthog.session_recordings "
    (row,) = await select(dsn, find + "WHERE person_uuid IS NOT NULL ORDER BY 1 LIMIT 1")
    place = [each["uuid"] for each in listed(sandbox)].index(row["p"])
    sandbox.control.add_faults(
        {
            "match": {"path": f"/persons/{row['p']}"},
            "fault": {"status": 404, "body": NOT_FOUND, **fault},
        },
        {"match": {"path": "/persons"}, "fault": {"omit": [place]}},
    )
    return str(row["p"])


async def test_a_person_marked_deleted_whom_a_recording_shows_lives_again(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Although the recording itself did not change; and so do the distinct ids."""
    sandbox = await start_sandbox(**{**NOTHING, "recordings": 12, "persons": 10})
    recordings = Pipeline(sandbox, dsn, lookback="1000h")
    everybody = Pipeline(sandbox, dsn, streams=("persons",))
    await recordings.sync()
    await everybody.sync()
    uuid = await lost(sandbox, dsn)
    assert (await everybody.sync()).ending.exit_code == 0
    assert await marked(dsn, "persons", "uuid") == {uuid}
    await recordings.sync()
    assert await marked(dsn, "persons", "uuid") == set()
    sandbox.control.clear_faults()
    await everybody.sync()
    assert await untruths(dsn, sandbox, *BOTH) == []


async def test_a_person_whom_a_recording_shows_after_the_question_is_not_marked(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The answer to the question for the person is late: a sync of recordings comes in between."""
    sandbox = await start_sandbox(**{**NOTHING, "recordings": 12, "persons": 10})
    recordings = Pipeline(sandbox, dsn, lookback="1000h")
    everybody = Pipeline(sandbox, dsn, streams=("persons",))
    await recordings.sync()
    await everybody.sync()
    await lost(sandbox, dsn, latency_s=4)
    asking = asyncio.create_task(everybody.sync())

    async def has_asked() -> bool:
        return sandbox.control.faults()[0]["hits"] > 0

    await until(has_asked, "the question for the person")
    await recordings.sync()
    assert not asking.done()
    assert (await asking).ending.exit_code == 0
    assert await marked(dsn, "persons", "uuid") == set()
