"""Which days a query is asked for, what its answer means, and what differs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.coverage import Span, joined
from etl.core.digest import (
    HASHES,
    NO_IDS,
    Digest,
    Doubtful,
    compare,
    days_in,
    digest_query,
    halves,
    portions,
    read_digests,
)

MIDNIGHT = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def days(number: int, first: int = 0) -> list[Span]:
    """So many whole days in a row."""
    return [
        Span(MIDNIGHT + n * DAY, MIDNIGHT + (n + 1) * DAY) for n in range(first, first + number)
    ]


def row(day: Span, digest: Digest) -> Sequence[object]:
    """What an answer has for a day."""
    return [day.since.date().isoformat(), digest.records, str(digest.high), str(digest.low)]


def test_a_day_with_a_hole_is_left_over() -> None:
    """A digest is of one stretch, from midnight or from where it is known."""
    first, hole = Span(MIDNIGHT + DAY / 2, MIDNIGHT + DAY * 1.2), MIDNIGHT + DAY * 1.4
    whole, rest = days_in([first, Span(hole, MIDNIGHT + DAY * 3.5)])
    assert whole == [
        Span(first.since, MIDNIGHT + DAY),
        Span(MIDNIGHT + DAY * 2, MIDNIGHT + DAY * 3),
        Span(MIDNIGHT + DAY * 3, MIDNIGHT + DAY * 3.5),
    ]
    assert rest == [Span(MIDNIGHT + DAY, first.until), Span(hole, MIDNIGHT + DAY * 2)]


def test_thirty_days_of_a_million_recordings_take_one_query_and_years_without_any_no_other() -> (
    None
):
    """What is stored decides how much one query covers."""
    month, here = days(30), {day: Digest(33_333) for day in days(30)}
    assert portions(month, here) == [month]
    before = days(3000, -3000)
    assert portions([*before, *month], here) == [[*before, *month]]
    assert [len(part) for part in portions(days(60), dict.fromkeys(days(60), Digest(33_333)))] == [
        30,
        30,
    ]


def test_a_query_asks_for_a_day_more_at_both_ends_and_drops_it() -> None:
    """A piece before the edge moves a start; holes are left out; the number of rows is bounded."""
    text, values = digest_query([*days(2), *days(1, 5)], HASHES[0])
    assert values == {
        "lowest": "2026-04-30 00:00:00.000000",
        "highest": "2026-05-08 00:00:00.000000",
        "since_0": "2026-05-01 00:00:00.000000",
        "until_0": "2026-05-03 00:00:00.000000",
        "since_1": "2026-05-06 00:00:00.000000",
        "until_1": "2026-05-07 00:00:00.000000",
    }
    assert all(f"toDateTime64({{{name}}}, 6, 'UTC')" in text for name in values)
    assert text.endswith("LIMIT 4")


def test_a_day_that_is_not_in_the_answer_has_none_only_if_a_later_day_is() -> None:
    """The end of an answer may be cut off."""
    asked, some = days(4), Digest(2, 3, 2**64 - 1)
    assert read_digests([row(asked[2], some)], asked) == {
        asked[0]: NO_IDS,
        asked[1]: NO_IDS,
        asked[2]: some,
    }
    assert read_digests([], asked) == {}


@pytest.mark.parametrize(
    "rows",
    [
        [["2026-05-09", 1, "0", "0"]],
        [["2026-05-01", 1, "0", "0"], ["2026-05-01", 1, "0", "0"]],
        [["2026-05-01", 0, "0", "0"]],
        [["2026-05-01", 1, str(2**64), "0"]],
        [["2026-05-01", 1, "-1", "0"]],
        [["2026-05-01", 1, None, "0"]],
        [["2026-05-01", 1, "0"]],
        [["soon", 1, "0", "0"]],
    ],
)
def test_an_answer_to_another_query_is_none(rows: list[list[object]]) -> None:
    """It is said in one way, whatever is wrong with it."""
    with pytest.raises(ValueError, match="The answer"):
        read_digests(rows, days(3))


def test_only_days_that_differ_and_were_not_explained_are_left_to_the_list() -> None:
    """The same difference is explained once; another one on that day is not."""
    one, two, three, four, five = asked = days(5)
    same, other, more = Digest(1, 5, 5), Digest(1, 6, 6), Digest(2, 5, 5)
    outcome = compare(
        asked,
        {one: same, two: other, three: more, four: more},
        {one: same, two: same, three: same, four: same, five: same},
        {three: Doubtful(more, same), four: Doubtful(other, same)},
    )
    assert outcome.equal == {one: 1, three: 1}
    assert list(outcome.same) == [one]
    assert outcome.doubtful == {two: Doubtful(other, same), four: Doubtful(more, same)}
    assert list(outcome.unanswered) == [five]
    assert outcome.left == [*joined([four, five]), two]


@given(st.lists(st.integers(0, 50), min_size=2, max_size=30))
def test_halves_are_all_days_and_neither_is_empty(counts: list[int]) -> None:
    """Each asks for less than both."""
    asked = days(len(counts))
    here = {day: Digest(count) for day, count in zip(asked, counts, strict=True)}
    first, second = halves(asked, here)
    assert [*first, *second] == asked
    assert min(len(first), len(second)) > 0
