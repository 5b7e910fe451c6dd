"""The commands that need no PostHog: the demo and the sandbox."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from etl.cli.shared import Debug, fail, print_line, run_loop, until_stopped
from etl.errors import EXIT_FAILED, EtlError

if TYPE_CHECKING:
    import asyncio


def demo(
    data_dir: Annotated[
        Path, typer.Option(help="Directory for the data of the demo's Postgres.", metavar="DIR")
    ] = Path("posthog-etl-demo"),
    recordings: Annotated[
        int, typer.Option(min=2000, metavar="N", help="How many recordings to make.")
    ] = 20_000,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep Postgres and the sandbox running until Ctrl-C.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Kill a sync midway, run it again, and compare the result. Needs no settings.

    Example: posthog-etl demo
    """
    from etl.console import show_rows
    from etl.demo import run_demo
    from etl.logs import Redactor, configure_logs

    configure_logs(Redactor(), "debug" if debug else None)

    async def work(stop: asyncio.Event) -> bool:
        place = data_dir.absolute()
        return await run_demo(place, recordings, print_line, show_rows, stop, stay=stay)

    try:
        same = run_loop(until_stopped(work))
    except EtlError as exc:
        fail(exc.message, exc.exit_code, exc.remedy)
    if not same:
        fail("the copy differs from the source", EXIT_FAILED)


def sandbox(
    flavour: Annotated[
        Literal["docs", "cloud"],
        typer.Option(help="docs: answers as documented; cloud: answers as PostHog Cloud."),
    ] = "cloud",
    recordings: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many recordings there are.")
    ] = 2000,
    subscriptions: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many subscriptions there are.")
    ] = 12,
    groups: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many groups there are.")
    ] = 250,
    insights: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many insights there are.")
    ] = 30,
    playlists: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many playlists there are.")
    ] = 8,
    secret_keys: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many secret API keys there are.")
    ] = 3,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed makes the same data.")] = 1,
    days: Annotated[
        float,
        typer.Option(
            min=0.01, metavar="DAYS", help="How many days the recordings are spread over."
        ),
    ] = 30.0,
    project: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="Id of a project; may be repeated. Default: 1."),
    ] = None,
    key: Annotated[
        str, typer.Option(metavar="KEY", help="Accept this personal API key.")
    ] = "phx_sandbox",
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen on this address.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Listen on this port; 0 picks a free one."
        ),
    ] = 8010,
    now: Annotated[
        str | None,
        typer.Option(help="Start the clock at this time. Default: now.", metavar="DATE"),
    ] = None,
    clock: Annotated[
        Literal["running", "frozen"], typer.Option(help="Whether the clock advances by itself.")
    ] = "running",
    limits: Annotated[
        Literal["off", "free", "paid", "enterprise"],
        typer.Option(help="Apply the rate limits of this plan."),
    ] = "off",
    start_ties: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many recordings share each start_time.")
    ] = 1,
    date_filter: Annotated[
        Literal["honoured", "ignored", "refused"] | None,
        typer.Option(
            help="How date_from and date_to are treated. Default: ignored in the docs flavour, "
            "honoured in the cloud flavour."
        ),
    ] = None,
    page_version: Annotated[
        Literal["A", "C", "D", "mixed"],
        typer.Option(help="Which documented form of a record the docs flavour sends."),
    ] = "D",
    server_version: Annotated[
        Literal["current", "offset_only"],
        typer.Option(
            help="offset_only: an older PostHog server without cursors; cloud flavour only."
        ),
    ] = "current",
) -> None:
    """Run a PostHog-compatible server over generated data.

    It has faults on demand; docs/sandbox.md has an example of each.

    Example: posthog-etl sandbox --recordings 20000 --port 8010
    """
    import asyncio

    from etl.sandbox.options import SandboxOptions
    from etl.sandbox.server import serve

    start = None
    if now is not None:
        from etl.settings import read_date

        try:
            start = read_date("--now", now)
        except EtlError as exc:
            fail(exc.message, exc.exit_code, exc.remedy)
    options = SandboxOptions(
        flavour=flavour,
        subscriptions=subscriptions,
        groups=groups,
        insights=insights,
        playlists=playlists,
        secret_keys=secret_keys,
        seed=seed,
        recordings=recordings,
        days=days,
        projects=tuple(project or (1,)),
        key=key,
        host=host,
        port=port,
        now=start,
        clock=clock,
        limits=limits,
        start_ties=start_ties,
        date_filter=date_filter,
        page_version=page_version,
        server_version=server_version,
    )

    async def work(stop: asyncio.Event) -> None:
        await serve(options, stop, lambda url: print_line(f"sandbox listening on {url}"))

    try:
        asyncio.run(until_stopped(work))
    except OSError as exc:
        number = exc.errno or 0
        why = os.strerror(number) if number > 0 else exc.strerror
        fail(
            f"cannot listen on {host}:{port}: {why}",
            EXIT_FAILED,
            "Choose another with --host and --port, or end the program that uses it",
        )
