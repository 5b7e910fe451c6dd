"""No clock is trusted alone: the database's, this process's and the source's vote (P5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

# Clocks that are closer than this agree.
TOLERANCE = timedelta(minutes=5)

# The lookback, the margin around what is asked for, and how far ahead a sync asks.
_AROUND = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Clocks:
    """The three clocks, read at one instant.

    process: the clock of the machine this process is on. source: the `Date` header of the latest
    answer, carried on; None before the first one, and where the server sends none.
    """

    database: datetime
    process: datetime
    source: datetime | None = None

    @property
    def agreed(self) -> datetime | None:
        """The earliest clock that another one agrees with, None if no two agree.

        The earliest, because what is known as of too early an instant is only read again.
        """
        pairs = pairwise(sorted(self._known))
        return next((low for low, high in pairs if high - low <= TOLERANCE), None)

    @property
    def earliest(self) -> datetime:
        """The clock that is the furthest behind."""
        return min(self._known)

    @property
    def latest(self) -> datetime:
        """The clock that is the furthest ahead."""
        return max(self._known)

    @property
    def _known(self) -> Sequence[datetime]:
        known = (self.database, self.process, self.source)
        return [at for at in known if at is not None]

    def __str__(self) -> str:
        source = "tells none" if self.source is None else f"says {_second(self.source)}"
        return (
            f"the database says {_second(self.database)}, this machine {_second(self.process)}, "
            f"the server {source}"
        )


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run of a stream's sync: when it began, whether it succeeded, what it read (a count)."""

    started_at: datetime
    succeeded: bool
    records_read: int


def written_since(end: datetime, age: timedelta, runs: Iterable[PastRun]) -> datetime | None:
    """Return the start of the run that wrote a stretch which ends at `end`, in the future.

    age: the greatest age of the lookback. runs: those of the stream's sync, the latest first. From
    that run on each sync began to read at `end` less the lookback, where nothing was yet, so it
    read no record until that instant had come. An earlier run costs some reading and loses nothing.
    None: no run on record can have been it, so nothing is known.
    """
    blind = end - age - _AROUND
    known = list(runs)
    first = known[-1] if known else None
    place = next(
        (place for place, run in enumerate(known) if run.records_read and run.started_at <= blind),
        None,
    )
    if place is None:
        return first.started_at if first is not None and first.records_read else None
    # What a broken run had read may have been closed by the next one.
    while place + 1 < len(known) and not known[place + 1].succeeded:
        place += 1
    return known[place].started_at


def _second(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
