"""P7, nothing bad blocks the good: what cannot be stored is set aside, the rest loads."""

from __future__ import annotations

import random
from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value
from tests.support.truth import differences_from_truth, fetch_truth, stored

LIST = {"path": "session_recordings"}
PAGE = 50
ROWS = 120

# Random text, so that Postgres cannot compress it: longer than an index row may be.
TOO_LONG_FOR_AN_INDEX = "".join(random.Random(7).choices("0123456789abcdefghijklmnop", k=9000))
DEEP = 6000

# What one record is changed into, and what the reason has to speak of.
REJECTED: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"unset": ["id"]}, "id: missing"),
    "null for an id": ({"set": {"id": None}}, "id: missing"),
    "a number for an id": ({"set": {"id": 17}}, "id: expected text"),
    "NUL in the id": ({"raw": {"id": '"a\\u0000b"'}}, "id: holds characters"),
    "an id too long for an index": ({"set": {"id": TOO_LONG_FOR_AN_INDEX}}, "index row"),
    "a distinct id too long for an index": (
        {"set": {"distinct_id": TOO_LONG_FOR_AN_INDEX}},
        "person_distinct_ids: index row",
    ),
    "text for a count": ({"set": {"click_count": "many"}}, "click_count: expected"),
    "an object for a count": ({"set": {"click_count": {}}}, "click_count: expected"),
    "a number for a date": ({"set": {"start_time": 20260101}}, "start_time: expected"),
    "a word for a date": ({"set": {"end_time": "yesterday"}}, "end_time: expected"),
    "a number for a flag": ({"set": {"viewed": 1}}, "viewed: expected"),
    "an object for a list": ({"set": {"viewers": {"a": 1}}}, "viewers: expected"),
    "a list for a person": ({"set": {"person": []}}, "person: expected"),
    "a word for a uuid": ({"set": {"person.uuid": "someone"}}, "person.uuid: expected"),
    "30 digits for a count": ({"raw": {"click_count": "1" * 30}}, "click_count: expected"),
    "a year beyond ours": (
        {"set": {"end_time": "0001-01-01T00:00:00+14:00"}},
        "end_time: expected",
    ),
    "nested beyond reading": (
        {"raw": {"person.properties": "[" * DEEP + "]" * DEEP}},
        "nested too deeply",
    ),
    "not JSON": ({"raw": {"click_count": "3 4"}}, "not JSON"),
}

# What is repaired instead: how the record is changed, column, and its value then.
REPAIRED: dict[str, tuple[dict[str, Any], str, Any]] = {
    "NaN": ({"raw": {"recording_duration": "NaN"}}, "recording_duration", None),
    "infinity": ({"raw": {"active_seconds": "1e400"}}, "active_seconds", None),
    "NUL": ({"raw": {"start_url": '"a\\u0000b"'}}, "start_url", "a\ufffdb"),
    "half a surrogate pair": ({"raw": {"start_url": '"\\ud800x"'}}, "start_url", "\ufffdx"),
}


async def quarantined(dsn: str) -> list[dict[str, Any]]:
    """The rejects table."""
    return await select(dsn, "SELECT * FROM posthog_etl.rejects ORDER BY record_key")


async def sandbox_with(start_sandbox: StartSandbox, **options: Any) -> RunningSandbox:
    """A sandbox whose recordings fill three pages, most of them with a person of their own."""
    return await start_sandbox(recordings=ROWS, persons=400, **options)


def paged(sandbox: RunningSandbox, dsn: str) -> Pipeline:
    """The pipeline with pages of 50 records, that reads all of them again each time."""
    return Pipeline(sandbox, dsn, page_size_records=PAGE, lookback="1000h")


@pytest.mark.parametrize(("mutation", "reason"), REJECTED.values(), ids=REJECTED.keys())
async def test_a_record_that_cannot_be_stored_is_set_aside_once_and_the_page_loads(
    start_sandbox: StartSandbox, dsn: str, mutation: dict[str, Any], reason: str
) -> None:
    """The first run ends with 3 and names it; the second finds no news; all others are true."""
    sandbox = await sandbox_with(start_sandbox)
    fault = {"match": LIST, "at": 3, "fault": {"mutate": {"record": 4, **mutation}}}
    sandbox.control.add_faults(fault)
    bad = _ids_in_order(sandbox)[2 * PAGE + 4]
    first = await paged(sandbox, dsn).sync()
    assert (first.ending.exit_code, first.ending.status, first.rejected) == (3, "partial", 1)
    sandbox.control.clear_faults()
    sandbox.control.add_faults(fault)
    second = await paged(sandbox, dsn).sync()
    assert (second.ending.exit_code, second.rejected) == (0, 0), second
    (set_aside,) = await quarantined(dsn)
    assert reason in set_aside["reason"]
    assert set_aside["resolved_at"] is None
    assert set_aside["payload"]
    good = set(_ids_in_order(sandbox)) - {bad}
    assert good <= (await stored(dsn, "session_recordings")).keys()


async def test_a_record_is_resolved_once_it_is_mended(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The record is good again: it loads, its reject is marked, and the copy is the truth."""
    sandbox = await sandbox_with(start_sandbox)
    sandbox.control.add_faults(
        {"match": LIST, "fault": {"mutate": {"record": 1, "set": {"click_count": "many"}}}}
    )
    assert (await paged(sandbox, dsn).sync()).ending.exit_code == 3
    sandbox.control.clear_faults()
    assert (await paged(sandbox, dsn).sync()).ending.exit_code == 0
    set_aside = await quarantined(dsn)
    assert len(set_aside) == 3
    assert all(row["resolved_at"] for row in set_aside)
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


async def test_a_record_that_breaks_again_is_news_again(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Set aside, mended, broken again: the reject is open again, and the run says so."""
    sandbox = await sandbox_with(start_sandbox)
    broken = {"match": LIST, "fault": {"mutate": {"record": 0, "set": {"viewed": "no"}}}}
    codes = []
    for rules in ([broken], [], [broken]):
        sandbox.control.clear_faults()
        sandbox.control.add_faults(*rules)
        codes.append((await paged(sandbox, dsn).sync()).ending.exit_code)
    assert codes == [3, 0, 3]
    assert {row["resolved_at"] for row in await quarantined(dsn)} == {None}


async def test_a_page_of_nothing_but_bad_records_keeps_nothing_else_out(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Every record of one page is refused by Postgres itself; the other pages load."""
    sandbox = await sandbox_with(start_sandbox)
    ids = _ids_in_order(sandbox)
    sandbox.control.add_faults(
        {
            "match": LIST,
            "at": 2,
            "fault": {
                "mutate": [
                    {"record": n, "set": {"id": f"{n}{TOO_LONG_FOR_AN_INDEX}"}} for n in range(PAGE)
                ]
            },
        }
    )
    result = await paged(sandbox, dsn).sync()
    assert (result.ending.exit_code, result.rejected) == (3, PAGE)
    assert (await stored(dsn, "session_recordings")).keys() == {*ids[:PAGE], *ids[2 * PAGE :]}


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_bad_records_scattered_over_every_page_leave_all_others_exact(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Several kinds on the same page, found by us and by Postgres, in either envelope."""
    sandbox = await sandbox_with(start_sandbox, flavour=flavour)
    kinds = [
        {"record": 3, "set": {"click_count": "many"}},
        {"record": 9, "set": {"distinct_id": TOO_LONG_FOR_AN_INDEX}},
        {"record": 17, "raw": {"viewers": '["\\ud800", 3]'}},
        {"record": 30, "raw": {"person.properties": "[" * DEEP + "]" * DEEP}},
    ]
    sandbox.control.add_faults(
        {"match": LIST, "fault": {"clamp_limit": PAGE}},
        {"match": LIST, "first": 1, "fault": {"mutate": kinds}},
    )
    ids = _ids_in_order(sandbox)
    result = await paged(sandbox, dsn).sync()
    assert (result.ending.exit_code, result.rejected) == (3, len(kinds))
    assert set(ids) - (await stored(dsn, "session_recordings")).keys() <= {ids[3], ids[17], ids[30]}


@pytest.mark.parametrize(("mutation", "column", "kept"), REPAIRED.values(), ids=REPAIRED.keys())
async def test_what_postgres_cannot_hold_is_repaired_and_marked(
    start_sandbox: StartSandbox, dsn: str, mutation: dict[str, Any], column: str, kept: Any
) -> None:
    """The record loads with the repair, is marked, and nothing is set aside."""
    sandbox = await sandbox_with(start_sandbox)
    sandbox.control.add_faults({"match": LIST, "at": 1, "fault": {"mutate": mutation}})
    recording = _ids_in_order(sandbox)[0]
    assert (await paged(sandbox, dsn).sync()).ending.exit_code == 0
    rows = await stored(dsn, "session_recordings")
    assert (rows[recording][column], rows[recording]["_repaired"]) == (kept, [column])
    assert [row["id"] for row in rows.values() if row["_repaired"]] == [recording]
    assert len(rows) == ROWS


async def test_a_repair_inside_a_person_marks_the_person(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """NUL, NaN and half surrogates deep in the properties, in values and in names of fields."""
    sandbox = await sandbox_with(start_sandbox)
    properties = '{"a":["x\\u0000",NaN],"\\udfff":{"b":-1e999},"n":123456789012345678901234567890}'
    place, person = _person_of_one_recording(sandbox)
    mutation = {"record": place, "raw": {"person.properties": properties}}
    sandbox.control.add_faults({"match": LIST, "at": 1, "fault": {"mutate": mutation}})
    assert (await paged(sandbox, dsn).sync()).ending.exit_code == 0
    row = (await stored(dsn, "persons"))[person]
    assert row["properties"] == {
        "a": ["x\ufffd", None],
        "\ufffd": {"b": None},
        "n": 123456789012345678901234567890,
    }
    assert row["_repaired"] == ["person"]


async def test_a_field_that_nobody_knows_lands_in_extra(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Whatever a newer server adds is kept: in the recording and in the person."""
    sandbox = await sandbox_with(start_sandbox)
    place, person = _person_of_one_recording(sandbox)
    fields = {"mood": {"is": ["good", None]}, "person.shoe_size": 43}
    mutation = {"record": place, "set": fields}
    sandbox.control.add_faults({"match": LIST, "at": 1, "fault": {"mutate": mutation}})
    recording = _ids_in_order(sandbox)[place]
    assert (await paged(sandbox, dsn).sync()).ending.exit_code == 0
    row = (await stored(dsn, "session_recordings"))[recording]
    assert row["extra"] == {"mood": {"is": ["good", None]}}
    assert (await stored(dsn, "persons"))[person]["extra"] == {"shoe_size": 43}
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.rejects") == 0


def _ids_in_order(sandbox: RunningSandbox) -> list[str]:
    return [row["id"] for row in _in_order(sandbox)]


def _in_order(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    rows = sandbox.control.truth_rows("session_recordings")
    return sorted(rows, key=lambda row: (row["start_time"], row["id"]), reverse=True)


def _person_of_one_recording(sandbox: RunningSandbox) -> tuple[int, str]:
    """A place on the first page, and the uuid of a person that no other recording has."""
    persons = [row["person_uuid"] for row in _in_order(sandbox)]
    return next(
        (place, person)
        for place, person in enumerate(persons[:PAGE])
        if person is not None and persons.count(person) == 1
    )
