"""P5: a session cut by the dates of a request never replaces the whole one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.adversary import foreign
from tests.adversary.conftest import StartAdversary
from tests.adversary.rows import Recording, recording
from tests.adversary.server import Adversary
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TAIL_UNTIL = "SELECT tail_until FROM posthog_etl.watermarks"
TAIL_AN_HOUR_AGO = (
    "UPDATE posthog_etl.watermarks SET tail_until = tail_until - interval '1 hour' "
    "RETURNING tail_until"
)
BOOM = foreign.refused(500, "server_error", "Boom")


def far_apart(id: str, *starts: datetime, clicks: int = 1) -> Recording:
    """A session with a piece of ten minutes at each of these instants."""
    return recording(id, starts[0], pieces=[(at, at + HOUR / 6, clicks) for at in starts])


async def stored(dsn: str) -> dict[str, Any]:
    """Clicks, start and end of each stored recording."""
    rows = await select(
        dsn, "SELECT id, click_count, start_time, end_time FROM posthog.session_recordings"
    )
    return {row["id"]: (row["click_count"], row["start_time"], row["end_time"]) for row in rows}


def whole(*sessions: Recording) -> dict[str, Any]:
    """What should be stored of these sessions."""
    return {
        each.id: (
            sum(piece.clicks for piece in each.pieces),
            each.start,
            max(piece.end for piece in each.pieces),
        )
        for each in sessions
    }


def by_ids(server: Adversary) -> int:
    """How many requests asked for recordings by ids."""
    return sum("session_ids" in each.query for each in server.requests)


async def test_a_session_whose_pieces_are_days_apart_stays_whole_at_every_sync(
    adversary: Adversary, command: Command, dsn: str
) -> None:
    """The lookback shows only its last piece. It is asked for by id once per new answer."""
    now = adversary.now
    session = far_apart("far", now - 6 * DAY, now - 5 * DAY, now - 2 * HOUR)
    adversary.add(session, recording("other", now - HOUR))
    lookback = command.with_settings(POSTHOG_ETL_LOOKBACK="26h")
    assert (await lookback.run("sync")).code == 0
    assert (await stored(dsn))["far"] == whole(session)["far"]
    for questions in (1, 1, 1):
        result = await lookback.run("sync", "--json")
        assert (result.code, result.report["rows_updated"]) == (0, 0)
        assert (await stored(dsn))["far"] == whole(session)["far"]
        assert by_ids(adversary) == questions
    session.pieces.append(far_apart("late", now - HOUR, clicks=5).pieces[0])
    result = await lookback.run("sync", "--json")
    assert (result.code, result.report["rows_updated"], by_ids(adversary)) == (0, 1, 2)
    assert (await stored(dsn))["far"] == whole(session)["far"]


@pytest.mark.parametrize("envelope", ["cursor", "older"])
async def test_a_backfill_newest_first_joins_the_head_to_the_tail(
    start_adversary: StartAdversary, dsn: str, envelope: str
) -> None:
    """The window of its first piece ends days before its last piece, which is stored."""
    server = await start_adversary(envelope=envelope)
    today = server.now.replace(hour=0, minute=0, second=0, microsecond=0)
    session = far_apart("far", today - 9 * DAY + HOUR, today - 5 * DAY + HOUR)
    server.add(session, *(recording(f"day {n}", today - n * DAY) for n in range(1, 12)))
    pipeline = Pipeline(server, dsn)
    await pipeline.backfill(today - 6 * DAY, today - 4 * DAY)
    assert (await stored(dsn))["far"][0] == 1
    await pipeline.backfill(today - 10 * DAY, today - 8 * DAY)
    assert (await stored(dsn))["far"] == whole(session)["far"]
    for days in (6, 10):
        reports = await pipeline.backfill(today - days * DAY, today - (days - 2) * DAY, again=True)
        assert [report.rows_updated for report in reports] == [0, 0]
    assert (await stored(dsn))["far"] == whole(session)["far"]


async def test_a_run_that_stops_before_the_question_leaves_it_to_the_next(
    adversary: Adversary, pipeline: Pipeline, dsn: str
) -> None:
    """The page with the cut session is committed and is not read again."""
    today = adversary.now.replace(hour=0, minute=0, second=0, microsecond=0)
    session = far_apart("far", today - 9 * DAY + HOUR, today - 5 * DAY + HOUR)
    adversary.add(session, *(recording(f"day {n}", today - n * DAY) for n in range(1, 12)))
    await pipeline.backfill(today - 10 * DAY, today - 4 * DAY, "6d")
    session.pieces.append(far_apart("late", today - 4 * DAY - HOUR, clicks=5).pieces[0])
    window = (today - 6 * DAY, today - 4 * DAY)
    await pipeline.backfill(*window, "6d", again=True)
    session.pieces.append(far_apart("later", today - 4 * DAY - HOUR / 2, clicks=5).pieces[0])
    before = len(adversary.requests)
    await select(dsn, "UPDATE posthog_etl.watermarks SET complete = '{}'")
    await pipeline.stopped_backfill(*window)
    assert len(adversary.requests) == before + 1
    assert (await stored(dsn))["far"] != whole(session)["far"]
    await pipeline.backfill(*window)
    assert (await stored(dsn))["far"] == whole(session)["far"]


async def test_a_cut_session_whose_question_fails_is_asked_for_again(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """The request gets a 500. The run says so, and the next run loads the session whole."""
    server = await start_adversary(envelope="documented")
    now = server.now
    session = far_apart("far", now - 6 * DAY, now - 5 * DAY, now - 2 * HOUR)
    server.add(session, recording("other", now - HOUR))
    pipeline = Pipeline(server, dsn, lookback="26h")
    await pipeline.sync()
    session.pieces.append(far_apart("late", now - HOUR, clicks=5).pieces[0])
    server.when("session_recordings/far/", BOOM, 1)

    first = await pipeline.sync()
    assert (first.ending.exit_code, await stored(dsn) == whole(session)) == (3, False)
    assert "1 could not be asked about" in (first.ending.reason or "")

    assert (await pipeline.sync()).ending.exit_code == 0
    assert (await stored(dsn))["far"] == whole(session)["far"]


async def test_a_cut_session_that_is_not_found_beside_others_that_are_not_stays_owed(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """A server that finds no record by its key does not prove that this one is gone."""
    server = await start_adversary(envelope="documented")
    now = server.now
    session = far_apart("far", now - 6 * DAY, now - 5 * DAY, now - 2 * HOUR)
    server.add(session, recording("other", now - HOUR))
    pipeline = Pipeline(server, dsn, lookback="26h")
    await pipeline.sync()
    session.pieces.append(far_apart("late", now - HOUR, clicks=5).pieces[0])
    server.when(
        lambda asked: asked.path in ("session_recordings/far/", "session_recordings/other/"),
        foreign.refused(404, "not_found", "Not found."),
    )

    assert (await pipeline.sync()).ending.exit_code == 3
    server.rules.clear()

    assert (await pipeline.sync()).ending.exit_code == 0
    assert (await stored(dsn))["far"] == whole(session)["far"]


@pytest.mark.parametrize("envelope", ["documented", "cursor"])
async def test_cut_sessions_that_always_fail_keep_nothing_else_back(
    start_adversary: StartAdversary, dsn: str, envelope: str
) -> None:
    """Three of four fail, also if asked for together. The fourth loads, and the tail moves on."""
    server = await start_adversary(envelope=envelope)
    now = server.now
    far = [far_apart(f"far{n}", now - 6 * DAY, now - 5 * DAY, now - 2 * HOUR) for n in range(4)]
    server.add(*far, recording("other", now - HOUR))
    pipeline = Pipeline(server, dsn, lookback="26h")
    await pipeline.sync()
    for session in far:
        session.pieces.append(far_apart("late", now - HOUR, clicks=5).pieces[0])
    for name in ("far0", "far1", "far2"):
        server.when(f"session_recordings/{name}/", BOOM)
    server.when(lambda asked: "session_ids" in asked.query, BOOM)
    before = await value(dsn, TAIL_AN_HOUR_AGO)

    report = await pipeline.sync()

    assert report.ending.exit_code == 3, report.ending
    assert "3 could not be asked about" in (report.ending.reason or "")
    assert await value(dsn, TAIL_UNTIL) > before
    assert (await stored(dsn))["far3"] == whole(*far)["far3"]


async def test_a_server_that_answers_by_no_key_keeps_back_cut_sessions_alone(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """All fail, also the witness. New recordings load, and the tail moves on."""
    server = await start_adversary(envelope="documented")
    now = server.now
    far = [far_apart(f"far{n}", now - 6 * DAY, now - 5 * DAY, now - 2 * HOUR) for n in range(3)]
    server.add(*far, recording("other", now - HOUR))
    pipeline = Pipeline(server, dsn, lookback="26h")
    await pipeline.sync()
    for session in far:
        session.pieces.append(far_apart("late", now - HOUR, clicks=5).pieces[0])
    server.when(
        lambda asked: (
            asked.path.startswith("session_recordings/") and asked.path != "session_recordings/"
        ),
        BOOM,
    )
    before = await value(dsn, TAIL_AN_HOUR_AGO)

    report = await pipeline.sync()

    assert (report.ending.exit_code, await value(dsn, TAIL_UNTIL) > before) == (3, True)
    server.rules.clear()
    assert (await pipeline.sync()).ending.exit_code == 0
    assert (await stored(dsn))["far1"] == whole(*far)["far1"]
