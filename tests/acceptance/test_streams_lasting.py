"""Trouble that lasts: it freezes nothing else, it costs nobody his turn, and the run says so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline
from tests.support.sql import select
from tests.support.streams import NOTHING, SMALL, asked, marked, put, remove, unshare, untruths
from tests.support.truth import stored

CLOSED = {"status": 403, "detail": "This action does not support personal API key access"}


async def test_what_can_be_read_stays_current_where_what_comes_after_it_is_refused_for_good(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Playlists whose items are closed to keys: names, new ones and deletions go on arriving."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("playlists",))
    sandbox.control.add_faults({"match": {"path": "/recordings"}, "fault": CLOSED})
    assert (await pipeline.sync()).ending.exit_code == 3
    first, second, *_ = sandbox.control.truth_rows("session_recording_playlists")
    sandbox.control.change(
        put("playlist", short_id=first["short_id"], name="renamed"),
        remove("playlist", short_id=second["short_id"]),
        put("playlist", short_id="new", name="new"),
    )
    report = await pipeline.sync()
    assert (report.ending.exit_code, "personal" in (report.ending.reason or "")) == (3, True)
    rows = await stored(dsn, "session_recording_playlists")
    assert rows[first["short_id"]]["name"] == "renamed"
    assert "new" in rows
    assert second["short_id"] not in rows


async def test_what_a_snapshot_read_long_ago_is_read_again(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Broken off in the middle and gone on with a week later: nothing of it is a week old."""
    sandbox = await start_sandbox(**{**NOTHING, "groups": 300})
    pipeline = Pipeline(sandbox, dsn, streams=("groups",))
    sandbox.control.add_faults(
        {"match": {"path": "/groups"}, "from": 3, "times": 1, "fault": {"status": 500}}
    )
    assert (await pipeline.sync()).ending.exit_code == 1
    (key, *_) = await stored(dsn, "groups")
    index, _, name = key.partition("/")
    sandbox.control.change(
        put("group", group_type_index=int(index), group_key=name, group_properties={"new": True})
    )
    at = "to_jsonb(now() - interval '7 days')"
    await select(
        dsn,
        f"UPDATE posthog_etl.checkpoints SET position = jsonb_set(position, '{{place,at}}', {at})",
    )
    assert (await pipeline.sync()).ending.exit_code == 0
    assert (await stored(dsn, "groups"))[key]["group_properties"] == {"new": True}
    assert await untruths(dsn, sandbox, "groups") == []


@pytest.mark.parametrize("status", [500, 403])
async def test_where_every_parent_is_refused_the_run_does_not_succeed(
    start_sandbox: StartSandbox, dsn: str, status: int
) -> None:
    """Types can be read and groups cannot: that is no project without groups."""
    sandbox = await start_sandbox(**SMALL)
    sandbox.control.add_faults({"match": {"path": "/groups/"}, "fault": {"status": status}})
    report = await Pipeline(sandbox, dsn, streams=("groups",)).sync()
    assert report.ending.exit_code == {500: 1, 403: 3}[status]


@pytest.mark.parametrize(
    ("fault", "stays_due"),
    [
        ({"status": 500}, True),
        ({"status": 403, "body": "html"}, True),
        ({"status": 404, "detail": "Endpoint not found."}, False),
        ({"status": 404, "detail": "Project not found."}, False),
    ],
)
async def test_a_resource_that_always_fails_costs_no_other_its_turn(
    start_sandbox: StartSandbox, dsn: str, fault: dict[str, Any], stays_due: bool
) -> None:
    """All others are asked first. It stays due, unless PostHog itself says there is nothing."""
    sandbox = await start_sandbox(**{**NOTHING, "insights": 12})
    unshare(sandbox)
    await Pipeline(sandbox, dsn, streams=("insights",)).sync()
    ids = [str(row["id"]) for row in sandbox.control.truth_rows("insights")]
    sandbox.control.add_faults({"match": {"path": f"/insights/{ids[-1]}/sharing"}, "fault": fault})
    pipeline = Pipeline(sandbox, dsn, streams=("insight_sharing",), sharing_requests=5)
    for _ in range(4):
        report = await pipeline.sync()
        assert report.ending.exit_code in (0, 3)
    assert (report.requests, report.ending.exit_code) == ((1, 3) if stays_due else (0, 0))
    assert len(await stored(dsn, "sharing_configurations")) == len(ids) - 1
    sandbox.control.clear_faults()
    assert (await pipeline.sync()).records_read == stays_due


async def test_what_was_answered_before_the_server_broke_off_is_kept(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The server fails from the eighth request on: seven are stored, and not asked about again."""
    sandbox = await start_sandbox(**{**NOTHING, "insights": 14})
    unshare(sandbox)
    await Pipeline(sandbox, dsn, streams=("insights",)).sync()
    sandbox.control.add_faults({"match": {"path": "/sharing"}, "from": 8, "fault": {"status": 500}})
    pipeline = Pipeline(sandbox, dsn, streams=("insight_sharing",))
    assert (await pipeline.sync()).ending.exit_code == 1
    kept = {row["resource_id"] for row in (await stored(dsn, "sharing_configurations")).values()}
    assert len(kept) == 7
    sandbox.control.clear_faults()
    sandbox.control.reset_requests()
    assert (await pipeline.sync()).ending.exit_code == 0
    again = {request["path"].rstrip("/").split("/")[-2] for request in asked(sandbox, "/sharing")}
    assert again & kept == set()


async def test_one_that_may_not_be_seen_is_no_trouble_when_it_comes_alone(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A private insight, new, and nothing else is due: the run succeeds."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("insights", "insight_sharing"))
    await pipeline.sync_each()
    sandbox.control.change(put("insight", id=77, name="private"))
    sandbox.control.add_faults({"match": {"path": "/77/sharing"}, "fault": {"status": 403}})
    for _ in range(2):
        assert [each.ending.exit_code for each in await pipeline.sync_each()] == [0, 0]


async def test_an_id_that_would_lead_elsewhere_is_never_asked_for(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A recording called `..`: the address of its sharing would be another one."""
    sandbox = await start_sandbox(**{**NOTHING, "recordings": 5})
    sandbox.control.change({"op": "start_session", "id": ".."})
    pipeline = Pipeline(sandbox, dsn, streams=("session_recordings", "recording_sharing"))
    assert [each.ending.exit_code for each in await pipeline.sync_each()] == [0, 0]
    assert len(asked(sandbox, "/sharing")) == 5


async def test_a_value_that_is_being_worked_out_anew_is_not_judged(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """`refreshing` on one answer: its values stay, those of the others are judged as ever."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("group_properties",), deletion_guard_rows=1000)
    await pipeline.sync()
    before = await marked(dsn, "group_property_values", "value")
    sandbox.control.add_faults(
        {
            "match": {"path": "/property_values"},
            "fault": {"status": 200, "body": {"results": [], "refreshing": True}},
        }
    )
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await marked(dsn, "group_property_values", "value") == before == set()
