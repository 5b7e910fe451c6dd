"""Dashboards, what belongs to them, and definitions: changed, hidden, deleted, and back again."""

from __future__ import annotations

from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import Pipeline
from tests.support.sql import select
from tests.support.streams import NOTHING, asked, endings, let_pass, marked, put, remove, untruths
from tests.support.truth import stored

SHARED = ("dashboards", "dashboard_sharing", "dashboard_collaborators")
DEFINITIONS = ("event_definitions", "property_definitions")
STREAMS = (*SHARED, *DEFINITIONS)
SOME: dict[str, Any] = {**NOTHING, "others": 12}
UUID = "00000000-0000-4000-8000-00000000000{}"
UNLISTED = 10_003
each_flavour = pytest.mark.parametrize("flavour", ["cloud", "docs"])

# What there is at first, and what changes it.
BEFORE = (
    put("dashboard", id=10_777, name="Board", restriction_level=37),
    put("collaborator", id=UUID.format(1), dashboard_id=10_777, user=1),
    put("collaborator", id=UUID.format(2), dashboard_id=10_777, user=2),
    put("sharing", resource_type="dashboard", resource_id=10_777),
    put("event_definition", id=UUID.format(3), name="ordered"),
    put("property_definition", id=UUID.format(4), name="size", type="group", group_type_index=1),
    put("property_definition", id=UUID.format(5), name="size", type="session"),
)
CHANGES = (
    put("dashboard", id=10_001, name="Renamed", pinned=True, tags=["new"]),
    put("dashboard", name="New", creation_mode="unlisted", created_by=None),
    put("dashboard", name="Other", description="A\u2028b"),
    put("collaborator", dashboard_id=10_001, user=3),
    put("sharing", resource_type="dashboard", resource_id=10_001, settings={"legend": True}),
    put("share_password", resource_type="dashboard", resource_id=10_001, note="new"),
    put("event_definition", name="new", description="Seen"),
    put("property_definition", name="new", type="group", group_type_index=4),
    put("property_definition", name="new", type="event", property_type=None),
)
REMOVED = (
    remove("dashboard", id=10_777),
    remove("event_definition", id=UUID.format(3)),
    remove("property_definition", id=UUID.format(4)),
)


async def alive(dsn: str, table: str, key: str) -> dict[str, Any] | None:
    """The row with this key, unless it is marked deleted."""
    return (await stored(dsn, table)).get(key)


def made(sandbox: RunningSandbox, kind: str) -> tuple[dict[str, Any], ...]:
    """The rows of a table at the source."""
    return tuple(sandbox.control.truth_rows(kind))


@each_flavour
async def test_changes_and_removals_arrive_and_what_comes_back_is_alive_again(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Rows that are gone are marked, each of them and no other one, and lose the mark later."""
    sandbox = await start_sandbox(**SOME, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=STREAMS)
    sandbox.control.change(*BEFORE)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *STREAMS) == []
    sandbox.control.change(*CHANGES, *REMOVED)
    await let_pass(dsn, 7)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *STREAMS) == []
    assert await marked(dsn, "dashboards") == {"10777"}
    assert await marked(dsn, "dashboard_collaborators") == {UUID.format(1), UUID.format(2)}
    assert await marked(dsn, "sharing_configurations", "resource_id") == {"10777"}
    assert await marked(dsn, "event_definitions") == {UUID.format(3)}
    assert await marked(dsn, "property_definitions") == {UUID.format(4)}
    sandbox.control.change(*BEFORE)
    await let_pass(dsn, 7)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *STREAMS) == []
    for table in ("dashboards", "dashboard_collaborators", *DEFINITIONS):
        assert await marked(dsn, table) == set(), table


# Of each: its stream, the row, what hides it, what shows it again, and the column that tells.
HIDDEN: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], str]] = {
    "an unlisted dashboard": (
        "dashboards",
        "10001",
        put("dashboard", id=10_001, creation_mode="unlisted"),
        put("dashboard", id=10_001, creation_mode="default"),
        "creation_mode",
    ),
    "a hidden event": (
        "event_definitions",
        UUID.format(3),
        put("event_definition", id=UUID.format(3), hidden=True),
        put("event_definition", id=UUID.format(3), hidden=False),
        "hidden",
    ),
    "a hidden property": (
        "property_definitions",
        f"group/1/{UUID.format(4)}",
        put("property_definition", id=UUID.format(4), hidden=True),
        put("property_definition", id=UUID.format(4), hidden=False),
        "hidden",
    ),
    "a confirmed event": (
        "event_definitions",
        UUID.format(3),
        put(
            "event_definition",
            id=UUID.format(3),
            verified=True,
            verified_by=2,
            verified_at="2026-01-02T00:00:00Z",
        ),
        put(
            "event_definition",
            id=UUID.format(3),
            verified=False,
            verified_by=None,
            verified_at=None,
        ),
        "verified",
    ),
}


@pytest.mark.parametrize("case", HIDDEN)
async def test_what_is_hidden_and_shown_again_stays_one_row(
    start_sandbox: StartSandbox, dsn: str, case: str
) -> None:
    """It is never marked; a column tells that it is hidden."""
    stream, key, hide, show, column = HIDDEN[case]
    sandbox = await start_sandbox(**SOME)
    sandbox.control.change(*BEFORE)
    pipeline = Pipeline(sandbox, dsn, streams=(stream,))
    assert (await pipeline.sync()).ending.exit_code == 0
    for change in (hide, show):
        sandbox.control.change(change)
        report = await pipeline.sync()
        assert (report.ending.exit_code, report.rows_inserted, report.rows_updated) == (0, 0, 1)
        row = await alive(dsn, stream, key)
        assert row is not None
        assert row[column] == change[column]
        assert await untruths(dsn, sandbox, stream) == []
    assert await marked(dsn, stream) == set()


async def test_a_dashboard_that_a_user_deletes_takes_along_what_belongs_to_it(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """No list shows it any more; all comes back with it."""
    sandbox = await start_sandbox(**SOME)
    sandbox.control.change(*BEFORE)
    pipeline = Pipeline(sandbox, dsn, streams=SHARED)
    for change in ({}, {"deleted": True}, {"deleted": False}):
        sandbox.control.change(put("dashboard", id=10_777, **change))
        await let_pass(dsn, 7)
        assert endings(await pipeline.sync_each()) == {}
        assert await untruths(dsn, sandbox, *SHARED) == []
        gone = {"10777"} if change.get("deleted") else set()
        assert await marked(dsn, "dashboards") == gone
        assert await marked(dsn, "sharing_configurations", "resource_id") == gone


async def test_a_deactivated_user_looks_removed_from_a_dashboard(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The server shows active users only; the table's comment says so."""
    sandbox = await start_sandbox(**SOME)
    sandbox.control.change(*BEFORE)
    pipeline = Pipeline(sandbox, dsn, streams=SHARED)
    for active in (True, False, True):
        sandbox.control.change(put("collaborator", id=UUID.format(1), is_active=active))
        assert endings(await pipeline.sync_each()) == {}
        gone = set() if active else {UUID.format(1)}
        assert await marked(dsn, "dashboard_collaborators") == gone


async def test_an_event_that_is_seen_again_after_its_deletion_is_another_row(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Under another id; the deleted one stays marked."""
    sandbox = await start_sandbox(**SOME)
    sandbox.control.change(*BEFORE)
    pipeline = Pipeline(sandbox, dsn, streams=("event_definitions",))
    await pipeline.sync()
    sandbox.control.change(
        remove("event_definition", id=UUID.format(3)),
        put("event_definition", id=UUID.format(6), name="ordered"),
    )
    assert (await pipeline.sync()).ending.exit_code == 0
    rows = await select(
        dsn,
        "SELECT id::text, _deleted_at IS NULL AS alive FROM posthog.event_definitions "
        "WHERE name = 'ordered' ORDER BY id",
    )
    assert rows == [
        {"id": UUID.format(3), "alive": False},
        {"id": UUID.format(6), "alive": True},
    ]


async def test_a_single_dashboard_or_definition_is_never_asked_for(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """That would write at the source: neither a sync that misses rows nor `verify` does it."""
    sandbox = await start_sandbox(**SOME)
    sandbox.control.change(*BEFORE)
    pipeline = Pipeline(sandbox, dsn, streams=STREAMS)
    await pipeline.sync_each()
    sandbox.control.change(*REMOVED, put("dashboard", id=10_001, name="Renamed"))
    await pipeline.sync_each()
    sandbox.control.change(put("event_definition", id=UUID.format(3), name="back"))
    await pipeline.verify_each(deep=True, repair=True)
    places = {"/".join(each["path"].strip("/").split("/")[3:]) for each in asked(sandbox, "/api/")}
    single = {
        place
        for place in places
        if place.split("/")[0] in ("dashboards", *DEFINITIONS)
        and place.split("/")[-1] not in ("dashboards", "sharing", "collaborators", *DEFINITIONS)
    }
    assert single == set()


async def test_a_quiet_sync_costs_one_request_for_each_list(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Two lists of dashboards, one of events, and eight of properties: five are of groups."""
    sandbox = await start_sandbox(**SOME)
    pipeline = Pipeline(sandbox, dsn, streams=STREAMS, page_size_records=100)
    await pipeline.sync_each()
    reports = {report.stream: report.requests for report in await pipeline.sync_each()}
    boards = len(made(sandbox, "dashboards"))
    shared = [row for row in made(sandbox, "dashboards") if row["is_shared"]]
    assert reports == {
        "dashboards": 2,
        "dashboard_sharing": len(shared),
        "dashboard_collaborators": boards,
        "event_definitions": 1,
        "property_definitions": 8,
    }


@pytest.mark.parametrize("rows", [1, 3])
async def test_short_pages_and_a_last_page_that_is_longer_leave_nothing_out(
    start_sandbox: StartSandbox, dsn: str, rows: int
) -> None:
    """The server sends so many rows a page, and what it computes with the last one."""
    sandbox = await start_sandbox(**{**SOME, "others": 30})
    sandbox.control.add_faults(
        *(
            {"match": {"path": f"/{stream}"}, "fault": {"clamp_limit": rows}}
            for stream in ("dashboards", *DEFINITIONS)
        )
    )
    streams = ("dashboards", *DEFINITIONS)
    pipeline = Pipeline(sandbox, dsn, streams=streams)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *streams) == []
    computed = [
        row for row in (await stored(dsn, "property_definitions")).values() if row["virtual"]
    ]
    assert {row["id"].startswith("$builtin_") for row in computed} == {True}
    assert {(row["type"], row["group_type_index"]) for row in computed} == {
        ("person", -1),
        *(("group", index) for index in range(5)),
    }


async def test_without_the_enterprise_code_only_who_asks_for_collaborators_hears_of_it(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The stream is off. Where somebody names it, the run says that the server lacks it."""
    sandbox = await start_sandbox(**SOME)
    sandbox.control.add_faults(
        {
            "match": {"path": "/collaborators"},
            "fault": {"status": 404, "detail": "Endpoint not found."},
        }
    )
    command = Command(sandbox.url, dsn, POSTHOG_ETL_DISABLED_STREAMS="")
    assert (await command.run("sync")).code == 0
    assert asked(sandbox, "/collaborators") == []
    named = await command.run("sync", "dashboard_collaborators", "--json")
    assert named.code == 3
    (report,) = named.document["reports"]
    assert (report["status"], "does not offer" in report["reason"]) == ("partial", True)
    assert len(asked(sandbox, "/collaborators")) == 1


async def test_what_is_shared_is_listed_with_the_names_of_dashboards(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Also the unlisted ones; what was never shared has no hash of a token."""
    sandbox = await start_sandbox(**SOME)
    sandbox.control.change(
        put("dashboard", id=UNLISTED, name="Secret board", creation_mode="unlisted"),
        put("sharing", resource_type="dashboard", resource_id=UNLISTED, enabled=True),
    )
    pipeline = Pipeline(sandbox, dsn, streams=SHARED)
    await pipeline.sync_each()
    listed = await select(
        dsn, "SELECT resource_id, name FROM posthog.publicly_shared_now ORDER BY resource_id"
    )
    names = {
        str(row["id"]): row["name"] or None
        for row in made(sandbox, "dashboards")
        if row["is_shared"]
    }
    assert {row["resource_id"]: row["name"] for row in listed} == names
    assert names[str(UNLISTED)] == "Secret board"
    never = await select(
        dsn,
        "SELECT count(*) FROM posthog.sharing_configurations "
        "WHERE created_at IS NULL AND access_token_sha256 IS NOT NULL",
    )
    assert never == [{"count": 0}]
