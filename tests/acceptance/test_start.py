"""A sync imports only what it uses: imports are most of the CPU time of a quiet sync."""

from __future__ import annotations

import re

from tests.support.command import Command

# Packages, and modules of ours, that a piped sync of a migrated database does without.
NOT_IMPORTED = (
    *("alembic", "jinja2", "mako", "pgqueuer", "prometheus_client", "pygments", "rich.console"),
    *("aiohttp.web", "sqlalchemy.orm"),
    *("etl.loaders.embedded", "etl.loaders.migrate", "etl.loaders.queue"),
    *("etl.runs.backfill", "etl.runs.check", "etl.runs.rejects", "etl.runs.status"),
    *("etl.runs.unit_forecast", "etl.demo", "etl.sandbox", "etl.service"),
)


async def test_a_piped_sync_imports_only_what_it_uses(command: Command) -> None:
    """The interpreter lists what it imports: none of these packages, and nothing below them."""
    # With a variable for the interpreter the command is started anew, and imports everything.
    result = await command.with_settings(PYTHONPROFILEIMPORTTIME="1").run("sync")
    assert (result.code, "session_recordings" in result.out) == (0, True), result.err
    names = re.findall(r"^import time:.*\|\s+([\w.]+)$", result.err, re.MULTILINE)
    assert {"etl.runs.sync", "sqlalchemy", "aiohttp"} <= set(names)
    unused = tuple(f"{name}." for name in NOT_IMPORTED)
    assert [name for name in names if f"{name}.".startswith(unused)] == []
