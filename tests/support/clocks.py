"""Moves the clocks that vote with a server's: the database's and that of each process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from etl.extractors import clocks

# Tells a command that was started how far its clocks are moved, in seconds.
VARIABLE = "TEST_CLOCKS_AHEAD_S"
# Clocks that are no further apart than this need not be moved.
_NEAR_S = 60.0

_true = clocks.clocks_here
_ahead: Callable[[], timedelta] = timedelta


@contextmanager
def following(now: Callable[[], datetime]) -> Iterator[None]:
    """Until the block ends, let all clocks say what `now` says, also in commands started then."""
    before = _ahead
    _move(lambda: now() - datetime.now(UTC))
    try:
        yield
    finally:
        _move(before)


def move_by(environment: dict[str, str]) -> None:
    """Move the clocks of this process, a command, as it was told to."""
    if ahead_s := environment.pop(VARIABLE, None):
        ahead = timedelta(seconds=float(ahead_s))
        _move(lambda: ahead)


def told() -> dict[str, str]:
    """What a command that is started now has to be told."""
    seconds = _ahead().total_seconds()
    return {VARIABLE: str(seconds)} if abs(seconds) > _NEAR_S else {}


def _move(ahead: Callable[[], timedelta]) -> None:
    global _ahead
    _ahead = ahead

    def moved(database_now: datetime) -> tuple[datetime, datetime]:
        here = _true(database_now)
        return here[0] + ahead(), here[1] + ahead()

    clocks.clocks_here = moved
