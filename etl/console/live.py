"""Output that is updated in place: progress lines, and the frames of `status --watch`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from etl.console.table import say
from etl.runs.work import Watch, unwatched


@contextmanager
def progress_display(*, quiet: bool = False) -> Iterator[Watch]:
    """Show a line per stream on stderr during the block, if stderr is a terminal.

    quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield unwatched
        return
    from etl.console.lines import progress_lines

    with progress_lines() as watch:
        yield watch


@contextmanager
def in_place() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield a function that shows a frame in place of the last one. In a pipe, frames follow.

    At the end a terminal shows its old screen again, and the last frame below it.
    """
    if not sys.stdout.isatty():

        def below(show: Callable[[], None]) -> None:
            say(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}")
            show()
            say("")

        yield below
        return
    last: list[Callable[[], None]] = []

    def above(show: Callable[[], None]) -> None:
        last[:] = [show]
        # Synchronised output, so that nothing flickers. Other terminals ignore these codes.
        _control("?2026h", "H", "J")
        show()
        say(f"{datetime.now(UTC):%H:%M:%SZ}, Ctrl-C ends", style="dim")
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
