"""P13 in spite of trouble: wrong answers, changes in between, and rows that no list leads to."""

from __future__ import annotations

from tests.acceptance.test_verify import RECORDINGS, SOME, found
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import LIST, Pipeline, lists, midnight
from tests.support.sql import select, value
from tests.support.streams import NOTHING, SMALL, endings

IDS = {"path": "session_recordings", "parameter": "session_ids"}


async def test_a_list_that_something_else_answered_for_is_not_called_equal(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Groups of one type are missing here, and a proxy's page hides that."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("groups",))
    await pipeline.sync()
    await select(dsn, "DELETE FROM posthog.groups WHERE group_type_index = 0")
    sandbox.control.add_faults(
        {"match": {"path": "groups/"}, "at": 1, "fault": {"status": 403, "body": "html"}}
    )
    report = await pipeline.verify()
    assert report.ending.exit_code != 0


async def test_what_belongs_to_a_missing_parent_is_not_surplus(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Its list was not asked for, because only stored parents lead to lists."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("playlists",))
    for _ in range(2):
        await pipeline.sync()
    items = "posthog.session_recording_playlist_items"
    await select(
        dsn,
        "DELETE FROM posthog.session_recording_playlists WHERE short_id IN "
        f"(SELECT short_id FROM {items} WHERE _deleted_at IS NULL LIMIT 1)",
    )
    assert found(await pipeline.verify()) == {"missing": 1}


async def test_a_surplus_row_without_a_start_is_found(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It is in no window."""
    sandbox = await start_sandbox(recordings=60)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    await select(
        dsn,
        f"INSERT INTO {RECORDINGS} (project_id, id, _observed_at, _first_seen_at, _updated_at, "
        "_xid) SELECT project_id, id || '-not', _observed_at, _first_seen_at, _updated_at, _xid "
        f"FROM {RECORDINGS} LIMIT 3",
    )
    assert found(await pipeline.verify()) == {"surplus": 3}


async def test_a_person_stays_in_doubt_when_the_recording_that_showed_it_goes(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Other recordings still show the person."""
    sandbox = await start_sandbox(recordings=60)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    person = await value(
        dsn,
        f"SELECT person_uuid FROM {RECORDINGS} WHERE person_uuid IS NOT NULL GROUP BY 1 "
        "ORDER BY count(*) DESC LIMIT 1",
    )
    await select(dsn, "UPDATE posthog.persons SET name = 'someone else' WHERE uuid = $1", person)
    sandbox.control.reset_requests()
    await pipeline.verify()
    pages = len(lists(sandbox))
    shown_by = await value(dsn, "SELECT record_key FROM posthog_etl.differences")
    goes = {"op": "delete_recording", "id": shown_by}
    sandbox.control.add_faults({"match": LIST, "at": pages, "fault": {"then": [goes]}})
    report = await pipeline.verify(repair=True)
    name = await value(dsn, "SELECT name FROM posthog.persons WHERE uuid = $1", person)
    assert (name, report.ending.exit_code) != ("someone else", 0)


async def test_what_was_rejected_is_not_called_equal(start_sandbox: StartSandbox, dsn: str) -> None:
    """Neither at first nor when it is known."""
    sandbox = await start_sandbox(recordings=60)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    sandbox.control.add_faults(
        {
            "match": {"path": "session_recordings"},
            "fault": {"mutate": {"record": 5, "set": {"click_count": "many"}}},
        }
    )
    for _ in range(2):
        report = await pipeline.verify()
        assert report.ending.exit_code == 3
        assert "could not be stored" in (report.ending.reason or "")


async def test_what_was_loaded_during_an_interruption_is_no_difference(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A comparison that goes on asks once more for all that it has found."""
    sandbox = await start_sandbox(recordings=150, days=20.0)
    pipeline = Pipeline(sandbox, dsn, start=midnight(sandbox, days_ago=3))
    await pipeline.sync()
    await pipeline.backfill(midnight(sandbox, days_ago=15), midnight(sandbox, days_ago=8), "7d")
    await select(
        dsn,
        f"DELETE FROM {RECORDINGS} WHERE id IN "
        f"(SELECT id FROM {RECORDINGS} ORDER BY start_time DESC OFFSET 5 LIMIT 2)",
    )
    sandbox.control.reset_requests()
    assert found(await pipeline.verify()) == {"missing": 2}
    asked = ["session_ids" in request["query"] for request in sandbox.control.requests()]
    stopped = await pipeline.verify(requests=asked.index(True) + 2)
    assert stopped.found is None
    await pipeline.sync()
    assert found(await pipeline.verify()) == {}


async def test_a_repair_is_not_believed_on_the_word_of_a_server_that_finds_nothing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """After the repair it says of each recording that there is none."""
    sandbox = await start_sandbox(recordings=60)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    await select(dsn, f"DELETE FROM {RECORDINGS} WHERE id IN {SOME}")
    sandbox.control.add_faults(
        {"match": IDS, "from": 2, "fault": {"empty_page": True}},
        {
            "match": {"path": "session_recordings/0"},
            "fault": {"status": 404, "detail": "Not found."},
        },
    )
    report = await pipeline.verify(repair=True)
    assert report.ending.exit_code == 3


async def test_sharing_of_something_that_is_not_stored_is_surplus(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A repair marks it. If the parent went only now, the next sync is to mark it."""
    sandbox = await start_sandbox(**SMALL)
    streams = ("session_recordings", "recording_sharing")
    pipeline = Pipeline(sandbox, dsn, streams=streams, sharing_requests=100)
    assert not endings(await pipeline.sync_each())
    await select(
        dsn,
        "INSERT INTO posthog.sharing_configurations SELECT project_id, resource_type, 'unknown', "
        "true, created_at, access_token_sha256, settings, password_required, user_access_level, "
        "extra, _repaired, _observed_at, _first_seen_at, _updated_at, _xid "
        "FROM posthog.sharing_configurations WHERE resource_type = 'recording' LIMIT 1",
    )
    await select(
        dsn,
        "UPDATE posthog.session_recordings SET _deleted_at = now() "
        "WHERE id = (SELECT min(id) FROM posthog.session_recordings)",
    )
    sharing = Pipeline(sandbox, dsn, streams=("recording_sharing",), sharing_requests=100)
    report = await sharing.verify()
    assert report.found is not None
    assert (report.found.total("surplus"), report.found.differences) == (1, 1)
    repaired = await sharing.verify(repair=True)
    assert repaired.ending.exit_code == 0, repaired
    gone = "SELECT _deleted_at FROM posthog.sharing_configurations WHERE resource_id = 'unknown'"
    assert await value(dsn, gone) is not None


async def test_what_was_never_available_and_what_there_is_none_of_change_no_exit_code(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """There is nothing to be shared, and the key has no scope for annotations."""
    sandbox = await start_sandbox(**NOTHING)
    sandbox.control.add_faults(
        {"match": {"path": "/annotations"}, "fault": {"preset": "403_scope"}}
    )
    command = Command(sandbox.url, dsn, POSTHOG_ETL_DISABLED_STREAMS="session_properties")
    assert (await command.run("sync", "-q")).code == 0
    result = await command.run("verify", "--json")
    wrong = {
        each["stream"]: each["reason"]
        for each in result.document["reports"]
        if each["status"] != "succeeded"
    }
    assert (result.code, [*wrong]) == (0, ["annotations"]), wrong
    assert "Add the scope" in wrong["annotations"]
    assert (await command.run("verify", "annotations", "-q")).code == 3
