"""Ids of generated recordings: mostly UUIDv7 text, a few in older forms."""

import struct
from bisect import bisect_left
from collections.abc import Sequence

from etl.sandbox.generate import Columns

_TWO_WORDS = struct.Struct(">QQ")
_VARIANT = 0x8 << 60
_LOW = (1 << 60) - 1
_LEGACY = 0xFF
_HEX = frozenset("0123456789abcdef-")


def is_legacy(bits: int) -> bool:
    """Whether a recording with these bits has an id in an older form (1 in 256)."""
    return not bits & _LEGACY


def generated_id(columns: Columns, number: int) -> str:
    """The id of a generated recording; UUIDv7 text begins with its start in milliseconds."""
    bits = columns.id_bits[number]
    ms = columns.start_us[number] // 1000
    if not bits & _LEGACY:
        if bits & 0x100:
            return f"session{number}"
        return f"{ms:011x}{number:x}-{bits >> 12:013x}-455f6c-17eda0-{ms:011x}{bits >> 8 & 255:02x}"
    # Version 7, variant 8; the time and 56 drawn bits, and 4 bits that tell neighbours apart.
    text = _TWO_WORDS.pack(
        ms << 16 | 0x7000 | bits >> 52, _VARIANT | bits << 4 & _LOW | number & 15
    )
    shown = text.hex()
    return f"{shown[:8]}-{shown[8:12]}-{shown[12:16]}-{shown[16:20]}-{shown[20:]}"


def find_generated(columns: Columns, by_start: Sequence[int], wanted: str) -> int | None:
    """The number of the generated recording with this id; `by_start` lists all, oldest first."""
    if wanted.startswith("session") and wanted[7:].isdecimal():
        candidates = [int(wanted[7:])]
    elif wanted and _HEX.issuperset(wanted) and len(wanted) == 36 and wanted.count("-") == 4:
        begin_us = int(wanted[:8] + wanted[9:13], 16) * 1000
        at = bisect_left(by_start, begin_us, key=columns.start_us.__getitem__)
        candidates = []
        while at < len(by_start) and columns.start_us[by_start[at]] < begin_us + 1000:
            candidates.append(by_start[at])
            at += 1
    else:
        head = wanted.split("-", 1)[0][11:]
        candidates = [int(head, 16)] if head and _HEX.issuperset(head) else []
    for number in candidates:
        if number < len(columns) and generated_id(columns, number) == wanted:
            return number
    return None
