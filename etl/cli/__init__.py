"""The command line: parse, call app, print the result, set the exit code.

Heavy modules are imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from functools import partial
from typing import Any, NoReturn

import typer

from etl.cli import alerts as about_alerts
from etl.cli import begin, destroy, look, play, queries, service, sql, work
from etl.cli.options import Version, with_common_options
from etl.cli.shared import print_json_error
from etl.errors import EXIT_PARTIAL, EXIT_USAGE

# Typer has no public name for the class of all mistakes in a command line.
_UsageError: Any = typer.BadParameter.__mro__[1]
_INTERRUPTED = 130  # what Typer returns after Ctrl-C


class _Group(typer.core.TyperGroup):
    """A command group that declares all its options as flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, each with the default False.

        Without a default Typer imports pydantic, which takes half of the time of `--help`.
        """
        params = super().get_params(ctx)
        for option in params:
            option.default = False
        return params


app = typer.Typer(
    cls=_Group,
    name="posthog-etl",
    help="Copy the data of a PostHog project into Postgres, and keep the copy current.\n\n"
    "Example: posthog-etl sync",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# A command that has commands of its own, and does something without one, too.
_subcommands = partial(
    typer.Typer,
    cls=_Group,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
rejects = _subcommands()
query = _subcommands()
alerts = _subcommands()


@rejects.callback()
@with_common_options
def _bare_rejects(context: typer.Context) -> None:
    """List the records that could not be stored, or load them again.

    Without a command it lists them.

    Example: posthog-etl rejects
    """
    if context.invoked_subcommand is None:
        look.list_rejects()


rejects.command(name="list")(with_common_options(look.list_rejects))
rejects.command(name="show")(with_common_options(look.show_reject))
rejects.command(name="retry")(with_common_options(work.retry_rejects))


@query.callback()
@with_common_options
def _bare_query(context: typer.Context) -> None:
    """List the configured queries, or read one now.

    Without a command it lists them.

    Example: posthog-etl query
    """
    if context.invoked_subcommand is None:
        queries.list_queries()


query.command(name="list")(with_common_options(queries.list_queries))
query.command(name="run")(with_common_options(queries.run_query))


@alerts.callback()
@with_common_options
def _bare_alerts(context: typer.Context) -> None:
    """List the alerts that are open, or test the channels.

    Without a command it lists them.

    Example: posthog-etl alerts
    """
    if context.invoked_subcommand is None:
        about_alerts.list_alerts()


alerts.command(name="list")(with_common_options(about_alerts.list_alerts))
alerts.command(name="test")(with_common_options(about_alerts.send_test))
for command in (
    play.demo,
    begin.init,
    look.check,
    look.streams,
    work.sync,
    work.backfill,
    work.resync,
    work.verify,
    work.worker,
    look.plan,
    look.status,
    look.runs,
    sql.sql,
    service.serve,
    destroy.forget,
    destroy.remove,
    work.migrate,
    play.sandbox,
):
    app.command()(with_common_options(command))
app.add_typer(rejects, name="rejects")
app.add_typer(query, name="query")
app.add_typer(alerts, name="alerts")


def main() -> NoReturn:
    """Run the command line and exit with one of the exit codes of `etl.errors`."""
    gc.disable()  # imports leave no garbage; `run_loop` enables it again
    # Pydantic would look for plugins in every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal cannot show must not end the output.
        sys.stdout.reconfigure(errors="backslashreplace")
    _keep_only(sys.argv[1] if len(sys.argv) > 1 else "")
    try:
        code = app(prog_name="posthog-etl", standalone_mode=False)
    except _UsageError as exc:
        line = _usage_line(exc)
        sys.stderr.write(f"{line}\n")
        print_json_error(line.removeprefix("posthog-etl: "), EXIT_USAGE)
        sys.exit(EXIT_USAGE)
    # The interpreter collects garbage once more at its end; the memory is given back anyway.
    gc.freeze()
    sys.exit(EXIT_PARTIAL if code == _INTERRUPTED else code or 0)


def _keep_only(name: str) -> None:
    """Take all other commands out of `app` if there is one of this name.

    Typer makes every command before it runs one, which takes 3 ms of CPU time each.
    """
    asked = [
        command
        for command in app.registered_commands
        if command.callback is not None and command.callback.__name__ == name
    ]
    if asked:
        app.registered_commands[:] = asked
        app.registered_groups.clear()


def _usage_line(exc: Any) -> str:
    """Return the mistake in one line, or the help of a command that got no arguments."""
    text: str = exc.format_message()
    if text.startswith("Usage:"):
        return text
    for pydantics, ours in (("Value error, ", ""), ("Input should be", "must be")):
        text = text.replace(pydantics, ours)
    text = " ".join(text.split()).rstrip(".")
    command = exc.ctx.command_path if exc.ctx else "posthog-etl"
    return f"posthog-etl: {text}{'' if text.endswith('?') else '.'} See {command} --help"


@app.callback(invoke_without_command=True)
def _root(version: Version = False) -> None:
    """Print the version, or go on with the command."""
