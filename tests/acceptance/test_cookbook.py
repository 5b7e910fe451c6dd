"""docs/cookbook.md and the role of docs/operations.md: every question is asked as that role."""

from __future__ import annotations

import re
import runpy
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest_asyncio

from tests.conftest import StartSandbox
from tests.support.command import Command, Result
from tests.support.sql import value

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "cookbook.md").read_text(encoding="utf-8")
QUESTIONS = runpy.run_path(str(DOCS / "cookbook.py"))["questions"](PAGE)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ROLE = "posthog_reader"
OWNER = "posthog_owner"
# The tables of a role that is no superuser and may create no roles.
OWNED_BY_IT = f"""
CREATE ROLE {OWNER};
DO $$
DECLARE named text;
BEGIN
  FOR named IN SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace::regnamespace::text IN ('posthog', 'posthog_etl')
      AND c.relkind IN ('r', 'v')
  LOOP EXECUTE format('ALTER TABLE %s OWNER TO {OWNER}', named); END LOOP;
END $$;
ALTER SCHEMA posthog OWNER TO {OWNER};
ALTER SCHEMA posthog_etl OWNER TO {OWNER};
"""
REFUSED = (
    "DELETE FROM posthog.persons",
    "CREATE TABLE posthog.mine ()",
    "TABLE posthog_etl.forget_key",
)


def role_statements() -> list[str]:
    """What docs/operations.md says to run to make the role; all but the first as the owner."""
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    section = page.split("## A role that may only read")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```sql\n((?:.*\n)*?)```$", section, re.MULTILINE)
    return [each.strip() for each in block.split(";") if each.strip()]


@pytest_asyncio.fixture
async def reader(start_sandbox: StartSandbox, dsn: str) -> AsyncIterator[Command]:
    """The command as the role that may only read, after the sync that the page begins with."""
    sandbox = await start_sandbox(recordings=2000, now=NOW)
    synced = await Command(sandbox.url, dsn, POSTHOG_ETL_DISABLED_STREAMS="").run("sync")
    assert synced.code == 0, synced.err
    owner = await asyncpg.connect(dsn)
    try:
        await owner.execute(OWNED_BY_IT)
        first, *others = role_statements()
        await owner.execute(first)
        await owner.execute(f"SET ROLE {OWNER}")
        for statement in others:
            await owner.execute(statement)
        # A table of a later release.
        await owner.execute("CREATE TABLE posthog.later AS SELECT 1 AS n")
        await owner.execute("RESET ROLE")
        scheme, rest = dsn.split("://", 1)
        secret = re.search(r"PASSWORD '(.+)'", first)
        assert secret is not None
        yield Command(sandbox.url, f"{scheme}://{ROLE}:{secret[1]}@{rest.split('@', 1)[1]}")
    finally:
        await owner.execute(f"RESET ROLE; REASSIGN OWNED BY {OWNER} TO CURRENT_USER")
        await owner.execute(f"DROP OWNED BY {ROLE}, {OWNER}; DROP ROLE {ROLE}, {OWNER}")
        await owner.close()


async def test_every_question_has_the_answer_that_the_page_shows(reader: Command, dsn: str) -> None:
    """Asked as a role that may only read; if an answer is another, run docs/cookbook.py.

    One test, because all questions are asked of one sync.
    """
    assert len(QUESTIONS) == PAGE.count("\n## ") >= 20
    wrong = []
    for heading, statement, shown in QUESTIONS:
        asked = await ask(reader, statement)
        if asked.code or asked.out != shown or asked.out.endswith("\n0 rows\n"):
            wrong.append(f"{heading}\n{asked.err or asked.out}")
        if max(map(len, [*statement.splitlines(), *shown.splitlines()])) > 80:
            wrong.append(f"{heading}\nA line is longer than 80 characters")
    assert wrong == [], "\n\n".join(wrong)

    assert (await ask(reader, "SELECT n FROM posthog.later")).code == 0
    for statement in REFUSED:
        refused = await ask(reader, statement)
        assert refused.code, statement
        assert "permission denied" in refused.err
    assert await value(dsn, "SELECT count(*) FROM posthog.persons") == 200


async def ask(reader: Command, statement: str) -> Result:
    """The answer of `posthog-etl sql`."""
    return await reader.run("sql", statement)
