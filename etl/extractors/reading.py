"""A window being read: how far, in what order, what was seen; as a checkpoint keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from etl.core.coverage import Span
from etl.core.page import Sighting
from etl.core.stretch import next_stretch
from etl.core.walk import CursorWalk, OffsetWalk, resume_walk
from etl.core.window import Window

# Recordings with one start, across the edge of two pages, that are told apart without a question.
_MOST_EDGE_KEYS = 2_000
_TICK = timedelta(microseconds=1)
_FAR = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Reading:
    """A window being read: what a checkpoint keeps of it, so that another process can go on.

    began_at: what clocks agreed on at the first request; what happened before has been asked for.
    asked: the (date_from, date_to) sent, None to a server that does not filter. filters: False
    once the server answered with rows outside the dates. ordered: whether all came newest start
    first. low: the start that was reached, above: the one before; edge: the keys at `low`. witness:
    a key that was seen.
    ended: all is read, complete: and every row that was there the whole time is vouched for.
    exhausted: the list itself was at its end, not only the window. source_ahead_s: how far the
    server's clock was ahead of the database's when it last answered, None before. stretch: the part
    of the window in hand, None for all of it; longest: how long such a part may be. front: a server
    that ignores dates is read down to the window's beginning, and not to the end of its list.
    count: the server's last count; unaccounted: how many of these rows were not met, None where it
    does not say.
    """

    window: Window
    began_at: datetime
    asked: tuple[datetime, datetime] | None
    filters: bool
    fingerprint: str
    walk: CursorWalk | OffsetWalk | None = None
    ordered: bool = True
    low: datetime | None = None
    above: datetime | None = None
    edge: list[str] = field(default_factory=list)
    witness: str | None = None
    ended: bool = False
    complete: bool = True
    exhausted: bool = False
    source_ahead_s: float | None = None
    stretch: Window | None = None
    longest: timedelta | None = None
    front: bool = False
    count: int | None = None
    unaccounted: int | None = None

    @property
    def everything(self) -> bool:
        """Whether all that the server has is read, whatever dates it was asked for."""
        return not (self.filters or self.front)

    @property
    def leaves_early(self) -> bool:
        """Whether the list is left before its end because it has come below the window."""
        return self.front and not self.filters

    def settled(self, started_at: datetime | None) -> bool:
        """Tell whether every pass has to meet a recording: it was there, and is asked for."""
        if started_at is None:
            return True
        wanted = self.everything or started_at >= self.floor
        return wanted and started_at < self.began_at

    @property
    def part(self) -> Window:
        """What is asked for now: the stretch in hand, or the whole window."""
        return self.stretch if self.stretch is not None and self.filters else self.window

    @property
    def floor(self) -> datetime:
        """The start below which nothing that is asked for now is wanted."""
        return max(self.part.since, self.window.since)

    @property
    def shortens(self) -> bool:
        """Whether a shorter stretch of time is less work for the server."""
        return self.filters and self.asked is not None and not self.window.is_ahead

    @property
    def descends(self) -> bool:
        """Whether the list comes newest start first and stands still: by cursor, and filtered."""
        return self.ordered and self.filters and isinstance(self.walk, CursorWalk)

    def position(self) -> Mapping[str, Any]:
        """Return the reading as JSON."""
        return {
            "fingerprint": self.fingerprint,
            "since": self.window.since.isoformat(),
            "until": _text(self.window.until),
            "also_since": _text(self.window.also_since),
            "began_at": self.began_at.isoformat(),
            "asked": None if self.asked is None else [at.isoformat() for at in self.asked],
            "filters": self.filters,
            "walk": None if self.walk is None else self.walk.position(),
            "ordered": self.ordered,
            "low": _text(self.low),
            "above": _text(self.above),
            "edge": self.edge,
            "witness": self.witness,
            "ended": self.ended,
            "complete": self.complete,
            "exhausted": self.exhausted,
            "source_ahead_s": self.source_ahead_s,
            "stretch": None
            if self.stretch is None
            else [self.stretch.since.isoformat(), _text(self.stretch.until)],
            "front": self.front,
            "count": self.count,
            "unaccounted": self.unaccounted,
            "longest_s": None if self.longest is None else self.longest.total_seconds(),
        }

    @classmethod
    def resume(cls, position: Mapping[str, Any], fingerprint: str) -> Reading | None:
        """Return the reading of a checkpoint; None when it was another one's or unreadable."""
        try:
            if position["fingerprint"] != fingerprint:
                return None
            asked, walk = position["asked"], position["walk"]
            stretch, longest_s = position.get("stretch"), position.get("longest_s")
            return cls(
                window=Window(
                    _at(position["since"]),
                    _maybe_at(position["until"]),
                    _maybe_at(position["also_since"]),
                ),
                began_at=_at(position["began_at"]),
                asked=None if asked is None else (_at(asked[0]), _at(asked[1])),
                filters=position["filters"],
                fingerprint=fingerprint,
                walk=None if walk is None else resume_walk(walk),
                ordered=position["ordered"],
                low=_maybe_at(position["low"]),
                above=_maybe_at(position["above"]),
                edge=position["edge"],
                witness=position["witness"],
                ended=position["ended"],
                complete=position["complete"],
                exhausted=position["exhausted"],
                source_ahead_s=position.get("source_ahead_s"),
                stretch=None if stretch is None else Window(_at(stretch[0]), _maybe_at(stretch[1])),
                front=position["front"],
                count=position["count"],
                unaccounted=position["unaccounted"],
                longest=None if longest_s is None else timedelta(seconds=longest_s),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def followed_by(self, window: Window) -> Reading | None:
        """Return the reading of the next older window under the same cursor, if there is one.

        What this reading has shown of that window is loaded (see `Window.also_since`).
        """
        fits = self.window.since == window.until and self.window.reach <= window.reach
        if not (fits and self.ended and self.complete and self.descends):
            return None
        reading = replace(self, window=window, ended=self.exhausted or self.passed(window.since))
        if self.exhausted or self.passed(self.part.since):
            reading.go_on()
        return reading

    def begin(self, stretch: Window, asked: Span, longest: timedelta) -> None:
        """Begin a stretch, at the first page of its list."""
        self.stretch, self.asked, self.longest = stretch, asked, longest
        self.walk, self.low, self.above, self.edge = None, None, None, []
        self.ended = self.exhausted = False

    def go_on(self) -> bool:
        """Begin the next stretch, after the one in hand was read; False: there is none."""
        if self.part is self.window or self.longest is None or self.part.since <= self.window.since:
            return False
        stretch = next_stretch(self.window, self.part, self.longest)
        if stretch is None:
            return False
        self.begin(stretch, stretch.asked(self.began_at), self.longest)
        return True

    def passed(self, since: datetime) -> bool:
        """Tell whether all that follows starts before `since`.

        It takes two in a row: one record with a wrong date proves nothing.
        """
        if self.everything or not self.ordered:
            return False
        return self.above is not None and self.above < since

    def note_order(self, starts: Sequence[datetime | None]) -> None:
        """Notice a list that does not come newest start first, and how far down it has come."""
        known = [at for at in starts if at is not None]
        # By offset, neighbouring pages overlap.
        above = self.low if isinstance(self.walk, CursorWalk) else None
        in_order = all(
            upper >= lower for upper, lower in pairwise(known if above is None else [above, *known])
        )
        self.ordered &= in_order and len(known) == len(starts)
        for at in known[-2:]:
            self.above, self.low = self.low, at

    def note_edge(
        self, keys: Sequence[str], starts: Sequence[datetime | None], high: datetime | None
    ) -> None:
        """Keep the keys at the start that was reached; the next page may begin with it."""
        at_low = [key for key, at in zip(keys, starts, strict=True) if at == self.low]
        self.edge = [*(self.edge if high == self.low else ()), *at_low][:_MOST_EDGE_KEYS]

    def sighting(self, keys: Sequence[str], high: datetime | None, *, begins: bool) -> Sighting:
        """Return what a page says about recordings that are stored and not on it.

        high: the start that was reached before it, None at first.
        """
        window = self.part
        highest = _FAR
        if window.until is not None:
            highest = window.until - _TICK
        elif self.filters and self.asked is not None:
            highest = self.asked[1]  # what lies ahead of it is read by itself
        if not isinstance(self.walk, CursorWalk) or not self.filters:
            # What is absent shows only at the end of all passes.
            doubted = (self.floor, highest) if begins and not self.everything else None
            return Sighting(keys, doubted, begins=begins)
        # The next page may show more with the start at which this one ends.
        low = window.reach if self.exhausted or self.low is None else self.low + _TICK
        span = (max(low, window.reach), min(high or _FAR, highest))
        if not self.ordered or span[0] > span[1]:
            return Sighting(keys)
        return Sighting(keys, span, known=self.edge)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _maybe_at(text: str | None) -> datetime | None:
    return None if text is None else _at(text)


def _at(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("an instant without a zone")
    return at
