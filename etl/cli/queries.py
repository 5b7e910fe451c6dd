"""The commands for configured queries."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli.shared import (
    Config,
    Debug,
    Json,
    Quiet,
    Verbose,
    print_json,
    print_result,
    run_with_settings,
    until_stopped,
    with_alerts,
)
from etl.errors import exit_code_of

if TYPE_CHECKING:
    import asyncio


def list_queries(config: Config = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the configured queries and the ready ones.

    Example: posthog-etl query list
    """
    from etl.console import show_rows

    async def work(settings: Any) -> list[dict[str, Any]]:
        return [_described(spec, settings.schema_name, on=on) for spec, on in settings.all_queries]

    rows = run_with_settings(work, config, {}, debug)
    if as_json:
        print_json({"queries": rows})
        return
    show_rows(
        ("query", "on", "read by", "key"),
        [
            (
                row["query"],
                "yes" if row["on"] else "no",
                row["cursor"] or _whole(row["every_s"]),
                ", ".join(row["key"]),
            )
            for row in rows
        ],
    )


def _whole(every_s: int) -> str:
    return f"whole, every {every_s / 3600:g} h" if every_s else "whole"


def _described(spec: Any, schema: str, *, on: bool) -> dict[str, Any]:
    return {
        "query": spec.name,
        "on": on,
        "stream": spec.stream,
        "cursor": spec.cursor,
        "key": list(spec.key),
        "every_s": int(spec.every.total_seconds()),
        "table": f"{schema}_queries.{spec.name}",
        "configured": spec.place,
        "about": spec.about,
    }


def run_query(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a query, as listed.")],
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Read a configured query now, also if it is not due.

    Example: posthog-etl query run events
    """
    from etl import app as wiring
    from etl.console import progress_display, show_reports
    from etl.core.query import PREFIX
    from etl.errors import ConfigurationError
    from etl.settings import nearest

    def run(settings: Any) -> Coroutine[Any, Any, list[Any]]:
        known = settings.catalogue
        stream = known.get(PREFIX + name.removeprefix(PREFIX))
        if stream is None:
            names = [each.query.name for each in known.values() if each.query is not None]
            raise ConfigurationError(
                f"There is no query {name!r}{nearest(name, names)}",
                remedy="`posthog-etl query list` lists them; switch a ready one on with "
                "POSTHOG_ETL_QUERY_PRESETS",
            )

        async def work(stop: asyncio.Event) -> list[Any]:
            accepted = wiring.Acceptance(at_once=[stream.name])
            with progress_display(quiet=quiet) as watch:
                return await wiring.sync(settings, [stream], stop, watch, accepted)

        return until_stopped(lambda stop: with_alerts(settings, work(stop)))

    reports = run_with_settings(run, config, {}, debug, quiet=quiet, verbose=verbose)
    if as_json:
        print_json({"reports": [report.as_json() for report in reports]})
    else:
        print_result(show_reports, reports, quiet=quiet)
    raise typer.Exit(exit_code_of([report.ending.exit_code for report in reports]))
