"""What takes one request a resource: each has its turn, the news first, and every run ends."""

from __future__ import annotations

import math

import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value
from tests.support.streams import (
    NOTHING,
    SMALL,
    asked,
    endings,
    let_pass,
    marked,
    put,
    remove,
    unshare,
    untruths,
)

RECORDINGS = ("session_recordings", "recording_sharing")
INSIGHTS = ("insights", "insight_sharing")


def turns(sandbox: RunningSandbox) -> list[str]:
    """Whose sharing was asked about since the last reset, in this order."""
    return [r["path"].rstrip("/").split("/")[-2] for r in asked(sandbox, "/sharing")]


async def test_each_one_has_its_turn_in_as_many_runs_as_it_takes(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """23 insights, five a run: five runs, each insight once, and no run asks for more than five."""
    sandbox = await start_sandbox(**{**NOTHING, "insights": 25})
    unshare(sandbox)
    await Pipeline(sandbox, dsn, streams=("insights",)).sync()
    pipeline = Pipeline(sandbox, dsn, streams=("insight_sharing",), sharing_requests=5)
    everyone = [str(row["id"]) for row in sandbox.control.truth_rows("insights")]
    sandbox.control.reset_requests()
    for run in range(math.ceil(len(everyone) / 5)):
        report = await pipeline.sync()
        assert (report.ending.exit_code, report.requests <= 5) == (0, True)
        assert len(turns(sandbox)) == min(len(everyone), (run + 1) * 5)
    assert sorted(turns(sandbox)) == sorted(everyone)
    assert await untruths(dsn, sandbox, "insight_sharing") == []


async def test_new_ones_that_keep_coming_keep_nobody_waiting_for_ever(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """More than can be asked about come before every run; half of the turns are for the oldest."""
    sandbox = await start_sandbox(**{**NOTHING, "recordings": 12})
    unshare(sandbox)
    old = {row["id"] for row in sandbox.control.truth_rows("session_recordings")}
    pipeline = Pipeline(sandbox, dsn, streams=RECORDINGS, sharing_requests=6)
    await Pipeline(sandbox, dsn).sync()
    for run in range(math.ceil(len(old) / 3)):
        new = [f"new-{run}-{nth}" for nth in range(8)]
        sandbox.control.advance(60)
        sandbox.control.change(*({"op": "start_session", "id": each} for each in new))
        sandbox.control.reset_requests()
        assert endings(await pipeline.sync_each()) == {}
        had = turns(sandbox)
        assert (len(had), len(set(had) & {*new}) >= 3) == (6, True)
    checked = await select(dsn, "SELECT record_key FROM posthog_etl.checks")
    assert old <= {row["record_key"] for row in checked}


async def test_what_is_new_or_changed_comes_first_and_the_rest_only_when_it_is_due(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Nothing is asked twice before its time; after it, one that changed still comes first."""
    sandbox = await start_sandbox(**SMALL)
    unshare(sandbox)
    pipeline = Pipeline(sandbox, dsn, streams=RECORDINGS, sharing_requests=4, lookback="400d")
    unhurried = Pipeline(sandbox, dsn, streams=RECORDINGS)
    await unhurried.sync_each()
    everyone = {row["id"] for row in sandbox.control.truth_rows("session_recordings")}
    for hours in (0, 5):
        await let_pass(dsn, hours)
        sandbox.control.reset_requests()
        await unhurried.sync_each()
        assert turns(sandbox) == []
    changed = next(iter(everyone))
    sandbox.control.change({"op": "view", "id": changed}, {"op": "start_session", "id": "new"})
    sandbox.control.reset_requests()
    await Pipeline(
        sandbox, dsn, streams=RECORDINGS, sharing_requests=4, lookback="400d"
    ).sync_each()
    assert sorted(turns(sandbox)) == sorted([changed, "new"])
    await let_pass(dsn, 7)
    sandbox.control.change({"op": "start_session", "id": "newer"})
    sandbox.control.reset_requests()
    await pipeline.sync_each()
    assert (turns(sandbox)[0], len(turns(sandbox))) == ("newer", 4)
    sandbox.control.reset_requests()
    await unhurried.sync_each()
    assert len(turns(sandbox)) == len(everyone) + 2 - 4


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_the_random_token_of_what_is_not_shared_is_no_change_and_not_stored(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Asked again, the server makes up another one; no row is written."""
    sandbox = await start_sandbox(**{**SMALL, "insights": 0, "others": 0}, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=RECORDINGS)
    await pipeline.sync_each()
    await let_pass(dsn, 7)
    _, report = await pipeline.sync_each()
    assert (report.requests, report.rows_inserted, report.rows_updated) == (12, 0, 0)
    hashes = await select(
        dsn,
        "SELECT created_at IS NULL AS never, access_token_sha256 IS NULL AS without, count(*) "
        "FROM posthog.sharing_configurations GROUP BY 1, 2 ORDER BY 1",
    )
    assert [tuple(row.values()) for row in hashes] == [(False, False, 5), (True, True, 7)]
    assert await untruths(dsn, sandbox, "recording_sharing") == []


async def test_status_tells_how_old_the_oldest_check_is(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """And how many were never asked about, and how many are due."""
    sandbox = await start_sandbox(**{**NOTHING, "insights": 9})
    unshare(sandbox)
    await Pipeline(sandbox, dsn, streams=INSIGHTS, sharing_requests=5).sync_each()
    await let_pass(dsn, 7)
    await Pipeline(sandbox, dsn, streams=("insight_sharing",), sharing_requests=2).sync()
    found = (await Pipeline(sandbox, dsn, streams=("insight_sharing",)).status_each())[0]["turns"]
    assert (found.resources, found.never_checked, found.due) == (9, 2, 7)
    oldest = await value(dsn, "SELECT min(checked_at) FROM posthog_etl.checks")
    assert found.oldest_check == oldest
    printed = await Command(sandbox.url, dsn).run("status")
    assert (
        "insight_sharing: the oldest check is 7.0 h old; 2 of 9 resources were never" in printed.out
    )
    told = (await Command(sandbox.url, dsn).run("status", "--json")).document["streams"]
    (row,) = [row for row in told if row["stream"] == "insight_sharing"]
    assert row["turns"] == {
        "resources": 9,
        "due": 7,
        "never_checked": 2,
        "oldest_check": oldest.isoformat(),
    }
    # Nothing is known about all of them before each one had its turn.
    assert row["complete_until"] is None


async def test_sharing_ends_with_the_recording_it_was_for(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Its row and its passwords are marked; a sharing that is switched on again is not new."""
    sandbox = await start_sandbox(**{**SMALL, "insights": 0, "others": 0})
    pipeline = Pipeline(sandbox, dsn, streams=RECORDINGS, lookback="400d")
    shared = [
        row["resource_id"]
        for row in sandbox.control.truth_rows("sharing_configurations")
        if row["resource_type"] == "recording" and row["access_token_sha256"]
    ]
    named = {"resource_type": "recording", "resource_id": shared[0]}
    sandbox.control.change(put("share_password", **named), {"op": "view", "id": shared[0]})
    await pipeline.sync_each()
    sandbox.control.change({"op": "delete_recording", "id": shared[0]})
    sandbox.control.reset_requests()
    assert endings(await pipeline.sync_each()) == {}
    assert await marked(dsn, "sharing_configurations", "resource_id") == {shared[0]}
    assert await marked(dsn, "share_passwords", "resource_id") == {shared[0]}
    assert shared[0] not in turns(sandbox)
    assert await untruths(dsn, sandbox, "recording_sharing") == []


async def test_what_is_shared_no_more_loses_its_password_and_keeps_its_row(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Both are changes at the source, seen when it is asked again."""
    sandbox = await start_sandbox(**{**NOTHING, "insights": 4})
    named = {"resource_type": "insight", "resource_id": 10_001}
    sandbox.control.change(put("sharing", **named), put("share_password", id=7, **named))
    pipeline = Pipeline(sandbox, dsn, streams=INSIGHTS)
    await pipeline.sync_each()
    sandbox.control.change(put("sharing", **named, enabled=False), remove("share_password", id=7))
    await let_pass(dsn, 7)
    assert endings(await pipeline.sync_each()) == {}
    assert "7" in await marked(dsn, "share_passwords")
    assert await marked(dsn, "sharing_configurations", "resource_id") == set()
    assert await untruths(dsn, sandbox, "insight_sharing") == []


async def test_one_that_may_not_be_seen_stops_none_of_the_others(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It has its turn like any other; when nothing at all may be seen, the run says so."""
    sandbox = await start_sandbox(**{**NOTHING, "insights": 9})
    unshare(sandbox)
    await Pipeline(sandbox, dsn, streams=("insights",)).sync()
    pipeline = Pipeline(sandbox, dsn, streams=("insight_sharing",))
    closed = {"match": {"path": "/sharing"}, "fault": {"status": 403}}
    sandbox.control.add_faults(closed)
    report = await pipeline.sync()
    assert report.ending.exit_code == 3
    assert "permission" in (report.ending.reason or "")
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.checks") == 0
    sandbox.control.clear_faults()
    sandbox.control.add_faults({**closed, "match": {"path": "/insights/10001/sharing"}})
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.rows_inserted >= 8) == (0, True)
    sandbox.control.clear_faults()
    assert (await pipeline.sync()).requests == 0
    await let_pass(dsn, 7)
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await untruths(dsn, sandbox, "insight_sharing") == []


async def test_many_that_may_not_be_seen_are_gone_past(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Sixty of seventy, the newest among them: what can be seen is loaded in the same run."""
    sandbox = await start_sandbox(**{**NOTHING, "insights": 70})
    await Pipeline(sandbox, dsn, streams=("insights",)).sync()
    ids = [row["id"] for row in sandbox.control.truth_rows("insights")]
    sandbox.control.add_faults(
        {"match": {"path": "/sharing"}, "first": 55, "fault": {"status": 403}}
    )
    pipeline = Pipeline(sandbox, dsn, streams=("insight_sharing",))
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.records_read) == (0, len(ids) - 55)
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.checks") == len(ids)
