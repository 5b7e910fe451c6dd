"""A stream that is read anew: the copy is true afterwards, whatever was done to it."""

from __future__ import annotations

import pytest

from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.pipeline import EVERY_STREAM, Pipeline
from tests.support.sql import select, value
from tests.support.streams import SMALL, endings, untruths

# Of each table some rows, as a condition.
SOME = "(hashtext(t::text) % 3 = 0)"
RECORDINGS = "SELECT count(*) FROM posthog.session_recordings WHERE _deleted_at IS NULL"


async def spoil(dsn: str) -> None:
    """Alter some rows of each table behind our back, and delete others; hashes stay."""
    await select(dsn, f"UPDATE posthog.session_recordings t SET click_count = 7777 WHERE {SOME}")
    await select(dsn, "UPDATE posthog.persons SET name = 'somebody else'")
    for table in ("subscriptions", "insights", "session_recording_playlists"):
        await select(dsn, f"DELETE FROM posthog.{table} t WHERE {SOME}")
    await select(dsn, "UPDATE posthog.groups SET group_properties = '{}'")
    await select(dsn, "UPDATE posthog.sharing_configurations SET enabled = NOT enabled")


@pytest.mark.parametrize("flavour", ["cloud", "docs"])
async def test_after_a_resync_every_table_is_true(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """Also where a sync would believe hashes, or would not look. Nothing else is written."""
    sandbox = await start_sandbox(**SMALL, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=EVERY_STREAM, lookback="1h")
    assert not endings(await pipeline.sync_each())
    await spoil(dsn)
    gone = await value(dsn, "SELECT min(id) FROM posthog.session_recordings")
    sandbox.control.change({"op": "delete_recording", "id": gone})
    assert await untruths(dsn, sandbox, *EVERY_STREAM)
    assert not endings(await pipeline.resync_each())
    assert await untruths(dsn, sandbox, *EVERY_STREAM) == []
    marked = "SELECT _deleted_at IS NOT NULL FROM posthog.session_recordings WHERE id = $1"
    assert await value(dsn, marked, gone)
    again = await pipeline.resync_each()
    assert {r.stream: r.rows_inserted + r.rows_updated for r in again} == dict.fromkeys(
        EVERY_STREAM, 0
    )


@pytest.mark.parametrize("stream", ["session_recordings", "recording_sharing"])
async def test_an_interrupted_resync_goes_on(
    start_sandbox: StartSandbox, dsn: str, stream: str
) -> None:
    """Recordings under the same cursor, sharing with the resources that are left."""
    sandbox = await start_sandbox(**(SMALL | {"recordings": 300}))
    all_at_once = {"lookback": "1h", "sharing_requests": 1000, "streams": (stream,)}
    if stream == "recording_sharing":
        assert not endings(await Pipeline(sandbox, dsn).sync_each())
    pipeline = Pipeline(sandbox, dsn, **all_at_once)
    assert not endings(await pipeline.sync_each())
    (whole,) = await pipeline.resync_each()
    (stopped,) = await pipeline.stopped_resync()
    assert (stopped.ending.status, stopped.requests > 0) == ("partial", True)
    (rest,) = await pipeline.resync_each()
    assert (rest.ending.status, rest.requests < whole.requests) == ("succeeded", True)


async def test_if_too_much_is_gone_it_asks_first(
    start_sandbox: StartSandbox, command: Command, dsn: str
) -> None:
    """As a sync does: nothing is marked, and the command to accept it is named."""
    sandbox = await start_sandbox(recordings=200)
    command = Command(sandbox.url, dsn)
    assert (await command.run("sync")).code == 0
    before = await value(dsn, RECORDINGS)
    for row in list(sandbox.control.truth_rows("session_recordings"))[:150]:
        sandbox.control.change({"op": "delete_recording", "id": row["id"]})
    held = await command.run("resync", "session_recordings")
    assert (held.code, "--accept-deletions" in held.out + held.err) == (3, True)
    assert await value(dsn, RECORDINGS) == before
    accepted = await command.run("resync", "session_recordings", "--accept-deletions", "--json")
    assert accepted.code == 0, accepted.err
    assert await value(dsn, RECORDINGS) == before - 150
