"""Dates as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from etl.core.dates import parse_date

NOW = datetime(2026, 3, 1, 9, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("now", NOW),
        ("today", datetime(2026, 3, 1, tzinfo=UTC)),
        (" Yesterday", datetime(2026, 2, 28, tzinfo=UTC)),
        ("1d", datetime(2026, 2, 28, tzinfo=UTC)),
        ("30d", datetime(2026, 1, 30, tzinfo=UTC)),
        ("2w ago", datetime(2026, 2, 15, tzinfo=UTC)),
        ("2h", datetime(2026, 3, 1, 7, 30, 15, tzinfo=UTC)),
        ("-15m", datetime(2026, 3, 1, 9, 15, 15, tzinfo=UTC)),
    ],
)
def test_a_date_is_an_instant_or_is_told_from_now(text: str, at: datetime) -> None:
    """Days and weeks begin at midnight UTC; hours and minutes are exact."""
    assert parse_date(text, NOW) == at


def test_a_day_is_that_of_utc_wherever_the_clock_is() -> None:
    """Not the one of the machine's time zone."""
    east = NOW.astimezone(timezone(timedelta(hours=20)))
    assert parse_date("today", east) == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "30", "30y", "d", "999999w", "2026-02-30"])
def test_another_text_is_refused_with_what_could_be_written(text: str) -> None:
    """Also a date that no calendar has."""
    with pytest.raises(ValueError, match=r"is not a date; write 2026-01-31, .*, 30d, 2h, today or"):
        parse_date(text, NOW)
