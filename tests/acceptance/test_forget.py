"""A person who was forgotten leaves no trace, stays away, and takes nobody along."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import aiohttp
import asyncpg
import pytest

from etl import upkeep
from etl.sandbox.server import RunningSandbox
from tests.adversary.test_destroys import answered
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import EVERY_STREAM, LIST, Pipeline
from tests.support.sql import select, value
from tests.support.streams import SMALL, endings

SOURCE = {**SMALL, "recordings": 40, "persons": 8}
KEY = "a key of thirty-two plain letters"
# A person with several recordings, one of them in a playlist.
SOMEBODY = (
    "SELECT person_uuid::text FROM posthog.session_recordings WHERE person_uuid IS NOT NULL "
    "GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
)


# What a load does first, and how one that waits for it shows.
LOOKS = "SELECT key_id FROM posthog_etl.forgotten LIMIT 1 FOR KEY SHARE"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ExclusiveLock'"


async def everything(dsn: str) -> dict[str, list[str]]:
    """Every row of every table of ours, as text."""
    tables = await select(
        dsn,
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
        "WHERE schemaname IN ('posthog', 'posthog_etl')",
    )
    found = {}
    for table in (row["name"] for row in tables):
        rows = await select(dsn, f"SELECT t::text AS row FROM {table} AS t")
        found[table] = [row["row"] for row in rows]
    return found


async def traces(dsn: str, texts: Collection[str]) -> list[str]:
    """The rows of any table that hold one of these texts."""
    return [
        f"{table}: {row}"
        for table, rows in (await everything(dsn)).items()
        for row in rows
        if any(text in row for text in texts)
    ]


async def names_of(dsn: str, uuid: str) -> set[str]:
    """A person's uuid, distinct ids and recordings, as stored, without the very short ones.

    The sandbox has distinct ids like `7`, which are in every row.
    """
    rows = await select(
        dsn,
        "SELECT distinct_id AS name FROM posthog.person_distinct_ids WHERE person_uuid = $1 "
        "UNION SELECT distinct_id FROM posthog.session_recordings WHERE person_uuid = $1 "
        "UNION SELECT id FROM posthog.session_recordings WHERE person_uuid = $1",
        uuid,
    )
    return {uuid, *(row["name"] for row in rows if len(row["name"]) > 7)}


async def data_of_others(dsn: str) -> dict[str, set[str]]:
    """The rows of the data tables."""
    found = await everything(dsn)
    return {name: set(rows) for name, rows in found.items() if name.startswith("posthog.")}


async def list_of_recordings(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    """All recordings, in the order in which the server lists them."""
    query = {"limit": "1000", "date_from": "-90d"}
    url, key = f"{sandbox.url}/api/projects/1/session_recordings/", "Bearer phx_sandbox"
    async with (
        aiohttp.ClientSession(headers={"Authorization": key}) as session,
        session.get(url, params=query) as answer,
    ):
        return list((await answer.json())["results"])


async def synced(sandbox: RunningSandbox, dsn: str) -> tuple[Pipeline, str]:
    """Sync the recordings in one page; the pipeline, which reads all of them again, and somebody.

    The person is named by its uuid.
    """
    pipeline = Pipeline(sandbox, dsn, lookback="1000h", page_size_records=1000)
    await pipeline.sync()
    return pipeline, await value(dsn, SOMEBODY)


def forgetting(pipeline: Pipeline, person: str) -> Any:
    """Forget a person without being asked."""
    return upkeep.forget(pipeline.settings, person, None, lambda _: None)


def start(sandbox: RunningSandbox, **spec: Any) -> str:
    """Let a session begin at the source; its id."""
    (session,) = sandbox.control.change({"op": "start_session", **spec})
    return str(session["id"])


@pytest.mark.parametrize("by", ["uuid", "distinct id"])
async def test_nothing_of_a_forgotten_person_is_left_or_comes_back(
    start_sandbox: StartSandbox, dsn: str, by: str
) -> None:
    """In no table; all other rows stay as they are; and `verify` finds no difference."""
    sandbox = await start_sandbox(**SOURCE)
    pipeline = Pipeline(sandbox, dsn, streams=EVERY_STREAM, lookback="1000h")
    assert not endings(await pipeline.sync_each())
    uuid = await value(dsn, SOMEBODY)
    names = await names_of(dsn, uuid)
    playlist = await value(dsn, "SELECT min(short_id) FROM posthog.session_recording_playlists")
    recording = await value(
        dsn, "SELECT min(id) FROM posthog.session_recordings WHERE person_uuid = $1", uuid
    )
    await select(
        dsn,
        "INSERT INTO posthog.session_recording_playlist_items SELECT 1, $1, $2, NULL, NULL, now(), "
        "now(), now(), 1 ON CONFLICT DO NOTHING",
        playlist,
        recording,
    )
    before = await data_of_others(dsn)
    assert await traces(dsn, names)

    distinct_id = await value(
        dsn,
        "SELECT min(distinct_id) FROM posthog.person_distinct_ids WHERE person_uuid = $1",
        uuid,
    )
    (removed,) = await forgetting(pipeline, uuid if by == "uuid" else distinct_id)
    assert removed.rows["session_recordings"] > 1
    assert removed.rows["session_recording_playlist_items"] >= 1
    assert removed.rows["sharing_configurations"] > 1
    assert await traces(dsn, names) == []
    after = await data_of_others(dsn)
    for table, rows in before.items():
        mine = {row for row in rows if any(name in row for name in names)}
        assert after[table] == rows - mine, table

    begun = start(sandbox, distinct_id=distinct_id)
    assert not endings(await pipeline.sync_each())
    assert await traces(dsn, {*names, begun}) == []
    reports = await pipeline.verify_each(deep=True)
    assert {r.stream: r.found.differences for r in reports if r.found and r.found.differences} == {}
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.audit WHERE command = 'forget'") == 1


async def test_a_new_distinct_id_of_a_forgotten_person_takes_its_rows_along(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Loaded as a stranger's, they go once the source says whose they are.

    From then on the distinct id itself stays away, whoever the source gives it to.
    """
    pipeline, uuid = await synced(sandbox, dsn)
    stranger = await value(
        dsn, f"SELECT max(uuid::text) FROM posthog.persons WHERE uuid::text <> ({SOMEBODY})"
    )
    theirs = await names_of(dsn, stranger)
    distinct_id = await value(
        dsn,
        "SELECT max(distinct_id) FROM posthog.session_recordings WHERE person_uuid = $1",
        stranger,
    )
    await forgetting(pipeline, uuid)
    await pipeline.sync()
    assert await traces(dsn, theirs)
    sandbox.control.change({"op": "merge_persons", "from": stranger, "into": uuid})
    await pipeline.sync()
    assert await traces(dsn, theirs) == []
    third = await value(dsn, "SELECT max(uuid::text) FROM posthog.persons")
    sandbox.control.change({"op": "move_distinct_id", "distinct_id": distinct_id, "to": third})
    begun = start(sandbox, distinct_id=distinct_id)
    await pipeline.sync()
    assert await traces(dsn, {*theirs, begun}) == []


async def test_a_record_of_a_forgotten_person_is_not_kept_as_a_reject(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Neither the one that was rejected before, nor one that is rejected later."""
    pipeline, uuid = await synced(sandbox, dsn)
    names = await names_of(dsn, uuid)
    recording = await value(
        dsn, "SELECT min(id) FROM posthog.session_recordings WHERE person_uuid = $1", uuid
    )
    await select(
        dsn,
        "INSERT INTO posthog_etl.rejects SELECT 1, 'session_recordings', 'unnamed', 'a reason', "
        "jsonb_build_object('person', jsonb_build_object('distinct_ids', "
        "jsonb_build_array($1::text))), now(), now(), NULL, NULL",
        max(names - {uuid, recording}),
    )
    (removed,) = await forgetting(pipeline, uuid)
    assert removed.rows["rejects"] == 1
    assert await traces(dsn, names) == []
    page = await list_of_recordings(sandbox)
    place = next(n for n, each in enumerate(page) if (each["person"] or {}).get("uuid") == uuid)
    others = [n for n in range(place + 1, len(page)) if page[n]["id"] not in names][:1]
    for record in (place, *others):
        bad = {"record": record, "set": {"click_count": "many"}}
        sandbox.control.add_faults({"match": LIST, "fault": {"mutate": bad}})
    assert (await pipeline.sync()).rejected == 1
    assert await traces(dsn, names) == []


async def test_an_unknown_field_that_names_the_person_is_cleared(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """In the row of another, which stays; and when the source sends it again."""
    pipeline, uuid = await synced(sandbox, dsn)
    other = await value(
        dsn, "SELECT max(id) FROM posthog.session_recordings WHERE person_uuid <> $1", uuid
    )
    await select(
        dsn,
        "UPDATE posthog.session_recordings SET extra = jsonb_build_object('ref', $2::text, 'n', 1) "
        "WHERE id = $1",
        other,
        uuid,
    )
    await forgetting(pipeline, uuid)
    extra = await value(dsn, "SELECT extra FROM posthog.session_recordings WHERE id = $1", other)
    assert extra == {"ref": "[forgotten]", "n": 1}
    page = await list_of_recordings(sandbox)
    place = next(n for n, each in enumerate(page) if each["id"] == other)
    more = {"record": place, "set": {"ref": [uuid, "another"], "n": 2}}
    sandbox.control.add_faults({"match": LIST, "fault": {"mutate": more}})
    await pipeline.sync()
    extra = await value(dsn, "SELECT extra FROM posthog.session_recordings WHERE id = $1", other)
    assert extra == {"ref": ["[forgotten]", "another"], "n": 2}


async def test_a_person_who_is_not_stored_stays_away_all_the_same(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Also before the first sync of a project that is configured."""
    pipeline = Pipeline(sandbox, dsn)
    row = max(sandbox.control.truth_rows("persons"), key=lambda each: str(each["uuid"]))
    (removed,) = await forgetting(pipeline, str(row["uuid"]))
    assert removed.rows == {}
    await pipeline.sync()
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recordings") > 0
    assert await traces(dsn, [str(row["uuid"])]) == []


async def test_without_the_key_every_load_stops(
    command: Command, sandbox: RunningSandbox, dsn: str
) -> None:
    """With the setting that `forget` had, it goes on. Another key is no key."""
    keyed = command.with_settings(POSTHOG_ETL_FORGET_KEY=KEY)
    assert (await keyed.run("sync")).code == 0
    uuid = await value(dsn, SOMEBODY)
    assert (await keyed.run("forget", uuid, "--yes")).code == 0
    for arguments in (
        ["sync"],
        ["verify"],
        ["backfill", "session_recordings", "--since", "2020-01-01"],
        ["rejects", "retry"],
        ["forget", "somebody else", "--yes"],
    ):
        refused = await command.run(*arguments)
        assert (refused.code, "POSTHOG_ETL_FORGET_KEY" in refused.err) == (2, True), arguments
    other = command.with_settings(POSTHOG_ETL_FORGET_KEY=KEY[::-1])
    assert (await other.run("sync")).code == 2
    assert (await keyed.run("sync")).code == 0


async def test_a_key_in_the_database_is_for_the_owner_alone(
    command: Command, sandbox: RunningSandbox, empty_dsn: str
) -> None:
    """Whatever the database gives to everybody. Once the key is gone, every load stops, too."""
    await select(empty_dsn, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    command = Command(sandbox.url, empty_dsn)
    assert (await command.run("sync")).code == 0
    assert (await command.run("forget", "somebody", "--yes")).code == 0
    public = "SELECT has_table_privilege('public', $1, 'SELECT')"
    assert await value(empty_dsn, public, "posthog_etl.audit")
    assert not await value(empty_dsn, public, "posthog_etl.forget_key")
    await select(empty_dsn, "DELETE FROM posthog_etl.forget_key")
    refused = await command.run("sync")
    assert (refused.code, "the key of their hashes is missing" in refused.err) == (2, True)


async def test_it_counts_and_asks(command: Command, sandbox: RunningSandbox, dsn: str) -> None:
    """Without a terminal it needs --yes; nobody's name is printed or logged.

    Who asks for somebody that was forgotten already is told so.
    """
    assert (await command.run("sync")).code == 0
    uuid = await value(dsn, SOMEBODY)
    rows = await value(
        dsn, "SELECT count(*) FROM posthog.session_recordings WHERE person_uuid = $1", uuid
    )
    refused = await command.run("forget", uuid)
    assert refused.code == 2
    assert f"{rows} in session_recordings" in refused.err
    assert refused.err.rstrip().endswith("To do it, add --yes")
    said_no = await answered(command, "n", "forget", uuid)
    assert said_no.code == 1
    assert await traces(dsn, [uuid])
    done = await command.run("forget", uuid, "--yes")
    assert done.code == 0, done.err
    assert f"deleted or cleared {rows} of session_recordings" in done.out
    assert uuid not in done.out + done.err
    listed = (await command.run("forget", "--list", "--json")).document["forgotten"]
    assert [each["rows"]["session_recordings"] for each in listed] == [rows]
    again = await command.run("forget", uuid)
    assert (again.code, "was forgotten already in project 1" in again.err) == (2, True)
    assert uuid not in again.err
    elsewhere = await command.with_settings(POSTHOG_PROJECT_ID="1,2").run("forget", uuid)
    assert "nothing is stored. Forgetting adds project 2" in elsewhere.err
    other = await command.run("forget", "somebody else")
    assert (other.code, "Nothing is stored of this person. " in other.err) == (2, True)
    shared = await command.run("forget", "anonymous", "--yes")
    assert (shared.code, "names no person" in shared.err) == (2, True)


async def test_a_batch_that_is_being_loaded_cannot_bring_the_person_back(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """`forget` waits for it, and what it loaded is deleted."""
    pipeline, uuid = await synced(sandbox, dsn)
    connection = await asyncpg.connect(dsn)
    loading = connection.transaction()
    await loading.start()
    # What every load does first; then it writes.
    await connection.fetch(LOOKS)
    await connection.execute(
        "INSERT INTO posthog.session_recordings (project_id, id, distinct_id, person_uuid, "
        "_observed_at, _first_seen_at, _updated_at, _xid) "
        "VALUES (1, 'late', 'late', $1, now(), now(), now(), 1)",
        uuid,
    )
    forgotten = asyncio.ensure_future(forgetting(pipeline, uuid))
    while not await value(dsn, WAITING):
        assert not forgotten.done()
    await loading.commit()
    await forgotten
    await connection.close()
    assert await traces(dsn, [uuid]) == []
    assert (
        await value(dsn, "SELECT count(*) FROM posthog.session_recordings WHERE id = 'late'") == 0
    )


async def test_a_project_is_removed_and_another_stays(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """All of it but what was destroyed and who was forgotten; the next sync loads it anew."""
    sandbox = await start_sandbox(**SMALL, projects=(1, 2))
    pipeline = Pipeline(sandbox, dsn, streams=EVERY_STREAM, project_id="1,2")
    await pipeline.sync_each()
    everyone = "SELECT count(*) FROM posthog.session_recordings WHERE project_id = $1"
    before = [await value(dsn, everyone, project) for project in (1, 2)]
    command = Command(sandbox.url, dsn, POSTHOG_PROJECT_ID="1,2")
    assert (await command.run("remove", "--project", "2")).code == 2
    done = await command.run("remove", "--project", "2", "--yes")
    assert done.code == 0, done.err
    assert f" {before[1]:,} of session_recordings" in done.out
    assert "POSTHOG_PROJECT_ID still names it" in done.out
    tables = await select(
        dsn,
        "SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.columns "
        "WHERE column_name = 'project_id' AND table_schema IN ('posthog', 'posthog_etl') "
        "AND table_name NOT IN ('audit', 'forgotten')",
    )
    for table in (row["name"] for row in tables):
        left = f"SELECT count(*) FROM {table} WHERE project_id = 2"
        if (
            await value(dsn, f"SELECT relkind FROM pg_class WHERE oid = '{table}'::regclass")
            == b"r"
        ):
            assert await value(dsn, left) == 0, table
    assert await value(dsn, everyone, 1) == before[0]
    again = await command.run("remove", "--project", "2", "--yes")
    assert (again.code, "holds nothing of project 2" in again.err) == (2, True)
    await pipeline.sync_each()
    assert await value(dsn, everyone, 2) == before[1]
