"""Generated recordings: compact columns drawn from a seed, about 45 bytes per recording.

A recording is a number, counted from 0 in the order in which recordings become visible. Everything
about it follows from its columns. Its pieces are computed on request (`pieces.py`).
"""

import math
import random
from array import array
from statistics import NormalDist

from etl.sandbox.clock import DAY_US, HOUR_US, SECOND_US
from etl.sandbox.options import SandboxOptions
from etl.sandbox.people import ids_of_generated

BLOCK = 512
LONGEST_MS = 24 * 3600 * 1000
RETENTIONS_DAYS = (30, 90, 365, 1825)
NO_PERSON = 15
"""Slot of a distinct id that belongs to nobody."""

LATE_NOT, LATE_LAST, LATE_FIRST, LATE_MIDDLE, LATE_WHOLE = range(5)
LATEST_US = 8 * HOUR_US
"""How long after its end the latest late piece arrives."""

_LEAD_US = 30 * SECOND_US
"""From start to visible: the first piece is at most 20 s long and 8 s under way."""
_ONGOING = 5
_MASK = 0xFFFFFFFF


def _durations_ms() -> tuple[int, ...]:
    """Log-normal lengths, median 90 s: a few are zero, a few take hours, one takes a day."""
    normal = NormalDist(math.log(90_000), 1.5)
    lengths = [round(math.exp(normal.inv_cdf((n + 0.5) / 4096))) for n in range(4095)]
    return (0, *lengths[1:], LONGEST_MS - 1000)


_DURATIONS_MS = _durations_ms()
_LATE_BY_BYTE = bytes(252) + bytes((LATE_LAST, LATE_FIRST, LATE_MIDDLE, LATE_WHOLE))


class Columns:
    """The generated recordings of one project, extended as the clock moves on.

    `start_us` is the true start, `duration_ms` the whole length. The other columns are drawn
    bytes that `traits.py` and `pieces.py` turn into values.
    """

    def __init__(self, options: SandboxOptions, project: int, started_us: int) -> None:
        """Draws all recordings that exist at `started_us` (microseconds since 1970)."""
        self._options = options
        self._seed = f"{options.seed}:{project}"
        self._started_us = started_us
        self._span_us = max(round(options.days * DAY_US) - _LEAD_US, SECOND_US)
        self.start_us = array("q")
        self.duration_ms = array("i")
        self.person = array("I")
        self.id_bits = array("Q")
        self.slot = bytearray()
        self.late = bytearray()
        self.retention = bytearray()
        self.url = bytearray()
        self.source = bytearray()
        self.seen = bytearray()
        self.active = bytearray()
        self.clicks = bytearray()
        self.keys = bytearray()
        self.mouse = bytearray()
        self.console = bytearray()
        self._visible_from_us = 0
        while options.recordings and len(self.start_us) < options.recordings:
            self._add_block()

    def __len__(self) -> int:
        """How many are drawn, those of the near future included."""
        return len(self.start_us)

    def grow_to(self, until_us: int) -> None:
        """Draws until everything that is visible at `until_us` exists. Safe to repeat."""
        while self._options.recordings and self._visible_from_us <= until_us:
            self._add_block()

    def _anchors_us(self, first: int, jitter: "array[int]") -> list[int]:
        """When recordings become visible, at the latest; ascending."""
        count, ties = self._options.recordings, self._options.start_ties
        begin = self._started_us - self._span_us
        if ties > 1:
            numbers = (n - n % ties for n in range(first, first + BLOCK))
            anchors = [begin + n * self._span_us // count for n in numbers]
        else:
            shares = zip(range(first, first + BLOCK), jitter, strict=True)
            span = self._span_us
            anchors = [begin + (n * span + (j * span >> 32)) // count for n, j in shares]
        future = max(0, min(BLOCK, count - first))
        # A recording that comes after the clock's start must not be visible at the start.
        gap_us = _LEAD_US + SECOND_US
        return anchors[:future] + [max(a, self._started_us) + gap_us for a in anchors[future:]]

    def _add_block(self) -> None:
        first = len(self.start_us)
        draw = random.Random(f"{self._seed}:{first}")
        jitter = array("I", draw.randbytes(4 * BLOCK))
        anchors = self._anchors_us(first, jitter)
        durations = self._draw_durations(draw)
        self.late += self._draw_late(draw, first, anchors, durations)
        starts = [a - _LEAD_US for a in anchors]
        pool = self._options.person_pool
        people = [(x * x >> 32) * pool >> 32 for x in array("I", draw.randbytes(4 * BLOCK))]
        slots = draw.randbytes(BLOCK)
        self.id_bits.frombytes(draw.randbytes(8 * BLOCK))
        for number in range(first, first + BLOCK):
            if self.late[number] == LATE_WHOLE:
                starts[number - first] -= late_by_us(self.id_bits[number])
        self._draw_ongoing(first, starts, durations)
        self.start_us.extend(starts)
        self.duration_ms.extend(durations)
        self.person.extend(people)
        self.slot += bytes(
            NO_PERSON if s < 3 else s % ids_of_generated(p)
            for s, p in zip(slots, people, strict=True)
        )
        self.retention += self._draw_retentions(draw, starts)
        for column in (self.url, self.source, self.seen, self.active):
            column += draw.randbytes(BLOCK)
        for column in (self.clicks, self.keys, self.mouse, self.console):
            column += draw.randbytes(BLOCK)
        self._visible_from_us = anchors[-1] - _LEAD_US

    def _draw_durations(self, draw: random.Random) -> list[int]:
        drawn = array("H", draw.randbytes(2 * BLOCK))
        return [_DURATIONS_MS[d >> 4] and _DURATIONS_MS[d >> 4] + (d & 15) * 7 for d in drawn]

    def _draw_late(
        self, draw: random.Random, first: int, anchors: list[int], durations: list[int]
    ) -> bytearray:
        late = bytearray(draw.randbytes(BLOCK).translate(_LATE_BY_BYTE))
        earliest = self._started_us - self._span_us + LATEST_US
        for at in [at for at, kind in enumerate(late) if kind]:
            kind, anchor = late[at], anchors[at]
            moves_start = kind in (LATE_FIRST, LATE_WHOLE)
            near_now = self._started_us - 300 * SECOND_US < anchor <= self._started_us
            if (
                (kind == LATE_WHOLE and anchor < earliest)
                or (kind != LATE_WHOLE and durations[at] < 300_000)
                or (moves_start and (near_now or self._options.start_ties > 1))
            ):
                late[at] = LATE_NOT
        return late

    def _draw_ongoing(self, first: int, starts: list[int], durations: list[int]) -> None:
        """The last recordings before the clock's start go on beyond it."""
        count = self._options.recordings
        for number in range(max(first, count - _ONGOING), min(first + BLOCK, count)):
            age_ms = (self._started_us - starts[number - first]) // 1000
            going_on_ms = age_ms + 600_000 * (1 + number % 6)
            if count >= 4 * _ONGOING and going_on_ms < LONGEST_MS:
                durations[number - first] = going_on_ms
                self.late[number] = LATE_NOT

    def _draw_retentions(self, draw: random.Random, starts: list[int]) -> bytes:
        """30 or 90 days, but enough for everything to exist when the clock starts."""
        today = self._started_us // DAY_US
        shortest = []
        for day in range(starts[0] // DAY_US - 1, starts[-1] // DAY_US + 2):
            fitting = [n for n, days in enumerate(RETENTIONS_DAYS) if days > today - day]
            shortest.append(fitting[0] if fitting else len(RETENTIONS_DAYS) - 1)
        origin = starts[0] // DAY_US - 1
        drawn = zip(draw.randbytes(BLOCK), starts, strict=True)
        return bytes(max(b & 1, shortest[s // DAY_US - origin]) for b, s in drawn)


def late_by_us(bits: int) -> int:
    """How much later than usual the late piece of a recording arrives: 1 to 8 hours."""
    return HOUR_US + (bits & _MASK) * 7 * HOUR_US // (_MASK + 1)
