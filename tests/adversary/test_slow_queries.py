"""P8: if the server says that a query is too slow, fewer rows are asked for, then less time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.adversary.conftest import StartAdversary
from tests.adversary.foreign import Predicate, refused
from tests.adversary.rows import recording, recordings
from tests.adversary.server import Adversary, Asked
from tests.support.pipeline import Pipeline
from tests.support.sql import select

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TOO_SLOW = refused(512, "estimated_time_too_long", "Estimated query execution time is too long.")
# Both margins of a window together.
MARGINS = timedelta(hours=50)


def is_of_windows(asked: Asked) -> bool:
    """Tell whether it asks for a page by date, but not for dates far ahead or long ago."""
    query = asked.query
    return "date_to" in query and not (
        "session_ids" in query or query["date_to"][:4] == "2100" or query["date_from"][:4] == "1970"
    )


def questions(server: Adversary) -> list[dict[str, str]]:
    """The parameters of each request for a window, in order."""
    return [each.query for each in server.requests if is_of_windows(each)]


def hours_of(query: dict[str, str]) -> float:
    """The length of the range asked for, in hours."""
    since, until = (datetime.fromisoformat(query[name]) for name in ("date_from", "date_to"))
    return (until - since) / HOUR


def longer_than(manages: timedelta) -> Predicate:
    """Match requests for a longer range than this."""
    return lambda asked: is_of_windows(asked) and hours_of(asked.query) > manages / HOUR


async def stored(dsn: str) -> set[str]:
    """The ids of the stored recordings."""
    found = "SELECT id FROM posthog.session_recordings WHERE _deleted_at IS NULL"
    return {row["id"] for row in await select(dsn, found)}


@pytest.mark.parametrize("envelope", ["cursor", "older", "documented"])
async def test_a_window_that_is_too_slow_is_read_in_shorter_stretches(
    start_adversary: StartAdversary, dsn: str, envelope: str
) -> None:
    """The first load of twenty days; the server manages three days at once, margins included."""
    server = await start_adversary(envelope=envelope)
    now = server.now
    server.add(*recordings(300, now, timedelta(minutes=90), ties=30))
    server.add(recording("long", now - 9 * DAY, minutes=23 * 60))
    server.when(longer_than(MARGINS + DAY), TOO_SLOW)
    pipeline = Pipeline(server, dsn, start=now - 20 * DAY, page_size_records=200)
    report = await pipeline.sync()
    assert (report.ending.status, report.ending.reason) == ("succeeded", None)
    assert await stored(dsn) == set(server.recordings)
    asked = questions(server)
    # Three times fewer rows, then half the time until that works; no request is repeated.
    assert [each["limit"] for each in asked[:4]] == ["200", "100", "50", "50"]
    refused_first = [hours_of(each) for each in asked[2:] if hours_of(each) > 74]
    assert refused_first == sorted(set(refused_first), reverse=True)
    assert len({tuple(sorted(each.items())) for each in asked}) == len(asked)
    (ahead,) = [each.query for each in server.pages if each.query["date_to"][:4] == "2100"]
    assert datetime.fromisoformat(ahead["date_from"]) > now + 23 * HOUR
    again = await pipeline.sync()
    assert (again.ending.exit_code, again.rows_inserted, again.rows_updated) == (0, 0, 0)
    assert (await pipeline.status())["holes"] == ()


async def test_stretches_outlast_the_run_that_began_them(adversary: Adversary, dsn: str) -> None:
    """Each run stops after a page. The next goes on there, with the length that worked."""
    now, manages = adversary.now, MARGINS + 26 * HOUR
    adversary.add(*recordings(200, now, HOUR))
    adversary.when(longer_than(manages), TOO_SLOW)
    pipeline = Pipeline(adversary, dsn, start=now - 8 * DAY, page_size_records=100, lookback="26h")
    refusals = 0
    for run in range(40):
        await pipeline.stopped_sync()
        before, refusals = refusals, sum(map(longer_than(manages), adversary.requests))
        assert run == 0 or refusals == before
        if (await pipeline.status())["complete"].spans:
            break
    assert await stored(dsn) == {
        each.id for each in adversary.recordings.values() if each.start >= now - 8 * DAY
    }


async def test_a_list_that_becomes_too_slow_midway_goes_on_where_it_was(
    adversary: Adversary, dsn: str
) -> None:
    """What was read is not asked for again. Deletions are noticed in every stretch."""
    now = adversary.now
    adversary.add(*recordings(200, now, HOUR))
    pipeline = Pipeline(adversary, dsn, page_size_records=50, lookback="9d")
    assert (await pipeline.sync()).ending.exit_code == 0
    for gone in ("r000010", "r000049", "r000050", "r000120", "r000190"):
        del adversary.recordings[gone]
    adversary.when(
        lambda each: longer_than(MARGINS + 2 * DAY)(each) and "after" in each.query, TOO_SLOW
    )
    first = len(adversary.requests)
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await stored(dsn) == set(adversary.recordings)
    asked = [each.query for each in adversary.requests[first:] if is_of_windows(each)]
    # The first page reached two days back. The next request begins there, plus a margin.
    assert datetime.fromisoformat(asked[2]["date_to"]) < now - 20 * HOUR


async def test_a_backfill_shortens_its_windows_once(adversary: Adversary, dsn: str) -> None:
    """Further windows under the same cursor use the length that worked."""
    today = adversary.now.replace(hour=0, minute=0, second=0, microsecond=0)
    adversary.add(*recordings(400, today, HOUR))
    adversary.when(longer_than(MARGINS + 3 * DAY), TOO_SLOW)
    pipeline = Pipeline(adversary, dsn, page_size_records=50)
    reports = await pipeline.backfill(today - 15 * DAY, today, "2d")
    assert {report.ending.status for report in reports} == {"succeeded"}
    owned = [each for each in adversary.recordings.values() if each.start >= today - 15 * DAY]
    assert await stored(dsn) == {each.id for each in owned if each.start < today}
    asked = questions(adversary)
    assert sum(hours_of(each) > 50 + 72 for each in asked) == 3
    again = await pipeline.backfill(today - 15 * DAY, today, "2d", again=True)
    assert sum(report.rows_updated + report.rows_inserted for report in again) == 0


async def test_a_server_that_is_too_slow_for_an_hour_is_left_with_clear_words(
    adversary: Adversary, dsn: str
) -> None:
    """No request is repeated within the run; the next run tries again."""
    adversary.add(*recordings(50, adversary.now))
    adversary.when(is_of_windows, TOO_SLOW)
    pipeline = Pipeline(adversary, dsn, page_size_records=50, request_attempts=4)
    report = await pipeline.sync()
    assert (report.ending.status, report.ending.exit_code) == ("failed", 1)
    assert "too slow for 50 recordings of one hour" in str(report.ending.reason)
    assert "Estimated query execution time is too long" in str(report.ending.reason)
    asked = [tuple(sorted(each.items())) for each in questions(adversary)]
    assert len(set(asked)) == len(asked) < 25
    adversary.rules.clear()
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await stored(dsn) == set(adversary.recordings)


async def test_a_question_by_ids_that_is_too_slow_is_halved(adversary: Adversary, dsn: str) -> None:
    """Down to a single id if necessary."""
    adversary.add(*recordings(60, adversary.now - HOUR))
    pipeline = Pipeline(adversary, dsn, deletion_guard_share=1)
    assert (await pipeline.sync()).ending.exit_code == 0
    for number in range(8, 48):
        del adversary.recordings[f"r{number:06}"]
    adversary.when(lambda each: each.query.get("session_ids", "").count(",") > 10, TOO_SLOW)
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await stored(dsn) == set(adversary.recordings)
