"""The main job, through the real command."""

import pytest

from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.truth import differences_from_truth, fetch_truth

FLAVOURS = {
    "cloud": {"flavour": "cloud"},
    "cloud, only offset known": {"flavour": "cloud", "server_version": "offset_only"},
    "docs, dates honoured": {"flavour": "docs", "date_filter": "honoured"},
    "docs, dates ignored": {"flavour": "docs", "date_filter": "ignored"},
    "docs, dates refused": {"flavour": "docs", "date_filter": "refused"},
    "docs, every page version": {"flavour": "docs", "page_version": "mixed"},
}


@pytest.mark.parametrize("options", FLAVOURS.values(), ids=FLAVOURS.keys())
async def test_a_first_sync_equals_the_truth_in_every_flavour(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, str]
) -> None:
    """Whatever the server is, all three tables equal its own truth, and exit is 0."""
    sandbox = await start_sandbox(recordings=2500, start_ties=3, **options)
    command = Command(sandbox.url, dsn, POSTHOG_ETL_PAGE_SIZE_RECORDS="200")
    result = await command.run("sync", "--json")
    assert (result.code, result.report["status"]) == (0, "succeeded"), result.err
    assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []


@pytest.mark.parametrize("options", FLAVOURS.values(), ids=FLAVOURS.keys())
async def test_a_second_sync_finds_nothing_to_write(
    start_sandbox: StartSandbox, dsn: str, options: dict[str, str]
) -> None:
    """Nothing changed at the source, so nothing is inserted or updated."""
    sandbox = await start_sandbox(recordings=500, **options)
    command = Command(sandbox.url, dsn)
    await command.run("sync")
    again = await command.run("sync", "--json")
    assert again.code == 0, again.err
    assert (again.report["rows_inserted"], again.report["rows_updated"]) == (0, 0)
