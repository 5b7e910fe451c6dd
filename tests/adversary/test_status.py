"""A failure counts until its own window was read without a fault, even if later runs succeeded."""

from __future__ import annotations

from datetime import timedelta
from html import unescape
from typing import Any

from etl.core.coverage import Span
from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import LIST, Pipeline, midnight
from tests.support.serving import serving
from tests.support.sql import select

REFUSED: dict[str, Any] = {"match": LIST, "fault": {"preset": "403_scope"}}
UNREADABLE = {"record": 15, "set": {"viewed": "no"}}
BROKEN: dict[str, Any] = {"match": LIST, "fault": {"status": 500}}


def window(sandbox: RunningSandbox, first: int, last: int) -> tuple[str, str]:
    """Return begin and end of the days from `first` to `last` days ago, as `status` writes them."""
    days = (midnight(sandbox, first), midnight(sandbox, last))
    return tuple(day.isoformat().replace("+00:00", "Z") for day in days)  # type: ignore[return-value]


async def test_a_refused_sync_counts_after_a_good_backfill(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Text, JSON, status page and metrics show it with its remedy, until a sync succeeds."""
    sandbox = await start_sandbox(recordings=60, days=6.0)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_SCHEDULE="0 0 1 1 *")
    assert (await command.run("sync")).code == 0
    sandbox.control.add_faults(REFUSED)
    refused = await command.run("sync", "--json")
    assert refused.code == 3
    sandbox.control.clear_faults()
    since, until_ = window(sandbox, 60, 40)
    past = ("--since", since, "--until", until_, "--again", "--json")
    good = await command.run("backfill", "session_recordings", *past)
    assert (good.code, good.document["reports"][0]["status"]) == (0, "succeeded"), good.err

    reason = refused.report["reason"]
    shown = " ".join((await command.run("status")).out.split())
    assert reason in shown
    assert "posthog-etl sync session_recordings" in shown
    (row,) = (await command.run("status", "--json")).document["streams"]
    assert row["status"] == "partial"
    assert reason in row["reason"]
    (failure,) = row["failures"]
    assert (failure["unit"], failure["status"], failure["reason"]) == ("tail", "partial", reason)

    # This puts a job on the queue and runs nothing itself.
    async with serving(command, "--enqueue") as service:
        await service.ran()
        found = await service.metrics()
        assert found["posthog_etl_failures_unresolved 1 session_recordings"] == 1
        page = (await service.get("/")).text
        assert "1 of 1 stream not complete" in page
        assert reason in unescape(page)

    assert (await command.run("sync")).code == 0
    (row,) = (await command.run("status", "--json")).document["streams"]
    assert (row["status"], row["reason"], row["failures"]) == ("succeeded", None, [])


async def test_a_sync_that_the_guard_stopped_counts_after_a_good_backfill(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The failure names the command that accepts the deletions."""
    sandbox = await start_sandbox(recordings=60, days=6.0)
    pipeline = Pipeline(sandbox, dsn, lookback="30d")
    await pipeline.sync()
    ids = [row["id"] for row in sandbox.control.truth_rows("session_recordings")][:40]
    sandbox.control.change(*({"op": "delete_recording", "id": each} for each in ids))
    stopped = await pipeline.sync()
    assert "--accept-deletions" in (stopped.ending.reason or "")
    past = (midnight(sandbox, 60), midnight(sandbox, 59))
    (report,) = await pipeline.backfill(*past, again=True)
    assert report.ending.exit_code == 0
    status = await pipeline.status()
    assert status["status"] == "partial"
    assert f"The last sync: {stopped.ending.reason}. Then: " in status["reason"]


async def test_a_window_that_failed_counts_after_a_good_sync_until_its_time_is_loaded(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """By the same window or by others. Until then the exact command to load it is shown."""
    sandbox = await start_sandbox(recordings=60, days=6.0)
    start = midnight(sandbox, 2)
    start -= timedelta(days=(start.toordinal() + 1) % 2)  # so that both days are one window
    pipeline = Pipeline(sandbox, dsn, start=start)
    await pipeline.sync()
    sandbox.control.add_faults(BROKEN)
    (failed,) = await pipeline.backfill(start - timedelta(days=2), start, "2d")
    assert failed.ending.status == "failed"
    sandbox.control.clear_faults()
    assert (await pipeline.sync()).ending.exit_code == 0

    status = await pipeline.status()
    since, until_ = failed.unit.split("/")
    assert Span.parse(failed.unit) == (start - timedelta(days=2), start)
    retry = f"posthog-etl backfill session_recordings --since {since} --until {until_}"
    assert status["status"] == "failed"
    assert [each.retry for each in status["failures"]] == [retry]
    shown = await Command(sandbox.url, dsn).run("status")
    assert retry in " ".join(shown.out.split())

    half = start - timedelta(days=1)
    for begin, end, left in ((half, start, 1), (start - timedelta(days=2), half, 0)):
        await pipeline.backfill(begin, end, "1d")
        status = await pipeline.status()
        assert len(status["failures"]) == left
    assert (status["status"], status["reason"]) == ("succeeded", None)


async def test_what_was_set_aside_counts_no_more_once_it_has_loaded(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The failure of a window ends if its only fault was a reject that has loaded since."""
    sandbox = await start_sandbox(recordings=60, days=6.0)
    start = midnight(sandbox, 2)
    pipeline = Pipeline(sandbox, dsn, start=start)
    await pipeline.sync()
    sandbox.control.add_faults({"match": LIST, "at": 1, "fault": {"mutate": UNREADABLE}})
    await pipeline.backfill(start - timedelta(days=2), start, "2d")
    assert (await pipeline.status())["status"] == "partial"
    sandbox.control.clear_faults()
    await pipeline.sync()
    assert (await pipeline.status())["status"] == "partial"
    await select(dsn, "UPDATE posthog_etl.rejects SET resolved_at = now()")
    assert (await pipeline.status())["status"] == "succeeded"
