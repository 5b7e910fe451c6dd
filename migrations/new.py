"""Write a new migration from the differences between the migrations and the tables.

    python -m migrations.new "what changed"

It uses an embedded Postgres of its own and removes it afterwards.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.embedded import EmbeddedPostgres
from etl.loaders.migrate import alembic_config, migrate
from etl.loaders.tables import Tables


def _for_any_deployment(text: str, tables: Tables) -> str:
    """Replace the schemas' names, so that a script names those of the deployment it migrates."""
    text = text.replace(f"schema='{tables.bookkeeping}'", "schema=book")
    return text.replace(f"schema='{tables.schema}'", "schema=data")


async def write(dsn: str, message: str) -> None:
    """Write the next migration under `migrations/versions/`."""
    database, tables = Database(parse_database_url(dsn), Timeouts()), Tables("posthog")
    await migrate(database, tables)
    async with database.transaction() as connection:

        def revise(sync) -> None:  # type: ignore[no-untyped-def]
            config = alembic_config(sync, tables)
            head = ScriptDirectory.from_config(config).get_current_head() or "0000"
            number = f"{int(head) + 1:04d}"
            script = command.revision(config, message, autogenerate=True, rev_id=number)
            path = Path(script.path)  # type: ignore[union-attr]
            path.write_text(_for_any_deployment(path.read_text(), tables), encoding="utf-8")

        await connection.run_sync(revise)
    await database.close()


def main() -> None:
    """Run the command."""
    if len(sys.argv) != 2:
        sys.exit('usage: python -m migrations.new "what changed"')
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)
        with EmbeddedPostgres.start(Path(directory) / "postgres") as server:
            asyncio.run(write(server.dsn, sys.argv[1]))


if __name__ == "__main__":
    main()
