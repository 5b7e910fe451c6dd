"""Windows of time: which recordings a reading owns, and how far around them it has to ask.

A window owns the sessions that truly start in it. The server filters the stored pieces of a
session before it adds them up (PostHog source, session_recording_list_from_query.py), so a session
across an edge of what was asked comes back cut: later start, earlier end, smaller counts. Both
bounds test the start of a piece, and the upper one counts in.

The cheapest sound reading found (benchmarks/edges.py compares it with the others, by requests):

- below, ask from a margin of the longest session before the window. The list comes newest start
  first, so reading stops at the first recording that starts before the window: the margin makes
  the starts true and costs no request.
- above, where the window is not the moving end, ask to a margin after it. This margin is paged
  through, so neighbouring windows are read newest first under one cursor: the whole range pays for
  one margin, and a window is no more than a mark of what is complete (see `also_since`).

Reading cut sessions again by their ids costs more: an address holds some hundred ids, a page a
thousand recordings, and all that start within a day of an edge may be cut. For thirty days of 3,000
recordings, in windows of a day, it took 798 requests; margins on both sides of each window took
300, and this 94, as many as one window of thirty days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from etl.core.coverage import Coverage, Span

LONGEST_SESSION = timedelta(hours=24)
LATENESS = timedelta(hours=1)
MARGIN = LONGEST_SESSION + LATENESS

# Clocks of browsers run ahead, so sessions may start in the future: the moving end asks beyond now.
AHEAD = timedelta(days=1)
# Some clocks are years off. Dates beyond these are none that a server could compare (32-bit time).
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open [since, until), both aware and in UTC; until None is the moving end.

    also_since: the reading goes on to older windows, down to here; what comes along from there is
    loaded, too, so that the next window need not ask for it again.
    """

    since: datetime
    until: datetime | None = None
    also_since: datetime | None = None

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or (self.until is not None and self.until.tzinfo is None):
            raise ValueError("a window's bounds are aware instants")
        if self.until is not None and self.until <= self.since:
            raise ValueError("a window ends after it begins")
        if self.also_since is not None and self.also_since > self.since:
            raise ValueError("what a window's reading goes on to is older than the window")

    @property
    def reach(self) -> datetime:
        """The instant from which on sessions come whole in this reading."""
        return self.since if self.also_since is None else self.also_since

    @property
    def is_ahead(self) -> bool:
        """Whether it is what lies ahead of the moving end (see `outliers`)."""
        return self.until == FAR_AHEAD

    def loads(self, started_at: datetime | None) -> bool:
        """Tell whether a session that starts at `started_at` is whole, and so to be loaded.

        A session without a start is loaded wherever it is met: better twice upserted than never.
        """
        if started_at is None:
            return True
        return started_at >= self.reach and (self.until is None or started_at < self.until)

    def asked(self, source_now: datetime) -> Span:
        """Return the (date_from, date_to) to send, so that every session loaded comes whole.

        What lies ahead has no margins: the moving end has just shown what begins before it, so a
        session that is cut there is noticed by what is stored of it.
        """
        if self.is_ahead:
            return Span(self.since, FAR_AHEAD)
        until = source_now + AHEAD if self.until is None else self.until + MARGIN
        # No session begins before 1970, and not every server could compare such a date.
        since = min(self.reach, max(self.reach - MARGIN, LONG_AGO))
        return Span(since, until)


def moving_window(
    tail_until: datetime | None, start: datetime, complete: Coverage, age: timedelta
) -> Window:
    """Return the window a sync reads: all since `start` at first, then on from `tail_until`.

    Recordings change after they are first seen and nothing in the API says when, so those up to
    `age` before `tail_until` are read again (see `lookback`): also what a backfill has loaded from
    before `start`. A `start` after `tail_until` skips nothing, it would make a hole.
    """
    if tail_until is None:
        return Window(since=start)
    oldest = tail_until - age
    known = complete.within(Span(oldest, tail_until))
    return Window(since=min(max(start, oldest), known[0].since if known else tail_until))
