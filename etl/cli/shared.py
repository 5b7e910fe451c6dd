"""What the commands share: options, settings, the event loop, output, and errors in one line."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
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
_MOST_WINDOWS = 10_000

Config = Annotated[
    Path | None, typer.Option("--config", help="Read settings from this TOML file.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Debug = Annotated[bool, typer.Option("--debug", help="Log more details, and show tracebacks.")]

Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print only errors: no progress and no result.")
]
QuietLog = Annotated[bool, typer.Option("-q", "--quiet", help="Log only errors.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Log what happens, also on a terminal.")
]


def log_level(*, quiet: bool, verbose: bool, debug: bool) -> str | None:
    """Return from which level on events are logged; None: nothing was asked for.

    Raises BadParameter if one flag excludes another.
    """
    if quiet and (verbose or debug):
        other = "-v" if verbose else "--debug"
        raise typer.BadParameter(f"-q and {other} exclude each other; leave out one of them")
    return "debug" if debug else "info" if verbose else "error" if quiet else None


def _offer_streams(incomplete: str) -> list[str]:
    from etl.streams import STREAMS

    return [name for name in STREAMS if name.startswith(incomplete)]


Streams = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="STREAM",
        help="Which streams. Default: all that are on.",
        autocompletion=_offer_streams,
    ),
]

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before data is destroyed.")]
Until = Annotated[
    str | None,
    typer.Option(help="Load up to this date. Default: where the next sync begins.", metavar="DATE"),
]
WindowLength = Annotated[
    str, typer.Option("--window", help="Length of a window: 12h, 7d or 4w.", metavar="LENGTH")
]
Again = Annotated[bool, typer.Option("--again", help="Also read time that is known complete.")]


class Order(StrEnum):
    """The order in which a backfill reads its windows."""

    NEWEST = "newest"
    OLDEST = "oldest"


def read_past(since: str, until: str | None, window: str, order: Order, *, again: bool) -> Any:
    """Return the time range of a backfill. Raises ConfigurationError, which names the option."""
    from datetime import UTC

    from etl.core.lookback import parse_duration
    from etl.errors import ConfigurationError
    from etl.runs.backfill import BackfillRange

    begin, end = read_dates(since, until)
    assert begin is not None
    try:
        length = parse_duration(window)
    except ValueError as exc:
        raise ConfigurationError(f"--window {exc}") from exc
    last = end or datetime.now(UTC)
    if (last - begin) / length > _MOST_WINDOWS:
        raise ConfigurationError(
            f"--window {window} would make more than {_MOST_WINDOWS:,} windows",
            remedy="Choose a longer window",
        )
    return BackfillRange(begin, end, length, order is Order.NEWEST, again)


def read_dates(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Return a range of time. Raises ConfigurationError, which names the option."""
    from datetime import UTC

    from etl.errors import ConfigurationError
    from etl.settings import parse_instant

    read: dict[str, datetime | None] = {}
    for name, text in (("--since", since), ("--until", until)):
        try:
            read[name] = None if text is None else parse_instant(text)
        except ValueError as exc:
            raise ConfigurationError(f"{name} {exc}") from exc
    begin, end = read["--since"], read["--until"]
    if begin is not None and begin >= (end or datetime.now(UTC)):
        raise ConfigurationError(
            f"--since {begin:%Y-%m-%d %H:%M} is not before "
            + (f"--until {end:%Y-%m-%d %H:%M}" if end else "now"),
            remedy="Give an earlier --since, or a later --until",
        )
    return begin, end


@contextlib.contextmanager
def without_rich() -> Iterator[None]:
    """Prevent the import of rich during the block, unless it is imported already.

    structlog imports it if it can, to show tracebacks in a form that our logs do not use.
    """
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["rich"]


@contextlib.contextmanager
def without_certificates() -> Iterator[None]:
    """Prevent aiohttp from reading certificates if it is imported in the block.

    It reads all of the system's twice, 80 ms of CPU time, for contexts that are not used: a session
    to the source has its own. OpenSSL takes the names of the files from the environment.
    """
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def run_with_settings(
    work: Callable[[Any], Coroutine[Any, Any, T]],
    config: Path | None,
    flags: dict[str, Any],
    debug: bool,
    *,
    quiet: bool = False,
    verbose: bool = False,
) -> T:
    """Read the settings, set up the logs and run `work`; return its result.

    quiet, verbose: see `log_level`. On an error it prints one line to stderr and exits with the
    error's exit code.
    """
    import structlog

    from etl.errors import ConfigurationError
    from etl.logs import Redactor, configure_logs
    from etl.settings import deprecations, load_settings

    redactor, level = Redactor(), log_level(quiet=quiet, verbose=verbose, debug=debug)
    try:
        settings, warnings = load_settings(config, flags)
        redactor = Redactor(*settings.secret_texts)
        configure_logs(redactor, level)
        for warning in warnings:
            structlog.get_logger("etl").warning("setting.unknown", reason=warning)
        for warning in deprecations(settings):
            structlog.get_logger("etl").warning("setting.deprecated", reason=warning)
        return run_loop(work(settings))
    except EtlError as exc:
        _show_traceback(redactor, debug)
        code = EXIT_USAGE if isinstance(exc, ConfigurationError) else exc.exit_code
        fail(f"posthog-etl: {redactor.text(str(exc))}", code)
    except Exception as exc:  # a defect of ours; its text may hold secrets
        _show_traceback(redactor, debug)
        said = " ".join(redactor.text(f"{type(exc).__name__}: {exc}").split())
        remedy = "Please report it" if debug else "Run it with --debug to see where"
        fail(f"posthog-etl: Unexpected {said}. {remedy}", EXIT_FAILED)


def _show_traceback(redactor: Redactor, debug: bool) -> None:
    if debug:
        import traceback

        sys.stderr.write(redactor.text(traceback.format_exc()))


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on uvloop, where COPY is a fifth faster; without uvloop on asyncio's own loop."""
    import asyncio

    # Imported modules stay, so the collector need not scan them. A page makes thousands of tuples
    # without cycles, so it runs less often.
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.run(work)
    return uvloop.run(work)


async def until_stopped(work: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run `work` and return its result. SIGTERM, SIGINT and SIGHUP set the event given to it.

    A second signal cancels it, and so does the end of GRACE_S. SIGHUP is ignored under nohup.
    Raises Stopped if it was cancelled.
    """
    import asyncio

    stop = asyncio.Event()
    task = asyncio.ensure_future(work(stop))
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            task.cancel()
        stop.set()
        loop.call_later(GRACE_S, task.cancel)

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, ask)
    try:
        return await task
    except asyncio.CancelledError:
        from etl.errors import Stopped

        raise Stopped("Stopped in the middle of a batch, which was not committed") from None
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def agreed(_what: str) -> None:
    """Agree to whatever is destroyed: the user has given --yes."""


def ask_to_destroy(what: str) -> None:
    """Ask the person at the terminal, and return if the answer is yes.

    Raises EtlError if it is no, ConfigurationError if there is no terminal.
    """
    from etl.errors import ConfigurationError

    if not sys.stdin.isatty():
        raise ConfigurationError(what, remedy="To do it, add --yes")
    # The event loop would only note the first Ctrl-C, and look at it after the answer.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yes = typer.confirm(f"{what}. Go on?", err=True)
    except typer.Abort:
        yes = False
    finally:
        signal.signal(signal.SIGINT, handler)
    if not yes:
        raise EtlError("Nothing was changed")


def print_line(text: str) -> None:
    """Print a line to stdout and flush it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(document: Any) -> None:
    """Print one JSON document to stdout; instants are ISO 8601."""
    print_line(json.dumps(document, default=_jsonable, ensure_ascii=False, indent=2))


def print_result(show: Callable[[Any], None], reports: Sequence[Any], *, quiet: bool) -> None:
    """Show the reports on stdout; quiet: only say on stderr which of them did not succeed."""
    if not quiet:
        show(reports)
        return
    for report in reports:
        if report.ending.exit_code:
            said = report.ending.reason or report.ending.status
            sys.stderr.write(f"posthog-etl: {report.stream}: {said}\n")


def _jsonable(value: Any) -> Any:
    from msgspec import Struct, structs

    if isinstance(value, Struct):
        return structs.asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def fail(message: str, code: int) -> NoReturn:
    """Print the message to stderr, wrapped if it is a terminal, and exit with `code`."""
    if sys.stderr.isatty():
        message = textwrap.fill(
            message,
            shutil.get_terminal_size().columns,
            break_long_words=False,
            break_on_hyphens=False,
        )
    sys.stderr.write(message + "\n")
    raise typer.Exit(code)


def chosen_streams(names: list[str] | None, settings: Any, *, windowed: bool = False) -> list[Any]:
    """Return the streams of these names, or all that are on; without those that are switched off.

    windowed: return only streams that are read in windows.

    Raises ConfigurationError if a name is unknown, or names a stream without windows.
    """
    from etl.errors import ConfigurationError
    from etl.settings import nearest

    known = settings.catalogue
    for name in names or ():
        if settings.is_ready_query(name):
            preset = name.partition(":")[2]
            raise ConfigurationError(
                f"The query {preset} is not switched on",
                remedy=f"Set POSTHOG_ETL_QUERY_PRESETS={preset}",
            )
        if name not in known:
            raise ConfigurationError(
                f"There is no stream {name!r}{nearest(name, known)}",
                remedy=f"Streams: {', '.join(known)}",
            )
        if windowed and known[name].started is None:
            raise ConfigurationError(
                f"{name} is not read in windows of time, so it has no past to load",
                remedy=f"A sync reads all of it: `posthog-etl sync {name}`",
            )
    return [
        stream for stream in settings.choose(names) if not (windowed and stream.started is None)
    ]
