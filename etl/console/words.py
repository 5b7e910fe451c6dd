"""Lengths of time in words."""

from __future__ import annotations


def span(seconds: float) -> str:
    """Say a length of time: 12 s, 4.0 min, 1.5 h, 2.0 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
