"""Every stream equals the source: at first, when nothing changed, after changes and removals."""

from __future__ import annotations

from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from etl.streams import STREAMS
from tests.acceptance.test_quiet import WAL_BYTES_A_ROW, lonely_dsn, rows_written
from tests.conftest import StartSandbox
from tests.support.books import nobody_is_connected
from tests.support.pipeline import EVERY_STREAM, Pipeline
from tests.support.sql import select, value
from tests.support.streams import (
    CHANGING,
    NOTHING,
    SMALL,
    asked,
    endings,
    let_pass,
    marked,
    put,
    remove,
    untruths,
)

__all__ = ["lonely_dsn"]  # a fixture

FLAVOURS = ("cloud", "docs")
each_flavour = pytest.mark.parametrize("flavour", FLAVOURS)


async def one_project(start_sandbox: StartSandbox, **options: Any) -> RunningSandbox:
    """A small source with a little of everything."""
    return await start_sandbox(**{**SMALL, **options})


@pytest.mark.parametrize(
    ("flavour", "prefix", "projects"),
    [("cloud", "projects", (1, 2)), ("docs", "environments", (2,))],
    ids=["cloud", "docs"],
)
async def test_every_stream_of_each_project_is_true_and_a_second_sync_writes_nothing(
    start_sandbox: StartSandbox, dsn: str, flavour: str, prefix: str, projects: tuple[int, ...]
) -> None:
    """Every table is as the source has it; `plan` says what the second sync costs, exactly."""
    sandbox = await one_project(
        start_sandbox, flavour=flavour, page_version="mixed", projects=projects
    )
    named = ",".join(["@current", *map(str, projects[1:])])
    pipeline = Pipeline(sandbox, dsn, streams=EVERY_STREAM, project_id=named, api_prefix=prefix)
    first = await pipeline.sync_each()
    assert endings(first) == {}
    assert {(r.project_id, r.stream) for r in first} == {(p, s) for p in projects for s in STREAMS}
    assert await untruths(dsn, sandbox, *EVERY_STREAM, projects=projects) == []
    before = await rows_written(dsn)
    foreseen = {(o.project_id, o.stream): o.forecast for o in await pipeline.plan()}
    second = {(r.project_id, r.stream): r for r in await pipeline.sync_each()}
    assert endings([*second.values()]) == {}
    assert await rows_written(dsn) == before
    for unit, forecast in foreseen.items():
        if unit[1] != "session_recordings":  # what it costs is shown in test_plan.py
            assert (unit, forecast.requests, True) == (unit, second[unit].requests, forecast.exact)


@pytest.mark.parametrize(
    ("flavour", "prefix"), [("cloud", "environments"), ("docs", "projects")], ids=["cloud", "docs"]
)
async def test_the_other_prefix_leads_to_the_same(
    start_sandbox: StartSandbox, dsn: str, flavour: str, prefix: str
) -> None:
    """All requests go below the prefix that was chosen, but those that only one answers."""
    sandbox = await one_project(start_sandbox, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=CHANGING, api_prefix=prefix)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *CHANGING) == []
    elsewhere = [r["path"] for r in asked(sandbox, "/api/", without=f"/api/{prefix}/")]
    only_one = {"groups_types", "cohorts"}
    assert {path.strip("/").split("/")[3] for path in elsewhere} <= only_one


async def test_what_moves_by_itself_is_no_news_in_any_stream(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """An hour later: deliveries, counts, uses and refreshes have moved, and no row is written."""
    streams = ("subscriptions", "groups", "insights", "playlists", "project_secret_api_keys")
    sandbox = await one_project(start_sandbox)
    pipeline = Pipeline(sandbox, dsn, streams=streams)
    sandbox.control.change(put("subscription", frequency="daily", created_at="-2d"))
    assert endings(await pipeline.sync_each()) == {}
    before = await rows_written(dsn)
    sandbox.control.advance(26 * 3600)
    assert endings(await pipeline.sync_each()) == {}
    assert await rows_written(dsn) == before


async def test_a_second_sync_writes_next_to_no_wal(
    start_sandbox: StartSandbox, lonely_dsn: str
) -> None:
    """Whatever is read as a whole: at most 50 bytes for each row that is read again."""
    # Some 90 kB a stream are for its staging tables, however many rows there are.
    streams = ("groups", "insights")
    sandbox = await start_sandbox(**{**NOTHING, "groups": 4000, "insights": 2000})
    pipeline = Pipeline(sandbox, lonely_dsn, streams=streams, page_size_records=1000)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(lonely_dsn, sandbox, *streams) == []
    await nobody_is_connected(lonely_dsn)
    begin = await value(lonely_dsn, "SELECT pg_current_wal_insert_lsn()::text")
    again = await pipeline.sync_each()
    await nobody_is_connected(lonely_dsn)
    wal_bytes = await value(
        lonely_dsn, "SELECT pg_current_wal_insert_lsn() - $1::text::pg_lsn", begin
    )
    read = sum(report.records_read for report in again)
    assert (endings(again), read >= 5800) == ({}, True)
    assert wal_bytes <= WAL_BYTES_A_ROW * read


IN_A_PLAYLIST = "recording-in-a-playlist"
CHANGES = (
    put("user", id=4, first_name="Renamed"),
    put("subscription", title="New", target_type="webhook", target_value="https://hooks.example/1"),
    put("subscription", id=10_001, title="Other", bysetpos=10, created_by=None),
    put("group_type", group_type_index=4, group_type="team"),
    put("group", group_type_index=4, group_key="a/b c", group_properties={"n": 1, "m": [None]}),
    put("group", group_type_index=4, group_key="", group_properties={"n": "1"}),
    put("group_activity", group_type_index=4, group_key="a/b c", detail={"name": "x"}),
    put("insight", id=10_001, name="Other", tags=["new"]),
    put("insight", id=10_777, name="New", query={"kind": "DataTableNode"}),
    put("playlist", short_id="mine", name="Mine"),
    put("playlist_item", short_id="mine", recording_id="no-such-recording"),
    put("secret_key", label="New", scopes=["*"]),
    put("sharing", resource_type="insight", resource_id=10_002, settings={"whitelabel": True}),
    put("share_password", resource_type="insight", resource_id=10_002, note="new"),
)
RESTORED = (
    put("subscription", id=10_888, title="Back"),
    put("group", group_type_index=0, group_key="back", group_properties={"n": 1}),
    put("insight", id=10_888, name="Back"),
    put("playlist", short_id="back", name="Back"),
    put("playlist_item", short_id="back", recording_id=IN_A_PLAYLIST),
    put("secret_key", id="back", label="Back"),
)
REMOVED = (
    remove("subscription", id=10_888),
    remove("group", group_type_index=0, group_key="back"),
    remove("insight", id=10_888),
    remove("playlist", short_id="back"),
    remove("playlist_item", short_id="back", recording_id=IN_A_PLAYLIST),
    remove("secret_key", id="back"),
)


@each_flavour
async def test_changes_and_removals_arrive_and_what_comes_back_is_alive_again(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Rows that are gone are marked, each of them and no other one, and lose the mark later."""
    sandbox = await one_project(start_sandbox, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=CHANGING)
    sandbox.control.change({"op": "start_session", "id": IN_A_PLAYLIST}, *RESTORED)
    assert endings(await pipeline.sync_each()) == {}
    sandbox.control.change(*CHANGES, *REMOVED)
    await let_pass(dsn, 7)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *CHANGING) == []
    assert await marked(dsn, "subscriptions") == {"10888"}
    assert await marked(dsn, "groups", "group_key") == {"back"}
    assert await marked(dsn, "insights") == {"10888"}
    assert await marked(dsn, "session_recording_playlists", "short_id") == {"back"}
    assert await marked(dsn, "session_recording_playlist_items", "short_id") == {"back"}
    assert await marked(dsn, "project_secret_api_keys") == {"back"}
    assert await marked(dsn, "sharing_configurations", "resource_id") == {"10888"}
    assert await marked(dsn, "users") == set()
    sandbox.control.change(*RESTORED)
    await let_pass(dsn, 7)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *CHANGING) == []
    for table in ("groups", "insights", "session_recording_playlists", "project_secret_api_keys"):
        assert await marked(dsn, table, "_observed_at") == set(), table


@each_flavour
async def test_a_subscription_that_a_user_deletes_stays_one_row(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """It moves from the live list to the deleted one, and back; it is never marked."""
    sandbox = await one_project(start_sandbox, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=("subscriptions",))
    await pipeline.sync()
    for deleted in (True, False):
        sandbox.control.change(put("subscription", id=10_001, deleted=deleted))
        report = await pipeline.sync()
        assert (report.ending.exit_code, report.rows_inserted, report.rows_updated) == (0, 0, 1)
        rows = await select(
            dsn, "SELECT deleted, _deleted_at FROM posthog.subscriptions WHERE id = 10001"
        )
        assert rows == [{"deleted": deleted, "_deleted_at": None}]
        assert await untruths(dsn, sandbox, "subscriptions") == []
