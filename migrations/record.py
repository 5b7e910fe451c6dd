"""Write `schema.sql`: what the migrations make of a new database, but for PgQueuer's tables.

A new database is made from it, which takes a fraction of the time of one migration after the other.
Migrations that are newer than the script run after it, so it need not be written with each one.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from sqlalchemy import event

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.embedded.server import EmbeddedPostgres
from etl.loaders.fresh import BOOK, DATA, script_path
from etl.loaders.migrate import migrate
from etl.loaders.tables import Tables
from etl.loaders.version import newest_revision

# Names that nothing else contains.
_SCHEMA = Tables("recorded_schema")
_COMMENTED = re.compile(r"COMMENT ON \S+ \S+ ")
_CHANGES = re.compile(r"\s*(CREATE|ALTER|COMMENT|DROP|DO)\b", re.IGNORECASE)


async def record(database: Database, revision: str) -> str:
    """Return the script that makes the schema of this revision. `database` is empty."""
    heard: list[str] = []

    def hear(statement: str) -> None:
        if _CHANGES.match(statement):
            heard.append(statement.strip().rstrip(";"))

    event.listen(database.engine, "before_cursor_execute", lambda *given: hear(given[2]))
    await migrate(database, _SCHEMA, revision)
    # What runs the script makes the schemas and the table of the version.
    others = r"CREATE SCHEMA|CREATE TABLE \S+alembic"
    kept = [each for each in heard if not re.match(others, each)]
    # Of the comments of one thing only the last one counts.
    last = {found[0]: each for each in kept if (found := _COMMENTED.match(each))}
    kept = [each for each in kept if each in last.values() or not _COMMENTED.match(each)]
    text = ";\n".join(kept)
    text = re.sub(rf'"?\b{_SCHEMA.bookkeeping}\b"?', BOOK, text)
    text = re.sub(rf'"?\b{_SCHEMA.schema}\b"?', DATA, text)
    return f"-- Revision {revision}. Written by migrations/record.py.\n{text};\n"


async def main() -> None:
    """Write the script with a Postgres of its own."""
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedPostgres.start(Path(directory))
        try:
            database = Database(parse_database_url(server.dsn), Timeouts())
            script_path().write_text(await record(database, newest_revision()), encoding="utf-8")
            await database.close()
        finally:
            server.close()


if __name__ == "__main__":
    asyncio.run(main())
