"""Decide whether to send a request again, and after how many seconds.

This is the only place that decides so. Attempts and waits are both limited.
"""

from __future__ import annotations

from msgspec import Struct

from etl.errors import SourceError, SourceUnavailable, Throttled


class RetryPolicy(Struct, frozen=True):
    """Limits of retrying.

    attempts: how often one request is sent when the server fails.
    first_wait_s: the first wait; it doubles with each attempt, up to longest_wait_s.
    throttled_attempts: how many answers 429 in a row are waited for.
    first_throttled_wait_s: the first wait after a 429 that names no wait; it doubles each time.
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
    """Return the seconds to wait before attempt + 1; None if `error` is final.

    attempt: how many failures of this kind there were so far, from 1.
    jitter: a number in [0, 1) that spreads the waits of several processes.
    A wait that the server names is never shortened.
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
