"""Run the dbt package against the sandbox's data, and against a database without any.

    python dbt/run.py DBT    # the path of the command dbt

A sandbox with two projects is copied by the real command into a Postgres of its own, with every
stream. Then dbt builds and tests all models, judges the freshness and writes the documentation.
The same follows in a project that installs the package, over a schema that was migrated only: its
tables are empty, and none of them may be called fresh. Nothing is left running.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from etl.loaders.embedded import EmbeddedPostgres
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import running
from etl.streams import STREAMS, TABLE_SPECS
from etl.streams.presets import PRESETS

HERE = Path(__file__).parent
MARTS = sorted(path.stem for path in (HERE / "models" / "marts").glob("*.sql"))
PROJECTS = (1, 2)
QUERY = "events"
# A field that the catalogue does not know.
_CHANGED_API = {
    "match": {"path": "session_recordings"},
    "fault": {"mutate": {"record": "all", "set": {"mood": "good"}}},
}
# The project of a user who installs the package, for another schema.
_USERS_PROJECT = {
    "dbt_project.yml": """
name: users_project
version: 1.0.0
profile: posthog_etl
flags:
  send_anonymous_usage_stats: false
vars:
  posthog_etl:
    posthog_schema: bare
""",
    "packages.yml": f"packages:\n  - local: {json.dumps(str(HERE))}\n",
}
# A setting of dbt's users that would lead elsewhere.
_FOREIGN = ("DBT_", "PG", "POSTHOG")


class Failed(Exception):
    """Something did not come out as it should; the text says what."""


async def run(dbt: Path, data_dir: Path) -> None:
    """Copy the sandbox, and run dbt against the copy and against empty tables. Raises Failed."""
    server = await asyncio.to_thread(EmbeddedPostgres.start, data_dir)
    try:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}
        environment = {
            **kept,
            "PGHOST": str(server.socket_dir),
            "PGPORT": str(server.port),
            "DBT_PROFILES_DIR": str(HERE),
            "DBT_PROJECT_DIR": str(HERE),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DATABASE_URL": server.dsn,
            "POSTHOG_PROJECT_ID": ",".join(map(str, PROJECTS)),
            "POSTHOG_ETL_PLAN": "unlimited",
            "POSTHOG_ETL_QUERY_PRESETS": QUERY,
            "POSTHOG_ETL_ENABLED_STREAMS": ",".join(
                stream.name for stream in STREAMS.values() if stream.off
            ),
        }
        options = SandboxOptions(port=0, projects=PROJECTS, clock="frozen")
        async with running(options) as sandbox:
            sandbox.control.add_faults(_CHANGED_API)
            source = {"POSTHOG_HOST": sandbox.url, "POSTHOG_PERSONAL_API_KEY": options.key}
            await _etl({**environment, **source}, "sync")
        await _build(dbt, environment)
        await _dbt(dbt, environment, "source", "freshness")
        _all_judged(environment)
        await _dbt(dbt, environment, "docs", "generate")
        _described()
        queried = f"select uuid, event from {{{{ source('posthog_queries', '{QUERY}') }}}}"
        await _dbt(dbt, environment, "show", "--inline", queried)
        await _least_fresh(dbt, environment, server.dsn)
        await _filled(environment)

        project = data_dir.parent / "project"
        project.mkdir()
        for name, text in _USERS_PROJECT.items():
            (project / name).write_text(text, encoding="utf-8")
        bare = {
            **environment,
            "POSTHOG_ETL_SCHEMA": "bare",
            "DBT_SCHEMA": "bare_analytics",
            "DBT_PROJECT_DIR": str(project),
        }
        await _etl(bare, "migrate")
        await _dbt(dbt, bare, "deps")
        await _build(dbt, bare)
        await _not_fresh(dbt, bare, "source", "freshness")
        _all_judged(bare)
    finally:
        await asyncio.to_thread(server.close)


async def _etl(environment: Mapping[str, str], *arguments: str) -> None:
    command = (sys.executable, "-m", "etl", *arguments)
    await _command(f"posthog-etl {' '.join(arguments)}", environment, *command)


async def _build(dbt: Path, environment: Mapping[str, str]) -> None:
    await _dbt(dbt, environment, "build")
    # A warning is for the users' data; here everything agrees.
    results = _results(environment, "run_results.json")
    if odd := [one["unique_id"] for one in results if one["status"] not in ("success", "pass")]:
        raise Failed(f"dbt build warns of {', '.join(odd)}")


def _described() -> None:
    """Raises Failed unless every model describes the columns that Postgres has, in their order."""
    target = HERE / "target"
    written = json.loads((target / "manifest.json").read_text(encoding="utf-8"))["nodes"]
    found = json.loads((target / "catalog.json").read_text(encoding="utf-8"))["nodes"]
    for name, node in found.items():
        columns = written[name]["columns"]
        described = [column for column, said in columns.items() if said["description"]]
        if described != list(node["columns"]):
            raise Failed(f"{name} describes {described}, but has {list(node['columns'])}")


async def _not_fresh(dbt: Path, environment: Mapping[str, str], *arguments: str) -> None:
    """Raises Failed unless dbt calls everything stale that it is asked about."""
    try:
        await _dbt(dbt, environment, *arguments)
    except Failed:
        if any(one["status"] != "error" for one in _results(environment, "sources.json")):
            raise
        return
    raise Failed(f"dbt {' '.join(arguments)} calls fresh what is not")


async def _least_fresh(dbt: Path, environment: Mapping[str, str], dsn: str) -> None:
    """Raises Failed unless the project that lags behind makes a table stale."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "UPDATE posthog_etl.runs SET started_at = started_at - interval '2 days' "
            f"WHERE project_id = {PROJECTS[-1]} AND stream = 'insights'"
        )
    finally:
        await connection.close()
    insights = ("source", "freshness", "--select", "source:posthog.insights")
    one = json.dumps({"posthog_projects": str(PROJECTS[0])})
    await _dbt(dbt, environment, *insights, "--vars", one)
    await _not_fresh(dbt, environment, *insights)


async def _filled(environment: Mapping[str, str]) -> None:
    """Raises Failed if a mart lacks a project."""
    counts = ", ".join(
        f"(SELECT count(DISTINCT project_id) FROM analytics.{mart}) AS {mart}" for mart in MARTS
    )
    sql = (sys.executable, "-m", "etl", "sql", "--json", f"SELECT {counts}")
    (row,) = json.loads(await _command("posthog-etl sql", environment, *sql))["rows"]
    if short := [mart for mart in MARTS if row[mart] != len(PROJECTS)]:
        raise Failed(f"Not of all {len(PROJECTS)} projects: {', '.join(short)}")


def _results(environment: Mapping[str, str], name: str) -> list[dict[str, Any]]:
    text = Path(environment["DBT_PROJECT_DIR"], "target", name).read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)["results"]
    return found


def _all_judged(environment: Mapping[str, str]) -> None:
    """Raises Failed unless the freshness of every table was judged."""
    results = _results(environment, "sources.json")
    judged = {tuple(one["unique_id"].split(".")[2:]) for one in results}
    wanted = {("posthog", name) for name in TABLE_SPECS}
    wanted |= {("posthog_queries", name) for name in PRESETS}
    if judged != wanted:
        raise Failed(f"dbt judges the freshness of {len(judged)} of {len(wanted)} tables")


async def _dbt(dbt: Path, environment: Mapping[str, str], *arguments: str) -> None:
    # What dbt will refuse one day is refused now.
    strict = ("--quiet", "--warn-error-options", '{"error": ["Deprecations"]}')
    printed = await _command(
        f"dbt {' '.join(arguments)}", environment, str(dbt), *strict, *arguments
    )
    sys.stdout.write(printed)


async def _command(label: str, environment: Mapping[str, str], *command: str) -> str:
    """Return what a command prints. Raises Failed with all of it unless it exits with 0."""
    began = time.monotonic()
    done = await asyncio.to_thread(
        subprocess.run, command, env=dict(environment), capture_output=True, text=True, check=False
    )
    sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {label}\n")
    if done.returncode:
        raise Failed(f"{label} exits with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            asyncio.run(run(Path(arguments[0]).absolute(), Path(directory) / "data"))
        except Failed as exc:
            sys.stderr.write(f"{exc}\n")
            return 1
    sys.stdout.write("dbt: all models are built and tested, with data and without\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
