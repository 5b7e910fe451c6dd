"""(error, attempt) -> seconds to wait before asking again, or None to stop.

The one place that says retry or stop. Attempts and waits are both bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from etl.errors import SourceError, SourceUnavailable, Throttled


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient we are.

    attempts: how often one request is sent when the server fails. first_wait_s doubles with each
    attempt up to longest_wait_s. throttled_attempts: how many 429 in a row are obeyed, each
    first_throttled_wait_s and doubling when the server names no wait.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    throttled_attempts: int = 12
    first_throttled_wait_s: float = 10.0
    longest_throttled_wait_s: float = 900.0


def retry_wait_s(
    error: SourceError, attempt: int, policy: RetryPolicy, jitter: float
) -> float | None:
    """Return the seconds to wait before attempt + 1, or None when `error` is final.

    `attempt` counts the failures of this kind so far, from 1. `jitter` in [0, 1) spreads the
    waits of several processes. A wait the server names is kept to the second, never shortened.
    """
    if isinstance(error, Throttled):
        if attempt >= policy.throttled_attempts:
            return None
        if error.wait_s is not None:
            return error.wait_s
        wait_s = policy.first_throttled_wait_s * float(2 ** (attempt - 1))
        return min(wait_s, policy.longest_throttled_wait_s) * (1.0 + 0.25 * jitter)
    if isinstance(error, SourceUnavailable):
        if attempt >= policy.attempts:
            return None
        if error.wait_s is not None:
            return error.wait_s
        wait_s = min(policy.first_wait_s * float(2 ** (attempt - 1)), policy.longest_wait_s)
        return wait_s * (0.5 + 0.5 * jitter)
    return None
