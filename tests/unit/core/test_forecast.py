"""Forecasts of requests and time, compared with a simulated reading and budget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core.budget import Limit, wait_s
from etl.core.forecast import Forecast, by_cursor, by_offset, duration_s, least_s
from etl.core.guard import Guard
from etl.core.walk import OffsetWalk
from tests.support.examples import MANY
from tests.unit.core.simulated import ChangingList, end_of

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@settings(max_examples=40)
@given(st.integers(0, 9000), st.integers(200, 2000))
def test_offsets_take_as_many_requests_as_was_said(rows: int, page: int) -> None:
    """For a list that does not change and has a count."""
    source = ChangingList(list(range(rows)), [], [10_000], counts=True)
    end_of(OffsetWalk(), source, page)
    assert source.requests == by_offset(rows, page)


@given(st.integers(0, 10_000), st.integers(1, 1000), st.integers(0, 5))
def test_a_cursor_takes_as_many_requests_as_was_said(rows: int, page: int, below: int) -> None:
    """Until two rows show that the window is passed, or the list ends."""
    left, requests, above = ["in"] * rows + ["below"] * below, 0, 0
    while True:
        requests += 1
        above += left[:page].count("below")
        del left[:page]
        if above >= 2 or not left:
            break
    assert by_cursor(rows, below, page) == requests


@MANY
@given(
    st.integers(0, 60),
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 600)), max_size=3),
    st.lists(st.integers(0, 700), max_size=30),
)
def test_time_is_what_the_budget_makes_it(
    requests: int, limits: list[tuple[int, int]], ago: list[int]
) -> None:
    """Simulated request by request, after earlier requests."""
    log = sorted(NOON - timedelta(seconds=each) for each in ago)
    plan = tuple(Limit(*each) for each in limits)
    forecast = duration_s(requests, ("list",), {"list": plan}, {"list": log}, NOON)
    at = NOON
    for _ in range(requests):
        spent = [
            (each, log[-each.requests] if len(log) >= each.requests else None) for each in plan
        ]
        at += timedelta(seconds=wait_s(at, spent, None))
        log = sorted([*log, at])
    assert abs(forecast - (at - NOON).total_seconds()) < 1e-3


def test_forecasts_add_up_and_are_exact_only_together() -> None:
    """If one part is a lower bound, so is the sum."""
    assert Forecast(2, exact=True) + Forecast(3, exact=True) == Forecast(5, exact=True)
    assert Forecast(2, exact=True) + Forecast(3, exact=False) == Forecast(5, exact=False)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_guard_trips_only_past_its_share_and_its_floor(vanished: int, alive: int) -> None:
    """20 rows may always go, and so may a fifth of all rows."""
    assert Guard().trips(vanished, alive) == (vanished > 20 and vanished * 5 > alive)


def test_the_rest_takes_no_less_than_its_tightest_limit() -> None:
    """However few requests were sent before."""
    limits = {"list": (Limit(12, 60), Limit(60, 3600)), "all": (Limit(240, 60),)}

    def least(requests: int, *classes: str) -> float:
        return least_s(requests, classes, limits, {}, NOON)

    assert least(0, "list") == least(12, "list") == 0
    assert least(13, "list", "all") == 60
    assert least(121, "list", "all") == 7200
    assert least(121, "unlimited") == 0


@given(st.integers(0, 90), st.integers(1, 12), st.lists(st.integers(0, 3599), max_size=40))
def test_what_was_sent_before_delays_the_rest(
    requests: int, allowed: int, ages_s: list[int]
) -> None:
    """Of one limit it is what `duration_s` finds one by one, but for the slack of each window."""
    limits = {"list": (Limit(allowed, 3600),)}
    spent = {"list": sorted(NOON - timedelta(seconds=age_s) for age_s in ages_s)[-allowed:]}
    one_by_one_s = duration_s(requests, ["list"], limits, spent, NOON)
    windows = requests // allowed + 1
    assert 0 <= one_by_one_s - least_s(requests, ["list"], limits, spent, NOON) <= 0.25 * windows
