"""What `make release` builds, and the step from the release before to this one."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import etl
from etl.loaders.database import Database
from etl.loaders.migrate import differences
from etl.loaders.tables import Tables
from tests.conftest import StartSandbox
from tests.fixtures import release_before
from tests.support.command import Command
from tests.support.truth import differences_from_truth, fetch_truth

ROOT = Path(__file__).parents[2]
FILES = (
    *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"),
    *("Dockerfile", ".dockerignore", "docker-compose.yml"),
)
# By the build.
ADDED = ("PKG-INFO", ".gitignore")
MISSING = [name for name in ("git", "ssh-keygen") if shutil.which(name) is None]


def run(*command: object, at: Path, fails: bool = False) -> str:
    """Run a program and return what it printed."""
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=at,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(at), "GIT_CONFIG_GLOBAL": os.devnull},
    )
    assert (ran.returncode != 0) == fails, ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.skipif(bool(MISSING), reason=f"not there: {', '.join(MISSING)}")
def test_a_release_is_whole_signed_and_the_same_whoever_builds_it(tmp_path: Path) -> None:
    """From a commit that names the version; each missing step is said in one line."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("etl", "migrations", "config", "docs", "dbt", "deploy", ".ci"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*FILES, ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    git = ("git", "-c", "user.name=A", "-c", "user.email=a@localhost")
    run(*git, "init", "--quiet", at=copy)
    (copy / ".git/info/exclude").write_text(".venv\n", encoding="utf-8")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "../key", at=copy)
    release = (".ci/release", "~/../key")

    assert "KEY=" in run(".ci/release", "", at=copy, fails=True)
    missing = run(".ci/release", "~/none", at=copy, fails=True)
    assert missing == f"The key {copy}/none cannot be read: name a private SSH key by KEY=\n"
    assert "commit them first" in run(*release, at=copy, fails=True)
    changelog = (copy / "CHANGELOG.md").read_text(encoding="utf-8")
    without = changelog.replace(f"## {etl.__version__} ", "## 0.0.0 ")
    (copy / "CHANGELOG.md").write_text(without, encoding="utf-8")
    run(*git, "add", ".", at=copy)
    run(*git, "commit", "--quiet", "-m", "One", at=copy)
    assert f"no section {etl.__version__}" in run(*release, at=copy, fails=True)
    named = without + f"\n## {etl.__version__} (2026-01-01)\n"
    (copy / "CHANGELOG.md").write_text(named, encoding="utf-8")
    run(*git, "commit", "--quiet", "-am", "Two", at=copy)

    assert "Nothing was published" in run(*release, at=copy)
    dist = copy / "dist"
    public = (tmp_path / "key.pub").read_text(encoding="utf-8")
    (tmp_path / "signers").write_text(f"posthog-etl {public}", encoding="utf-8")
    check = "ssh-keygen -Y verify -f ../../signers -I posthog-etl -n posthog-etl -s SHA256SUMS.sig"
    run("sh", "-c", f"{check} <SHA256SUMS && sha256sum --check SHA256SUMS", at=dist)
    sums = (dist / "SHA256SUMS").read_text(encoding="utf-8")
    assert [line.split()[1] for line in sums.splitlines()] == [
        f"posthog_etl-{etl.__version__}-py3-none-any.whl",
        f"posthog_etl-{etl.__version__}.tar.gz",
    ]
    run(*release, at=copy)
    assert (dist / "SHA256SUMS").read_text(encoding="utf-8") == sums

    with tarfile.open(dist / f"posthog_etl-{etl.__version__}.tar.gz") as packed:
        inside = {Path(*Path(name).parts[1:]) for name in packed.getnames()}
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    needed = {Path(name) for line in copied for name in line.split()} | {
        Path(name) for name in FILES
    }
    assert len(needed) > len(FILES)
    for name in needed:
        assert any(path.is_relative_to(name) for path in inside), name
    assert {path.parts[0] for path in inside} <= {
        *(name.parts[0] for name in needed),
        *("config", "docs", "dbt", "deploy"),
        *ADDED,
    }


def test_the_readme_installs_the_wheel_of_this_version() -> None:
    """By the name that the build gives it."""
    shown = re.findall(r"posthog_etl-.+?\.whl", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(shown) > 2
    assert set(shown) == {f"posthog_etl-{etl.__version__}-py3-none-any.whl"}


async def contents(connection: asyncpg.Connection) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables, without the revision of the schema."""
    tables = await connection.fetch(
        "SELECT schemaname, tablename FROM pg_tables "
        "WHERE schemaname LIKE 'posthog%' AND tablename <> 'alembic_version'"
    )
    return {
        f"{schema}.{table}": [
            json.loads(row)
            for (row,) in await connection.fetch(f'SELECT to_jsonb(t) FROM "{schema}"."{table}" t')
        ]
        for schema, table in tables
    }


def lost(
    before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]
) -> list[str]:
    """Return the tables in which a row or a value is gone; columns may be added.

    A migration that changes rows on purpose says here which ones.
    """
    found = []
    for name, rows in before.items():
        columns = {column for row in rows for column in row}
        had, has = (
            Counter(
                json.dumps({column: row.get(column) for column in columns}, sort_keys=True)
                for row in some
            )
            for some in (rows, after.get(name, []))
        )
        if had - has:
            found.append(f"{name}: {(had - has).total()} of {len(rows)} rows")
    return found


async def test_what_the_release_before_left_comes_up_to_date_and_its_broken_run_goes_on(
    start_sandbox: StartSandbox, empty_dsn: str, empty_database: Database
) -> None:
    """The migrations lose nothing of it, and after a sync every table equals the truth.

    The recordings are read on from the last commit.
    """
    connection = await asyncpg.connect(empty_dsn)
    try:
        dumped = gzip.decompress(release_before.DUMP.read_bytes()).decode()
        await connection.execute(dumped)
        before = await contents(connection)
    finally:
        await connection.close()
    assert len(before["posthog.session_recordings"]) > 100
    sandbox = await start_sandbox(now=release_before.FIRST_SYNC_AT, **release_before.SANDBOX)
    between = release_before.SECOND_SYNC_AT - release_before.FIRST_SYNC_AT
    sandbox.control.advance(between.total_seconds())
    # The sandbox has another port than the one that the release before has read.
    command = Command(sandbox.url, empty_dsn, **release_before.SETTINGS)
    migrated = await command.run("migrate")
    assert migrated.code == 0, migrated.err
    async with empty_database.transaction() as opened:
        assert await differences(opened, Tables("posthog")) == []
    # Before the sync, which would read anew what a migration has lost.
    connection = await asyncpg.connect(empty_dsn)
    try:
        assert lost(before, await contents(connection)) == []
    finally:
        await connection.close()
    synced = await command.run("sync", "--accept-host", "--json")
    assert synced.code == 0, synced.err
    truth = await fetch_truth(sandbox.url)
    assert await differences_from_truth(empty_dsn, truth) == []
    (resumes,) = (
        event["resumes"]
        for event in synced.events
        if event["event"] == "run.started" and event["stream"] == "session_recordings"
    )
    assert resumes
