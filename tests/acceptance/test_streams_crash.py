"""P1 for every other way of reading: killed at one point after another, it ends with the truth."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from etl.sandbox.options import SandboxOptions
from etl.sandbox.people import People
from etl.sandbox.server import RunningSandbox
from etl.streams import STREAMS
from tests.acceptance.test_quiet import rows_written
from tests.conftest import StartSandbox
from tests.support.books import nobody_is_connected, row_count, rows_inserted
from tests.support.pgproxy import Point
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value
from tests.support.stage import Aim, Stage, copy_of, killed, upsert_of
from tests.support.streams import NOTHING, asked, marked, put, remove, tables_of, untruths

PAGE = 20
# As the sandbox generates them.
PERSONS = [People(SandboxOptions().seed, 1, 60, 0, 1.0).uuid(number) for number in range(60)]
MARKING = re.compile(r"^WITH cleared AS")
LOOKING_AT_SUSPECTS = re.compile(r"^SELECT u\.record_key FROM")


def in_copy(table: str, nth: int) -> Aim:
    """A batch of this table is on its way."""

    async def aim(stage: Stage) -> None:
        await stage.at(Point.IN_COPY, nth, copy_of(table))

    return aim


def in_upsert(table: str, nth: int) -> Aim:
    """The rows of a batch of this table are written, those before are committed."""

    async def aim(stage: Stage) -> None:
        await stage.at(Point.AFTER_STATEMENT, nth, upsert_of(table))

    return aim


def at_commit(nth: int, point: Point) -> Aim:
    """At the COMMIT of a batch, counted from where this run goes on."""

    async def aim(stage: Stage) -> None:
        await stage.at_commit_of(nth, point)

    return aim


async def with_the_suspects_found(stage: Stage) -> None:
    """Everything is read, and nothing is judged."""
    await stage.at(Point.AFTER_STATEMENT, 1, LOOKING_AT_SUSPECTS)


async def before_the_marks_are_committed(stage: Stage) -> None:
    """What is gone is marked, but for the COMMIT."""
    await stage.at_commit_after(MARKING, 1, Point.BEFORE_COMMIT)


async def after_the_marks_are_committed(stage: Stage) -> None:
    """What is gone is marked, and the run does not know."""
    await stage.at_commit_after(MARKING, 1, Point.AFTER_COMMIT_BEFORE_ANSWER)


OPENING = re.compile(r"^INSERT INTO posthog_etl\.parent_lists")
SETTLING = re.compile(r"^UPDATE posthog_etl\.parent_lists SET settled")


async def before_the_lists_are_opened(stage: Stage) -> None:
    """It is noted which lists are read, but for the COMMIT."""
    await stage.at_commit_after(OPENING, 1, Point.BEFORE_COMMIT)


async def before_the_lists_are_settled(stage: Stage) -> None:
    """Everything is read and judged, and it is not known that it is."""
    await stage.at_commit_after(SETTLING, 1, Point.BEFORE_COMMIT)


SHARED = "SELECT count(*) FROM posthog.sharing_configurations WHERE enabled"
LATER = Point.AFTER_COMMIT_BEFORE_ANSWER


@dataclass(frozen=True)
class Case:
    """A kind of stream: its source, what happens there, where its runs die, in this order.

    begins: part of the query that only the first request of a list has; most: how often it may be
    asked for by all runs together.
    """

    stream: str
    source: dict[str, Any]
    changes: Sequence[dict[str, Any]]
    gone: tuple[str, str, set[str]]
    deaths: Sequence[Aim]


CASES = {
    "by cursor": Case(
        "groups",
        {"groups": 250},
        [
            *(remove("group", group_type_index=0, group_key=str(n)) for n in ("x1", "x2")),
            put("group", group_type_index=0, group_key="x3", group_properties={"n": 2}),
            put("group", group_type_index=1, group_key="new", group_properties={}),
            # At the end of its list, so that only its last page shows it.
            put("group", group_type_index=0, group_key="old", created_at="2015-01-01T00:00:00Z"),
        ],
        ("groups", "group_key", {"x1", "x2"}),
        [
            in_copy("group_types", 1),
            in_upsert("groups", 2),
            at_commit(1, Point.BEFORE_COMMIT),
            at_commit(1, LATER),
            before_the_marks_are_committed,
            after_the_marks_are_committed,
        ],
    ),
    "by limit and offset": Case(
        "subscriptions",
        {"subscriptions": 50},
        [
            *(remove("subscription", id=10_000 + n) for n in (1, 6, 20)),
            put("subscription", id=10_002, deleted=True),
            put("subscription", title="new"),
        ],
        ("subscriptions", "id", {"10001", "10006", "10020"}),
        [
            in_copy("subscriptions", 2),
            at_commit(2, Point.BEFORE_COMMIT),
            at_commit(2, LATER),
            with_the_suspects_found,
            after_the_marks_are_committed,
        ],
    ),
    "parents and children": Case(
        "playlists",
        {"playlists": 7, "recordings": 12},
        [
            remove("playlist", short_id="x1"),
            remove("playlist_item", short_id="x1", recording_id="r1"),
            put("playlist_item", short_id="x2", recording_id="r1"),
        ],
        ("session_recording_playlist_items", "short_id", {"x1"}),
        [
            in_copy("session_recording_playlists", 1),
            before_the_marks_are_committed,
            in_copy("session_recording_playlist_items", 2),
            at_commit(1, LATER),
            # The second reading, since a single item cannot be asked for.
            with_the_suspects_found,
            after_the_marks_are_committed,
        ],
    ),
    "lists that are left out": Case(
        "cohort_members",
        {"cohorts": 2, "persons": 60},
        [put("cohort", id=10_001, persons=PERSONS[1:])],
        ("cohort_members", "person_uuid", {*PERSONS[:1]}),
        [
            before_the_lists_are_opened,
            in_copy("cohort_members", 2),
            at_commit(2, Point.BEFORE_COMMIT),
            with_the_suspects_found,
            before_the_marks_are_committed,
            after_the_marks_are_committed,
            before_the_lists_are_settled,
        ],
    ),
}
SOURCE_BEFORE = {
    "groups": [
        put("group", group_type_index=0, group_key=f"x{n}", group_properties={"n": 1})
        for n in (1, 2, 3)
    ],
    "subscriptions": [],
    "playlists": [
        {"op": "start_session", "id": "r1"},
        put("playlist", short_id="x1"),
        put("playlist", short_id="x2"),
        put("playlist_item", short_id="x1", recording_id="r1"),
    ],
    "cohort_members": [put("cohort", id=10_001, persons=PERSONS)],
}


def only(stream: str) -> dict[str, str]:
    """The settings of a command that reads one stream, in small pages."""
    return {
        "POSTHOG_ETL_DISABLED_STREAMS": ",".join(name for name in STREAMS if name != stream),
        "POSTHOG_ETL_ENABLED_STREAMS": stream,
        "POSTHOG_ETL_PAGE_SIZE_RECORDS": str(PAGE),
        # Each page is a batch of its own, however many wait.
        "POSTHOG_ETL_BUFFER_BYTES": "1",
    }


async def killed_at(sandbox: RunningSandbox, dsn: str, stream: str, aim: Aim) -> None:
    """Run a sync of one stream, kill it there, and let the time of its lease pass."""
    result = await killed(sandbox, dsn, aim, **only(stream))
    assert result.code == -signal.SIGKILL
    await nobody_is_connected(dsn)
    await select(dsn, "UPDATE posthog_etl.leases SET expires_at = clock_timestamp()")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_snapshot_killed_at_one_point_after_another_ends_with_the_truth(
    start_sandbox: StartSandbox, dsn: str, case: Case
) -> None:
    """Each run goes on where the last one died; nothing is lost, doubled or marked by mistake."""
    sandbox = await start_sandbox(**{**NOTHING, **case.source})
    sandbox.control.change(*SOURCE_BEFORE[case.stream])
    built_on = {"playlists": ["session_recordings"], "cohort_members": ["cohorts"]}
    streams = (*built_on.get(case.stream, []), case.stream)
    pipeline = Pipeline(sandbox, dsn, streams=streams, page_size_records=PAGE)
    await pipeline.sync_each()
    sandbox.control.change(*case.changes)
    await Pipeline(sandbox, dsn, streams=streams[:-1]).sync_each()
    sandbox.control.reset_requests()
    table, key, gone = case.gone
    for aim in case.deaths:
        await killed_at(sandbox, dsn, case.stream, aim)
        stored = sum([await row_count(dsn, each) for each in tables_of(*streams)])
        assert await rows_inserted(dsn) == stored
        assert await marked(dsn, table, key) <= gone
    report = (await pipeline.sync_each())[-1]
    assert (report.ending.exit_code, report.ending.reason) == (0, None)
    assert await untruths(dsn, sandbox, case.stream) == []
    assert await marked(dsn, table, key) == gone
    assert await rows_inserted(dsn) == sum(
        [await row_count(dsn, each) for each in tables_of(*streams)]
    )
    if case.stream == "groups":
        # Page one of the largest type was committed by the run that died in page two.
        largest = [
            r["query"]
            for r in asked(sandbox, "/groups/", without="find")
            if r["query"]["group_type_index"] == "0"
        ]
        assert sum("cursor" not in query for query in largest) == 1
    before = await rows_written(dsn)
    assert (await pipeline.sync_each())[-1].ending.exit_code == 0
    assert await rows_written(dsn) == before


async def test_a_rotation_killed_at_one_point_after_another_asks_only_for_what_is_left(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Who had its turn is committed with the answers, some at a time."""
    sandbox = await start_sandbox(**{**NOTHING, "recordings": 170})
    await Pipeline(sandbox, dsn).sync()
    sandbox.control.reset_requests()
    for aim in (
        in_copy("sharing_configurations", 2),
        at_commit(1, Point.BEFORE_COMMIT),
        at_commit(1, LATER),
    ):
        await killed_at(sandbox, dsn, "recording_sharing", aim)
        # Nothing is stored of an answer whose turn was not noted, and the other way round.
        stored = await row_count(dsn, "sharing_configurations")
        checked = await value(dsn, "SELECT count(*) FROM posthog_etl.checks")
        assert checked == stored
    assert 0 < checked < 170
    shared = await value(dsn, SHARED)
    sandbox.control.reset_requests()
    pipeline = Pipeline(sandbox, dsn, streams=("recording_sharing",))
    report = await pipeline.sync()
    # What is known to be shared is asked about at every sync.
    assert (report.ending.exit_code, len(asked(sandbox, "/sharing"))) == (0, 170 - checked + shared)
    assert await untruths(dsn, sandbox, "recording_sharing") == []
    assert (await pipeline.sync()).requests == await value(dsn, SHARED)
