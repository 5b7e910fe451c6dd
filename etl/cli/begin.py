"""The command that asks for the settings and writes them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli.shared import (
    Debug,
    ErrorsInOneLine,
    fail,
    log_level,
    print_line,
    run_loop,
)
from etl.errors import EtlError

if TYPE_CHECKING:
    from etl.runs.check import Finding
    from etl.settings import Settings

HOST, KEY, PROJECT, DATABASE = (
    "POSTHOG_HOST",
    "POSTHOG_PERSONAL_API_KEY",
    "POSTHOG_PROJECT_ID",
    "DATABASE_URL",
)
KEY_FILE = "POSTHOG_PERSONAL_API_KEY_FILE"
# The names in the file, in its order.
_IN_FILE = {
    HOST: "host",
    KEY: "api_key",
    KEY_FILE: "api_key_file",
    PROJECT: "project_id",
    DATABASE: "database_url",
}
_SECRETS = (KEY, DATABASE)
_REGIONS = {"us": "https://us.posthog.com", "eu": "https://eu.posthog.com"}
_QUESTIONS = {
    HOST: "1/4 PostHog (us, eu, or the address of your own)",
    KEY: "2/4 Personal API key (phx_…, from Settings, Personal API keys; not shown)",
    PROJECT: "3/4 Project (the number in its settings)",
    DATABASE: "4/4 Postgres (postgresql://user:password@host/database, or embedded)",
}


def init(
    output: Annotated[
        Path, typer.Option("--output", help="Write this file.", metavar="FILE")
    ] = Path("posthog-etl.toml"),
    host: Annotated[
        str | None, typer.Option(help="us, eu, or the address of your own.", metavar="ADDRESS")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File that holds the personal API key.", metavar="FILE"),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Number of the project.", metavar="ID")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Postgres address without password, or embedded.", metavar="ADDRESS"),
    ] = None,
    untested: Annotated[
        bool, typer.Option("--untested", help="Write the answers without testing them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    debug: Debug = False,
) -> None:
    """Ask for the settings, test the answers, and write a file.

    Options and the four variables (POSTHOG_HOST, POSTHOG_PERSONAL_API_KEY, POSTHOG_PROJECT_ID,
    DATABASE_URL) are answers, too. Without a terminal nothing is asked.

    Example: posthog-etl init --host eu --output posthog-etl.toml
    """
    from etl.begin import write_settings
    from etl.logs import configure_logs

    with ErrorsInOneLine(debug) as told:
        configure_logs(told.redactor, log_level(quiet=False, verbose=False, debug=debug))
        given = {HOST: host, PROJECT: project, DATABASE: database}
        answers = {name: value for name, value in given.items() if value}
        if key_file is not None:
            answers[KEY_FILE] = str(key_file.expanduser().absolute())
        asking = _Asking(answers, told, untested)
        _refuse_to_replace(output, force)
        if sys.stdin.isatty():
            asking.ask()
        else:
            asking.take()
        write_settings(output, {_IN_FILE[n]: answers[n] for n in _IN_FILE if n in answers})
    config = shlex.quote(str(output))
    print_line(f"Wrote {output}, which only you can read. Next:")
    print_line(f"  posthog-etl check --config {config}")
    print_line(f"  posthog-etl sync --config {config}")


def _refuse_to_replace(output: Path, force: bool) -> None:
    from etl.errors import ConfigurationError

    if output.exists() and not force:
        raise ConfigurationError(
            f"{output} is there already",
            remedy="Name another file with --output, or replace it with --force",
        )


class _Asking:
    """Collects the answers and tests them.

    answers: what options gave, by variable; the others are added. untested: test nothing.
    """

    def __init__(self, answers: dict[str, str], told: ErrorsInOneLine, untested: bool) -> None:
        self._answers = answers
        self._fixed = set(answers)  # given by an option, and not asked for
        self._told = told
        self._untested = untested
        # The environment is where settings are read from, so the answers go there.
        self._offered = {n: os.environ.pop(n) for n in _IN_FILE if os.environ.get(n)}
        if KEY in self._offered:
            self._offered.pop(KEY_FILE, None)

    def take(self) -> None:
        """Take what no option gave from the environment, and test it. Raises EtlError."""
        from etl.errors import ConfigurationError

        for name, value in self._offered.items():
            if not (name in (KEY, KEY_FILE) and KEY_FILE in self._answers):
                self._answers.setdefault(name, value)
        has_key = bool({KEY, KEY_FILE} & self._answers.keys())
        needed = {
            "the key": (has_key, f"--key-file or {KEY}"),
            "the project": (PROJECT in self._answers, f"--project or {PROJECT}"),
            "the database": (DATABASE in self._answers, f"--database or {DATABASE}"),
        }
        missing = {about: how for about, (there, how) in needed.items() if not there}
        if missing:
            raise ConfigurationError(
                f"There is no terminal to ask on, and {_listed(list(missing))} "
                f"{'is' if len(missing) == 1 else 'are'} not given",
                remedy=f"Give {_listed(list(missing.values()))}",
            )
        self._answers[HOST] = _address(self._answers.get(HOST, "us"))
        settings = self._settings()
        for test in (self._try_key, self._try_projects, self._try_database):
            wrong = test(settings)
            if wrong is not None:
                said = self._told.redactor.text(wrong.said)
                fail(f"Nothing was written. {wrong.about}: {said}", wrong.exit_code)

    def ask(self) -> None:
        """Ask for what no option gave, and again for what turns out wrong."""
        while True:
            self._question(HOST)
            settings = self._settings() if KEY_FILE in self._answers else self._question(KEY)
            if self._try_key(settings) is None:
                break
            self._fixed -= {HOST, KEY_FILE}  # the key may be of another region
            self._answers.pop(KEY_FILE, None)
        for name, test in ((PROJECT, self._try_projects), (DATABASE, self._try_database)):
            while test(self._question(name)) is not None:
                self._fixed.discard(name)

    def _question(self, name: str) -> Settings:
        """Ask one question until the answer has the right form; return the settings with it."""
        while True:
            if name not in self._fixed:
                before = self._answers.get(name) or self._offered.get(name)
                before = before or ("us" if name == HOST else None)
                text = _QUESTIONS[name]
                if before and name in _SECRETS:
                    text += " [Enter: as before]"
                given = typer.prompt(
                    text,
                    default=before,
                    hide_input=name == KEY,
                    show_default=name not in _SECRETS,
                    err=True,
                )
                self._answers[name] = given.strip()
            if name == HOST:
                self._answers[HOST] = _address(self._answers[HOST])
            try:
                return self._settings()
            except EtlError as exc:
                if name in self._fixed:
                    raise
                typer.echo(f"  no  {self._told.redactor.text(str(exc))}", err=True)
                # What has the wrong form is not offered again.
                self._answers.pop(name)
                self._offered.pop(name, None)

    def _settings(self) -> Settings:
        """Return the settings with the answers so far. Raises ConfigurationError."""
        from etl.app import EMBEDDED
        from etl.loaders.address import parse_database_url
        from etl.logs import Redactor
        from etl.settings import load_settings

        for name in _IN_FILE:
            os.environ.pop(name, None)
        os.environ.update(self._answers)
        settings, _ = load_settings()
        self._told.redactor = Redactor(*settings.secret_texts)
        address = self._answers.get(DATABASE, EMBEDDED)
        if address.strip() != EMBEDDED:
            parse_database_url(address)
        return settings

    def _try_key(self, settings: Settings) -> Finding | None:
        """Test host and key; return what is wrong. Offers the current project."""
        from etl.begin import try_key

        if self._untested:
            return None
        finding, current = run_loop(try_key(settings))
        if current is not None:
            self._offered.setdefault(PROJECT, current)
        return self._first_wrong([finding])

    def _try_projects(self, settings: Settings) -> Finding | None:
        from etl.begin import try_projects

        return None if self._untested else self._first_wrong(run_loop(try_projects(settings)))

    def _try_database(self, settings: Settings) -> Finding | None:
        from etl.begin import try_database

        return None if self._untested else self._first_wrong(run_loop(try_database(settings)))

    def _first_wrong(self, findings: Sequence[Finding]) -> Finding | None:
        """Show the findings, and return the first one that is not well."""
        for finding in findings:
            mark = "ok" if finding.well else "no"
            said = self._told.redactor.text(finding.said)
            typer.echo(f"  {mark}  {finding.about}: {said}", err=True)
        return next((finding for finding in findings if not finding.well), None)


def _address(text: str) -> str:
    return _REGIONS.get(text.strip().lower(), text.strip())


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
