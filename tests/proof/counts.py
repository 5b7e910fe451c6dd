"""What a proof has done and what it found wrong; printed at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

NAMES = (
    "sequences",
    "steps",
    "syncs",
    "backfills",
    "plans",
    "kills",
    "faults hit",
    "requests",
    "rows compared",
    "verifications",
    "rows verified",
    "rows damaged",
    "lost",
    "doubled",
    "stale",
)

PROPERTY = "proof"


class Counts(Counter[str]):
    """Counts by name. Those in NAMES are shown even if they are 0."""

    def lines(self) -> list[str]:
        """Return one line per count."""
        return [f"{name:<14} {self[name]:>12,}" for name in NAMES]


def total(parts: list[Mapping[str, int]]) -> Counts:
    """Return the sum."""
    summed = Counts()
    for part in parts:
        summed.update(part)
    return summed
