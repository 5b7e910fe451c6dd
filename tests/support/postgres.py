"""The Postgres of a test session, and a database of its own for each test.

One server serves the session: the one that `TEST_DATABASE_URL` names (a role that may create
databases, in a form that asyncpg takes), else an embedded one that forgets everything.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from etl.loaders.embedded import EmbeddedPostgres

# Nothing here has to outlive a power cut; everything else stays as it is in use, WAL included.
FORGETFUL = {"fsync": "off", "synchronous_commit": "off"}
# The log of a server in memory is cut early, so that it stays small.
_IN_MEMORY = {"max_wal_size": "96MB"}

# On a disk, cloning a database costs ten times the CPU: it writes 9 MB in 300 files.
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 2 << 30


class Databases:
    """Makes and drops databases on one server, under names that no other session uses.

    `dsn` is the server's own, of a database that always exists. strategy: how it copies a template,
    if not in the server's own way.
    """

    def __init__(self, dsn: str, strategy: str | None = None) -> None:
        self.dsn = dsn
        self._strategy = f" STRATEGY {strategy}" if strategy else ""
        self._prefix = f"etl_test_{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._made: set[str] = set()

    @property
    def template_name(self) -> str:
        """What this session calls the migrated database that the others are copies of."""
        return f"{self._prefix}_template"

    async def create_database(self, template: str | None = None, *, name: str | None = None) -> str:
        """Make a database, a copy of `template` if given, and return its DSN.

        Nobody may be connected to the template meanwhile.
        """
        name = name or f"{self._prefix}_{next(self._numbers)}"
        copied = f' TEMPLATE "{template}"{self._strategy}' if template else ""
        self._made.add(name)
        await self._execute(f'CREATE DATABASE "{name}"{copied}')
        return with_database(self.dsn, name)

    async def drop_database(self, dsn: str) -> None:
        """Drop the database of this DSN, and whoever is connected to it. Safe to repeat."""
        name = database_of(dsn)
        await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._made.discard(name)

    async def drop_all(self) -> None:
        """Drop what this session made and has not dropped yet. Safe to repeat."""
        for name in sorted(self._made):
            await self.drop_database(with_database(self.dsn, name))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextlib.contextmanager
def run_databases() -> Iterator[Databases]:
    """Give the session's server, started if it is ours; ours ends with everything in it.

    On a server of somebody else's, call `drop_all` before leaving.
    """
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield Databases(given)
        return
    options = {**FORGETFUL, **_IN_MEMORY}
    with server_directory() as directory, EmbeddedPostgres.start(directory, options=options) as s:
        yield Databases(s.dsn, strategy="FILE_COPY")


@contextlib.contextmanager
def server_directory() -> Iterator[Path]:
    """Give an empty directory that whoever runs the server can reach, also when we are root.

    It lies in memory where there is room.
    """
    with tempfile.TemporaryDirectory(
        prefix="etl-", dir=_memory(), ignore_cleanup_errors=True
    ) as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


def _memory() -> Path | None:
    """Return the directory whose files are kept in memory; None where it is missing or small."""
    try:
        there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES
    except OSError:
        return None
    return _MEMORY if there else None


def with_database(dsn: str, name: str) -> str:
    """Return `dsn` with another database in it."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def database_of(dsn: str) -> str:
    """Return the name of the database that `dsn` leads to."""
    return unquote(urlsplit(dsn).path.removeprefix("/"))
