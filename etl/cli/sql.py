"""The command that executes SQL."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli.shared import (
    Config,
    Debug,
    Json,
    ignoring_ctrl_c,
    print_json,
    print_line,
    run_with_settings,
)

if TYPE_CHECKING:
    from etl.loaders.sql import Answer


def sql(
    statement: Annotated[
        str | None,
        typer.Argument(
            metavar="STATEMENT",
            help="One SQL statement; - reads it from standard input. Default: psql on a terminal, "
            "else standard input.",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run psql or an SQL statement on the configured database.

    The embedded database is started for it.

    A statement is one transaction. Exit code 2: the statement is wrong. 1: it was refused.

    Example: posthog-etl sql 'SELECT count(*) FROM posthog.session_recordings'
    """
    from etl import upkeep as wiring
    from etl.console import show_rows
    from etl.errors import ConfigurationError

    if statement is None and sys.stdin.isatty() and not as_json:
        code = run_with_settings(
            lambda settings: wiring.run_psql(settings, ignoring_ctrl_c), config, {}, debug
        )
        raise typer.Exit(code)

    def run(settings: Any) -> Coroutine[Any, Any, Answer]:
        text = sys.stdin.read() if statement in (None, "-") else statement
        if text is None or not text.strip():
            raise ConfigurationError(
                "There is no statement",
                remedy="Give one, as in: posthog-etl sql 'SELECT count(*) FROM posthog.persons'",
            )
        return wiring.run_sql(settings, text)

    answer = run_with_settings(run, config, {}, debug)
    if as_json:
        print_json(answer.as_json())
        return
    if not answer.columns:
        print_line(answer.tag)
        return
    show_rows(answer.columns, answer.as_text())
    count = len(answer.rows)
    print_line(f"{count:,} {'row' if count == 1 else 'rows'}")
