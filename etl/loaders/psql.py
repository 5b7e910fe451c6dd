"""psql over the configured database. The address goes by its environment, so no password shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from etl.errors import ConfigurationError
from etl.loaders.address import DatabaseAddress
from etl.loaders.embedded.programs import choose_programs


def find_psql(*, embedded: bool) -> Path | None:
    """Return psql: that of the system, else the one beside an installed server; None without any.

    embedded: look beside the server first, since an older psql warns of a newer server.
    """
    on_path = shutil.which("psql")
    if on_path and not embedded:
        return Path(on_path)
    try:
        beside = choose_programs(None).directory / "psql"
    except ConfigurationError:
        beside = None
    if beside is not None and os.access(beside, os.X_OK):
        return beside
    return Path(on_path) if on_path else None


def run_psql(program: Path, address: DatabaseAddress) -> int:
    """Run psql on this terminal until its user leaves, and return its exit code."""
    done = subprocess.run([program], env={**os.environ, **address.variables}, check=False)
    return done.returncode
