"""The demo: runs the real command against a sandbox, kills it midway, and compares the result.

Only the source is artificial: Postgres, HTTP and the process of the command are real. Nothing is
left running. The database stays in the data directory.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from etl.app import open_destination
from etl.errors import EXIT_SUCCEEDED, EtlError, Stopped
from etl.loaders.database import Database
from etl.loaders.embedded.programs import choose_programs
from etl.loaders.query import answer, drop_schemas
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import RunningSandbox, running
from etl.settings import Settings
from etl.streams import STREAMS, TABLE_SPECS
from etl.tasks import race

SCHEMA = "posthog"
KILL_AT = 0.4  # of the recordings
PAGE_SIZE_RECORDS = 500  # small, so that there are pages left after the kill
LEASE_S = 2.0  # of the syncs; short, so that nobody waits long after the kill
_PROSE_WIDTH = 80

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
        "What can anyone with a link open?",
        """SELECT resource_type, name, shared_since::date, password_protected
FROM posthog.publicly_shared_now
ORDER BY shared_since DESC, resource_type, resource_id LIMIT 3""",
    ),
    (
        "What is sent to whom, and when?",
        """SELECT name, target_value AS "to", schedule, next_delivery_date::date AS next
FROM posthog.subscription_schedule
WHERE target_type <> 'webhook' ORDER BY next_delivery_date, id LIMIT 3""",
    ),
    (
        "Which collected recordings had most clicks?",
        """SELECT start_time::date AS day, person_name, click_count AS clicks, playlists
FROM posthog.recording_overview
WHERE playlists > 0 ORDER BY click_count DESC, id LIMIT 3""",
    ),
)

# Read in rotation, so one sync does not load all of it.
_IN_TURN = ("sharing_configurations", "share_passwords")

Say = Callable[[str], None]
Show = Callable[[Sequence[str], Sequence[Sequence[Any]]], None]


async def run_demo(
    data_dir: Path, recordings: int, say: Say, show: Show, stop: asyncio.Event, *, stay: bool
) -> bool:
    """Run the demo; return whether the copy equals the sandbox's data. Raises EtlError.

    `stay`: keep sandbox and Postgres running until `stop` is set, and say how to reach them. A
    `stop` before the end raises Stopped. Whatever happens, nothing is left running.
    """
    shown = asyncio.Event()
    demo = _run(data_dir, recordings, say, show, shown, stop if stay else None)
    try:
        async with race(demo, stop.wait()) as (showing, _):
            if not shown.is_set():
                showing.cancel()
            return await showing
    except asyncio.CancelledError:
        raise Stopped("Stopped. Nothing is left running") from None


def settings_of(url: str, key: str, data_dir: Path) -> Settings:
    """Return the settings of the demo's own questions; they do not depend on the environment.

    Only its syncs have a short lease, because a third of it is how long a transaction may be idle:
    a slow machine takes longer to read the answers.
    """
    return Settings.model_validate(
        {
            "host": url,
            "api_key": key,
            "project_id": "1",
            "database_url": "embedded",
            "data_dir": data_dir,
            "schema_name": SCHEMA,
            "plan": "unlimited",
        }
    )


async def _run(
    data_dir: Path,
    recordings: int,
    say: Say,
    show: Show,
    shown: asyncio.Event,
    stay_until: asyncio.Event | None,
) -> bool:
    options = SandboxOptions(recordings=recordings, port=0, clock="frozen")

    def tell(text: str) -> None:
        say(textwrap.fill(text, min(shutil.get_terminal_size().columns, _PROSE_WIDTH)))

    async with running(options) as sandbox:
        settings = settings_of(sandbox.url, options.key, data_dir)
        # Kept open for the whole demo, so that the server is not started for every command.
        async with open_destination(settings) as destination:
            await drop_schemas(destination.database, (SCHEMA, f"{SCHEMA}_etl"))
            environment = _environment(settings)
            tell(
                f"A sandbox holds {recordings:,} recordings, and some of everything else; a real "
                "Postgres is empty."
            )
            say("\n$ posthog-etl sync")
            await _sync_and_kill(sandbox, environment, int(recordings * KILL_AT))
            committed = await _number(destination.database, _COMMITTED)
            say("")
            tell(
                f"SIGKILL in mid-flight. {committed:,} recordings were committed, each page with "
                "its checkpoint; what was on the way is gone. The dead run's lease has "
                f"{LEASE_S:.0f} seconds to run out ({settings.lease_s:.0f} in earnest); then:"
            )
            await _lease_out(destination.database)
            say("\n$ posthog-etl sync")
            code, said = await _sync_again(environment, say)
            if code != EXIT_SUCCEEDED:
                raise EtlError(f"The second sync ended with exit code {code}: {said}")
            again = await _number(destination.database, _READ) - recordings
            say("")
            tell(
                f"It went on behind recording {committed:,}. Both runs together read {again:,} "
                "recordings twice: the young ones, which may have changed meanwhile."
            )
            say("\nThe first runs:")
            show(*await answer(destination.database, _RUNS))
            say("\nCompared with the sandbox's own truth, row by row:")
            compared = await _compare(destination.database, sandbox.url)
            show(("table", "rows", "missing", "surplus", "different"), compared)
            say("")
            tell(
                f"Sharing is asked about one resource at a time, {settings.sharing_requests} at "
                "every sync: new ones first, then those that have waited longest."
            )
            for question, sql in QUESTIONS:
                say(f"\n{question}\n{sql};")
                show(*await answer(destination.database, sql))
            say(_look_further(data_dir))
            shown.set()
            if stay_until is None:
                say("")
                tell("Nothing is left running; with --stay the sandbox and Postgres would be.")
                tell("For a real project: posthog-etl init, then posthog-etl sync.")
            else:
                say(await _reach(destination.database, sandbox.url, options.key))
                await stay_until.wait()
            return all(not any(row[2:]) for row in compared)


_COMMITTED = f"SELECT count(*) FROM {SCHEMA}.session_recordings"
_READ = f"""SELECT sum(records_read)::bigint FROM {SCHEMA}_etl.runs
WHERE stream = 'session_recordings'"""
_LEASED = f"""SELECT count(*) FROM {SCHEMA}_etl.leases
WHERE holder IS NOT NULL AND expires_at > clock_timestamp()"""
_RUNS = f"""SELECT to_char(started_at AT TIME ZONE 'UTC', 'HH24:MI:SSZ') AS started, stream,
       status, records_read AS "read", rows_inserted AS "rows inserted", requests,
       coalesce(reason, '') AS reason
FROM {SCHEMA}_etl.runs ORDER BY started_at LIMIT 4"""


def _environment(settings: Settings) -> dict[str, str]:
    ours = {
        "POSTHOG_HOST": settings.host,
        "POSTHOG_PERSONAL_API_KEY": settings.require_source(),
        "POSTHOG_PROJECT_ID": settings.project_id,
        "DATABASE_URL": settings.require_database(),
        "POSTHOG_ETL_DATA_DIR": str(settings.data_dir),
        "POSTHOG_ETL_SCHEMA": SCHEMA,
        "POSTHOG_ETL_PLAN": settings.plan,
        "POSTHOG_ETL_LEASE_S": str(LEASE_S),
        "POSTHOG_ETL_PAGE_SIZE_RECORDS": str(PAGE_SIZE_RECORDS),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOG")}
    if sys.stdout.isatty():
        # The command writes to a pipe; its tables shall be as wide as ours.
        kept.setdefault("COLUMNS", str(shutil.get_terminal_size().columns))
    return {**kept, **ours}


async def _sync_and_kill(
    sandbox: RunningSandbox, environment: Mapping[str, str], at_recordings: int
) -> None:
    async with _sync(environment) as process:
        while process.returncode is None:
            if await _requests(sandbox.url) * PAGE_SIZE_RECORDS >= at_recordings:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 0.02)
        _, said = await process.communicate()
    raise EtlError(
        f"The first sync ended by itself with exit code {process.returncode}: {_last_line(said)}"
    )


async def _lease_out(database: Database) -> None:
    # Leases follow the database's clock.
    while await _number(database, _LEASED):  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def _sync_again(environment: Mapping[str, str], say: Say) -> tuple[int | None, str]:
    """Sync; return the exit code and the last line it logged."""
    async with _sync(environment) as process:
        printed, said = await process.communicate()
    say(printed.decode().rstrip())
    return process.returncode, _last_line(said)


def _last_line(said: bytes | None) -> str:
    lines = (said or b"see above").decode().strip().splitlines()
    return lines[-1] if lines else "without a word"


@asynccontextmanager
async def _sync(environment: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a sync, and kill it at the end of the block if it still runs."""
    # On a terminal the command shows progress. Elsewhere its log would hide the demo's lines.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "etl", "sync"),
        env=dict(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=None if sys.stderr.isatty() else asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _number(database: Database, sql: str) -> int:
    _, ((number,),) = await answer(database, sql)
    return int(number or 0)


async def _requests(url: str) -> int:
    state = await _get(f"{url}/_sandbox/state")
    return int(state["requests"]["by_class"].get("recordings_list", 0))


async def _get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return orjson.loads(await response.read())


async def _compare(database: Database, url: str) -> list[tuple[Any, ...]]:
    truth = await _get(f"{url}/_sandbox/truth?project=1")
    results = []
    on = {table.name for stream in STREAMS.values() if not stream.off for table in stream.tables}
    for name, spec in TABLE_SPECS.items():
        if name not in on:
            continue
        _, rows = await answer(
            database, f'SELECT to_jsonb(t) FROM "{SCHEMA}"."{name}" t WHERE _deleted_at IS NULL'
        )
        here = {tuple(row[key] for key in spec.key): row for (row,) in rows}
        there = {tuple(record[key] for key in spec.key): record for record in truth[name]}
        if name in _IN_TURN:
            asked = await _asked(database)
            there = {key: record for key, record in there.items() if key[:2] in asked}
        fixed = [field.name for field in spec.fields if not field.volatile]
        different = sum(
            any(_plain(here[key][name]) != _plain(record.get(name)) for name in fixed)
            for key, record in there.items()
            if key in here
        )
        missing, surplus = len(there.keys() - here.keys()), len(here.keys() - there.keys())
        results.append((name, len(here), missing, surplus, different))
    return results


async def _asked(database: Database) -> set[tuple[str, str]]:
    """Return type and id of the resources that were checked."""
    _, rows = await answer(
        database,
        f"SELECT split_part(stream, '_', 1), record_key FROM {SCHEMA}_etl.checks "
        "WHERE checked_at IS NOT NULL",
    )
    return {(kind, key) for kind, key in rows}


def _plain(value: Any) -> Any:
    """Return a value with instants in one form, as the API and Postgres write them differently."""
    if isinstance(value, str) and len(value) >= 19 and value[10:11] == "T":
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    return value


def _look_further(data_dir: Path) -> str:
    # Without an activated virtual environment the bare name is not found.
    started = Path(sys.argv[0])
    if shutil.which("posthog-etl"):
        program = "posthog-etl"
    elif started.name == "__main__.py":
        program = f"{shlex.quote(sys.executable)} -m etl"
    else:
        program = shlex.quote(_near(started))
    return f"""
To look further:
  export DATABASE_URL=embedded
  export POSTHOG_ETL_DATA_DIR={shlex.quote(str(data_dir))}
  {program} status
  {program} runs"""


async def _reach(database: Database, url: str, key: str) -> str:
    _, ((socket_dir,),) = await answer(database, "SHOW unix_socket_directories")
    psql = "psql" if shutil.which("psql") else choose_programs(None).directory / "psql"
    return f"""
Both stay until Ctrl-C. Ask Postgres in SQL:
  {psql} -h {shlex.quote(str(socket_dir))} -U postgres
or sync from the sandbox, as from a real project, into a database of yours:
  export POSTHOG_HOST={url} POSTHOG_PROJECT_ID=1
  export POSTHOG_PERSONAL_API_KEY={key} DATABASE_URL=..."""


def _near(path: Path) -> str:
    """Return a path relative to the current directory, if it is below it."""
    shown = path.absolute()
    here = Path.cwd()
    return str(shown.relative_to(here) if shown.is_relative_to(here) else shown)
