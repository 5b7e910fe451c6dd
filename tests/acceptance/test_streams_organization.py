"""The project itself, the members of its organization, and what is logged: changes and removals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.acceptance.test_secrets import assert_hidden, dump
from tests.acceptance.test_streams_secrets import ALL, spoiled
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import EVERY_STREAM, Pipeline
from tests.support.sql import select
from tests.support.streams import NOTHING, SMALL, asked, endings, marked, put, remove, untruths

MEMBERS = ("projects", "organization_members")
NOW = {"created_at": "-1M"}
NOT_SHOWN = "The list of projects does not show this project: "
NO_RECORDS = {"count": 0, "next": None, "previous": None, "results": []}
MADE = {"joined_at": "2026-01-02T03:04:05Z"}


@dataclass(frozen=True)
class Case:
    """What happens at the source, and what is stored then.

    before: happens before the first sync. rows: how many are inserted and updated by the second.
    gone: the keys that are marked deleted in the table. keeps: whether the source shows less then.
    """

    streams: Sequence[str]
    table: str
    change: Mapping[str, Any]
    rows: tuple[int, int]
    before: Sequence[Mapping[str, Any]] = ()
    gone: set[str] = field(default_factory=set)
    keeps: bool = False


AN_ENTRY = "018f0000-0000-7000-9000-0000000000bb"
A_DELIVERY = "018f0000-0000-7000-9000-0000000000cc"
DELIVERIES = ("subscriptions", "subscription_deliveries")
BEGUN = put(
    "delivery", id=A_DELIVERY, subscription=10_001, status="starting", created_at="2020-01-01"
)
A_MEMBER = "018f0000-0000-7000-9000-0000000000aa"
CASES = {
    "a project that is renamed": Case(
        ("projects",), "projects", put("project", id=1, name="Größer"), (0, 1)
    ),
    "a member who joins": Case(
        MEMBERS, "organization_members", put("member", id=A_MEMBER, user=5, **MADE), (1, 0)
    ),
    "a member who is promoted": Case(
        MEMBERS,
        "organization_members",
        put("member", id=A_MEMBER, level=8),
        (0, 1),
        before=[put("member", id=A_MEMBER, user=5, **MADE)],
    ),
    "a member who only logs in": Case(
        MEMBERS,
        "organization_members",
        put("member", id=A_MEMBER, last_login="2026-02-03T04:05:06Z"),
        (0, 0),
        before=[put("member", id=A_MEMBER, user=5, **MADE)],
    ),
    "a member who is removed": Case(
        MEMBERS,
        "organization_members",
        remove("member", id=A_MEMBER),
        (0, 1),
        before=[put("member", id=A_MEMBER, user=5, **MADE)],
        gone={A_MEMBER},
    ),
    "something that is done": Case(
        ("activity_log",), "activity_log", put("log_entry", id=AN_ENTRY, user=None), (1, 0)
    ),
    "an entry that is only marked as read": Case(
        ("activity_log",),
        "activity_log",
        put("log_entry", id=AN_ENTRY, unread=True),
        (0, 0),
        before=[put("log_entry", id=AN_ENTRY)],
    ),
    "a delivery that begins": Case(DELIVERIES, "subscription_deliveries", BEGUN | NOW, (1, 0)),
    "an old delivery that ends": Case(
        DELIVERIES,
        "subscription_deliveries",
        put("delivery", id=A_DELIVERY, status="completed", finished_at="2026-01-01"),
        (0, 1),
        before=[BEGUN],
    ),
    "deliveries that vanish with their subscription": Case(
        DELIVERIES,
        "subscription_deliveries",
        remove("subscription", id=10_001),
        (0, 1),
        before=[BEGUN],
        keeps=True,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_happens_at_the_source_is_stored(
    start_sandbox: StartSandbox, dsn: str, case: Case
) -> None:
    """So many rows are written, no more; what is gone is marked, and nothing else."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=case.streams)
    sandbox.control.change(*case.before)
    assert endings(await pipeline.sync_each()) == {}
    shown = await untruths(dsn, sandbox, *case.streams)
    assert shown == []
    sandbox.control.change(case.change)
    reports = await pipeline.sync_each()
    written = (sum(r.rows_inserted for r in reports), sum(r.rows_updated for r in reports))
    assert (endings(reports), written) == ({}, case.rows)
    assert await marked(dsn, case.table) == case.gone
    if not case.keeps:
        assert await untruths(dsn, sandbox, *case.streams) == []


LOG = ("activity_log",)


async def quiet_requests(pipeline: Pipeline) -> int:
    """What a sync takes that finds nothing new; `plan` foresees it exactly."""
    (unit,) = await pipeline.plan()
    report = await pipeline.sync()
    written = report.rows_inserted + report.rows_updated
    assert (report.ending.exit_code, written) == (0, 0)
    assert (unit.forecast.requests, unit.forecast.exact) == (report.requests, True)
    return report.requests


async def test_of_a_list_that_grows_a_sync_reads_only_what_is_new(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """250 entries are three pages: a quiet sync takes one request, 150 new entries take two."""
    sandbox = await start_sandbox(**{**NOTHING, "others": 250})
    pipeline = Pipeline(sandbox, dsn, streams=LOG)
    assert (await pipeline.sync()).requests == 3
    assert await quiet_requests(pipeline) == 1
    sandbox.control.change(*(put("log_entry", created_at="-10M") for _ in range(150)))
    report = await pipeline.sync()
    assert (report.requests, report.rows_inserted) == (2, 150)
    assert await untruths(dsn, sandbox, *LOG) == []
    # The overlap is an hour, so what is that young is read again.
    assert await quiet_requests(pipeline) == 2


@pytest.mark.parametrize("how", ["resync", "verify and repair"])
async def test_of_a_list_that_grows_everything_is_read_when_it_is_asked_for(
    start_sandbox: StartSandbox, dsn: str, how: str
) -> None:
    """An entry that changed though none ever does: only what reads all of the list finds it."""
    sandbox = await start_sandbox(**{**NOTHING, "others": 120})
    pipeline = Pipeline(sandbox, dsn, streams=LOG)
    sandbox.control.change(put("log_entry", id=AN_ENTRY, created_at="2020-01-01"))
    await pipeline.sync()
    sandbox.control.change(put("log_entry", id=AN_ENTRY, activity="deleted"))
    report = await pipeline.sync()
    assert (report.requests, report.rows_updated) == (1, 0)
    if how == "resync":
        (report,) = await pipeline.resync_each()
        assert (report.requests, report.rows_updated) == (2, 1)
    else:
        report = await pipeline.verify(repair=True)
        assert (report.ending.exit_code, report.found and report.found.repaired) == (0, True)
    assert await untruths(dsn, sandbox, *LOG) == []


async def test_nothing_is_lost_while_the_deliveries_of_a_subscription_are_refused(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Each list has a bound of its own, which moves only when that list is read."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=DELIVERIES)
    assert endings(await pipeline.sync_each()) == {}
    # As if this had been five hours ago.
    await select(
        dsn, "UPDATE posthog_etl.growing_lists SET read_until = read_until - interval '5 hours'"
    )
    many = [
        put("delivery", subscription=10_001, status="completed", created_at=at, finished_at=at)
        for at in (f"-{minutes}M" for minutes in range(200, 0, -2))
    ]
    sandbox.control.change(*many)
    refusal = {"status": 404, "detail": "Not found."}
    sandbox.control.add_faults({"match": {"path": "/10001/deliveries"}, "fault": refusal})
    for _ in range(2):
        assert endings(await pipeline.sync_each()) == {}
    sandbox.control.clear_faults()
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *DELIVERIES) == []


@pytest.mark.parametrize("stream", ["activity_log", "subscription_deliveries"])
async def test_what_was_sent_and_what_users_typed_is_not_stored(
    start_sandbox: StartSandbox, dsn: str, stream: str
) -> None:
    """Not in a table, a log or a reject; the name of what was changed is."""
    sandbox = await start_sandbox(**SMALL)
    canary = "https://hooks.canary.example/T0CANARY/0123456789"
    changes = [{"field": "token", "action": "changed", "before": canary, "after": [canary]}]
    sandbox.control.change(
        put("log_entry", id=AN_ENTRY, detail={"name": "New hook", "changes": changes}),
        put(
            "delivery",
            id=A_DELIVERY,
            subscription=10_001,
            target_value=canary,
            recipient_results=[{"to": canary}],
            content_snapshot={"result": canary},
            error={"type": "Gone", "message": f"{canary} is gone"},
        ),
    )
    command = Command(sandbox.url, dsn, **ALL)
    fields = {"activity": 7, "note": canary, "status": {"at": canary}, "ai_report": canary}
    path = "/activity_log" if stream == "activity_log" else "/deliveries"
    for more in ({}, {**fields, "created_at": "never"}):
        sandbox.control.clear_faults()
        if more:
            sandbox.control.add_faults(spoiled(path, 0, **more))
        result = await command.run("sync", "subscriptions", stream, "--debug")
        assert result.code == (3 if more else 0), result.err
        assert_hidden(canary, result, await dump(dsn))
    if stream == "activity_log":
        (row,) = await select(
            dsn,
            "SELECT item_name, changed, done_by, by_whom FROM posthog.who_did_what "
            f"WHERE id = '{AN_ENTRY}'",
        )
        assert [*row.values()] == ["New hook", ["token"], "Olga Owner", "user"]


async def test_each_project_stores_its_own_row_and_a_key_of_another_one_changes_nothing(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The list shows every project that the key may see; none is ever retrieved."""
    sandbox = await start_sandbox(**{**SMALL, "projects": (1, 2)})
    both = Pipeline(sandbox, dsn, streams=("projects",), project_id="1,2")
    assert endings(await both.sync_each()) == {}
    assert await untruths(dsn, sandbox, "projects", projects=(1, 2)) == []
    stored = "SELECT project_id, id, _deleted_at FROM posthog.projects ORDER BY id"
    rows = await select(dsn, stored)
    assert [tuple(row.values()) for row in rows] == [(1, 1, None), (2, 2, None)]
    sandbox.control.put_key("phx_of_the_first", projects=(1,))
    given = {"project_id": "2", "api_key": "phx_of_the_first"}
    (report,) = await Pipeline(sandbox, dsn, streams=("projects",), **given).sync_each()
    assert (report.ending.exit_code, report.ending.status) == (3, "partial")
    assert NOT_SHOWN in (report.ending.reason or "")
    assert await select(dsn, stored) == rows
    assert {request["path"] for request in asked(sandbox, "/api/projects/")} == {"/api/projects/"}


async def test_no_token_of_a_project_is_stored_or_printed(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Whatever a server adds to its list, also in a record that is set aside."""
    sandbox = await start_sandbox(**SMALL)
    tokens = {
        name: f"canary-{name}-0123456789"
        for name in (
            "api_token",
            "secret_api_token",
            "secret_api_token_backup",
            "live_events_token",
            "slack_incoming_webhook",
        )
    }
    command = Command(sandbox.url, dsn, **ALL)
    for more in ({}, {"uuid": 7, "note": tokens["live_events_token"]}):
        rule = spoiled("/api/projects", 0, **tokens, **more)
        sandbox.control.clear_faults()
        sandbox.control.add_faults(rule)
        result = await command.run("sync", "projects", "--debug")
        assert result.code == (3 if more else 0), result.err
        dumped = await dump(dsn)
        for token in tokens.values():
            assert_hidden(token, result, dumped)


@pytest.mark.parametrize("shows", ["nothing", "others only"])
async def test_a_project_that_the_list_does_not_show_is_a_stream_that_is_not_available(
    start_sandbox: StartSandbox, dsn: str, shows: str
) -> None:
    """`sync` and `check` say so in one sentence; it counts only where someone named the stream."""
    projects = (1,) if shows == "nothing" else (1, 2)
    sandbox = await start_sandbox(**{**SMALL, "projects": projects})
    sandbox.control.change(remove("project", id=1))
    named = Command(sandbox.url, dsn, **ALL)
    others = ",".join(name for name in EVERY_STREAM if name not in ("projects", "insights"))
    nobody = named.with_settings(POSTHOG_ETL_DISABLED_STREAMS=others)
    result = await nobody.run("sync")
    assert (result.code, NOT_SHOWN in result.out + result.err) == (0, True), result.out
    for _ in range(2):
        sandbox.control.reset_requests()
        result = await named.run("sync", "projects", "--json")
        (report,) = result.document["reports"]
        assert (result.code, report["status"]) == (3, "partial"), result.err
        assert report["reason"].startswith(NOT_SHOWN)
        assert len(asked(sandbox, "/api/projects/")) == report["requests"] == 1
    assert await select(dsn, "SELECT id FROM posthog.projects") == []
    (finding,) = [
        finding
        for finding in await Pipeline(sandbox, dsn, streams=("projects",)).check()
        if finding.about.startswith("projects ")
    ]
    assert (finding.well, finding.exit_code, NOT_SHOWN in finding.said) == (False, 3, True)


async def test_a_project_that_the_list_shows_no_more_keeps_its_row_and_its_members(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Every sync says so, until it is shown again."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=MEMBERS)
    assert endings(await pipeline.sync_each()) == {}
    counts = [await select(dsn, f"SELECT * FROM posthog.{table}") for table in MEMBERS]
    hidden = {"match": {"path": "/api/projects/"}, "fault": {"status": 200, "body": NO_RECORDS}}
    sandbox.control.add_faults(hidden)
    for _ in range(2):
        ended = endings(await pipeline.sync_each())
        assert [*ended] == ["projects"]
        assert NOT_SHOWN in ended["projects"]
    assert [await select(dsn, f"SELECT * FROM posthog.{table}") for table in MEMBERS] == counts
    sandbox.control.clear_faults()
    assert endings(await pipeline.sync_each()) == {}


async def test_a_project_that_names_no_organization_asks_for_no_members(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Where it was named before, that stays, and so do its members."""
    sandbox = await start_sandbox(**SMALL)
    nameless = spoiled("/api/projects", 0, organization=None)
    sandbox.control.add_faults(nameless)
    pipeline = Pipeline(sandbox, dsn, streams=MEMBERS)
    assert endings(await pipeline.sync_each()) == {}
    assert asked(sandbox, "/api/organizations/") == []
    sandbox.control.clear_faults()
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *MEMBERS) == []
    sandbox.control.add_faults(nameless)
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *MEMBERS) == []
