"""A new database is made from a script; it is what one migration after the other makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from etl.loaders.database import Database
from etl.loaders.fresh import script_path, upgrade
from etl.loaders.migrate import migrate
from etl.loaders.tables import Tables
from etl.loaders.version import newest_revision
from migrations.record import record
from tests.support.sql import select

# Everything in a schema, each thing with a text that says all about it.
_THINGS = """
WITH n AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = ANY ($1))
SELECT 'column' AS kind, concat_ws(' ', nspname, relname, relkind, attname,
    format_type(atttypid, atttypmod), attnotnull, attidentity,
    pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)) AS text
FROM n JOIN pg_class c ON relnamespace = n.oid JOIN pg_attribute ON attrelid = c.oid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'v')
UNION ALL SELECT 'relation', concat_ws(' ', nspname, relname, relkind, obj_description(c.oid))
FROM n JOIN pg_class c ON relnamespace = n.oid
UNION ALL SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = ANY ($1)
UNION ALL SELECT 'view', concat(viewname, definition) FROM pg_views WHERE schemaname = ANY ($1)
UNION ALL SELECT 'constraint',
    concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(k.oid))
FROM n JOIN pg_constraint k ON connamespace = n.oid
UNION ALL SELECT 'trigger', pg_get_triggerdef(g.oid)
FROM n JOIN pg_class c ON relnamespace = n.oid JOIN pg_trigger g ON tgrelid = c.oid
UNION ALL SELECT 'function', pg_get_functiondef(p.oid) FROM n JOIN pg_proc p ON pronamespace = n.oid
UNION ALL SELECT 'type', concat(typname, typtype) FROM n JOIN pg_type ON typnamespace = n.oid
"""


async def made(dsn: str, tables: Tables) -> set[tuple[Any, ...]]:
    """All that is in the schemas of a deployment."""
    rows = await select(dsn, _THINGS, [tables.schema, tables.bookkeeping])
    return {tuple(row.values()) for row in rows}


@pytest.mark.parametrize("schema", ["posthog", "Upper"])
async def test_the_script_makes_what_the_migrations_make(
    empty_database: Database, empty_dsn: str, schema: str
) -> None:
    """Tables, columns, comments, indexes, views, and the queue's parts."""
    tables = Tables(schema)
    assert await upgrade(empty_database, tables) == ("base", newest_revision())
    by_script = await made(empty_dsn, tables)
    await migrate(empty_database, tables, "base")
    await migrate(empty_database, tables)
    assert by_script == await made(empty_dsn, tables)


async def test_the_script_is_what_would_be_recorded_of_its_revision(
    empty_database: Database,
) -> None:
    """It may be older than the newest migration, but it is never edited."""
    script = script_path().read_text(encoding="utf-8")
    assert await record(empty_database, script.split()[2].rstrip(".")) == script


async def test_a_database_that_has_a_schema_is_left_to_the_migrations(
    empty_database: Database,
) -> None:
    """From whichever version; and nothing happens where nothing is to be done."""
    tables = Tables("posthog")
    await migrate(empty_database, tables, "0003")
    assert await upgrade(empty_database, tables) == ("0003", newest_revision())
    assert await upgrade(empty_database, tables) == (newest_revision(), newest_revision())
