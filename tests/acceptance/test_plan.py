"""`plan` says beforehand what a reading takes; afterwards the fact stands beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from etl.core.forecast import Number, Sure
from etl.core.lookback import parse_duration
from etl.runs.backfill import BackfillRange
from etl.sandbox.server import RunningSandbox
from etl.streams import STREAMS
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import Pipeline, lists, midnight
from tests.support.sql import count_earlier, select, value


def spread(sandbox: RunningSandbox, per_day: int, days: int) -> None:
    """Add so many recordings on each of the days before today."""
    apart = timedelta(days=1) / per_day
    sandbox.control.change(
        *(
            {
                "op": "start_session",
                "start_time": (midnight(sandbox, days) + nth * apart).isoformat(),
                "duration_s": 30,
            }
            for nth in range(per_day * days)
        )
    )


@pytest.mark.parametrize("page_rows", [12, 20, 61])
async def test_a_forecast_from_known_counts_is_what_a_backfill_takes(
    start_sandbox: StartSandbox, dsn: str, page_rows: int
) -> None:
    """Windows of a day under one cursor, one long one, two stretches: to the very request.

    Twenty a day, so that windows end at the edges of pages, too.
    """
    sandbox = await start_sandbox(recordings=0)
    spread(sandbox, 20, 8)
    pipeline = Pipeline(sandbox, dsn, page_size_records=page_rows)
    await pipeline.sync()
    for since, until, window in ((6, 2, "1d"), (8, 3, "52w"), (7, 3, "2d"), (30, 2, "3d")):
        past = BackfillRange(
            midnight(sandbox, since), midnight(sandbox, until), parse_duration(window), again=True
        )
        unit_forecasts = await pipeline.plan(past)
        sandbox.control.reset_requests()
        reports = await pipeline.backfill(past.since, past.until, window, again=True)
        asked = len(lists(sandbox))
        assert all(each.forecast.exact for each in unit_forecasts)
        assert sum(each.forecast.requests for each in unit_forecasts) == asked
        assert sum(each.windows for each in unit_forecasts) == len(reports)
        assert sum(report.forecast_requests or 0 for report in reports) == asked
        assert all(report.forecast_exact for report in reports)


@pytest.mark.parametrize("rows", [0, 45, 60])
async def test_a_forecast_without_known_counts_says_at_least_and_is_true(
    start_sandbox: StartSandbox, dsn: str, rows: int
) -> None:
    """A first load, a sync after it, and one after more has come."""
    sandbox = await start_sandbox(recordings=0)
    if rows:
        spread(sandbox, rows // 3, 3)
    pipeline = Pipeline(sandbox, dsn, lookback="30d")
    for new in (0, 1, 30, 0):
        (unit_forecast,) = await pipeline.plan()
        sandbox.control.reset_requests()
        report = await pipeline.sync()
        assert report.ending.exit_code == 0
        assert not unit_forecast.forecast.exact
        assert 1 <= unit_forecast.forecast.requests <= len(lists(sandbox))
        assert report.forecast_requests == unit_forecast.forecast.requests
        sandbox.control.change(*[{"op": "start_session", "start_time": "-1h"}] * new)


@pytest.mark.parametrize("recordings", [15, 90, 4_100])
async def test_a_server_that_counts_is_forecast_from_its_count(
    start_sandbox: StartSandbox, dsn: str, recordings: int
) -> None:
    """One page, one answer for all, or two passes: within a tenth of the fact."""
    sandbox = await start_sandbox(recordings=recordings, flavour="docs")
    size: dict[str, Any] = {"page_size_records": 500 if recordings > 4_000 else 20}
    pipeline = Pipeline(sandbox, dsn, **size)
    for _ in range(2):  # until it is known what kind of server this is
        await pipeline.sync()
    await select(dsn, count_earlier(hours=25))  # everything is due
    (unit_forecast,) = await pipeline.plan()
    sandbox.control.reset_requests()
    report = await pipeline.sync()
    asked = len(lists(sandbox))
    assert unit_forecast.forecast.exact
    assert report.forecast_exact
    for forecast in (unit_forecast.forecast.requests, report.forecast_requests or 0):
        assert abs(forecast - asked) <= asked / 10


async def test_nothing_is_planned_where_all_is_known(start_sandbox: StartSandbox, dsn: str) -> None:
    """And a plan asks the source for nothing that it could not count."""
    sandbox = await start_sandbox(recordings=40, days=3.0)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    sandbox.control.reset_requests()
    past = BackfillRange(midnight(sandbox, 3), midnight(sandbox, 1), timedelta(days=1))
    assert await pipeline.plan(past) == []
    assert len(await pipeline.plan()) == 1
    assert sandbox.control.state()["requests"]["total"] == 0


_REFUSED = {
    "match": {"path": "/query/"},
    "times": 1000,
    "fault": {"preset": "403_query"},
}


@pytest.mark.parametrize(("queried", "allowed"), [(True, 0.02), (False, 0.34)])
async def test_a_first_load_is_forecast_by_what_the_server_says(
    start_sandbox: StartSandbox, dsn: str, queried: bool, allowed: float
) -> None:
    """By one query, or by a handful of pages. Only the log of requests changes."""
    sandbox = await start_sandbox(recordings=2_000, days=40.0)
    pipeline = Pipeline(sandbox, dsn, page_size_records=50)
    await pipeline.plan()  # makes the tables
    if not queried:
        sandbox.control.add_faults(_REFUSED)
    before = await contents(dsn)
    sandbox.control.reset_requests()
    plan = await pipeline.whole_plan()
    assert plan.asked == sandbox.control.state()["requests"]["total"] <= 6
    assert len(lists(sandbox)) == (0 if queried else 5)
    assert await contents(dsn) == before
    (unit,) = plan.units
    report = await pipeline.sync()
    assert unit.rows is not None
    assert (unit.rows.sure, plan.requests.sure) == (Sure.ABOUT, Sure.ABOUT)
    assert abs(unit.rows.value - report.records_read) <= allowed * report.records_read
    assert abs(plan.requests.value - report.requests) <= allowed * report.requests + 2


async def test_a_first_load_of_a_server_that_counts_is_forecast_exactly(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Such servers may know no queries."""
    sandbox = await start_sandbox(recordings=90, flavour="docs")
    sandbox.control.add_faults(_REFUSED)
    plan = await Pipeline(sandbox, dsn).whole_plan()
    assert plan.rows == Number(90)
    assert plan.asked == 2


async def test_a_first_load_that_was_broken_off_is_forecast_less_what_is_here(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The rest takes fewer requests, and what is here is said."""
    sandbox = await start_sandbox(recordings=2_000)
    pipeline = Pipeline(sandbox, dsn, page_size_records=50)
    before = await pipeline.whole_plan()
    await pipeline.stopped_sync()
    here = await value(dsn, "SELECT count(*) FROM posthog.session_recordings")
    plan = await pipeline.whole_plan()
    assert here > 0
    assert plan.units[0].said.startswith(f"{here:,} of these recordings are stored already")
    assert plan.requests.value == before.requests.value - here // 50


async def test_a_backfill_of_unknown_time_is_forecast_by_what_the_server_says(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """By one query for all windows, in whatever order they are read."""
    sandbox = await start_sandbox(recordings=0)
    spread(sandbox, 20, 8)
    pipeline = Pipeline(sandbox, dsn)
    for newest_first, requests in ((True, 7), (False, 12)):
        past = BackfillRange(
            midnight(sandbox, 8), midnight(sandbox, 2), timedelta(days=1), newest_first
        )
        plan = await pipeline.whole_plan(past)
        assert (plan.rows.value, plan.rows.sure, plan.asked) == (120, Sure.ABOUT, 1)
        assert 6 <= plan.requests.value <= requests


async def test_every_stream_of_a_first_load_is_forecast_and_sharing_in_time(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Rows as they are read, about as many requests; what is not asked about is named."""
    sandbox = await start_sandbox(recordings=120, days=3.0, insights=30)
    names = [name for name, stream in STREAMS.items() if not stream.off]
    pipeline = Pipeline(sandbox, dsn, streams=names, sharing_requests=10, page_size_records=100)
    plan = await pipeline.whole_plan(most_asked=40)
    sandbox.control.reset_requests()
    few = await pipeline.whole_plan(most_asked=10)
    assert few.asked == sandbox.control.state()["requests"]["total"] <= 10
    assert few.unasked
    assert plan.asked == few.asked + sum(few.unasked.values())
    reports = {report.stream: report for report in await pipeline.sync_each()}
    for unit in plan.units:
        report = reports[unit.stream]
        took = (unit.stream, report.records_read)
        if unit.rows is not None and unit.rows.sure is not Sure.LEAST:
            assert (unit.stream, unit.rows.value) == took
        # Of playlists only collections are asked about, which shows once they are stored.
        assert unit.forecast.requests == pytest.approx(report.requests, rel=0.2, abs=3), unit
    whole = {unit.stream: unit for unit in plan.units if unit.whole_s is not None}
    assert list(whole) == ["recording_sharing", "insight_sharing"]
    assert whole["recording_sharing"].said == "about 120 session recordings never asked about"
    # Twelve syncs; the first one is now, and then there is one every quarter of an hour.
    assert whole["recording_sharing"].whole_s == plan.whole_s == 11 * 900


async def test_what_may_not_be_asked_about_is_said_with_its_remedy(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The others are asked about."""
    sandbox = await start_sandbox(recordings=0)
    fault = {"match": {"path": "insights"}, "times": 9, "fault": {"preset": "403_scope"}}
    sandbox.control.add_faults(fault)
    plan = await Pipeline(sandbox, dsn, streams=("insights", "actions")).whole_plan()
    assert list(plan.refused) == [(1, "insights")]
    assert "scope" in plan.refused[1, "insights"]
    assert [unit.rows is not None for unit in plan.units] == [False, True]


async def contents(dsn: str) -> dict[str, list[str]]:
    """Every row of every table of ours but the log of requests."""
    tables = await select(
        dsn,
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
        "WHERE schemaname LIKE 'posthog%' AND tablename <> 'requests'",
    )
    return {
        table["name"]: [
            row["t"] for row in await select(dsn, f"SELECT t::text FROM {table['name']} AS t")
        ]
        for table in tables
    }


async def test_a_first_load_is_said_with_its_end_and_its_price(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """On a terminal of 80 columns; `--ask 0` sends nothing."""
    sandbox = await start_sandbox(recordings=400, days=3.0)
    command = Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_DISABLED_STREAMS="",
        POSTHOG_ETL_PLAN="free",
        POSTHOG_ETL_PAGE_SIZE_RECORDS="20",
        COLUMNS="80",
    )
    silent = await command.run("plan", "--ask", "0")
    assert sandbox.control.state()["requests"]["total"] == 0
    assert "`plan --ask 10` asks PostHog how much there is" in silent.out
    assert " 0 s" not in silent.out, "nobody knows how long an uncounted list takes"
    assert " rows" not in silent.out.partition("\nTotal: ")[2], "nor how many rows it has"
    asked = await command.run("plan")
    said = " ".join(asked.out.split())
    assert "session_recordings about 400" in said
    assert "under the limits of the plan free" in said
    assert (
        "recording_sharing: about 400 session recordings never asked about: 15.0 min at 200 a "
        "sync, a sync every 15 min" in said
    )
    assert "To find this out, plan sent 10 requests." in said
    assert "Not asked about, so their numbers are the least: cohorts, " in said
    assert max(len(line) for line in asked.out.splitlines()) <= 80
    assert "foreseen" not in asked.out
