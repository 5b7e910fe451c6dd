"""How many rows a list should count now, where only its front is read.

A server that ignores the dates it is asked for shows everything at every sync. Reading all of it
each time would waste the budget, so a sync reads the front, down to the lookback, and compares the
server's `count` with what is expected: the count of the reading before, and what was new since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

# Everything is read this often in any case, and this often at most when the count does not fit.
EVERYTHING_EVERY = timedelta(days=1)
LOOK_AGAIN_AFTER = timedelta(hours=6)
# A row may leave the list so long before or after its expiry, as far as we can tell.
EXPIRY_TOLERANCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Change:
    """How a stream has changed since a reading, counts.

    new: records that were stored or set aside since. gone: those found deleted since. expiring:
    those that may have expired since.
    """

    new: int
    gone: int
    expiring: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What the last reading of a list was found to count.

    rows: the server's count, at the instant `at`; loaded_at: the same by the database's clock.
    everything_at: when all of it was last read. tried_at: when that was last tried in vain, None if
    it was read since. unaccounted: by how many rows the server's count is larger than what was
    expected; negative when it is smaller.
    """

    rows: int
    at: datetime
    loaded_at: datetime
    everything_at: datetime
    tried_at: datetime | None = None
    unaccounted: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as a trait of the server."""
        state = asdict(self)
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in state.items()}

    @classmethod
    def of(cls, traits: Mapping[str, Any] | None) -> Counted | None:
        """Return what the traits hold, None where that is nothing or cannot be read."""
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
        """Tell whether the next sync need not read everything."""
        in_doubt = self.unaccounted or self.tried_at is not None
        longest = LOOK_AGAIN_AFTER if in_doubt else EVERYTHING_EVERY
        return timedelta(0) <= now - (self.tried_at or self.everything_at) < longest

    def expiring(self, now: datetime) -> tuple[datetime, datetime]:
        """Return between which expiries a row may have left the list since."""
        return self.at - EXPIRY_TOLERANCE, now + EXPIRY_TOLERANCE

    def after_front(self, rows: int, now: datetime, loaded_at: datetime, change: Change) -> Counted:
        """Return what is known after the front was read, when the server counts `rows` rows."""
        most = self.rows + change.new - change.gone
        least = most - change.expiring
        if least <= rows <= most:
            return Counted(rows, now, loaded_at, self.everything_at, self.tried_at)
        # What is not explained stays so until everything is read.
        unaccounted = rows - most if rows > most else rows - least
        return replace(self, unaccounted=unaccounted)


@dataclass(frozen=True, slots=True)
class Lacking:
    """By how many rows a list shows less than it counts, and in how many runs in a row it did."""

    rows: int
    runs: int = 1

    def as_json(self) -> list[int]:
        """Return it as a trait of the server."""
        return [self.rows, self.runs]


# After so many runs with the same difference it may be accepted.
RUNS_BEFORE_ACCEPTING = 3


def lacking_of(traits: Mapping[str, Any] | None) -> dict[str, Lacking]:
    """Return for each list, by its address, what it lacked in the last run."""
    return {name: Lacking(*each) for name, each in ((traits or {}).get("lacking") or {}).items()}


def unaccounted_of(traits: Mapping[str, Any] | None) -> int:
    """Return how many rows differ between what a server counts and what is explained."""
    counted = Counted.of(traits)
    lacking = sum(each.rows for each in lacking_of(traits).values())
    return lacking + (0 if counted is None else abs(counted.unaccounted))


def accepted_of(traits: Mapping[str, Any] | None) -> dict[str, int]:
    """Return for each list how many rows may be counted that it does not show."""
    return dict((traits or {}).get("accepted_count") or {})


def lacking_after(
    before: Mapping[str, Lacking], now: Mapping[str, int | None]
) -> dict[str, Lacking]:
    """Return what lists lack after a run in which they lacked `now`; None and 0 are nothing."""
    after = {}
    for name, rows in now.items():
        if rows:
            known = before.get(name)
            runs = known.runs + 1 if known is not None and known.rows == rows else 1
            after[name] = Lacking(rows, runs)
    return after
