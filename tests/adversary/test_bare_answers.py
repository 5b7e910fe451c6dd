"""Defects 12 and 21: fields that an answer leaves null, slow queries, and an old prefix."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from aiohttp import web

from tests.adversary import foreign
from tests.adversary.rows import recording, recordings
from tests.adversary.server import Adversary, Asked
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select

BARE = ("ongoing", "activity_score", "expiry_time", "recording_ttl")


async def test_what_an_answer_by_ids_leaves_null_overwrites_nothing(
    adversary: Adversary, dsn: str
) -> None:
    """The list leaves one out. It is asked for by its id, and the answer has four nulls."""
    hour = timedelta(hours=1)
    start = adversary.now - 40 * hour
    pieces = [(start, start + hour, 2), (start + 20 * hour, start + 21 * hour, 1)]
    adversary.add(recording("long", start, pieces=pieces, activity_score=7.5, ongoing=False))
    adversary.add(*recordings(3, adversary.now))
    pipeline = Pipeline(adversary, dsn, lookback="30d")
    await pipeline.sync()
    fields = f"SELECT {', '.join(BARE)} FROM posthog.session_recordings WHERE id = 'long'"
    before = await select(dsn, fields)
    assert None not in before[0].values()
    adversary.bare_ids = True
    adversary.recordings["long"].fields["viewed"] = True
    adversary.when(lambda asked: "session_ids" not in asked.query, _left_out("long"))

    await pipeline.sync()

    assert any("session_ids" in asked.query for asked in adversary.requests)
    assert await select(dsn, f"{fields} AND viewed") == before


LOST = {
    "rows": ("DELETE FROM posthog.session_recordings", "missing"),
    "values": ("UPDATE posthog.session_recordings SET expiry_time = NULL", "different"),
}


@pytest.mark.parametrize(("change", "kind"), LOST.values(), ids=LOST.keys())
async def test_a_repair_loads_what_the_list_shows_if_an_answer_by_ids_leaves_it_null(
    adversary: Adversary, dsn: str, change: str, kind: str
) -> None:
    """It says that it repaired, and a later comparison agrees."""
    steady = {"activity_score": 7.5, "ongoing": False}
    start, hour = adversary.now, timedelta(hours=1)
    adversary.add(*(recording(f"r{n:02}", start - 6 * n * hour, **steady) for n in range(60)))
    adversary.bare_ids = True
    pipeline = Pipeline(adversary, dsn)
    await pipeline.sync()
    stored = f"SELECT id, {', '.join(BARE)} FROM posthog.session_recordings ORDER BY id"
    before = await select(dsn, stored)
    damaged = [row["id"] for row in before[3:40:9]]
    await select(dsn, f"{change} WHERE id = ANY ($1)", damaged)

    found = await pipeline.verify()
    repaired = await pipeline.verify(repair=True)

    assert found.found is not None
    assert found.found.total(kind) == len(damaged)
    assert (repaired.ending.exit_code, repaired.ending.reason) == (0, None)
    assert await select(dsn, stored) == before
    assert (await pipeline.verify()).ending.exit_code == 0


def _left_out(id: str) -> foreign.Answer:
    """Answer without this recording."""

    async def answer(_asked: Asked, proceed: foreign.Proceed) -> web.StreamResponse:
        body = json.loads(bytes(proceed().body))
        body["results"] = [row for row in body["results"] if row["id"] != id]
        return web.json_response(body)

    return answer


async def test_a_429_about_a_slow_query_is_asked_again_for_less(
    adversary: Adversary, command: Command
) -> None:
    """The page is halved until the server can answer it. No wait is needed."""
    adversary.add(*recordings(300, adversary.now))

    def is_large(asked: Asked) -> bool:
        return asked.path == "session_recordings/" and int(asked.query["limit"]) > 100

    adversary.when(is_large, foreign.throttled())
    with_short_waits = command.with_settings(POSTHOG_ETL_MAX_WAIT_S="1")

    result = await with_short_waits.run("sync", "--json")

    assert result.code == 0, result.err
    assert result.report["rows"]["session_recordings"] == 300
    limits = [int(asked.query["limit"]) for asked in adversary.pages]
    assert limits[:5] == [1000, 500, 250, 125, 62]
    assert not any(event["event"] == "request.failed" for event in result.events)


async def test_a_wait_of_a_day_counts_as_an_hour_and_is_reported(
    adversary: Adversary, command: Command
) -> None:
    """The run pauses for an hour, and reports the wait that the server named."""
    adversary.when("session_recordings/", foreign.throttled("Slow down.", retry_after=86_400))
    with_short_waits = command.with_settings(POSTHOG_ETL_MAX_WAIT_S="1")

    result = await with_short_waits.run("sync", "--json")

    assert result.code == 6
    assert "86400 seconds; we wait an hour" in result.report["reason"]
    (failed,) = [event for event in result.events if event["event"] == "request.failed"]
    assert (failed["wait_s"], failed["named_wait_s"]) == (3600.0, 86_400.0)


async def test_the_old_prefix_is_named_as_deprecated(
    adversary: Adversary, command: Command
) -> None:
    """It still works."""
    old = command.with_settings(POSTHOG_ETL_API_PREFIX="environments")

    result = await old.run("sync")

    assert result.code == 0
    (warning,) = [event for event in result.events if event["event"] == "setting.deprecated"]
    assert "2026-07-31" in warning["reason"]
