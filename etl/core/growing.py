"""Lists that only grow: from where on one is read, and when a reading of it may end.

Rows are added at the front of such a list, and a row that is closed never changes again. So a
reading may end below what earlier readings have shown. Each list has a bound of its own:

- A reading that reached the end of the list, or the bound, proves that every row that was added
  before this reading began is stored. Only then the instant of its beginning is committed, together
  with the rows of its last page. A reading that dies moves nothing.
- The next bound is this instant less an overlap, because a row may become visible some time after
  the instant that it bears. It is never after the oldest stored row that is still open.
- A reading ends early only below a row that is older than the bound, and only if the list was seen
  to come newest first. If the server orders it otherwise, all of it is read.

An hour of overlap is many times what clocks that agree may differ by (`clocks.TOLERANCE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Annotated, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from etl.core.clocks import TOLERANCE

OVERLAP = timedelta(hours=1)

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Growth(Struct, frozen=True):
    """How a list grows.

    at: the field with the instant at which a row was added; the list comes newest first by it.
    closed: the field that is null as long as a row may change; None: no row ever changes.
    """

    at: str
    closed: str | None = None


class ListRead(Struct, frozen=True):
    """A list that was read down to its bound or its end.

    parent: the key of the row that it belongs to, empty if it is the only one.
    until: when the reading began, by clocks that agree.
    page_rows: the most rows that a page had, a count.
    """

    parent: str
    until: datetime
    page_rows: int


class ListState(Struct, frozen=True):
    """What is stored of a list.

    read_until: see `ListRead.until`; None if the list was never read to its end.
    oldest_open: when the oldest row was added that may still change; None if there is none.
    """

    read_until: datetime | None = None
    oldest_open: datetime | None = None
    page_rows: int = 0

    def bound(self, latest: datetime) -> datetime | None:
        """Return the instant from which on rows are read; None: all of them.

        latest: the latest of the clocks. What a clock that ran ahead has written is not believed.
        """
        if self.read_until is None or self.read_until > latest + TOLERANCE:
            return None
        bound = self.read_until - OVERLAP
        return bound if self.oldest_open is None else min(bound, self.oldest_open)

    def requests(self, newer: int, *, any_older: bool) -> int:
        """Return how many requests it takes to read down to the bound.

        newer: how many stored rows were added at the bound or after it. any_older: whether there
        are others, the first of which ends the reading.
        """
        return max(1, ceil((newer + any_older) / max(1, self.page_rows)))


class Descent(Struct, frozen=True):
    """How far a list that grows is read.

    bound: where the reading may end; None: at the end of the list.
    began_at: when the first page was asked for, by clocks that agree; None if no two agreed.
    high, low: the instants of the first and of the last row so far.
    ordered: no row so far was newer than the one before it.
    """

    bound: _Instant | None = None
    began_at: _Instant | None = None
    high: _Instant | None = None
    low: _Instant | None = None
    ordered: bool = True
    page_rows: int = 0

    def down(self, instants: Sequence[datetime | None], *, overlap: bool) -> Descent:
        """Return the state after a page with these rows.

        A row without an instant says nothing about the order. overlap: the page repeats rows of the
        page before, so the two are not compared.
        """
        known = [at for at in instants if at is not None]
        page_rows = max(self.page_rows, len(instants))
        if not known:
            return replace(self, page_rows=page_rows)
        before = [] if overlap or self.low is None else [self.low]
        ordered = all(upper >= lower for upper, lower in pairwise([*before, *known]))
        return replace(
            self,
            high=known[0] if self.high is None else self.high,
            low=known[-1],
            ordered=self.ordered and ordered,
            page_rows=page_rows,
        )

    @property
    def is_past(self) -> bool:
        """Whether everything down to the bound has been shown."""
        if self.bound is None or self.low is None or self.high is None:
            return False
        # Rows of one instant do not show in which order the list comes.
        return self.ordered and self.low < self.bound and self.low < self.high


def instant_of(record: Any, name: str) -> datetime | None:
    """Return an instant of a record; None if it has no readable one."""
    try:
        at = datetime.fromisoformat(record[name])
    except (KeyError, TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
