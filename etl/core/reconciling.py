"""What a comparison of source and destination is asked for, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import NamedTuple

from msgspec import Struct

from etl.core.coverage import Span

_DAY = timedelta(days=1)


class Kind(StrEnum):
    """How a row differs. An expired one is no difference: the source has dropped it by its rule."""

    MISSING = "missing"
    SURPLUS = "surplus"
    DIFFERENT = "different"
    EXPIRED = "expired"


class How(StrEnum):
    """What is compared."""

    IDS = "ids"
    DIGEST = "digest"
    CONTENTS = "contents"
    SAMPLE = "sample"


class Difference(NamedTuple):
    """A row that differs. key: of the row, as text."""

    table: str
    key: str
    kind: str


class Counts(Struct):
    """Rows of a table within a window. source, destination: None if they are not counted."""

    source: int | None = None
    destination: int | None = None
    missing: int = 0
    surplus: int = 0
    different: int = 0

    @property
    def differences(self) -> int:
        """How many rows differ."""
        return self.missing + self.surplus + self.different

    def add(self, other: Counts) -> None:
        """Add the counts of another window."""
        if other.source is not None and other.destination is not None:
            self.source = (self.source or 0) + other.source
            self.destination = (self.destination or 0) + other.destination
        self.missing += other.missing
        self.surplus += other.surplus
        self.different += other.different


class Found(Struct):
    """What a comparison has found.

    hows: of the windows that were compared in another way than `how`.
    checked_at: names the comparison. counts: by table and window; the window is None if the stream
    has none. on_their_way: rows that differ where another run reads now; a count, not among the
    others. young: how many of the rows that differ the next sync reads again anyway. unconfirmed:
    how many of them were not asked for by key. expired: stored records that have expired and are
    not marked yet, a count. unverifiable: persons known only from recordings that are gone, a
    count. refused: how many parents the source does not show. sample: some differences. drawn: how
    many resources were drawn, of how many; None if all were compared. repaired: whether they were
    repaired.
    """

    how: How
    hows: Mapping[Span, How] = {}
    checked_at: datetime | None = None
    counts: Mapping[tuple[str, Span | None], Counts] = {}
    on_their_way: int = 0
    young: int = 0
    unconfirmed: int = 0
    expired: int = 0
    unverifiable: int = 0
    refused: int = 0
    sample: Sequence[Difference] = ()
    drawn: tuple[int, int] | None = None
    repaired: bool = False

    def how_of(self, window: Span | None) -> How:
        """Return how a window was compared."""
        return self.how if window is None else self.hows.get(window, self.how)

    @property
    def by_query(self) -> int:
        """Over how many days the recordings were compared by query, rounded up."""
        queried = {span for _, span in self.counts if span and self.how_of(span) is How.DIGEST}
        return sum(ceil((span.until - span.since) / _DAY) for span in queried)

    def total(self, name: str, table: str | None = None) -> int:
        """Return the sum of one of the counts, of one table or of all."""
        return sum(
            getattr(each, name) or 0
            for (of, _), each in self.counts.items()
            if table is None or of == table
        )

    @property
    def differences(self) -> int:
        """How many rows differ, in all tables."""
        return self.total("differences")

    @property
    def windows(self) -> list[Span]:
        """The windows that were compared, the earliest first."""
        return sorted({span for _, span in self.counts if span is not None})

    @property
    def most_unseen(self) -> float | None:
        """The share of what was not drawn that may differ, with 95 % confidence.

        None if all was compared, or if something differs. If a share p differs, n draws show none
        of it with probability (1 - p) ** n.
        """
        if self.drawn is None or self.drawn[0] == 0 or self.differences:
            return None
        return 1.0 - float(0.05 ** (1 / self.drawn[0]))
