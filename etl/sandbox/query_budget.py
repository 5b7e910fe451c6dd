"""The bytes that the queries of one project may read: a bucket that fills all the time."""

from etl.sandbox.clock import HOUR_US, SECOND_US
from etl.sandbox.errors import ApiError

_SAVED_HOURS = 24


class Budget:
    """Begins with one hour's worth; saves up to 24 (PostHog source, api queries budget)."""

    def __init__(self, now_us: int) -> None:
        """Nothing is taken yet."""
        self._left: float | None = None
        self._at_us = now_us

    def left(self, hourly_bytes: int, now_us: int) -> int:
        """How many bytes may be read now; below zero after a query that took too much."""
        if self._left is None:
            self._left, self._at_us = float(hourly_bytes), now_us
        gained = hourly_bytes * max(0, now_us - self._at_us) / HOUR_US
        self._left = min(self._left + gained, float(hourly_bytes * _SAVED_HOURS))
        self._at_us = now_us
        return int(self._left)

    def take(self, size_bytes: int, hourly_bytes: int, now_us: int) -> None:
        """Counts what a query read. Never more than one hour's worth is owed."""
        if hourly_bytes:
            left = self.left(hourly_bytes, now_us) - size_bytes
            self._left = max(float(left), -float(hourly_bytes))

    def check(self, hourly_bytes: int, now_us: int) -> None:
        """Raises ApiError 429, with Retry-After, while nothing is left. 0 hourly: no limit."""
        if not hourly_bytes or (left := self.left(hourly_bytes, now_us)) > 0:
            return
        wait_s = -(-(1 - left) * HOUR_US // hourly_bytes) // SECOND_US + 1
        raise ApiError(
            429,
            "throttled_error",
            "api_queries_budget_exceeded",
            "The budget of bytes that queries of this project may read is used up.",
            {"Retry-After": str(min(3600, wait_s))},
        )
