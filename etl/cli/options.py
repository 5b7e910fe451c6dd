"""Options that every command has. They are added here, so that no command lacks one."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from etl import __version__
from etl.cli.shared import fail, print_line
from etl.errors import EtlError


def _show_version(asked: bool) -> None:
    if asked:
        print_line(f"posthog-etl {__version__}")
        raise typer.Exit


_VERSION: dict[str, Any] = {
    "help": "Print the version and exit.",
    "is_eager": True,
    "callback": _show_version,
}
Version = Annotated[bool, typer.Option("--version", "-V", **_VERSION)]
# Shown in the help of the program alone.
_HiddenVersion = Annotated[bool, typer.Option("--version", "-V", hidden=True, **_VERSION)]
_EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        help="Read variables from this .env file. Those of the environment go before.",
        metavar="FILE",
    ),
]


class with_common_options:
    """A command with --version and, if it reads settings, with --env-file."""

    def __init__(self, command: Callable[..., None]) -> None:
        functools.update_wrapper(self, command)
        self._command = command
        self.__annotations__ = {}  # they are in the signature

    def __call__(self, **given: Any) -> None:
        """Run the command. --version was printed when the command line was read."""
        given.pop("version", None)
        env_file = given.pop("env_file", None)
        if env_file is not None:
            _take_over(env_file)
        self._command(**given)

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        """The parameters, made when they are asked for: those of all commands take 3 ms of CPU."""
        signature = inspect.signature(self._command, eval_str=True)
        parameters = list(signature.parameters.values())
        names = [each.name for each in parameters]
        # --env-file comes after --config, where somebody looks for it.
        place = names.index("config") + 1 if "config" in names else len(names)
        added = [_parameter("version", _HiddenVersion, False)]
        if "config" in names:
            added.append(_parameter("env_file", _EnvFile, None))
        return signature.replace(parameters=[*parameters[:place], *added, *parameters[place:]])


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _take_over(path: Path) -> None:
    """Put the variables of the file into the environment, which keeps what it has."""
    from etl.settings import read_env_file

    try:
        found = read_env_file(path)
    except EtlError as exc:
        fail(exc.message, exc.exit_code, exc.remedy)
    for name, value in found.items():
        # An empty variable is not set, as everywhere.
        if not os.environ.get(name):
            os.environ[name] = value
