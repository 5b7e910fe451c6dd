"""The pieces of which a recording is made: what the server stores, one row each."""

from typing import NamedTuple

from etl.sandbox.clock import SECOND_US
from etl.sandbox.generate import (
    LATE_FIRST,
    LATE_LAST,
    LATE_MIDDLE,
    LATE_NOT,
    LATE_WHOLE,
    LATEST_US,
    Columns,
    late_by_us,
)

FIRST_PIECE_MS = 20_000
PIECE_MS = 200_000
SLOWEST_US = LATEST_US + 8 * SECOND_US
"""No generated piece arrives later than this after its end."""


def _skewed(scale: float, power: float) -> tuple[int, ...]:
    return tuple(int(scale * (byte / 255) ** power) for byte in range(256))


_CLICKS = _skewed(250, 4)
_KEYS = _skewed(900, 7)
_MOUSE = _skewed(5000, 3)
_LOGS = _skewed(120, 5)
_WARNS = _skewed(30, 6)
_ERRORS = _skewed(15, 9)

_PAGES = (
    "https://app.example.com/", "https://app.example.com/login?next=%2Fhome",
    "https://app.example.com/orders/42#items", "https://shop.example.com/søk?q=blå sko",
    "https://app.example.com/a/" + "very-long-path/" * 60, "app://HomeScreen",
    "https://例え.example/カート", "http://localhost:8000/project/1/settings",
)  # fmt: skip


class Activity(NamedTuple):
    """What a user did and what the console said, in one piece or in several added up."""

    active_ms: int
    click_count: int
    keypress_count: int
    mouse_activity_count: int
    console_log_count: int
    console_warn_count: int
    console_error_count: int


class Piece(NamedTuple):
    """One stored piece. Instants are microseconds since 1970; it is visible once it arrived."""

    start_us: int
    end_us: int
    arrives_us: int
    activity: Activity
    start_url: str | None


def count_pieces(duration_ms: int) -> int:
    """How many pieces a generated recording of this length has."""
    if duration_ms <= FIRST_PIECE_MS:
        return 1
    return 1 + -(-(duration_ms - FIRST_PIECE_MS) // PIECE_MS)


def piece_start_us(start_us: int, duration_ms: int, nth: int) -> int:
    """When the n-th piece begins; a short one comes first, then even ones."""
    if nth == 0:
        return start_us
    rest = count_pieces(duration_ms) - 1
    return start_us + (FIRST_PIECE_MS + (duration_ms - FIRST_PIECE_MS) * (nth - 1) // rest) * 1000


def lag_us(number: int, nth: int) -> int:
    """How long after its end a piece arrives: 1 to 7 seconds."""
    return ((number * 31 + nth * 17) % 7 + 1) * SECOND_US


def whole_activity(columns: Columns, number: int) -> Activity:
    """The sums over all pieces of a generated recording."""
    console = columns.console[number]
    return Activity(
        columns.duration_ms[number] * columns.active[number] >> 8,
        _CLICKS[columns.clicks[number]],
        _KEYS[columns.keys[number]],
        _MOUSE[columns.mouse[number]],
        _LOGS[console],
        _WARNS[console * 3 & 255],
        _ERRORS[console * 7 & 255],
    )


def page_url(byte: int, nth: int) -> str | None:
    """The address at which the n-th piece begins, as stored; 1 in 32 has none."""
    return None if byte >> 3 == 0 else _PAGES[(byte + nth) % len(_PAGES)]


def generated_pieces(columns: Columns, number: int) -> list[Piece]:
    """The pieces of a generated recording in the order of their start."""
    start_us, duration_ms = columns.start_us[number], columns.duration_ms[number]
    count = count_pieces(duration_ms)
    sums = whole_activity(columns, number)
    late, late_us = columns.late[number], late_by_us(columns.id_bits[number])
    pieces = []
    for nth in range(count):
        begin = piece_start_us(start_us, duration_ms, nth)
        if nth + 1 < count:
            # A little quiet before the next piece begins.
            end = begin + (piece_start_us(start_us, duration_ms, nth + 1) - begin) * 15 // 16
        else:
            end = start_us + duration_ms * 1000
        is_late = (
            late == LATE_WHOLE
            or (late == LATE_FIRST and nth == 0)
            or (late == LATE_LAST and nth == count - 1)
            or (late == LATE_MIDDLE and nth == count // 2)
        )
        share = [total * (nth + 1) // count - total * nth // count for total in sums]
        pieces.append(
            Piece(
                begin,
                end,
                end + lag_us(number, nth) + (late_us if is_late else 0),
                Activity(*share),
                page_url(columns.url[number], nth),
            )
        )
    return pieces


def all_arrived_us(columns: Columns, number: int) -> int:
    """An instant by which every piece of a generated recording has arrived."""
    end_us = columns.start_us[number] + columns.duration_ms[number] * 1000
    slack = 8 * SECOND_US
    if columns.late[number] == LATE_NOT:
        return end_us + slack
    return end_us + slack + late_by_us(columns.id_bits[number])
