"""Windows of time: which recordings a reading owns, and how far back it has to ask.

A window owns the sessions that truly start in it. The server filters the stored pieces of a
session before it adds them up (PostHog source, session_recording_list_from_query.py), so a
session across the lower edge comes back cut: later start, smaller counts. Reading a margin of the
longest session before the window shows the true start of everything that reaches into it; what
starts in the margin may itself be cut and is left to the window that owns it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

LONGEST_SESSION = timedelta(hours=24)
LATENESS = timedelta(hours=1)
MARGIN = LONGEST_SESSION + LATENESS

# Clocks of browsers run ahead, so sessions may start in the future: the moving end asks beyond now.
AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open [since, until), both aware and in UTC; until None is the moving end."""

    since: datetime
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or (self.until is not None and self.until.tzinfo is None):
            raise ValueError("a window's bounds are aware instants")
        if self.until is not None and self.until <= self.since:
            raise ValueError("a window ends after it begins")

    def owns(self, started_at: datetime | None) -> bool:
        """Tell whether a session that starts at `started_at` is this window's to load.

        A session without a start is owned by every window that meets it: better twice upserted
        than never.
        """
        if started_at is None:
            return True
        return started_at >= self.since and (self.until is None or started_at < self.until)

    def asked(self, source_now: datetime) -> tuple[datetime, datetime]:
        """Return the (date_from, date_to) to send, so that every owned session comes whole."""
        until = self.until if self.until is not None else source_now + AHEAD
        upper = until + MARGIN if self.until is not None else until
        return self.since - MARGIN, upper


def moving_window(complete_until: datetime | None, start: datetime, lookback: timedelta) -> Window:
    """Return the window a sync reads: all since `start` at first, then a lookback's overlap.

    Recordings change after they are first seen and nothing in the API says when, so the last
    `lookback` before the watermark is read again.
    """
    if complete_until is None:
        return Window(since=start)
    return Window(since=max(start, complete_until - lookback))
