"""docs/scheduling.md: every block is tried, as far as it goes without the program it is for."""

from __future__ import annotations

import ast
import asyncio
import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from etl.cli.shared import GRACE_S
from etl.core.schedule import Schedule
from etl.errors import EXIT_HELD, EXIT_PAUSED
from etl.settings import load_settings
from tests.support.command import Command
from tests.support.usage import understood

PAGE = Path(__file__).parents[2] / "docs" / "scheduling.md"
BLOCKS = re.findall(r"^```(\w+)\n((?:.*\n)*?)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
OURS = "/opt/posthog-etl/bin/posthog-etl"
ETL = [sys.executable, "-m", "etl"]
GO_ON = {EXIT_HELD, EXIT_PAUSED}


def block(beginning: str) -> str:
    """The block whose first line begins so."""
    (found,) = [text for _, text in BLOCKS if text.startswith(beginning)]
    return found


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """Make a program of a shell script."""

    def make(script: str) -> Path:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


def test_every_block_is_tried() -> None:
    """A new one needs a test of its own."""
    assert [language for language, _ in BLOCKS] == [
        *("toml", "yaml", "crontab", "ini", "ini", "yaml", "python", "python")
    ]


def test_the_file_of_schedules_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time zone for both."""
    monkeypatch.delenv("POSTHOG_ETL_SCHEDULE", raising=False)
    path = tmp_path / "etl.toml"
    path.write_text(block("time_zone"), encoding="utf-8")
    schedules = load_settings(path)[0].schedules
    assert [each.name for each in schedules] == [
        each["name"] for each in tomllib.loads(block("time_zone"))["schedules"]
    ]
    assert {each.time_zone for each in schedules} == {"Europe/Berlin"}


@pytest.mark.parametrize("code", [0, 1, 3, 4, 5, 6])
def test_the_crontab_says_something_only_when_something_is_wrong(
    code: int, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    """The line runs as cron runs it, with its settings and with another program in our place."""
    *_, shell, line = block("# /etc/cron.d").splitlines()
    *fields, user, command = line.split(maxsplit=6)
    assert (Schedule("cron", " ".join(fields)).cron, user) == ("*/15 * * * *", "root")
    assert "%" not in command  # cron makes a line's end of it
    settings, log = tmp_path / "env", tmp_path / "log"
    settings.write_text("DATABASE_URL='postgresql://u:p@h/d?a=1&b=2'\n")
    stand_in = program(f'echo "$@" >&2; cat "$3" >&2; exit {code}')
    for theirs, here in ((OURS, stand_in), ("/etc/posthog-etl.env", settings)):
        assert theirs in command
        command = command.replace(theirs, str(here))
    command = command.replace("/var/log/posthog-etl.log", str(log))
    bash = shutil.which(shell.removeprefix("SHELL=/bin/"))
    if bash is None:
        pytest.skip("no bash here")
    done = subprocess.run([bash, "-c", command], capture_output=True, text=True, check=False)
    assert log.read_text() == f"sync --env-file {settings}\n{settings.read_text()}"
    expected = "" if code in {0, *GO_ON} else f"posthog-etl sync ended with {code}\n"
    assert (done.stdout, done.stderr) == (expected, "")


def test_the_systemd_units_call_our_command_and_know_its_exit_codes() -> None:
    """And let it end by itself."""
    service, timer = (configparser.ConfigParser(interpolation=None) for _ in range(2))
    for parser in (service, timer):
        parser.optionxform = str  # type: ignore[assignment,method-assign]
    service.read_string(block("# /etc/systemd/system/posthog-etl.service"))
    timer.read_string(block("# /etc/systemd/system/posthog-etl.timer"))
    path, *words = shlex.split(service["Service"]["ExecStart"])
    assert path == OURS
    assert understood(words)
    assert set(map(int, service["Service"]["SuccessExitStatus"].split())) == GO_ON
    assert int(service["Service"]["TimeoutStopSec"]) > GRACE_S
    assert timer["Install"]["WantedBy"] == "timers.target"
    verifier = shutil.which("systemd-analyze")
    if verifier is not None:
        done = subprocess.run(
            [verifier, "calendar", timer["Timer"]["OnCalendar"]], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_cron_job_of_kubernetes_calls_our_command() -> None:
    """One at a time, and with time enough to commit the batch in hand."""
    job = yaml.safe_load(block("# cronjob.yaml"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert Schedule("k8s", job["spec"]["schedule"], time_zone=job["spec"]["timeZone"])
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] > GRACE_S
    (container,) = pod["containers"]
    assert container["command"] == ["posthog-etl"]
    assert understood(container["args"])


def test_the_scrape_configuration_asks_where_serve_answers() -> None:
    """On its port; /metrics is what Prometheus asks for by itself."""
    (scraped,) = yaml.safe_load(block("# prometheus.yml"))["scrape_configs"]
    assert scraped["static_configs"][0]["targets"][0].endswith(":8011")
    assert scraped["authorization"]["credentials_file"]


def pure_part(beginning: str, foreign: str) -> dict[str, Any]:
    """What a block defines without the program it is for: no imports of it, nothing decorated."""
    source = block(beginning)
    compile(source, beginning, "exec")
    tree = ast.parse(source)

    def kept() -> Iterator[ast.stmt]:
        for node in tree.body:
            match node:
                case ast.Import(names=[ast.alias(name=name)]) if name == foreign:
                    continue
                case ast.ImportFrom(module=str(name)) if name.split(".")[0] == foreign:
                    continue
                case ast.FunctionDef(decorator_list=[_, *_]):
                    continue
                case ast.Import() | ast.ImportFrom() | ast.FunctionDef():
                    yield node
                case ast.Assign(value=value) if not any(
                    isinstance(each, ast.Call) for each in ast.walk(value)
                ):
                    yield node

    tree.body = list(kept())
    defined: dict[str, Any] = {}
    exec(compile(tree, beginning, "exec"), defined)
    return defined


@pytest.fixture
def in_environment(command: Command, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The command against the sandbox, for whoever starts it from this process."""
    for name, text in command.environment.items():
        monkeypatch.setenv(name, text)
    return (*ETL, "sync", "--json")


def default_of(function: Any) -> list[str]:
    """The command that a function of the page calls unless told otherwise."""
    (default,) = function.__defaults__
    return list(default)


async def test_the_task_of_airflow_runs(
    in_environment: tuple[str, ...], program: Callable[[str], Path]
) -> None:
    """It loads, tells what goes on later from what is done, and fails when we do."""
    sync = pure_part("# dags/posthog_etl.py", "airflow")["sync"]
    name, *words = default_of(sync)
    assert name == "posthog-etl"
    assert understood(words)
    reports, later = await asyncio.to_thread(sync, in_environment)
    assert (reports[0]["rows_inserted"] > 0, later) == (True, False)
    printed = json.dumps({"reports": []})
    for code in GO_ON:
        assert sync([str(program(f"echo '{printed}'; exit {code}"))]) == ([], True)
    with pytest.raises(RuntimeError, match="ended with 5"):
        sync([str(program(f"echo '{printed}'; exit 5"))])


async def test_the_asset_of_dagster_runs(
    in_environment: tuple[str, ...], program: Callable[[str], Path]
) -> None:
    """It counts what was done, names what is not finished, and fails when we do."""
    sync = pure_part("# posthog_etl_assets.py", "dagster")["sync"]
    name, *words = default_of(sync)
    assert name == "posthog-etl"
    assert understood(words)
    figures, unfinished = await asyncio.to_thread(sync, in_environment)
    assert (figures["records_read"], unfinished) == (300, {})
    zeros = dict.fromkeys(figures, 0)
    report = {"stream": "insights", "status": "paused", "reason": "spent", **zeros}
    printed = json.dumps({"reports": [report]})
    assert sync([str(program(f"echo '{printed}'; exit 6"))]) == (zeros, {"insights": "spent"})
    with pytest.raises(RuntimeError, match="ended with 1"):
        sync([str(program("exit 1"))])
