"""When a subscription is sent next, and how the server describes it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from etl.sandbox.kinds import Subscription
from etl.sandbox.schedules import next_delivery, summary

_NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
_START = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"frequency": "daily"}, "2026-05-05T09:00"),
        ({"frequency": "daily", "interval": 3}, "2026-05-07T09:00"),
        ({"frequency": "weekly"}, "2026-05-09T09:00"),
        ({"frequency": "monthly"}, "2026-05-31T09:00"),
        ({"frequency": "monthly", "interval": 5}, "2026-06-30T09:00"),
        ({"frequency": "yearly"}, "2027-01-31T09:00"),
        ({"frequency": "daily", "start_date": _NOW}, "2026-05-05T12:00"),
        (
            {"frequency": "yearly", "start_date": datetime(2030, 1, 1, tzinfo=UTC)},
            "2030-01-01T00:00",
        ),
        ({"frequency": "monthly", "count": 4}, None),
        ({"frequency": "monthly", "count": 5}, "2026-05-31T09:00"),
        ({"frequency": "weekly", "until_date": _NOW}, None),
        ({"frequency": "hourly"}, None),
        ({"frequency": "yearly", "interval": 2**31}, None),
        ({"start_date": None}, None),
    ],
)
def test_the_next_delivery_is_the_first_after_now(
    fields: dict[str, Any], expected: str | None
) -> None:
    """A day that a month does not have becomes its last day."""
    subscription = Subscription(1, **{"start_date": _START, **fields})
    due = next_delivery(subscription, _NOW)
    assert (due and f"{due:%Y-%m-%dT%H:%M}") == expected


def test_the_words_for_a_schedule_change_with_the_version() -> None:
    """Although nothing was changed."""
    weekly = Subscription(1, frequency="weekly", interval=2, byweekday=["monday", "friday"])
    assert summary(weekly, newer=False) == "sent every 2 weeks"
    assert summary(weekly, newer=True) == "sent every 2 weeks on Monday, Friday"
