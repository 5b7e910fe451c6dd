"""The commands: parse, call app, print the result, set the exit code.

Heavy modules are imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import typer

from etl import __version__
from etl.errors import EXIT_FAILED, EXIT_PARTIAL, EXIT_USAGE, EtlError, exit_code_of

T = TypeVar("T")

# After a request to stop, the batch in hand has this long, in seconds, before it is cancelled.
GRACE_S = 25.0

app = typer.Typer(
    name="posthog-etl",
    help="Copies what a PostHog project holds into Postgres, and keeps the copy current.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with settings.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Debug = Annotated[bool, typer.Option("--debug", help="Log more, and show tracebacks.")]


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
        _print(f"posthog-etl {__version__}")
        raise typer.Exit


@app.command()
def sync(
    stream: Annotated[
        list[str] | None, typer.Argument(metavar="[STREAM]...", help="Default: every stream.")
    ] = None,
    config: Config = None,
    start: Annotated[
        str | None, typer.Option(help="First load: recordings since this date.", metavar="DATE")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring streams up to date. This is what cron runs; run it as often as you like.

    Example: posthog-etl sync session_recordings --json
    """
    from etl import app as wiring
    from etl.console import progress_display, show_reports

    def run(settings: Any) -> Coroutine[Any, Any, list[Any]]:
        streams = _streams(stream, settings)

        async def work(stop: asyncio.Event) -> list[Any]:
            with progress_display() as watch:
                return await wiring.sync(settings, streams, stop, watch)

        return _until_stopped(work)

    reports = _run(run, config, {"start": start}, debug)
    if as_json:
        _print_json({"reports": [report.as_json() for report in reports]})
    else:
        show_reports(reports)
    raise typer.Exit(exit_code_of([report.ending.exit_code for report in reports]))


@app.command()
def migrate(
    config: Config = None,
    to: Annotated[str, typer.Option(help="Revision to go to; base removes all.")] = "head",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring the database schema up to date. Several at once are safe.

    Example: posthog-etl migrate
    """
    from etl import app as wiring

    before, after = _run(lambda settings: wiring.migrate_only(settings, to), config, {}, debug)
    if as_json:
        _print_json({"before": before, "after": after})
    elif before == after:
        _print(f"The schema is at {after}; nothing to do.")
    else:
        _print(f"The schema went from {before} to {after}.")


@app.command()
def status(config: Config = None, as_json: Json = False, debug: Debug = False) -> None:
    """Show per project and stream: state, watermark, lag, last run, rejects.

    Example: posthog-etl status --json
    """
    from etl import app as wiring
    from etl.console import show_status

    rows = _run(wiring.status, config, {}, debug)
    if as_json:
        _print_json({"streams": rows})
    else:
        show_status(rows)


@app.command()
def demo(
    data_dir: Annotated[
        Path, typer.Option(help="Where the demo's Postgres keeps its data.", metavar="DIR")
    ] = Path("posthog-etl-demo"),
    recordings: Annotated[int, typer.Option(min=2000, help="How many recordings.")] = 20_000,
    debug: Debug = False,
) -> None:
    """Show the real thing with nothing configured: a sync, a kill in the middle, what arrived.

    Example: posthog-etl demo
    """
    from etl.console import show_rows
    from etl.demo import run_demo
    from etl.logs import Redactor, configure_logs

    configure_logs(Redactor(), debug=debug)
    try:
        same = _loop(run_demo(data_dir.absolute(), recordings, _print, show_rows))
    except EtlError as exc:
        _fail(f"posthog-etl: {exc}", exc.exit_code)
    if not same:
        _fail("posthog-etl: the copy differs from the truth", EXIT_FAILED)


@app.command()
def sandbox(
    flavour: Annotated[
        Literal["docs", "cloud"], typer.Option(help="docs: as documented; cloud: as it really is.")
    ] = "cloud",
    recordings: Annotated[int, typer.Option(min=0, help="How many recordings there are.")] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same data.")] = 1,
    days: Annotated[float, typer.Option(min=0.01, help="Days they are spread over.")] = 30.0,
    project: Annotated[list[int] | None, typer.Option(help="Project id; may be repeated.")] = None,
    key: Annotated[str, typer.Option(help="The personal API key to accept.")] = "phx_sandbox",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8010,
    now: Annotated[
        datetime | None, typer.Option(help="Where its clock starts.", metavar="DATE")
    ] = None,
    clock: Annotated[
        Literal["running", "frozen"], typer.Option(help="Whether its clock moves by itself.")
    ] = "running",
    limits: Annotated[
        Literal["off", "free", "paid", "enterprise"], typer.Option(help="Rate limits of a plan.")
    ] = "off",
    start_ties: Annotated[
        int, typer.Option(min=1, help="How many recordings share each start_time.")
    ] = 1,
    date_filter: Annotated[
        Literal["honoured", "ignored", "refused"] | None,
        typer.Option(help="What date_from and date_to do. Default: ignored in the docs flavour."),
    ] = None,
    page_version: Annotated[
        Literal["A", "C", "D", "mixed"],
        typer.Option(help="Which documented form of a record the docs flavour sends."),
    ] = "D",
    server_version: Annotated[
        Literal["current", "offset_only"],
        typer.Option(help="offset_only: an older server of the cloud flavour, without cursors."),
    ] = "current",
) -> None:
    """Run a PostHog-compatible server over generated data, with faults on demand.

    Example: posthog-etl sandbox --recordings 20000 --port 8010
    """
    from datetime import UTC

    from etl.sandbox.options import SandboxOptions
    from etl.sandbox.server import serve

    options = SandboxOptions(
        flavour=flavour,
        seed=seed,
        recordings=recordings,
        days=days,
        projects=tuple(project or (1,)),
        key=key,
        host=host,
        port=port,
        now=now if now is None or now.tzinfo else now.replace(tzinfo=UTC),
        clock=clock,
        limits=limits,
        start_ties=start_ties,
        date_filter=date_filter,
        page_version=page_version,
        server_version=server_version,
    )

    async def work(stop: asyncio.Event) -> None:
        await serve(options, stop, lambda url: _print(f"sandbox listening on {url}"))

    try:
        asyncio.run(_until_stopped(work))
    except OSError as exc:
        _fail(
            f"posthog-etl: cannot listen on {host}:{port}: {exc.strerror or exc}. "
            "Choose another with --port, or end what holds it",
            EXIT_FAILED,
        )


def _run(
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
        return _loop(work(settings))
    except EtlError as exc:
        if debug:
            import traceback

            sys.stderr.write(redactor.text(traceback.format_exc()))
        code = EXIT_USAGE if isinstance(exc, ConfigurationError) else exc.exit_code
        _fail(f"posthog-etl: {redactor.text(str(exc))}", code)


def _loop(work: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.run(work)
    return uvloop.run(work)


async def _until_stopped(work: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Do `work`; SIGTERM and SIGINT ask it to stop, a second one or the grace period end it."""
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


def _streams(names: list[str] | None, settings: Any) -> list[Any]:
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


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _print_json(document: Any) -> None:
    _print(json.dumps(document, default=_jsonable, ensure_ascii=False, indent=2))


def _jsonable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise typer.Exit(code)
