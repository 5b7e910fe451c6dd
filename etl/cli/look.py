"""The commands that change nothing."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli.shared import (
    Again,
    Config,
    Debug,
    Json,
    OfStatus,
    Order,
    QuietLog,
    Streams,
    Until,
    Verbose,
    WindowLength,
    chosen_streams,
    print_json,
    print_line,
    read_choice,
    read_past,
    run_with_settings,
    same_settings,
    until_stopped,
)
from etl.errors import exit_code_of

if TYPE_CHECKING:
    from etl.runs.check import Finding


def status(
    stream: Streams = None,
    of_status: OfStatus = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only if the last run began at this date or later.", metavar="DATE"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only if the last run began before.", metavar="DATE")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until Ctrl-C.")] = False,
    interval: Annotated[
        float,
        typer.Option(
            min=0.1, max=86_400, metavar="SECONDS", help="Time between repeats of --watch."
        ),
    ] = 5.0,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show up to when each stream is complete, and its last run.

    A DATE is 2026-01-31, 2026-01-31T12:00Z, 30d, 2h, today or yesterday (UTC).

    Example: posthog-etl status --status failed --status partial
    """
    from etl import app as wiring
    from etl.console import show_status

    if watch:
        if as_json:
            raise typer.BadParameter("--watch and --json exclude each other; leave out one of them")
        run_with_settings(
            lambda settings: _watch(
                settings, read_choice(settings, stream, of_status, since, until), interval
            ),
            *(config, {}, debug),
        )
        return

    async def look(settings: Any) -> tuple[Any, bool]:
        chosen = read_choice(settings, stream, of_status, since, until)
        return await wiring.status(settings, chosen, counts=as_json), chosen.is_all

    found, is_all = run_with_settings(look, config, {}, debug)
    if as_json:
        from msgspec.structs import asdict

        queue = [{"project_id": number, **asdict(jobs)} for number, jobs in found.queue.items()]
        never_run = [{"project_id": n, "streams": each} for n, each in found.never_run.items()]
        rows = [_status_json(row) for row in found.streams]
        print_json({"streams": rows, "queue": queue, "never_run": never_run})
    elif found.streams or is_all:
        show_status(found)
    else:
        print_line("No stream is like that.")


async def _watch(settings: Any, chosen: Any, interval_s: float) -> None:
    """Show the status until stopped. While the database does not answer, show the error."""
    import asyncio
    import contextlib
    from functools import partial

    from etl.app import open_status
    from etl.console import in_place, show_status
    from etl.errors import DestinationUnavailable

    async def work(stop: asyncio.Event) -> None:
        async with open_status(settings, chosen) as look:
            with in_place() as frame:
                while not stop.is_set():
                    try:
                        found = await look()
                    except DestinationUnavailable as exc:
                        frame(partial(print_line, str(exc)))
                    else:
                        frame(partial(show_status, found))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(interval_s):
                            await stop.wait()

    await until_stopped(work)


def _status_json(row: dict[str, Any]) -> dict[str, Any]:
    complete = row["complete"]
    spans = {"complete": complete.spans, "holes": row["holes"]}
    return {
        **row,
        "complete_since": complete.since,
        "complete_until": complete.until,
        "rows": {name: count.rows for name, count in row["rows"].items()},
        "rows_estimated": [name for name, count in row["rows"].items() if not count.exact],
        **{name: [span._asdict() for span in those] for name, those in spans.items()},
    }


def plan(
    stream: Streams = None,
    since: Annotated[
        str | None, typer.Option(help="Plan a backfill from this date on.", metavar="DATE")
    ] = None,
    until: Until = None,
    window: WindowLength = "30d",
    order: Annotated[Order, typer.Option(help="Which windows are read first.")] = Order.NEWEST,
    again: Again = False,
    ask: Annotated[
        int,
        typer.Option(
            "--ask",
            min=0,
            max=1000,
            metavar="N",
            help="Requests it may send to ask PostHog how much there is, where nothing is known; "
            "0: none.",
        ),
    ] = 10,
    config: Config = None,
    as_json: Json = False,
    quiet: QuietLog = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Show the rows, requests and time that a sync would need.

    With --since: those that a backfill would need.

    Example: posthog-etl plan --since 2026-01-01
    """
    from etl import app as wiring
    from etl.console import progress_display, show_plan
    from etl.errors import ConfigurationError

    def run(settings: Any) -> Coroutine[Any, Any, tuple[Any, str]]:
        if since is None and until is not None:
            raise ConfigurationError("--until needs --since", remedy="Give both, or neither")
        past = None if since is None else read_past(since, until, window, order, again=again)
        streams = chosen_streams(stream, settings, windowed=past is not None)

        async def work() -> tuple[Any, str]:
            with progress_display(quiet=quiet) as watch:
                made = await wiring.make_forecast(settings, streams, past, watch, ask)
            return made, settings.plan

        return work()

    made, plan_name = run_with_settings(run, config, {}, debug, quiet=quiet, verbose=verbose)
    if as_json:
        print_json(made.as_json())
    else:
        show_plan(made, plan_name, most_asked=ask)


def check(
    stream: Streams = None,
    config: Config = None,
    as_json: Json = False,
    quiet: QuietLog = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Test everything that a sync needs, and say what is wrong.

    It tests settings, database, schema, host, key, clocks, project, and the scope of each stream.

    Example: posthog-etl check
    """
    from etl import app as wiring
    from etl.console import say, show_findings

    async def look(settings: Any) -> list[Finding]:
        return await wiring.check(settings, chosen_streams(stream, settings))

    from etl.runs.check import next_steps

    findings = run_with_settings(look, config, {}, debug, quiet=quiet, verbose=verbose)
    steps = next_steps(findings, same_settings())
    if as_json:
        print_json({"findings": [finding.as_json() for finding in findings], "next": steps})
    else:
        show_findings(findings)
        print_line("")
        for step in steps:
            say(step)
    raise typer.Exit(exit_code_of([finding.exit_code for finding in findings]))


def streams(config: Config = None, as_json: Json = False, debug: Debug = False) -> None:
    """List every stream with its tables, its scope and how it is read.

    Also the configured queries and the ready ones, and whether a sync reads each.

    Example: posthog-etl streams
    """
    from etl.console import show_rows

    async def look(settings: Any) -> list[dict[str, Any]]:
        from etl.streams import catalogue

        on = {stream.name for stream in settings.choose(None)}
        queries = [_query_row(spec, settings.schema_name) for spec, _ in settings.all_queries]
        return [{**row, "on": row["stream"] in on} for row in [*catalogue(), *queries]]

    rows = run_with_settings(look, config, {}, debug)
    if as_json:
        print_json({"streams": rows})
    else:
        shown = ("stream", "on", "tables", "scope", "read", "cursor")
        rows = [
            {**row, "tables": ", ".join(row["tables"]), "read": _how(row["mode"])} for row in rows
        ]
        show_rows(shown, [[row[name] for name in shown] for row in rows])


# How a stream is read, in words; `mode` names it for machines.
_HOW = {"windows": "by time", "snapshot": "whole lists", "rotation": "some at each sync"}


def _how(mode: str) -> str:
    """Return how a stream is read, in words."""
    name = mode.split()[0].rstrip(",")
    return _HOW.get(name, name)


def _query_row(spec: Any, schema: str) -> dict[str, Any]:
    """Return a query as the catalogue has a stream."""
    from etl.streams.queries import SCOPE

    return {
        "stream": spec.stream,
        "about": spec.about,
        "tables": [f"{schema}_queries.{spec.name}"],
        "scope": SCOPE,
        "mode": "query",
        "cursor": spec.cursor or "none: read whole",
    }


def runs(
    stream: Streams = None,
    of_status: OfStatus = None,
    since: Annotated[
        str | None, typer.Option(help="Only runs that began at this date or later.", metavar="DATE")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only runs that began before.", metavar="DATE")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="How many runs, newest first.")
    ] = 20,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the latest runs.

    A DATE is 2026-01-31, 2026-01-31T12:00Z, 30d, 2h, today or yesterday (UTC).

    Example: posthog-etl runs session_recordings --status failed --since 2h
    """
    from etl import app as wiring
    from etl.console import show_runs

    async def look(settings: Any) -> tuple[list[dict[str, Any]], bool]:
        chosen = read_choice(settings, stream, of_status, since, until)
        return await wiring.runs(settings, limit, chosen), chosen.is_all

    rows, is_all = run_with_settings(look, config, {}, debug)
    if as_json:
        print_json({"runs": rows})
    elif rows:
        show_runs(rows)
    else:
        print_line(
            "Nothing has run yet. Start with: posthog-etl sync"
            if is_all
            else "No run is like that."
        )


def show_reject(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the record, as listed.")],
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a record that could not be stored, as it was received.

    Secrets were removed before, and what Postgres cannot hold was replaced.

    Example: posthog-etl rejects show 42
    """
    from etl import app as wiring
    from etl.console import show_payloads

    rows = run_with_settings(lambda settings: wiring.reject(settings, key), config, {}, debug)
    if as_json:
        print_json({"rejects": rows})
    else:
        show_payloads(rows)


def list_rejects(
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="How many records, newest first.")
    ] = 50,
    resolved: Annotated[
        bool, typer.Option("--all", help="Also show records that were loaded since.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the records that could not be stored, and why.

    Example: posthog-etl rejects list --json
    """
    from etl import app as wiring
    from etl.console import show_rejects

    rows = run_with_settings(
        lambda settings: wiring.rejects(settings, limit, resolved=resolved), config, {}, debug
    )
    if as_json:
        print_json({"rejects": rows})
    else:
        show_rejects(rows)
