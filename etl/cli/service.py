"""The commands that run until they are told to stop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli.shared import (
    Config,
    Debug,
    QuietLog,
    Verbose,
    print_line,
    run_with_settings,
    until_stopped,
)

if TYPE_CHECKING:
    import asyncio


def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Listen on this address. Default: 127.0.0.1.", metavar="ADDRESS"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Listen on this port; 0 picks a free one. Default: 8011.",
            metavar="PORT",
        ),
    ] = None,
    enqueue: Annotated[
        bool, typer.Option("--enqueue", help="Only put the units on the queue, for workers.")
    ] = False,
    config: Config = None,
    quiet: QuietLog = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Run syncs by schedule, and show the status in a browser.

    The status page is at /; /healthz, /readyz and /metrics are for machines. On SIGTERM or Ctrl-C
    it commits the current batch, and exits with code 0.

    Example: posthog-etl serve --config posthog-etl.toml
    """
    from etl.errors import Stopped
    from etl.logs import Redactor
    from etl.service.serve import serve as run_service

    def run(settings: Any) -> Coroutine[Any, Any, None]:
        hidden = Redactor(*settings.secret_texts).text

        def announce(url: str) -> None:
            print_line(f"serving on {url}")
            if settings.serve_token is not None:
                print_line("log in with the token that POSTHOG_ETL_SERVE_TOKEN or its file holds")

        async def work(stop: asyncio.Event) -> None:
            await run_service(
                settings,
                stop,
                hidden,
                enqueue=enqueue,
                announce=announce,
            )

        async def to_the_end() -> None:
            try:
                await until_stopped(work)
            except Stopped:
                return  # the current batch was not committed; the next start goes on

        return to_the_end()

    run_with_settings(
        run,
        config,
        {"serve_host": host, "serve_port": port},
        debug,
        quiet=quiet,
        # A service shows nothing else.
        verbose=verbose or not quiet,
    )
