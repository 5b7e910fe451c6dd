"""The server does what real servers were seen to do; other tests of this folder rely on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from tests.adversary import foreign
from tests.adversary.conftest import StartAdversary
from tests.adversary.rows import insight, instant, recording, recordings, sharing
from tests.adversary.server import Adversary
from tests.support.command import Command
from tests.support.pipeline import Pipeline

LIST = "session_recordings/"
YEAR = timedelta(days=365)


async def ask(server: Adversary, path: str, **query: Any) -> tuple[int, Any]:
    """Request an address below the project."""
    url = f"{server.url}/api/projects/1/{path}"
    headers = {"Authorization": "Bearer phx_any"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(url, params=query) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


async def read(server: Adversary, limit: int, **query: Any) -> list[str]:
    """Read the recordings list as its form requires, from the first page to the last."""
    found: list[str] = []
    place: dict[str, Any] = {}
    while True:
        _, page = await ask(server, LIST, limit=limit, **query, **place)
        found += [row["id"] for row in page["results"]]
        if not (page["next"] if "next" in page else page["has_next"]):
            return found
        cursor = page.get("next_cursor")
        place = {"after": cursor} if cursor else {"offset": len(found)}


@pytest.mark.parametrize("envelope", ["cursor", "older", "documented"])
async def test_every_envelope_lists_each_recording_once_where_nothing_moves(
    start_adversary: StartAdversary, envelope: str
) -> None:
    """By cursor, by offset alone, and as documented; pages are clamped to ten."""
    server = await start_adversary(envelope=envelope, clamp=10)
    rows = recordings(35, server.now - timedelta(hours=1), ties=12)
    server.add(*rows)

    found = await read(server, 20)

    assert sorted(found) == sorted(each.id for each in rows)
    assert len(server.pages) == 4


async def test_ties_that_depend_on_the_offset_lose_rows_to_a_naive_reader(
    start_adversary: StartAdversary,
) -> None:
    """Sixty rows come, and some of them come twice."""
    server = await start_adversary(envelope="older", ties="by offset")
    server.add(*recordings(60, server.now - timedelta(hours=1), ties=40))

    found = await read(server, 10)

    assert len(found) == 60
    assert len(set(found)) < 60


async def test_dates_choose_pieces_and_cut_the_session(adversary: Adversary) -> None:
    """Asked for by its id it is whole. An unknown parameter is refused."""
    start = adversary.now - timedelta(hours=30)
    hour = timedelta(hours=1)
    pieces = [(start, start + hour, 2), (start + 26 * hour, start + 27 * hour, 1)]
    adversary.add(recording("long", start, pieces=pieces))
    since = instant(start + hour)

    _, cut = await ask(adversary, LIST, date_from=since)
    _, named = await ask(adversary, LIST, session_ids='["none","long"]')
    status, refused = await ask(adversary, LIST, colour="red")

    (row,) = cut["results"]
    assert (row["start_time"], row["click_count"]) == (instant(start + 26 * hour), 1)
    (row,) = named["results"]
    assert (row["start_time"], row["click_count"]) == (instant(start), 3)
    assert (status, refused["code"]) == (400, "invalid_input")


async def test_what_is_hidden_answers_forbidden_and_a_firewall_in_html(
    adversary: Adversary,
) -> None:
    """The list leaves out hidden records. The page of HTML comes once."""
    adversary.insights.rows = [insight(1), insight(2), insight(3)]
    adversary.insights.hidden = {2}
    adversary.shares["insights/1"] = sharing("token")
    adversary.when("insights/3/", foreign.page(403), times=1)

    _, listed = await ask(adversary, "insights/")
    status, said = await ask(adversary, "insights/2/")
    _, shared = await ask(adversary, "insights/1/sharing/")
    with pytest.raises(ValueError, match="Expecting value"):
        await ask(adversary, "insights/3/sharing/")

    assert [row["id"] for row in listed["results"]] == [1, 3]
    assert (status, said["code"]) == (403, "permission_denied")
    assert shared["access_token"] == "token"
    assert (await ask(adversary, "insights/3/sharing/"))[1]["enabled"] is False


async def test_the_command_and_the_pipeline_read_it(
    adversary: Adversary, command: Command, pipeline: Pipeline
) -> None:
    """The command loads everything, and the pipeline finds nothing new."""
    adversary.add(*recordings(45, adversary.now - timedelta(hours=1)))

    result = await command.run("sync", "--json")
    report = await pipeline.sync()

    assert result.code == 0, result.err
    assert result.report["rows"]["session_recordings"] == 45
    assert (report.ending.status, report.rows_inserted) == ("succeeded", 0)
