"""The tables of configured queries: made at the first run, widened when a query has a new column.

What there is, is read from the database itself, so a table whose query was removed is still known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import MetaData, text

from etl.core.query import OURS, query_table
from etl.core.stream import Field, Kind, TableSpec
from etl.errors import DestinationError
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.statements import literal, quoted
from etl.loaders.tables import Tables, data_table
from etl.streams import TABLE_SPECS

_KINDS = {kind.value for kind in Kind}

_COLUMNS = """
SELECT c.relname, coalesce(obj_description(c.oid, 'pg_class'), '') AS about, a.attname,
  format_type(a.atttypid, a.atttypmod) AS kind,
  coalesce(col_description(c.oid, a.attnum), '') AS said,
  array_position(k.conkey::smallint[], a.attnum) AS place
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE n.nspname = :schema AND c.relkind = 'r' AND (:name IS NULL OR c.relname = :name)
ORDER BY c.relname, a.attnum
"""


async def tables_there(
    connection: AsyncConnection, tables: Tables, name: str | None = None
) -> Sequence[TableSpec]:
    """Return the tables of queries, those of queries that are no longer configured too.

    name: only the table of this name.
    """
    statement = text(_COLUMNS.replace(":name", "CAST(:name AS text)"))
    found = await connection.execute(statement, {"schema": tables.queried.schema, "name": name})
    fields: dict[str, list[Field]] = {}
    keys: dict[str, list[tuple[int, str]]] = {}
    abouts: dict[str, str] = {}
    ours = set()
    for table, about, column, kind, said, place in found:
        abouts[table] = about
        fields.setdefault(table, [])
        keys.setdefault(table, [])
        if column == "project_id" and place == 1:
            ours.add(table)
        if column in OURS or kind not in _KINDS:
            continue  # one that people added has any type
        if place is not None:
            keys[table].append((place, column))
        fields[table].append(
            Field(column, Kind(kind), said or "A column of the query.", lenient=place is None)
        )
    return [
        query_table(table, abouts[table], [name for _, name in sorted(keys[table])], fields[table])
        for table in fields
        if keys[table] and table in ours
    ]


async def all_specs(connection: AsyncConnection, tables: Tables) -> Sequence[TableSpec]:
    """Return every data table: those of the catalogue, then those of queries."""
    return [*TABLE_SPECS.values(), *await tables_there(connection, tables)]


async def is_there(connection: AsyncConnection, tables: Tables, name: str) -> bool:
    """Tell whether the table of a query was made yet."""
    table = f"{quoted(tables.queried.schema)}.{quoted(name)}"
    found = await connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": table})
    return bool(found.scalar_one())


async def shaped(database: Database, tables: Tables, wanted: TableSpec) -> TableSpec:
    """Make the table, or add the columns that it lacks, and return it as it is then.

    A column keeps its type: values that no longer fit it go to `extra`. Safe to repeat, also by
    several processes at once. Raises DestinationError, also where the table has another key.
    """
    schema = tables.queried.schema
    for attempt in database.attempts():
        async with attempt, database.transaction() as connection:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
                {"name": f"{schema}.{wanted.name}"},
            )
            there = await tables_there(connection, tables, wanted.name)
            driver = await driver_of(connection)
            if not there:
                await _require(
                    driver,
                    "SELECT has_schema_privilege($1, 'CREATE')",
                    schema,
                    f"make the table {schema}.{wanted.name}",
                    f"GRANT CREATE ON SCHEMA {quoted(schema)}",
                )
                table = data_table(wanted, MetaData(), schema)
                await connection.run_sync(table.metadata.create_all)
                there = [wanted]
            (found,) = there
            if found.key != wanted.key:
                raise DestinationError(
                    f"The table {schema}.{wanted.name} has another key ({', '.join(found.key)}) "
                    f"than the query ({', '.join(wanted.key)})",
                    remedy="Give the query another name, or drop the table",
                )
            known = {field.name for field in found.fields}
            new = [field for field in wanted.fields if field.name not in known]
            if new:
                await _require(
                    driver,
                    "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class "
                    "WHERE oid = to_regclass($1)",
                    f"{quoted(schema)}.{quoted(wanted.name)}",
                    f"add columns to the table {schema}.{wanted.name}",
                    f"ALTER TABLE {quoted(schema)}.{quoted(wanted.name)} OWNER",
                )
            for field in new:
                name = f"{quoted(schema)}.{quoted(wanted.name)}"
                column = quoted(field.name)
                await driver.execute(f"ALTER TABLE {name} ADD COLUMN {column} {field.kind.value}")
                await driver.execute(f"COMMENT ON COLUMN {name}.{column} IS {literal(field.about)}")
    return query_table(found.name, found.about, found.key, [*found.fields, *new])


async def _require(driver: Any, question: str, name: str, what: str, grant: str) -> None:
    """Raise DestinationError with the statement that helps if the role may not do something."""
    if await driver.fetchval(question, name):
        return
    role = await driver.fetchval("SELECT quote_ident(current_user)")
    raise DestinationError(
        f"The database role may not {what}", remedy=f"Let its owner run: {grant} TO {role}"
    )
