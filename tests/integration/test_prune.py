"""What is forgotten after a while, and what never is."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import event

from etl.loaders.database import Database
from etl.loaders.prune import prune, prune_when_due
from etl.loaders.tables import Tables
from etl.sandbox.server import RunningSandbox
from etl.streams import STREAMS
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value

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


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Gather the statements of the block, without those that set up a transaction."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if "set_config" not in statement:
            found.append(statement)

    engine = database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_whoever_finds_nothing_to_forget_has_asked_once(database: Database, dsn: str) -> None:
    """Runs are forgotten once one of them is a day past its time, and with it all that are old."""
    tables, streams = Tables("posthog"), STREAMS.values()
    for days_ago in (1, 90.5, 90.9):
        await add_run(dsn, "snapshot", days_ago)
    with statements(database) as asked:
        assert await prune_when_due(database, tables, streams, 90 * DAY) is None
    assert len(asked) == 1
    await add_run(dsn, "snapshot", 91.1)
    assert await prune_when_due(database, tables, streams, 90 * DAY) == (3, 0)
    assert await prune_when_due(database, tables, streams, 90 * DAY) is None


async def test_cut_sessions_of_long_ago_are_forgotten_without_old_runs(
    database: Database, dsn: str
) -> None:
    """Those that are still owed stay."""
    await select(
        dsn,
        "INSERT INTO posthog_etl.cuts (project_id, stream, record_key, seen, noted_at, owed) "
        "SELECT 1, 'session_recordings', k, '', now() - d * interval '1 day', o "
        "FROM (VALUES ('young', 59, false), ('old', 62, false), ('owed', 62, true)) AS v(k, d, o)",
    )
    tables, streams = Tables("posthog"), STREAMS.values()
    assert await prune_when_due(database, tables, streams, 90 * DAY) == (0, 0)
    left = await select(dsn, "SELECT record_key FROM posthog_etl.cuts ORDER BY 1")
    assert [row["record_key"] for row in left] == ["owed", "young"]


async def test_a_sync_forgets_old_runs(sandbox: RunningSandbox, dsn: str) -> None:
    """Where nobody runs `serve`; what is young stays, and so does the latest of each unit."""
    pipeline = Pipeline(sandbox, dsn, keep_runs="10d")
    kept = {await add_run(dsn, "snapshot", 1), await add_run(dsn, "a window", 400)}
    await add_run(dsn, "snapshot", 12)
    report = await pipeline.sync()
    assert report.ending.exit_code == 0
    left = {row["id"] for row in await select(dsn, "SELECT id::text FROM posthog_etl.runs")}
    assert left == {*kept, report.run_id}


async def test_a_sync_that_cannot_forget_succeeds_all_the_same(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Old runs are no reason to fail."""
    await add_run(dsn, "snapshot", 1)
    await add_run(dsn, "snapshot", 400)
    await select(
        dsn,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'kept'; END $$",
    )
    await select(
        dsn,
        "CREATE TRIGGER refuse BEFORE DELETE ON posthog_etl.runs "
        "FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    report = await Pipeline(sandbox, dsn).sync()
    assert report.ending.exit_code == 0
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.runs") == 3


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
