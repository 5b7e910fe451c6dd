"""P13, proven: a comparison finds every row that differs, and repairs no other."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from etl.runs.report import Report
from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import EVERY_STREAM, LIST, Pipeline, lists, midnight
from tests.support.sql import select, value
from tests.support.streams import SMALL, endings, untruths
from tests.support.truth import differences_from_truth, fetch_truth

RECORDINGS = "posthog.session_recordings"
# Of these rows something is done to the copy: the youngest, the oldest, and some between.
SOME = f"(SELECT id FROM {RECORDINGS} ORDER BY md5(id) LIMIT 6)"

TAMPERED = {
    "rows deleted": (f"DELETE FROM {RECORDINGS} WHERE id IN {SOME}", "missing", 6),
    "a value altered": (
        f"UPDATE {RECORDINGS} SET click_count = click_count + 1 WHERE id IN {SOME}",
        "different",
        6,
    ),
    "an unknown field altered": (
        f"UPDATE {RECORDINGS} SET extra = '{{\"more\": 1}}' WHERE id IN {SOME}",
        "different",
        6,
    ),
    "a value lost": (
        f"UPDATE {RECORDINGS} SET expiry_time = NULL WHERE id IN {SOME}",
        "different",
        6,
    ),
    "rows marked deleted": (
        f"UPDATE {RECORDINGS} SET _deleted_at = now() WHERE id IN {SOME}",
        "missing",
        6,
    ),
    "contents exchanged between two keys": (
        f"WITH two AS (SELECT id, lag(id) OVER (ORDER BY id) AS before, "
        f"lead(id) OVER (ORDER BY id) AS after FROM {RECORDINGS} ORDER BY id LIMIT 2), "
        f"pair AS (SELECT id, coalesce(before, after) AS other FROM two LIMIT 2) "
        f"UPDATE {RECORDINGS} AS t SET click_count = o.click_count + 1, start_url = o.start_url, "
        f"_hash = o._hash FROM pair JOIN {RECORDINGS} AS o ON o.id = pair.other "
        "WHERE t.id = pair.id",
        "different",
        2,
    ),
    "rows that the source never had": (
        f"INSERT INTO {RECORDINGS} (project_id, id, start_time, expiry_time, _observed_at, "
        "_first_seen_at, _updated_at, _xid) SELECT project_id, id || '-not', start_time, "
        "coalesce(expiry_time, now() + interval '1 day'), _observed_at, _first_seen_at, "
        f"_updated_at, _xid FROM {RECORDINGS} WHERE id IN {SOME}",
        "surplus",
        6,
    ),
    "a person altered": (
        "UPDATE posthog.persons SET name = 'someone else' "
        "WHERE uuid IN (SELECT uuid FROM posthog.persons ORDER BY uuid LIMIT 3)",
        "different",
        3,
    ),
    "a distinct id moved to another person": (
        "UPDATE posthog.person_distinct_ids SET person_uuid = gen_random_uuid() WHERE distinct_id "
        "IN (SELECT distinct_id FROM posthog.person_distinct_ids ORDER BY 1 LIMIT 2)",
        "different",
        2,
    ),
}


def found(report: Report) -> dict[str, int]:
    """How many rows differ, by how; without zeros."""
    assert report.found is not None, report.ending.reason
    kinds = ("missing", "surplus", "different")
    return {kind: report.found.total(kind) for kind in kinds if report.found.total(kind)}


async def rows(dsn: str) -> dict[str, Any]:
    """Each recording, person and distinct id: which transaction wrote it last."""
    xids = {}
    for table, key in (
        ("session_recordings", "id"),
        ("persons", "uuid"),
        ("person_distinct_ids", "distinct_id"),
    ):
        for row in await select(dsn, f"SELECT {key}::text AS key, _xid FROM posthog.{table}"):
            xids[table, row["key"]] = row["_xid"]
    return xids


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_after_a_sync_source_and_destination_are_equal(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """It says so with the number of records, in as many requests as the list has pages."""
    sandbox = await start_sandbox(recordings=200, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, verify_by_query=False)
    read = await pipeline.sync()
    for deep in (False, True):
        sandbox.control.reset_requests()
        report = await pipeline.verify(deep=deep)
        assert (report.ending.exit_code, report.ending.reason) == (0, None)
        assert found(report) == {}
        assert report.found is not None
        source = report.found.total("source", "session_recordings")
        assert source == report.found.total("destination", "session_recordings") > 100
        assert report.requests <= 1.05 * read.requests
        assert len(lists(sandbox)) == report.requests


@pytest.mark.parametrize(
    ("flavour", "change", "kind", "count"),
    # Both flavours take the same way here, so each change is made under one of them.
    [(flavour, *each) for flavour, each in zip(cycle(("cloud", "docs")), TAMPERED.values())],
    ids=TAMPERED.keys(),
)
async def test_whatever_was_done_to_the_copy_is_found_and_repaired(
    start_sandbox: StartSandbox, dsn: str, flavour: str, change: str, kind: str, count: int
) -> None:
    """Every row that differs is found; the repair writes these and no other."""
    sandbox = await start_sandbox(recordings=150, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    before = await rows(dsn)
    await select(dsn, change)
    tampered = await pipeline.verify()
    assert (tampered.ending.exit_code, found(tampered)) == (3, {kind: count})
    repaired = await pipeline.verify(repair=True)
    assert (repaired.ending.exit_code, repaired.ending.reason) == (0, None)
    assert (found(repaired), repaired.found and repaired.found.repaired) == ({kind: count}, True)
    after = await rows(dsn)
    assert len({key for key in after if after[key] != before.get(key)}) == count
    untrue = await differences_from_truth(dsn, await fetch_truth(sandbox.url))
    # The answer for one recording has fields that the documented list does not have.
    assert [each for each in untrue if not each.endswith(" instead of None")] == []
    assert found(await pipeline.verify()) == {}


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_what_happened_at_the_source_beyond_the_lookback_is_found_and_repaired(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Rows deleted, added late, and changed, where no sync looks any more."""
    sandbox = await start_sandbox(recordings=150, flavour=flavour, days=20.0)
    # A server without dates shows everything to each sync, so nothing is beyond its lookback.
    pipeline = Pipeline(sandbox, dsn, lookback="26h")
    await pipeline.sync()
    rows_before = await rows(dsn)
    oldest = await select(dsn, f"SELECT id FROM {RECORDINGS} ORDER BY start_time LIMIT 5")
    gone, changed, *_ = (row["id"] for row in oldest)
    sandbox.control.change(
        {"op": "delete_recording", "id": gone},
        {"op": "start_session", "id": "late", "start_time": "-15d", "duration_s": 60},
        {"op": "view", "id": changed, "by": "eve@example.com"},
    )
    report = await pipeline.verify()
    expected = {"missing": 1, "surplus": 1, "different": 1}
    shown = {(d.key, d.kind) for d in (report.found.sample if report.found else ())}
    assert shown >= {("late", "missing"), (gone, "surplus"), (changed, "different")}
    assert report.found is not None
    own = {kind: report.found.total(kind, "session_recordings") for kind in expected}
    assert (report.ending.exit_code, own) == (3, expected)
    repaired = await pipeline.verify(repair=True)
    assert (repaired.ending.exit_code, repaired.ending.reason) == (0, None)
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
    rows_after = await rows(dsn)
    written = {key for key in rows_after if rows_after[key] != rows_before.get(key)}
    assert written == {*written} & {(d.table, d.key) for d in report.found.sample}


async def test_rows_are_compared_only_where_they_are_known_complete(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """What no sync or backfill has read yet is not missing."""
    sandbox = await start_sandbox(recordings=150, days=20.0)
    pipeline = Pipeline(sandbox, dsn, start=midnight(sandbox, days_ago=5))
    await pipeline.sync()
    assert found(await pipeline.verify()) == {}
    sandbox.control.change({"op": "start_session", "id": "new", "start_time": "-0h"})
    assert found(await pipeline.verify()) == {}


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_every_stream_is_equal_after_a_sync_and_what_was_done_to_any_table_is_repaired(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """A row of each table is taken away; then all are equal to the source again."""
    sandbox = await start_sandbox(**SMALL, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=EVERY_STREAM)
    for _ in range(2):  # what builds on others is read after them
        assert endings(await pipeline.sync_each()) == {}
    reports = await pipeline.verify_each(deep=True)
    assert endings(reports) == {}
    tables = {table for report in reports for table, _ in (report.found and report.found.counts)}
    for table in sorted(tables):
        await select(
            dsn,
            f"DELETE FROM posthog.{table} WHERE ctid IN (SELECT ctid FROM posthog.{table} "
            "WHERE _deleted_at IS NULL LIMIT 1)",
        )
    await pipeline.verify_each(deep=True, repair=True)
    left = endings(await pipeline.verify_each(deep=True, repair=True))
    assert left == {}
    assert await untruths(dsn, sandbox, *EVERY_STREAM) == []


async def test_keys_alone_show_what_is_missing_and_surplus_but_no_contents(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Without `--deep` it tells which rows there are."""
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    await select(dsn, f"UPDATE {RECORDINGS} SET click_count = click_count + 1 WHERE id IN {SOME}")
    assert found(await pipeline.verify(deep=False)) == {}
    await select(dsn, TAMPERED["rows deleted"][0])
    report = await pipeline.verify(deep=False)
    assert (report.ending.exit_code, found(report)) == (3, {"missing": 6})
    await pipeline.verify(deep=False, repair=True)
    assert found(await pipeline.verify(deep=False)) == {}


async def test_a_comparison_that_was_interrupted_goes_on(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Some requests at a time: nothing is read twice, and nothing is overlooked."""
    sandbox = await start_sandbox(recordings=150)
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    await select(dsn, TAMPERED["rows deleted"][0])
    at_once = await pipeline.verify()
    stopped = 0
    sandbox.control.reset_requests()
    while (report := await pipeline.verify(requests=2)).found is None:
        stopped += 1
        assert stopped < 10
        assert "Stopped after 2 requests, as asked for" in (report.ending.reason or "")
    assert found(report) == found(at_once) == {"missing": 6}
    assert (len(sandbox.control.requests()), stopped > 1) == (at_once.requests, True)


async def test_rows_that_another_run_reads_now_are_on_their_way(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """They count apart, and are no reason for another exit code."""
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    await select(dsn, TAMPERED["rows deleted"][0])
    await select(
        dsn,
        "UPDATE posthog_etl.leases SET holder = gen_random_uuid(), "
        "expires_at = now() + interval '1 hour' WHERE unit = 'tail'",
    )
    report = await pipeline.verify()
    assert (report.ending.exit_code, found(report)) == (0, {})
    assert report.found is not None
    assert report.found.on_their_way == 6


async def test_what_has_expired_is_not_missed(start_sandbox: StartSandbox, dsn: str) -> None:
    """The source dropped it by its rule, and no sync has marked it yet."""
    sandbox = await start_sandbox(recordings=60, days=20.0)
    sandbox.control.change({"op": "set_retention", "days": 30})
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    sandbox.control.advance(20 * 86_400)
    report = await pipeline.verify(deep=False)  # some sessions were still going on
    assert (report.ending.exit_code, found(report)) == (0, {})
    assert report.found is not None
    assert report.found.expired > 10
    counts = report.found
    assert counts.total("source") == counts.total("destination") < 60


async def test_what_a_list_leaves_out_by_mistake_is_not_surplus(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Each record is asked for by its key before it counts."""
    pipeline = Pipeline(sandbox, dsn)
    await pipeline.sync()
    sandbox.control.add_faults({"match": LIST, "at": 2, "fault": {"omit": [0, 3, -1]}})
    report = await pipeline.verify()
    assert (report.ending.exit_code, found(report)) == (0, {})


async def test_the_command_says_what_differs_and_how_to_repair_it(
    sandbox: RunningSandbox, dsn: str
) -> None:
    """Exit code 3, then 0; the result is in `reconciliations`, in `status`, and on the terminal."""
    command = Command(sandbox.url, dsn)
    nothing = await command.run("verify")
    first = "Run `posthog-etl sync session_recordings` first"
    assert (nothing.code, first in " ".join(nothing.out.split())) == (3, True)
    assert (await command.run("sync")).code == 0
    await select(dsn, TAMPERED["rows deleted"][0])
    shown = await command.run("verify", "session_recordings")
    assert shown.code == 3
    assert "Source and destination differ: 6 missing" in shown.out
    assert "`posthog-etl verify session_recordings --repair`" in shown.out
    assert "missing in session_recordings: " in shown.out
    assert "6 missing\n" in shown.out
    state = (await command.run("status", "--json")).document["streams"][0]
    assert (state["status"], state["verified"]["differences"]) == ("succeeded", 6)
    stored = await value(dsn, f"SELECT count(*) FROM {RECORDINGS}")
    assert (state["rows"]["session_recordings"], state["rows_estimated"]) == (stored, [])
    assert 0 <= state["lag_s"] < 3600
    repaired = await command.run("verify", "--repair", "--json")
    told = [repaired.report[name] for name in ("missing", "surplus", "different", "repaired")]
    assert (repaired.code, told) == (0, [6, 0, 0, True])
    kept = await select(
        dsn,
        "SELECT how, sum(missing)::int AS missing, bool_and(repaired_at IS NOT NULL) AS repaired "
        "FROM posthog_etl.reconciliations WHERE missing > 0 GROUP BY how, checked_at "
        "ORDER BY checked_at",
    )
    assert [(row["how"], row["missing"], row["repaired"]) for row in kept] == [
        ("ids", 6, False),
        ("ids", 6, True),
    ]
    assert "verified at" in (await command.run("status")).out
    wrong = await command.run("verify", "--since", "2026-05-01", "--until", "2026-04-01")
    assert (wrong.code, "--since" in wrong.err) == (2, True)
