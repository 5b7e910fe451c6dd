"""P13, all of the past in time: slices of it are verified within a share of the budget."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from etl.core.coverage import Span
from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.tables import Tables
from etl.loaders.verified import prune_results
from etl.runs.report import Report
from etl.sandbox.server import RunningSandbox
from etl.service.queue import enqueue_sync, enqueue_verification
from etl.service.serve import serve
from etl.service.worker import work
from etl.streams import STREAMS
from tests.acceptance.test_verify import RECORDINGS, TAMPERED, found, rows
from tests.conftest import StartSandbox
from tests.support.books import until
from tests.support.clock import JumpingClock
from tests.support.command import ALL_BUT_RECORDINGS, Command
from tests.support.pipeline import LIST, Pipeline, lists, midnight
from tests.support.sql import select, value
from tests.support.streams import SMALL
from tests.support.truth import differences_from_truth, fetch_truth
from tests.support.workers import queue_is_empty, workers

LISTS = ("subscriptions", "groups", "insights", "playlists")
DAY = timedelta(days=1)


async def pass_time(dsn: str, length: timedelta) -> None:
    """Let the comparisons and requests of the past be so much older."""
    await select(
        dsn, "UPDATE posthog_etl.reconciliations SET checked_at = checked_at - $1::interval", length
    )
    await select(dsn, "UPDATE posthog_etl.requests SET at = at - $1::interval", length)


async def let_a_minute_pass(dsn: str) -> None:
    """Let the jobs on the queue be so much older."""
    await select(
        dsn,
        "UPDATE posthog_etl.pgqueuer SET execute_after = execute_after - interval '1 minute' "
        "WHERE status = 'queued'",
    )


async def delete_on(dsn: str, day: datetime) -> str:
    """Take the first recording of a day away."""
    (row,) = await select(
        dsn,
        f"DELETE FROM {RECORDINGS} WHERE id = (SELECT id FROM {RECORDINGS} WHERE start_time >= $1 "
        "ORDER BY start_time LIMIT 1) RETURNING id",
        day,
    )
    return str(row["id"])


async def damage_on(dsn: str, day: datetime) -> str:
    """Alter a value of the first recording of a day."""
    (row,) = await select(
        dsn,
        f"UPDATE {RECORDINGS} SET click_count = click_count + 1 WHERE id = (SELECT id FROM "
        f"{RECORDINGS} WHERE start_time >= $1 ORDER BY start_time LIMIT 1) RETURNING id",
        day,
    )
    return str(row["id"])


async def forget_replaced(dsn: str) -> None:
    """Delete the results that later ones replace, as the cleaning of each day does in time."""
    database = Database(parse_database_url(dsn), Timeouts())
    await prune_results(database, Tables("posthog"), timedelta())
    await database.close()


async def standing(pipeline: Pipeline) -> int:
    """How many rows differ by what the status says."""
    return int((await pipeline.status())["verified"].differences)


def windows(reports: list[Report]) -> list[Span]:
    """The windows of the results of slices."""
    return [span for report in reports for span in (report.found and report.found.windows) or ()]


def covered(reports: list[Report]) -> timedelta:
    """How much time the slices took."""
    return sum((span.until - span.since for span in windows(reports)), timedelta())


async def test_all_of_a_young_past_is_verified_at_once_and_then_a_part_of_it_a_day(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Except what every sync reads again. What differs is found; a missed day is caught up."""
    sandbox = await start_sandbox(recordings=200, days=20.0)
    start = midnight(sandbox, days_ago=20)
    pipeline = Pipeline(sandbox, dsn, start=start, verify_days=10)
    assert await pipeline.verify_slices() == []
    await pipeline.sync()
    await delete_on(dsn, midnight(sandbox, days_ago=9))
    first = await pipeline.verify_slices()
    assert [found(report) for report in first] == [{"missing": 1}]
    whole = covered(first)
    assert 18 * DAY < whole < 20 * DAY
    verified = (await pipeline.status())["verified"]
    assert (verified.since, verified.until - verified.since) == (start, whole)
    assert await pipeline.verify_slices() == []
    taken = []
    for _ in range(10):
        await pass_time(dsn, DAY)
        taken.append(covered(await pipeline.verify_slices()))
    assert max(taken) <= whole / 2
    assert whole <= sum(taken, timedelta()) <= 1.5 * whole
    oldest = await value(dsn, "SELECT now() - max(checked_at) FROM posthog_etl.reconciliations")
    assert oldest < DAY
    assert (await pipeline.status())["verified"].oldest_at > datetime.now(UTC) - 10 * DAY
    await pass_time(dsn, 12 * DAY)
    assert covered(await pipeline.verify_slices()) == whole


async def test_slices_that_overlap_neither_hide_a_difference_nor_leave_it_standing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Each instant is as it was found when it was last looked at."""
    sandbox = await start_sandbox(recordings=200, days=20.0)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    early, late = midnight(sandbox, days_ago=15), midnight(sandbox, days_ago=5)
    await delete_on(dsn, early)
    await delete_on(dsn, late)
    await pipeline.verify()
    assert await standing(pipeline) == 2
    await pipeline.verify(since=early, until=early + DAY, repair=True)
    assert await standing(pipeline) == 1
    # The other half of the day was not looked at, and keys alone say nothing about contents.
    await pipeline.verify(since=late + DAY / 2, until=late + 3 * DAY)
    assert await standing(pipeline) == 1
    await select(
        dsn,
        f"UPDATE {RECORDINGS} SET click_count = click_count + 1 WHERE id = (SELECT id FROM "
        f"{RECORDINGS} WHERE start_time < $1 ORDER BY start_time LIMIT 1)",
        early,
    )
    await pipeline.verify(until=early)
    assert await standing(pipeline) == 2
    await pipeline.verify(deep=False)
    await forget_replaced(dsn)
    assert await standing(pipeline) == 2
    await pipeline.verify(since=late - DAY, until=late + 2 * DAY, repair=True)
    assert await standing(pipeline) == 1
    await pipeline.verify(repair=True)
    assert await standing(pipeline) == 0
    await pipeline.verify()
    await forget_replaced(dsn)
    left = "SELECT count(DISTINCT checked_at) FROM posthog_etl.reconciliations"
    assert (await value(dsn, left), await standing(pipeline)) == (1, 0)


async def test_slices_take_no_more_than_their_share_and_go_on_in_the_next_hour(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """However many processes verify; the requests of other work are not theirs."""
    sandbox = await start_sandbox(recordings=150, days=20.0)
    pipeline = Pipeline(
        sandbox,
        dsn,
        page_size_records=5,
        buffer_bytes=1,
        list_requests_per_hour=100,
        verify_share=0.06,
        max_wait_s=0,
    )
    await pipeline.sync()
    await delete_on(dsn, midnight(sandbox, days_ago=12))
    differing, hours = 0, 0
    while (await pipeline.status())["verified"] is None or differing == 0:
        sandbox.control.reset_requests()
        for _ in range(2):
            reports = await pipeline.verify_slices()
            differing += sum(r.found.differences for r in reports if r.found is not None)
        assert 0 < len(lists(sandbox)) <= 6
        await pass_time(dsn, timedelta(hours=1, minutes=1))
        hours += 1
        assert hours < 15
    assert (differing, hours > 2) == (1, True)


async def test_each_list_without_windows_has_its_turn(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """All of them at first, then one after the other; too large a one is put off."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=LISTS, verify_days=8)
    for _ in range(2):
        await pipeline.sync_each()
    assert [report.stream for report in await pipeline.verify_slices()] == [*LISTS]
    turns: list[str] = []
    for _ in range(8):
        await pass_time(dsn, DAY)
        turns += [report.stream for report in await pipeline.verify_slices()]
    assert sorted(set(turns)) == sorted(LISTS)
    assert len(turns) <= 2 * len(LISTS)
    await pass_time(dsn, 9 * DAY)
    await select(dsn, "UPDATE posthog_etl.runs SET requests = 5000 WHERE stream = 'groups'")
    small = Pipeline(sandbox, dsn, streams=LISTS, plan="free")
    await pass_time(dsn, 30 * DAY)
    assert "groups" not in {report.stream for report in await small.verify_slices()}


@pytest.mark.parametrize("dates", ["ignored", "refused"])
async def test_a_server_without_dates_has_all_of_its_past_verified_by_one_reading(
    start_sandbox: StartSandbox, dsn: str, dates: str
) -> None:
    """Once in the time allowed, and without what every sync reads again."""
    sandbox = await start_sandbox(recordings=120, days=20.0, flavour="docs", date_filter=dates)
    start = midnight(sandbox, days_ago=30)
    pipeline = Pipeline(sandbox, dsn, start=start, lookback="26h", verify_days=8)
    sandbox.control.change(
        {"op": "start_session", "id": "goes on", "start_time": "-10m", "duration_s": 7200}
    )
    await pipeline.sync()
    tail_until = await value(dsn, "SELECT tail_until FROM posthog_etl.watermarks")
    sandbox.control.advance(3600)
    await damage_on(dsn, midnight(sandbox, days_ago=12))
    oldest = await delete_on(dsn, start)
    sandbox.control.reset_requests()
    (report,) = await pipeline.verify_slices()
    assert found(report) == {"missing": 1, "different": 1}
    assert report.found is not None
    assert (oldest, "missing") in {(each.key, each.kind) for each in report.found.sample}
    read = len(lists(sandbox))
    verified = (await pipeline.status())["verified"]
    assert (verified.since, verified.until) == (start, tail_until - timedelta(hours=26))
    nights = []
    for _ in range(8):
        await pass_time(dsn, DAY)
        nights.append(len(await pipeline.verify_slices()))
    assert sum(nights) == 1
    sandbox.control.reset_requests()
    await pipeline.verify(deep=False)
    assert len(lists(sandbox)) == read


async def test_a_past_that_every_sync_reads_again_is_not_verified(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Not even where dates are ignored; and that is no finding."""
    sandbox = await start_sandbox(recordings=30, days=1.0, flavour="docs")
    pipeline = Pipeline(sandbox, dsn, start=midnight(sandbox), lookback="26h")
    await pipeline.sync()
    assert await pipeline.verify_slices() == []


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_a_slice_repairs_what_differs_only_if_that_is_set(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Otherwise it stays as it is, and is recorded. A repair writes no other row."""
    sandbox = await start_sandbox(recordings=120, days=20.0, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    loaded = await rows(dsn)
    damaged = await damage_on(dsn, midnight(sandbox, days_ago=12))
    (report,) = await pipeline.verify_slices()
    assert (report.ending.exit_code, found(report)) == (3, {"different": 1})
    untrue = [each for each in await untruths_of(dsn, sandbox) if damaged in each]
    assert len(untrue) == 1
    assert await rows(dsn) == loaded
    repaired = (
        "SELECT different, repaired_at IS NOT NULL AS repaired FROM posthog_etl.reconciliations "
        "WHERE different > 0 ORDER BY checked_at"
    )
    assert await select(dsn, repaired) == [{"different": 1, "repaired": False}]
    assert await standing(pipeline) == 1
    await pass_time(dsn, 40 * DAY)
    repairing = Pipeline(sandbox, dsn, verify_repair=True)
    report, *_ = await repairing.verify_slices()
    assert (report.ending.exit_code, found(report)) == (0, {"different": 1})
    assert await select(dsn, repaired) == [
        {"different": 1, "repaired": False},
        {"different": 1, "repaired": True},
    ]
    assert await untruths_of(dsn, sandbox) == []
    after = await rows(dsn)
    assert [key for key in after if after[key] != loaded.get(key)] == [
        ("session_recordings", damaged)
    ]
    assert await standing(pipeline) == 0


async def untruths_of(dsn: str, sandbox: RunningSandbox) -> list[str]:
    """How the copy differs from the truth, without fields that the documented list does not have.

    The answer for one recording has them.
    """
    untrue = await differences_from_truth(dsn, await fetch_truth(sandbox.url))
    return [each for each in untrue if not each.endswith(" instead of None")]


async def test_what_a_slice_did_not_repair_has_its_turn_again_the_next_night(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Its day alone, before anything else; once it is repaired, not again."""
    sandbox = await start_sandbox(recordings=120, days=20.0)
    pipeline = Pipeline(sandbox, dsn, verify_days=8, verify_repair=True)
    await pipeline.sync()
    await damage_on(dsn, midnight(sandbox, days_ago=12))
    await Pipeline(sandbox, dsn).verify_slices()
    assert await standing(pipeline) == 1
    assert await pipeline.verify_slices() == []
    await pass_time(dsn, DAY)
    first, *others = await pipeline.verify_slices()
    assert (found(first), first.found and first.found.repaired) == ({"different": 1}, True)
    assert (covered([first]), len(others) > 0) == (DAY, True)
    assert (await untruths_of(dsn, sandbox), await standing(pipeline)) == ([], 0)
    await pass_time(dsn, DAY)
    later = await pipeline.verify_slices()
    assert windows([first])[0] not in windows(later)


async def test_a_slice_gives_way_to_a_sync_and_then_goes_on(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """One worker for both: what the slice has compared before is not read again."""
    sandbox = await start_sandbox(recordings=200, days=20.0)
    pipeline = Pipeline(sandbox, dsn, page_size_records=5, buffer_bytes=1, queue_turn_s=0.1)
    recordings = [STREAMS["session_recordings"]]
    await pipeline.sync()
    (undisturbed,) = await pipeline.verify_slices()
    await pass_time(dsn, 40 * DAY)
    await select(dsn, "DELETE FROM posthog_etl.runs")
    await delete_on(dsn, midnight(sandbox, days_ago=12))
    sandbox.control.reset_requests()
    sandbox.control.add_faults({"match": LIST, "fault": {"latency_s": 0.1}})
    await enqueue_verification(pipeline.settings, recordings)

    async def some_pages_are_compared() -> bool:
        return len(lists(sandbox)) > 3

    async def the_sync_is_through() -> bool:
        ended = "SELECT count(*) FROM posthog_etl.runs WHERE unit = 'tail' AND status = 'succeeded'"
        return bool(await value(dsn, ended))

    stop = asyncio.Event()
    with capture_logs():
        working = asyncio.create_task(work(pipeline.settings, 1, stop))
        await until(some_pages_are_compared, "the slice is under way")
        sandbox.control.advance(5)  # so that the next slice would be another
        await enqueue_sync(pipeline.settings, recordings)
        await let_a_minute_pass(dsn)
        await until(the_sync_is_through, "the sync is through")
        sandbox.control.clear_faults()
        await let_a_minute_pass(dsn)
        await queue_is_empty(dsn)
        stop.set()
        await working
    runs = await select(
        dsn, "SELECT unit, requests, reason FROM posthog_etl.runs ORDER BY started_at"
    )
    assert [row["unit"] for row in runs] == ["verify slice", "tail", "verify slice"]
    first, _, second = runs
    assert 0 < first["requests"] < undisturbed.requests
    assert first["requests"] + second["requests"] <= undisturbed.requests + 3
    assert await standing(pipeline) == 1


async def test_a_sync_can_verify_a_slice_after_its_work(sandbox: RunningSandbox, dsn: str) -> None:
    """Differences make its exit code 3; its own result stays as it is."""
    command = Command(sandbox.url, dsn)
    assert (await command.run("sync", "--verify-share", "--json")).code == 0
    await pass_time(dsn, 40 * DAY)
    await select(dsn, TAMPERED["a person altered"][0])
    result = await command.run("sync", "--verify-share", "--json")
    (report,), verified = result.document["reports"], result.document["verified"]
    assert (result.code, report["status"]) == (3, "succeeded")
    assert sum(each["different"] for each in verified) > 0
    state = (await command.run("status", "--json")).document["streams"][0]
    assert state["status"] == "succeeded"
    assert state["verified"]["differences"] > 0


async def test_a_service_lets_workers_verify_each_night_and_syncs_go_on(
    sandbox: RunningSandbox, dsn: str, tmp_path: Path
) -> None:
    """It is put on the queue like a sync, and what it found is no state of the stream."""
    command, stop, over = Command(sandbox.url, dsn), asyncio.Event(), asyncio.Event()
    assert (await command.run("sync")).code == 0
    await select(dsn, TAMPERED["rows deleted"][0])
    begin = datetime.now(UTC).replace(hour=1, minute=0)
    clock = JumpingClock(begin, 3, ends_at=(begin + DAY, over))
    settings = Pipeline(
        sandbox, dsn, serve_port=0, schedule="0 * * * *", lookback="1h"
    ).settings.model_copy(update={"disabled_streams": tuple(ALL_BUT_RECORDINGS.split(","))})
    with capture_logs(), (tmp_path / "workers.log").open("wb") as log:
        async with workers(command, 1, log):
            running = asyncio.create_task(serve(settings, stop, str, enqueue=True, clock=clock))
            await over.wait()
            stop.set()
            await running
            await queue_is_empty(dsn)
    runs = await select(
        dsn, "SELECT DISTINCT command, unit, status FROM posthog_etl.runs ORDER BY command, unit"
    )
    assert [tuple(run.values()) for run in runs] == [
        ("sync", "tail", "succeeded"),
        ("verify", "verify slice", "partial"),
    ]
    state = await Pipeline(sandbox, dsn).status()
    assert (state["status"], state["verified"].differences > 0) == ("succeeded", True)
