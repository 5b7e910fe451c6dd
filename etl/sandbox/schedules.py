"""What a subscription's schedule means: when it is sent next, and the same in words."""

import calendar
from datetime import datetime, timedelta

from etl.sandbox.kinds import Subscription

_WORDS = {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}
_MONTHS = {"monthly": 1, "yearly": 12}
_DAYS = {"daily": 1, "weekly": 7}


def next_delivery(subscription: Subscription, now: datetime) -> datetime | None:
    """Returns the first delivery after `now`; None if there is none.

    Weekdays and positions in the month are ignored: deliveries keep the day of the start.
    """
    start, frequency = subscription.start_date, subscription.frequency
    if start is None or frequency not in _WORDS:
        return None
    try:
        due = _first_after(start, frequency, max(1, int(subscription.interval)), now, subscription)
    except (ValueError, OverflowError, TypeError):
        return None
    until = subscription.until_date
    return None if due is None or (until is not None and due > until) else due


def _first_after(
    start: datetime, frequency: str, interval: int, now: datetime, subscription: Subscription
) -> datetime | None:
    if frequency in _DAYS:
        step = timedelta(days=_DAYS[frequency] * interval)
        nth = max(0, (now - start) // step + 1)
        due = start + nth * step
    else:
        months = _MONTHS[frequency] * interval
        apart = (now.year - start.year) * 12 + now.month - start.month
        nth = max(0, apart // months - 1)
        due = _months_later(start, nth * months)
        while due <= now:
            nth += 1
            due = _months_later(start, nth * months)
    if subscription.count is not None and nth >= subscription.count:
        return None
    return due


def _months_later(start: datetime, months: int) -> datetime:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)


def summary(subscription: Subscription, *, newer: bool) -> str:
    """The schedule in words, which are not the same in all versions of the server."""
    word = _WORDS.get(subscription.frequency, subscription.frequency)
    interval = subscription.interval
    every = f"every {interval} {word}s" if interval != 1 else f"every {word}"
    text = f"sent {every}"
    if newer and subscription.byweekday:
        text += f" on {', '.join(day.capitalize() for day in subscription.byweekday)}"
    return text
