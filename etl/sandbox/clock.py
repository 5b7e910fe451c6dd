"""The sandbox's own clock, which tests can move."""

import time
from datetime import UTC, datetime, timedelta
from typing import Literal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

ClockMode = Literal["running", "frozen"]


def to_us(instant: datetime) -> int:
    """Microseconds since 1970 of an aware instant; a naive one is taken as UTC."""
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def to_datetime(instant_us: int) -> datetime:
    """The aware UTC instant of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=instant_us)


def to_text(instant_us: int) -> str:
    """ISO 8601 in UTC with a final Z, and microseconds only where there are any.

    The server's framework writes instants so.
    """
    return to_datetime(instant_us).isoformat().replace("+00:00", "Z")


class Clock:
    """Says what time it is in the sandbox. Instants are microseconds since 1970, UTC.

    Either running with real time from where it was set, or frozen there.
    """

    def __init__(self, start: datetime | None, mode: ClockMode) -> None:
        """Starts at `start`, or at the real time cut to the second."""
        first = start if start is not None else datetime.now(UTC).replace(microsecond=0)
        self.mode: ClockMode = mode
        self.started_us = to_us(first)
        self._set_us = self.started_us
        self._set_at = time.monotonic_ns()

    def now_us(self) -> int:
        """The present instant in microseconds since 1970."""
        if self.mode == "frozen":
            return self._set_us
        return self._set_us + (time.monotonic_ns() - self._set_at) // 1000

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return to_datetime(self.now_us())

    def set(self, instant_us: int) -> None:
        """Moves the clock to an instant, back or forth."""
        self._set_us = instant_us
        self._set_at = time.monotonic_ns()

    def advance(self, by_s: float) -> None:
        """Moves the clock on by seconds (back if negative)."""
        self.set(self.now_us() + round(by_s * SECOND_US))

    def switch(self, mode: ClockMode) -> None:
        """Starts or stops the clock at the present instant."""
        self.set(self.now_us())
        self.mode = mode
