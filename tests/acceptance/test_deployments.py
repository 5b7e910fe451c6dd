"""Several deployments in one database, schema names of any kind, and the migrations themselves."""

from __future__ import annotations

import asyncio

import pytest

from etl.loaders.database import Database
from etl.loaders.migrate import differences, migrate
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables
from etl.loaders.version import newest_revision
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.sql import select, value
from tests.support.truth import differences_from_truth, fetch_truth

# Everything that SQL, Python's formats or a driver could take for its own.
ODD = """Übung "1"; it's 100% %(odd)s {0} $1 --"""
REVISION = "SELECT version_num FROM posthog_etl.alembic_version"
PAGE = {"POSTHOG_ETL_PAGE_SIZE_RECORDS": "100"}


async def test_two_deployments_live_in_one_database(
    start_sandbox: StartSandbox, empty_dsn: str
) -> None:
    """Two sources with the same project id, at the same time; each copy equals its own truth."""
    sources = {
        schema: await start_sandbox(recordings=250, seed=seed)
        for seed, schema in enumerate(("us", "eu"))
    }
    results = await asyncio.gather(
        *(
            Command(source.url, empty_dsn, POSTHOG_ETL_SCHEMA=schema, **PAGE).run("sync")
            for schema, source in sources.items()
        )
    )
    assert [result.code for result in results] == [0, 0], [result.err for result in results]
    for schema, source in sources.items():
        truth = await fetch_truth(source.url)
        assert await differences_from_truth(empty_dsn, truth, schema=schema) == []


async def test_a_schema_name_that_needs_quotes_works(
    start_sandbox: StartSandbox, empty_dsn: str
) -> None:
    """From the first migration to rejects, a second run and status."""
    sandbox = await start_sandbox(recordings=150)
    sandbox.control.add_faults(
        {"match": {}, "at": 1, "fault": {"mutate": {"set": {"click_count": "many"}}}}
    )
    command = Command(
        sandbox.url,
        empty_dsn,
        POSTHOG_ETL_SCHEMA=ODD,
        POSTHOG_ETL_LOOKBACK="1000h",
        **PAGE,
    )
    first = await command.run("sync")
    assert first.code == 3, first.err
    assert (await command.run("sync")).code == 0
    spelt = ODD.replace('"', '""')
    truth = await fetch_truth(sandbox.url)
    assert await differences_from_truth(empty_dsn, truth, schema=spelt) == []
    status = await command.run("status", "--json")
    assert (status.code, len(status.document["streams"])) == (0, 1), status.err
    assert await _schemas(empty_dsn) >= {ODD, f"{ODD}_etl"}


@pytest.mark.parametrize("schema", ["posthog", ODD], ids=["usual", "odd"])
async def test_migrations_go_up_equal_the_tables_go_down_and_up_again(
    empty_database: Database, empty_dsn: str, schema: str
) -> None:
    """Compared with the catalogue's tables; down to nothing but the version table."""
    tables = Tables(schema)
    for _ in range(2):
        before, after = await migrate(empty_database, tables)
        assert (before, after != "base") == ("base", True)
        async with empty_database.transaction() as connection:
            assert await differences(connection, tables) == []
        assert after == newest_revision()
        assert await migrate(empty_database, tables) == (after, after)
        assert await migrate(empty_database, tables, "0002") == (after, "0002")
        assert await migrate(empty_database, tables, "base") == ("0002", "base")
        assert await _tables(empty_dsn) <= {(f"{schema}_etl", "alembic_version")}


async def test_migrating_one_deployment_leaves_the_other_alone(
    empty_database: Database, empty_dsn: str
) -> None:
    """One goes up, the other goes down: neither notices."""
    await migrate(empty_database, Tables("us"))
    us = await _tables(empty_dsn)
    await migrate(empty_database, Tables("eu"))
    await migrate(empty_database, Tables("eu"), "base")
    assert await _tables(empty_dsn) - us <= {("eu_etl", "alembic_version")}
    assert us <= await _tables(empty_dsn)


async def test_several_migrations_at_once_are_safe(empty_dsn: str) -> None:
    """Four processes find an empty database; all succeed, and the schema is there once."""
    command = Command("http://127.0.0.1:9", empty_dsn)
    results = await asyncio.gather(*(command.run("migrate", "--json") for _ in range(4)))
    assert [result.code for result in results] == [0] * 4, [result.err for result in results]
    went = sorted((result.document["before"], result.document["after"]) for result in results)
    head = went[-1][1]
    assert went == sorted([("base", head), *[(head, head)] * 3])


async def test_a_users_view_stops_a_migration_that_removes_what_it_shows(empty_dsn: str) -> None:
    """It is named, and nothing changes; without the view the migration goes on (docs/faq.md)."""
    command = Command("http://127.0.0.1:9", empty_dsn)
    assert (await command.run("migrate")).code == 0
    await select(empty_dsn, "CREATE SCHEMA mine")
    await select(empty_dsn, "CREATE VIEW mine.runs AS SELECT * FROM posthog_etl.runs")
    back = ("migrate", "--to", "0002", "--yes")
    stopped = await command.run(*back)
    assert (stopped.code, "mine.runs" in stopped.err) == (1, True), stopped.err
    assert await value(empty_dsn, REVISION) == newest_revision()
    await select(empty_dsn, "DROP VIEW mine.runs")
    assert (await command.run(*back)).code == 0
    assert await value(empty_dsn, REVISION) == "0002"


async def test_a_role_that_may_create_nothing_can_sync_a_migrated_database(
    start_sandbox: StartSandbox, dsn: str
) -> None:
    """`migrate` was run by another; without it the words say what to do."""
    sandbox = await start_sandbox(recordings=100)
    role = await value(dsn, "SELECT current_database()")
    await value(dsn, f'CREATE ROLE "{role}" LOGIN')
    try:
        for schema in ("posthog", "posthog_etl"):
            await value(dsn, f'GRANT USAGE ON SCHEMA {schema} TO "{role}"')
            await value(
                dsn,
                "GRANT SELECT, INSERT, UPDATE, DELETE "
                f'ON ALL TABLES IN SCHEMA {schema} TO "{role}"',
            )
        lowly = dsn.replace("postgres@", f"{role}@", 1)
        assert (await Command(sandbox.url, lowly).run("sync")).code == 0
        assert await differences_from_truth(dsn, await fetch_truth(sandbox.url)) == []
        other = await Command(sandbox.url, lowly, POSTHOG_ETL_SCHEMA="other").run("sync")
        assert (other.code, "posthog-etl migrate" in other.err) == (1, True)
    finally:
        await value(dsn, f'DROP OWNED BY "{role}"')
        await value(dsn, f'DROP ROLE "{role}"')


async def test_without_the_right_to_migrate_a_sync_says_so(
    start_sandbox: StartSandbox, empty_dsn: str
) -> None:
    """POSTHOG_ETL_AUTO_MIGRATE=false on an empty database: exit 1, and nothing is made."""
    sandbox = await start_sandbox(recordings=1)
    command = Command(sandbox.url, empty_dsn, POSTHOG_ETL_AUTO_MIGRATE="false")
    result = await command.run("sync")
    assert (result.code, "posthog-etl migrate" in result.err) == (1, True), result.err
    assert await _tables(empty_dsn) == set()


@pytest.mark.parametrize("schema", ["posthog", "posthog_etl"])
async def test_every_table_and_column_says_what_it_is(dsn: str, schema: str) -> None:
    """COMMENT ON all of them, but for Alembic's own table and the columns of PgQueuer's."""
    silent = await select(
        dsn,
        """
        SELECT c.relname, a.attname
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')
            AND c.relname <> 'alembic_version' AND c.relname NOT LIKE 'pgqueuer%'
            AND coalesce(col_description(c.oid, a.attnum), '') = ''
        UNION ALL
        SELECT c.relname, NULL
        FROM pg_class AS c
        WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')
            AND c.relname <> 'alembic_version'
            AND coalesce(obj_description(c.oid, 'pg_class'), '') = ''
        """,
        schema,
    )
    assert silent == []
    assert await value(dsn, "SELECT count(*) > 2 FROM pg_tables WHERE schemaname = $1", schema)


def test_an_identifier_is_quoted_so_that_it_cannot_break_out() -> None:
    """A quote inside is doubled."""
    assert quoted('a"b') == '"a""b"'


async def _schemas(dsn: str) -> set[str]:
    return {row["nspname"] for row in await select(dsn, "SELECT nspname FROM pg_namespace")}


async def _tables(dsn: str) -> set[tuple[str, str]]:
    found = await select(
        dsn,
        "SELECT schemaname, tablename FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    return {(row["schemaname"], row["tablename"]) for row in found}
