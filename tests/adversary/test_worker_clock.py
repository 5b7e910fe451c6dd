"""A worker lives for weeks, so it reads the database's clock again for each unit."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from etl.app import open_source, run_options_of
from etl.runs.sync import execute_unit
from etl.runs.work import Assignment, Progress
from etl.sandbox.server import RunningSandbox
from etl.streams import SESSION_RECORDINGS
from tests.support.pipeline import Pipeline


async def test_every_unit_reads_the_clock_of_the_database_again(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """After a machine was suspended for two days its old reading is two days behind."""
    settings = Pipeline(sandbox, dsn).settings
    async with open_source(settings) as (_, tools):
        client = tools.client
        client.set_clock(client.now - timedelta(days=2))
        given = Assignment(
            tools,
            run_options_of(settings),
            SESSION_RECORDINGS,
            1,
            asyncio.Event(),
            Progress(),
        )
        report = await execute_unit(given, SESSION_RECORDINGS.unit)
        assert report.ending.exit_code == 0, report.ending
        behind = await tools.history.database_now() - client.now
        assert abs(behind) < timedelta(minutes=1)


async def test_another_reading_leaves_the_clock_of_the_server_where_it_is(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Only its distance from the database's clock is known."""
    async with open_source(Pipeline(sandbox, dsn).settings) as (_, tools):
        client = tools.client
        client.source_ahead_s = 90.0
        before = client.now + timedelta(seconds=client.source_ahead_s)
        client.set_clock(client.now - timedelta(days=2))
        after = client.now + timedelta(seconds=client.source_ahead_s)
        assert abs(after - before) < timedelta(seconds=5)
