"""What a person sees: tables on a terminal, plain columns when piped, a progress bar."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from etl.runs.doctor import Finding
from etl.runs.report import Report

UNBOUNDED = 10_000
# A table of so few columns reads well with its cells folded.
_FEW_COLUMNS = 3

_COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan"}


def console() -> Console:
    """Return the console for results: as wide as the terminal, unbounded when piped."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=UNBOUNDED)


@contextmanager
def progress_display() -> Iterator[Callable[[int, str], Callable[[int, int | None, int], None]]]:
    """Show a bar per unit on stderr while a terminal is there; silent otherwise."""
    if not sys.stderr.isatty():
        yield lambda _project, _stream: lambda _read, _expected, _requests: None
        return
    # Only for people: it takes longer to load than all other drawing together.
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def watch(project_id: int, stream: str) -> Callable[[int, int | None, int], None]:
            task = bars.add_task(f"{stream} ({project_id})", total=None, said="")
            began_s = time.monotonic()

            def progress(read: int, expected: int | None, requests: int) -> None:
                rate = read / max(time.monotonic() - began_s, 0.001)
                said = f"{read:,} records, {rate:,.0f}/s, {requests} requests"
                bars.update(task, completed=read, total=expected, said=said)

            return progress

        yield watch


def show_reports(reports: Sequence[Report]) -> None:
    """Print what a sync did, a line per unit, and below it why a unit did not succeed."""
    table = _table("project", "stream", "status", "read", "inserted", "updated", "rejected")
    for name in ("requests", "seconds", "complete until"):
        table.add_column(name, justify="right", overflow="fold")
    for report in reports:
        table.add_row(
            str(report.project_id),
            report.stream,
            _coloured(report.ending.status),
            f"{report.records_read:,}",
            f"{report.rows_inserted:,}",
            f"{report.rows_updated:,}",
            f"{report.rejected:,}",
            f"{report.requests:,}",
            f"{report.seconds:.1f}",
            _instant(report.complete_until),
        )
    out = console()
    _print(table)
    for report in reports:
        if report.ending.reason:
            out.print(f"{report.stream}: {report.ending.reason}", markup=False, soft_wrap=True)
    for report in reports:
        if report.rows:
            rows = ", ".join(f"{name} {count:,}" for name, count in report.rows.items())
            out.print(f"Rows now: {rows}", markup=False, highlight=False, soft_wrap=True)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print what the doctor found, a line each."""
    table = _table("", "what", "found")
    for finding in findings:
        mark = "[green]ok[/]" if finding.well else "[red]no[/]"
        table.add_row(mark, finding.about, escape(finding.said))
    _print(table)


def show_runs(rows: Sequence[dict[str, Any]]) -> None:
    """Print the run history, a line per run."""
    table = _table("started", "project", "stream", "unit", "status")
    for name in ("read", "inserted", "updated", "rejected", "requests", "seconds", "reason"):
        table.add_column(name, overflow="fold")
    for row in rows:
        ended = row["ended_at"]
        table.add_row(
            _instant(row["started_at"]),
            str(row["project_id"]),
            row["stream"],
            row["unit"],
            _coloured(row["status"]),
            f"{row['records_read']:,}",
            f"{row['rows_inserted']:,}",
            f"{row['rows_updated']:,}",
            f"{row['rejected']:,}",
            f"{row['requests']:,}",
            "" if ended is None else f"{(ended - row['started_at']).total_seconds():.1f}",
            escape(row["reason"] or ""),
        )
    _print(table)


def show_rejects(rows: Sequence[dict[str, Any]]) -> None:
    """Print what was set aside, a line each."""
    if not rows:
        console().print("Nothing is set aside.", markup=False)
        return
    table = _table("project", "stream", "record", "reason", "first seen", "last seen", "resolved")
    for row in rows:
        table.add_row(
            str(row["project_id"]),
            row["stream"],
            escape(row["record_key"]),
            escape(row["reason"]),
            _instant(row["first_seen_at"]),
            _instant(row["last_seen_at"]),
            _instant(row["resolved_at"]),
        )
    _print(table)


def show_status(rows: Sequence[dict[str, Any]]) -> None:
    """Print one line per project and stream."""
    out = console()
    if not rows:
        out.print("Nothing has run yet. Start with: posthog-etl sync", markup=False)
        return
    table = _table("project", "stream", "state", "complete since", "complete until", "lag")
    for name in ("last run", "read", "rejects", "paused until"):
        table.add_column(name, overflow="fold")
    now = datetime.now(UTC)
    for row in rows:
        until = row["complete_until"]
        stale = row["status"] == "running" and not row["held"]
        table.add_row(
            str(row["project_id"]),
            row["stream"],
            _coloured("failed" if stale else row["status"]),
            _instant(row["complete_since"]),
            _instant(until),
            "" if until is None else _span((now - until).total_seconds()),
            _instant(row["started_at"]),
            f"{row['records_read']:,}",
            f"{row['rejects']:,}",
            _instant(row["paused_until"]),
        )
    _print(table)
    for row in rows:
        if row["reason"]:
            out.print(f"{row['stream']}: {row['reason']}", markup=False, soft_wrap=True)


def show_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print the answer to a question."""
    table = _table(*names)
    for row in rows:
        cells = (f"{cell:,}" if isinstance(cell, int) else escape(str(cell)) for cell in row)
        table.add_row(*cells)
    _print(table)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _print(table: Table) -> None:
    """Print a table; where it is too wide, each row as names and values."""
    out = console()
    natural = Measurement.get(out, out.options.update(max_width=UNBOUNDED), table).maximum
    if natural <= out.width or len(table.columns) <= _FEW_COLUMNS:
        out.print(table)
        return
    for row in zip(*(column.cells for column in table.columns), strict=True):
        said = Text("  ").join(
            Text.from_markup(f"[bold]{column.header}[/] {cell}")
            for column, cell in zip(table.columns, row, strict=True)
            if cell
        )
        out.print(said, overflow="fold")
        out.print()


def _coloured(status: str) -> str:
    return f"[{_COLOURS.get(status, 'yellow')}]{status}[/]"


def _instant(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
