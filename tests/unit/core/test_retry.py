"""Retry or stop: limited in number, with the server's waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.retry import RetryPolicy, retry_wait_s
from etl.errors import (
    KeyRefused,
    ListingBroken,
    RequestRefused,
    SourceError,
    SourceOverloaded,
    SourceUnavailable,
    StreamUnavailable,
    Throttled,
)

JITTER = st.floats(0, 1, exclude_max=True)
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 50),
    first_wait_s=st.floats(0.1, 10),
    longest_wait_s=st.floats(10, 100),
    throttled_attempts=st.integers(1, 50),
    first_throttled_wait_s=st.floats(1, 60),
    longest_throttled_wait_s=st.floats(60, 3600),
)


@pytest.mark.parametrize("kind", [KeyRefused, RequestRefused, StreamUnavailable, ListingBroken])
def test_what_asking_again_cannot_change_is_final(kind: type[SourceError]) -> None:
    """Even if the server names a wait."""
    assert retry_wait_s(kind("no", wait_s=1.0), 1, RetryPolicy(), 0.5) is None


@given(POLICIES, JITTER, st.sampled_from([SourceUnavailable, SourceOverloaded]))
def test_a_failing_server_is_asked_a_bounded_number_of_times(
    policy: RetryPolicy, jitter: float, kind: type[SourceError]
) -> None:
    """`attempts` requests in total; each wait is limited too."""
    waits = [retry_wait_s(kind("down"), n, policy, jitter) for n in range(1, 60)]
    granted = [wait for wait in waits if wait is not None]
    assert len(granted) == policy.attempts - 1
    assert waits[: len(granted)] == granted
    assert all(0 < wait <= policy.longest_wait_s for wait in granted)


@given(POLICIES, JITTER)
def test_waits_grow_until_they_are_longest(policy: RetryPolicy, jitter: float) -> None:
    """With a fixed jitter no wait is shorter than the one before."""
    for error in (SourceUnavailable("down"), Throttled("slow down")):
        waits = [retry_wait_s(error, n, policy, jitter) for n in range(1, 60)]
        granted = [wait for wait in waits if wait is not None]
        assert granted == sorted(granted)


@given(POLICIES, JITTER)
def test_a_429_without_a_wait_is_obeyed_a_bounded_number_of_times(
    policy: RetryPolicy, jitter: float
) -> None:
    """Never sooner than the first wait, never much later than the longest."""
    waits = [retry_wait_s(Throttled("slow down"), n, policy, jitter) for n in range(1, 60)]
    granted = [wait for wait in waits if wait is not None]
    assert len(granted) == policy.throttled_attempts - 1
    for wait in granted:
        assert policy.first_throttled_wait_s <= wait <= 1.25 * policy.longest_throttled_wait_s


@given(
    st.sampled_from([Throttled, SourceUnavailable, SourceOverloaded]),
    st.floats(0.001, 7200),
    st.integers(1, 5),
    JITTER,
)
def test_a_wait_the_server_names_is_kept_to_the_second(
    kind: type[SourceError], wait_s: float, attempt: int, jitter: float
) -> None:
    """It is not shortened and gets no jitter."""
    assert retry_wait_s(kind("later", wait_s=wait_s), attempt, RetryPolicy(), jitter) == wait_s


@given(POLICIES, st.floats(1, 7200))
def test_a_server_that_names_a_wait_for_ever_is_not_asked_for_ever(
    policy: RetryPolicy, wait_s: float
) -> None:
    """The number of attempts is limited."""
    for kind, most in (
        (Throttled, policy.throttled_attempts),
        (SourceUnavailable, policy.attempts),
    ):
        assert retry_wait_s(kind("later", wait_s=wait_s), most, policy, 0.0) is None
