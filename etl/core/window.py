"""Windows of time: which recordings a reading owns, and which dates it has to ask for.

A window owns the sessions that truly start in it. The server filters the stored pieces of a session
before it adds them up (PostHog source, session_recording_list_from_query.py). So a session that
crosses an edge of the dates asked for comes back cut: later start, earlier end, smaller counts.
Both bounds test the start of a piece; the upper bound is included.

This is the cheapest sound reading that we found (benchmarks/edges.py counts its requests):

- Below the window: ask for a margin as long as the longest session. The list comes newest start
  first, so reading stops at the first recording that starts before the window. The margin makes the
  starts true and costs no request.
- Above the window, unless it ends at now: ask for a margin after it. This margin has to be read, so
  neighbouring windows are read newest first under one cursor. The whole range pays for one margin,
  and a window only marks what is complete (see `also_since`).

Reading cut sessions again by their ids costs more: an address holds some hundred ids, a page holds
a thousand recordings, and every session that starts within a day of an edge may be cut. Thirty days
of 3,000 recordings, in windows of a day, took 798 requests that way; margins on both sides of each
window took 300; this reading takes 94, as many as one window of thirty days.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from etl.core.coverage import Coverage, Span

LONGEST_SESSION = timedelta(hours=24)
LATENESS = timedelta(hours=1)
MARGIN = LONGEST_SESSION + LATENESS

# Clocks of browsers run ahead, so sessions may start in the future: a sync asks beyond now.
AHEAD = timedelta(days=1)
# Some clocks are years off. Not every server can compare dates beyond these (32-bit time).
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)


class Window(Struct, frozen=True):
    """Half-open [since, until), both aware and in UTC. If until is None, it ends at now.

    also_since: the reading goes on to older windows, down to this instant. Recordings from there
    are loaded too, so the next window need not ask for them again.
    starts_only: sessions may come cut at the upper end, as long as their starts are true.
    """

    since: datetime
    until: datetime | None = None
    also_since: datetime | None = None
    starts_only: bool = False

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or (self.until is not None and self.until.tzinfo is None):
            raise ValueError("a window's bounds are aware instants")
        if self.until is not None and self.until <= self.since:
            raise ValueError("a window ends after it begins")
        if self.also_since is not None and self.also_since > self.since:
            raise ValueError("what a window's reading goes on to is older than the window")

    @property
    def reach(self) -> datetime:
        """The earliest start for which this reading returns whole sessions."""
        return self.since if self.also_since is None else self.also_since

    @property
    def is_ahead(self) -> bool:
        """Whether this window holds what lies ahead of the tail (see `outliers`)."""
        return self.until == FAR_AHEAD

    def loads(self, started_at: datetime | None) -> bool:
        """Tell whether a session that starts at `started_at` comes whole and is loaded.

        A session without a start is loaded wherever it is met: loading it twice does no harm.
        """
        if started_at is None:
            return True
        return started_at >= self.reach and (self.until is None or started_at < self.until)

    def asked(self, source_now: datetime) -> Span:
        """Return the (date_from, date_to) to ask for, so that every loaded session comes whole.

        A session starts with its first piece, so true starts need no later ones. A window ahead
        has no margins. The tail has just shown what begins before it, so the stored row shows when
        a session was cut there.
        """
        if self.is_ahead:
            return Span(self.since, FAR_AHEAD)
        margin = timedelta() if self.starts_only else MARGIN
        until = source_now + AHEAD if self.until is None else self.until + margin
        # No session begins before 1970, and some servers cannot compare such dates.
        since = min(self.reach, max(self.reach - MARGIN, LONG_AGO))
        return Span(since, until)


def tail_window(
    tail_until: datetime | None, start: datetime, complete: Coverage, age: timedelta
) -> Window:
    """Return the window a sync reads: first everything since `start`, later on from `tail_until`.

    Recordings change after they were first seen, and the API does not say when. So those up to
    `age` before `tail_until` are read again (see `lookback`), also those that a backfill loaded
    from before `start`. A `start` after `tail_until` is ignored, because it would leave a hole.
    """
    if tail_until is None:
        return Window(since=start)
    oldest = tail_until - age
    known = complete.within(Span(oldest, tail_until))
    return Window(since=min(max(start, oldest), known[0].since if known else tail_until))
