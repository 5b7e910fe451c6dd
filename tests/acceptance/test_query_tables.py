"""The tables of configured queries: forget, remove and status know them, also later."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from etl import app
from etl.errors import EXIT_PARTIAL, EXIT_SUCCEEDED
from etl.streams.presets import PRESETS
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.queries import pipeline, stored, untruths
from tests.support.sql import select, value
from tests.support.streams import SMALL, endings

TABLES = ("events", "sessions", "person_distinct_ids", "persons_by_query")


async def test_forget_deletes_a_person_from_the_tables_of_queries_and_keeps_them_away(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Also from the table of a query that is no longer configured."""
    sandbox = await start_sandbox(**SMALL)
    flow = pipeline(sandbox, dsn, *TABLES)
    assert not endings(await flow.sync_each())
    person = await value(dsn, "SELECT min(person_id::text) FROM posthog_queries.events")
    command = Command(sandbox.url, dsn)
    assert (await command.run("forget", person, "--yes")).code == EXIT_SUCCEEDED
    for table in ("events", "sessions", "person_distinct_ids", "persons_by_query"):
        assert person not in {row[0] for row in await stored(dsn, table, "person_id")}
    await select(dsn, "UPDATE posthog_etl.watermarks SET tail_until = NULL, traits = NULL")
    assert not endings(await flow.sync_each())
    for table in ("events", "sessions", "person_distinct_ids", "persons_by_query"):
        left = await untruths(dsn, sandbox, table)
        assert left
        assert all("lacks" in each for each in left)
        # Of a session, what is compared does not name the person.
        assert table == "sessions" or all(person in each for each in left)


async def test_remove_deletes_the_rows_of_queries(start_sandbox: StartSandbox, dsn: str) -> None:
    """Of this project only; the tables stay."""
    sandbox = await start_sandbox(**SMALL, projects=(1, 2))
    flow = pipeline(sandbox, dsn, "events", project_id="1,2")
    assert not endings(await flow.sync_each())
    command = Command(sandbox.url, dsn)
    removed = await command.run("remove", "--project", "1", "--yes")
    assert removed.code == EXIT_SUCCEEDED
    assert "query:events" in removed.out + removed.err
    left = await select(dsn, "SELECT DISTINCT project_id FROM posthog_queries.events")
    assert left == [{"project_id": 2}]


async def test_status_knows_queries(start_sandbox: StartSandbox, dsn: str) -> None:
    """With their rows, as long as they are configured: one that is not can no longer be mended."""
    sandbox = await start_sandbox(**SMALL)
    assert not endings(await pipeline(sandbox, dsn, "events").sync_each())
    without = await app.status(Pipeline(sandbox, dsn).settings, counts=True)
    assert without.streams == []
    flow = pipeline(sandbox, dsn, "events")
    (row,) = (await app.status(flow.settings, counts=True)).streams
    assert row["rows"]["events"].rows == len(list(sandbox.control.truth_rows("events", 1)))
    assert row["lag_s"] is not None


async def test_query_list_and_query_run_are_commands(start_sandbox: StartSandbox, dsn: str) -> None:
    """A name that there is not is answered with the nearest one."""
    sandbox = await start_sandbox(**SMALL)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_QUERY_PRESETS="events")
    listed = await command.run("query", "list")
    assert [line.split()[:2] for line in listed.out.splitlines()[1:3]] == [
        ["events", "yes"],
        ["sessions", "no"],
    ]
    wrong = await command.run("query", "run", "event")
    assert (wrong.code, "did you mean events?" in wrong.err) == (2, True)
    done: Any = await command.run("query", "run", "events", "--json")
    assert done.code == EXIT_SUCCEEDED
    assert len(await stored(dsn, "events", "uuid")) > 0


async def test_a_rejected_row_of_a_query_is_loaded_again_into_its_own_columns(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The configuration does not say which there are."""
    sandbox = await start_sandbox(**SMALL)
    assert not endings(await pipeline(sandbox, dsn, "events").sync_each())
    await select(
        dsn,
        "ALTER TABLE posthog_queries.events ADD CONSTRAINT odd CHECK (event <> 'odd') NOT VALID",
    )
    done = sandbox.control.change({"op": "add_events", "event": "odd", "created_at": "-1h"})
    (uuid,) = done[0]["uuids"]
    await select(dsn, "UPDATE posthog_etl.watermarks SET tail_until = NULL, traits = NULL")
    reports = await pipeline(sandbox, dsn, "events").sync_each()
    assert [report.rejected for report in reports] == [1]
    await select(dsn, "ALTER TABLE posthog_queries.events DROP CONSTRAINT odd")
    command = Command(sandbox.url, dsn, POSTHOG_ETL_QUERY_PRESETS="events")
    assert (await command.run("rejects", "retry")).code == EXIT_SUCCEEDED
    (row,) = await select(
        dsn, "SELECT event, extra FROM posthog_queries.events WHERE uuid = $1::uuid", uuid
    )
    assert row == {"event": "odd", "extra": None}


async def test_a_refused_endpoint_makes_a_sync_partial_only_if_it_was_asked_for_by_name(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A project may come to refuse it at any time."""
    sandbox = await start_sandbox(**SMALL, query_access="forbidden")
    command = Command(sandbox.url, dsn, POSTHOG_ETL_QUERY_PRESETS="events")
    done = await command.run("sync")
    assert done.code == EXIT_SUCCEEDED
    assert "Add the scope query:read" in done.out
    assert (await command.run("sync", "query:events")).code == EXIT_PARTIAL


async def test_forget_names_the_tables_that_do_not_say_whose_their_rows_are(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A query may have named its columns otherwise; then nothing can find the person there."""
    sandbox = await start_sandbox(**SMALL)
    spec = {
        "name": "renamed",
        "query": "SELECT uuid, distinct_id AS who FROM events",
        "key": ["uuid"],
    }
    flow = Pipeline(sandbox, dsn, streams=["query:renamed"], queries=[spec])
    assert not endings(await flow.sync_each())
    done = await Command(sandbox.url, dsn).run("forget", "somebody@example.com", "--yes")
    assert done.code == EXIT_SUCCEEDED
    assert "Not searched" in done.out
    assert "posthog_queries.renamed" in done.out


async def test_plan_says_what_a_sync_reads_of_a_query(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """By the cursor from the last reading on; a whole one only if it is due."""
    sandbox = await start_sandbox(**SMALL)
    names = "events,cohort_people"
    command = Command(sandbox.url, dsn, POSTHOG_ETL_QUERY_PRESETS=names)
    streams = ("query:events", "query:cohort_people")

    async def planned() -> dict[str, dict[str, Any]]:
        result = await command.run("plan", *streams, "--json")
        return {each["stream"]: each for each in result.document["plan"]}

    before = await planned()
    assert before["query:events"]["since"].startswith("2020-01-01T00:00:00")
    assert before["query:events"]["said"].startswith("rows are read whose created_at lies in this")
    assert before["query:cohort_people"]["said"].startswith("all rows are read, and those that are")
    for stream in streams:
        sandbox.control.reset_requests()
        assert (await command.run("sync", stream)).code == EXIT_SUCCEEDED

    after = await planned()
    known = await value(
        dsn, "SELECT tail_until FROM posthog_etl.watermarks WHERE stream = 'query:events'"
    )
    since = datetime.fromisoformat(after["query:events"]["since"])
    assert since == known - PRESETS["events"].lookback
    whole = after["query:cohort_people"]
    assert (whole["requests"], whole["windows"]) == (0, 0)
    assert "when it is due; to read it now: posthog-etl query run cohort_people" in whole["said"]
    shown = await command.run("plan", *streams)
    assert f"query:cohort_people: {whole['said']}" in shown.out
