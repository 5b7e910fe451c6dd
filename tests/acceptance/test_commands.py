"""The commands as a person meets them: help, tables, colours, JSON, the doctor, the rejects."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import typer

from etl import __version__
from etl.cli import app
from etl.loaders.embedded import EmbeddedPostgres
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import RunningSandbox, running
from etl.streams import STREAMS
from etl.streams.presets import PRESETS
from tests.conftest import StartSandbox
from tests.support.command import Command
from tests.support.guarded import ROLES, free_port, guarded_server
from tests.support.postgres import Databases
from tests.support.sql import select, value
from tests.support.truth import differences_from_truth, fetch_truth, stored

LIST = {"path": "session_recordings"}
# Twice the aim, for machines that do something else as well.
HELP_CPU_S = 0.3
# 160 as things are.
HELP_MODULES = 200
IMPORTED_FOR_WORK = ("aiohttp", "alembic", "asyncpg", "pydantic", "rich", "sqlalchemy", "structlog")


def every_command() -> list[tuple[str, ...]]:
    """The words of every command there is, of the groups too."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*words, name))

    return list(walk(typer.main.get_command(app), ()))


COMMANDS = every_command()
NAMES = [" ".join(words) or "posthog-etl" for words in COMMANDS]
NOTHING = Command("http://127.0.0.1:9", "postgresql://nobody@127.0.0.1:9/none")

# What shows something and changes nothing.
LOOKING = [("check",), ("streams",), ("status",), ("runs",), ("rejects", "list")]
WITH_JSON = [*LOOKING, ("sync",), ("migrate",), ("rejects", "retry")]


@pytest_asyncio.fixture(scope="module")
async def busy_sandbox() -> AsyncIterator[RunningSandbox]:
    """A sandbox with one record that nobody can store."""
    async with running(SandboxOptions(clock="frozen", port=0, recordings=60)) as sandbox:
        broken = {"mutate": {"record": 3, "set": {"click_count": "[many]"}}}
        sandbox.control.add_faults({"match": LIST, "fault": broken})
        yield sandbox


@pytest_asyncio.fixture(scope="module")
async def used(
    busy_sandbox: RunningSandbox, databases: Databases, template: str
) -> AsyncIterator[Command]:
    """A command whose database has seen three runs, one of them without a scope."""
    dsn = await databases.create_database(template)
    command = Command(busy_sandbox.url, dsn)
    busy_sandbox.control.put_key("phx_blind", scopes=["project:read"])
    for key, code in (("phx_sandbox", 3), ("phx_blind", 3), ("phx_sandbox", 0)):
        result = await command.with_settings(POSTHOG_PERSONAL_API_KEY=key).run("sync")
        assert result.code == code, result.err
    yield command
    await databases.drop_database(dsn)


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", COMMANDS, ids=NAMES)
async def test_help_shows_an_example_that_the_command_understands(words: tuple[str, ...]) -> None:
    """The example's options are there: with --help after them nothing is called unknown."""
    result = await NOTHING.run(*words, "--help")
    assert (result.code, result.err) == (0, "")
    example = re.search(r"^ *Example: posthog-etl (.+)$", result.out, re.MULTILINE)
    assert example is not None, result.out
    arguments = shlex.split(example[1])
    assert arguments[: len(words)] == list(words)
    again = await NOTHING.run(*arguments, "--help")
    assert (again.code, again.err) == (0, "")


@pytest.mark.parametrize("words", COMMANDS, ids=NAMES)
async def test_every_command_has_short_help_and_tells_the_version(words: tuple[str, ...]) -> None:
    """-h as --help; -V and --version, whatever else the command needs."""
    assert (await NOTHING.run(*words, "-h")).out == (await NOTHING.run(*words, "--help")).out
    for option in ("-V", "--version"):
        result = await NOTHING.run(*words, option)
        assert (result.code, result.out) == (0, f"posthog-etl {__version__}\n"), result.err


@pytest.mark.parametrize("words", COMMANDS, ids=NAMES)
async def test_every_command_with_settings_takes_an_env_file(words: tuple[str, ...]) -> None:
    """Beside --config."""
    shown = (await NOTHING.run(*words, "--help")).out
    assert ("--config FILE" in shown) == ("--env-file FILE" in shown)


async def test_an_env_file_is_read_and_the_environment_goes_before(
    sandbox: RunningSandbox, dsn: str, tmp_path: Path
) -> None:
    """Before the settings of a file; an empty variable of the environment is not set."""
    env_file, config = tmp_path / "etl.env", tmp_path / "etl.toml"
    env_file.write_text(
        f"DATABASE_URL='{dsn}'\nPOSTHOG_HOST=http://127.0.0.1:9\nPOSTHOG_PROJECT_ID=1\n"
    )
    config.write_text('project_id = "77"\n')
    command = Command(sandbox.url, "")
    del command.environment["POSTHOG_PROJECT_ID"]
    options = ("--env-file", str(env_file), "--config", str(config))
    assert (await command.run("sync", *options)).code == 0
    assert (await command.run("rejects", "list", *options)).out == "There are no rejects.\n"


@pytest.mark.parametrize("words", COMMANDS, ids=NAMES)
def test_help_imports_next_to_nothing(words: tuple[str, ...]) -> None:
    """The standard library without its event loop, the reader of arguments and the commands."""
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "etl", *words, "--help"],
        env=NOTHING.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    names = re.findall(r"^import time:.*\|\s+([\w.]+)$", shown.stderr, re.MULTILINE)
    parts = {name.split(".")[0] for name in names}
    assert "typer" in parts
    assert not parts & {"asyncio", *IMPORTED_FOR_WORK}, parts
    assert {name for name in names if re.match(r"etl\.(?!cli\b|errors$)", name)} == set()
    assert len(names) <= HELP_MODULES


def test_help_costs_next_to_nothing() -> None:
    """CPU of the whole process, as the kernel counts it; one of five, on a busy machine."""

    def cpu_s() -> float:
        with subprocess.Popen(
            [sys.executable, "-m", "etl", "--help"],
            env=NOTHING.environment,
            stdout=subprocess.DEVNULL,
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    assert any(cpu_s() <= HELP_CPU_S for _ in range(5))


async def test_the_list_of_commands_is_cut_nowhere_and_takes_have_names() -> None:
    """On a terminal of 80 columns, each command's line is whole; no type is shown as Python's."""
    for words in COMMANDS:
        shown = (await NOTHING.with_settings(COLUMNS="80").run(*words, "--help")).out
        assert "..." not in re.sub(r"[]}]\.\.\.", "", shown), shown  # which takes several
        known = re.sub(r"<list\[str\]>|(KEY|PERSON|NAME|STATEMENT) <str>", "", shown)
        assert not re.search(r"<(int|str|float|list)", known), shown


async def test_the_version_is_told() -> None:
    """One line with the version of the package."""
    result = await NOTHING.run("--version")
    assert (result.code, result.out, result.err) == (0, f"posthog-etl {__version__}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_a_completion_script_is_produced(shell: str) -> None:
    """For the shells people use; a shell that is here can read it."""
    result = await NOTHING.with_settings(_POSTHOG_ETL_COMPLETE=f"source_{shell}").run()
    assert (result.code, result.err) == (0, "")
    assert f"_POSTHOG_ETL_COMPLETE=complete_{shell}" in result.out
    found = shutil.which(shell)
    if found is not None:
        await asyncio.to_thread(
            subprocess.run, [found, "-n"], input=result.out, text=True, check=True, timeout=30
        )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("posthog-etl sy", {"sync"}),
        ("posthog-etl rejects ", {"list", "show", "retry"}),
        ("posthog-etl sync session_", {"session_recordings", "session_properties"}),
    ],
)
async def test_a_shell_is_offered_what_there_is(typed: str, offered: set[str]) -> None:
    """Commands, and the commands of a group."""
    command = NOTHING.with_settings(
        _POSTHOG_ETL_COMPLETE="complete_bash",
        COMP_WORDS=typed,
        COMP_CWORD=str(len(typed.split(" ")) - 1),
    )
    assert set((await command.run()).out.split()) == offered


# --- what is printed --------------------------------------------------------------------------


async def on_terminal(
    command: Command, *arguments: str, columns: int = 120, **settings: str
) -> str:
    """Return what a command shows on a terminal of its own."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**command.environment, "TERM": "xterm-256color", **settings}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "etl", *arguments),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)

    def read() -> bytes:
        parts = []
        # A terminal whose other end has gone is an error on Linux, an end elsewhere.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                parts.append(part)
        return b"".join(parts)

    try:
        shown = await asyncio.to_thread(read)
        await process.wait()
    finally:
        os.close(ours)
    return shown.decode()


def colours(text: str) -> list[str]:
    """Return the escape codes that choose a colour."""
    codes = [code for codes in re.findall(r"\x1b\[([\d;]*)m", text) for code in codes.split(";")]
    return [code for code in codes if re.fullmatch(r"(3|4|9|10)\d", code)]


@pytest.mark.parametrize("words", [*LOOKING, ("sync",)], ids=" ".join)
async def test_results_are_plain_when_piped(used: Command, words: tuple[str, ...]) -> None:
    """No escape codes, whatever TERM says, and a line per row however long."""
    result = await used.with_settings(TERM="xterm-256color").run(*words)
    assert "\x1b" not in result.out + result.err
    assert result.out.strip()
    if words == ("rejects", "list"):
        assert len(result.out.splitlines()) == 2
    if words == ("runs",):
        assert len(result.out.splitlines()) >= 4


async def test_a_terminal_gets_colours_and_a_log_for_people(used: Command) -> None:
    """What went well is green; log lines are not JSON."""
    assert "\x1b[32mok" in await on_terminal(used, "check")
    shown = await on_terminal(used, "sync", "-v")
    assert colours(shown)
    assert "run.finished" in shown
    assert '{"' not in shown


async def test_a_terminal_logs_what_happens_only_when_asked_to(used: Command) -> None:
    """Otherwise the progress says it, and the result; in a pipe the log is all there is."""
    shown = await on_terminal(used, "sync")
    assert "run.finished" not in shown
    assert "Rows now" in shown
    assert "run.finished" in (await used.run("sync")).err


async def test_quiet_prints_errors_and_nothing_else(used: Command) -> None:
    """On a terminal and in a pipe; the exit code is the same."""
    insights = used.with_settings(POSTHOG_ETL_DISABLED_STREAMS="")
    for command, words in (
        (used, ("sync", "-q")),
        (insights, ("rejects", "retry", "-q", "insights")),
    ):
        assert await on_terminal(command, *words) == ""
        result = await command.run(*words)
        assert (result.code, result.out, result.err) == (0, "", "")
    away = used.with_settings(POSTHOG_PROJECT_ID="77")
    result = await away.run("sync", "--quiet")
    assert (result.code, result.out) == (3, "")
    (line,) = result.err.splitlines()
    assert line.startswith("posthog-etl: session_recordings: ")
    both = await used.run("sync", "-q", "-v")
    assert both.code == 2
    assert "-q and -v exclude each other; leave out one of them" in both.err


@pytest.mark.parametrize("words", [(), ("sync",), ("rejects", "list"), ("query", "run")])
async def test_short_flags_do_what_the_long_ones_do(words: tuple[str, ...]) -> None:
    """Of every command."""
    short, long = [await NOTHING.run(*words, flag) for flag in ("-h", "--help")]
    assert short.out == long.out != ""
    assert short.code == 0
    version = await NOTHING.run("-V")
    assert (version.code, version.out) == (0, (await NOTHING.run("--version")).out)


@pytest.mark.parametrize("words", [("check",), ("runs",), ("sync",)], ids=" ".join)
async def test_no_color_is_obeyed(used: Command, words: tuple[str, ...]) -> None:
    """The convention of no-color.org: no colour, in the result and in the log."""
    shown = await on_terminal(used, *words, NO_COLOR="1")
    assert "session_recordings" in shown
    assert colours(shown) == []


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
@pytest.mark.parametrize("columns", [40, 80])
async def test_a_narrow_terminal_loses_nothing(
    used: Command, words: tuple[str, ...], columns: int
) -> None:
    """Every letter of the wide table is there, and no line is wider than the terminal."""
    wide = (await used.run(*words)).out
    shown = await on_terminal(used, *words, columns=columns, NO_COLOR="1")
    narrow = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown).replace("\r", "")
    assert max(len(line) for line in narrow.splitlines()) <= columns
    summary, _, table = wide.partition("\n") if wide.startswith("Project ") else ("", "", wide)
    rows = "\n".join([summary, *table.splitlines()[1:]])
    # Digits are left out: those of lags and clocks differ from one call to the next.
    lost = Counter(re.findall(r"[^\W\d]", rows)) - Counter(re.findall(r"[^\W\d]", narrow))
    assert not lost, narrow


async def test_a_narrow_terminal_puts_what_does_not_fit_under_the_row(used: Command) -> None:
    """The first columns are a table still, the others stand below with their names."""
    shown = await on_terminal(used, "runs", columns=80, NO_COLOR="1")
    lines = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|\r", "", shown).splitlines()
    header = lines[0]
    row = next(number for number, line in enumerate(lines) if "partial" in line)
    assert header.split() == ["started", "project", "stream", "what", "status", "read"]
    assert lines[row].index("session_recordings") == header.index("stream")
    assert lines[row].index("partial") == header.index("status")
    assert lines[row + 1].startswith("  inserted ")
    below = " ".join(" ".join(lines).split())
    assert "reason The API answered 403: API key missing required scope" in below


async def test_a_very_narrow_terminal_shows_a_row_as_names_and_values(used: Command) -> None:
    """Where not even two columns fit."""
    shown = await on_terminal(used, "runs", columns=28, NO_COLOR="1")
    said = " ".join(re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|\r", "", shown).split())
    assert "stream session_recordings what sync status partial read 0" in said


async def test_numbers_stand_right_and_no_line_ends_in_blanks(used: Command) -> None:
    """So that they can be compared at a glance, and copied."""
    lines = (await used.run("runs")).out.splitlines()
    ends = {re.match(r".*? read", lines[0]).end()}  # type: ignore[union-attr]
    for line in lines[1:]:
        counted = re.search(r"(?:succeeded|partial) +([\d,]+)", line)
        assert counted is not None, line
        ends.add(counted.end(1))
    assert len(ends) == 1, lines
    assert lines == [line.rstrip() for line in lines]


@pytest.mark.parametrize("words", WITH_JSON, ids=" ".join)
async def test_json_is_one_document(used: Command, words: tuple[str, ...]) -> None:
    """Nothing but JSON on stdout, an object, with rows where there are some."""
    result = await used.run(*words, "--json")
    assert isinstance(result.document, dict)
    assert any(result.document.values())
    assert all(line.startswith("{") for line in result.err.splitlines())


async def test_json_is_one_document_when_a_unit_fails(used: Command) -> None:
    """The exit code says that it failed, the document why."""
    blind = used.with_settings(POSTHOG_PERSONAL_API_KEY="phx_blind")
    synced, checked = await blind.run("sync", "--json"), await blind.run("check", "--json")
    assert (synced.code, checked.code) == (3, 3)
    assert "session_recording:read" in synced.report["reason"]
    assert "session_recording:read" in json.dumps(checked.document)


@pytest.mark.parametrize(
    ("words", "settings", "error"),
    [
        (
            ("sync",),
            {"DATABASE_URL": ""},
            {
                "message": "DATABASE_URL is not set",
                "remedy": "Set it to your Postgres (postgresql://user:password@host/database), or "
                "to the word embedded for a Postgres kept in the data directory",
                "exit_code": 2,
            },
        ),
        (
            ("sync",),
            {"POSTHOG_ETL_LEASE_S": "0"},
            {
                "message": "POSTHOG_ETL_LEASE_S must be greater than or equal to 1",
                "remedy": "",
                "exit_code": 2,
            },
        ),
        (
            ("runs", "--limit", "0"),
            {},
            {
                "message": "Invalid value for '--limit': must be greater than or equal to 1. "
                "See posthog-etl runs --help",
                "remedy": "",
                "exit_code": 2,
            },
        ),
        (
            ("status",),
            {},
            {
                "message": "Postgres cannot be reached: Connection refused",
                "remedy": "Check host and port in DATABASE_URL, and that the server runs",
                "exit_code": 1,
            },
        ),
    ],
    ids=["a setting that is missing", "a wrong setting", "a wrong option", "no database"],
)
async def test_with_json_an_error_is_a_document_too(
    words: tuple[str, ...], settings: dict[str, str], error: dict[str, Any]
) -> None:
    """On stdout, beside the line for people on stderr."""
    result = await NOTHING.with_settings(**settings).run(*words, "--json")
    assert (result.code, result.document) == (error["exit_code"], {"error": error})
    (line,) = [line for line in result.err.splitlines() if not line.startswith("{")]
    assert line.startswith(f"posthog-etl: {error['message']}")
    plain = await NOTHING.with_settings(**settings).run(*words)
    assert plain.out == ""


# --- streams, runs ----------------------------------------------------------------------------


async def test_the_catalogue_needs_no_settings() -> None:
    """Every stream with its scope and tables."""
    rows = (await NOTHING.run("streams", "--json")).document["streams"]
    queries = [f"query:{name}" for name in PRESETS]
    assert [row["stream"] for row in rows] == [*STREAMS, *queries]
    off = {name for name, stream in STREAMS.items() if stream.off}
    off |= {*queries, *NOTHING.environment["POSTHOG_ETL_DISABLED_STREAMS"].split(",")}
    assert {row["stream"] for row in rows if not row["on"]} == off
    assert all(row["tables"] and row["scope"].endswith(":read") for row in rows)


async def test_the_catalogue_shows_configured_queries(tmp_path: Path) -> None:
    """Those of the file, and which ready ones are on."""
    path = tmp_path / "etl.toml"
    path.write_text(
        'query_presets = ["events"]\n[[queries]]\nname = "mine"\nquery = "SELECT 1"\nkey = ["k"]\n'
    )
    result = await NOTHING.run("streams", "--config", str(path), "--json")
    rows = {row["stream"]: row for row in result.document["streams"]}
    assert rows["query:mine"]["tables"] == ["posthog_queries.mine"]
    on = [name for name in rows if name.startswith("query:") and rows[name]["on"]]
    assert on == ["query:mine", "query:events"]


async def test_runs_come_newest_first_and_as_many_as_asked_for(used: Command) -> None:
    """With what became of them and why."""
    everything = (await used.run("runs", "--json")).document["runs"]
    begun = [run["started_at"] for run in everything]
    assert begun == sorted(begun, reverse=True)
    assert {run["status"] for run in everything} >= {"succeeded", "partial"}
    limited = (await used.run("runs", "--json", "--limit", "2")).document["runs"]
    assert [run["id"] for run in limited] == [run["id"] for run in everything[:2]]


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (("--status", "partial"), lambda run: run["status"] == "partial"),
        (
            ("--status", "partial", "--status", "failed"),
            lambda run: run["status"] in ("partial", "failed"),
        ),
        (("--status", "paused"), lambda run: run["status"] == "paused"),
        (
            ("session_recordings", "--since", "2h"),
            lambda run: run["stream"] == "session_recordings",
        ),
        (("comments",), lambda _: False),
        (("--since", "30d", "--until", "2h"), lambda _: False),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
async def test_runs_are_chosen_by_stream_status_and_time(
    used: Command, words: tuple[str, ...], fits: Callable[[dict[str, Any]], bool]
) -> None:
    """All that fit and no other; if none does, it is said."""
    everything = (await used.run("runs", "--json")).document["runs"]
    chosen = (await used.run("runs", *words, "--json")).document["runs"]
    assert chosen == [run for run in everything if fits(run)]
    if not chosen:
        assert (await used.run("runs", *words)).out == "No run is like that.\n"


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (("session_recordings",), lambda each: each["stream"] == "session_recordings"),
        (("comments",), lambda _: False),
        (("--since", "2h"), lambda _: True),
        (("--until", "2h"), lambda _: False),
        (("--status", "running"), lambda _: False),
        (("--status", "succeeded"), lambda each: each["status"] == "succeeded"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
async def test_status_is_chosen_by_stream_status_and_last_run(
    used: Command, words: tuple[str, ...], fits: Callable[[dict[str, Any]], bool]
) -> None:
    """All that fit and no other; if none does, it is said."""
    everything = (await used.run("status", "--json")).document["streams"]
    chosen = (await used.run("status", *words, "--json")).document["streams"]
    fitting = [each["stream"] for each in everything if fits(each)]
    assert [each["stream"] for each in chosen] == fitting
    if not chosen:
        assert (await used.run("status", *words)).out == "No stream is like that.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs", "insigths"), "There is no stream 'insigths' (did you mean insights?)"),
        (("status", "--since", "soon"), "--since 'soon' is not a date; write 2026-01-31, "),
        (("runs", "--status", "broken"), "Invalid value for '--status': 'broken' is not one of"),
        (("runs", "--since", "2h", "--until", "3h"), "--since "),
        (("backfill", "session_recordings", "--since", "30"), "--since '30' is not a date; "),
        (("sandbox", "--now", "soon"), "--now 'soon' is not a date; write 2026-01-31, "),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
async def test_a_choice_that_cannot_be_is_told_in_one_line(
    used: Command, words: tuple[str, ...], said: str
) -> None:
    """Exit code 2."""
    result = await used.run(*words)
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert result.err.startswith(f"posthog-etl: {said}")


# --- check ------------------------------------------------------------------------------------


async def findings(command: Command) -> tuple[int, dict[str, str]]:
    """Return the exit code of `check`, and what it found not to be well."""
    result = await command.run("check", "--json")
    rows = result.document["findings"]
    assert "Traceback" not in result.err
    return result.code, {row["about"]: row["found"] for row in rows if not row["ok"]}


@pytest.mark.parametrize(
    ("flavour", "pages"), [("cloud", "cursor (has_next)"), ("docs", "limit and offset")]
)
async def test_check_finds_all_well(
    start_sandbox: StartSandbox, dsn: str, flavour: str, pages: str
) -> None:
    """Database, schema, key, clocks and each stream; and what kind of server it is."""
    sandbox = await start_sandbox(flavour=flavour, recordings=10)
    result = await Command(sandbox.url, dsn).run("check", "--json")
    assert result.code == 0, result.out
    assert result.document["next"] == ["All is well. Next: posthog-etl sync"]
    found = {row["about"]: row["found"] for row in result.document["findings"]}
    assert list(found) == ["database", "schema", "key", "clocks", "session_recordings (1)"]
    assert found["database"].startswith("PostgreSQL ")
    assert f"available; pages by {pages}" in found["session_recordings (1)"]


async def test_check_names_everything_that_is_not_set() -> None:
    """At once, so that nobody has to find out one setting after the other."""
    nothing = NOTHING.with_settings(POSTHOG_PERSONAL_API_KEY="", DATABASE_URL="")
    result = await nothing.run("check", "--json")
    assert result.code == 2
    wrong = {finding["about"]: finding["found"] for finding in result.document["findings"]}
    assert "POSTHOG_PERSONAL_API_KEY is not set" in wrong["key"]
    assert "DATABASE_URL is not set" in wrong["database"]


async def test_check_ends_with_what_to_do_next(
    sandbox: RunningSandbox, dsn: str, tmp_path: Path
) -> None:
    """Commands that can be copied: with the options that name the settings."""
    config = tmp_path / "etl.toml"
    config.write_text('disabled_streams = ["group_activity"]\n')
    command = Command(sandbox.url, dsn, POSTHOG_ETL_DISABLED_STREAMS="")
    options = ("--config", str(config))
    sandbox.control.put_key("phx_some", scopes=["session_recording:read", "insight:read"])

    async def said(**settings: str) -> str:
        result = await command.with_settings(**settings).run("check", *options)
        return result.out.rpartition("\n\n")[2].replace("\n", " ")

    assert await said() == f"All is well. Next: posthog-etl sync --config {config} "
    narrow = await said(POSTHOG_PERSONAL_API_KEY="phx_some")
    assert narrow.startswith("Next: add the scopes subscription:read, group:read, ")
    assert f"Then: posthog-etl check --config {config} " in narrow
    assert f"The other streams can be read now: posthog-etl sync --config {config} " in narrow
    assert "POSTHOG_ETL_DISABLED_STREAMS=subscriptions,groups,group_properties," in narrow
    refused = await said(POSTHOG_PERSONAL_API_KEY="phx_other")
    assert refused.startswith("Next: put right what is marked no, first key. Then: ")
    astray = await said(POSTHOG_PROJECT_ID="1,77")
    assert astray == (
        "Next: correct POSTHOG_PROJECT_ID, or give the key access, because PostHog shows it "
        f"nothing of project 77. Then: posthog-etl check --config {config} "
    )


async def test_check_names_the_missing_scope(sandbox: RunningSandbox, dsn: str) -> None:
    """Of each stream, in the words that the settings of PostHog use."""
    sandbox.control.put_key("phx_blind", scopes=["project:read"])
    code, wrong = await findings(Command(sandbox.url, dsn, POSTHOG_PERSONAL_API_KEY="phx_blind"))
    assert (code, list(wrong)) == (3, ["session_recordings (1)"])
    assert "Add the scope session_recording:read" in wrong["session_recordings (1)"]


async def test_check_stops_at_a_key_that_is_refused(command: Command) -> None:
    """Nothing else can be seen with it; the database was looked at all the same."""
    code, wrong = await findings(command.with_settings(POSTHOG_PERSONAL_API_KEY="phx_other"))
    assert (code, list(wrong)) == (5, ["key"])


async def test_check_names_the_project_that_is_wrong(command: Command) -> None:
    """And goes on with the others."""
    code, wrong = await findings(command.with_settings(POSTHOG_PROJECT_ID="1,77"))
    assert (code, list(wrong)) == (3, ["session_recordings (77)"])
    assert "POSTHOG_PROJECT_ID" in wrong["session_recordings (77)"]


async def test_check_looks_at_the_server_when_the_database_is_down(command: Command) -> None:
    """Both kinds of trouble show in one go; a long wait is told and not sat out."""
    down = command.with_settings(DATABASE_URL=f"postgresql://u:p@127.0.0.1:{free_port()}/copy")
    code, wrong = await findings(down)
    assert (code, list(wrong)) == (1, ["database"])
    code, wrong = await findings(down.with_settings(POSTHOG_PROJECT_ID="77"))
    assert (code, list(wrong)) == (1, ["database", "session_recordings (77)"])


async def test_check_is_not_well_with_an_address_that_is_none(command: Command) -> None:
    """Wrong usage among other findings is exit 2, and not success."""
    code, wrong = await findings(command.with_settings(DATABASE_URL="mysql://u:p@db/copy"))
    assert (code, list(wrong)) == (2, ["database"])


async def test_a_terminal_that_knows_few_letters_gets_the_rest_spelt_out(command: Command) -> None:
    """The result is shown to its end."""
    poor = command.with_settings(PYTHONIOENCODING="ascii", POSTHOG_PERSONAL_API_KEY="phx_other")
    result = await poor.run("check")
    assert (result.code, result.err) == (5, "")
    assert r"a personal key (phx_\u2026) of this host's region" in result.out


@pytest.mark.parametrize("database_down", [False, True])
async def test_check_does_not_sit_out_a_long_wait(
    sandbox: RunningSandbox, dsn: str, database_down: bool
) -> None:
    """It says how long the wait would be: exit 6, or 1 where something is worse."""
    sandbox.control.add_faults({"match": LIST, "fault": {"status": 429, "wait_s": 3000}})
    address = f"postgresql://u:p@127.0.0.1:{free_port()}/copy" if database_down else dsn
    code, wrong = await findings(Command(sandbox.url, address))
    assert code == (1 if database_down else 6)
    assert "wait 3000 seconds" in wrong["session_recordings (1)"]


async def test_check_says_that_the_next_sync_migrates(
    sandbox: RunningSandbox, empty_dsn: str
) -> None:
    """An empty database is no trouble, and is left empty."""
    command = Command(sandbox.url, empty_dsn)
    assert await findings(command) == (0, {})
    assert "the next sync migrates it" in (await command.run("check")).out
    assert not await value(empty_dsn, "SELECT count(*) FROM pg_namespace WHERE nspname ~ 'posthog'")


@pytest.fixture(scope="module")
def guarded_postgres() -> Iterator[EmbeddedPostgres]:
    """A server with a role that may not create schemas."""
    with guarded_server() as server:
        yield server


async def test_check_says_that_the_role_may_not_migrate(
    sandbox: RunningSandbox, guarded_postgres: EmbeddedPostgres
) -> None:
    """And what to do about it."""
    await select(guarded_postgres.dsn, ROLES[0])
    dsn = f"postgresql://loader:right@127.0.0.1:{guarded_postgres.port}/postgres"
    code, wrong = await findings(Command(sandbox.url, dsn))
    assert (code, list(wrong)) == (1, ["schema"])
    assert "posthog-etl migrate" in wrong["schema"]


# --- rejects ----------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def rejecting(start_sandbox: StartSandbox) -> RunningSandbox:
    """A sandbox whose first answer spoils two records."""
    sandbox = await start_sandbox(recordings=30)
    spoilt = [{"record": n, "set": {"click_count": "many"}} for n in (2, 5)]
    sandbox.control.add_faults({"match": LIST, "at": 1, "fault": {"mutate": spoilt}})
    return sandbox


@pytest_asyncio.fixture
async def set_aside(rejecting: RunningSandbox, dsn: str) -> list[str]:
    """The keys of the two records that were set aside by a first sync."""
    result = await Command(rejecting.url, dsn).run("sync", "--json")
    assert (result.code, result.report["rejected"]) == (3, 2), result.err
    rows = await select(dsn, "SELECT record_key FROM posthog_etl.rejects ORDER BY record_key")
    return [row["record_key"] for row in rows]


@pytest.fixture
def alone(dsn: str) -> Command:
    """The command with a database and nothing else: no server, no key."""
    command = Command("http://127.0.0.1:9", dsn)
    del command.environment["POSTHOG_PERSONAL_API_KEY"]
    return command


MEND = (
    "UPDATE posthog_etl.rejects SET resolved_at = NULL, "
    "payload = jsonb_set(payload, '{click_count}', $2::jsonb) WHERE record_key = $1"
)


async def unresolved(command: Command) -> dict[str, str]:
    """Return the reasons of what is still set aside."""
    rows = (await command.run("rejects", "list", "--json")).document["rejects"]
    return {row["record_key"]: row["reason"] for row in rows}


async def test_what_was_mended_by_hand_loads_and_what_was_not_stays(
    alone: Command, dsn: str, set_aside: list[str]
) -> None:
    """First one, then the other: exit 3 while something is left, then 0; needs no server."""
    first, second = set_aside
    await select(dsn, MEND, first, 41)
    result = await alone.run("rejects", "retry", "--json")
    assert (result.code, result.report["status"]) == (3, "partial"), result.err
    assert (await stored(dsn, "session_recordings"))[first]["click_count"] == 41
    left = await unresolved(alone)
    assert list(left) == [second]
    assert "click_count" in left[second]
    await select(dsn, MEND, second, 42)
    result = await alone.run("rejects", "retry", "--json")
    assert (result.code, result.report["status"]) == (0, "succeeded"), result.err
    assert (await stored(dsn, "session_recordings"))[second]["click_count"] == 42
    assert await unresolved(alone) == {}
    everything = (await alone.run("rejects", "list", "--all", "--json")).document["rejects"]
    assert {row["record_key"] for row in everything} == set(set_aside)
    assert all(row["resolved_at"] for row in everything)
    assert len(await stored(dsn, "session_recordings")) == 30


async def test_a_retry_with_nothing_mended_changes_nothing(
    alone: Command, dsn: str, set_aside: list[str]
) -> None:
    """Exit 3, both still there, once each."""
    before = await stored(dsn, "session_recordings")
    result = await alone.run("rejects", "retry")
    assert result.code == 3
    assert "session_recordings: Records that could not be stored: 2" in result.out
    assert sorted(await unresolved(alone)) == set_aside
    assert await stored(dsn, "session_recordings") == before


async def test_records_without_a_key_stay_rejected_once_each(alone: Command, dsn: str) -> None:
    """A retry neither marks them as loaded nor sets them aside under another key."""
    insert = (
        "INSERT INTO posthog_etl.rejects (project_id, stream, record_key, reason, payload, "
        "first_seen_at, last_seen_at) VALUES (1, 'session_recordings', $1, 'id: missing', $2, "
        "now(), now())"
    )
    await select(dsn, insert, "sha:one", {"start_url": "https://one.example"})
    await select(dsn, insert, "sha:two", "no object")
    assert (await alone.run("rejects", "retry")).code == 3
    assert sorted(await unresolved(alone)) == ["sha:one", "sha:two"]


async def test_a_reject_is_shown_with_its_payload(
    alone: Command, dsn: str, set_aside: list[str]
) -> None:
    """By its key; without a command, `rejects` lists them; an unknown key says where to look."""
    shown = await alone.run("rejects", "show", set_aside[0])
    assert (shown.code, "click_count: " in shown.out) == (0, True)
    assert f'"id": "{set_aside[0]}"' in shown.out
    listed, bare = await alone.run("rejects", "list"), await alone.run("rejects")
    assert (listed.out, bare.code) == (bare.out, 0)
    (named,) = await select(
        dsn, "SELECT DISTINCT table_name FROM posthog_etl.rejects WHERE resolved_at IS NULL"
    )
    assert named["table_name"] == "session_recordings"
    unknown = await alone.run("rejects", "show", "nothing")
    assert (unknown.code, "rejects list --all" in unknown.err) == (1, True)


async def test_a_retry_never_overwrites_what_was_read_since(
    rejecting: RunningSandbox, alone: Command, dsn: str, set_aside: list[str]
) -> None:
    """The server has sent the record since, well: the older payload resolves, and loses."""
    everything = Command(rejecting.url, dsn, POSTHOG_ETL_LOOKBACK="1000h")
    assert (await everything.run("sync")).code == 0
    assert await unresolved(alone) == {}
    await select(dsn, MEND, set_aside[0], 999)
    assert list(await unresolved(alone)) == set_aside[:1]
    assert (await alone.run("rejects", "retry")).code == 0
    assert await unresolved(alone) == {}
    assert await differences_from_truth(dsn, await fetch_truth(rejecting.url)) == []


async def test_nothing_set_aside_is_said_so(alone: Command) -> None:
    """By both commands, with exit 0."""
    listed, retried = await alone.run("rejects", "list"), await alone.run("rejects", "retry")
    assert (listed.code, retried.code) == (0, 0)
    assert listed.out == retried.out == "There are no rejects.\n"
