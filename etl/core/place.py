"""Where a reading stands: a frozen value on each page, committed with the page's rows.

Another process goes on from it. Each step of a reading makes a new place; none is ever changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from etl.core.coverage import Span
from etl.core.growing import Descent
from etl.core.stretch import next_stretch
from etl.core.walk import by_cursor, resume_walk
from etl.core.window import Window

Instant = Annotated[datetime, Meta(tz=True)]

# The most keys kept of recordings that start at the instant where a page ends.
_MOST_EDGE_KEYS = 2_000
# Long enough for a pause of an hour, and for the next call of a cron job after it.
WORTH_RESUMING = timedelta(hours=2)
_TICK = timedelta(microseconds=1)
_FAR = datetime(9999, 1, 1, tzinfo=UTC)


class Evidence(Struct, frozen=True):
    """What a page says about records that are not on it.

    keys: the records that are loaded. One that is stored in the window and now starts outside it is
    not among them: it stays in doubt, is asked for, and so loads whole.
    span: between these two starts, both included, the page shows everything there is; None if it
    proves nothing of the kind.
    known: keys at the upper end of the span that the page before showed.
    begins: everything that is stored is in doubt until it is seen; from there on each page removes
    what it shows.
    unjudged: owners that could not be looked at; what belongs to them (their key is the beginning
    of its key, as text) is in doubt no more.
    spares: where it begins, what belongs to lists that are left out is not in doubt, see
    `Parents.unchanged`.
    """

    keys: Sequence[str]
    span: tuple[datetime, datetime] | None = None
    known: Sequence[str] = ()
    begins: bool = False
    unjudged: Sequence[Sequence[str]] = ()
    spares: bool = False


class WholeLists(Struct, frozen=True):
    """The lists of a parent, all of which were read to their end.

    pages: how many answers that took, a count.
    """

    parent: str
    pages: int


class Traits(Struct, frozen=True, omit_defaults=True):
    """What a server was found to do; kept for the next run.

    envelope: "cursor" or "count", by what its lists say of themselves.
    date_filter: "honoured", "ignored" or "refused".
    clamp: the most rows that a page holds, None if it holds as many as are asked for.
    """

    envelope: str | None = None
    date_filter: str | None = None
    clamp: int | None = None

    @classmethod
    def of(cls, traits: Mapping[str, Any] | None) -> Traits:
        """Return what is among the traits of a watermark."""
        try:
            return msgspec.convert(traits or {}, cls)
        except msgspec.ValidationError:
            return cls()  # written by another version; the server is asked anew

    def known(self) -> dict[str, Any]:
        """Return what is known as JSON."""
        return dict(msgspec.to_builtins(self))


class Place(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every reading keeps of itself.

    fingerprint: what the place is good for: a list, its order and its page size.
    began_at: what clocks agreed on at the first request; what happened before has been asked for.
    walk: how far the list in hand is read, None before its first page.
    ended: all is read.
    complete: every row that was there the whole time is vouched for.
    """

    fingerprint: str
    began_at: Instant
    walk: dict[str, Any] | None = None
    ended: bool = False
    complete: bool = True

    @property
    def shortens(self) -> bool:
        """Whether a shorter stretch of time is less work for the server."""
        return False

    def position(self) -> Mapping[str, Any]:
        """Return the place as JSON."""
        return dict(msgspec.to_builtins(self))

    @classmethod
    def resume(cls, position: Mapping[str, Any] | None, fingerprint: str) -> Self | None:
        """Return the place of a checkpoint; None if it belongs to another list or version."""
        try:
            place = msgspec.convert(position, cls)
            if place.walk is not None:
                resume_walk(place.walk)
        except ValueError:
            return None
        return place if place.fingerprint == fingerprint else None


class RecordingsPlace(Place, frozen=True, kw_only=True):
    """How far a window is read.

    asked: the (date_from, date_to) sent, None to a server that does not filter.
    filters: False once the server answered with rows outside the dates.
    ordered: whether all came newest start first.
    low: the start of the last row read. above: the start of the row before it.
    edge: the keys of the rows that start at `low`.
    witness: the key of a record that was seen.
    exhausted: the list itself was at its end, not only the window.
    source_ahead_s: how far the server's clock was ahead of the database's when it last answered.
    stretch: the part of the window in hand, None for all of it; longest: its longest length.
    front: a server that ignores dates is read down to the beginning of the window only.
    count: the server's last count; unaccounted: how many of these rows were not met, None where it
    does not say. accepted: how many rows the server may count that it does not list.
    """

    window: Window
    asked: Span | None
    filters: bool
    ordered: bool = True
    low: Instant | None = None
    above: Instant | None = None
    edge: Sequence[str] = ()
    witness: str | None = None
    exhausted: bool = False
    source_ahead_s: float | None = None
    stretch: Window | None = None
    longest: timedelta | None = None
    front: bool = False
    count: int | None = None
    unaccounted: int | None = None
    accepted: int = 0
    traits: Traits = Traits()

    @property
    def everything(self) -> bool:
        """Whether all that the server has is read, whatever dates it was asked for."""
        return not (self.filters or self.front)

    @property
    def leaves_early(self) -> bool:
        """Whether the list is left before its end because it has come below the window."""
        return self.front and not self.filters

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
        """Whether the list is filtered, in order, and the server keeps our place in it."""
        return self.ordered and self.filters and by_cursor(self.walk)

    def settled(self, started_at: datetime | None) -> bool:
        """Tell whether every pass has to meet a recording: it was there, and is asked for."""
        if started_at is None:
            return True
        wanted = self.everything or started_at >= self.floor
        return wanted and started_at < self.began_at

    def loads(self, started_at: datetime | None) -> bool:
        """Tell whether a recording is whole, and so to be loaded."""
        # A server that does not filter does not cut either: every row is whole and current.
        return not self.filters or self.part.loads(started_at)

    def passed(self, since: datetime) -> bool:
        """Tell whether all that follows starts before `since`.

        It takes two in a row: one record with a wrong date proves nothing.
        """
        if self.everything or not self.ordered:
            return False
        return self.above is not None and self.above < since

    def followed_by(self, window: Window) -> RecordingsPlace | None:
        """Return where the next older window begins under the same cursor; None: nowhere.

        What this reading has shown of that window is loaded (see `Window.also_since`).
        """
        fits = self.window.since == window.until and self.window.reach <= window.reach
        if not (fits and self.ended and self.complete and self.descends):
            return None
        place = replace(self, window=window, ended=self.exhausted or self.passed(window.since))
        if self.exhausted or self.passed(self.part.since):
            return place.next_stretch() or place
        return place

    def begin(self, stretch: Window, asked: Span, longest: timedelta) -> RecordingsPlace:
        """Return the beginning of a stretch, at the first page of its list."""
        first = replace(self.at_first_page(), ended=False, exhausted=False)
        return replace(first, stretch=stretch, asked=asked, longest=longest)

    def at_first_page(self) -> RecordingsPlace:
        """Return the place before the first page of the list."""
        return replace(self, walk=None, low=None, above=None, edge=())

    def next_stretch(self) -> RecordingsPlace | None:
        """Return the beginning of the stretch after the one in hand, None if there is none."""
        whole = self.stretch is None or not self.filters
        if whole or self.longest is None or self.part.since <= self.window.since:
            return None
        stretch = next_stretch(self.window, self.part, self.longest)
        if stretch is None:
            return None
        return self.begin(stretch, stretch.asked(self.began_at), self.longest)

    def down(self, starts: Sequence[datetime | None], *, overlap: bool) -> RecordingsPlace:
        """Return the place below a page with these starts; notices a list in another order.

        overlap: neighbouring pages overlap, so the page is not compared with the one before.
        """
        known = [at for at in starts if at is not None]
        before = [] if overlap or self.low is None else [self.low]
        in_order = all(upper >= lower for upper, lower in pairwise([*before, *known]))
        above, low = self.above, self.low
        for at in known[-2:]:
            above, low = low, at
        ordered = self.ordered and in_order and len(known) == len(starts)
        return replace(self, ordered=ordered, above=above, low=low)

    def after(
        self, keys: Sequence[str], starts: Sequence[datetime | None], high: datetime | None
    ) -> RecordingsPlace:
        """Return the place that knows the keys of a page; high: the start reached before it.

        Kept are those at the start that was reached; the next page may begin with it.
        """
        at_low = [key for key, at in zip(keys, starts, strict=True) if at == self.low]
        edge = [*(self.edge if high == self.low else ()), *at_low][:_MOST_EDGE_KEYS]
        witness = keys[-1] if keys and self.witness is None else self.witness
        return replace(self, edge=edge, witness=witness)

    def evidence(self, keys: Sequence[str], high: datetime | None, *, begins: bool) -> Evidence:
        """Return what a page says about recordings that are stored and not on it.

        high: the start that was reached before it, None at first.
        """
        window = self.part
        highest = _FAR
        if window.until is not None:
            highest = window.until - _TICK
        elif self.filters and self.asked is not None:
            highest = self.asked[1]  # what lies ahead of it is read by itself
        if not by_cursor(self.walk) or not self.filters:
            # What is absent shows only at the end of all passes.
            doubted = (self.floor, highest) if begins and not self.everything else None
            return Evidence(keys, doubted, begins=begins)
        # The next page may show more with the start at which this one ends.
        low = window.reach if self.exhausted or self.low is None else self.low + _TICK
        span = (max(low, window.reach), min(high or _FAR, highest))
        if not self.ordered or span[0] > span[1]:
            return Evidence(keys)
        return Evidence(keys, span, known=self.edge)


class SnapshotPlace(Place, frozen=True, kw_only=True):
    """How far the resources of a stream are read.

    at: when it was reached, by the database's clock.
    stage: which resource is being read; `ended` means that this one is read.
    parent: the fields of the parent in hand, None before the first.
    list_number: which of its lists is being read; cursor_name: the parameter of the cursor there.
    pages and parents: how many this stage had; records: how many it showed, counts.
    refused: how many parents could not be looked at; skipped: how many of these because
    something other than PostHog answered.
    cut: a list showed less than it has.
    lacking: by the address of a list, how many rows it counted and did not show.
    took: pages and parents of each finished stage.
    descent: how far the list in hand is read, if it is one that grows.
    parent_pages: how many pages the lists of the parent in hand had, a count.
    judged: every list of this parent could vouch for what it did not show.
    """

    at: Instant
    stage: int = 0
    parent: Sequence[Any] | None = None
    list_number: int = 0
    cursor_name: str = "after"
    pages: int = 0
    parents: int = 0
    records: int = 0
    refused: int = 0
    skipped: int = 0
    cut: bool = False
    lacking: Mapping[str, int] = {}
    took: Sequence[tuple[int, int]] = ()
    descent: Descent | None = None
    parent_pages: int = 0
    judged: bool = True

    @classmethod
    def resume_at(
        cls, position: Mapping[str, Any] | None, fingerprint: str, now: datetime
    ) -> SnapshotPlace | None:
        """Return the place of a checkpoint; None, too, if it is too old to be worth resuming."""
        place = cls.resume(position, fingerprint)
        if place is None or now - place.at > WORTH_RESUMING:
            return None
        # No server keeps our place by offset, and what is added or removed moves the rest: what
        # was not seen would prove nothing. The list in hand begins anew.
        return place if by_cursor(place.walk) else replace(place, walk=None)

    @property
    def is_beginning(self) -> bool:
        """Whether nothing is read yet: to go on from here is to begin."""
        return self.stage == self.pages == self.refused == 0 and not self.ended

    def begin_stage(self) -> SnapshotPlace:
        """Return the beginning of the resource in hand, to read it for the first time or again."""
        place = replace(self, parent=None, list_number=0, walk=None, descent=None, ended=False)
        return replace(place, pages=0, parents=0, records=0, refused=0)

    def next_stage(self) -> SnapshotPlace:
        """Return the beginning of the next resource."""
        took = [*self.took, (self.pages, self.parents)]
        return replace(self.begin_stage(), took=took, stage=self.stage + 1)
