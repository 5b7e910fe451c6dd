"""P2: lists by limit and offset whose rows tie, that are clamped, ignore dates or repeat."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from etl.errors import EXIT_PARTIAL
from tests.adversary import foreign
from tests.adversary.conftest import StartAdversary
from tests.adversary.rows import person_of, playlist, recording, recordings
from tests.adversary.server import Adversary, Asked
from tests.support.pipeline import Pipeline
from tests.support.sql import count_earlier, select, value

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COUNTED = {"envelope": "documented"}
OLDER = {"envelope": "older"}


async def missing(dsn: str, server: Adversary) -> int:
    """How many recordings of the server are not stored."""
    alive = "SELECT id FROM posthog.session_recordings WHERE _deleted_at IS NULL"
    return len(set(server.recordings) - {row["id"] for row in await select(dsn, alive)})


@pytest.mark.parametrize("options", [COUNTED, OLDER], ids=["count", "has_next"])
@pytest.mark.parametrize(("rows", "ties", "page"), [(650, 150, 100), (1500, 60, 200)])
async def test_ties_whose_order_depends_on_the_offset_lose_nothing_without_a_word(
    start_adversary: StartAdversary,
    dsn: str,
    options: dict[str, str],
    rows: int,
    ties: int,
    page: int,
) -> None:
    """Pages are clamped. If the server counts, or the ties fit on a page, nothing is lost."""
    server = await start_adversary(ties="by offset", clamp=page, **options)
    server.add(*recordings(rows, server.now - HOUR, timedelta(minutes=2), ties=ties))
    report = await Pipeline(server, dsn, page_size_records=page).sync()
    lost = await missing(dsn, server)
    assert lost == 0 or report.ending.exit_code == 3
    if options is COUNTED or ties < page // 2:
        assert (lost, report.ending.status) == (0, "succeeded"), report.ending.reason


async def test_items_of_a_collection_that_tie_are_all_found(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """The older server pages through them by offset."""
    server = await start_adversary(ties="by offset", clamp=100, collections="pages", **OLDER)
    server.add(*recordings(350, server.now - HOUR, timedelta(minutes=2), ties=40))
    server.playlists.rows = [playlist("abc", type="collection")]
    server.items["abc"] = list(server.recordings)
    report = await Pipeline(server, dsn, streams=["playlists"], page_size_records=100).sync()
    assert report.ending.exit_code == 0, report.ending.reason
    items = "SELECT count(*) FROM posthog.session_recording_playlist_items"
    assert await value(dsn, items) == 350


async def test_a_clamp_costs_no_request_and_one_pass_is_enough(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """30 pages of 80 new rows each: a first load takes 30 requests, and so does the next one."""
    server = await start_adversary(clamp=100, dates="ignored", **COUNTED)
    server.add(*recordings(2400, server.now - HOUR, timedelta(minutes=10)))
    pipeline = Pipeline(server, dsn, page_size_records=1000)
    assert (await pipeline.sync()).ending.exit_code == 0
    # Two more requests find out that the server ignores dates.
    assert (await missing(dsn, server), len(server.pages)) == (0, 32)
    await select(dsn, count_earlier(25))
    before = len(server.pages)
    assert (await pipeline.sync()).ending.exit_code == 0
    assert len(server.pages) - before == 30


@pytest.mark.parametrize("refused", ["by the server of before", "for a moment"])
async def test_a_server_that_takes_dates_after_a_refusal_loses_nothing(
    start_adversary: StartAdversary, dsn: str, refused: str
) -> None:
    """Without dates it shows the last three days only, and its answer looks whole."""
    server = await start_adversary(counts=False, **COUNTED)
    server.add(*recordings(40, server.now - HOUR, timedelta(hours=6)))
    if refused == "for a moment":
        answer = foreign.refused(400, "invalid_input", "Try again.")
        server.when("session_recordings/", answer, times=1)
    else:
        server.dates = "refused"
    pipeline = Pipeline(server, dsn, lookback="30d")
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await missing(dsn, server) == 0
    server.dates = "honoured"
    server.add(recording("late", server.now - 5 * DAY))
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await missing(dsn, server) == 0


async def test_a_server_that_counts_more_than_it_lists_is_partial_until_that_is_accepted(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """The run names the command that accepts it after three runs with the same difference."""
    server = await start_adversary(count_off_by=2, clamp=50, **COUNTED)
    server.add(*recordings(120, server.now - HOUR))
    pipeline = Pipeline(server, dsn, page_size_records=50)
    endings = [(await pipeline.sync()).ending for _ in range(3)]
    assert [ending.exit_code for ending in endings] == [3, 3, 3]
    reasons = [ending.reason or "" for ending in endings]
    assert "2 rows more than it showed" in reasons[0]
    offer = "sync --accept-count session_recordings"
    assert [offer in reason for reason in reasons] == [False, False, True]
    assert await missing(dsn, server) == 0
    assert (await pipeline.status())["unaccounted"] == 2
    accepted = await pipeline.sync(accept_counts=["session_recordings"])
    assert accepted.ending.exit_code == 0, accepted.ending.reason
    assert (await pipeline.sync()).ending.exit_code == 0
    assert (await pipeline.status())["unaccounted"] == 0


async def test_a_sync_of_a_counted_list_is_left_where_its_window_ends(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """The list comes newest first, so older recordings are not read again."""
    server = await start_adversary(clamp=100, **COUNTED)
    server.add(*recordings(2000, server.now - HOUR, timedelta(minutes=10)))
    pipeline = Pipeline(server, dsn, page_size_records=100, lookback="26h")
    assert (await pipeline.sync()).ending.exit_code == 0
    before = len(server.pages)
    server.add(recording("new", server.now - HOUR / 2))
    report = await pipeline.sync()
    # 26 hours of the list hold 157 recordings.
    assert (report.ending.exit_code, report.rows_inserted) == (0, 1)
    assert len([e for e in server.pages[before:] if e.query["date_to"][:4] != "2100"]) == 2


class IgnoresDates:
    """A server that ignores dates, synced once: 600 recordings over 25 days, pages of 100."""

    def __init__(self, server: Adversary, dsn: str) -> None:
        self.server, self.dsn, self.read = server, dsn, 0
        self.pipeline = Pipeline(server, dsn, page_size_records=100, lookback="26h")

    async def sync(self) -> tuple[int, int]:
        """Sync; return the exit code and the number of pages read."""
        before = len(self.server.pages)
        self.report = await self.pipeline.sync()
        return self.report.ending.exit_code, len(self.server.pages) - before

    async def unaccounted(self) -> int:
        """How many rows `status` shows as unaccounted for."""
        return int((await self.pipeline.status())["unaccounted"])


@pytest.fixture
async def ignores_dates(start_adversary: StartAdversary, dsn: str) -> IgnoresDates:
    """See `IgnoresDates`."""
    server = await start_adversary(dates="ignored", clamp=100, **COUNTED)
    server.add(*recordings(600, server.now - HOUR, HOUR))
    found = IgnoresDates(server, dsn)
    assert await found.sync() == (0, 10)
    return found


async def test_only_the_front_is_read_while_the_count_fits(ignores_dates: IgnoresDates) -> None:
    """New keys explain a larger count. Once a day the whole list is read."""
    server = ignores_dates.server
    server.add(recording("new", server.now - HOUR / 2))
    assert await ignores_dates.sync() == (0, 1)
    assert ignores_dates.report.rows_inserted == 1
    await select(ignores_dates.dsn, count_earlier(25))
    assert await ignores_dates.sync() == (0, 8)


async def test_a_recording_that_appears_late_far_down_is_missed_for_six_hours_at_most(
    ignores_dates: IgnoresDates,
) -> None:
    """Until then the run is partial and says how many rows are unaccounted for."""
    server, dsn = ignores_dates.server, ignores_dates.dsn
    server.add(recording("late", server.now - 10 * DAY - HOUR / 2))
    assert await ignores_dates.sync() == (3, 1)
    assert "counts 1 row more than is explained" in (ignores_dates.report.ending.reason or "")
    assert await ignores_dates.unaccounted() == 1
    await select(dsn, count_earlier(6.1))
    assert (await ignores_dates.sync())[0] == 0
    assert (await missing(dsn, server), await ignores_dates.unaccounted()) == (0, 0)


async def test_a_recording_that_vanishes_far_down_is_found_by_the_count(
    ignores_dates: IgnoresDates,
) -> None:
    """It is marked deleted when the whole list has been read."""
    server, dsn = ignores_dates.server, ignores_dates.dsn
    del server.recordings["r000300"]
    await select(dsn, count_earlier(6.1))
    assert (await ignores_dates.sync())[0] == 0
    gone = "SELECT id FROM posthog.session_recordings WHERE _deleted_at IS NOT NULL"
    assert await value(dsn, gone) == "r000300"


async def test_recordings_that_may_have_expired_explain_a_smaller_count(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """A recording within a day of its expiry may be listed or not."""
    server = await start_adversary(dates="ignored", clamp=100, **COUNTED)
    server.add(*recordings(300, server.now - HOUR, HOUR))
    near = recording("near", server.now - 9 * DAY, retention_days=10)
    server.add(near)
    pipeline = Pipeline(server, dsn, page_size_records=100, lookback="26h")
    assert (await pipeline.sync()).ending.exit_code == 0
    del server.recordings["near"]
    assert (await pipeline.sync()).ending.exit_code == 0
    assert (await pipeline.status())["unaccounted"] == 0


@pytest.mark.parametrize(("items", "exit_code"), [(12, 0), (49, 0), (50, 3)])
async def test_a_collection_that_repeats_its_page_ends_there(
    start_adversary: StartAdversary, dsn: str, items: int, exit_code: int
) -> None:
    """Fewer than 50 items are the whole collection. More may be cut, so nothing is judged."""
    server = await start_adversary()
    server.add(*recordings(items + 1, server.now - HOUR))
    synthetic = playlist("synthetic-watched", type="collection", is_synthetic=True)
    server.playlists.rows = [playlist("abc", type="collection"), synthetic]
    server.items["abc"] = list(server.recordings)[: items - 1]
    pipeline = Pipeline(server, dsn, streams=["playlists"])
    assert (await pipeline.sync()).ending.exit_code == 0
    server.items["abc"] = list(server.recordings)[1 : items + 1]
    report = await pipeline.sync()
    assert report.ending.exit_code == exit_code, report.ending.reason
    rows: list[Any] = await select(
        dsn, "SELECT _deleted_at FROM posthog.session_recording_playlist_items"
    )
    assert sum(row["_deleted_at"] is not None for row in rows) == (1 if exit_code == 0 else 0)


async def test_two_persons_of_tied_recordings_are_both_there(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """Persons are complete if their recordings are."""
    server = await start_adversary(ties="by offset", clamp=20, **COUNTED)
    now = server.now.replace(microsecond=0)
    for number in range(60):
        start = now - HOUR if 20 <= number < 40 else now - timedelta(minutes=number)
        server.add(recording(f"r{number}", start, person=person_of(number)))
    assert (await Pipeline(server, dsn, page_size_records=20).sync()).ending.exit_code == 0
    assert await value(dsn, "SELECT count(*) FROM posthog.persons") == 60


async def test_an_answer_to_another_question_is_not_taken_for_all_there_is(
    start_adversary: StartAdversary, dsn: str
) -> None:
    """The count is that of the dates asked for, the rows are of others: a cache was mixed up.

    A server that ignores dates counts what it lists.
    """
    server = await start_adversary(**COUNTED)
    server.add(*recordings(40, server.now - HOUR, 6 * HOUR))
    some = [each.row(server.now) for each in recordings(5, server.now - HOUR, 6 * HOUR)]

    async def mix_up(_asked: Asked, proceed: foreign.Proceed) -> web.StreamResponse:
        body = json.loads(proceed().text or "")
        return web.json_response({**body, "results": some})

    server.when("session_recordings/", mix_up)
    past = server.now - 100 * DAY
    (report,) = await Pipeline(server, dsn).backfill(past, past + DAY)

    assert report.ending.exit_code == EXIT_PARTIAL
    assert not await value(
        dsn, "SELECT count(*) FROM posthog_etl.watermarks WHERE complete <> '{}'"
    )
