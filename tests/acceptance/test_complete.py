"""P2, complete: a list is read to its own end, whatever the server does on the way."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.books import batches_committed, until
from tests.support.command import Command, finish
from tests.support.pipeline import Pipeline
from tests.support.sql import count_earlier, select, watermark
from tests.support.truth import differences_from_truth, fetch_truth, stored

LIST = {"path": "session_recordings"}
SERVERS: Mapping[str, dict[str, str]] = {
    "cloud": {"flavour": "cloud"},
    "cloud that knows only offset": {"flavour": "cloud", "server_version": "offset_only"},
    "docs": {"flavour": "docs"},
}
OFFSET_SERVERS = {name: SERVERS[name] for name in list(SERVERS)[1:]}
PAGE = 100
# Under the documented envelope the whole list is asked for at once, unless the server clamps.
CLAMPED = {"match": LIST, "fault": {"clamp_limit": PAGE}}

each_server = pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS.keys())
each_offset_server = pytest.mark.parametrize(
    "options", OFFSET_SERVERS.values(), ids=OFFSET_SERVERS.keys()
)


def paged(sandbox: RunningSandbox, dsn: str, **settings: str) -> Pipeline:
    """The pipeline with pages of 100 records."""
    return Pipeline(sandbox, dsn, page_size_records=PAGE, **settings)


def requests(sandbox: RunningSandbox, since: int = 0) -> list[dict[str, Any]]:
    """The list requests that the sandbox has seen."""
    return [r for r in sandbox.control.requests(since) if "session_recordings" in r["path"]]


def truth_ids(sandbox: RunningSandbox) -> set[str]:
    """The recordings that can be seen now."""
    return {row["id"] for row in sandbox.control.truth_rows("session_recordings")}


BENT: Mapping[str, dict[str, Any]] = {
    "duplicated": {"duplicate_rows": True},
    "short": {"short_page": 37},
    "all of it": {"clamp_limit": 40, "duplicate_rows": True, "short_page": 23},
}


@pytest.mark.parametrize(
    ("fault", "server"),
    [
        ("short", "cloud"),
        ("duplicated", "cloud that knows only offset"),
        *(("all of it", server) for server in SERVERS),
    ],
)
async def test_pages_that_are_duplicated_short_or_clamped_still_give_the_truth(
    start_sandbox: StartSandbox, dsn: str, fault: str, server: str
) -> None:
    """Every page of the list is bent; the copy is exact all the same and exit is 0."""
    sandbox = await start_sandbox(recordings=450, start_ties=2, **SERVERS[server])
    sandbox.control.add_faults(CLAMPED, {"match": LIST, "fault": BENT[fault]})
    result = await paged(sandbox, dsn).sync()
    assert (result.ending.exit_code, result.ending.status) == (0, "succeeded"), result
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ("cloud", {"repeat_page": True}),
        ("cloud", {"repeat_cursor": True}),
        ("cloud", {"restart_cursor": True}),
        ("cloud that knows only offset", {"repeat_page": True}),
        ("cloud that knows only offset", {"restart_cursor": True}),
        ("docs", {"repeat_page": True}),
        ("docs", {"restart_cursor": True}),
    ],
    ids=lambda part: part if isinstance(part, str) else next(iter(part)),
)
async def test_a_list_that_repeats_itself_stops_the_stream(
    start_sandbox: StartSandbox, dsn: str, server: str, fault: dict[str, Any]
) -> None:
    """A page or cursor that comes round again ends the run as partial, soon; a healed server is
    read to its end by the next run."""
    sandbox = await start_sandbox(recordings=800, **SERVERS[server])
    sandbox.control.add_faults(CLAMPED, {"match": LIST, "from": 3, "fault": fault})
    broken = await paged(sandbox, dsn).sync()
    assert (broken.ending.exit_code, broken.ending.status) == (3, "partial"), broken
    assert len(requests(sandbox)) <= 12
    assert await watermark(dsn) is None
    sandbox.control.clear_faults()
    healed = await paged(sandbox, dsn).sync()
    assert healed.ending.exit_code == 0, healed
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_a_position_that_the_server_has_lost_is_given_up_for_a_new_beginning(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A cursor from before a deploy silently leads to page one: the next run begins anew."""
    sandbox = await start_sandbox(recordings=500)
    pipeline = paged(sandbox, dsn)
    sandbox.control.add_faults({"match": LIST, "at": 4, "fault": {"status": 503}})
    assert (await pipeline.sync()).ending.exit_code == 1
    sandbox.control.clear_faults()
    sandbox.control.add_faults({"match": LIST, "first": 1, "fault": {"restart_cursor": True}})
    result = await pipeline.sync()
    assert result.ending.exit_code == 0, result
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


CHURN: Mapping[str, dict[str, Any]] = {
    "rows appear in front": {"op": "start_session", "start_time": "-1h"},
    "rows vanish from what was read": {"op": "delete_recording"},
    "rows move to the end": {"op": "shift", "start_time": "-29d"},
}


@each_offset_server
@pytest.mark.parametrize("count", [7, 45], ids=["a few", "more than pages overlap"])
@pytest.mark.parametrize("change", CHURN.values(), ids=CHURN.keys())
async def test_rows_that_move_while_we_page_lose_no_row_that_was_there_all_the_time(
    start_sandbox: StartSandbox,
    dsn: str,
    options: dict[str, str],
    change: dict[str, Any],
    count: int,
) -> None:
    """Between the first and the second page rows appear, vanish or move."""
    sandbox = await start_sandbox(recordings=420, **options)
    before = truth_ids(sandbox)
    newest = _newest_ids(sandbox, count)
    operations = [
        dict(change) if change["op"] == "start_session" else {**change, "id": each}
        for each in newest
    ]
    sandbox.control.add_faults(CLAMPED, {"match": LIST, "at": 2, "fault": {"then": operations}})
    result = await paged(sandbox, dsn).sync()
    assert result.ending.exit_code == 0, result
    assert sandbox.control.faults()[1]["hits"] == 1
    assert (before & truth_ids(sandbox)) - (await stored(dsn, "session_recordings")).keys() == set()


@pytest.mark.parametrize("count", [10, 45], ids=["fewer than pages overlap", "more than that"])
async def test_a_seam_that_breaks_alike_in_two_passes_loses_nothing(
    start_sandbox: StartSandbox, dsn: str, count: int
) -> None:
    """Rows in front vanish after each first page, so two passes could agree on missing the same.

    They start in the future, as with a browser whose clock is ahead, so no pass has to show them.
    """
    sandbox = await start_sandbox(recordings=420, server_version="offset_only")
    before = truth_ids(sandbox)
    sandbox.control.change(*_ahead(sandbox, 0, count))
    for turn in range(4):
        first = 1 + turn * 6
        gone = [{"op": "delete_recording", "id": f"ahead-{turn}-{n}"} for n in range(count)]
        sandbox.control.add_faults(
            {"match": LIST, "at": first, "fault": {"then": gone}},
            {"match": LIST, "at": first + 5, "fault": {"then": _ahead(sandbox, turn + 1, count)}},
        )
    result = await paged(sandbox, dsn).sync()
    lost = before - (await stored(dsn, "session_recordings")).keys()
    assert lost == set()
    assert result.ending.exit_code == 0, result


@each_offset_server
async def test_a_list_that_never_comes_to_rest_is_partial_and_says_so(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, str]
) -> None:
    """Rows vanish for ever, so no two passes agree: exit 3, and the watermark stays."""
    sandbox = await start_sandbox(recordings=420, **options)
    oldest = sorted(truth_ids(sandbox) - set(_newest_ids(sandbox, 300)))
    sandbox.control.add_faults(CLAMPED)
    sandbox.control.add_faults(
        *(
            {"match": LIST, "at": nth + 1, "fault": {"then": [_deletion(each)]}}
            for nth, each in enumerate(oldest)
        )
    )
    result = await paged(sandbox, dsn).sync()
    assert (result.ending.exit_code, result.ending.status) == (3, "partial"), result
    assert "no two passes agreed" in (result.ending.reason or "")
    assert len(requests(sandbox)) <= 60
    assert await watermark(dsn) is None
    assert truth_ids(sandbox) - (await stored(dsn, "session_recordings")).keys() == set()


async def test_an_order_without_a_tie_break_loses_no_row(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Many recordings share a start, and an old server shuffles them from answer to answer."""
    sandbox = await start_sandbox(recordings=500, start_ties=15, server_version="offset_only")
    result = await paged(sandbox, dsn).sync()
    assert result.ending.exit_code == 0, result
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest_asyncio.fixture
async def other_host() -> AsyncIterator[tuple[str, list[str]]]:
    """The address of another server, and the paths that it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.json_response({"count": 0, "next": None, "previous": None, "results": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}", asked
    await runner.cleanup()


async def test_a_next_page_on_another_host_is_never_asked_for(
    start_sandbox: StartSandbox, dsn: str, other_host: tuple[str, list[str]]
) -> None:
    """`next` names another server; the list goes on where it began, and the other is left alone."""
    url, asked = other_host
    sandbox = await start_sandbox(recordings=450, flavour="docs")
    sandbox.control.add_faults(CLAMPED, {"match": LIST, "fault": {"next_host": url}})
    result = await paged(sandbox, dsn).sync()
    assert (result.ending.exit_code, asked) == (0, []), result
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_a_next_page_that_never_changes_is_no_reason_to_loop(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """`next` always names the page just read: the list is read by our own offsets to its end."""
    sandbox = await start_sandbox(recordings=450, flavour="docs")
    sandbox.control.add_faults(CLAMPED, {"match": LIST, "fault": {"repeat_cursor": True}})
    result = await paged(sandbox, dsn).sync()
    assert (result.ending.exit_code, len(requests(sandbox)) <= 30) == (0, True), result
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@each_server
@pytest.mark.parametrize("recordings", [0, 1, 300], ids=["none", "one", "whole pages"])
async def test_a_list_that_ends_at_the_edge_of_a_page_is_read_to_its_end(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, str], recordings: int
) -> None:
    """No row, one row, and exactly three pages."""
    sandbox = await start_sandbox(recordings=recordings, **options)
    sandbox.control.add_faults(CLAMPED)
    result = await paged(sandbox, dsn).sync()
    assert result.ending.exit_code == 0, result
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
    assert await watermark(dsn) is not None


@each_server
async def test_an_empty_page_with_more_to_come_hides_nothing(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, str]
) -> None:
    """One empty page in the middle of a list that goes on after it."""
    sandbox = await start_sandbox(recordings=420, **options)
    sandbox.control.add_faults(CLAMPED, {"match": LIST, "at": 3, "fault": {"empty_page": True}})
    result = await paged(sandbox, dsn).sync()
    assert result.ending.exit_code == 0, result
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_empty_pages_without_end_stop_the_stream(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A server that always says there is more, and never shows it, is not asked for ever."""
    sandbox = await start_sandbox(recordings=300)
    sandbox.control.add_faults({"match": LIST, "from": 2, "fault": {"empty_page": True}})
    result = await paged(sandbox, dsn).sync()
    assert (result.ending.exit_code, result.ending.status) == (3, "partial"), result
    assert len(requests(sandbox)) <= 8
    assert await watermark(dsn) is None


@pytest.mark.parametrize("dates", ["ignored", "refused"])
async def test_a_server_without_a_date_filter_is_read_whole_each_time(
    start_sandbox: StartSandbox, dsn: str, dates: str
) -> None:
    """Once a day, so what changed long before the lookback arrives, too."""
    sandbox = await start_sandbox(recordings=300, flavour="docs", date_filter=dates)
    pipeline = paged(sandbox, dsn)
    assert (await pipeline.sync()).ending.exit_code == 0
    oldest = sorted(truth_ids(sandbox) - set(_newest_ids(sandbox, 299)))
    sandbox.control.change({"op": "add_piece", "id": oldest[0], "duration_s": 77})
    await select(dsn, count_earlier(hours=25))
    again = await pipeline.sync()
    assert again.ending.exit_code == 0, again
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_a_refused_request_never_leads_to_one_without_dates_on_a_real_server(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Without dates it would show three days as if they were all: the run fails instead."""
    sandbox = await start_sandbox(recordings=300)
    sandbox.control.add_faults({"match": LIST, "at": 1, "fault": {"status": 400}})
    refused = await paged(sandbox, dsn).sync()
    assert (refused.ending.exit_code, refused.ending.status) == (1, "failed"), refused
    assert await watermark(dsn) is None
    assert (await paged(sandbox, dsn).sync()).ending.exit_code == 0
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_one_record_with_a_wrong_date_does_not_end_the_trust_in_the_filter(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A date outside the window proves nothing: a session cut by the window still counts as cut."""
    sandbox = await start_sandbox(recordings=100)
    sandbox.control.change(
        {"op": "start_session", "id": "long", "start_time": "-35h", "duration_s": 10 * 3600}
    )
    pipeline = paged(sandbox, dsn, lookback="4h")
    assert (await pipeline.sync()).ending.exit_code == 0
    wrong = {"record": 0, "set": {"start_time": "1970-01-01T00:00:00Z"}}
    sandbox.control.add_faults({"match": LIST, "fault": {"mutate": wrong}})
    assert (await pipeline.sync()).ending.exit_code == 0
    kept = (await stored(dsn, "session_recordings"))["long"]
    assert kept["recording_duration"] == 10 * 3600


@pytest.mark.parametrize(
    "start", ["-10h", "-35h"], ids=["it reaches into the window", "it reaches into the margin"]
)
async def test_a_session_cut_by_the_edge_of_the_window_never_replaces_the_whole_one(
    start_sandbox: StartSandbox, dsn: str, start: str
) -> None:
    """The lookback begins inside a long session; whatever the server cuts, the table keeps it."""
    sandbox = await start_sandbox(recordings=100)
    sandbox.control.change(
        {"op": "start_session", "id": "long", "start_time": start, "duration_s": 9 * 3600}
    )
    pipeline = paged(sandbox, dsn, lookback="4h")
    assert (await pipeline.sync()).ending.exit_code == 0
    again = await pipeline.sync()
    assert (again.ending.exit_code, again.rows_updated) == (0, 0), again
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@each_server
async def test_a_sync_that_was_stopped_goes_on_where_it_was(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, str]
) -> None:
    """SIGTERM in the middle: exit 3; the next run reads what is left and then only the new end."""
    sandbox = await start_sandbox(recordings=900, **options)
    sandbox.control.add_faults(CLAMPED, {"match": LIST, "at": 7, "fault": {"hang": True}})
    one_by_one = {"POSTHOG_ETL_BUFFER_BYTES": "1"}
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PAGE_SIZE_RECORDS=str(PAGE), **one_by_one)
    async with command.running("sync", "--json") as process:

        async def hangs_with_all_before_it_committed() -> bool:
            hanging = sandbox.control.faults()[1]["hits"] == 1
            return hanging and await batches_committed(dsn) == 6

        await until(hangs_with_all_before_it_committed, "the seventh request is under way")
        process.send_signal(signal.SIGTERM)
        stopped = await finish(process)
    assert (stopped.code, stopped.report["status"]) == (3, "partial"), stopped.err
    assert stopped.report["records_read"] > 0
    sandbox.control.reset_requests()
    sandbox.control.clear_faults()
    sandbox.control.add_faults(CLAMPED)
    resumed = await command.run("sync", "--json")
    assert resumed.code == 0, resumed.err
    # The request that hung is noted when the sandbox sees that its client has gone.
    first = next(r["query"] for r in requests(sandbox) if r["status"] == 200)
    assert "after" in first or int(first["offset"]) > PAGE
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


def _newest_ids(sandbox: RunningSandbox, count: int) -> list[str]:
    rows = sandbox.control.truth_rows("session_recordings")
    newest = sorted(rows, key=lambda row: row["start_time"], reverse=True)
    return [row["id"] for row in newest[:count]]


def _ahead(sandbox: RunningSandbox, turn: int, count: int) -> list[dict[str, Any]]:
    """Operations that add sessions which start in the future."""
    at = datetime.fromisoformat(sandbox.control.state()["now"]) + timedelta(hours=2)
    session = {"op": "start_session", "start_time": at.isoformat(), "arrives_s": 0}
    return [{**session, "id": f"ahead-{turn}-{n}"} for n in range(count)]


def _deletion(recording_id: str) -> dict[str, Any]:
    return {"op": "delete_recording", "id": recording_id}
