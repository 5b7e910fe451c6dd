"""How many rows a list should count now, if only its front is read.

A server that ignores dates returns the whole list at every sync. Reading all of it each time would
waste the budget, so a sync reads only the front, down to the lookback. It then compares the
server's `count` with the expected one: the last count, changed by what is new or gone since.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

# The whole list is read at least once a day; at most every six hours if the count does not fit.
EVERYTHING_EVERY = timedelta(days=1)
LOOK_AGAIN_AFTER = timedelta(hours=6)
# How far before or after its expiry a row may leave the list.
EXPIRY_TOLERANCE = timedelta(days=1)


class Change(Struct, frozen=True):
    """How a stream has changed since a reading, in records.

    new: stored or rejected since.
    gone: found deleted since.
    expiring: may have expired since.
    """

    new: int
    gone: int
    expiring: int


class Counted(Struct, frozen=True):
    """What the last reading of a list counted.

    rows: the server's count.
    at: the instant of that count; loaded_at is the same instant by the database's clock.
    everything_at: when the whole list was last read.
    tried_at: when reading the whole list last failed; None if it has succeeded since.
    unaccounted: the server's count less the expected count; negative if the server counts fewer.
    """

    rows: int
    at: datetime
    loaded_at: datetime
    everything_at: datetime
    tried_at: datetime | None = None
    unaccounted: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, to be kept in `traits`."""
        state = asdict(self)
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in state.items()}

    @classmethod
    def of(cls, traits: Mapping[str, Any] | None) -> Counted | None:
        """Return what the traits hold; None if they hold nothing or it cannot be read."""
        state: Any = (traits or {}).get("counted")
        try:
            tried_at = state["tried_at"]
            return cls(
                rows=int(state["rows"]),
                at=datetime.fromisoformat(state["at"]),
                loaded_at=datetime.fromisoformat(state["loaded_at"]),
                everything_at=datetime.fromisoformat(state["everything_at"]),
                tried_at=tried_at and datetime.fromisoformat(tried_at),
                unaccounted=int(state["unaccounted"]),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def front_will_do(self, now: datetime) -> bool:
        """Tell whether the next sync may read only the front."""
        in_doubt = self.unaccounted or self.tried_at is not None
        longest = LOOK_AGAIN_AFTER if in_doubt else EVERYTHING_EVERY
        return timedelta(0) <= now - (self.tried_at or self.everything_at) < longest

    def expiring(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the range of expiry times of rows that may have left the list since."""
        return self.at - EXPIRY_TOLERANCE, now + EXPIRY_TOLERANCE

    def after_front(self, rows: int, now: datetime, loaded_at: datetime, change: Change) -> Counted:
        """Return the state after the front was read and the server counted `rows` rows."""
        most = self.rows + change.new - change.gone
        least = most - change.expiring
        if least <= rows <= most:
            return Counted(rows, now, loaded_at, self.everything_at, self.tried_at)
        # An unexplained difference stays until the whole list is read.
        unaccounted = rows - most if rows > most else rows - least
        return replace(self, unaccounted=unaccounted)


class Lacking(Struct, frozen=True):
    """How many rows fewer than its count a list shows, and in how many runs in a row."""

    rows: int
    runs: int = 1

    def as_json(self) -> list[int]:
        """Return it as JSON, to be kept in `traits`."""
        return [self.rows, self.runs]


# A difference that is the same in this many runs may be accepted.
RUNS_BEFORE_ACCEPTING = 3


def lacking_of(traits: Mapping[str, Any] | None) -> dict[str, Lacking]:
    """Return how many rows each list lacked in the last run, by the list's address."""
    return {name: Lacking(*each) for name, each in ((traits or {}).get("lacking") or {}).items()}


def unaccounted_of(traits: Mapping[str, Any] | None) -> int:
    """Return the difference between the server's counts and the expected ones, in rows."""
    counted = Counted.of(traits)
    lacking = sum(each.rows for each in lacking_of(traits).values())
    return lacking + (0 if counted is None else abs(counted.unaccounted))


def accepted_of(traits: Mapping[str, Any] | None) -> dict[str, int]:
    """Return, for each list, the accepted number of rows that it counts and does not show."""
    return dict((traits or {}).get("accepted_count") or {})


def lacking_after(
    before: Mapping[str, Lacking], now: Mapping[str, int | None]
) -> dict[str, Lacking]:
    """Return what lists lack after a run that found `now` (None and 0: nothing lacks)."""
    after = {}
    for name, rows in now.items():
        if rows:
            known = before.get(name)
            runs = known.runs + 1 if known is not None and known.rows == rows else 1
            after[name] = Lacking(rows, runs)
    return after
