"""How many recordings there are, by few looks at a list that comes newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.amount import Glimpse, amount_of, amount_query, read_amount
from etl.core.coverage import Span
from etl.core.forecast import Number, Sure
from etl.core.stream import Expiry
from tests.support.examples import MANY

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
START = datetime(2020, 1, 1, tzinfo=UTC)
EXPIRY = Expiry("expires", "started", "days", default_days=30)


def looks(ages_days: list[float], most: int, page: int = 100) -> tuple[int, bool, int]:
    """Look at recordings of these ages until all is seen, or `most` times."""
    starts = sorted((NOW - timedelta(days=age) for age in ages_days), reverse=True)
    glimpses: list[Glimpse] = []
    until, limit = NOW, 10 * page
    for _ in range(most):
        below = [at for at in starts if START <= at <= until]
        shown = below[:limit]
        low = min(shown, default=START)
        glimpses.append(Glimpse(until, low, len(shown), more=len(below) > len(shown)))
        amount = amount_of(glimpses, START)
        if amount.look_at is None:
            break
        until, limit = amount.look_at, page
    return amount.rows, amount.exact, len(glimpses)


@pytest.mark.parametrize("days", [7, 30, 90, 365, 2000])
def test_five_looks_tell_an_even_stream_to_a_third(days: int) -> None:
    """However long ago it began."""
    rows = 30_000
    found, _, asked = looks([days * nth / rows for nth in range(rows)], 5)
    assert asked <= 5
    assert 2 / 3 * rows < found < 4 / 3 * rows


@MANY
@given(st.lists(st.floats(0, 2000), max_size=1000))
def test_what_one_page_holds_is_counted_exactly(ages: list[float]) -> None:
    """One look is enough."""
    assert looks(ages, 4) == (len(ages), True, 1)


@MANY
@given(st.lists(st.floats(0, 2000), max_size=300), st.integers(1, 30))
def test_a_look_is_where_nothing_was_seen_yet(ages: list[float], page: int) -> None:
    """And no estimate is less than what was seen."""
    starts = sorted((NOW - timedelta(days=age) for age in ages), reverse=True)
    glimpses: list[Glimpse] = []
    until = NOW
    for _ in range(6):
        below = [at for at in starts if at <= until]
        low = min(below[:page], default=START)
        glimpses.append(Glimpse(until, low, len(below[:page]), more=len(below) > page))
        amount = amount_of(glimpses, START)
        if amount.look_at is None:
            break
        assert START <= amount.look_at <= NOW
        assert not any(each.low < amount.look_at < each.until for each in glimpses)
        until = amount.look_at
    assert amount.rows >= 0


def test_a_query_counts_what_the_list_still_shows() -> None:
    """A recording expires so many days after the beginning of its day."""
    text, values = amount_query(Span(START, NOW))
    assert "GROUP BY" in text
    assert values == {"since": "2020-01-01 00:00:00.000000", "until": "2026-05-04 12:00:00.000000"}
    rows = [
        ["2026-04-04", 30, 1],  # expired at midnight
        ["2026-04-05", 30, 10],
        ["2026-04-04", None, 100],  # 30 days, too
        ["2026-04-04", 90, 1000],
    ]
    assert read_amount(rows, EXPIRY, NOW) == 1010
    assert read_amount([], EXPIRY, NOW) == 0


@pytest.mark.parametrize("row", [["today", 30, 1], ["2026-04-04", "x", 1], ["2026-04-04", 30]])
def test_an_answer_of_another_form_is_no_count(row: list[object]) -> None:
    """So the list is looked at instead."""
    with pytest.raises(ValueError, match="no count"):
        read_amount([row], EXPIRY, NOW)


def test_a_number_says_how_sure_it_is() -> None:
    """An estimate has two digits, and a sum is as sure as its least sure part."""
    assert str(Number(29_411)) == "29,411"
    assert str(Number(29_411, Sure.ABOUT)) == "about 29,000"
    assert str(Number(7, Sure.LEAST)) == "at least 7"
    assert Number(1) + Number(2, Sure.ABOUT) == Number(3, Sure.ABOUT)
    assert Number(1, Sure.LEAST) + Number(2, Sure.ABOUT) == Number(3, Sure.LEAST)
