"""`init`: four answers, each tested, become a configuration that only its owner can read."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from etl.sandbox.server import RunningSandbox
from tests.support.command import Command
from tests.support.guarded import free_port
from tests.support.keyboard import Hidden, type_into

FOUR = ("POSTHOG_HOST", "POSTHOG_PERSONAL_API_KEY", "POSTHOG_PROJECT_ID", "DATABASE_URL")


def without_the_four(command: Command) -> Command:
    """The command where nothing is set yet."""
    bare = command.with_settings()
    for name in FOUR:
        del bare.environment[name]
    return bare


async def test_a_person_is_asked_and_asked_again_and_then_can_sync(
    command: Command, dsn: str, tmp_path: Path
) -> None:
    """A wrong key, a wrong form and a closed port cost one more answer each, and not the others."""
    path, host = tmp_path / "etl.toml", command.environment["POSTHOG_HOST"]
    result = await type_into(
        without_the_four(command),
        *("init", "--output", str(path)),
        typed=[
            ("1/4", host),
            ("2/4", Hidden("phc_public")),
            ("2/4", Hidden("phx_other")),
            ("1/4", ""),
            ("2/4", Hidden("phx_sandbox")),
            ("[1]", ""),
            ("4/4", f"postgresql://u:secret@127.0.0.1:{free_port()}/copy"),
            ("4/4", dsn),
        ],
    )
    assert result.code == 0, result.out
    assert "is a project token (phc_…)" in result.out
    assert "no  key: The API refused the key" in result.out
    assert "no  database: Postgres cannot be reached: Connection refused" in result.out
    assert "phx_" not in result.out.replace("(phx_…", ""), result.out
    assert tomllib.loads(path.read_text()) == {
        "host": host,
        "api_key": "phx_sandbox",
        "project_id": "1",
        "database_url": dsn,
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert result.out.splitlines()[-2:] == [
        f"  posthog-etl check --config {path}",
        f"  posthog-etl sync --config {path}",
    ]
    synced = await without_the_four(command).run("sync", "--config", str(path))
    assert synced.code == 0, synced.err


async def test_without_a_terminal_options_and_variables_are_the_answers(
    command: Command, tmp_path: Path
) -> None:
    """The key by its file, which the configuration then names."""
    path, key = tmp_path / "etl.toml", tmp_path / "key"
    key.write_text("phx_sandbox\n")
    bare = without_the_four(command)
    given = bare.with_settings(DATABASE_URL=command.environment["DATABASE_URL"])
    host = ("--host", command.environment["POSTHOG_HOST"])
    options = ("--output", str(path), *host, "--project", "1", "--key-file", str(key))
    result = await given.run("init", *options)
    assert result.code == 0, result.err
    written = tomllib.loads(path.read_text())
    assert (written["api_key_file"], "api_key" in written) == (str(key), False)
    assert (await bare.run("sync", "--config", str(path))).code == 0

    again = await given.run("init", *options)
    assert (again.code, f"{path} is there already" in again.err) == (2, True)
    assert (await given.run("init", *options, "--force")).code == 0


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (
            {},
            2,
            "There is no terminal to ask on, and the key, the project and the database are not "
            "given. Give --key-file or POSTHOG_PERSONAL_API_KEY, --project or POSTHOG_PROJECT_ID "
            "and --database or DATABASE_URL",
        ),
        ({"POSTHOG_PROJECT_ID": "77"}, 3, "Nothing was written. project 77: The API answered 404"),
        ({"POSTHOG_PERSONAL_API_KEY": "phx_other"}, 5, "Nothing was written. key: The API refused"),
        ({"DATABASE_URL": "mysql://u:p@db/copy"}, 2, "DATABASE_URL is a mysql:// address. "),
        ({"POSTHOG_ETL_LEASE_S": "0"}, 2, "POSTHOG_ETL_LEASE_S must be greater than or equal to 1"),
    ],
    ids=["nothing given", "project", "key", "database", "another setting"],
)
async def test_without_a_terminal_what_is_wrong_is_told_and_nothing_written(
    command: Command, tmp_path: Path, settings: dict[str, str], code: int, said: str
) -> None:
    """With the exit code of the fault."""
    path = tmp_path / "etl.toml"
    given = command.with_settings(**settings) if settings else without_the_four(command)
    result = await given.run("init", "--output", str(path))
    assert (result.code, result.out, path.exists()) == (code, "", False)
    assert f"posthog-etl: {said}" in result.err


async def test_answers_can_be_written_untested(command: Command, tmp_path: Path) -> None:
    """For another machine. A quote in a password stays what it is."""
    path, dsn = tmp_path / "etl.toml", 'postgresql://u:p"\\w@db.invalid/copy'
    given = command.with_settings(DATABASE_URL=dsn, POSTHOG_HOST="eu")
    result = await given.run("init", "--untested", "--output", str(path))
    assert result.code == 0, result.err
    written = tomllib.loads(path.read_text())
    assert (written["database_url"], written["host"]) == (dsn, "https://eu.posthog.com")


async def test_a_file_that_cannot_be_written_is_named(command: Command, tmp_path: Path) -> None:
    """And where else it could go."""
    result = await command.run("init", "--untested", "--output", str(tmp_path / "no" / "etl.toml"))
    assert result.code == 2
    assert "etl.toml cannot be written: No such file or directory. Name another" in result.err


async def test_a_key_that_may_not_read_projects_will_do(
    sandbox: RunningSandbox, command: Command, tmp_path: Path
) -> None:
    """The project is not tested then, and that is said."""
    sandbox.control.put_key("phx_narrow", scopes=["session_recording:read"])
    given = command.with_settings(POSTHOG_PERSONAL_API_KEY="phx_narrow")
    result = await given.run("init", "--output", str(tmp_path / "etl.toml"))
    assert (result.code, "not tested: the key lacks the scope project:read" in result.err) == (
        0,
        True,
    )
