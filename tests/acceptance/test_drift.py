"""When the API changes, records stay fast to read, and the user is told once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.serving import serving
from tests.support.sql import select, value

ROWS = 200
CHANGED = {
    "mood": {"is": ["good", None]},
    "click_count": "3",
    "person.shoe_size": 43,
}
FIELDS = {
    ("session_recordings", "mood", None, "object"),
    ("session_recordings", "click_count", "integer", "string"),
    ("persons", "shoe_size", None, "integer"),
}


def told(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What the log says about drift."""
    names = ("table", "field", "expected", "found")
    return [tuple(e[name] for name in names) for e in events if e["event"] == "drift.found"]


@pytest.mark.parametrize("flavour", ["docs", "cloud"])
async def test_a_server_as_the_catalogue_knows_it_shows_no_drift(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """All streams; so that what is shown is news."""
    sandbox = await start_sandbox(recordings=ROWS, flavour=flavour)
    every = Command(sandbox.url, dsn, POSTHOG_ETL_DISABLED_STREAMS="")
    result = await every.run("sync", "--json")
    assert told(result.events) == []
    assert await select(dsn, "SELECT * FROM posthog_etl.drift") == []
    run = "FROM posthog_etl.runs WHERE stream = 'session_recordings'"
    assert await value(dsn, f"SELECT records_read_fast >= 0.9 * records_read {run}")


async def test_after_a_change_of_the_api_records_are_read_fast_and_the_user_is_told_once(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """In the log, in `status` and in the metrics; a second sync writes and tells nothing."""
    sandbox = await start_sandbox(recordings=ROWS, persons=10)
    mutation = {"record": "all", "set": CHANGED}
    match = {"path": "session_recordings"}
    sandbox.control.add_faults({"match": match, "fault": {"mutate": mutation}})
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PAGE_SIZE_RECORDS="100")
    result = await command.run("sync", "--json")
    assert result.code == 0, result.err
    assert set(told(result.events)) == FIELDS
    assert len(told(result.events)) == len(FIELDS)
    read, fast = result.report["records_read"], result.report["records_read_fast"]
    assert read >= ROWS
    assert read - fast <= 3
    stored = await select(dsn, "SELECT click_count, extra FROM posthog.session_recordings")
    assert len(stored) == ROWS
    assert all(row["extra"] == {"mood": CHANGED["mood"]} for row in stored)
    assert {row["click_count"] for row in stored} == {3}

    versions = "SELECT array_agg(xmin::text ORDER BY field) FROM posthog_etl.drift"
    before = await value(dsn, versions)
    again = await command.run("sync", "--json")
    assert told(again.events) == []
    assert await value(dsn, versions) == before

    (status,) = (await command.run("status", "--json")).document["streams"]
    names = ("table_name", "field", "expected", "found")
    assert {tuple(each[name] for name in names) for each in status["drift"]} == FIELDS
    assert 0.5 < status["read_fast_share"] < 1
    shown = (await command.run("status")).out
    assert "session_recordings.mood is new (object)" in shown
    assert "session_recordings.click_count came as string instead of integer" in shown
    async with serving(command) as service:
        await service.ran()
        figures = await service.metrics()
        page = (await service.get("/")).text
        await service.terminated()
    assert figures["posthog_etl_drift_fields 1 session_recordings"] == len(FIELDS)
    assert figures["posthog_etl_records_read_fast_total 1 session_recordings"] > 0
    assert "session_recordings.mood is new (object)" in page
