"""P12 among all streams: what is wrong with one is told in words that help, and the others load."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import EVERY_STREAM, Pipeline
from tests.support.sql import select, value
from tests.support.streams import (
    CHANGING,
    SMALL,
    asked,
    endings,
    marked,
    put,
    remove,
    unshare,
    untruths,
)

MARKS = 'SELECT count(*) FROM posthog."{}" WHERE _deleted_at IS NOT NULL'

# Where a stream begins, what is answered there, how its run ends, and words that it has to say.
TROUBLES: dict[str, tuple[str, dict[str, Any], tuple[int, str], str]] = {
    "subscriptions": ("/subscriptions", {"preset": "402"}, (3, "partial"), "plan"),
    "subscription_deliveries": ("/deliveries", {"preset": "402"}, (3, "partial"), "plan"),
    "insights": (
        "/insights/",
        {"status": 403, "detail": "API key missing required scope 'insight:read'"},
        (3, "partial"),
        "Add the scope insight:read",
    ),
    "group_properties": ("/groups/property_def", {"status": 404}, (3, "partial"), "does not offer"),
    "playlists": ("/session_recording_playlists", {"status": 410}, (3, "partial"), "not offer"),
    "project_secret_api_keys": (
        "/project_secret_api_keys",
        {"preset": "500_error_body"},
        (1, "failed"),
        "internal error",
    ),
    "recording_sharing": (
        "/session_recordings/0",
        {"status": 403, "detail": "This action does not support personal API key access"},
        (3, "partial"),
        "opens it to no personal key",
    ),
}


async def test_each_trouble_is_its_streams_own_and_the_others_load(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """Seven streams are refused, each in its own way, after a first sync: what is there stays."""
    sandbox = await start_sandbox(**SMALL)
    unshare(sandbox)
    pipeline = Pipeline(sandbox, dsn, streams=CHANGING)
    assert endings(await pipeline.sync_each()) == {}
    for path, fault, _, _ in TROUBLES.values():
        sandbox.control.add_faults({"match": {"path": path}, "fault": fault})
    sandbox.control.change(
        remove("subscription", id=10_001),
        put("group", group_type_index=0, group_key="new", group_properties={}),
        {"op": "start_session"},
    )
    reports = {report.stream: report for report in await pipeline.sync_each()}
    for stream, (_, _, (code, status), words) in TROUBLES.items():
        ending = reports[stream].ending
        assert (stream, ending.exit_code, ending.status) == (stream, code, status)
        assert words in (ending.reason or ""), stream
    well = [name for name in CHANGING if name not in TROUBLES]
    assert endings([reports[name] for name in well]) == {}
    loaded = ("groups", "persons", "session_recordings", "group_activity")
    assert await untruths(dsn, sandbox, *loaded) == []
    assert await marked(dsn, "subscriptions") == set()
    runs = await select(
        dsn, "SELECT DISTINCT ON (stream) * FROM posthog_etl.runs ORDER BY stream, started_at DESC"
    )
    for run in runs:
        assert run["reason"] == reports[run["stream"]].ending.reason
    for row in await pipeline.status_each():
        assert row["reason"] == reports[row["stream"]].ending.reason
    sandbox.control.clear_faults()
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *CHANGING) == []


@pytest.mark.parametrize(
    ("faults", "code"),
    [(("403_scope", "500_error_body"), 1), (("500_error_body", "401"), 5)],
    ids=["one failed", "the key refused at last"],
)
async def test_the_exit_code_is_the_gravest_of_all_streams(
    start_sandbox: StartSandbox, dsn: str, faults: tuple[str, ...], code: int
) -> None:
    """5 before 1 before 3; a refused key ends the run at once."""
    sandbox = await start_sandbox(**SMALL)
    streams = ("subscriptions", "insights", "project_secret_api_keys")
    for stream, preset in zip(streams, faults, strict=False):
        sandbox.control.add_faults({"match": {"path": f"/{stream}"}, "fault": {"preset": preset}})
    result = await Command(
        sandbox.url,
        dsn,
        POSTHOG_ETL_DISABLED_STREAMS="",
        POSTHOG_ETL_REQUEST_ATTEMPTS="1",
        POSTHOG_ETL_STREAMS_AT_ONCE="1",
    ).run("sync", *streams, "--json")
    assert result.code == code, result.err
    assert len(result.document["reports"]) == (2 if code == 5 else 3)


@pytest.mark.parametrize("tells", [True, False], ids=["scopes told", "scopes not told"])
async def test_check_names_the_scope_of_each_stream_that_cannot_be_read(
    start_sandbox: StartSandbox, dsn: str, tells: bool
) -> None:
    """From what the server tells of the key, or else from the smallest request for each."""
    sandbox = await start_sandbox(**SMALL)
    sandbox.control.put_key("phx_some", scopes=["insight:read", "sharing_configuration:write"])
    if not tells:
        sandbox.control.add_faults(
            {"match": {"path": "/personal_api_keys/"}, "fault": {"status": 404}}
        )
    sandbox.control.reset_requests()
    pipeline = Pipeline(sandbox, dsn, streams=EVERY_STREAM, api_key="phx_some")
    findings = {f.about.removesuffix(" (1)"): f for f in await pipeline.check()}
    well = {"insights", "recording_sharing", "insight_sharing", "dashboard_sharing"}
    assert {name for name in EVERY_STREAM if findings[name].well} == well
    for name in set(EVERY_STREAM) - well:
        found = findings[name]
        assert (found.exit_code, "Add the scope" in found.said) == (3, True), found
        # A server names only the first that it misses.
        missing = (found.scope or "").split()[: None if tells else 1]
        assert all(scope in found.said for scope in missing), found
    assert len(sandbox.control.requests()) <= 1 + len(EVERY_STREAM)


async def test_check_tells_plan_from_server_from_closed_to_keys(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """With a key that may do everything."""
    sandbox = await start_sandbox(**SMALL)
    for path, fault in {
        "/subscriptions": {"preset": "402"},
        "/groups/property_def": {"status": 410},
        "/sessions/property_def": {"status": 404},
        "/insights/": {
            "status": 403,
            "detail": "This action does not support personal API key access",
        },
        "/session_recording_playlists": {"status": 500},
    }.items():
        sandbox.control.add_faults({"match": {"path": path}, "fault": fault})
    findings = {
        f.about.removesuffix(" (1)"): f
        for f in await Pipeline(sandbox, dsn, streams=EVERY_STREAM).check()
    }
    said = {name: findings[name].said.split(":")[0] for name in EVERY_STREAM}
    assert said["session_recordings"].startswith("available")
    assert {name: words for name, words in said.items() if "available" not in words} == {
        "subscriptions": "not in your plan",
        "subscription_deliveries": "not in your plan",
        "group_properties": "not on this server",
        "session_properties": "not on this server",
        "insights": "closed to personal keys",
        "insight_sharing": "closed to personal keys",
        "playlists": "The API answered 500",
    }


@pytest.mark.parametrize("spoil", ["a field", "the key"])
async def test_a_record_that_cannot_be_stored_keeps_no_other_out_and_is_not_taken_for_gone(
    start_sandbox: StartSandbox, dsn: str, spoil: str
) -> None:
    """Of each list one record is set aside, once; what is stored of it stays, and heals later."""
    sandbox = await start_sandbox(**SMALL)
    streams = ("subscriptions", "groups", "insights", "project_secret_api_keys")
    pipeline = Pipeline(sandbox, dsn, streams=streams)
    assert endings(await pipeline.sync_each()) == {}
    keys = {
        "/subscriptions": ("id", "interval"),
        "/groups_types": ("group_type_index", "detail_dashboard"),
        "/insights": ("id", "saved"),
        "/project_secret_api_keys": ("id", "scopes"),
    }
    for path, (key, name) in keys.items():
        change = {"set": {name: {"no": "such"}}} if spoil == "a field" else {"unset": [key]}
        # What is asked for by its key is spoiled, too.
        sandbox.control.add_faults(
            {"match": {"path": path}, "fault": {"mutate": {"record": 0, **change}}}
        )
    sandbox.control.change(put("subscription", id=10_002, title="Changed"))
    reports = await pipeline.sync_each()
    assert {report.ending.exit_code for report in reports} == {3}
    assert "could not be stored" in (reports[0].ending.reason or "")
    for table in ("subscriptions", "group_types", "groups", "insights", "project_secret_api_keys"):
        assert (table, await value(dsn, MARKS.format(table))) == (table, 0)
    titles = "SELECT title FROM posthog.subscriptions WHERE id = 10002"
    assert await value(dsn, titles) == "Changed"
    again = await pipeline.sync_each()
    assert [report.rejected for report in again] == [0] * len(streams)
    sandbox.control.clear_faults()
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, *streams) == []


# Streams that are read once for each parent, and how the list of each one is refused.
CLOSED = {"status": 403, "detail": "You do not have permission to perform this action."}
OF_PARENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "organization_members": ("projects", "/members", CLOSED),
    "subscription_deliveries": (
        "subscriptions",
        "/deliveries",
        {"status": 404, "detail": "Not found."},
    ),
    "dashboard_collaborators": ("dashboards", "/collaborators", CLOSED),
}


@pytest.mark.parametrize("stream", OF_PARENTS)
async def test_a_stream_of_which_every_list_is_refused_is_partial_at_every_sync(
    start_sandbox: StartSandbox, dsn: str, stream: str
) -> None:
    """Each sync asks each list once, and marks nothing deleted."""
    sandbox = await start_sandbox(**SMALL)
    parents, path, fault = OF_PARENTS[stream]
    pipeline = Pipeline(sandbox, dsn, streams=(parents, stream))
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, stream) == []
    sandbox.control.add_faults({"match": {"path": path}, "fault": fault})
    ended = []
    for _ in range(4):
        sandbox.control.reset_requests()
        reports = {report.stream: report for report in await pipeline.sync_each()}
        ending = reports[stream].ending
        paths = [request["path"] for request in asked(sandbox, path)]
        assert 0 < len(paths) == len(set(paths))
        ended.append((ending.status, ending.exit_code))
    assert ended == [("partial", 3)] * 4
    sandbox.control.clear_faults()
    assert endings(await pipeline.sync_each()) == {}
    assert await untruths(dsn, sandbox, stream) == []


@pytest.mark.parametrize("known", [False, True], ids=["never read", "read before"])
@pytest.mark.parametrize(
    ("stream", "path", "preset"),
    [("insights", "/insights/", "402"), ("group_properties", "/groups/property_values", "402")],
    ids=["the first list", "lists of a later kind"],
)
async def test_a_list_that_is_refused_is_asked_for_once_at_each_sync(
    start_sandbox: StartSandbox, dsn: str, stream: str, path: str, preset: str, known: bool
) -> None:
    """As a first sync asks for it, and as `plan` foresees."""
    sandbox = await start_sandbox(**SMALL)
    streams = ("groups", stream)
    pipeline = Pipeline(sandbox, dsn, streams=streams)
    if known:
        assert endings(await pipeline.sync_each()) == {}
    sandbox.control.add_faults({"match": {"path": path}, "fault": {"preset": preset}})
    for _ in range(3):
        sandbox.control.reset_requests()
        assert list(endings(await pipeline.sync_each())) == [stream]
        assert len(asked(sandbox, path)) == 1


async def test_a_list_that_fails_is_asked_for_once_at_each_sync(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A reading that got nothing is not gone on with."""
    sandbox = await start_sandbox(**SMALL)
    pipeline = Pipeline(sandbox, dsn, streams=("insights",))
    fault = {"preset": "500_error_body"}
    sandbox.control.add_faults({"match": {"path": "/insights/"}, "fault": fault})
    for _ in range(2):
        assert ((await pipeline.sync()).ending.exit_code, len(asked(sandbox, "/insights/"))) == (
            1,
            1,
        )
        sandbox.control.reset_requests()
