"""The demo: the real command against a sandbox, killed in the middle, and what arrived.

Everything is as in earnest but for the source: a real Postgres, real HTTP, the command in a process
of its own. Nothing is left running; the database stays in the data directory to be looked at.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from etl.app import open_destination
from etl.errors import EXIT_HELD, EXIT_SUCCEEDED, EtlError
from etl.loaders.database import Database
from etl.loaders.query import answer
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import RunningSandbox, running
from etl.settings import Settings
from etl.streams import TABLE_SPECS

SCHEMA = "posthog"
KILL_AT = 0.4  # of the recordings

QUESTIONS: Sequence[tuple[str, str]] = (
    (
        "Who recorded most?",
        """SELECT p.name, count(*) AS recordings,
       round(sum(r.active_seconds)::numeric / 60) AS active_minutes
FROM posthog.session_recordings r JOIN posthog.persons p
  ON p.project_id = r.project_id AND p.uuid = r.person_uuid
GROUP BY p.uuid, p.name ORDER BY recordings DESC, p.name LIMIT 3""",
    ),
    (
        "On which days were there most console errors?",
        """SELECT start_time::date AS day, sum(console_error_count) AS errors,
       count(*) AS recordings
FROM posthog.session_recordings GROUP BY day ORDER BY errors DESC, day LIMIT 3""",
    ),
    (
        "What browsers do they use?",
        """SELECT p.properties ->> '$browser' AS browser, count(*) AS recordings
FROM posthog.session_recordings r JOIN posthog.persons p
  ON p.project_id = r.project_id AND p.uuid = r.person_uuid
GROUP BY browser ORDER BY recordings DESC, browser LIMIT 3""",
    ),
)

Say = Callable[[str], None]
Show = Callable[[Sequence[str], Sequence[Sequence[Any]]], None]


async def run_demo(data_dir: Path, recordings: int, say: Say, show: Show) -> bool:
    """Run the demo; return whether the copy equals the sandbox's truth. Raises EtlError."""
    options = SandboxOptions(recordings=recordings, port=0, clock="frozen")
    async with running(options) as sandbox:
        # Validated, not read from the environment: the demo is the same whatever is configured.
        settings = Settings.model_validate(
            {
                "host": sandbox.url,
                "api_key": options.key,
                "project_id": "1",
                "database_url": "embedded",
                "data_dir": data_dir,
                "schema_name": SCHEMA,
                "plan": "unlimited",
                "lease_s": 2.0,
            }
        )
        # Kept open for the whole demo, so that the server is not started for every command.
        async with open_destination(settings) as destination:
            await _empty(destination.database)
            environment = _environment(settings)
            say(f"A sandbox holds {recordings:,} recordings; a real Postgres is empty.\n")
            say("$ posthog-etl sync")
            await _sync_and_kill(sandbox, environment, int(recordings * KILL_AT), say)
            say("\n$ posthog-etl sync     # again, once the dead one's lease is out: it goes on")
            code = await _sync_again(environment, say)
            if code != EXIT_SUCCEEDED:
                raise EtlError(f"The second sync ended with exit code {code}")
            say("\nWhat ran:")
            show(*await answer(destination.database, _RUNS))
            say("\nCompared with the sandbox's own truth, row by row:")
            compared = await _compare(destination.database, sandbox.url)
            show(("table", "rows", "missing", "surplus", "different"), compared)
            for question, sql in QUESTIONS:
                say(f"\n{question}\n{sql};")
                show(*await answer(destination.database, sql))
            say(_look_further(data_dir))
            return all(not any(row[2:]) for row in compared)


_RUNS = """SELECT started_at::timestamptz(0) AS started, status, records_read AS read,
       rows_inserted AS inserted, rows_updated AS updated, requests, coalesce(reason, '') AS reason
FROM posthog_etl.runs ORDER BY started_at"""


async def _empty(database: Database) -> None:
    from sqlalchemy import text

    async with database.transaction() as connection:
        for schema in (SCHEMA, f"{SCHEMA}_etl"):
            await connection.execute(text(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))


def _environment(settings: Settings) -> dict[str, str]:
    ours = {
        "POSTHOG_HOST": settings.host,
        "POSTHOG_PERSONAL_API_KEY": settings.require_source(),
        "POSTHOG_PROJECT_ID": settings.project_id,
        "DATABASE_URL": settings.require_database(),
        "POSTHOG_ETL_DATA_DIR": str(settings.data_dir),
        "POSTHOG_ETL_SCHEMA": SCHEMA,
        "POSTHOG_ETL_PLAN": settings.plan,
        "POSTHOG_ETL_LEASE_S": str(settings.lease_s),
        "POSTHOG_ETL_PAGE_SIZE_RECORDS": "500",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOG")}
    # The command's tables go through a pipe here, and are to be as wide as our own.
    return {"COLUMNS": str(shutil.get_terminal_size((160, 24)).columns), **kept, **ours}


async def _sync_and_kill(
    sandbox: RunningSandbox, environment: Mapping[str, str], at_recordings: int, say: Say
) -> None:
    process = await _start(environment)
    pages = max(1, at_recordings // 500)
    while process.returncode is None:
        if await _requests(sandbox.url) >= pages:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            say(f"\nSIGKILL after {pages} pages: no chance to tidy up.")
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 0.02)
    raise EtlError(f"The first sync ended by itself with exit code {process.returncode}")


async def _sync_again(environment: Mapping[str, str], say: Say) -> int:
    """Sync, as soon as the killed run's lease has run out (exit 4 until then)."""
    while True:
        process = await _start(environment)
        printed, _ = await process.communicate()
        if process.returncode != EXIT_HELD:
            say(printed.decode().rstrip())
            return process.returncode or 0
        await asyncio.sleep(0.2)


async def _start(environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    # On a terminal the command shows its progress there; elsewhere its log would drown the rest.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "etl",
        "sync",
        env=dict(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=None if sys.stderr.isatty() else asyncio.subprocess.DEVNULL,
    )


async def _requests(url: str) -> int:
    state = await _get(f"{url}/_sandbox/state")
    return int(state["requests"]["by_class"].get("recordings_list", 0))


async def _get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return orjson.loads(await response.read())


async def _compare(database: Database, url: str) -> list[tuple[Any, ...]]:
    truth = await _get(f"{url}/_sandbox/truth?project=1")
    results = []
    for name, spec in TABLE_SPECS.items():
        _, rows = await answer(
            database, f'SELECT to_jsonb(t) FROM "{SCHEMA}"."{name}" t WHERE _deleted_at IS NULL'
        )
        here = {tuple(row[key] for key in spec.key): row for (row,) in rows}
        there = {tuple(record[key] for key in spec.key): record for record in truth[name]}
        fixed = [field.name for field in spec.fields if not field.volatile]
        different = sum(
            any(_plain(here[key][name]) != _plain(record.get(name)) for name in fixed)
            for key, record in there.items()
            if key in here
        )
        missing, surplus = len(there.keys() - here.keys()), len(here.keys() - there.keys())
        results.append((name, len(here), missing, surplus, different))
    return results


def _plain(value: Any) -> Any:
    """Return one form for what the API and Postgres write differently: instants."""
    if isinstance(value, str) and len(value) >= 19 and value[10:11] == "T":
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    return value


def _look_further(data_dir: Path) -> str:
    shown = data_dir if data_dir.is_absolute() else f'"$PWD/{data_dir}"'
    return f"""
To look further:
  export DATABASE_URL=embedded POSTHOG_ETL_DATA_DIR={shown}
  posthog-etl status
To copy a real project, see README.md: four lines of environment, then posthog-etl sync."""
