"""Progress bars on a terminal, one per unit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
def progress_bars() -> Iterator[Callable[[int, str], ProgressOf]]:
    """Show a bar per unit on stderr during the block."""
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
