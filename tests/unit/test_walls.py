"""An import that crosses a wall is refused, whichever room it is planted in."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The room, and what it may not import.
PLANTED = (
    # SQL outside the loaders
    ("extractors", "asyncpg"),
    ("extractors", "sqlalchemy"),
    ("console", "sqlalchemy"),
    ("runs", "asyncpg"),
    ("app", "sqlalchemy"),
    ("app", "aiohttp"),
    ("service", "sqlalchemy"),
    ("cli", "asyncpg"),
    ("settings", "sqlalchemy"),
    ("logs", "asyncpg"),
    ("demo", "sqlalchemy"),
    ("sandbox", "sqlalchemy"),
    ("core", "sqlalchemy"),
    ("streams", "sqlalchemy"),
    ("transformers", "asyncpg"),
    # HTTP outside the client
    ("loaders", "aiohttp"),
    ("loaders", "requests"),
    ("runs", "aiohttp"),
    ("runs", "httpx"),
    ("console", "aiohttp"),
    ("cli", "aiohttp"),
    ("settings", "aiohttp"),
    ("extractors", "aiohttp"),
    ("extractors", "requests"),
    ("streams", "aiohttp"),
    ("transformers", "requests"),
    # what opens, waits or tells the time in the pure rooms
    ("core", "asyncio"),
    ("core", "os"),
    ("core", "random"),
    ("core", "socket"),
    ("core", "structlog"),
    ("core", "subprocess"),
    ("core", "time"),
    ("core", "urllib.request"),
    ("transformers", "time"),
    ("streams", "random"),
    ("errors", "asyncio"),
    ("runs", "socket"),
    ("extractors", "subprocess"),
    # a package that has one room
    ("transformers", "pgqueuer"),
    ("runs", "pgqueuer"),
    ("loaders", "pgqueuer"),
    ("app", "pgqueuer"),
    ("service", "pgqueuer"),
    ("runs", "rich"),
    ("service", "rich"),
    ("service", "typer"),
    ("loaders", "pydantic"),
    ("runs", "jinja2"),
    # the wrong direction
    ("loaders", "etl.settings"),
    ("runs", "etl.settings"),
    ("extractors", "etl.settings"),
    ("runs", "etl.console"),
    ("app", "etl.console"),
    ("service", "etl.console"),
    ("demo", "etl.console"),
    ("loaders", "etl.extractors"),
    ("extractors", "etl.loaders"),
    ("runs", "etl.app"),
    ("console", "etl.app"),
    ("loaders", "etl.runs"),
    ("settings", "etl.loaders"),
    ("app", "etl.service"),
    ("core", "etl.transformers"),
    ("core", "etl.logs"),
    ("transformers", "etl.streams"),
    ("errors", "etl.core"),
    ("tasks", "etl.runs"),
    # the sandbox
    ("loaders", "etl.sandbox"),
    ("streams", "etl.sandbox"),
    ("transformers", "etl.sandbox"),
    ("extractors", "etl.sandbox"),
    ("runs", "etl.sandbox"),
    ("app", "etl.sandbox"),
    ("service", "etl.sandbox"),
    ("sandbox", "etl.core"),
    ("sandbox", "etl.settings"),
)
# Dependencies that open nothing by themselves, or only what they are told.
FREE = {"cronsim", "msgspec", "orjson", "structlog", "tzdata", "yarl"}


def lint_imports(project: Path) -> str:
    """Return what import-linter says about a copy of the project."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from importlinter import cli; cli.lint_imports_command()"),
            *("--no-cache", "--no-logo"),
        ],
        cwd=project,
        env={"PYTHONPATH": str(project), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def plant(project: Path, room: str, imported: str, number: int) -> str:
    """Put an import into a room, in a module of its own where the room has several.

    Returns how import-linter names it.
    """
    package = project / "etl" / room
    module, path = f"etl.{room}", package.with_suffix(".py")
    if package.is_dir():
        module, path = f"{module}.planted_{number}", package / f"planted_{number}.py"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\nimport {imported}\n")
    known = imported if imported.startswith("etl.") else imported.split(".")[0]
    return f"{module} -> {known} "


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the code and of its contracts."""
    shutil.copytree(ROOT / "etl", tmp_path / "etl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_planted_import_is_refused(project: Path) -> None:
    """Each forbidden import is named as broken."""
    names = [plant(project, *each, number) for number, each in enumerate(PLANTED)]
    said = lint_imports(project)
    assert [name for name in names if name not in said] == [], said


def test_the_code_as_it_is_passes(project: Path) -> None:
    """Without a planted import nothing is broken."""
    assert " 0 broken." in lint_imports(project)


def test_a_new_module_needs_a_layer(project: Path) -> None:
    """A module that no layer names is refused, whatever it imports."""
    (project / "etl" / "anywhere.py").write_text("", encoding="utf-8")
    said = lint_imports(project)
    assert " 1 broken." in said
    assert "etl.anywhere" in said


def test_every_dependency_has_its_room() -> None:
    """A package that the project needs may be imported somewhere, or is named as free."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    placed = {
        name
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract.get("source_modules") == ["etl"]
        for name in contract["forbidden_modules"]
    }
    modules = importlib.metadata.packages_distributions()
    for dependency in project["project"]["dependencies"]:
        name = re.split(r"[\[><=; ]", dependency)[0]
        top = {
            module
            for module, packages in modules.items()
            if name in [each.lower().replace("_", "-") for each in packages]
        }
        assert top & (placed | FREE), f"{name} is neither in a contract nor free"
