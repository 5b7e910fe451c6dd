"""The progress on a terminal: a line per stream, and below it what the stream waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from etl.console.table import GAP
from etl.console.words import span
from etl.runs.work import Progress, ReadingProgress
from etl.waits import Wait

# Before this, a pace says nothing; in seconds.
_EARLY_S = 3.0
_INDENT = "  "


@contextmanager
def progress_lines() -> Iterator[Callable[[int | None, str], AbstractContextManager[Progress]]]:
    """Show a line per stream on stderr during the block. What is logged appears above them."""
    lines = _Lines()
    console = Console(stderr=True)
    # The lines are removed at the end, because the result says more.
    with Live(lines, console=console, transient=True, refresh_per_second=4):
        yield lines.watch


class _Lines:
    """The lines of the streams that are read."""

    def __init__(self) -> None:
        self._streams: list[_Stream] = []
        self._projects = set[int]()
        self._spinner = Spinner("dots", style="green")

    @contextmanager
    def watch(self, project_id: int | None, stream: str) -> Iterator[Progress]:
        """Show a line during the block."""
        if project_id is not None:
            self._projects.add(project_id)
        line = _Stream(project_id, stream)
        self._streams.append(line)
        try:
            yield line
        finally:
            self._streams.remove(line)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        turning = self._spinner.render(console.get_time())
        for stream in list(self._streams):  # it is drawn by another thread
            name = stream.name if len(self._projects) < 2 else f"{stream.name} {stream.project_id}"
            first, *below = stream.lines(name, options.max_width - len(_INDENT))
            yield Text.assemble(turning if isinstance(turning, Text) else "", " ", first)
            for line in below:
                yield Text(_INDENT + line, style="yellow")


class _Stream(Progress):
    """What the lines of one stream are made of."""

    shown = True

    def __init__(self, project_id: int | None, name: str) -> None:
        self.project_id = project_id
        self.name = name
        self._began_s = self._reached_s = time.monotonic()
        self._reached: ReadingProgress | None = None
        self._wait: Wait | None = None
        self._waits_since_s: float | None = None
        self._waited_s = 0.0

    def reached(self, progress: ReadingProgress) -> None:
        """Show how far it is."""
        self._reached, self._reached_s = progress, time.monotonic()

    def waits(self, wait: Wait | None) -> None:
        """Show what it waits for."""
        now_s = time.monotonic()
        if self._waits_since_s is not None:
            self._waited_s += now_s - self._waits_since_s
        self._wait, self._waits_since_s = wait, None if wait is None else now_s

    def lines(self, name: str, width: int) -> list[str]:
        """Return the lines, each of them no longer than `width`."""
        now_s = time.monotonic()
        wait, since_s = self._wait, self._waits_since_s
        waited_s = self._waited_s + (0.0 if since_s is None else now_s - since_s)
        elapsed_s, reached_s = now_s - self._began_s, now_s - self._reached_s
        reading = reading_line(name, self._reached, elapsed_s, reached_s, wait, width, waited_s)
        return [reading] if wait is None else [reading, waiting_line(wait, width)]


def reading_line(
    name: str,
    reached: ReadingProgress | None,
    elapsed_s: float,
    since_s: float,
    wait: Wait | None,
    width: int,
    waited_s: float = 0.0,
) -> str:
    """Return how far a stream is. What does not fit is left out, the least important first.

    elapsed_s: how long it is read. since_s: how long ago it came so far. waited_s: how long of it
    was waited. All in seconds.
    """
    if reached is None:
        return _fitting([(0, name), (1, f"for {span(elapsed_s)}")], width)
    left_s, share = _left_s(reached, elapsed_s, since_s, wait, waited_s), reached.share
    window = "" if reached.window is None else "window {} of {}".format(*reached.window)
    total = f"{reached.records:,} records"
    pace = f"{reached.records / max(elapsed_s, 0.001):,.0f}"

    def line(per_second: str) -> str:
        return _fitting(
            [
                (0, name),
                (5, window),
                (6, total),
                (3, per_second),
                (4, f"{reached.requests:,} request{'' if reached.requests == 1 else 's'}"),
                (7, "" if reached.low is None else f"down to {reached.low:%Y-%m-%d}"),
                (1, "" if share is None else f"{100 * share:.0f} %"),
                (2, f"for {span(elapsed_s)}" if left_s is None else f"{span(left_s)} left"),
            ],
            width,
        )

    shown = line(f"{pace}/s")
    # Where the total has no room, the pace has to say of what.
    return shown if total in shown else line(f"{pace} records/s")


def waiting_line(wait: Wait, width: int) -> str:
    """Return what is waited for, and until when by the clock of this machine's user."""
    cause, until = wait.cause, wait.until
    end = "" if until is None else f", {cause.then} at {until.astimezone():%H:%M:%S}"
    said = f"waiting for {cause.short or cause.what}: {cause.detail}{end}"
    if len(said) > width:
        said = said.replace(" requests used", " used")
    return said if len(said) <= width else said[: width - 1] + "…"


def _left_s(
    reached: ReadingProgress,
    elapsed_s: float,
    since_s: float,
    wait: Wait | None,
    waited_s: float,
) -> float | None:
    """Return how many seconds are left: by the pace so far, but no less than the budget takes.

    Waits are not part of the pace: an hour's wait comes once, and the budget knows of the next.
    """
    if not reached.share or (elapsed_s < _EARLY_S and not reached.least_s):
        return None
    by_pace_s = max(0.0, elapsed_s - waited_s) * (1.0 - reached.share) / reached.share
    wait_s = 0.0 if wait is None else wait.left_s or 0.0
    return max(by_pace_s, reached.least_s - since_s, wait_s)


def _fitting(parts: list[tuple[int, str]], width: int) -> str:
    """Join the parts that fit. Each has its rank: the higher, the sooner it is left out."""
    shown = [part for part in parts if part[1]]
    while len(shown) > 1 and len(GAP.join(text for _, text in shown)) > width:
        shown.remove(max(shown, key=lambda part: part[0]))
    return GAP.join(text for _, text in shown)[:width]
