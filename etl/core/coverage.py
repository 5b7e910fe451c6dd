"""Which stretches of time are known complete, and which holes are between them.

A pure value. The destination keeps it as a multirange and unites it in SQL, so that two units that
close at once lose nothing of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """Half-open [since, until), both aware."""

    since: datetime
    until: datetime

    def __str__(self) -> str:
        return "/".join(at.astimezone(UTC).isoformat() for at in self).replace("+00:00", "Z")

    @classmethod
    def parse(cls, text: str) -> Span:
        """Read what `str` writes. Raises ValueError."""
        since, until = (datetime.fromisoformat(part) for part in text.split("/"))
        return cls(since, until)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Spans that neither overlap nor touch, the earliest first."""

    spans: tuple[Span, ...] = ()

    @property
    def since(self) -> datetime | None:
        """The lowest instant known complete."""
        return self.spans[0].since if self.spans else None

    @property
    def until(self) -> datetime | None:
        """The highest instant known complete."""
        return self.spans[-1].until if self.spans else None

    def covers(self, span: Span) -> bool:
        """Tell whether all of `span` is known complete."""
        return any(held.since <= span.since and span.until <= held.until for held in self.spans)

    def within(self, span: Span) -> tuple[Span, ...]:
        """Return what of `span` is known complete, the earliest first."""
        cut = (Span(max(s.since, span.since), min(s.until, span.until)) for s in self.spans)
        return tuple(part for part in cut if part.since < part.until)

    def holes(self, within: Span) -> tuple[Span, ...]:
        """Return what of `within` is not known complete, the earliest first."""
        holes = []
        reached = within.since
        for span in self.spans:
            if span.since > reached:
                holes.append(Span(reached, min(span.since, within.until)))
            reached = max(reached, span.until)
            if reached >= within.until:
                break
        holes.append(Span(reached, within.until))
        return tuple(hole for hole in holes if hole.since < hole.until)


def split(span: Span, length: timedelta) -> tuple[Span, ...]:
    """Cut `span` at the multiples of `length` since 1970, the earliest piece first.

    On a fixed grid, so that a later call with other ends cuts at the same instants and finds the
    checkpoints of the first.
    """
    if length <= timedelta(0):
        raise ValueError("a window has a length")
    pieces = []
    since = span.since
    while since < span.until:
        edge = _EPOCH + ((since - _EPOCH) // length + 1) * length
        pieces.append(Span(since, min(edge, span.until)))
        since = edge
    return tuple(pieces)
