"""The commands about alerts."""

from __future__ import annotations

from typing import Any

import typer

from etl.cli.shared import Config, Debug, Json, print_json, print_line, run_with_settings
from etl.errors import EXIT_FAILED


def list_alerts(config: Config = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the alerts that are open, as they were last evaluated.

    Example: posthog-etl alerts list
    """
    from etl import alerting
    from etl.console import show_alerts

    async def work(settings: Any) -> tuple[list[dict[str, Any]], bool]:
        return await alerting.list_open(settings), settings.tells_alerts

    rows, tells = run_with_settings(work, config, {}, debug)
    if as_json:
        print_json({"alerts": [{**row, "project_id": row["project_id"] or None} for row in rows]})
    elif rows:
        show_alerts(rows)
    elif tells:
        print_line("No alert is open.")
    else:
        print_line("No channel for alerts is configured, so nothing is evaluated.")


def send_test(config: Config = None, as_json: Json = False, debug: Debug = False) -> None:
    """Send a test message to every channel, and say how it went. It needs no database.

    Exit code 0: every channel took it. 1: at least one did not.

    Example: posthog-etl alerts test
    """
    from etl import alerting
    from etl.logs import Redactor

    async def work(settings: Any) -> list[tuple[str, str | None]]:
        hidden = Redactor(*settings.secret_texts).text
        return [
            (each.channel, None if each.reason is None else hidden(each.reason))
            for each in await alerting.test_channels(settings)
        ]

    results = run_with_settings(work, config, {}, debug)
    if as_json:
        channels = [
            {"channel": channel, "told": reason is None, "reason": reason}
            for channel, reason in results
        ]
        print_json({"channels": channels})
    else:
        for channel, reason in results:
            print_line(f"{channel}: {'told' if reason is None else f'not told. {reason}'}")
    if any(reason is not None for _, reason in results):
        raise typer.Exit(EXIT_FAILED)
