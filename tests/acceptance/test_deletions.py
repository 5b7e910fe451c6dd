"""P6: deletions at the source are seen, never invented; what expired is no deletion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import LIST, Pipeline, midnight, now_of, questions, truth_starts
from tests.support.sql import count_earlier, select
from tests.support.truth import differences_from_truth

STREAM = "session_recordings"
SERVERS: dict[str, dict[str, Any]] = {
    "cloud": {"flavour": "cloud"},
    "cloud that knows only offset": {"flavour": "cloud", "server_version": "offset_only"},
    "docs": {"flavour": "docs"},
    "docs that honours dates": {"flavour": "docs", "date_filter": "honoured"},
    "docs that refuses dates": {"flavour": "docs", "date_filter": "refused"},
}
each_server = pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS.keys())
WHOLE_PAST = {"lookback": "400d"}


async def marked(dsn: str, column: str = "_deleted_at") -> set[str]:
    """The recordings with a mark."""
    rows = await select(
        dsn, f'SELECT id FROM posthog.session_recordings WHERE "{column}" IS NOT NULL'
    )
    return {row["id"] for row in rows}


async def recordings_differ(dsn: str, sandbox: RunningSandbox) -> list[str]:
    """Where recordings are not as the sandbox has them, but for sizes, which only a retrieve has.

    A distinct id stays when the recordings that it came with have gone, so it does not count.
    """
    return [
        each
        for each in await differences_from_truth(dsn, sandbox.control.truth())
        if each.startswith(STREAM) and ".total_size:" not in each and ".event_count:" not in each
    ]


def delete(sandbox: RunningSandbox, ids: Sequence[str]) -> None:
    """Delete recordings at the source."""
    sandbox.control.change(*({"op": "delete_recording", "id": each} for each in ids))


def youngest(sandbox: RunningSandbox) -> list[str]:
    """The ids of all recordings, youngest first."""
    starts = truth_starts(sandbox)
    return sorted(starts, key=lambda each: starts[each], reverse=True)


@each_server
async def test_what_is_deleted_at_the_source_is_marked_and_nothing_else(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, Any]
) -> None:
    """First, last, neighbours, alone: each is marked, and the others are left as they are."""
    sandbox = await start_sandbox(recordings=90, days=9.0, **options)
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    assert (await pipeline.sync()).ending.exit_code == 0
    ids = youngest(sandbox)
    gone = [ids[0], ids[19], ids[20], ids[21], ids[50], ids[-1]]
    delete(sandbox, gone)
    report = await pipeline.sync()
    assert report.ending.exit_code == 0, report.ending
    assert await marked(dsn) == set(gone)
    assert await recordings_differ(dsn, sandbox) == []
    again = await pipeline.sync()
    assert (again.ending.exit_code, again.rows_updated) == (0, 0)


@pytest.mark.parametrize("page_rows", [20, 100], ids=["pages", "one page"])
async def test_a_list_without_a_date_filter_shows_old_deletions_though_most_rows_are_young(
    start_sandbox: StartSandbox, dsn: str, page_rows: int
) -> None:
    """The first page lies within the dates that were asked for; the server ignores them."""
    sandbox = await start_sandbox(recordings=40, days=20.0, flavour="docs")
    for n in range(50):
        at = now_of(sandbox) - timedelta(minutes=10 + n)
        busy = {"op": "start_session", "start_time": at.isoformat(), "duration_s": 5}
        sandbox.control.change(busy)
    sandbox.control.add_faults({"match": LIST, "fault": {"clamp_limit": page_rows}})
    pipeline = Pipeline(sandbox, dsn, page_size_records=page_rows)
    assert (await pipeline.sync()).ending.exit_code == 0
    oldest = youngest(sandbox)[-1]
    delete(sandbox, [oldest])
    await select(dsn, count_earlier(hours=25))  # everything is due
    # Else it is known from what lies ahead that dates are ignored.
    known = """traits || '{"date_filter": "honoured"}'"""
    await select(dsn, f"UPDATE posthog_etl.watermarks SET traits = {known}")
    report = await pipeline.sync()
    assert report.ending.exit_code == 0, report.ending
    assert await marked(dsn) == {oldest}
    assert (await pipeline.status())["incremental"] is False


@pytest.mark.parametrize("server", ["cloud", "docs"])
async def test_a_recording_that_comes_back_is_alive_again(
    start_sandbox: StartSandbox, dsn: str, server: str
) -> None:
    """Marked while a list and a question leave it out; the mark goes when it is seen."""
    sandbox = await start_sandbox(recordings=30, days=3.0, **SERVERS[server])
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    back = youngest(sandbox)[5]
    delete(sandbox, [back])
    await pipeline.sync()
    assert await marked(dsn) == {back}
    sandbox.control.change({"op": "restore_recording", "id": back})
    await select(dsn, count_earlier(hours=25))  # everything is due where dates are ignored
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.rows_updated) == (0, 1), report.ending.reason
    assert await marked(dsn) == set()
    assert await recordings_differ(dsn, sandbox) == []


EMPTY = {"status": 200, "body": {"results": [], "has_next": False, "version": 4}}
UNTRUE: dict[str, tuple[dict[str, Any], int]] = {
    "an empty list": ({"at": 1, "fault": EMPTY}, 0),
    "a page that leaves rows out": ({"at": 2, "fault": {"omit": [0, 3, 4, -2, -1]}}, 0),
    "a page that leaves its first half out": ({"at": 3, "fault": {"omit": [*range(10)]}}, 0),
    "a missing scope": ({"at": 2, "fault": {"preset": "403_scope"}}, 3),
    "a lost project": ({"at": 2, "fault": {"preset": "404_project"}}, 3),
    "a failed page": ({"at": 2, "fault": {"status": 500}}, 1),
    "a cursor that leads to the beginning": ({"from": 2, "fault": {"restart_cursor": True}}, 3),
    "empty pages without end": ({"from": 2, "fault": {"empty_page": True}}, 3),
}


async def test_what_a_list_leaves_out_by_mistake_is_not_taken_for_deleted(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Nothing is deleted at the source, and nothing is marked, whatever the list is like."""
    sandbox = await start_sandbox(recordings=50, days=4.0)
    pipeline = Pipeline(sandbox, dsn, deletion_guard_rows=1000, **WHOLE_PAST)
    await pipeline.sync()
    for name, (rule, code) in UNTRUE.items():
        sandbox.control.add_faults({"match": LIST, **rule})
        report = await pipeline.sync()
        assert (report.ending.exit_code, await marked(dsn)) == (code, set()), (name, report.ending)
        sandbox.control.clear_faults()
    report = await pipeline.sync()
    assert (report.ending.exit_code, await marked(dsn)) == (0, set()), report.ending
    assert await recordings_differ(dsn, sandbox) == []


@pytest.mark.parametrize(
    "fault",
    [EMPTY, {"omit": [-1]}],
    ids=["an empty answer", "an answer without the one that is there"],
)
async def test_an_answer_by_ids_without_its_witness_proves_nothing(
    start_sandbox: StartSandbox, dsn: str, fault: dict[str, Any]
) -> None:
    """What the list left out is then asked for one by one: what is there stays, what is gone goes.

    The answer comes in the order asked for, so that its last row is the witness.
    """
    sandbox = await start_sandbox(recordings=60, days=3.0)
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    gone = youngest(sandbox)[25]
    delete(sandbox, [gone])
    sandbox.control.reset_requests()
    sandbox.control.add_faults(
        {"match": LIST, "at": 2, "fault": {"omit": [0, 1, 2]}},
        {"match": {**LIST, "parameter": "session_ids"}, "fault": fault},
    )
    report = await pipeline.sync()
    assert (report.ending.exit_code, await marked(dsn)) == (0, {gone}), report.ending
    by_ids, *one_by_one = questions(sandbox)
    assert "session_ids" in by_ids["query"]
    assert sorted(request["status"] for request in one_by_one) == [200, 200, 200, 404]


async def test_an_answer_by_ids_that_shows_a_record_twice_is_as_good(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The list leaves one out by mistake; it is there, and nothing is partial."""
    sandbox = await start_sandbox(recordings=60, days=3.0)
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    sandbox.control.add_faults(
        {"match": LIST, "at": 2, "fault": {"omit": [5]}},
        {"match": {**LIST, "parameter": "session_ids"}, "fault": {"duplicate_rows": True}},
    )
    report = await pipeline.sync()
    assert (report.ending.exit_code, await marked(dsn)) == (0, set()), report.ending


async def test_a_question_that_is_not_answered_marks_nothing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Neither by ids nor one by one: the run ends as failed, and the next one asks again."""
    sandbox = await start_sandbox(recordings=40, days=3.0)
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    gone = youngest(sandbox)[3]
    delete(sandbox, [gone])
    sandbox.control.add_faults(
        {"match": {**LIST, "parameter": "session_ids"}, "fault": EMPTY},
        {"match": {"path": f"session_recordings/{gone}"}, "fault": {"preset": "404_project"}},
    )
    report = await pipeline.sync()
    assert (report.ending.exit_code, await marked(dsn)) == (3, set()), report.ending
    sandbox.control.clear_faults()
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await marked(dsn) == {gone}


@pytest.mark.parametrize("server", ["cloud", "docs"])
async def test_more_than_a_fifth_at_once_is_withheld_until_it_is_accepted(
    start_sandbox: StartSandbox, dsn: str, server: str
) -> None:
    """Exit 3 and the words to accept it, again and again; then it is marked, and then all is well.

    What is new loads all the same.
    """
    sandbox = await start_sandbox(recordings=80, days=6.0, **SERVERS[server])
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    gone = youngest(sandbox)[10:31]
    delete(sandbox, gone)
    sandbox.control.change({"op": "start_session", "id": "new", "start_time": "-2h"})
    for _ in range(2):
        report = await pipeline.sync()
        assert report.ending.exit_code == 3
        assert report.ending.reason is not None
        assert "21 of 81 records have vanished" in report.ending.reason
        assert f"sync --accept-deletions {STREAM}" in report.ending.reason
        assert await marked(dsn) == set()
    accepted = await pipeline.sync(accept_deletions=[STREAM])
    assert (accepted.ending.exit_code, await marked(dsn)) == (0, set(gone)), accepted.ending
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await recordings_differ(dsn, sandbox) == []


async def test_the_command_that_a_withheld_deletion_names_accepts_it(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Word for word; a lookback that no longer reaches the rows does not keep it from doing so."""
    sandbox = await start_sandbox(recordings=60, days=6.0)
    await Pipeline(sandbox, dsn).sync()
    gone = youngest(sandbox)[20:45]
    delete(sandbox, gone)
    withheld = await Pipeline(sandbox, dsn, **WHOLE_PAST).sync()
    assert withheld.ending.reason is not None
    words = withheld.ending.reason.partition("`posthog-etl ")[2].partition("`")[0].split()
    result = await Command(sandbox.url, dsn, POSTHOG_ETL_LOOKBACK="1h").run(*words, "--json")
    assert (result.code, await marked(dsn)) == (0, set(gone)), result.err


async def test_in_a_small_project_a_few_deletions_are_no_mistake(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Fifteen of fifteen."""
    sandbox = await start_sandbox(recordings=15, days=3.0)
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    gone = youngest(sandbox)
    delete(sandbox, gone)
    report = await pipeline.sync()
    assert (report.ending.exit_code, await marked(dsn)) == (0, set(gone)), report.ending


async def test_what_a_backfill_withholds_is_judged_by_the_next_sync(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Though that sync does not read the window; what came back meanwhile is not marked."""
    sandbox = await start_sandbox(recordings=100, days=5.0)
    pipeline = Pipeline(sandbox, dsn, lookback="1h")
    await pipeline.sync()
    gone = [each for each, at in truth_starts(sandbox).items() if at < midnight(sandbox, 1)][:30]
    delete(sandbox, gone)
    past = (midnight(sandbox, 10), midnight(sandbox, 1), "30d")
    (*_, report) = await pipeline.backfill(*past, again=True)
    assert (report.ending.exit_code, await marked(dsn)) == (3, set()), report.ending
    assert (await pipeline.sync()).ending.exit_code == 3
    sandbox.control.change({"op": "restore_recording", "id": gone[0]})
    report = await pipeline.sync(accept_deletions=[STREAM])
    assert (report.ending.exit_code, await marked(dsn)) == (0, set(gone[1:])), report.ending
    assert await recordings_differ(dsn, sandbox) == []


@pytest.mark.parametrize("newest_first", [True, False], ids=["newest first", "oldest first"])
async def test_small_windows_are_no_way_round_the_guard(
    start_sandbox: StartSandbox, dsn: str, newest_first: bool
) -> None:
    """All are deleted, never more than twenty in a window: only the first of them are believed."""
    sandbox = await start_sandbox(recordings=0)
    for day in range(1, 6):
        for nth in range(8):
            at = midnight(sandbox, day) + timedelta(hours=nth)
            sandbox.control.change({"op": "start_session", "start_time": at.isoformat()})
    pipeline = Pipeline(sandbox, dsn, lookback="1h")
    await pipeline.sync()
    delete(sandbox, youngest(sandbox))
    past = (midnight(sandbox, 5), midnight(sandbox, 0), "1d")
    reports = await pipeline.backfill(*past, again=True, newest_first=newest_first)
    assert {report.ending.exit_code for report in reports} == {0, 3}
    assert len(await marked(dsn)) <= 20


@pytest.mark.parametrize("server", ["cloud", "docs"])
async def test_a_recording_past_its_time_is_expired_and_left_alone(
    start_sandbox: StartSandbox, dsn: str, server: str
) -> None:
    """The clock moves past the expiry of most: none is marked deleted.

    At most a sample is asked for, in one request, where so many expire at once.
    """
    sandbox = await start_sandbox(recordings=60, days=8.0, **SERVERS[server])
    sandbox.control.change({"op": "set_retention", "days": 30})
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    before = set(youngest(sandbox))
    sandbox.control.advance(timedelta(days=26).total_seconds())
    expired = before - set(youngest(sandbox))
    assert len(expired) > 25
    sandbox.control.reset_requests()
    report = await pipeline.sync()
    assert report.ending.exit_code == 0, report.ending
    assert (await marked(dsn), await marked(dsn, "_expired_at")) == (set(), expired)
    assert len(questions(sandbox)) <= (1 if server == "cloud" else 21)
    assert await recordings_differ(dsn, sandbox) == []
    again = await pipeline.sync()
    assert (again.ending.exit_code, again.rows_updated) == (0, 0)


async def test_what_expired_is_told_by_the_clock_of_the_server_also_after_a_break(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The reading was at its end, so the next run asks nothing before it judges what expired."""
    behind = datetime.now(UTC) - timedelta(days=20)
    sandbox = await start_sandbox(recordings=60, days=25.0, now=behind)
    sandbox.control.change({"op": "set_retention", "days": 30})
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    delete(sandbox, youngest(sandbox)[:1])
    sandbox.control.add_faults(
        {"match": {**LIST, "parameter": "session_ids"}, "fault": {"status": 401}}
    )
    assert (await pipeline.sync()).ending.exit_code == 5
    sandbox.control.clear_faults()
    assert (await pipeline.sync()).ending.exit_code == 0
    assert (len(await marked(dsn)), await marked(dsn, "_expired_at")) == (1, set())


async def test_a_retention_that_is_raised_brings_the_expired_back(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """They are in the list again, with a later expiry, and so they are alive."""
    sandbox = await start_sandbox(recordings=30, days=6.0)
    sandbox.control.change({"op": "set_retention", "days": 30})
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    sandbox.control.advance(timedelta(days=28).total_seconds())
    await pipeline.sync()
    assert await marked(dsn, "_expired_at")
    sandbox.control.change({"op": "set_retention", "days": 90})
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await marked(dsn, "_expired_at") == set()
    assert await recordings_differ(dsn, sandbox) == []


@pytest.mark.parametrize("version", ["A", "C"])
async def test_a_server_that_names_no_expiry_is_believed_what_it_shows(
    start_sandbox: StartSandbox, dsn: str, version: str
) -> None:
    """After 30 days a recording that is not seen has expired; one that is seen is alive.

    One that vanishes before was deleted.
    """
    sandbox = await start_sandbox(
        recordings=0, flavour="docs", page_version=version, now=None, days=1.0
    )
    sandbox.control.change(
        {"op": "set_retention", "days": 90},
        *({"op": "start_session", "id": f"{n}", "start_time": f"-{n}d"} for n in range(1, 9)),
    )
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    sandbox.control.advance(timedelta(days=26).total_seconds())
    delete(sandbox, ["1", "8"])
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await marked(dsn) == {"1"}
    assert await marked(dsn, "_expired_at") == {"8"}
    assert now_of(sandbox) - truth_starts(sandbox)["7"] > timedelta(days=32)


@pytest.mark.parametrize(
    "options",
    [{"flavour": "cloud"}, {"flavour": "docs", "page_version": "A"}],
    ids=["an expiry is named", "none is named"],
)
async def test_an_older_server_that_expires_by_piece_does_not_shrink_what_we_have(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, Any]
) -> None:
    """A session across midnight loses its first half a day before the second; ours stays whole."""
    sandbox = await start_sandbox(recordings=0, expires_by_piece=True, **options)
    start = midnight(sandbox, 1) - timedelta(hours=3)
    long = {"op": "start_session", "id": "long", "duration_s": 8 * 3600}
    sandbox.control.change(
        {"op": "set_retention", "days": 30}, {**long, "start_time": start.isoformat()}
    )
    pipeline = Pipeline(sandbox, dsn, **WHOLE_PAST)
    await pipeline.sync()
    sandbox.control.set_clock(start + timedelta(days=29, hours=4))
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.records_read) == (0, 1), report.ending
    (row,) = await select(
        dsn, "SELECT start_time, recording_duration FROM posthog.session_recordings"
    )
    assert (row["start_time"], row["recording_duration"]) == (start, 8 * 3600)
    assert await marked(dsn) == set()
