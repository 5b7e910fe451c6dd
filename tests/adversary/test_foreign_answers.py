"""Defects 5 and 20: whose answer decides about a record, and refused requests in a rotation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.adversary import foreign
from tests.adversary.foreign import refused
from tests.adversary.rows import insight, instant, playlist, recording, recordings, sharing
from tests.adversary.server import Adversary, Asked
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value

SHARED = "SELECT resource_id FROM posthog.publicly_shared_now ORDER BY 1"
CHECKED = "SELECT count(*) FROM posthog_etl.checks WHERE checked_at IS NOT NULL"
GONE = "Project not found."


def sharing_of(*ids: int) -> set[str]:
    """Return the addresses of the sharing of these insights."""
    return {f"insights/{id}/sharing/" for id in ids}


def asks_for(paths: set[str]) -> foreign.Predicate:
    """Return a predicate that matches requests for these paths."""

    def matches(asked: Asked) -> bool:
        return asked.path in paths

    return matches


async def shared(dsn: str) -> Sequence[str]:
    """Return what anyone with a link can open, according to the view."""
    return [row["resource_id"] for row in await select(dsn, SHARED)]


async def test_resources_that_a_firewall_refuses_stay_due(
    adversary: Adversary, command: Command, dsn: str
) -> None:
    """25 of 30 get its page. None of them counts as checked, and the run says so."""
    adversary.insights.rows = [insight(number) for number in range(1, 31)]
    adversary.shares = {f"insights/{number}": sharing("token") for number in range(1, 31)}
    blocked = sharing_of(*range(1, 26))
    adversary.when(asks_for(blocked), foreign.page(403))
    with_short_waits = command.with_settings(
        POSTHOG_ETL_REQUEST_ATTEMPTS="1", POSTHOG_ETL_DISABLED_STREAMS=""
    )

    result = await with_short_waits.run("sync", "insights", "insight_sharing", "--json")
    answered = {asked.path for asked in adversary.requests} & sharing_of(*range(26, 31))

    assert result.code == 1
    assert "Something other than PostHog answered 403: a web page" in result.out
    assert await value(dsn, CHECKED) == len(answered)
    adversary.rules.clear()
    assert (await with_short_waits.run("sync", "insights", "insight_sharing")).code == 0
    assert len(await shared(dsn)) == await value(dsn, CHECKED) == 30


@pytest.mark.parametrize("status", [401, 402, 403, 404, 410, 429])
async def test_a_page_of_another_machine_never_decides(
    adversary: Adversary, command: Command, dsn: str, status: int
) -> None:
    """Whatever its status: the run fails, the key is not refused, and nothing is gone."""
    adversary.add(*recordings(5, adversary.now))
    settings = {"POSTHOG_ETL_REQUEST_ATTEMPTS": "1", "POSTHOG_ETL_MAX_WAIT_S": "1"}
    with_short_waits = command.with_settings(**settings)
    await with_short_waits.run("sync")
    adversary.recordings.popitem()
    adversary.when("session_recordings/r", foreign.page(status))
    adversary.when(lambda asked: "session_ids" in asked.query, foreign.page(status))

    result = await with_short_waits.run("sync")

    assert result.code == (6 if status == 429 else 1)
    deleted = "SELECT count(*) FROM posthog.session_recordings WHERE _deleted_at IS NOT NULL"
    assert await value(dsn, deleted) == 0


async def test_a_404_that_names_the_project_is_believed_when_the_project_is_gone(
    adversary: Adversary, dsn: str
) -> None:
    """The project is asked for once. It exists, so the other resources are checked."""
    adversary.insights.rows = [insight(number) for number in range(1, 13)]
    said = refused(404, "not_found", GONE)
    adversary.when(asks_for(sharing_of(3, 4, 5, 6, 7)), said)
    await Pipeline(adversary, dsn, streams=("insights",)).sync()
    pipeline = Pipeline(adversary, dsn, streams=("insight_sharing",))

    report = await pipeline.sync()

    assert (report.ending.exit_code, report.records_read) == (0, 7)
    assert len(adversary.asked("")) - len([a for a in adversary.requests if a.path]) == 1


async def test_a_project_that_is_gone_stops_the_rotation(adversary: Adversary, dsn: str) -> None:
    """The run names the remedy."""
    adversary.insights.rows = [insight(number) for number in range(1, 13)]
    await Pipeline(adversary, dsn, streams=("insights",)).sync()
    adversary.when(lambda asked: True, refused(404, "not_found", GONE))
    before = len(adversary.requests)

    report = await Pipeline(adversary, dsn, streams=("insight_sharing",)).sync()

    assert (report.ending.exit_code, len(adversary.requests) - before) == (3, 2)
    assert "POSTHOG_PROJECT_ID" in (report.ending.reason or "")


async def test_a_playlist_that_a_firewall_keeps_closed_blocks_no_other(
    adversary: Adversary, dsn: str
) -> None:
    """The others are read and judged. Its own items are not, and the run says so."""
    now = adversary.now
    adversary.add(*(recording(name, now) for name in "abc"))
    adversary.playlists.rows = [playlist(name) for name in ("p1", "p2", "p3")]
    adversary.collections = "pages"
    adversary.items = {"p1": ["a"], "p2": ["b"], "p3": ["c"]}
    pipeline = Pipeline(adversary, dsn, streams=("playlists",))
    assert (await pipeline.sync()).ending.exit_code == 0
    adversary.when("session_recording_playlists/p2/recordings/", foreign.page(403))
    adversary.items = {"p1": ["b"], "p2": [], "p3": ["c"]}

    report = await pipeline.sync()

    assert report.ending.exit_code == 3
    assert "something other than PostHog answered" in (report.ending.reason or "")
    items = "SELECT short_id, recording_id FROM posthog.session_recording_playlist_items"
    left = await select(dsn, f"{items} WHERE _deleted_at IS NULL ORDER BY 1")
    assert [tuple(row.values()) for row in left] == [("p1", "b"), ("p2", "b"), ("p3", "c")]


async def test_playlists_that_a_firewall_blocks_here_and_there_keep_no_other_back(
    adversary: Adversary, dsn: str
) -> None:
    """Three of twelve, none next to another: the other nine are read at every sync."""
    adversary.add(recording("a", adversary.now))
    adversary.playlists.rows = [playlist(f"p{number:02}") for number in range(12)]
    adversary.items = {f"p{number:02}": ["a"] for number in range(12)}
    for number in (1, 4, 8):
        adversary.when(f"session_recording_playlists/p{number:02}/recordings/", foreign.page(403))
    pipeline = Pipeline(adversary, dsn, streams=("playlists",))

    report = await pipeline.sync()

    assert report.ending.exit_code == 3, report.ending
    assert "3 could not be asked about" in (report.ending.reason or "")
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recording_playlist_items") == 9


async def test_playlists_side_by_side_that_a_firewall_blocks_are_passed_over_by_the_next_sync(
    adversary: Adversary, dsn: str
) -> None:
    """Three in a row may be the server, so the run fails; the next run goes on after them."""
    adversary.add(recording("a", adversary.now))
    adversary.playlists.rows = [playlist(f"p{number:02}") for number in range(12)]
    adversary.items = {f"p{number:02}": ["a"] for number in range(12)}
    for number in (4, 5, 6):
        adversary.when(f"session_recording_playlists/p{number:02}/recordings/", foreign.page(403))
    pipeline = Pipeline(adversary, dsn, streams=("playlists",))

    endings = [(await pipeline.sync()).ending.exit_code for _ in range(2)]

    assert endings == [1, 3]
    assert await value(dsn, "SELECT count(*) FROM posthog.session_recording_playlist_items") == 9


async def test_a_share_that_was_switched_off_is_not_listed_after_the_next_sync(
    adversary: Adversary, command: Command, dsn: str
) -> None:
    """However many new insights came meanwhile: they get only a quarter of the requests."""
    adversary.insights.rows = [insight(number) for number in range(1, 9)]
    adversary.shares = {"insights/3": sharing("a"), "insights/5": sharing("b")}
    few = command.with_settings(POSTHOG_ETL_SHARING_REQUESTS="8", POSTHOG_ETL_DISABLED_STREAMS="")
    assert (await few.run("sync", "insights", "insight_sharing")).code == 0
    assert await shared(dsn) == ["3", "5"]
    created_at = instant(adversary.now)
    adversary.shares["insights/3"] = sharing("a", enabled=False)
    adversary.insights.rows += [insight(n, created_at=created_at) for n in range(100, 120)]
    before = len(adversary.requests)

    assert (await few.run("sync", "insights", "insight_sharing")).code == 0

    assert await shared(dsn) == ["5"]
    asked = {each.path for each in adversary.requests[before:]}
    assert len(asked & sharing_of(*range(100, 120))) == 6
