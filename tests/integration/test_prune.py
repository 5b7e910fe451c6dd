"""What is forgotten after a while, and what never is."""

from __future__ import annotations

import uuid
from datetime import timedelta

from etl.loaders.database import Database
from etl.loaders.prune import prune
from etl.loaders.tables import Tables
from etl.streams import STREAMS
from tests.support.sql import select

DAY = timedelta(days=1)


async def add_run(dsn: str, unit: str, days_ago: float, *, ended: bool = True) -> str:
    """Add a run that began so long ago, and took no time."""
    run = str(uuid.uuid4())
    await select(
        dsn,
        "INSERT INTO posthog_etl.runs SELECT $1::uuid, 'sync', 1, 'insights', $2, 'succeeded', "
        "NULL, now() - $3::interval, CASE WHEN $4 THEN now() - $3::interval END, "
        "NULL, 0, 0, 0, 0, 0, 0",
        run,
        unit,
        timedelta(days=days_ago),
        ended,
    )
    return run


async def test_old_runs_are_forgotten_but_for_the_latest_of_each_unit(
    database: Database, dsn: str
) -> None:
    """And for one that has not ended."""
    kept = {
        await add_run(dsn, "snapshot", 89),
        await add_run(dsn, "snapshot", 95, ended=False),
        await add_run(dsn, "a window", 400),
    }
    for unit, days_ago in (("snapshot", 91), ("snapshot", 500), ("a window", 401)):
        await add_run(dsn, unit, days_ago)
    tables, streams = Tables("posthog"), STREAMS.values()
    assert await prune(database, tables, streams, 90 * DAY) == (3, 0)
    left = await select(dsn, "SELECT id::text FROM posthog_etl.runs")
    assert {row["id"] for row in left} == kept
    assert await prune(database, tables, streams, 90 * DAY) == (0, 0)


async def test_what_became_of_jobs_is_forgotten_after_a_day(database: Database, dsn: str) -> None:
    """It is in the runs, too."""
    await select(
        dsn,
        "INSERT INTO posthog_etl.pgqueuer_log (created, job_id, status, priority, entrypoint) "
        "SELECT now() - hours * interval '1 hour', hours, 'successful', 0, 'project:1' "
        "FROM (VALUES (1), (23), (25), (800)) AS v(hours)",
    )
    await prune(database, Tables("posthog"), STREAMS.values(), 90 * DAY)
    left = await select(dsn, "SELECT job_id FROM posthog_etl.pgqueuer_log ORDER BY 1")
    assert [row["job_id"] for row in left] == [1, 23]


async def test_turns_of_resources_that_are_gone_are_forgotten(database: Database, dsn: str) -> None:
    """Deleted, expired, or not there at all; each project and each stream by itself."""
    await select(
        dsn,
        "INSERT INTO posthog.session_recordings (project_id, id, _observed_at, _first_seen_at, "
        "_updated_at, _xid, _deleted_at, _expired_at) SELECT p, id, now(), now(), now(), 0, d, e "
        "FROM (VALUES (1, 'here', NULL::timestamptz, NULL::timestamptz), (1, 'gone', now(), NULL), "
        "(1, 'old', NULL, now()), (2, 'gone', NULL, NULL)) AS v(p, id, d, e)",
    )
    await select(
        dsn,
        "INSERT INTO posthog_etl.checks SELECT p, s, k, now() "
        "FROM (VALUES (1, 'recording_sharing', 'here'), (1, 'recording_sharing', 'gone'), "
        "(1, 'recording_sharing', 'old'), (1, 'recording_sharing', 'never'), "
        "(2, 'recording_sharing', 'gone'), (1, 'insight_sharing', 'here')) AS v(p, s, k)",
    )
    assert await prune(database, Tables("posthog"), STREAMS.values(), 90 * DAY) == (0, 4)
    left = await select(dsn, "SELECT project_id, stream, record_key FROM posthog_etl.checks")
    assert {tuple(row.values()) for row in left} == {
        (1, "recording_sharing", "here"),
        (2, "recording_sharing", "gone"),
    }
