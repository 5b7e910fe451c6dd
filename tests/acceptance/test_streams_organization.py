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
from tests.support.pipeline import Pipeline
from tests.support.sql import select
from tests.support.streams import SMALL, asked, endings, marked, put, remove, untruths

MEMBERS = ("projects", "organization_members")
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


A_MEMBER = "018f0000-0000-7000-9000-0000000000aa"
CASES = {
    "a project that is renamed": Case(
        ("projects",), "projects", put("project", id=1, name="Größer"), (0, 1)
    ),
    "a project that the list does not show": Case(
        ("projects",), "projects", remove("project", id=1), (0, 0), keeps=True
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
    assert endings(await Pipeline(sandbox, dsn, streams=("projects",), **given).sync_each()) == {}
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
