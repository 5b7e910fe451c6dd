"""The command line: parse, call app, print the result, set the exit code.

Heavy modules are imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from etl import __version__
from etl.cli import look, play, work
from etl.cli.shared import print_line
from etl.errors import EXIT_PARTIAL

app = typer.Typer(
    name="posthog-etl",
    help="Copies what a PostHog project holds into Postgres, and keeps the copy current.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
rejects = typer.Typer(
    help="List what was set aside and why; replay it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
rejects.command(name="list")(look.list_rejects)
rejects.command(name="retry")(work.retry_rejects)
for command in (
    play.demo,
    look.check,
    look.streams,
    work.sync,
    look.status,
    look.runs,
    work.migrate,
    play.sandbox,
):
    app.command()(command)
app.add_typer(rejects, name="rejects")


def main() -> NoReturn:
    """Run the command line and exit with the contract's code."""
    try:
        app(prog_name="posthog-etl")
    except KeyboardInterrupt:
        sys.exit(EXIT_PARTIAL)
    sys.exit(0)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print_line(f"posthog-etl {__version__}")
        raise typer.Exit
