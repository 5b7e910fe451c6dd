"""The commands that change the database."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli.shared import (
    Again,
    Config,
    Debug,
    Json,
    Order,
    Quiet,
    QuietLog,
    Streams,
    Until,
    Verbose,
    WindowLength,
    Yes,
    agreed,
    ask_to_destroy,
    chosen_streams,
    print_json,
    print_line,
    print_result,
    read_dates,
    read_past,
    run_with_settings,
    until_stopped,
    with_alerts,
    without_certificates,
    without_rich,
)
from etl.errors import exit_code_of

if TYPE_CHECKING:
    import asyncio


def sync(
    stream: Streams = None,
    config: Config = None,
    start: Annotated[
        str | None,
        typer.Option(help="The first sync loads recordings since this date.", metavar="DATE"),
    ] = None,
    accept_deletions: Annotated[
        list[str] | None,
        typer.Option(
            help="Mark vanished records of this stream as deleted or expired, however many "
            "they are.",
            metavar="STREAM",
        ),
    ] = None,
    accept_count: Annotated[
        list[str] | None,
        typer.Option(
            help="Accept that the server counts more rows of this stream than it lists.",
            metavar="STREAM",
        ),
    ] = None,
    accept_host: Annotated[
        bool,
        typer.Option("--accept-host", help="Accept that the address of the source has changed."),
    ] = False,
    verify_share: Annotated[
        bool,
        typer.Option(
            "--verify-share",
            help="Then verify a part of the past, within a share of the request budget.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Bring streams up to date. Safe to repeat at any time, for example from cron.

    Example: posthog-etl sync session_recordings --json
    """
    with without_rich(), without_certificates():
        from etl import app as wiring
        from etl.runs.report import code_of_slice, codes_of_streams
    from etl.console import progress_display, show_comparisons, show_reports

    named = set[str]()

    def run(settings: Any) -> Coroutine[Any, Any, tuple[list[Any], list[Any]]]:
        streams = chosen_streams(stream, settings)
        named.update([*(stream or ()), *settings.enabled_streams])
        accepted = wiring.Acceptance(
            [s.name for s in chosen_streams(accept_deletions, settings) if accept_deletions],
            [s.name for s in chosen_streams(accept_count, settings) if accept_count],
            accept_host,
        )

        async def work(stop: asyncio.Event) -> tuple[list[Any], list[Any]]:
            with progress_display(quiet=quiet) as watch:
                synced = await wiring.sync(settings, streams, stop, watch, accepted)
                if not verify_share or stop.is_set():
                    return synced, []
                from etl.service.queue import with_short_waits
                from etl.upkeep import verify_slices

                # The next sync must not wait for the request budget of a verification.
                patience = with_short_waits(settings)
                return synced, await verify_slices(patience, streams, stop, watch)

        return until_stopped(lambda stop: with_alerts(settings, work(stop)))

    reports, slices = run_with_settings(
        run, config, {"start": start}, debug, quiet=quiet, verbose=verbose
    )
    if as_json:
        of_slices = {"verified": [each.as_json() for each in slices]} if verify_share else {}
        print_json({"reports": [report.as_json() for report in reports], **of_slices})
    else:
        print_result(show_reports, reports, quiet=quiet)
        if slices:
            print_result(show_comparisons, slices, quiet=quiet)
    codes = codes_of_streams(reports, named)
    raise typer.Exit(exit_code_of([*codes, *(code_of_slice(each) for each in slices)]))


def backfill(
    stream: Annotated[list[str], typer.Argument(metavar="STREAM", help="One stream or several.")],
    since: Annotated[str, typer.Option(help="Load from this date on.", metavar="DATE")],
    until: Until = None,
    window: WindowLength = "30d",
    order: Annotated[Order, typer.Option(help="Which windows are read first.")] = Order.NEWEST,
    again: Again = False,
    enqueue: Annotated[
        bool, typer.Option("--enqueue", help="Only put the windows on the queue, for workers.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Load past windows. Run it again after an interruption: it continues.

    Time that is known complete is not read again. It can run at the same time as a sync.

    Example: posthog-etl backfill session_recordings --since 2026-01-01
    """
    if enqueue:
        past = (since, until, window, order, again)
        _enqueue_backfill(stream, past, config, as_json, debug, quiet=quiet, verbose=verbose)
        return
    from etl import app as wiring
    from etl.console import progress_display, show_reports

    def run(settings: Any) -> Coroutine[Any, Any, list[Any]]:
        streams = chosen_streams(stream, settings, windowed=True)
        past = read_past(since, until, window, order, again=again)

        async def work(stop: asyncio.Event) -> list[Any]:
            with progress_display(quiet=quiet) as watch:
                return await wiring.backfill(settings, streams, past, stop, watch)

        return until_stopped(lambda stop: with_alerts(settings, work(stop)))

    reports = run_with_settings(run, config, {}, debug, quiet=quiet, verbose=verbose)
    if as_json:
        print_json({"reports": [report.as_json() for report in reports]})
    elif reports:
        print_result(show_reports, reports, quiet=quiet)
    elif not quiet:
        print_line(
            "All of this time is known complete; nothing was read. To read it again, add --again"
        )
    raise typer.Exit(exit_code_of([report.ending.exit_code for report in reports]))


def resync(
    stream: Annotated[list[str], typer.Argument(metavar="STREAM", help="One stream or several.")],
    accept_deletions: Annotated[
        bool,
        typer.Option(
            "--accept-deletions", help="Mark what is gone as deleted, however much it is."
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Read streams anew, from their beginning. The rows stay; what is gone is marked at the end.

    Run it again after an interruption: it continues. Syncs can run at the same time.

    Example: posthog-etl resync subscriptions
    """
    from etl import app as wiring
    from etl.console import progress_display, show_reports

    def run(settings: Any) -> Coroutine[Any, Any, list[Any]]:
        streams = chosen_streams(stream, settings)
        accepted = wiring.Acceptance([s.name for s in streams] if accept_deletions else ())

        async def work(stop: asyncio.Event) -> list[Any]:
            with progress_display(quiet=quiet) as watch:
                return await wiring.resync(settings, streams, stop, watch, accepted)

        return until_stopped(lambda stop: with_alerts(settings, work(stop)))

    reports = run_with_settings(run, config, {}, debug, quiet=quiet, verbose=verbose)
    if as_json:
        print_json({"reports": [report.as_json() for report in reports]})
    else:
        print_result(show_reports, reports, quiet=quiet)
    raise typer.Exit(exit_code_of([report.ending.exit_code for report in reports]))


def verify(
    stream: Streams = None,
    since: Annotated[
        str | None,
        typer.Option(help="Recordings from this date on. Default: all.", metavar="DATE"),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Recordings up to this date. Default: where the next sync begins.", metavar="DATE"
        ),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare contents, not only which rows there are.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Load again what differs, and compare it once more.")
    ] = False,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Send at most so many requests. The next one goes on."
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Compare source and destination. It changes no data, unless --repair is given.

    Exit code 0: they are equal, or were repaired. 3: differences are left.

    Example: posthog-etl verify --deep
    """
    from etl import upkeep as wiring
    from etl.console import progress_display, show_comparisons
    from etl.runs.report import codes_of_streams

    named = set[str]()

    def run(settings: Any) -> Coroutine[Any, Any, list[Any]]:
        streams = chosen_streams(stream, settings)
        named.update([*(stream or ()), *settings.enabled_streams])
        if stream:
            wiring.refuse_queries(streams)
        span = read_dates(since, until)
        asked = wiring.Verification(deep, *span, repair, budget)

        async def work(stop: asyncio.Event) -> list[Any]:
            with progress_display(quiet=quiet) as watch:
                return await wiring.verify(settings, streams, asked, stop, watch)

        return until_stopped(lambda stop: with_alerts(settings, work(stop)))

    reports = run_with_settings(run, config, {}, debug, quiet=quiet, verbose=verbose)
    if as_json:
        print_json({"reports": [report.as_json() for report in reports]})
    else:
        print_result(show_comparisons, reports, quiet=quiet)
    raise typer.Exit(exit_code_of(codes_of_streams(reports, named)))


def _enqueue_backfill(
    stream: list[str],
    past: tuple[str, str | None, str, Order, bool],
    config: Path | None,
    as_json: bool,
    debug: bool,
    *,
    quiet: bool,
    verbose: bool,
) -> None:
    from etl.service.queue import enqueue_backfill

    def run(settings: Any) -> Coroutine[Any, Any, Any]:
        streams = chosen_streams(stream, settings, windowed=True)
        since, until, window, order, again = past
        asked = read_past(since, until, window, order, again=again)
        return enqueue_backfill(settings, streams, asked)

    enqueued = run_with_settings(run, config, {}, debug, quiet=quiet, verbose=verbose)
    if as_json:
        print_json(
            {
                "windows": enqueued.windows,
                "jobs": enqueued.jobs,
                "already_queued": enqueued.already,
            }
        )
        return
    if quiet:
        return
    there = f"; {enqueued.already:,} are on the queue already" if enqueued.already else ""
    if enqueued.windows:
        print_line(f"Put {enqueued.windows:,} windows on the queue{there}.")
    else:
        print_line(f"Nothing to put on the queue: the rest is known complete{there}.")


def worker(
    concurrency: Annotated[
        int, typer.Option(min=1, max=16, metavar="N", help="How many units it works on at once.")
    ] = 1,
    alive: Annotated[
        Path | None,
        typer.Option(help="Touch this file every 5 seconds, for a health check.", metavar="FILE"),
    ] = None,
    config: Config = None,
    quiet: QuietLog = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Execute units from the queue. Run as many workers as you like, on any machines.

    On SIGTERM it commits the current batch, returns the rest to the queue, and exits with code 0.

    Example: posthog-etl worker --concurrency 2
    """
    from etl.errors import Stopped
    from etl.service.worker import work

    async def to_the_end(settings: Any) -> None:
        try:
            await until_stopped(lambda stop: work(settings, concurrency, stop, alive))
        except Stopped:
            return  # the current batch was not committed; another worker goes on

    # A worker shows nothing else.
    verbose = verbose or not quiet
    run_with_settings(to_the_end, config, {}, debug, quiet=quiet, verbose=verbose)


def migrate(
    config: Config = None,
    to: Annotated[
        str,
        typer.Option(metavar="REVISION", help="Revision to migrate to; base removes all tables."),
    ] = "head",
    yes: Yes = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring the database schema up to date. Safe to run several at once.

    For an older revision it first counts what would be destroyed, and asks.

    Example: posthog-etl migrate
    """
    from etl import upkeep as wiring

    before, after = run_with_settings(
        lambda settings: wiring.migrate_only(settings, to, agreed if yes else ask_to_destroy),
        config,
        {},
        debug,
    )
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        print_line(f"The schema is at {after}; nothing to do.")
    else:
        print_line(f"The schema went from {before} to {after}.")


def retry_rejects(
    stream: Streams = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Load rejected records again. Sends no request to PostHog.

    Run it after an upgrade, or after the cause was repaired.

    Example: posthog-etl rejects retry
    """
    from etl import app as wiring
    from etl.console import show_reports

    reports = run_with_settings(
        lambda settings: with_alerts(
            settings, wiring.retry(settings, chosen_streams(stream, settings))
        ),
        config,
        {},
        debug,
        quiet=quiet,
        verbose=verbose,
    )
    if as_json:
        print_json({"reports": [report.as_json() for report in reports]})
    elif reports:
        print_result(show_reports, reports, quiet=quiet)
    elif not quiet:
        print_line("There are no rejects.")
    raise typer.Exit(exit_code_of([report.ending.exit_code for report in reports]))
