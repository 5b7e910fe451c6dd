"""Tell whether the schema has the version that this code needs, without loading Alembic.

In nearly every run it has, and loading Alembic is a sixth of the time to start.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from sqlalchemy import column, func, select, table

from etl.loaders.database import Database
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables

VERSION_TABLE = "alembic_version"


def migrations_dir() -> Path:
    """Return the directory of the migrations: inside the installed package, or beside it."""
    package = Path(str(files("etl")))
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def newest_revision() -> str:
    """Return the revision this code needs. Revisions are numbered, and files named by number."""
    names = (path.name for path in (migrations_dir() / "versions").glob("[0-9]*_*.py"))
    return max(names).split("_")[0]


async def is_current(database: Database, tables: Tables) -> bool:
    """Tell whether the schema has the version this code needs. Needs no right to write.

    Raises DestinationError.
    """
    versions = table(VERSION_TABLE, column("version_num"), schema=tables.bookkeeping)
    name = f"{quoted(tables.bookkeeping)}.{VERSION_TABLE}"
    async with database.transaction() as connection:
        if (await connection.execute(select(func.to_regclass(name)))).scalar_one() is None:
            return False
        found = await connection.execute(select(versions.c.version_num))
        return found.scalars().all() == [newest_revision()]
