"""What a person sees: tables on a terminal, plain columns when piped, a progress bar."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from etl.loaders.parents import Turns
from etl.loaders.queue import Jobs
from etl.runs.doctor import Finding
from etl.runs.outlook import Outlook
from etl.runs.report import Report
from etl.runs.work import Progress as ProgressOf
from etl.runs.work import Reached

UNBOUNDED = 10_000
# The columns of a table that is too wide stand under each row, all but the first that fit. Fewer
# than these make no table.
_FEWEST_COLUMNS = 2
# In a table of so few columns the last one is folded instead.
_FOLDED_COLUMNS = 4
_NARROWEST_FOLD = 20
_GAP = "  "
_NUMBER = re.compile(r"[\d,.]+")

_COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan"}


def console() -> Console:
    """Return the console for results: as wide as the terminal, unbounded when piped."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=UNBOUNDED)


class _BarWhenBounded(BarColumn):
    """A bar where the source says how much there is; nothing where it does not."""

    def render(self, task: Task) -> Any:
        return Text("") if task.total is None else super().render(task)


class _LeftWhenBounded(TimeRemainingColumn):
    """The time left, as long as the bar is there."""

    def render(self, task: Task) -> Text:
        return Text("") if task.total is None else super().render(task).append(" left")


@contextmanager
def progress_display() -> Iterator[Callable[[int, str], ProgressOf]]:
    """Show a bar per unit on stderr while a terminal is there; silent otherwise."""
    if not sys.stderr.isatty():
        yield lambda _project, _stream: lambda _reached: None
        return
    columns = (
        SpinnerColumn(style="green", finished_text=" "),
        TextColumn("{task.description}"),
        _BarWhenBounded(bar_width=20),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        _LeftWhenBounded(),
    )
    # It goes when the work is done: the result says the same and more.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def watch(project_id: int, stream: str) -> ProgressOf:
            task = bars.add_task(f"{stream} ({project_id})", total=None, said="starting")
            began_s = time.monotonic()

            def progress(reached: Reached) -> None:
                rate = reached.records / max(time.monotonic() - began_s, 0.001)
                said = f"{reached.records:,} records, {rate:,.0f}/s, {reached.requests} requests"
                if reached.low is not None:
                    said += f", down to {reached.low:%Y-%m-%d}"
                total = None if reached.share is None else 1.0
                bars.update(task, completed=reached.share or 0.0, total=total, said=said)

            return progress

        yield watch


def show_reports(reports: Sequence[Report]) -> None:
    """Print what a sync did, a line per unit, and below it why a unit did not succeed."""
    table = _Table(
        *("project", "stream", "unit", "status", "read", "inserted", "updated", "rejected"),
        *("requests", "foreseen", "seconds", "complete until"),
    )
    for report in reports:
        table.add_row(
            str(report.project_id),
            report.stream,
            report.unit,
            _coloured(report.ending.status),
            f"{report.records_read:,}",
            f"{report.rows_inserted:,}",
            f"{report.rows_updated:,}",
            f"{report.rejected:,}",
            f"{report.requests:,}",
            _forecast(report.forecast_requests, report.forecast_exact),
            f"{report.seconds:.1f}",
            _instant(report.complete_until),
        )
    out = console()
    table.print()
    if len(reports) > 1:
        _say(
            out,
            Text(
                f"Together: {sum(each.records_read for each in reports):,} records read, "
                f"{sum(each.requests for each in reports):,} requests, "
                f"{sum(each.seconds for each in reports):.1f} s"
            ),
        )
    for report in reports:
        if report.ending.reason:
            _say(out, Text(f"{report.stream}: {report.ending.reason}"))
    now: dict[int | str, dict[str, int]] = {}
    for report in reports:
        now.setdefault(report.project_id, {}).update(report.rows)
    for project_id, counts in now.items():
        if counts:
            rows = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            of = f" in {project_id}" if len(now) > 1 else ""
            _say(out, Text(f"Rows now{of}: {rows}"))


def show_outlooks(outlooks: Sequence[Outlook]) -> None:
    """Print what is ahead, a line per stretch of time that one cursor reads."""
    if not outlooks:
        console().print("All of it is known complete; nothing would be read.", markup=False)
        return
    table = _Table("project", "stream", "since", "until", "windows", "requests", "at the earliest")
    for each in outlooks:
        table.add_row(
            str(each.project_id),
            each.stream,
            "all" if each.since is None else _instant(each.since),
            "now" if each.until is None else _instant(each.until),
            f"{each.windows:,}",
            _forecast(each.forecast.requests, each.forecast.exact),
            f"in {_span(each.seconds)}",
        )
    table.print()


def show_findings(findings: Sequence[Finding]) -> None:
    """Print what the doctor found, a line each."""
    table = _Table("", "what", "scope", "found")
    for finding in findings:
        mark = "[green]ok[/]" if finding.well else "[red]no[/]"
        table.add_row(mark, finding.about, finding.scope or "", escape(finding.said))
    table.print()


def show_runs(rows: Sequence[dict[str, Any]]) -> None:
    """Print the run history, a line per run."""
    table = _Table(
        *("started", "project", "stream", "unit", "status", "read", "inserted", "updated"),
        *("rejected", "requests", "seconds", "reason"),
    )
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
    table.print()


def show_rejects(rows: Sequence[dict[str, Any]]) -> None:
    """Print what was set aside, a line each."""
    if not rows:
        console().print("Nothing is set aside.", markup=False)
        return
    table = _Table("project", "stream", "record", "reason", "first seen", "last seen", "resolved")
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
    table.print()


def show_status(rows: Sequence[dict[str, Any]], queue: Mapping[int, Jobs]) -> None:
    """Print what is on the queue, and one line per project and stream."""
    out = console()
    for project_id, jobs in queue.items():
        hint = ". Workers take them: `posthog-etl worker`" if jobs.untouched else ""
        _say(out, Text(f"Jobs of project {project_id} on the queue: {jobs}{hint}"))
    if not rows:
        out.print("Nothing has run yet. Start with: posthog-etl sync", markup=False)
        return
    table = _Table(
        *("project", "stream", "state", "complete until", "lag", "complete since", "last run"),
        *("read", "rejects", "paused until"),
    )
    now = datetime.now(UTC)
    for row in rows:
        until = row["complete"].until or row["tail_until"]
        stale = row["status"] == "running" and not row["held"]
        table.add_row(
            str(row["project_id"]),
            row["stream"],
            _coloured("failed" if stale else row["status"]),
            _instant(until),
            "" if until is None else _span((now - until).total_seconds()),
            _instant(row["complete"].since),
            _instant(row["started_at"]),
            f"{row['records_read']:,}",
            f"{row['rejects']:,}",
            _instant(row["paused_until"]),
        )
    table.print()
    for row in rows:
        for hole in row["holes"]:
            out.print(
                f"{row['stream']}: not known complete from {_instant(hole.since)} to "
                f"{_instant(hole.until)}. Load it with: posthog-etl backfill {row['stream']} "
                f"--since {_plain(hole.since)} --until {_plain(hole.until)}",
                markup=False,
                soft_wrap=True,
            )
        if row["turns"] is not None and row["turns"].resources:
            _say(out, Text(f"{row['stream']}: {_turns(row['turns'], now)}"))
        if not row["incremental"]:
            out.print(
                f"{row['stream']}: this server ignores dates. "
                + (
                    "A sync reads the newest part of the list, and all of it once a day"
                    if row["reads_front"]
                    else "Every sync reads the whole list"
                ),
                markup=False,
                soft_wrap=True,
            )
        if row["unaccounted"]:
            rows_said = f"{row['unaccounted']:,} {'row' if row['unaccounted'] == 1 else 'rows'}"
            _say(out, Text(f"{row['stream']}: {rows_said} of the server's count unaccounted for"))
        if row["before_start"] is not None:
            _say(out, Text(f"{row['stream']}: {row['before_start_hint']}"))
        if row["reason"]:
            _say(out, Text(f"{row['stream']}: {row['reason']}"))
        for failure in row["failures"]:
            if failure.reason not in (row["reason"] or ""):
                _say(out, Text(f"{row['stream']}: {failure.about}: {failure.reason}"))
                _say(out, Text(f"{row['stream']}: then: {failure.retry}"))


@contextmanager
def in_place() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Give what shows a frame in the place of the one before; one below the other when piped.

    A terminal gets its old screen back at the end, with the last frame below it.
    """
    if not sys.stdout.isatty():

        def below(show: Callable[[], None]) -> None:
            console().print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}", highlight=False)
            show()
            console().print()

        yield below
        return
    last: list[Callable[[], None]] = []

    def above(show: Callable[[], None]) -> None:
        last[:] = [show]
        # All at once, so that nothing flickers: terminals that cannot do that ignore it.
        _control("?2026h", "H", "J")
        show()
        console().print(f"{datetime.now(UTC):%H:%M:%SZ}, Ctrl-C ends", style="dim", highlight=False)
        _control("?2026l")

    _control("?1049h", "?25l")
    try:
        yield above
    finally:
        _control("?25h", "?1049l")
        for show in last:
            show()


def _control(*codes: str) -> None:
    """Send escape codes to the terminal."""
    sys.stdout.write("".join(f"\x1b[{code}" for code in codes))
    sys.stdout.flush()


def show_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print the answer to a question."""
    table = _Table(*names)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    table.print()


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int | Decimal) else escape(str(value))


class _Table:
    """Columns as wide as their widest cell; numbers stand right."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row; the cells are markup."""
        self._rows.append([Text.from_markup(cell) for cell in cells])

    def print(self) -> None:
        """Print it. Where it is too wide, what does not fit stands under each row, with names."""
        out = console()
        widths = [
            max(cell_len(name), *(row[at].cell_len for row in self._rows), 0)
            for at, name in enumerate(self._names)
        ]
        shown = self._fitting(widths, out.width)
        if len(self._names) <= _FOLDED_COLUMNS and shown < len(self._names):
            left = out.width - sum(width + len(_GAP) for width in widths[:-1])
            if left >= _NARROWEST_FOLD:
                widths[-1], shown = left, len(self._names)
        if shown:
            header = [Text(name, style="bold") for name in self._names[:shown]]
            self._print_row(out, header, widths)
        for row in self._rows:
            self._print_row(out, row[:shown], widths)
            if rest := self._named(row, shown):
                for line in _wrapped(rest, out, out.width - len(_GAP) if shown else out.width):
                    _say(out, Text(_GAP if shown else "") + line)
                if not shown:
                    out.print()

    def _fitting(self, widths: Sequence[int], limit: int) -> int:
        """Return how many columns make a table within `limit`."""
        taken, shown = -len(_GAP), 0
        for width in widths:
            taken += len(_GAP) + width
            if taken > limit:
                break
            shown += 1
        return shown if shown >= min(_FEWEST_COLUMNS, len(self._names)) else 0

    def _named(self, row: Sequence[Text], shown: int) -> list[Text]:
        return [
            Text.assemble((name, "bold"), " ", cell)
            for name, cell in zip(self._names[shown:], row[shown:], strict=True)
            if cell
        ]

    def _print_row(self, out: Console, cells: Sequence[Text], widths: Sequence[int]) -> None:
        folded = [
            cell.wrap(out, width, overflow="fold") if cell.cell_len > width else [cell]
            for cell, width in zip(cells, widths, strict=False)
        ]
        for at in range(max(map(len, folded), default=0)):
            line = Text()
            for column, parts in enumerate(folded):
                part = parts[at].copy() if at < len(parts) else Text()
                pad = " " * (widths[column] - part.cell_len)
                right = self._is_number(column)
                line += Text(pad) + part if right else part + Text(pad)
                line += Text(_GAP)
            line.rstrip()
            _say(out, line)

    def _is_number(self, column: int) -> bool:
        cells = [row[column].plain for row in self._rows if row[column]]
        return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _wrapped(parts: Sequence[Text], out: Console, width: int) -> list[Text]:
    """Return the parts in lines of `width`; one that is longer than a line is folded."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(_GAP) + part.cell_len <= width:
            lines[-1] = lines[-1] + _GAP + part
        else:
            lines += part.wrap(out, width, overflow="fold")
    for line in lines:
        line.rstrip()
    return lines


def _say(out: Console, line: Text) -> None:
    """Print a line, folded between words where the terminal is narrower."""
    out.print(line, highlight=False, overflow="fold")


def _turns(turns: Turns, now: datetime) -> str:
    if turns.oldest_check is None:
        return f"none of {turns.resources:,} was asked about yet"
    said = f"the oldest check is {_span((now - turns.oldest_check).total_seconds())} old"
    if turns.never_checked:
        said += f"; {turns.never_checked:,} of {turns.resources:,} were never asked about"
    return f"{said}; {turns.due:,} are due"


def _forecast(requests: int | None, exact: bool | None) -> str:
    if requests is None:
        return ""
    return f"{requests:,}" if exact else f"at least {requests:,}"


def _coloured(status: str) -> str:
    return f"[{_COLOURS.get(status, 'yellow')}]{status}[/]"


def _instant(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _plain(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
