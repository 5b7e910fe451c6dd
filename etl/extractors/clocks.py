"""The clocks that can be read here."""

from __future__ import annotations

from datetime import UTC, datetime


def clocks_here(database_now: datetime) -> tuple[datetime, datetime]:
    """Return what the database's and this process's clock say now, for the vote.

    Nothing else reads this process's clock to date data. Tests move both clocks by this function.
    """
    return database_now, datetime.now(UTC)
