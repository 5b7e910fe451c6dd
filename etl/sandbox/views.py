"""The recordings that a window shows, in order. Views are kept between requests.

Most recordings are complete and lie inside the window: these are numbers in a sorted array. The
others (ongoing, cut by an edge, or changed) are computed from their pieces.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from etl.sandbox.clock import DAY_US
from etl.sandbox.generate import LONGEST_MS
from etl.sandbox.pieces import Piece
from etl.sandbox.readings import Reading, activity_score, read_pieces, read_whole
from etl.sandbox.world import ADDED, Project

CACHE_BYTES = 64 * 1024 * 1024
KEPT_PIECES = 100_000
_FOREVER_US = 1 << 62

SortValue = int | float
Key = tuple[SortValue, str]


@dataclass(frozen=True, slots=True)
class Window:
    """The dates of a request: pieces that start within count. Both bounds are included.

    from_us, to_us: microseconds since 1970.
    """

    from_us: int = -_FOREVER_US
    to_us: int = _FOREVER_US

    def holds(self, start_us: int) -> bool:
        """Tell whether a piece with this start counts."""
        return self.from_us <= start_us <= self.to_us


def _score(reading: Reading) -> float:
    score = activity_score(reading.activity, reading.duration_s)
    return -1.0 if score is None else score


_VALUES: dict[str, Callable[[Reading], SortValue]] = {
    "start_time": lambda r: r.start_us,
    "surfacing_score": lambda r: r.start_us,
    "duration": lambda r: r.duration_s,
    "recording_duration": lambda r: r.duration_s,
    "active_seconds": lambda r: r.active_s,
    "inactive_seconds": lambda r: r.inactive_s,
    "console_error_count": lambda r: r.activity.console_error_count,
    "click_count": lambda r: r.activity.click_count,
    "keypress_count": lambda r: r.activity.keypress_count,
    "mouse_activity_count": lambda r: r.activity.mouse_activity_count,
    "activity_score": _score,
}
ORDERS = (*_VALUES, "recording_ttl")
_BY_START = ("start_time", "surfacing_score")


@dataclass(slots=True)
class View:
    """The recordings of one window, ascending by (sort value, id).

    readings: of the recordings that were computed from pieces; the others are whole.
    from_us, until_us: while the clock is within, the view is valid.
    version: of the data that it was computed from.
    """

    numbers: "array[int]"
    readings: dict[int, Reading]
    order: str
    from_us: int
    until_us: int
    version: tuple[int, int]

    def fits(self, now_us: int, version: tuple[int, int]) -> bool:
        """Tell whether the view is still valid."""
        return self.version == version and self.from_us <= now_us < self.until_us


class Views:
    """Computes the views of one project, and keeps the latest, bounded in bytes."""

    def __init__(self, project: Project) -> None:
        """Keep nothing at first."""
        self._project = project
        self._kept: OrderedDict[tuple[object, ...], View] = OrderedDict()
        self._made: dict[int, list[Piece]] = {}
        self._made_count = 0
        self._by_value: dict[str, tuple[array[int], array[int]]] = {}

    def view(
        self, window: Window, order: str, now_us: int, distinct_ids: frozenset[str] | None = None
    ) -> View:
        """Return the view at this instant. distinct_ids: show only recordings that these made."""
        project = self._project
        project.columns.grow_to(now_us)
        key = (window, order, distinct_ids)
        version = (project.version, project.owners.version if distinct_ids is not None else 0)
        view = self._kept.pop(key, None)
        if view is None or not view.fits(now_us, version):
            view = self._make(window, order, now_us, version)
            if distinct_ids is not None:
                self._narrow(view, distinct_ids)
        self._kept[key] = view
        while len(self._kept) > 1 and self.size_bytes() > CACHE_BYTES:
            self._kept.popitem(last=False)
        return view

    def picked(
        self,
        ids: tuple[str, ...],
        window: Window,
        order: str,
        now_us: int,
        distinct_ids: frozenset[str] | None = None,
    ) -> View:
        """Return a view of those of these recordings that are visible. It is not kept."""
        project = self._project
        project.columns.grow_to(now_us)
        numbers = {number for each in ids if (number := project.find(each)) is not None}
        readings, _ = self._read(numbers, window, now_us)
        view = View(array("i"), readings, order, now_us, now_us, (0, 0))
        self._insert(view)
        if distinct_ids is not None:
            self._narrow(view, distinct_ids)
        return view

    def key(self, view: View, number: int) -> Key:
        """Return the sort value and the id of a recording, by which the view is ordered."""
        reading = view.readings.get(number)
        if reading is None and view.order in _BY_START:
            value: SortValue = self._project.columns.start_us[number]
        else:
            value = self._value(view.order, number, reading)
        return value, self._project.recording_id(number)

    def reading(self, view: View, number: int) -> Reading:
        """Return the reading of a recording in this view."""
        return view.readings.get(number) or read_whole(self._project.columns, number)

    def count(self) -> int:
        """Return how many views are kept."""
        return len(self._kept)

    def size_bytes(self) -> int:
        """Return about how much memory the kept views take, in bytes."""
        return sum(4 * len(v.numbers) + 400 * len(v.readings) for v in self._kept.values())

    def _value(self, order: str, number: int, reading: Reading | None) -> SortValue:
        reading = reading or read_whole(self._project.columns, number)
        if order == "recording_ttl":
            days = self._project.traits(number).retention_days
            return reading.start_us // DAY_US + days
        if order == "activity_score" and not self._project.traits(number).scored:
            return -1.0
        return _VALUES[order](reading)

    def _make(self, window: Window, order: str, now_us: int, version: tuple[int, int]) -> View:
        project = self._project
        apart = self._apart(window, now_us)
        readings, until_us = self._read(apart, window, now_us)
        until_us = min(until_us, project.unsettled_until_us)
        base = self._settled(window, order, now_us, apart)
        view = View(base, readings, order, now_us, until_us, version)
        self._insert(view)
        return view

    def _read(
        self, numbers: set[int], window: Window, now_us: int
    ) -> tuple[dict[int, Reading], int]:
        """Return the readings of the visible recordings, and until when these are valid."""
        project = self._project
        readings: dict[int, Reading] = {}
        until_us = (now_us // DAY_US + 1) * DAY_US
        for number in numbers:
            if project.is_deleted(number):
                continue
            pieces = [p for p in self._pieces(number) if window.holds(p.start_us)]
            if project.expires_by_piece:
                pieces = [p for p in pieces if not project.is_expired(number, p.start_us, now_us)]
            until_us = min([until_us, *(p.arrives_us for p in pieces if p.arrives_us > now_us)])
            reading = read_pieces(pieces, now_us)
            if reading and not project.is_expired(number, reading.start_us, now_us):
                readings[number] = reading
        return readings, until_us

    def _pieces(self, number: int) -> list[Piece]:
        """Return the pieces of a recording. Pieces of unchanged recordings are cached."""
        if number in self._project.changed:
            return self._project.pieces(number)
        found = self._made.get(number)
        if found is None:
            if self._made_count > KEPT_PIECES:
                self._made.clear()
                self._made_count = 0
            found = self._made[number] = self._project.pieces(number)
            self._made_count += len(found)
        return found

    def _apart(self, window: Window, now_us: int) -> set[int]:
        """Return the recordings that must be computed from pieces; it may include others."""
        project, columns = self._project, self._project.columns
        apart = set(project.unsettled(now_us)) | project.changed.keys()
        order, start_us, duration_ms = project.by_start(), columns.start_us, columns.duration_ms
        edges_us = [window.from_us, window.to_us]
        if project.expires_by_piece:
            edges_us += set(project.oldest_us(now_us))
        for edge_us in edges_us:
            first = project.position(edge_us - LONGEST_MS * 1000)
            last = project.position(min(edge_us, now_us) + 1)
            apart.update(
                n for n in order[first:last]
                if start_us[n] + duration_ms[n] * 1000 >= edge_us
            )  # fmt: skip
        return apart

    def _settled(self, window: Window, order: str, now_us: int, apart: set[int]) -> "array[int]":
        project, start_us = self._project, self._project.columns.start_us
        from_us, to_us = window.from_us, min(window.to_us, now_us)
        if order not in _BY_START:
            return array("i", [
                n for n in self._sorted_by(order, now_us)
                if from_us <= start_us[n] <= to_us and n not in apart
            ])  # fmt: skip
        living = project.living(now_us)
        first = bisect_left(living, from_us, key=start_us.__getitem__)
        last = bisect_right(living, to_us, lo=first, key=start_us.__getitem__)
        taken = []
        for number in apart:
            if number < ADDED and from_us <= start_us[number] <= to_us:
                begin_us = start_us[number]
                at = bisect_left(living, begin_us, key=start_us.__getitem__)
                end = bisect_right(living, begin_us, lo=at, key=start_us.__getitem__)
                taken += [place for place in range(at, end) if living[place] == number]
        kept = array("i")
        for at in sorted(taken):
            kept.extend(living[first:at])
            first = at + 1
        kept.extend(living[first:last])
        return kept

    def _sorted_by(self, order: str, now_us: int) -> "array[int]":
        """Return all living generated recordings, by a value other than the start, then by id."""
        living = self._project.living(now_us)
        kept = self._by_value.get(order)
        if kept is None or kept[0] is not living:
            # The second sort is stable, so equal values stay in the order of ids.
            by_id = sorted(living, key=self._project.recording_id)
            ordered = sorted(by_id, key=lambda n: self._value(order, n, None))
            kept = self._by_value[order] = (living, array("i", ordered))
        return kept[1]

    def _insert(self, view: View) -> None:
        """Insert the recordings that were computed from pieces into `numbers`."""
        whole, first = view.numbers, 0
        merged = array("i")
        for key, number in sorted((self.key(view, n), n) for n in view.readings):
            at = self._place(view, key, first)
            merged.extend(whole[first:at])
            merged.append(number)
            first = at
        merged.extend(whole[first:])
        view.numbers = merged

    def _place(self, view: View, key: Key, first: int) -> int:
        """Return where a key belongs in `numbers`, at `first` or later."""
        whole = view.numbers
        if view.order not in _BY_START:
            return bisect_left(whole, key, lo=first, key=lambda n: self.key(view, n))
        # Comparing ids only if starts are equal gives the same result, many times faster.
        start_us = self._project.columns.start_us
        at = bisect_left(whole, key[0], lo=first, key=start_us.__getitem__)
        while at < len(whole) and self.key(view, whole[at]) < key:
            at += 1
        return at

    def _narrow(self, view: View, distinct_ids: frozenset[str]) -> None:
        """Remove the recordings that other distinct ids made."""
        maker = self._project.maker
        view.numbers = array("i", [n for n in view.numbers if maker(n)[0] in distinct_ids])
