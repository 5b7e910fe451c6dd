"""Which of a machine's Postgres programs are used."""

from pathlib import Path

import pytest

from etl.errors import ConfigurationError
from etl.loaders.embedded import programs
from etl.loaders.embedded.programs import choose_programs


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with all Postgres programs of the machine: `lib/NAME/bin` and `path`."""
    monkeypatch.setattr(programs, "_EXTRA", "a_package_that_is_not_there")
    monkeypatch.setattr(programs, "_SYSTEM_DIRECTORIES", (f"{tmp_path}/lib/*/bin",))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path


def install(
    directory: Path, answer: str, *, names: tuple[str, ...] = ("postgres", "initdb")
) -> Path:
    """Put programs there that answer with `answer` when they are asked for their version."""
    directory.mkdir(parents=True)
    for name in names:
        program = directory / name
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
    return directory


def test_without_any_postgres_the_error_names_the_extra_and_the_setting(machine: Path) -> None:
    """It says what to install, or which setting to set instead."""
    with pytest.raises(ConfigurationError) as caught:
        choose_programs(None)
    assert "pip install 'posthog-etl[embedded]'" in str(caught.value)
    assert "DATABASE_URL" in str(caught.value)


def test_the_newest_version_is_taken_by_number_and_not_by_spelling(machine: Path) -> None:
    """15.10 is newer than 15.9, and 18 newer than both."""
    install(machine / "lib/a/bin", "echo 'postgres (PostgreSQL) 15.9 (Debian 15.9-1)'")
    ten = install(machine / "lib/b/bin", "echo 'postgres (PostgreSQL) 15.10'")
    assert choose_programs(None).directory == ten
    newest = install(machine / "lib/c/bin", "echo 'postgres (PostgreSQL) 18beta1'")
    assert choose_programs(None).directory == newest


def test_versions_too_old_broken_or_without_initdb_are_passed_over(machine: Path) -> None:
    """A version that cannot be used is ignored."""
    install(machine / "lib/old/bin", "echo 'postgres (PostgreSQL) 14.19'")
    install(machine / "lib/broken/bin", "echo 'postgres (PostgreSQL) 19.1'; exit 127")
    install(machine / "lib/client/bin", "echo 'postgres (PostgreSQL) 19.1'", names=("postgres",))
    with pytest.raises(ConfigurationError, match="no Postgres 15 or newer"):
        choose_programs(None)


def test_a_link_on_path_leads_to_the_directory_that_holds_initdb(machine: Path) -> None:
    """Distributions put only a link to `postgres` into a directory of PATH."""
    real = install(machine / "real/bin", "echo 'postgres (PostgreSQL) 17.2'")
    (machine / "path").mkdir()
    (machine / "path/postgres").symlink_to(real / "postgres")
    assert choose_programs(None).initdb == real / "initdb"


def test_a_data_directory_gets_the_version_that_made_it(machine: Path) -> None:
    """An older installation is used if the directory has its version."""
    old = install(machine / "lib/a/bin", "echo 'postgres (PostgreSQL) 16.3'")
    install(machine / "lib/b/bin", "echo 'postgres (PostgreSQL) 18.1'")
    assert choose_programs(16).directory == old
    with pytest.raises(ConfigurationError, match=r"made by Postgres 17.*here: 16, 18"):
        choose_programs(17)


def test_the_extra_goes_before_the_system(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user installed the extra on purpose. Its package is found without importing it."""
    install(machine / "lib/a/bin", "echo 'postgres (PostgreSQL) 19.1'")
    inside = install(machine / "site/some_extra/pginstall18/bin", "echo 'postgres (x) 18.4'")
    (machine / "site/some_extra/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(machine / "site")
    monkeypatch.setattr(programs, "_EXTRA", "some_extra")
    assert choose_programs(None).directory == inside
