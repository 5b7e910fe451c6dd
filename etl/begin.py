"""What `init` does with the answers: tests each against the real thing, and writes the file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from etl.app import open_client, open_destination
from etl.core.budget import CRUD
from etl.errors import ConfigurationError, EtlError, StreamUnavailable
from etl.extractors.client import DatabaseClock
from etl.extractors.projects import project_id_of
from etl.extractors.protocol import Request
from etl.loaders.history import History
from etl.runs.check import (
    ATTEMPTS,
    MAX_WAIT_S,
    Finding,
    NoBudget,
    examine_key,
    examine_schema,
    failed_finding,
)
from etl.settings import Settings
from etl.waits import Waits

_HEAD = "# Written by `posthog-etl init`. All other settings: docs/configuration.md\n"


async def try_key(settings: Settings) -> tuple[Finding, str | None]:
    """Return whether the host accepts the key, and the number of the key's current project."""
    clock = DatabaseClock(datetime.now(UTC))
    try:
        async with open_client(settings, NoBudget(), clock, MAX_WAIT_S, Waits()) as client:
            finding, _ = await examine_key(client)
            if not finding.well:
                return finding, None
            try:
                return finding, str(await project_id_of(client, "@current"))
            except EtlError:
                return finding, None  # the key may not read projects; the user knows the number
    except EtlError as exc:
        return failed_finding("key", exc), None


async def try_projects(settings: Settings) -> list[Finding]:
    """Return whether the key reaches each of the projects."""
    clock = DatabaseClock(datetime.now(UTC))
    findings = []
    async with open_client(settings, NoBudget(), clock, MAX_WAIT_S, Waits()) as client:
        for project in settings.projects:
            about = f"project {project}"
            request = Request(f"/api/projects/{project}/", (), (CRUD,))
            try:
                await client.fetch(request, attempts=ATTEMPTS)
            except StreamUnavailable as exc:
                if exc.status == 403 and "scope" in exc.message:
                    said = "not tested: the key lacks the scope project:read"
                    findings.append(Finding(about, True, said))
                else:
                    findings.append(failed_finding(about, exc))
            except EtlError as exc:
                findings.append(failed_finding(about, exc))
            else:
                findings.append(Finding(about, True, "there"))
    return findings


async def try_database(settings: Settings) -> list[Finding]:
    """Return whether the database answers, and whether a sync finds or makes its tables."""
    try:
        async with open_destination(settings) as destination:
            database, tables = destination.database, destination.tables
            version = await History(database, tables).server_version()
            schema, _ = await examine_schema(database, tables, auto_migrate=settings.auto_migrate)
            return [Finding("database", True, version), schema]
    except EtlError as exc:
        return [failed_finding("database", exc)]


def write_settings(path: Path, values: Mapping[str, str]) -> None:
    """Write a configuration that only its owner can read. Raises ConfigurationError.

    It is complete or not there: it is written under another name first.
    """
    # A string of JSON is a string of TOML.
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items()
    ]
    try:
        # mkstemp makes files of mode 0600.
        number, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(_HEAD + "".join(lines))
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise ConfigurationError(
            f"{path} cannot be written: {exc.strerror}", remedy="Name another file with --output"
        ) from exc
