"""Take the time from three clocks (database, process, source), because each may be wrong (P5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from msgspec import Struct

# Clocks that differ by no more than this agree.
TOLERANCE = timedelta(minutes=5)

# Covers the margin around the dates asked for, and how far ahead a sync asks.
_AROUND = timedelta(days=3)


class Clocks(Struct, frozen=True):
    """The three clocks, read at one instant.

    process: the clock of the machine this process runs on.
    source: the `Date` header of the latest answer, plus the time since; None before the first
    answer, and if the server sends no such header.
    """

    database: datetime
    process: datetime
    source: datetime | None = None

    @property
    def agreed(self) -> datetime | None:
        """The earliest clock that another clock agrees with; None if no two agree.

        Too early an instant only makes a later sync read more than needed.
        """
        pairs = pairwise(sorted(self._known))
        return next((low for low, high in pairs if high - low <= TOLERANCE), None)

    @property
    def earliest(self) -> datetime:
        """The clock with the earliest time."""
        return min(self._known)

    @property
    def latest(self) -> datetime:
        """The clock with the latest time."""
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


class PastRun(Struct, frozen=True):
    """A past run of a stream's sync. `records_read` is a count."""

    started_at: datetime
    succeeded: bool
    records_read: int


def written_since(end: datetime, age: timedelta, runs: Iterable[PastRun]) -> datetime | None:
    """Return the start of the run that set the watermark `end`, which lies in the future.

    From that run on, each sync began to read at `end` less the lookback. Nothing was there yet, so
    no record was read until that instant had come. If an earlier run is returned, some records are
    read again and none is lost. None if no recorded run can have set it.

    age: the greatest age of the lookback.
    runs: the runs of the stream's sync, the latest first.
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
    # A failed run may have read what the next run then closed.
    while place + 1 < len(known) and not known[place + 1].succeeded:
        place += 1
    return known[place].started_at


def _second(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
