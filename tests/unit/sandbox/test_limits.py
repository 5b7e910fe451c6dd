"""Rate limits of the sandbox."""

from datetime import UTC, datetime

import pytest

from etl.sandbox.clock import Clock
from etl.sandbox.errors import ApiError
from etl.sandbox.limits import Limits
from etl.sandbox.options import Plan

_LIST = ("recordings_list", "clickhouse")


def _clock() -> Clock:
    return Clock(datetime(2026, 5, 4, tzinfo=UTC), "frozen")


def _take_all(limits: Limits, key: str = "one", classes: tuple[str, ...] = _LIST) -> int:
    """How many requests pass at this instant."""
    for taken in range(10_000):
        try:
            limits.take(key, classes)
        except ApiError:
            return taken
    return 10_000


@pytest.mark.parametrize(
    ("plan", "minute", "hour"),
    [("free", 12, 60), ("paid", 60, 300), ("enterprise", 100, 400)],
)
def test_each_plan_has_its_limits_a_minute_and_an_hour(plan: Plan, minute: int, hour: int) -> None:
    """Both apply at once."""
    clock = _clock()
    limits = Limits(plan, clock)
    through = []
    for _ in range(hour // minute + 2):
        through.append(_take_all(limits))
        clock.advance(60)
    assert through[0] == minute
    assert sum(through) == hour


def test_all_classes_of_a_request_count() -> None:
    """A request for one record draws from the 240 per minute of lists too."""
    limits = Limits("paid", _clock())
    assert _take_all(limits, classes=("clickhouse",)) == 240
    assert _take_all(limits) == 0
    assert _take_all(limits, classes=("crud",)) == 480


def test_keys_are_counted_apart_and_refused_requests_not_at_all() -> None:
    """As PostHog counts."""
    clock = _clock()
    limits = Limits("free", clock)
    assert (_take_all(limits), _take_all(limits, "two")) == (12, 12)
    clock.advance(59)
    with pytest.raises(ApiError) as refused:
        limits.take("one", _LIST)
    assert refused.value.headers == {"Retry-After": "1"}
    assert str(refused.value).endswith("available in 1 second.")
    clock.advance(1)
    assert _take_all(limits) == 12


def test_without_limits_nothing_is_refused() -> None:
    """The default."""
    assert _take_all(Limits("off", _clock())) == 10_000
