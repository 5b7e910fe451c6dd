"""Reads a .env file: NAME=value lines, as systemd, docker compose and a shell read them."""

from __future__ import annotations

import io
from pathlib import Path

from etl.errors import ConfigurationError


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of the file. Raises ConfigurationError, which quotes nothing of it.

    Values are taken as they are: a $ in a password begins no name of a variable.
    """
    from dotenv.parser import parse_stream

    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ConfigurationError(f"{path} cannot be read: {why}") from exc
    found = {}
    for line in parse_stream(io.StringIO(text)):
        if line.error or (line.key is not None and line.value is None):
            raise ConfigurationError(
                f"{path} line {line.original.line} is not NAME=value",
                remedy="Put a value with blanks or quotes into quotes",
            )
        if line.key is not None and line.value is not None:
            found[line.key] = line.value
    return found
