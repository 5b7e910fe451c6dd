"""The real command under a clock that a file moves: seconds ahead of the machine's clock.

    CLOCK_FILE=ahead.txt python -m tests.proof.moved serve --enqueue

The votes of database and process go by it (see `tests.support.clocks`), and the schedules of
`serve`. Leases, and the delays of the queue, go by the true clock of the database.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etl.cli import main
from etl.extractors import clocks
from etl.service import serve

VARIABLE = "CLOCK_FILE"
_LOOK_EVERY_S = 0.1

_path = Path(os.environ.get(VARIABLE, "/dev/null"))


def ahead() -> timedelta:
    """Return how far the clock is ahead."""
    return timedelta(seconds=float(_path.read_text() or 0))


def set_clock(path: Path, at: datetime) -> None:
    """Let the clock of this file say `at` now. A reader sees the old or the new instant."""
    new = path.with_suffix(".new")
    new.write_text(str((at - datetime.now(UTC)).total_seconds()))
    new.replace(path)


class MovedClock:
    """The clock of the scheduler; see `etl.service.clock.Clock`."""

    def now(self) -> datetime:
        """Return the instant now."""
        return datetime.now(UTC) + ahead()

    async def wait(self, until: datetime, event: asyncio.Event) -> bool:
        """Return at `until`, or as soon as `event` is set; whether it is set."""
        while not event.is_set() and self.now() < until:
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await event.wait()
            except TimeoutError:
                continue
        return event.is_set()


def _move() -> None:
    true = clocks.clocks_here

    def moved(database_now: datetime) -> tuple[datetime, datetime]:
        by_database, by_process = true(database_now)
        return by_database + ahead(), by_process + ahead()

    clocks.clocks_here = moved
    serve.WallClock = MovedClock  # type: ignore[misc, assignment]


if __name__ == "__main__":
    _move()
    main()
