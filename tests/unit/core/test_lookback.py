"""Which recordings are read again, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from etl.core.lookback import Grade, Lookback, parse_duration
from tests.support.examples import MANY

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

GRADES = st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 500)), min_size=1, max_size=5).map(
    lambda pairs: Lookback(
        tuple(
            Grade(HOUR * sum(age for age, _ in pairs[: n + 1]), HOUR * every)
            for n, every in enumerate([0, *_sums([every for _, every in pairs[1:]])])
        )
    )
)


def _sums(numbers: list[int]) -> list[int]:
    return [sum(numbers[: n + 1]) for n in range(len(numbers))]


@MANY
@given(GRADES, st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_no_grade_is_ever_left_longer_than_it_says_while_syncs_run(
    lookback: Lookback, gaps: list[int]
) -> None:
    """After every sync each grade was read within its interval."""
    now, swept = NOON, {}
    for gap in gaps:
        now += HOUR * gap
        read = lookback.due(swept, now)
        swept = lookback.sweep(swept, read, now)
        for grade in lookback.grades:
            at = swept[str(int(grade.age.total_seconds()))]
            assert at == now if grade.age <= read else at + grade.every > now


@MANY
@given(GRADES, st.lists(st.integers(0, 400), min_size=2, max_size=30))
def test_older_recordings_are_read_no_more_often_than_their_grade_says(
    lookback: Lookback, gaps: list[int]
) -> None:
    """A grade is read again only if it is due, or together with an older one that is due."""
    now, swept = NOON, {}
    for gap in gaps:
        now += HOUR * gap
        before, read = swept, lookback.due(swept, now)
        swept = lookback.sweep(swept, read, now)
        if read > lookback.grades[0].age and before:
            (due,) = [grade for grade in lookback.grades if grade.age == read]
            assert before[str(int(read.total_seconds()))] + due.every <= now


@given(GRADES)
def test_the_first_sync_is_due_for_everything(lookback: Lookback) -> None:
    """No grade has been read yet."""
    assert lookback.due({}, NOON) == lookback.grades[-1].age


def test_another_configuration_forgets_the_grades_it_does_not_have() -> None:
    """A new grade is due at once."""
    swept = Lookback.parse("1d, 7d every 6h").sweep({}, timedelta(days=7), NOON)
    other = Lookback.parse("1d, 8d every 6h")
    assert other.due(swept, NOON) == timedelta(days=8)
    assert other.sweep(swept, timedelta(days=1), NOON) == {"86400": NOON}


def test_grades_are_read_as_they_are_written() -> None:
    """Minutes, hours, days and weeks."""
    assert Lookback.parse(" 90m,26h every  30m , 2w every 1d").grades == (
        Grade(timedelta(minutes=90), timedelta(0)),
        Grade(26 * HOUR, timedelta(minutes=30)),
        Grade(timedelta(weeks=2), timedelta(days=1)),
    )


@pytest.mark.parametrize(
    "text", ["", "26", "26h,", "1d every", "every 1d", "1d, 2d every 6x", "-1d", "1.5d"]
)
def test_what_is_no_grade_is_refused(text: str) -> None:
    """And quoted in the message."""
    with pytest.raises(ValueError, match="not a grade"):
        Lookback.parse(text)


@given(st.integers(1, 999_999), st.sampled_from("mhdw"))
def test_a_length_of_time_is_read_or_refused(number: int, unit: str) -> None:
    """Never an error of Python's own."""
    seconds = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assume(number * seconds < 86_400 * 999_999_999)
    assert parse_duration(f"{number}{unit}").total_seconds() == number * seconds


@pytest.mark.parametrize("text", ["0d", "d", "1", "1 day", "-1d"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    """With an example of a valid one."""
    with pytest.raises(ValueError, match="for example 12h"):
        parse_duration(text)
