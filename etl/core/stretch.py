"""Read a window in stretches, if the server is too slow for all of it at once.

The server's work grows with the range of dates. So the newer half is asked for first, with its own
margins, then the rest in stretches of the same length. It remains one reading: its position names
the current stretch, and the window is complete after the oldest stretch.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from etl.core.window import Window

# With its margins this asks for about two days of dates. A shorter stretch would hardly cost less.
SHORTEST = timedelta(hours=1)
_TICK = timedelta(microseconds=1)


def first_stretch(window: Window, longest: timedelta | None, now: datetime) -> Window | None:
    """Return the newest stretch of `window`; None if all of it is no longer than `longest`."""
    top = _top(window, now)
    if longest is None or window.is_ahead or top - window.reach <= longest:
        return None
    return Window(top - longest, window.until)


def next_stretch(window: Window, read: Window, longest: timedelta) -> Window | None:
    """Return the stretch of `window` that follows `read`; None after the oldest."""
    if read.since <= window.reach:
        return None
    return Window(max(window.reach, read.since - longest), read.since)


def shorter(
    stretch: Window, low: datetime | None, now: datetime
) -> tuple[Window, timedelta] | None:
    """Return the newest part of the unread rest of `stretch`, and the new longest length.

    That length is half of the length that was too slow. None if it cannot be shorter.
    low: everything that starts after it was read; None if that is not known of any instant.
    """
    length = _top(stretch, now) - stretch.reach
    if stretch.is_ahead or length <= SHORTEST:
        return None
    until = stretch.until
    if low is not None and stretch.reach < low < (until or low + _TICK):
        until = low + _TICK
    longest = max(length / 2, SHORTEST)
    top = now if until is None else until
    return Window(max(stretch.reach, top - longest), until), longest


def _top(window: Window, now: datetime) -> datetime:
    return now if window.until is None else window.until
