"""Decide how many deletions at once are too many to believe."""

from __future__ import annotations

from msgspec import Struct


class Guard(Struct, frozen=True):
    """Trips when more than `share` of a stream and more than `rows` rows vanish at once.

    `rows` is for small projects, in which a few deletions are a large share.
    """

    share: float = 0.2
    rows: int = 20

    def trips(self, vanished: int, alive: int) -> bool:
        """Tell whether `vanished` of `alive` rows are too many to believe."""
        return vanished > self.rows and vanished > self.share * alive
