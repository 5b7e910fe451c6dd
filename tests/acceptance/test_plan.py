"""`plan` says beforehand what a reading takes; afterwards the fact stands beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from etl.core.lookback import parse_duration
from etl.runs.backfill import BackfillRange
from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline, lists, midnight
from tests.support.sql import count_earlier, select


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
