"""Rate limits as PostHog counts them: sliding windows per key, all at once."""

from collections import defaultdict, deque

from etl.sandbox.clock import HOUR_US, MINUTE_US, SECOND_US, Clock
from etl.sandbox.errors import throttled
from etl.sandbox.options import Plan

# Requests a minute and an hour (PostHog source, rate_limit.py and settings/session_replay.py).
_GENERAL = {"crud": (480, 4800), "clickhouse": (240, 1200), "query": (240, 2400)}
_RECORDINGS = {"free": (12, 60), "paid": (60, 300), "enterprise": (100, 400)}


class Limits:
    """Counts requests by the sandbox's clock and refuses those beyond a plan's limits."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        """With the plan `off` nothing is ever refused."""
        self._clock = clock
        self._rates = dict(_GENERAL) if plan != "off" else {}
        if plan != "off":
            self._rates["recordings_list"] = _RECORDINGS[plan]
        self._taken: defaultdict[tuple[str, str, int], deque[int]] = defaultdict(deque)

    def take(self, key: str, classes: tuple[str, ...]) -> None:
        """Counts a request in all its classes. Raises ApiError 429, and counts nothing then."""
        now_us = self._clock.now_us()
        windows = []
        wait_us = 0
        for name in classes:
            for rate, length_us in zip(
                self._rates.get(name, ()), (MINUTE_US, HOUR_US), strict=False
            ):
                taken = self._taken[key, name, length_us]
                while taken and taken[0] <= now_us - length_us:
                    taken.popleft()
                # A clock set back leaves instants ahead of it; they count until it is there again.
                if len(taken) >= rate:
                    wait_us = max(wait_us, taken[0] + length_us - now_us)
                windows.append(taken)
        if wait_us:
            raise throttled(-(-wait_us // SECOND_US))
        for taken in windows:
            taken.append(now_us)
