"""What the commands share: options, running with settings, printing, failing in one line."""

from __future__ import annotations

import gc
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from etl.errors import EXIT_FAILED, EXIT_USAGE, EtlError

if TYPE_CHECKING:
    import asyncio

    from etl.logs import Redactor

T = TypeVar("T")

# After a request to stop, the batch in hand has this long, in seconds, before it is cancelled.
GRACE_S = 25.0

Config = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with settings.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Debug = Annotated[bool, typer.Option("--debug", help="Log more, and show tracebacks.")]
Streams = Annotated[
    list[str] | None, typer.Argument(metavar="STREAM", help="Default: every stream.")
]


def run_with_settings(
    work: Callable[[Any], Coroutine[Any, Any, T]],
    config: Path | None,
    flags: dict[str, Any],
    debug: bool,
) -> T:
    """Read the settings, set up the logs, do the work; foreseen failures end with their code."""
    import structlog

    from etl.errors import ConfigurationError
    from etl.logs import Redactor, configure_logs
    from etl.settings import load_settings

    redactor = Redactor()
    try:
        settings, warnings = load_settings(config, flags)
        redactor = Redactor(*settings.secret_texts)
        configure_logs(redactor, debug=debug)
        for warning in warnings:
            structlog.get_logger("etl").warning("setting.unknown", reason=warning)
        return run_loop(work(settings))
    except EtlError as exc:
        _show_traceback(redactor, debug)
        code = EXIT_USAGE if isinstance(exc, ConfigurationError) else exc.exit_code
        fail(f"posthog-etl: {redactor.text(str(exc))}", code)
    except Exception as exc:  # a defect of ours; its text may hold what must not be shown
        _show_traceback(redactor, debug)
        said = " ".join(redactor.text(f"{type(exc).__name__}: {exc}").split())
        remedy = "Please report it" if debug else "Run it with --debug to see where"
        fail(f"posthog-etl: Unexpected {said}. {remedy}", EXIT_FAILED)


def _show_traceback(redactor: Redactor, debug: bool) -> None:
    if debug:
        import traceback

        sys.stderr.write(redactor.text(traceback.format_exc()))


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on uvloop, which is faster at COPY by a fifth, else on asyncio's own loop."""
    import asyncio

    # What has been loaded stays: it is not looked through again and again. And a page of rows is
    # thousands of tuples, none of them in a circle.
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.run(work)
    return uvloop.run(work)


async def until_stopped(work: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Do `work`; SIGTERM and SIGINT ask it to stop, a second one or the grace period end it."""
    import asyncio

    stop = asyncio.Event()
    task = asyncio.ensure_future(work(stop))
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()
        loop.call_later(GRACE_S, task.cancel)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    try:
        return await task
    except asyncio.CancelledError:
        from etl.errors import Stopped

        raise Stopped("Stopped in the middle of a batch, which was not committed") from None
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def print_line(text: str) -> None:
    """Print a result to stdout, at once also when it is piped."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(document: Any) -> None:
    """Print the result as one JSON document; instants as ISO 8601."""
    print_line(json.dumps(document, default=_jsonable, ensure_ascii=False, indent=2))


def _jsonable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def fail(message: str, code: int) -> NoReturn:
    """Print one line to stderr and end with `code`."""
    sys.stderr.write(message + "\n")
    raise typer.Exit(code)


def chosen_streams(names: list[str] | None, settings: Any) -> list[Any]:
    """Return the streams named, else all, without those switched off.

    Raises ConfigurationError when there is no stream of a name.
    """
    from etl.errors import ConfigurationError
    from etl.settings import nearest
    from etl.streams import STREAMS

    for name in names or ():
        if name not in STREAMS:
            raise ConfigurationError(
                f"There is no stream {name!r}{nearest(name, STREAMS)}",
                remedy=f"Streams: {', '.join(STREAMS)}",
            )
    chosen = list(dict.fromkeys(names)) if names else list(STREAMS)
    return [STREAMS[name] for name in chosen if name not in settings.disabled_streams]
