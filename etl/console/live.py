"""Output that is updated in place: progress bars, and the frames of `status --watch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
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

from etl.console.table import console
from etl.runs.work import Progress as ProgressOf
from etl.runs.work import ReadingProgress


class _BarWhenBounded(BarColumn):
    """A bar if the source says how much there is to read; else nothing."""

    def render(self, task: Task) -> Any:
        return Text("") if task.total is None else super().render(task)


class _LeftWhenBounded(TimeRemainingColumn):
    """The time left, if there is a bar."""

    def render(self, task: Task) -> Text:
        return Text("") if task.total is None else super().render(task).append(" left")


@contextmanager
def progress_display() -> Iterator[Callable[[int, str], ProgressOf]]:
    """Show a bar per unit on stderr during the block, if stderr is a terminal."""
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
    # The bar is removed at the end, because the result says more.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def watch(project_id: int, stream: str) -> ProgressOf:
            task = bars.add_task(f"{stream} ({project_id})", total=None, said="starting")
            began_s = time.monotonic()

            def progress(reached: ReadingProgress) -> None:
                rate = reached.records / max(time.monotonic() - began_s, 0.001)
                said = f"{reached.records:,} records, {rate:,.0f}/s, {reached.requests} requests"
                if reached.low is not None:
                    said += f", down to {reached.low:%Y-%m-%d}"
                total = None if reached.share is None else 1.0
                bars.update(task, completed=reached.share or 0.0, total=total, said=said)

            return progress

        yield watch


@contextmanager
def in_place() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield a function that shows a frame in place of the last one. In a pipe, frames follow.

    At the end a terminal shows its old screen again, and the last frame below it.
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
        # Synchronised output, so that nothing flickers. Other terminals ignore these codes.
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
