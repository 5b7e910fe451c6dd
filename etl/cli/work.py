"""The commands that change the destination."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli.shared import (
    Config,
    Debug,
    Json,
    Streams,
    chosen_streams,
    print_json,
    print_line,
    run_with_settings,
    until_stopped,
)
from etl.errors import exit_code_of

if TYPE_CHECKING:
    import asyncio


def sync(
    stream: Streams = None,
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
        streams = chosen_streams(stream, settings)

        async def work(stop: asyncio.Event) -> list[Any]:
            with progress_display() as watch:
                return await wiring.sync(settings, streams, stop, watch)

        return until_stopped(work)

    reports = run_with_settings(run, config, {"start": start}, debug)
    if as_json:
        print_json({"reports": [report.as_json() for report in reports]})
    else:
        show_reports(reports)
    raise typer.Exit(exit_code_of([report.ending.exit_code for report in reports]))


def migrate(
    config: Config = None,
    to: Annotated[
        str, typer.Option(metavar="REVISION", help="Revision to go to; base removes all.")
    ] = "head",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring the database schema up to date. Several at once are safe.

    Example: posthog-etl migrate
    """
    from etl import app as wiring

    before, after = run_with_settings(
        lambda settings: wiring.migrate_only(settings, to), config, {}, debug
    )
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        print_line(f"The schema is at {after}; nothing to do.")
    else:
        print_line(f"The schema went from {before} to {after}.")


def retry_rejects(
    stream: Streams = None, config: Config = None, as_json: Json = False, debug: Debug = False
) -> None:
    """Replay what was set aside. For after an upgrade, or once the cause is mended; needs no API.

    Example: posthog-etl rejects retry
    """
    from etl import app as wiring
    from etl.console import show_reports

    reports = run_with_settings(
        lambda settings: wiring.retry(settings, chosen_streams(stream, settings)),
        config,
        {},
        debug,
    )
    if as_json:
        print_json({"reports": [report.as_json() for report in reports]})
    elif reports:
        show_reports(reports)
    else:
        print_line("Nothing is set aside.")
    raise typer.Exit(exit_code_of([report.ending.exit_code for report in reports]))
