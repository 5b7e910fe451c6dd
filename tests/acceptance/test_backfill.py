"""Backfill: past windows, resumable, beside a sync, without a hole that nobody knows of."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from etl.runs.report import Report
from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.books import no_unit_is_held, until
from tests.support.command import Command, finish
from tests.support.pipeline import LIST, Pipeline, lists, midnight, now_of, truth_starts
from tests.support.sql import select, value
from tests.support.truth import differences_from_truth, stored

DAY = timedelta(days=1)
PAGE = 20


def endings(reports: Sequence[Report]) -> list[int]:
    """The exit codes of the windows."""
    return [report.ending.exit_code for report in reports]


async def spans(dsn: str) -> list[tuple[datetime, datetime]]:
    """What is known complete."""
    rows = await select(dsn, "SELECT unnest(complete) AS span FROM posthog_etl.watermarks")
    return [(row["span"].lower, row["span"].upper) for row in rows]


async def owned_exactly(
    dsn: str, sandbox: RunningSandbox, since: datetime, before: datetime
) -> None:
    """Assert that what is stored is what truly starts in a time, each row equal to the truth."""
    wanted = {each for each, at in truth_starts(sandbox).items() if since <= at < before}
    assert (await stored(dsn, "session_recordings")).keys() == wanted
    assert [
        each
        for each in await differences_from_truth(dsn, sandbox.control.truth())
        if each.startswith("session_recordings") and not each.endswith(": missing")
    ] == []


async def evenly_filled(start: StartSandbox, per_day: int, days: int) -> RunningSandbox:
    """A sandbox with so many recordings on each of the days before today, and no others."""
    sandbox = await start(recordings=0)
    since = midnight(sandbox, days)
    apart = DAY / per_day
    sandbox.control.change(
        *(
            {
                "op": "start_session",
                "id": f"{nth:04}",
                "start_time": (since + nth * apart).isoformat(),
                "duration_s": 40,
            }
            for nth in range(per_day * days)
        )
    )
    return sandbox


@pytest.mark.parametrize("where", ["in the middle of a window", "between two windows"])
async def test_a_backfill_that_was_killed_goes_on_where_it_was(
    start_sandbox: StartSandbox, dsn: str, where: str
) -> None:
    """SIGKILL; the next run reads no window again that was closed, and ends with the truth."""
    # Three pages show the first day and a third of the second, two more the rest of that.
    sandbox = await evenly_filled(start_sandbox, 45, 3)
    since, end = midnight(sandbox, 3), midnight(sandbox, 0)
    struck = 4 if where == "between two windows" else 5
    sandbox.control.add_faults({"match": LIST, "at": struck, "fault": {"hang": True}})
    command = Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_PAGE_SIZE_RECORDS=str(PAGE),
        POSTHOG_ETL_BUFFER_BYTES="1",
        POSTHOG_ETL_LEASE_S="1",
    )
    arguments = ("backfill", "session_recordings", "--since", since.isoformat())
    arguments += ("--until", end.isoformat(), "--window", "1d", "--json")
    async with command.running(*arguments) as process:

        async def hangs_with_all_before_it_committed() -> bool:
            # One batch a page, and one that closed the first window.
            batches = await value(dsn, "SELECT sum(batch) FROM posthog_etl.checkpoints")
            return sandbox.control.faults()[0]["hits"] == 1 and batches == struck

        await until(hangs_with_all_before_it_committed, "the request is under way")
        process.kill()
        await finish(process)
    positions = await value(
        dsn,
        "SELECT count(*) FROM posthog_etl.checkpoints WHERE jsonb_typeof(position) = 'object'",
    )
    assert (await spans(dsn), positions) == ([(end - DAY, end)], struck - 4)
    await no_unit_is_held(dsn)
    sandbox.control.clear_faults()
    sandbox.control.reset_requests()
    reports = await Pipeline(sandbox, dsn).backfill(since, end)
    assert endings(reports) == [0] * 2
    # Without a position the window is asked for anew, with what lies above it.
    assert len(lists(sandbox)) == (3 if positions else 7)
    if positions:
        assert "after" in lists(sandbox)[0]["query"]
    assert await spans(dsn) == [(since, end)]
    await owned_exactly(dsn, sandbox, since, end)


@pytest.mark.parametrize("newest_first", [True, False], ids=["newest first", "oldest first"])
async def test_every_window_is_loaded_once_in_either_order(
    start_sandbox: StartSandbox, dsn: str, newest_first: bool
) -> None:
    """What is known complete is not asked for again, unless somebody says so."""
    sandbox = await start_sandbox(recordings=120, days=6.0)
    since, end = midnight(sandbox, 5), midnight(sandbox, 1)
    pipeline = Pipeline(sandbox, dsn)
    reports = await pipeline.backfill(since, end, newest_first=newest_first)
    days = [report.unit.partition("T")[0] for report in reports]
    assert (endings(reports), len(days)) == ([0] * 4, 4)
    assert days == sorted(days, reverse=newest_first)
    await owned_exactly(dsn, sandbox, since, end)
    sandbox.control.reset_requests()
    assert await pipeline.backfill(since, end, newest_first=newest_first) == []
    assert await pipeline.backfill(since + DAY / 3, end - DAY / 3) == []
    assert lists(sandbox) == []
    again = await pipeline.backfill(since, end, newest_first=newest_first, again=True)
    assert endings(again) == [0] * 4
    assert sum(report.rows_updated + report.rows_inserted for report in again) == 0
    assert lists(sandbox) != []


async def test_neighbouring_windows_cost_no_more_than_one_wide_one(
    start_sandbox: StartSandbox, dsn: str, databases: Any, template: str
) -> None:
    """By the request counter: eight windows of a day under one cursor, and one of eight days."""
    sandbox = await evenly_filled(start_sandbox, 37, 9)
    since, end = midnight(sandbox, 8), midnight(sandbox, 0)
    wide = await databases.create_database(template)
    await Pipeline(sandbox, wide).backfill(since, end, "52w")
    one = len(lists(sandbox))
    sandbox.control.reset_requests()
    reports = await Pipeline(sandbox, dsn).backfill(since, end, "1d")
    assert endings(reports) == [0] * 8
    assert len(lists(sandbox)) <= one + 1
    await owned_exactly(dsn, sandbox, since, end)
    await databases.drop_database(wide)


@pytest.mark.parametrize(
    "fault", [{"restart_cursor": True}, {"status": 500}], ids=["it begins anew", "it is refused"]
)
async def test_a_cursor_that_is_lost_between_windows_is_no_loss(
    start_sandbox: StartSandbox, dsn: str, fault: dict[str, Any]
) -> None:
    """The window that followed under it is asked for by itself, and the others follow that."""
    sandbox = await evenly_filled(start_sandbox, 45, 3)
    since, end = midnight(sandbox, 3), midnight(sandbox, 0)
    sandbox.control.add_faults({"match": LIST, "at": 4, "fault": fault})
    reports = await Pipeline(sandbox, dsn).backfill(since, end)
    assert endings(reports) == [0] * 3
    assert await spans(dsn) == [(since, end)]
    await owned_exactly(dsn, sandbox, since, end)


async def test_a_cursor_that_is_lost_within_a_window_is_asked_for_by_the_next_run(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The run ends there and says so; what it had closed stays closed."""
    sandbox = await evenly_filled(start_sandbox, 45, 4)
    since, end = midnight(sandbox, 4), midnight(sandbox, 0)
    sandbox.control.add_faults({"match": LIST, "from": 5, "fault": {"restart_cursor": True}})
    pipeline = Pipeline(sandbox, dsn)
    assert endings(await pipeline.backfill(since, end)) == [0, 3]
    assert await spans(dsn) == [(end - DAY, end)]
    sandbox.control.clear_faults()
    assert endings(await pipeline.backfill(since, end)) == [0] * 3
    await owned_exactly(dsn, sandbox, since, end)


async def test_sync_and_backfill_side_by_side_leave_no_hole(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Two processes at once; then all time since the start is known complete, and it is true."""
    sandbox = await start_sandbox(recordings=300, days=12.0)
    begin, end = midnight(sandbox, 13), midnight(sandbox, 3)
    command = Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_PAGE_SIZE_RECORDS=str(PAGE),
        POSTHOG_ETL_START=end.isoformat(),
    )
    backfill = ("backfill", "session_recordings", "--since", begin.isoformat(), "--window", "2d")
    results = await asyncio.gather(
        command.run("sync", "--json"),
        command.run(*backfill, "--until", now_of(sandbox).isoformat(), "--json"),
    )
    assert [result.code for result in results] == [0, 0], [result.err for result in results]
    status = await Pipeline(sandbox, dsn, start=begin.isoformat()).status()
    assert (status["holes"], len(status["complete"].spans)) == ((), 1)
    assert await differences_from_truth(dsn, sandbox.control.truth()) == []


async def test_status_names_the_command_that_closes_a_hole(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Word for word, and to the last fraction of a second."""
    sandbox = await start_sandbox(recordings=120, days=6.0)
    odd = timedelta(hours=7, microseconds=123_456)
    begin, end = midnight(sandbox, 6) + odd, midnight(sandbox, 1) + odd
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.backfill(begin, begin + DAY)
    await pipeline.backfill(end - DAY, end)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_START=begin.isoformat())
    said = (await command.run("status")).out
    (words,) = re.findall(r"posthog-etl (backfill .*)", said)
    closed = await command.run(*words.split())
    assert closed.code == 0, closed.err
    assert await spans(dsn) == [(begin, end)]
    await owned_exactly(dsn, sandbox, begin, end)
    assert "not known complete" not in (await command.run("status")).out


async def test_a_server_without_a_date_filter_is_read_once_whatever_was_asked(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """One full pass, and `status` says that the server ignores dates."""
    sandbox = await start_sandbox(recordings=110, days=30.0, flavour="docs")
    pipeline = Pipeline(sandbox, dsn)
    (report,) = await pipeline.backfill(midnight(sandbox, 20), midnight(sandbox, 10), "1d")
    assert report.ending.exit_code == 0
    assert len(lists(sandbox)) == 2
    assert await differences_from_truth(dsn, sandbox.control.truth()) == []
    said = (await Command(sandbox.url, dsn).run("status")).out
    assert "this server ignores dates" in said
    assert await pipeline.backfill(midnight(sandbox, 30), midnight(sandbox, 0)) == []


async def test_a_spent_budget_ends_a_backfill_where_the_next_one_goes_on(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Exit 6 in the middle; whatever the budget, every run gets further."""
    sandbox = await evenly_filled(start_sandbox, 30, 5)
    since, end = midnight(sandbox, 5), midnight(sandbox, 0)
    for turn in range(3):
        limited = Pipeline(sandbox, dsn, list_requests_per_hour=2 * turn + 2, max_wait_s=0)
        reports = await limited.backfill(since, end)
        assert endings(reports)[-1] == 6
        assert len(lists(sandbox)) == 2 * turn + 2
    assert set(endings(reports[:-1])) <= {0}
    reports = await Pipeline(sandbox, dsn).backfill(since, end)
    assert set(endings(reports)) == {0}
    # Eight pages, and what lies above a window that is begun without the cursor before it.
    assert len(lists(sandbox)) <= 8 + 2 * 3
    await owned_exactly(dsn, sandbox, since, end)


@pytest.mark.parametrize("newest_first", [True, False], ids=["newest first", "oldest first"])
async def test_a_window_that_another_run_holds_keeps_none_of_the_others_out(
    start_sandbox: StartSandbox, dsn: str, newest_first: bool
) -> None:
    """Exit 4 for that one; it is a hole until it is loaded."""
    sandbox = await start_sandbox(recordings=100, days=5.0)
    since, end = midnight(sandbox, 5), midnight(sandbox, 0)
    pipeline = Pipeline(sandbox, dsn)
    held = f"{since + DAY:%Y-%m-%dT%H:%M:%SZ}/{since + 2 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    await select(
        dsn,
        "INSERT INTO posthog_etl.leases (project_id, stream, unit, holder, expires_at) "
        "VALUES (1, 'session_recordings', $1, gen_random_uuid(), now() + interval '1 hour')",
        held,
    )
    reports = await pipeline.backfill(since, end, newest_first=newest_first)
    assert {r.unit: r.ending.exit_code for r in reports if r.ending.exit_code} == {held: 4}
    assert await spans(dsn) == [(since, since + DAY), (since + 2 * DAY, end)]
    await select(dsn, "UPDATE posthog_etl.leases SET holder = NULL")
    assert endings(await pipeline.backfill(since, end)) == [0]
    await owned_exactly(dsn, sandbox, since, end)


async def test_a_time_that_makes_no_sense_is_one_line_and_exit_2(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Dates that are none, a window without length, an end before the beginning."""
    sandbox = await start_sandbox(recordings=0)
    command = Command(sandbox.url, dsn)
    wrong = [
        ("--since", "someday"),
        ("--since", "2026-01-01", "--until", "2026-13-01"),
        ("--since", "2026-01-01", "--window", "0d"),
        ("--since", "2026-02-01", "--until", "2026-01-01"),
    ]
    results = await asyncio.gather(
        *(command.run("backfill", "session_recordings", *arguments) for arguments in wrong)
    )
    for arguments, result in zip(wrong, results, strict=True):
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result.err
        assert arguments[-2] in result.err
    assert sandbox.control.state()["requests"]["total"] == 0


async def test_a_start_later_than_where_sync_goes_on_makes_no_hole(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The start is for the first load; a sync goes on from where the last one ended."""
    sandbox = await start_sandbox(recordings=0)
    now = now_of(sandbox)
    sandbox.control.set_clock(now - 10 * DAY)
    await Pipeline(sandbox, dsn).sync()
    sandbox.control.set_clock(now)
    sandbox.control.change({"op": "start_session", "start_time": "-5d"})
    later = (now - DAY).isoformat()
    assert (await Pipeline(sandbox, dsn, start=later).sync()).records_read == 1
    assert not (await Pipeline(sandbox, dsn).status())["holes"]


async def test_a_key_without_the_scope_is_asked_with_once_not_once_a_window(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The other windows would be refused as well."""
    sandbox = await start_sandbox(recordings=20, days=4.0)
    sandbox.control.add_faults({"match": LIST, "fault": {"preset": "403_scope"}})
    reports = await Pipeline(sandbox, dsn).backfill(midnight(sandbox, 4), midnight(sandbox))
    assert (endings(reports), len(lists(sandbox))) == ([3], 1)


async def test_a_backfill_from_a_server_that_ignores_dates_is_done_after_one_pass(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Also where it begins before the start: the next one finds all windows complete."""
    sandbox = await start_sandbox(recordings=40, days=10.0, flavour="docs")
    pipeline = Pipeline(sandbox, dsn, start=midnight(sandbox, 3).isoformat())
    await pipeline.sync()
    past = (midnight(sandbox, 12), None, "3d")
    assert endings(await pipeline.backfill(*past)) == [0]
    assert await pipeline.backfill(*past) == []
