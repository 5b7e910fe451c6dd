"""P6 and P2 where lists are read as a whole: nothing is lost, and no deletion is invented."""

from __future__ import annotations

from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from tests.acceptance.test_secrets import elsewhere
from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline
from tests.support.sql import select, value
from tests.support.streams import (
    NOTHING,
    SMALL,
    asked,
    endings,
    marked,
    put,
    remove,
    tables_of,
    untruths,
)

__all__ = ["elsewhere"]  # a fixture

EMPTY = {"status": 200, "body": {"count": 0, "next": None, "previous": None, "results": []}}
each_flavour = pytest.mark.parametrize("flavour", ["cloud", "docs"])


async def marks(dsn: str, *streams: str) -> dict[str, int]:
    """How many rows are marked deleted, by table; tables without any left out."""
    found = {
        table: await value(
            dsn, f'SELECT count(*) FROM posthog."{table}" WHERE _deleted_at IS NOT NULL'
        )
        for table in tables_of(*streams)
    }
    return {table: count for table, count in found.items() if count}


def at_first(path: str, fault: dict[str, Any], **when: Any) -> dict[str, Any]:
    """A rule that spoils the first answer to a request for `path`."""
    return {"match": {"path": path}, "fault": fault, **({"at": 1} | when)}


# Lists whose records can be asked for one by one, and where.
ASKED_FOR = {
    "/subscriptions": ("subscriptions", "/subscriptions/1"),
    "/groups/": ("groups", "/groups/find"),
    "/insights": ("insights", "/insights/1"),
    "/session_recording_playlists": ("playlists", "/session_recording_playlists/"),
    "/project_secret_api_keys": ("project_secret_api_keys", "/project_secret_api_keys/"),
}
# Lists that can only be read once more.
READ_AGAIN = {
    "/groups_types": "groups",
    "/groups/property_definitions": "group_properties",
    "/groups/property_values": "group_properties",
    "/recordings": "playlists",
    "/dashboards": "dashboards",
    "/event_definitions": "event_definitions",
    "/1/property_definitions": "property_definitions",
}


@each_flavour
async def test_what_a_list_never_shows_is_asked_for_by_its_key_and_not_marked(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """The answer is loaded like any other, and the row stays."""
    sandbox = await start_sandbox(**SMALL, flavour=flavour)
    streams = [stream for stream, _ in ASKED_FOR.values()]
    pipeline = Pipeline(sandbox, dsn, streams=streams)
    assert endings(await pipeline.sync_each()) == {}
    for path in ASKED_FOR:
        # Of the playlists only their own list: it is read twice, since it counts one more.
        when = {"first": 2} if "playlists" in path else {}
        sandbox.control.add_faults({"match": {"path": path}, "fault": {"omit": [0]}, **when})
    sandbox.control.reset_requests()
    assert endings(await pipeline.sync_each()) == {}
    assert await marks(dsn, *streams) == {}
    for list_path, (stream, one) in ASKED_FOR.items():
        paths = {r["path"].rstrip("/") for r in asked(sandbox, one, without="/recordings")}
        singles = {path for path in paths if not path.endswith(list_path.rstrip("/"))}
        assert (stream, singles != set()) == (stream, True)
    assert await untruths(dsn, sandbox, *streams) == []


@each_flavour
async def test_what_one_answer_leaves_out_is_looked_for_by_a_second_reading_and_not_marked(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Of lists whose records have no address of their own."""
    sandbox = await start_sandbox(**SMALL, flavour=flavour)
    streams = list(dict.fromkeys(READ_AGAIN.values()))
    pipeline = Pipeline(sandbox, dsn, streams=streams)
    assert endings(await pipeline.sync_each()) == {}
    for path in READ_AGAIN:
        # Only the rows of this one answer: a server that counts would show that one is missing.
        sandbox.control.add_faults(at_first(path, {"omit": [0]}))
    before = {path: len(asked(sandbox, path)) for path in READ_AGAIN}
    sandbox.control.reset_requests()
    assert endings(await pipeline.sync_each()) == {}
    assert await marks(dsn, *streams) == {}
    for path, usual in before.items():
        assert (path, len(asked(sandbox, path)) > usual) == (path, True)
    assert await untruths(dsn, sandbox, *streams) == []


async def test_an_empty_answer_is_believed_only_when_it_is_given_twice(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Once is a mistake. Twice it is what the source says, where there is no third way to ask."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("groups", "group_properties"))
    await pipeline.sync_each()
    lists = ("/groups_types", "/groups/property_definitions")
    sandbox.control.add_faults(*(at_first(path, EMPTY) for path in lists))
    assert endings(await pipeline.sync_each()) == {}
    assert await marks(dsn, "groups", "group_properties") == {}
    sandbox.control.clear_faults()
    sandbox.control.add_faults(at_first("/groups_types", EMPTY, at=[1, 2]))
    assert endings(await pipeline.sync_each()) == {}
    # The groups themselves can be asked for one by one, and are there.
    assert await marks(dsn, "groups", "group_properties") == {"group_types": 3}
    sandbox.control.clear_faults()
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, "groups", "group_properties") == []


@each_flavour
async def test_what_is_really_empty_is_marked_after_a_second_look(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """The last key is removed: the list is empty, twice, and the key itself is gone."""
    sandbox = await start_sandbox(**{**SMALL, "secret_keys": 1}, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=("project_secret_api_keys",))
    await pipeline.sync()
    (key,) = sandbox.control.truth_rows("project_secret_api_keys")
    sandbox.control.change(remove("secret_key", id=key["id"]))
    sandbox.control.reset_requests()
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.rows_updated, report.requests) == (0, 1, 3)
    assert await untruths(dsn, sandbox, "project_secret_api_keys") == []
    again = await pipeline.sync()
    assert (again.ending.exit_code, again.rows_updated) == (0, 0)


UNTRUE: dict[str, tuple[str, dict[str, Any], int]] = {
    "a failed page": ("/groups", {"status": 500}, 1),
    "a missing scope": ("/groups", {"preset": "403_scope"}, 3),
    "a lost project": ("/groups", {"preset": "404_project"}, 3),
    "a cursor that leads to the beginning": ("/groups", {"restart_cursor": True}, 3),
    "a cursor that stays": ("/groups", {"repeat_cursor": True}, 3),
    "a page that comes again": ("/groups", {"repeat_page": True}, 3),
    "empty pages without end": ("/groups", {"empty_page": True}, 3),
    "a cut answer": ("/groups", {"truncate": 900}, 1),
}


async def test_a_reading_that_breaks_off_marks_nothing_and_the_next_one_heals(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """From the third page on; the run says that it was not whole, and why."""
    sandbox = await start_sandbox(**{**NOTHING, "groups": 200})
    pipeline = Pipeline(sandbox, dsn, streams=("groups",), deletion_guard_rows=1000)
    await pipeline.sync()
    for nth, (name, (path, fault, code)) in enumerate(UNTRUE.items()):
        # Something is gone in truth, so that there is something to judge.
        sandbox.control.change(remove("group", group_type_index=0, group_key=first_key(sandbox)))
        # The first of these requests is for the types, the second for page one.
        sandbox.control.add_faults({"match": {"path": path}, "from": 3, "fault": fault})
        report = await pipeline.sync()
        assert (name, report.ending.exit_code) == (name, code), report.ending
        assert report.ending.reason
        assert (name, await marks(dsn, "groups")) == (name, {"groups": nth} if nth else {})
        sandbox.control.clear_faults()
        assert (await pipeline.sync()).ending.reason is None
        await pipeline.sync()  # what belongs to a parent that was refused is judged by this one
        assert await marks(dsn, "groups") == {"groups": nth + 1}
    assert await untruths(dsn, sandbox, "groups") == []


def first_key(sandbox: RunningSandbox) -> str:
    """The key of some group of the first type."""
    rows = sandbox.control.truth_rows("groups")
    return next(row["group_key"] for row in rows if row["group_type_index"] == 0)


async def test_a_question_that_is_not_answered_marks_nothing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Asked for one insight that the list did not show, the server says something else."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("insights",))
    await pipeline.sync()
    newest = await value(dsn, "SELECT id FROM posthog.insights ORDER BY created_at DESC, id DESC")
    answers = {
        "failed": ({"status": 500}, 3),
        "a missing scope": ({"preset": "403_scope"}, 3),
        "a plan that ends": ({"preset": "402"}, 3),
        "a lost project": ({"preset": "404_project"}, 3),
        "closed to the key's owner": ({"status": 403}, 0),
    }
    for name, (fault, code) in answers.items():
        sandbox.control.add_faults({"match": {"path": "/insights"}, "fault": {"omit": [0]}})
        sandbox.control.add_faults({"match": {"path": f"/insights/{newest}/"}, "fault": fault})
        report = await pipeline.sync()
        assert (name, report.ending.exit_code) == (name, code), report.ending
        assert await marks(dsn, "insights") == {}
        assert sandbox.control.faults()[1]["hits"] > 0
        sandbox.control.clear_faults()
    assert (await pipeline.sync()).rows_updated == 0
    assert await untruths(dsn, sandbox, "insights") == []


async def test_more_than_a_fifth_at_once_is_withheld_until_it_is_accepted(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """30 of 90 subscriptions: the run is partial and says how to accept it."""
    sandbox = await start_sandbox(**{**NOTHING, "subscriptions": 90})
    pipeline = Pipeline(sandbox, dsn, streams=("subscriptions",))
    await pipeline.sync()
    gone = {str(10_001 + nth) for nth in range(30)}
    sandbox.control.change(*(remove("subscription", id=int(each)) for each in gone))
    for _ in range(2):
        report = await pipeline.sync()
        assert report.ending.exit_code == 3
        assert "30 of 90 records have vanished at once" in (report.ending.reason or "")
        assert "--accept-deletions subscriptions" in (report.ending.reason or "")
        assert await marked(dsn, "subscriptions") == set()
    assert (await pipeline.sync(accept_deletions=["subscriptions"])).ending.exit_code == 0
    assert await marked(dsn, "subscriptions") == gone
    assert await untruths(dsn, sandbox, "subscriptions") == []


async def test_a_playlist_that_may_not_be_seen_leaves_only_what_is_in_it_unjudged(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Its items stay, and what is gone elsewhere is marked."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("playlists",))
    await pipeline.sync()
    first, *_, last = sandbox.control.truth_rows("session_recording_playlist_items")
    assert first["short_id"] != last["short_id"]
    sandbox.control.change(
        remove("playlist_item", short_id=last["short_id"], recording_id=last["recording_id"])
    )
    sandbox.control.add_faults(
        {"match": {"path": f"{first['short_id']}/recordings"}, "fault": {"status": 403}}
    )
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await marks(dsn, "playlists") == {"session_recording_playlist_items": 1}
    assert await untruths(dsn, sandbox, "playlists") == []


SHRINKING_ROWS = 120


async def test_after_an_offset_list_that_had_to_be_given_up_nothing_is_marked(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """One insight goes with every answer, so no two passes agree: partial, and nothing judged.

    Nor is the one asked for that was gone before.
    """
    sandbox = await start_sandbox(**{**NOTHING, "insights": SHRINKING_ROWS}, flavour="docs")
    pipeline = Pipeline(sandbox, dsn, streams=("insights",), page_size_records=60)
    assert (await pipeline.sync()).ending.exit_code == 0
    ids = [row["id"] for row in sandbox.control.truth_rows("insights")]
    lists = {"path": "/insights"}
    sandbox.control.change(put("insight", id=ids[0], deleted=True))
    sandbox.control.add_faults({"match": lists, "fault": {"clamp_limit": 60}})
    sandbox.control.add_faults(
        *(
            {"match": lists, "at": nth, "fault": {"then": [put("insight", id=each, deleted=True)]}}
            for nth, each in enumerate(ids[::-1][:60], 1)
        )
    )
    sandbox.control.reset_requests()
    report = await pipeline.sync()
    assert report.ending.exit_code == 3
    assert "no two passes agreed" in (report.ending.reason or "")
    assert all("offset" in r["query"] or "limit" in r["query"] for r in asked(sandbox, "insights"))
    assert await marks(dsn, "insights") == {}
    sandbox.control.clear_faults()
    assert (await pipeline.sync(accept_deletions=["insights"])).ending.exit_code == 0
    assert await untruths(dsn, sandbox, "insights") == []


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_rows_that_come_and_go_while_we_page_lose_none_that_was_there_all_the_time(
    start_sandbox: StartSandbox, dsn: str, at: int
) -> None:
    """Under limit and offset the others move up by three, or down by two, after a page."""
    sandbox = await start_sandbox(**{**NOTHING, "subscriptions": 90}, flavour="docs")
    before = {row["id"] for row in sandbox.control.truth_rows("subscriptions")}
    newest = sorted(sandbox.control.truth_rows("subscriptions"), key=lambda row: row["created_at"])[
        ::-1
    ]
    gone = {row["id"] for row in newest[:3]}
    lists = {"path": "/subscriptions"}
    sandbox.control.add_faults(
        {"match": lists, "fault": {"clamp_limit": 30}},
        {"match": lists, "at": at, "fault": {"then": [remove("subscription", id=g) for g in gone]}},
        {
            "match": lists,
            "at": at + 2,
            "fault": {"then": [put("subscription"), put("subscription")]},
        },
    )
    pipeline = Pipeline(sandbox, dsn, streams=("subscriptions",), page_size_records=30)
    report = await pipeline.sync()
    assert report.ending.exit_code in (0, 3), report.ending
    rows = await select(dsn, "SELECT id FROM posthog.subscriptions WHERE _deleted_at IS NULL")
    assert before - gone <= {row["id"] for row in rows}
    sandbox.control.clear_faults()
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await untruths(dsn, sandbox, "subscriptions") == []


@each_flavour
async def test_a_next_address_on_another_host_is_never_followed(
    start_sandbox: StartSandbox,
    dsn: str,
    elsewhere: tuple[str, list[Any]],
    flavour: str,
) -> None:
    """Only the place in it is taken; the request goes to the host that was configured."""
    address, got = elsewhere
    sandbox = await start_sandbox(**{**NOTHING, "groups": 300, "insights": 50}, flavour=flavour)
    for path in ("/groups", "/insights"):
        sandbox.control.add_faults({"match": {"path": path}, "fault": {"next_host": address}})
    pipeline = Pipeline(sandbox, dsn, streams=("groups", "insights"))
    assert endings(await pipeline.sync_each()) == {}
    assert len(asked(sandbox, "/groups")) > 4
    assert await untruths(dsn, sandbox, "groups", "insights") == []
    assert got == []
