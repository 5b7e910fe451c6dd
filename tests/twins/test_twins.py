"""Each promise's test fails when the promise is broken on purpose.

Every twin is a copy of the project with one defect in it. The test that is to catch it runs there
as it would here; that it passes without the defect is what the rest of the suite shows.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import shutil
import sys
from pathlib import Path

import pytest

import tests.twins
from tests.support.postgres import Databases
from tests.twins.twin import Twin

PROJECT = Path(__file__).parents[2]
COPIED = ("config", "etl", "tests", "migrations", "pyproject.toml")
TIMEOUT_S = 300.0
PROMISES = [f"P{number}" for number in range(1, 15)]

# The exit code of a pytest and what it printed.
Outcome = tuple[int, str]


def all_twins() -> list[Twin]:
    """The twins of every module here."""
    modules = sorted(m.name for m in pkgutil.iter_modules(tests.twins.__path__) if m.name[0] == "p")
    return [
        twin for name in modules for twin in importlib.import_module(f"tests.twins.{name}").TWINS
    ]


def title(twin: Twin) -> str:
    """What a twin is called in the list of tests."""
    return f"{twin.promise}, {twin.name}"


TWINS = all_twins()
# All of them take longer than everything else together, so a run tries one share, by default that
# of its day: every one is tried within so many days. TWINS=all (`make twins`) tries all.
SHARES = 36
SHARE = os.environ.get("TWINS", "all")
CHOSEN = TWINS if SHARE == "all" else TWINS[int(SHARE) % SHARES :: SHARES]


def copy_project(directory: Path) -> Path:
    """Copy what a test run needs."""
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, directory / name)
        else:
            shutil.copy(source, directory / name)
    return directory


async def run_pytest(project: Path, *arguments: str, server: str, template: str) -> Outcome:
    """Run pytest in a project, against the session's Postgres and its migrated database."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pytest", "-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"),
        *("-p", "pytest_asyncio.plugin", *arguments),
        cwd=project,
        env={
            # Without what is meant for this run alone.
            **{name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")},
            "PYTHONPATH": str(project),
            # Importing those that are not needed here takes longer than most tests.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TEST_DATABASE_URL": server,
            "TEST_TEMPLATE": template,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace")


async def try_twin(twin: Twin, project: Path, server: str, template: str) -> Outcome:
    """Plant the defect in a copy of the project, run the test that is to catch it, and mend it."""
    shipped = project / twin.file
    sound = shipped.read_text(encoding="utf-8")
    assert sound.count(twin.find) == 1, f"{twin.file} holds this not once: {twin.find!r}"
    shipped.write_text(sound.replace(twin.find, twin.replace), encoding="utf-8")
    try:
        return await run_pytest(project, twin.caught_by, server=server, template=template)
    finally:
        shipped.write_text(sound, encoding="utf-8")


@pytest.fixture(scope="session")
def copied_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, for one twin after another."""
    return copy_project(tmp_path_factory.mktemp("twin"))


@pytest.mark.long
@pytest.mark.parametrize("twin", CHOSEN, ids=title)
async def test_a_planted_defect_is_caught(
    twin: Twin, copied_project: Path, databases: Databases, template: str
) -> None:
    """With the defect the named test runs, and fails by what it asserts."""
    code, printed = await try_twin(twin, copied_project, databases.dsn, template)
    last_line = printed.strip().splitlines()[-1]
    assert (code, "1 failed" in last_line, "error" in last_line) == (1, True, False), printed


async def test_the_test_that_is_to_catch_each_defect_exists(
    databases: Databases, template: str
) -> None:
    """All are collected at once, so none is misspelt; passing is for the normal run to show."""
    wanted = sorted({twin.caught_by for twin in TWINS})
    code, printed = await run_pytest(
        PROJECT, "--collect-only", *wanted, server=databases.dsn, template=template
    )
    assert code == 0, printed
    assert set(wanted) - set(printed.splitlines()) == set()


def test_every_defect_can_be_planted() -> None:
    """The text that a twin replaces stands in its file exactly once."""
    misplaced = [
        title(twin)
        for twin in TWINS
        if (PROJECT / twin.file).read_text(encoding="utf-8").count(twin.find) != 1
    ]
    assert misplaced == []


def test_every_promise_has_a_twin() -> None:
    """P1 to P12."""
    assert set(PROMISES) - {twin.promise for twin in TWINS} == set()


def test_no_two_twins_have_the_same_name() -> None:
    """A name tells which one was not caught."""
    titles = [title(twin) for twin in TWINS]
    assert len(set(titles)) == len(titles)
