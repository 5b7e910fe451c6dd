"""What product teams make: changed, hidden, shown again, deleted and restored, it stays true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Struct

from etl import upkeep
from tests.acceptance.test_quiet import rows_written
from tests.acceptance.test_secrets import assert_hidden, dump
from tests.acceptance.test_streams_secrets import ALL
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value
from tests.support.streams import NOTHING, asked, endings, marked, put, remove, untruths

PRODUCT = ("annotations", "actions", "feature_flags", "surveys", "experiments", "comments")
OPTIONS: dict[str, Any] = {**NOTHING, "others": 6, "insights": 4}
SURVEY = "01890000-0000-4000-8000-00000000000a"
COMMENT = "01890000-0000-4000-8000-00000000000b"
each_flavour = pytest.mark.parametrize("flavour", ["cloud", "docs"])


class Step(Struct, frozen=True):
    """What happens at the source, and which rows are marked deleted after the next sync.

    written, inserted: how many rows that sync changes and makes. older: how many it changes of an
    older server, if that shows less.
    """

    happens: Sequence[dict[str, Any]]
    marked: Sequence[str] = ()
    written: int = 1
    inserted: int = 0
    older: int | None = None


class Case(Struct, frozen=True):
    """A stream: what happens to it, and how many requests a sync takes when nothing did."""

    stream: str
    steps: Sequence[Step]
    requests: int = 1
    key: str = "id"


CASES = (
    Case(
        "annotations",
        [
            Step([put("annotation", id=10_001, content="Changed")]),
            Step([put("annotation", id=10_003, emoji=None)]),
            Step([put("insight", id=10_002, name="Renamed")], written=0),
            # Nothing shows an annotation of a deleted insight until the insight is back.
            Step([put("insight", id=10_002, deleted=True)], ["10001"]),
            Step([put("insight", id=10_002, deleted=False)]),
            Step([put("annotation", id=10_002, deleted=True)], ["10002"]),
            Step([put("annotation", id=10_002, deleted=False)]),
        ],
    ),
    Case(
        "actions",
        [
            Step([put("action", id=10_001, steps=[{"event": "paid"}])]),
            # The list leaves it out, and it is still found by its id.
            Step([put("action", id=10_002, deleted=True)]),
            Step([put("action", id=10_002, deleted=False)]),
            Step([remove("action", id=10_002)], ["10002"]),
        ],
    ),
    Case(
        "feature_flags",
        [
            Step([put("feature_flag", id=10_001, active=False)]),
            Step([put("cohort", id=10_001, name="Renamed")], written=0),
            # An experiment of the flag is a change of the flag.
            Step([put("experiment", id=10_002, feature_flag=10_003)], written=2),
            Step([put("feature_flag", id=10_003, archived=True)], older=0),
            Step([put("feature_flag", id=10_003, archived=False)], older=0),
            # Neither list shows it, and it is still found by its id.
            Step([put("feature_flag", id=10_004, deleted=True, key="new:deleted")]),
            Step([put("feature_flag", id=10_004, deleted=False)]),
            Step([remove("feature_flag", id=10_004)], ["10004"]),
        ],
        requests=2,
    ),
    Case(
        "surveys",
        [
            Step(
                [put("survey", id=SURVEY, name="Made", linked_flag=10_001)], written=0, inserted=1
            ),
            Step([put("feature_flag", id=10_001, active=False)], written=0),
            Step([put("action", id=10_002, name="Renamed")], written=0),
            Step([put("survey", id=SURVEY, archived=True)]),
            Step([put("survey", id=SURVEY, archived=False, actions=[10_001])]),
            Step([remove("survey", id=SURVEY)], [SURVEY]),
        ],
    ),
    Case(
        "experiments",
        [
            Step([put("experiment", id=10_001, conclusion="won")]),
            Step([put("feature_flag", id=10_001, active=False)], written=0),
            Step([put("experiment", id=10_002, archived=True)]),
            Step([put("experiment", id=10_002, archived=False)]),
            Step([put("experiment", id=10_003, deleted=True)], ["10003"]),
            Step([put("experiment", id=10_003, deleted=False)]),
        ],
        requests=2,
    ),
    Case(
        "comments",
        [
            Step([put("comment", id=COMMENT, content="Look")], written=0, inserted=1),
            Step([put("comment", id=COMMENT, content="Look there", version=1)]),
            Step([put("comment", id=COMMENT, deleted=True)]),
            Step([put("comment", id=COMMENT, deleted=False)]),
            Step([put("comment", id=COMMENT, scope="conversations_ticket")]),
            Step([remove("comment", id=COMMENT)], [COMMENT]),
        ],
        requests=2,
    ),
)


@each_flavour
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stream)
async def test_what_is_changed_hidden_or_deleted_is_as_the_source_has_it(
    start_sandbox: StartSandbox, dsn: str, case: Case, flavour: str
) -> None:
    """Step by step, and only what happened is written; in between a sync costs what it must."""
    sandbox = await start_sandbox(**OPTIONS, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=(case.stream,))
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await untruths(dsn, sandbox, case.stream) == []
    for step in case.steps:
        sandbox.control.change(*step.happens)
        report = await pipeline.sync()
        assert (report.ending.exit_code, report.ending.reason) == (0, None), step
        assert (await untruths(dsn, sandbox, case.stream), step.happens) == ([], step.happens)
        assert await marked(dsn, case.stream, case.key) == {*step.marked}, step
        written = step.older if flavour == "docs" and step.older is not None else step.written
        assert (report.rows_inserted, report.rows_updated) == (step.inserted, written), step
    quiet = await pipeline.sync()
    assert (quiet.requests, quiet.rows_updated) == (case.requests, 0)


@each_flavour
async def test_a_list_that_has_a_count_and_no_next_is_read_to_its_count(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """And no request is sent after that; a server that ignores `limit` needs only one."""
    sandbox = await start_sandbox(**{**NOTHING, "others": 70}, flavour=flavour)
    for clamped, requests in ((False, 2), (True, 6)):
        if clamped:
            match = {"path": "/actions"}
            sandbox.control.add_faults({"match": match, "fault": {"clamp_limit": 20}})
        sandbox.control.reset_requests()
        pipeline = Pipeline(sandbox, dsn, streams=("actions",))
        assert endings(await pipeline.sync_each()) == {}
        assert await untruths(dsn, sandbox, "actions") == []
        assert len(asked(sandbox, "/actions")) == (requests if flavour == "cloud" else 1)
    gone = put("action", id=10_070, deleted=True)
    sandbox.control.change(gone)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, "actions") == []


async def test_a_flag_that_is_called_is_written_once_a_day_and_not_with_every_call(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """So a flag that is used, and nothing else, is not taken for a stale one."""
    sandbox = await start_sandbox(**OPTIONS)
    pipeline = Pipeline(sandbox, dsn, streams=("feature_flags",))
    called = put("feature_flag", id=10_001, created_at="-200d", updated_at="-200d")
    sandbox.control.change({**called, "last_called_at": "-100d"})
    await pipeline.sync()
    stale = "SELECT count(*) FROM posthog.stale_flags WHERE id = 10001"
    assert await value(dsn, stale) == 1
    for hours, written in ((0, 1), (5, 0), (18, 0), (2, 1)):
        sandbox.control.advance(hours * 3600)
        at = sandbox.control.state()["now"]
        before = await select(dsn, "SELECT updated_at FROM posthog.feature_flags WHERE id = 10001")
        same = {"updated_at": before[0]["updated_at"].isoformat()}
        sandbox.control.change(put("feature_flag", id=10_001, last_called_at=at, **same))
        assert ((await pipeline.sync()).rows_updated, hours) == (written, hours)
        assert await value(dsn, stale) == 0


@each_flavour
async def test_what_moves_by_itself_is_no_news(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Hours later: states, rounds, names and fingerprints that the server computes have moved."""
    sandbox = await start_sandbox(**OPTIONS, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=PRODUCT)
    assert endings(await pipeline.sync_each()) == {}
    before = await rows_written(dsn)
    sandbox.control.advance(5 * 3600)
    assert endings(await pipeline.sync_each()) == {}
    assert await rows_written(dsn) == before


@pytest.mark.parametrize("clamped", [False, True], ids=["one large page", "only small pages"])
async def test_a_list_without_an_order_loses_nothing(
    start_sandbox: StartSandbox, dsn: str, clamped: bool
) -> None:
    """Each page comes in an order of its own, so some rows come twice and others not at all.

    Asked for in one page, the list is whole. Where only small pages are to be had, the run says
    that it is not, and takes nothing for gone.
    """
    sandbox = await start_sandbox(**{**NOTHING, "others": 70})
    pipeline = Pipeline(sandbox, dsn, streams=("surveys",))
    if clamped:
        await pipeline.sync()
        match = {"path": "/surveys"}
        sandbox.control.add_faults({"match": match, "fault": {"clamp_limit": 20}})
    for _ in range(3):
        report = await pipeline.sync()
        assert (report.ending.exit_code == 0) or clamped
        assert await untruths(dsn, sandbox, "surveys") == []
        assert await marked(dsn, "surveys") == set()


async def test_a_list_by_cursor_without_a_count_is_followed_to_its_end(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Whatever limit is sent, 100 come; those on tickets have a list of their own."""
    sandbox = await start_sandbox(**{**NOTHING, "others": 300})
    pipeline = Pipeline(sandbox, dsn, streams=("comments",))
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, "comments") == []
    pages = [request["query"] for request in asked(sandbox, "/comments")]
    assert [("cursor" in query, query.get("scope")) for query in pages] == [
        (False, None),
        (True, None),
        (True, None),
        (False, "conversations_ticket"),
    ]


async def test_what_is_said_about_a_person_who_was_forgotten_is_gone_and_stays_away(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Comments on, and log of, person and recordings; of a mention elsewhere only the name."""
    sandbox = await start_sandbox(recordings=30, persons=4, others=0)
    streams = ("session_recordings", "comments", "activity_log")
    pipeline = Pipeline(sandbox, dsn, streams=streams, lookback="1000h")
    await pipeline.sync_each()
    somebody = "SELECT min(person_uuid::text) FROM posthog.session_recordings"
    uuid = await value(dsn, somebody)
    recording, other = [
        await value(dsn, f"SELECT min(id) FROM posthog.session_recordings WHERE {of} $1", uuid)
        for of in ("person_uuid =", "person_uuid <>")
    ]
    mention = {"content": [{"text": uuid}, {"text": "as well"}]}
    sandbox.control.change(
        put("comment", content="On a recording", item_id=recording),
        put("comment", content="On the person", item_id=uuid.upper(), scope="Person"),
        put("log_entry", scope="Person", item_id=uuid, activity="split_person"),
        put("log_entry", scope="Replay", item_id=recording, activity="viewed"),
        put("log_entry", scope="Person", item_id="7", activity="deleted", detail={"name": uuid}),
        put("comment", content="On another recording", item_id=other, rich_content=mention),
    )
    await pipeline.sync_each()
    await upkeep.forget(pipeline.settings, uuid, None, lambda _: None)
    kept = "SELECT content, rich_content ->> 'content' AS said FROM posthog.comments"
    said = '[{"text": "[forgotten]"}, {"text": "as well"}]'
    logged = "SELECT activity, detail ->> 'name' AS name FROM posthog.activity_log"
    for _ in range(2):
        assert await select(dsn, kept) == [{"content": "On another recording", "said": said}]
        assert await select(dsn, logged) == [{"activity": "deleted", "name": "[forgotten]"}]
        assert endings(await pipeline.sync_each()) == {}


PAYLOAD = "canaryEncryptedPayload8QwErTyUiOp"


async def test_a_payload_that_is_encrypted_is_nowhere_even_if_the_key_may_decrypt_it(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Not of a flag, of one that is set aside, nor of what shows the flag."""
    sandbox = await start_sandbox(**OPTIONS)
    encrypted = {"has_encrypted_payloads": True, "filters": {"payloads": {"true": PAYLOAD}}}

    def spoiled(path: str, record: int, **fields: Any) -> dict[str, Any]:
        return {"match": {"path": path}, "fault": {"mutate": {"record": record, "set": fields}}}

    sandbox.control.add_faults(
        spoiled("/feature_flags", 0, **encrypted),
        spoiled("/feature_flags", 1, was=encrypted, **encrypted),
        spoiled("/feature_flags", 2, version="often", **encrypted),
        spoiled("/surveys", 0, linked_flag={"id": 1, **encrypted}),
        spoiled("/experiments", 0, feature_flag={"id": 1, **encrypted}),
        spoiled("/experiments", 1, parameters={"feature_flag_payloads": {"true": PAYLOAD}}),
    )
    command = Command(sandbox.url, dsn, **ALL)
    result = await command.run("sync", "feature_flags", "surveys", "experiments", "--debug")
    assert (result.code, "record.rejected" in result.err) == (3, True), result.err
    assert await value(dsn, "SELECT count(*) FROM posthog_etl.rejects") == 1
    assert_hidden(PAYLOAD, result, await dump(dsn))
