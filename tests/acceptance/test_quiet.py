"""P4, quiet: a sync that finds nothing changed writes no row, and next to no WAL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from etl.loaders.embedded import EmbeddedPostgres
from tests.conftest import StartSandbox
from tests.support.books import nobody_is_connected
from tests.support.command import Command
from tests.support.postgres import FORGETFUL, server_directory
from tests.support.sql import select, value
from tests.support.truth import TABLES, differences_from_truth, fetch_truth

# All of the sandbox's thirty days are read again by every sync.
READ_ALL_AGAIN = {"POSTHOG_ETL_LOOKBACK": "1000h"}
DAY_S = 86_400
WAL_BYTES_A_ROW = 50

Written = dict[str, tuple[int, int, int]]

# Rows that an older version wrote have no hash, so all of them are typed, sent and compared.
HOW = pytest.mark.parametrize("by_hash", [True, False], ids=["by hash", "by content"])


async def forget_hashes(dsn: str) -> None:
    """Make all rows such as an older version wrote."""
    for table in ("session_recordings", "persons", "person_distinct_ids"):
        await select(dsn, f"UPDATE posthog.{table} SET _hash = NULL")


async def rows_written(dsn: str) -> Written:
    """Rows inserted, updated and deleted per data table, as Postgres itself has counted them."""
    await nobody_is_connected(dsn)
    counted = await select(
        dsn,
        "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables "
        "WHERE schemaname = 'posthog'",
    )
    return {
        row["relname"]: (row["n_tup_ins"], row["n_tup_upd"], row["n_tup_del"]) for row in counted
    }


@pytest.mark.parametrize(
    "options",
    [
        {"flavour": "cloud"},
        {"flavour": "cloud", "server_version": "offset_only"},
        {"flavour": "docs", "page_version": "mixed"},
    ],
    ids=["cloud", "cloud that knows only offset", "docs"],
)
@HOW
async def test_a_sync_without_news_writes_no_row(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, str], by_hash: bool
) -> None:
    """Everything is read again, and Postgres counts no insert, update or delete in a data table."""
    sandbox = await start_sandbox(recordings=600, start_ties=3, **options)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PAGE_SIZE_RECORDS="200", **READ_ALL_AGAIN)
    assert (await command.run("sync")).code == 0
    if not by_hash:
        await forget_hashes(dsn)
    before = await rows_written(dsn)
    assert all(before[table][0] > 0 for table in TABLES)
    again = await command.run("sync", "--json")
    assert again.code == 0, again.err
    assert again.report["records_read"] >= 600
    assert await rows_written(dsn) == before


@HOW
async def test_a_field_that_moves_by_itself_is_no_news(
    start_sandbox: StartSandbox, dsn: str, by_hash: bool
) -> None:
    """A day later every recording_ttl has fallen; still nothing is written."""
    # No recording ends or expires on that day: they are all ten to twenty days old.
    sandbox = await start_sandbox(recordings=0)
    sandbox.control.change(
        *(
            {"op": "start_session", "start_time": f"-{10 * 24 + n}h", "arrives_s": 0}
            for n in range(240)
        )
    )
    command = Command(sandbox.url, dsn, **READ_ALL_AGAIN)
    sandbox.control.advance(DAY_S)
    assert (await command.run("sync")).code == 0
    if not by_hash:
        await forget_hashes(dsn)
    before = await rows_written(dsn)
    ttl = "SELECT sum(recording_ttl) FROM posthog.session_recordings"
    stored_ttl = await value(dsn, ttl)
    sandbox.control.advance(DAY_S)
    again = await command.run("sync", "--json")
    assert (again.code, again.report["records_read"]) == (0, 240), again.err
    assert await rows_written(dsn) == before
    assert await value(dsn, ttl) == stored_ttl


async def test_what_moves_by_itself_is_stored_with_the_next_real_change(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """A view changes one recording: that row, and only that, also gets its new recording_ttl."""
    sandbox = await start_sandbox(recordings=0)
    sandbox.control.change(
        *(
            {"op": "start_session", "id": f"s{n}", "start_time": "-9d", "arrives_s": 0}
            for n in range(3)
        )
    )
    command = Command(sandbox.url, dsn, **READ_ALL_AGAIN)
    sandbox.control.advance(DAY_S)
    assert (await command.run("sync")).code == 0
    ttls = "SELECT id, recording_ttl FROM posthog.session_recordings ORDER BY id"
    before = {row["id"]: row["recording_ttl"] for row in await select(dsn, ttls)}
    sandbox.control.advance(DAY_S)
    sandbox.control.change({"op": "view", "id": "s1", "by": "owner"})
    again = await command.run("sync", "--json")
    assert (again.code, again.report["rows_updated"]) == (0, 1), again.err
    after = {row["id"]: row["recording_ttl"] for row in await select(dsn, ttls)}
    assert after == {**before, "s1": before["s1"] - 1}
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest_asyncio.fixture
async def lonely_dsn() -> AsyncIterator[str]:
    """A server of the test's own, so that all of its WAL is ours."""
    settings = {**FORGETFUL, "autovacuum": "off"}
    with server_directory() as directory, EmbeddedPostgres.start(directory, options=settings) as s:
        yield s.dsn


@HOW
async def test_a_sync_without_news_writes_next_to_no_wal(
    start_sandbox: StartSandbox, lonely_dsn: str, by_hash: bool
) -> None:
    """5,000 recordings read again cost at most 50 bytes of WAL each, bookkeeping included."""
    sandbox = await start_sandbox(recordings=5000)
    command = Command(sandbox.url, lonely_dsn, **READ_ALL_AGAIN)
    assert (await command.run("sync")).code == 0
    if not by_hash:
        await forget_hashes(lonely_dsn)
    await nobody_is_connected(lonely_dsn)
    begin = await value(lonely_dsn, "SELECT pg_current_wal_insert_lsn()::text")
    again = await command.run("sync", "--json")
    await nobody_is_connected(lonely_dsn)
    wal_bytes = await value(
        lonely_dsn, "SELECT pg_current_wal_insert_lsn() - $1::text::pg_lsn", begin
    )
    read = again.report["records_read"]
    assert (again.code, read >= 5000) == (0, True), again.err
    assert wal_bytes <= WAL_BYTES_A_ROW * read
