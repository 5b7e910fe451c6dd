"""What the commands share: options, settings, the event loop, output, and errors in one line."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shlex
import shutil
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Self, TypeVar

import typer

from etl.errors import EXIT_FAILED, EtlError

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


class RunStatus(StrEnum):
    """How a run ended, or that it has not."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    PAUSED = "paused"
    FAILED = "failed"


OfStatus = Annotated[
    list[RunStatus] | None,
    typer.Option(
        "--status",
        help="Only running, succeeded, partial, paused or failed; may be repeated.",
        metavar="STATUS",
    ),
]


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


def read_choice(
    settings: Any,
    streams: list[str] | None,
    statuses: list[RunStatus] | None,
    since: str | None,
    until: str | None,
) -> Any:
    """Return which runs are to be shown. Raises ConfigurationError, which names the mistake."""
    from etl.core.query import PREFIX
    from etl.core.statuses import Chosen

    for name in streams or ():
        # There may be runs of a query that is no longer configured.
        if not name.startswith(PREFIX):
            refuse_unknown_stream(name, settings.catalogue)
    return Chosen(tuple(streams or ()), tuple(map(str, statuses or ())), *read_dates(since, until))


def read_dates(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Return a range of time. Raises ConfigurationError, which names the option."""
    from datetime import UTC

    from etl.errors import ConfigurationError
    from etl.settings import read_date

    begin = None if since is None else read_date("--since", since)
    end = None if until is None else read_date("--until", until)
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

    from etl.logs import Redactor, configure_logs
    from etl.settings import deprecations, load_settings

    level = log_level(quiet=quiet, verbose=verbose, debug=debug)
    with ErrorsInOneLine(debug) as told:
        settings, warnings = load_settings(config, flags)
        told.redactor = Redactor(*settings.secret_texts)
        configure_logs(told.redactor, level)
        for warning in warnings:
            structlog.get_logger("etl").warning("setting.unknown", reason=warning)
        for warning in deprecations(settings):
            structlog.get_logger("etl").warning("setting.deprecated", reason=warning)
        return run_loop(work(settings))


class ErrorsInOneLine:
    """A block whose errors end the command: one line, and the error's exit code.

    redactor: hides the secrets that are known by then.
    """

    def __init__(self, debug: bool) -> None:
        from etl.logs import Redactor

        self.redactor: Redactor = Redactor()
        self._debug = debug

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, typer.Abort):  # Ctrl-C at a question
            fail("Nothing was changed", EXIT_FAILED)
        if not isinstance(exc, Exception) or isinstance(exc, typer.Exit):
            return
        if self._debug:
            import traceback

            sys.stderr.write(self.redactor.text("".join(traceback.format_exception(exc))))
        text = self.redactor.text
        if isinstance(exc, EtlError):
            fail(text(exc.message), exc.exit_code, text(exc.remedy))
        # A defect of ours; its text may hold secrets.
        said = " ".join(text(f"{type(exc).__name__}: {exc}").split())
        remedy = "Please report it" if self._debug else "Run it with --debug to see where"
        fail(f"Unexpected {said}", EXIT_FAILED, remedy)


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


async def with_alerts(settings: Any, work: Awaitable[T]) -> T:
    """Do the work of a command, then tell of alerts, also if it has failed."""
    import asyncio

    tells = settings.tells_alerts
    try:
        return await work
    except asyncio.CancelledError:
        tells = False  # there is no time left
        raise
    finally:
        if tells:
            from etl.alerting import tell_once

            await tell_once(settings)


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


@contextlib.contextmanager
def ignoring_ctrl_c() -> Iterator[None]:
    """Leave Ctrl-C to a program that runs on this terminal meanwhile.

    A handler that does nothing, because a program inherits that a signal is ignored.
    """
    handler = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def same_settings() -> str:
    """Return the options that named the settings' files, for a command that is shown."""
    words = sys.argv[1:]
    found = []
    for at, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--config", "--env-file"):
            found += [name, value or words[at + 1]]
    return "".join(f" {shlex.quote(word)}" for word in found)


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


def fail(cause: str, code: int, remedy: str = "") -> NoReturn:
    """Print cause and remedy to stderr, and exit with `code`.

    A terminal gets the line wrapped. With --json stdout gets them, too.
    """
    message = f"posthog-etl: {EtlError(cause, remedy=remedy)}"
    if sys.stderr.isatty():
        message = textwrap.fill(
            message,
            shutil.get_terminal_size().columns,
            break_long_words=False,
            break_on_hyphens=False,
        )
    sys.stderr.write(message + "\n")
    print_json_error(cause, code, remedy)
    raise typer.Exit(code)


def print_json_error(cause: str, code: int, remedy: str = "") -> None:
    """Print a JSON document about an error if the command line asks for JSON.

    It looks at the arguments themselves, since they may be what is wrong.
    """
    if "--json" in sys.argv:
        print_json({"error": {"message": cause, "remedy": remedy, "exit_code": code}})


def refuse_unknown_stream(name: str, known: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if there is no stream of this name."""
    from etl.errors import ConfigurationError
    from etl.settings import nearest

    if name not in known:
        raise ConfigurationError(
            f"There is no stream {name!r}{nearest(name, known)}",
            remedy=f"Streams: {', '.join(known)}",
        )


def chosen_streams(names: list[str] | None, settings: Any, *, windowed: bool = False) -> list[Any]:
    """Return the streams of these names, or all that are on.

    windowed: return only streams that are read in windows.

    Raises ConfigurationError if a name is unknown, or names a stream that is switched off or has
    no windows.
    """
    from etl.errors import ConfigurationError

    known = settings.catalogue
    for name in names or ():
        if settings.is_ready_query(name):
            preset = name.partition(":")[2]
            raise ConfigurationError(
                f"The query {preset} is not switched on",
                remedy=f"Set POSTHOG_ETL_QUERY_PRESETS={preset}",
            )
        refuse_unknown_stream(name, known)
        if name in settings.disabled_streams:
            raise ConfigurationError(
                f"{name} is switched off",
                remedy="Take it out of POSTHOG_ETL_DISABLED_STREAMS, or disabled_streams",
            )
        if windowed and known[name].started is None:
            raise ConfigurationError(
                f"{name} is not read in windows of time, so it has no past to load",
                remedy=f"A sync reads all of it: `posthog-etl sync {name}`",
            )
    return [
        stream for stream in settings.choose(names) if not (windowed and stream.started is None)
    ]
