"""P13 by query: a digest finds the days that are equal, and the list decides about the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl import upkeep
from etl.runs.report import Report
from etl.sandbox.server import RunningSandbox
from tests.acceptance.test_verify import RECORDINGS, found
from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline, lists, midnight, now_of, truth_starts
from tests.support.sql import select, value

QUERY = {"path": "/query"}
DAYS = 10

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


async def loaded(
    start_sandbox: StartSandbox, dsn: str, *, days: float = DAYS, **settings: Any
) -> tuple[RunningSandbox, Pipeline]:
    """A sandbox with 200 recordings, 10 a page, and a copy of it."""
    # Just after midnight the day has no recordings yet, and a list is asked for them.
    sandbox = await start_sandbox(recordings=200, days=days, now=NOON)
    pipeline = Pipeline(sandbox, dsn, page_size_records=10, lookback="26h", **settings)
    assert (await pipeline.sync()).ending.exit_code == 0
    sandbox.control.reset_requests()
    return sandbox, pipeline


def asked(sandbox: RunningSandbox) -> tuple[int, int]:
    """How many requests there were since they were last counted: queries, and pages of lists."""
    queries = [each for each in sandbox.control.requests() if "/query" in each["path"]]
    pages = len(lists(sandbox))
    sandbox.control.reset_requests()
    return len(queries), pages


def ended(report: Report) -> tuple[int, dict[str, int], str]:
    """The exit code, what was found, and how it was compared."""
    assert report.found is not None, report.ending.reason
    return report.ending.exit_code, found(report), str(report.found.how)


async def on_day(dsn: str, day: str, number: int = 1) -> list[str]:
    """Some stored recordings of a day: `2026-05-01`."""
    rows = await select(
        dsn,
        f"SELECT id FROM {RECORDINGS} WHERE (start_time AT TIME ZONE 'UTC')::date::text = $1 "
        "ORDER BY id LIMIT $2",
        day,
        number,
    )
    return [row["id"] for row in rows]


def day(sandbox: RunningSandbox, ago: int) -> str:
    """A day of the past."""
    return midnight(sandbox, ago).date().isoformat()


async def test_days_that_are_equal_take_one_query_and_no_list(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The result says how, with both counts; the run says what the server read for it."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    report = await pipeline.verify(deep=False)
    assert (ended(report), asked(sandbox)) == ((0, {}, "digest"), (1, 0))
    stored = await value(dsn, f"SELECT count(*) FROM {RECORDINGS}")
    assert report.found is not None
    assert report.found.total("source") == report.found.total("destination") == stored
    kept = await select(
        dsn,
        "SELECT how, sum(source_count) AS source, sum(destination_count) AS here, "
        "array_agg(DISTINCT table_name) AS names FROM posthog_etl.reconciliations GROUP BY 1",
    )
    names = ["session_recordings"]
    assert [tuple(row.values()) for row in kept] == [("digest", stored, stored, names)]
    (run,) = await select(
        dsn, "SELECT requests, query_bytes_read FROM posthog_etl.runs WHERE unit = 'verify'"
    )
    assert (run["requests"], run["query_bytes_read"] > 0) == (1, True)
    assert (await pipeline.status())["verified"].how == "digest"


async def test_a_row_that_is_not_stored_costs_the_list_of_its_day_only(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The other days stay equal by their digests; a repair asks as much, and writes the row."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    (gone,) = await on_day(dsn, day(sandbox, 4))
    await select(dsn, f"DELETE FROM {RECORDINGS} WHERE id = $1", gone)
    report = await pipeline.verify(deep=False)
    assert ended(report) == (3, {"missing": 1}, "digest")
    queries, pages = asked(sandbox)
    # As many recordings are on the day as on two pages, more or less.
    assert (queries, 2 <= pages <= 4) == (1, True)
    kept = await select(
        dsn, "SELECT how, missing FROM posthog_etl.reconciliations WHERE missing > 0"
    )
    assert [tuple(row.values()) for row in kept] == [("ids", 1)]
    repaired = await pipeline.verify(deep=False, repair=True)
    assert (ended(repaired), repaired.rows_inserted) == ((0, {"missing": 1}, "digest"), 1)
    asked(sandbox)
    assert ended(await pipeline.verify(deep=False)) == (0, {}, "digest")
    assert asked(sandbox) == (1, 0)


async def test_a_difference_that_stands_is_found_each_time(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Only what the list has explained is left alone."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    (gone,) = await on_day(dsn, day(sandbox, 4))
    await select(dsn, f"DELETE FROM {RECORDINGS} WHERE id = $1", gone)
    for _ in range(2):
        assert ended(await pipeline.verify(deep=False)) == (3, {"missing": 1}, "digest")
    assert (await pipeline.status())["verified"].differences == 1


async def test_a_row_that_the_source_never_had_is_surplus(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Its day is read by the list, and it is asked for by its key."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    (copied,) = await on_day(dsn, day(sandbox, 3))
    await select(
        dsn,
        f"INSERT INTO {RECORDINGS} (project_id, id, start_time, expiry_time, _observed_at, "
        "_first_seen_at, _updated_at, _xid) SELECT project_id, 'never-there', start_time, "
        f"expiry_time, _observed_at, _first_seen_at, _updated_at, _xid FROM {RECORDINGS} "
        "WHERE id = $1",
        copied,
    )
    assert ended(await pipeline.verify(deep=False)) == (3, {"surplus": 1}, "digest")
    assert asked(sandbox)[0] == 1
    assert ended(await pipeline.verify(deep=False, repair=True))[0] == 0
    assert ended(await pipeline.verify(deep=False)) == (0, {}, "digest")


async def test_a_row_without_a_start_is_asked_for_by_its_key(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """It is on no day, and no list is read."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    await select(
        dsn,
        f"INSERT INTO {RECORDINGS} (project_id, id, _observed_at, _first_seen_at, _updated_at, "
        "_xid) SELECT project_id, 'never-there', _observed_at, _first_seen_at, _updated_at, _xid "
        f"FROM {RECORDINGS} LIMIT 1",
    )
    assert ended(await pipeline.verify(deep=False)) == (3, {"surplus": 1}, "digest")
    assert asked(sandbox) == (1, 0)


async def test_ids_that_are_exchanged_between_days_are_found(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Each day has as many as before, and each id is stored."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    (one,), (other,) = await on_day(dsn, day(sandbox, 3)), await on_day(dsn, day(sandbox, 6))
    for key, becomes in ((one, "between"), (other, one), ("between", other)):
        await select(dsn, f"UPDATE {RECORDINGS} SET id = $2 WHERE id = $1", key, becomes)
    assert ended(await pipeline.verify(deep=False)) == (3, {"different": 2}, "digest")
    assert asked(sandbox)[1] > 0
    repaired = await pipeline.verify(deep=False, repair=True)
    assert (ended(repaired)[0], repaired.rows_updated) == (0, 2)
    starts = await select(dsn, f"SELECT id, start_time FROM {RECORDINGS}")
    assert {row["id"]: row["start_time"] for row in starts} == truth_starts(sandbox)
    asked(sandbox)
    assert ended(await pipeline.verify(deep=False)) == (0, {}, "digest")
    assert asked(sandbox) == (1, 0)


@pytest.mark.parametrize("past", [False, True], ids=["up to now", "of the past"])
async def test_what_was_deleted_at_the_source_is_surplus(
    start_sandbox: StartSandbox, dsn: str, past: bool
) -> None:
    """A piece of its own says so, dated at the deletion, long after what is compared."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    (deleted,) = await on_day(dsn, day(sandbox, 3))
    sandbox.control.change({"op": "delete_recording", "id": deleted})
    span = {"until": midnight(sandbox, 2)} if past else {}
    found = await pipeline.verify(deep=False, **span)
    assert ended(found) == (3, {"surplus": 1}, "digest")
    assert ended(await pipeline.verify(deep=False, repair=True, **span))[0] == 0
    asked(sandbox)
    assert ended(await pipeline.verify(deep=False, **span)) == (0, {}, "digest")
    assert asked(sandbox) == (1, 0)


async def test_what_the_list_explains_is_looked_into_once(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A query counts recordings that are rightly not stored here: the list decides."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    person = await value(
        dsn, f"SELECT min(person_uuid::text) FROM {RECORDINGS} WHERE person_uuid IS NOT NULL"
    )
    where = f"FROM {RECORDINGS} WHERE person_uuid::text = '{person}'"
    (of_person,) = await select(
        dsn,
        "SELECT count(*) AS recordings, max((start_time AT TIME ZONE 'UTC')::date)::text AS day, "
        f"count(DISTINCT (start_time AT TIME ZONE 'UTC')::date) AS days {where}",
    )
    await upkeep.forget(pipeline.settings, person, None, lambda _: None)
    assert ended(await pipeline.verify(deep=False)) == (0, {}, "digest")
    queries, pages = asked(sandbox)
    assert (queries, pages > 0) == (1, True)
    for _ in range(2):
        assert ended(await pipeline.verify(deep=False)) == (0, {}, "digest")
        assert asked(sandbox) == (1, 0)
    (kept,) = await select(
        dsn,
        "SELECT count(*) AS days, sum(source_count - destination_count) AS recordings "
        "FROM posthog_etl.explained_days",
    )
    assert kept["days"] == of_person["days"]
    assert kept["recordings"] == of_person["recordings"]
    # Whatever changes on such a day is looked into.
    (gone,) = await on_day(dsn, of_person["day"])
    await select(dsn, f"DELETE FROM {RECORDINGS} WHERE id = $1", gone)
    assert ended(await pipeline.verify(deep=False)) == (3, {"missing": 1}, "digest")


async def test_a_row_that_comes_before_the_list_is_read_explains_nothing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """If it goes again, it is missing: the digests of then are no explanation."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    (gone,) = await on_day(dsn, day(sandbox, 4))
    await select(dsn, f"CREATE TABLE public.kept AS SELECT * FROM {RECORDINGS} WHERE id = '{gone}'")
    await select(dsn, f"DELETE FROM {RECORDINGS} WHERE id = $1", gone)
    # Another run loads it as soon as the list has shown that it is missing.
    await select(
        dsn,
        "CREATE FUNCTION load_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO {RECORDINGS} SELECT * FROM public.kept ON CONFLICT DO NOTHING; "
        "DELETE FROM public.kept; RETURN NULL; END $$",
    )
    await select(
        dsn,
        "CREATE TRIGGER load_it AFTER INSERT ON posthog_etl.differences "
        "FOR EACH ROW EXECUTE FUNCTION public.load_it()",
    )
    assert ended(await pipeline.verify(deep=False)) == (0, {}, "digest")
    await select(dsn, f"DELETE FROM {RECORDINGS} WHERE id = $1", gone)
    assert ended(await pipeline.verify(deep=False)) == (3, {"missing": 1}, "digest")


async def test_what_has_expired_is_explained_once(start_sandbox: StartSandbox, dsn: str) -> None:
    """The source still has its pieces; its list does not show them."""
    sandbox = await start_sandbox(recordings=200, days=20.0, now=NOON)
    sandbox.control.change({"op": "set_retention", "days": 30})
    pipeline = Pipeline(sandbox, dsn, page_size_records=10)
    await pipeline.sync()
    sandbox.control.advance(20 * 86_400)
    sandbox.control.reset_requests()
    report = await pipeline.verify(deep=False)  # some sessions were still going on
    assert ended(report) == (0, {}, "digest")
    assert report.found is not None
    assert report.found.expired > 10
    assert asked(sandbox)[1] > 0
    assert ended(await pipeline.verify(deep=False)) == (0, {}, "digest")
    assert asked(sandbox) == (1, 0)


@pytest.mark.parametrize(
    "refusal",
    [
        {"preset": "403_query"},
        {"preset": "402"},
        {"status": 404, "detail": "Endpoint not found."},
        {"preset": "429_budget"},
        {"status": 400, "detail": "Unable to resolve field: is_deleted"},
        {"killed": "time"},
        {"body": {"results": [["never", 1, "0", "0"]], "columns": [], "types": []}, "status": 200},
    ],
    ids=["403", "402", "404", "budget of bytes", "unknown column", "killed", "another answer"],
)
async def test_if_the_endpoint_refuses_the_lists_are_used(
    start_sandbox: StartSandbox, dsn: str, refusal: dict[str, Any]
) -> None:
    """It finds what is missing all the same, and nothing is an error."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    (gone,) = await on_day(dsn, day(sandbox, 4))
    await select(dsn, f"DELETE FROM {RECORDINGS} WHERE id = $1", gone)
    sandbox.control.add_faults({"match": QUERY, "fault": refusal})
    assert ended(await pipeline.verify(deep=False)) == (3, {"missing": 1}, "ids")
    queries, pages = asked(sandbox)
    assert (1 <= queries <= 8, pages >= 20) == (True, True)


async def test_a_query_that_is_too_much_is_halved(start_sandbox: StartSandbox, dsn: str) -> None:
    """Each half is a query of its own."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    sandbox.control.add_faults({"match": QUERY, "at": 1, "fault": {"killed": "time"}})
    assert ended(await pipeline.verify(deep=False)) == (0, {}, "digest")
    queries, pages = asked(sandbox)
    assert (3 <= queries <= 5, pages) == (True, 0)


async def test_a_limit_that_is_lowered_in_silence_hides_no_day(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The days after the last one of the answer are left to the list."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    last = day(sandbox, 1)
    await select(
        dsn,
        f"DELETE FROM {RECORDINGS} WHERE (start_time AT TIME ZONE 'UTC')::date::text = $1",
        last,
    )
    sandbox.control.add_faults({"match": QUERY, "fault": {"clamp_limit": 4}})
    report = await pipeline.verify(deep=False)
    exit_code, kinds, _ = ended(report)
    assert (exit_code, kinds["missing"] > 10) == (3, True)


async def test_it_can_be_switched_off(start_sandbox: StartSandbox, dsn: str) -> None:
    """Then, with contents, and if the list takes fewer requests, nothing is asked by query."""
    sandbox, pipeline = await loaded(start_sandbox, dsn, verify_by_query=False)
    assert ended(await pipeline.verify(deep=False)) == (0, {}, "ids")
    assert asked(sandbox)[0] == 0
    pipeline = Pipeline(sandbox, dsn, page_size_records=10)
    assert ended(await pipeline.verify(deep=True)) == (0, {}, "contents")
    assert asked(sandbox)[0] == 0


async def test_an_interrupted_comparison_goes_on_with_what_the_digests_said(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The query is not asked again, and the days it found equal are in the result."""
    sandbox, pipeline = await loaded(start_sandbox, dsn)
    for ago in (3, 6):
        (gone,) = await on_day(dsn, day(sandbox, ago))
        await select(dsn, f"DELETE FROM {RECORDINGS} WHERE id = $1", gone)
    stopped = await pipeline.verify(deep=False, requests=3)
    assert stopped.found is None
    assert asked(sandbox) == (1, 2)
    report = await pipeline.verify(deep=False)
    assert ended(report) == (3, {"missing": 2}, "digest")
    assert asked(sandbox)[0] == 0
    assert report.found is not None
    windows = report.found.windows
    assert windows[-1].until - windows[0].since > timedelta(days=DAYS - 1)
    assert windows[-1].until <= now_of(sandbox)
