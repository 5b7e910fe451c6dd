"""Persons, cohorts, and who is in them: changes, deletions, what is hidden, what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from etl.core.forecast import Forecast
from etl.errors import EXIT_PARTIAL
from etl.sandbox.server import RunningSandbox
from tests.acceptance.test_quiet import rows_written
from tests.acceptance.test_secrets import assert_hidden, dump
from tests.acceptance.test_streams_secrets import spoiled
from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select
from tests.support.streams import NOTHING, asked, endings, marked, put, remove, untruths

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
async def test_only_a_calculation_is_news_and_code_that_the_server_compiles_is_not_kept(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """The next day all is compiled anew, and a calculation fails: no row is written."""
    sandbox = await cohorts(start_sandbox, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=("cohorts",))
    await pipeline.sync()
    before = await rows_written(dsn)
    sandbox.control.advance(26 * 3600)
    failed = put("cohort", id=10_001, errors_calculating=1, last_error_message="slow")
    sandbox.control.change(failed)
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await rows_written(dsn) == before
    found = await select(dsn, "SELECT filters::text AS f FROM posthog.cohorts WHERE id = 10002")
    assert "email" in found[0]["f"]
    assert "bytecode" not in found[0]["f"]
    assert "conditionHash" not in found[0]["f"]
    sandbox.control.change(put("cohort", id=10_001, persons=[]))
    assert (await pipeline.sync()).rows_updated == 1
    calculated = "SELECT errors_calculating FROM posthog.cohorts WHERE id = 10001"
    assert [row["errors_calculating"] for row in await select(dsn, calculated)] == [1]
    mended = put("cohort", id=10_001, errors_calculating=0, last_error_message=None, name="Mended")
    sandbox.control.change(mended)
    assert (await pipeline.sync()).rows_updated == 1
    why = "SELECT last_error_message FROM posthog.cohorts WHERE id = 10001"
    assert [row["last_error_message"] for row in await select(dsn, why)] == [None]
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


# --- who is in a cohort -------------------------------------------------------------------------

MEMBERS = ("cohorts", "cohort_members")
# 10003 is static, so that nothing tells when its members change. 10005 is deleted.
STATIC = {"id": 10_003, "version": None, "last_calculation": None}


async def members(
    start_sandbox: StartSandbox, dsn: str, **settings: Any
) -> tuple[RunningSandbox, Pipeline]:
    """Cohorts whose members are loaded. 10001 has 40 of them, of whom some are no more."""
    sandbox = await cohorts(start_sandbox, cohorts=5, persons=60)
    everybody = [row["uuid"] for row in listed(sandbox)]
    sandbox.control.change(
        put("cohort", id=10_001, persons=everybody[:40]),
        put("cohort", **STATIC, persons=everybody[20:45]),
        *(of_person("delete_person", uuid) for uuid in [*everybody[3:25], everybody[39]]),
    )
    pipeline = Pipeline(sandbox, dsn, streams=MEMBERS, page_size_records=10, **settings)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *MEMBERS) == []
    sandbox.control.reset_requests()
    return sandbox, pipeline


def read(sandbox: RunningSandbox) -> set[str]:
    """The cohorts whose members were asked for since the last reset."""
    paths = {request["path"].split("/")[5] for request in asked(sandbox, "/persons")}
    sandbox.control.reset_requests()
    return paths


def of_cohort(sandbox: RunningSandbox, number: int) -> list[str]:
    """The members of a cohort."""
    rows = sandbox.control.truth_rows("cohort_members")
    return [row["person_uuid"] for row in rows if row["cohort_id"] == number]


async def test_only_cohorts_that_were_calculated_again_are_read_and_static_ones(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """`plan` says exactly what a sync costs in which nothing has changed; it writes nothing."""
    sandbox, pipeline = await members(start_sandbox, dsn)
    before = await rows_written(dsn)
    foreseen = {each.stream: each.forecast for each in await pipeline.plan()}
    _, quiet = await pipeline.sync_each()
    assert (read(sandbox), await rows_written(dsn)) == ({"10003"}, before)
    assert foreseen["cohort_members"] == Forecast(quiet.requests, exact=True)
    left, stays, *_ = of_cohort(sandbox, 10_001)
    made = put("cohort", name="New", persons=[left, stays])
    sandbox.control.change(put("cohort", id=10_001, persons=[stays]), made)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *MEMBERS) == []
    assert left in await marked(dsn, "cohort_members", "person_uuid")
    assert read(sandbox) == {"10001", "10003", "900001"}
    assert endings(await pipeline.sync_each()) == {}
    assert read(sandbox) == {"10003"}


async def test_who_leaves_and_joins_a_static_cohort_is_seen_at_once(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It has no calculation that would tell."""
    sandbox, pipeline = await members(start_sandbox, dsn)
    left, *stay = of_cohort(sandbox, 10_003)
    joins = [row["uuid"] for row in listed(sandbox)][-2:]
    sandbox.control.change(put("cohort", **STATIC, persons=[*stay, *joins]))
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *MEMBERS) == []
    assert await marked(dsn, "cohort_members", "person_uuid") == {left}


async def test_a_cohort_takes_its_members_with_it_and_brings_them_back(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Whether a user deletes it or it is gone; its members are not asked for one by one."""
    sandbox, pipeline = await members(start_sandbox, dsn, deletion_guard_rows=3)
    many = len(of_cohort(sandbox, 10_001))
    for away, back in (
        (put("cohort", id=10_001, deleted=True), put("cohort", id=10_001, deleted=False)),
        (remove("cohort", id=10_001), put("cohort", id=10_001, persons=of_cohort(sandbox, 10_001))),
    ):
        sandbox.control.change(away)
        _, report = await pipeline.sync_each()
        assert (report.ending.exit_code, report.rows_updated) == (0, many)
        assert read(sandbox) == {"10003"}
        assert await untruths(dsn, sandbox, "cohort_members") == []
        sandbox.control.change(back)
        assert endings(await pipeline.sync_each()) == {}
        assert await untruths(dsn, sandbox, "cohort_members") == []
        read(sandbox)


@pytest.mark.parametrize("resumes", [True, False])
async def test_a_cohort_whose_reading_did_not_end_is_read_again_as_a_whole(
    start_sandbox: StartSandbox, dsn: str, resumes: bool
) -> None:
    """Though the cohort is in the end as it was when it was last read to its end."""
    sandbox, pipeline = await members(start_sandbox, dsn)
    before = of_cohort(sandbox, 10_001)
    (state,) = await select(
        dsn, "SELECT version, last_calculation FROM posthog.cohorts WHERE id = 10001"
    )
    joins = listed(sandbox)[-1]["uuid"]
    sandbox.control.change(put("cohort", id=10_001, persons=[joins, *before]))
    page = {"match": {"path": "/cohorts/10001/persons"}, "at": 2, "fault": {"status": 500}}
    sandbox.control.add_faults(page)
    assert [*endings(await pipeline.sync_each())] == ["cohort_members"]
    sandbox.control.clear_faults()
    calculated = state["last_calculation"].isoformat()
    again = {"version": state["version"], "last_calculation": calculated}
    sandbox.control.change(put("cohort", id=10_001, persons=before, **again))
    if not resumes:
        await select(dsn, "UPDATE posthog_etl.checkpoints SET position = NULL")
    assert endings(await pipeline.sync_each()) == {}
    if resumes:
        # What the first attempt has shown is not in doubt before the next reading.
        assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, "cohort_members") == []
    assert await marked(dsn, "cohort_members", "person_uuid") == {joins}


async def test_a_cohort_that_is_refused_is_asked_for_again(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Its members stay, and those of other cohorts are judged."""
    sandbox, pipeline = await members(start_sandbox, dsn)
    stays = of_cohort(sandbox, 10_001)[0]
    sandbox.control.change(put("cohort", id=10_001, persons=[stays]))
    refusal = {"match": {"path": "/10001/persons"}, "fault": {"status": 404, "body": NOT_FOUND}}
    sandbox.control.add_faults(refusal)
    for _ in range(2):
        await pipeline.sync_each()
        assert read(sandbox) == {"10001", "10003"}
        assert await marked(dsn, "cohort_members", "person_uuid") == set()
    sandbox.control.clear_faults()
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *MEMBERS) == []


async def test_what_the_guard_withholds_is_looked_at_again_until_it_is_accepted(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The cohort is not left out, though all of it was read."""
    sandbox, pipeline = await members(start_sandbox, dsn, deletion_guard_rows=3)
    sandbox.control.change(put("cohort", id=10_001, persons=[]))
    for _ in range(2):
        assert [*endings(await pipeline.sync_each())] == ["cohort_members"]
        assert read(sandbox) == {"10001", "10003"}
    accepted = await pipeline.sync_each(accept_deletions=["cohort_members"])
    assert endings(accepted) == {}
    assert await untruths(dsn, sandbox, *MEMBERS) == []
    read(sandbox)
    assert endings(await pipeline.sync_each()) == {}
    assert read(sandbox) == {"10003"}


@pytest.mark.parametrize("how", ["resync", "verify and repair"])
async def test_members_of_an_unchanged_cohort_are_read_when_it_is_asked_for(
    start_sandbox: StartSandbox, dsn: str, how: str
) -> None:
    """A row that somebody deleted here: only what reads everything finds it."""
    sandbox, _ = await members(start_sandbox, dsn)
    pipeline = Pipeline(sandbox, dsn, streams=("cohort_members",))
    await select(dsn, "DELETE FROM posthog.cohort_members WHERE cohort_id = 10001")
    assert (await pipeline.sync()).rows_inserted == 0
    if how == "resync":
        (report,) = await pipeline.resync_each()
        assert report.ending.exit_code == 0
    else:
        report = await pipeline.verify(repair=True)
        assert (report.ending.exit_code, report.found and report.found.repaired) == (0, True)
    assert await untruths(dsn, sandbox, "cohort_members") == []
    read(sandbox)
    await pipeline.sync()
    assert read(sandbox) == {"10003"}


async def test_check_names_each_scope_that_is_missing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Members need two."""
    sandbox = await cohorts(start_sandbox)
    said = {}
    for key, scopes in (("phx_a", ["cohort:write"]), ("phx_b", ["query:read"])):
        sandbox.control.put_key(key, scopes=scopes)
        findings = await Pipeline(sandbox, dsn, streams=MEMBERS[1:], api_key=key).check()
        said[key] = [each.said for each in findings if each.about == "cohort_members (1)"]
    assert said == {
        "phx_a": ["Add the scope person:read to the personal API key"],
        "phx_b": ["Add the scopes cohort:read and person:read to the personal API key"],
    }


# --- what is related to a group -----------------------------------------------------------------

RELATED = ("groups", "group_related")


async def test_what_is_related_to_a_group_comes_and_goes(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Persons and groups of other types; what is no longer shown with the group is marked."""
    sandbox = await start_sandbox(**{**NOTHING, "groups": 12, "persons": 20})
    somebody, other = (row["uuid"] for row in listed(sandbox)[:2])
    at = {"group_type_index": 1, "group_key": "plan b"}
    sandbox.control.change(
        put("group", **at),
        put("group", group_type_index=0, group_key="plan b"),
        put("group_person", **at, uuid=somebody),
        put("group_person", **at, uuid=other),
    )
    pipeline = Pipeline(sandbox, dsn, streams=RELATED)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *RELATED) == []
    sandbox.control.change(
        remove("group_person", **at, uuid=somebody),
        remove("group", group_type_index=0, group_key="plan b"),
    )
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *RELATED) == []
    gone = "SELECT group_key, related_id FROM posthog.group_related WHERE _deleted_at IS NOT NULL"
    assert {tuple(row.values()) for row in await select(dsn, gone)} == {
        ("plan b", somebody),
        ("plan b", "plan b"),
    }


async def test_a_server_that_shows_nothing_related_makes_the_stream_unavailable_and_no_row_gone(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Other streams go on."""
    sandbox = await start_sandbox(**{**NOTHING, "groups": 12, "persons": 20})
    pipeline = Pipeline(sandbox, dsn, streams=RELATED)
    assert endings(await pipeline.sync_each()) == {}
    absent = {"status": 404, "body": {**NOT_FOUND, "detail": "Endpoint not found."}}
    sandbox.control.add_faults({"match": {"path": "/groups/related"}, "fault": absent})
    groups, related = await pipeline.sync_each()
    assert (groups.ending.exit_code, related.ending.exit_code) == (0, EXIT_PARTIAL)
    sandbox.control.clear_faults()
    assert await untruths(dsn, sandbox, *RELATED) == []


@pytest.mark.parametrize(
    ("streams", "path"), [(MEMBERS, "/10001/persons"), (RELATED, "/groups/related")]
)
async def test_of_persons_only_ids_are_kept(
    start_sandbox: StartSandbox, dsn: str, streams: tuple[str, ...], path: str
) -> None:
    """Not a property, a name or a distinct id, also where the record is set aside."""
    sandbox = await start_sandbox(**{**NOTHING, "cohorts": 3, "groups": 12, "persons": 20})
    everybody = [row["uuid"] for row in listed(sandbox)]
    command = Command(sandbox.url, dsn, POSTHOG_ETL_DISABLED_STREAMS="")
    canary = "ada@canary.example"
    hidden = {"properties": {"email": canary}, "name": canary, "distinct_ids": [canary]}
    for more in ({}, {"uuid": {"of": canary}, "id": {"of": canary}}):
        sandbox.control.clear_faults()
        sandbox.control.change(put("cohort", id=10_001, persons=everybody))
        sandbox.control.add_faults(spoiled(path, 0, **hidden, **more))
        result = await command.run("sync", *streams, "--debug")
        assert result.code == (3 if more else 0), result.err
        assert_hidden(canary, result, await dump(dsn))
