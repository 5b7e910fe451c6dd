"""Which stretches of time are known complete, and which holes are between them.

A pure value. The database keeps it as a multirange and unites it in SQL, so when two units close
at once, both results are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """A half-open range [since, until). Both instants are aware."""

    since: datetime
    until: datetime

    def __str__(self) -> str:
        return "/".join(at.astimezone(UTC).isoformat() for at in self).replace("+00:00", "Z")

    @classmethod
    def parse(cls, text: str) -> Span:
        """Parse what `str` returns. Raises ValueError."""
        since, until = (datetime.fromisoformat(part) for part in text.split("/"))
        return cls(since, until)


class Coverage(Struct, frozen=True):
    """Complete spans, the earliest first. They neither overlap nor touch."""

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
        """Return the parts of `span` that are known complete, the earliest first."""
        cut = (Span(max(s.since, span.since), min(s.until, span.until)) for s in self.spans)
        return tuple(part for part in cut if part.since < part.until)

    def holes(self, within: Span) -> tuple[Span, ...]:
        """Return the parts of `within` that are not known complete, the earliest first."""
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


def joined(spans: Sequence[Span], gap: timedelta = timedelta()) -> tuple[Span, ...]:
    """Return the spans as few ones, the earliest first.

    Two become one if they overlap, touch, or are no more than `gap` apart.
    """
    whole: list[Span] = []
    for span in sorted(spans):
        if whole and span.since <= whole[-1].until + gap:
            whole[-1] = Span(whole[-1].since, max(whole[-1].until, span.until))
        else:
            whole.append(span)
    return tuple(whole)


def split(span: Span, length: timedelta) -> tuple[Span, ...]:
    """Cut `span` at the multiples of `length` since 1970; the earliest piece comes first.

    The grid is fixed, so a later call with other ends cuts at the same instants and finds the
    checkpoints of an earlier call. Raises ValueError if `length` is not positive.
    """
    if length <= timedelta(0):
        raise ValueError("a window needs a length")
    pieces = []
    since = span.since
    while since < span.until:
        edge = _EPOCH + ((since - _EPOCH) // length + 1) * length
        pieces.append(Span(since, min(edge, span.until)))
        since = edge
    return tuple(pieces)
