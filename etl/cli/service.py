"""The commands that run until they are told to stop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli.shared import Config, Debug, print_line, run_with_settings, until_stopped

if TYPE_CHECKING:
    import asyncio


def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on. Default: 127.0.0.1.", metavar="ADDRESS"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Default: 8011; 0 picks a free one.", metavar="PORT"),
    ] = None,
    enqueue: Annotated[
        bool, typer.Option("--enqueue", help="Leave the units to workers, and only put them there.")
    ] = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Sync by schedule; show in a browser how it goes.

    At / is a page for people; machines ask /healthz, /readyz and /metrics. SIGTERM and Ctrl-C end
    it with 0, after the batch in hand is committed.

    Example: posthog-etl serve --config posthog-etl.toml
    """
    from etl.errors import Stopped
    from etl.logs import Redactor
    from etl.service.serve import serve as run_service

    def run(settings: Any) -> Coroutine[Any, Any, None]:
        hidden = Redactor(*settings.secret_texts).text

        async def work(stop: asyncio.Event) -> None:
            await run_service(
                settings,
                stop,
                hidden,
                enqueue=enqueue,
                announce=lambda url: print_line(f"serving on {url}"),
            )

        async def to_the_end() -> None:
            try:
                await until_stopped(work)
            except Stopped:
                return  # the batch in hand was not committed, and the next start goes on

        return to_the_end()

    run_with_settings(run, config, {"serve_host": host, "serve_port": port}, debug)
