"""Read the clocks of the database and of this process."""

from __future__ import annotations

from datetime import UTC, datetime


def clocks_here(database_now: datetime) -> tuple[datetime, datetime]:
    """Return the time by the database's clock and by this process's clock, for the vote.

    No other code uses this process's clock to date data. Tests move both clocks through this
    function.
    """
    return database_now, datetime.now(UTC)
