"""P5, current: what changes after it was first seen arrives, and what is older never wins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import Pipeline, midnight
from tests.support.sql import value
from tests.support.truth import differences_from_truth, fetch_truth, stored

HOUR_S = 3600

CHANGES: dict[str, list[dict[str, Any]]] = {
    "a late piece": [
        {"op": "add_piece", "id": "mine", "start_time": "-6h", "duration_s": 30, "click_count": 4}
    ],
    "a piece before the start": [
        {"op": "add_piece", "id": "mine", "start_time": "-20h", "duration_s": 30}
    ],
    "a view": [
        {"op": "view", "id": "mine", "by": "owner"},
        {"op": "view", "id": "mine", "by": "eve@example.com"},
    ],
    "another retention": [{"op": "set_retention", "days": 90}],
}


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
@pytest.mark.parametrize("operations", CHANGES.values(), ids=CHANGES.keys())
async def test_a_recording_that_changes_after_it_was_seen_is_read_again(
    start_sandbox: StartSandbox, dsn: str, flavour: str, operations: list[dict[str, Any]]
) -> None:
    """The lookback finds it: the copy equals the truth again."""
    sandbox = await start_sandbox(recordings=60, flavour=flavour, days=2.0)
    sandbox.control.change(
        {"op": "start_session", "id": "mine", "start_time": "-8h", "duration_s": HOUR_S}
    )
    command = Command(sandbox.url, dsn, POSTHOG_ETL_LOOKBACK="72h")
    assert (await command.run("sync")).code == 0
    sandbox.control.change(*operations)
    again = await command.run("sync", "--json")
    assert (again.code, again.report["rows_updated"] >= 1) == (0, True), again.err
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_a_session_that_goes_on_grows_from_sync_to_sync(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Ongoing, longer an hour later, and at its end no more ongoing."""
    sandbox = await start_sandbox(recordings=20)
    sandbox.control.change(
        {"op": "start_session", "id": "mine", "start_time": "-0h", "duration_s": 2 * HOUR_S}
    )
    command = Command(sandbox.url, dsn)
    seen = []
    for _ in range(4):
        assert (await command.run("sync")).code == 0
        assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
        row = (await stored(dsn, "session_recordings"))["mine"]
        seen.append((row["ongoing"], row["recording_duration"]))
        sandbox.control.advance(HOUR_S)
    assert seen[0][0] is True
    assert seen[-1] == (False, 2 * HOUR_S)
    assert seen[0][1] < seen[1][1] < seen[-1][1]


async def test_a_young_session_from_before_the_start_that_a_backfill_loaded_grows_too(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Sync from today on, backfill what was before: a session across midnight does not stay cut."""
    sandbox = await start_sandbox(recordings=0)
    today = midnight(sandbox)
    sandbox.control.set_clock(today + timedelta(minutes=30))
    start = today - timedelta(hours=1)
    sandbox.control.change(
        {"op": "start_session", "start_time": start.isoformat(), "duration_s": 4 * HOUR_S}
    )
    pipeline = Pipeline(sandbox, dsn, start=today.isoformat())
    await pipeline.sync()
    await pipeline.backfill(today - timedelta(days=2))
    sandbox.control.advance(6 * HOUR_S)
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.rows_updated) == (0, 1), report.ending
    assert await differences_from_truth(dsn, sandbox.control.truth()) == []


async def test_a_grade_that_reaches_before_the_start_is_not_due_at_every_sync(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """What there is since the start was read again: the grade has had all it can get."""
    sandbox = await start_sandbox(recordings=90, days=3.0)
    start = midnight(sandbox, 3)
    await Pipeline(sandbox, dsn, start=start.isoformat(), lookback="1h").sync()
    pipeline = Pipeline(sandbox, dsn, start=start.isoformat(), lookback="1h, 30d every 1d")
    due, quiet = await pipeline.sync(), await pipeline.sync()
    assert due.records_read > 60
    assert quiet.records_read < 10


async def test_what_happens_to_a_person_arrives_with_the_next_recording(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """New properties, a merge, a distinct id that moves, and a person that is deleted."""
    sandbox = await start_sandbox(recordings=40, persons=12, days=2.0)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_LOOKBACK="72h")
    assert (await command.run("sync")).code == 0
    truth = await fetch_truth(sandbox.url)
    kept, merged, gone = [row["uuid"] for row in truth["persons"]][:3]
    sandbox.control.change(
        {"op": "change_person", "uuid": kept, "set": {"plan": "paid"}},
        {"op": "merge_persons", "from": merged, "into": kept},
        {"op": "delete_person", "uuid": gone},
    )
    assert (await command.run("sync")).code == 0
    changed = await fetch_truth(sandbox.url)
    persons, owners = await stored(dsn, "persons"), await stored(dsn, "person_distinct_ids")
    recordings = await stored(dsn, "session_recordings")
    assert persons[kept]["properties"]["plan"] == "paid"
    for row in changed["session_recordings"]:
        person = recordings[row["id"]]["person_uuid"]
        assert (None if person is None else str(person)) == row["person_uuid"]
    for row in changed["person_distinct_ids"]:
        assert str(owners[row["distinct_id"]]["person_uuid"]) == row["person_uuid"]


async def test_a_reading_that_is_older_than_what_is_stored_changes_nothing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The rows were observed later by somebody else: this run's older answers leave them alone."""
    sandbox = await start_sandbox(recordings=50)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_LOOKBACK="1000h")
    assert (await command.run("sync")).code == 0
    await value(
        dsn,
        "UPDATE posthog.session_recordings "
        "SET click_count = -1, _observed_at = now() + interval '1 day'",
    )
    again = await command.run("sync", "--json")
    assert (again.code, again.report["rows_updated"]) == (0, 0), again.err
    clicks = {row["click_count"] for row in (await stored(dsn, "session_recordings")).values()}
    assert clicks == {-1}
