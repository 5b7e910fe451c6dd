"""Cohorts, and who is in them: changes, deletions, what is hidden, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from etl.sandbox.server import RunningSandbox
from tests.acceptance.test_quiet import rows_written
from tests.conftest import StartSandbox
from tests.support.pipeline import Pipeline
from tests.support.sql import select
from tests.support.streams import NOTHING, marked, put, remove, untruths

each_flavour = pytest.mark.parametrize("flavour", ["cloud", "docs"])


async def cohorts(start_sandbox: StartSandbox, **options: Any) -> RunningSandbox:
    """Nothing but cohorts."""
    return await start_sandbox(**{**NOTHING, "cohorts": 6, "persons": 20, **options})


async def test_a_cohort_that_a_user_deletes_says_so_and_lives_on_when_it_is_restored(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """The list hides it, the question for it shows it; one that is gone for good is marked."""
    sandbox = await cohorts(start_sandbox)
    pipeline = Pipeline(sandbox, dsn, streams=("cohorts",))
    assert (await pipeline.sync()).ending.exit_code == 0
    sandbox.control.change(put("cohort", id=10_001, deleted=True), remove("cohort", id=10_002))
    report = await pipeline.sync()
    assert (report.ending.exit_code, report.rows_updated, report.requests) == (0, 2, 3)
    assert await marked(dsn, "cohorts") == {"10002"}
    deleted = "SELECT id FROM posthog.cohorts WHERE deleted"
    assert [row["id"] for row in await select(dsn, deleted)] == [10_001]
    assert (await pipeline.sync()).requests == 1
    sandbox.control.change(put("cohort", id=10_001, deleted=False))
    assert (await pipeline.sync()).rows_updated == 1
    assert await untruths(dsn, sandbox, "cohorts") == []


@each_flavour
async def test_a_calculation_is_no_news_and_code_that_the_server_compiles_is_not_kept(
    start_sandbox: StartSandbox, dsn: str, flavour: str
) -> None:
    """The next day all is compiled and calculated anew: no row is written. A new name is."""
    sandbox = await cohorts(start_sandbox, flavour=flavour)
    pipeline = Pipeline(sandbox, dsn, streams=("cohorts",))
    await pipeline.sync()
    before = await rows_written(dsn)
    sandbox.control.advance(26 * 3600)
    failed = put("cohort", id=10_001, persons=[], errors_calculating=1, last_error_message="slow")
    sandbox.control.change(failed)
    assert (await pipeline.sync()).ending.exit_code == 0
    assert await rows_written(dsn) == before
    found = await select(dsn, "SELECT filters::text AS f FROM posthog.cohorts WHERE id = 10002")
    assert "email" in found[0]["f"]
    assert "bytecode" not in found[0]["f"]
    assert "conditionHash" not in found[0]["f"]
    sandbox.control.change(put("cohort", id=10_001, name="Renamed"))
    assert (await pipeline.sync()).rows_updated == 1
    calculated = "SELECT errors_calculating FROM posthog.cohorts WHERE id = 10001"
    assert [row["errors_calculating"] for row in await select(dsn, calculated)] == [1]
    assert await untruths(dsn, sandbox, "cohorts") == []
