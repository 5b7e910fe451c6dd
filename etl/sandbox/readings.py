"""What an answer says about a recording: the sums over the pieces inside its dates."""

from collections.abc import Iterable
from typing import NamedTuple

from etl.sandbox.generate import Columns
from etl.sandbox.pieces import Activity, Piece, page_url, whole_activity


class Reading(NamedTuple):
    """A recording as read from some of its pieces. Instants are microseconds since 1970."""

    start_us: int
    end_us: int
    last_arrival_us: int
    activity: Activity
    start_url: str | None

    @property
    def duration_s(self) -> int:
        """Whole seconds from start to end."""
        return (self.end_us - self.start_us) // 1_000_000

    @property
    def active_s(self) -> int:
        """Whole seconds in which the user did something."""
        return self.activity.active_ms // 1000

    @property
    def inactive_s(self) -> int:
        """Whole seconds in which the user did nothing."""
        return ((self.end_us - self.start_us) // 1000 - self.activity.active_ms) // 1000


def activity_score(activity: Activity, duration_s: int) -> float | None:
    """Return activity in per cent of time and noise, to two places; None if both are 0."""
    active_ms, clicks, keys, mouse, logs, warns, errors = activity
    quiet = mouse + duration_s + errors + logs + warns
    if not quiet:
        return None
    return round((active_ms / 1000 + clicks + keys + errors) / quiet * 100, 2)


def read_pieces(pieces: Iterable[Piece], now_us: int) -> Reading | None:
    """Return the sum of the pieces that have arrived by `now_us`; None if none has."""
    arrived = [piece for piece in pieces if piece.arrives_us <= now_us]
    if not arrived:
        return None
    first = min(arrived, key=lambda piece: piece.start_us)
    sums = [sum(column) for column in zip(*(piece.activity for piece in arrived), strict=True)]
    return Reading(
        first.start_us,
        max(piece.end_us for piece in arrived),
        max(piece.arrives_us for piece in arrived),
        Activity(*sums),
        first.start_url,
    )


def read_whole(columns: Columns, number: int) -> Reading:
    """Return the reading of a whole generated recording, computed without its pieces."""
    start_us = columns.start_us[number]
    return Reading(
        start_us,
        start_us + columns.duration_ms[number] * 1000,
        0,
        whole_activity(columns, number),
        page_url(columns.url[number], 0),
    )
