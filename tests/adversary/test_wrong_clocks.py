"""P5: recordings that clients with wrong clocks date years ahead, or before `start`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.adversary.conftest import StartAdversary
from tests.adversary.foreign import error
from tests.adversary.rows import recording, recordings
from tests.adversary.server import Adversary
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FAR_OFF = datetime(2031, 5, 1, tzinfo=UTC)
STORED = "SELECT count(*) FROM posthog.session_recordings WHERE _deleted_at IS NULL"


async def ids(dsn: str) -> set[str]:
    """The ids of the stored recordings."""
    rows = await select(dsn, "SELECT id FROM posthog.session_recordings WHERE _deleted_at IS NULL")
    return {row["id"] for row in rows}


async def an_hour_passes(dsn: str) -> None:
    """Make the reading of what lies ahead due again."""
    await select(
        dsn,
        "UPDATE posthog_etl.watermarks SET traits = jsonb_set(traits, '{ahead,at}', "
        "to_jsonb((now() - interval '61 minutes')::text))",
    )


def ahead(server: Adversary) -> list[dict[str, str]]:
    """The requests for what lies ahead."""
    return [
        each.query
        for each in server.pages
        if each.query.get("date_to", "")[:4] == "2100" and each.query["date_from"][:4] != "1970"
    ]


async def test_recordings_years_ahead_are_loaded_within_the_hour_and_delay_nothing(
    adversary: Adversary, command: Command, dsn: str
) -> None:
    """They come first in the list; still the tail is read first, and its end is found early."""
    now = adversary.now
    young = recordings(30, now - HOUR)
    adversary.add(*young, *(recording(f"far{n}", FAR_OFF + n * DAY) for n in range(25)))
    command = command.with_settings(POSTHOG_ETL_PAGE_SIZE_RECORDS="20")
    first = await command.run("sync", "--json")
    assert (first.code, len(await ids(dsn)), len(ahead(adversary))) == (0, 55, 2)
    assert first.report["complete_until"] < (now + DAY).isoformat()
    adversary.add(recording("new", now - HOUR / 2), recording("new far", FAR_OFF - DAY))
    second = await command.run("sync", "--json")
    assert (second.code, second.report["rows_inserted"], len(ahead(adversary))) == (0, 1, 2)
    await an_hour_passes(dsn)
    # It took two requests, so it is read every two hours: one request an hour on average.
    assert (await command.run("sync")).code == 0
    assert len(ahead(adversary)) == 2
    await select(dsn, "UPDATE posthog_etl.watermarks SET traits = traits - 'ahead'")
    third = await command.run("sync", "--json")
    assert (third.code, third.report["rows_inserted"], third.report["rows_updated"]) == (0, 1, 0)
    assert (await ids(dsn)) == set(adversary.recordings)


async def test_one_that_vanishes_there_is_marked_and_the_others_are_not(
    adversary: Adversary, pipeline: Pipeline, dsn: str
) -> None:
    """Syncs within the hour do not read what lies ahead, and make no suspects of it."""
    adversary.add(*recordings(5, adversary.now), recording("a", FAR_OFF), recording("b", FAR_OFF))
    await pipeline.sync()
    del adversary.recordings["a"]
    asked = len(adversary.requests)
    await pipeline.sync()
    assert [each.query.get("session_ids") for each in adversary.requests[asked:]] == [None]
    assert {"a", "b"} <= await ids(dsn)
    await an_hour_passes(dsn)
    report = await pipeline.sync()
    assert report.ending.exit_code == 0
    assert await ids(dsn) == set(adversary.recordings)


async def test_a_session_that_jumps_years_ahead_is_loaded_whole(
    adversary: Adversary, pipeline: Pipeline, dsn: str
) -> None:
    """The tail shows its beginning, the window ahead its end."""
    now = adversary.now
    pieces = [(now - HOUR, now, 3), (FAR_OFF, FAR_OFF + HOUR, 4)]
    adversary.add(recording("jumps", now, pieces=pieces))
    for _ in range(2):
        assert (await pipeline.sync()).ending.exit_code == 0
        (row,) = await select(dsn, "SELECT * FROM posthog.session_recordings")
        assert (row["click_count"], row["start_time"]) == (7, now - HOUR)
        await an_hour_passes(dsn)


async def test_what_lies_ahead_costs_one_request_an_hour_and_plan_knows_it(
    adversary: Adversary, pipeline: Pipeline, dsn: str
) -> None:
    """A sync that finds nothing new sends one request, once an hour two."""
    adversary.add(*recordings(5, adversary.now))
    await pipeline.sync()
    for requests in (1, 2, 1):
        if requests == 2:
            await an_hour_passes(dsn)
        (unit_forecast,) = await pipeline.plan()
        report = await pipeline.sync()
        assert (unit_forecast.forecast.requests, report.requests) == (requests, requests)
        assert report.forecast_requests == requests


async def test_a_server_that_refuses_such_dates_is_read_all_the_same(
    adversary: Adversary, pipeline: Pipeline, dsn: str
) -> None:
    """The tail is complete. The request for dates ahead is repeated an hour later."""

    async def refuse(_asked: Any, _proceed: Any) -> Any:
        return error(400, "invalid_input", "date_to is out of range", kind="validation_error")

    adversary.add(*recordings(5, adversary.now))
    adversary.when(lambda each: each.query.get("date_to", "")[:4] == "2100", refuse)
    for _ in range(2):
        report = await pipeline.sync()
        assert (report.ending.exit_code, report.complete_until is not None) == (0, True)
    assert (len(ahead(adversary)), await value(dsn, STORED)) == (1, 5)


async def test_recordings_before_start_leave_a_hint_and_its_command_loads_them(
    adversary: Adversary, command: Command, dsn: str
) -> None:
    """One of them is from 1970: a clock that was reset."""
    now = adversary.now
    start = now - 9 * DAY
    command = command.with_settings(POSTHOG_ETL_START=start.isoformat())
    adversary.add(
        *recordings(5, now),
        recording("epoch", datetime(1970, 1, 1, 5, tzinfo=UTC), retention_days=90_000),
        recording("old", start - 2 * DAY, retention_days=90),
    )
    assert (await command.run("sync")).code == 0
    assert await value(dsn, STORED) == 5
    said = (await command.run("status")).out
    (hint,) = [line for line in said.splitlines() if "from before" in line]
    arguments = hint.split("posthog-etl ")[1].split()
    assert (await command.run(*arguments)).code == 0
    assert await ids(dsn) == set(adversary.recordings)
    assert "from before" not in (await command.run("status")).out
    asked = len(adversary.requests)
    assert (await command.run("sync")).code == 0
    assert len(adversary.requests) == asked + 1


@pytest.mark.parametrize("envelope", ["older", "documented"])
async def test_other_servers_that_filter_show_what_lies_ahead_too(
    start_adversary: StartAdversary, dsn: str, envelope: str
) -> None:
    """By limit and offset."""
    server = await start_adversary(envelope=envelope)
    server.add(*recordings(25, server.now), *(recording(f"f{n}", FAR_OFF) for n in range(3)))
    assert (await Pipeline(server, dsn).sync()).ending.exit_code == 0
    assert await ids(dsn) == set(server.recordings)


async def test_a_server_that_ignores_dates_shows_what_lies_ahead_by_itself(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """One request, and a second one in case a cache answered, find that out."""
    server = await start_adversary(envelope="documented", dates="ignored")
    server.add(*recordings(60, server.now), recording("far", FAR_OFF))
    pipeline = Pipeline(server, dsn)
    for _ in range(2):
        assert (await pipeline.sync()).ending.exit_code == 0
        await an_hour_passes(dsn)
    assert await ids(dsn) == set(server.recordings)
    assert len(ahead(server)) == 2
