"""When a schedule ticks: across clock changes, and after a pause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core.schedule import Schedule, parse_jitter

# Europe, America, a change at midnight, a change of half an hour, no change.
ZONES = ("Europe/Berlin", "America/New_York", "America/Havana", "Australia/Lord_Howe", "UTC")
CRONS = (
    "*/15 * * * *",
    "5 * * * *",
    "30 2 * * *",
    "0,30 2 * * *",
    "0 0 * * *",
    "15 */6 * * *",
    "0 3 * * 1-5",
    "0 0 1 * *",
    "30 1 29 2 *",
)
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
INSTANTS = st.integers(0, 4 * 366 * 86_400).map(lambda s: BEGIN + timedelta(seconds=s))


def ticks(cron: str, zone: str, day: str, hours: int) -> list[str]:
    """The ticks within so many hours from midnight of a day, in local time."""
    schedule = Schedule("s", cron, time_zone=zone)
    at = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    end, found = at + timedelta(hours=hours), []
    at -= timedelta(seconds=1)
    while (at := schedule.next_after(at)) < end:
        found.append(at.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "day", "hours", "expected"),
    [
        # The hour from two to three is skipped: a fixed time in it comes right after it.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", 47, ["29 03:00+0200", "30 02:30+0200"]),
        ("0 3 * * *", "Europe/Berlin", "2026-03-29", 23, ["29 03:00+0200"]),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2026-03-29",
            4,
            ["29 00:30+0100", "29 01:30+0100", "29 03:30+0200", "29 04:30+0200"],
        ),
        # This hour comes twice: a fixed time ticks once, a star each time.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", 49, ["25 02:30+0200", "26 02:30+0100"]),
        ("0 20 * * *", "Europe/Berlin", "2026-10-24", 49, ["24 20:00+0200", "25 20:00+0100"]),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2026-10-25",
            4,
            ["25 00:30+0200", "25 01:30+0200", "25 02:30+0200", "25 02:30+0100"],
        ),
        ("30 2 * * *", "America/New_York", "2026-03-08", 23, ["08 03:00-0400"]),
        ("30 1 * * *", "America/New_York", "2026-11-01", 25, ["01 01:30-0400"]),
        # Midnight itself is skipped.
        ("0 0 * * *", "America/Havana", "2026-03-08", 23, ["08 01:00-0400"]),
        # Half an hour is skipped.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", 23, ["04 02:30+1100"]),
        ("30 2 * * *", "UTC", "2026-03-29", 24, ["29 02:30+0000"]),
    ],
)
def test_a_tick_is_where_cron_has_it_when_clocks_change(
    cron: str, zone: str, day: str, hours: int, expected: list[str]
) -> None:
    """As in Debian's cron: a fixed time comes exactly once on every day."""
    assert ticks(cron, zone, day, hours) == expected


@given(st.sampled_from(CRONS), st.sampled_from(ZONES), INSTANTS)
def test_ticks_only_go_forward_wherever_one_looks_from(cron: str, zone: str, at: datetime) -> None:
    """Also within an hour that comes twice; between two successive ticks there is no other tick."""
    schedule = Schedule("s", cron, time_zone=zone)
    first = schedule.next_after(at)
    second = schedule.next_after(first)
    assert at < first < second
    assert schedule.next_after(first - timedelta(seconds=1)) == first
    assert schedule.next_after(at + (first - at) / 2) == first
    assert schedule.next_after(first + (second - first) / 2) == second


@given(st.sampled_from(CRONS), st.sampled_from(ZONES), INSTANTS, st.integers(0, 40 * 24 * 60))
def test_the_latest_tick_is_the_last_of_those_one_would_count(
    cron: str, zone: str, after: datetime, minutes: int
) -> None:
    """However it is found; None exactly if there is no tick."""
    schedule, until = Schedule("s", cron, time_zone=zone), after + timedelta(minutes=minutes)
    counted, at = [], after
    while (at := schedule.next_after(at)) <= until:
        counted.append(at)
    assert schedule.latest(after, until) == (counted[-1] if counted else None)
    assert schedule.count(after, until) == len(counted)


@settings(max_examples=30)
@given(st.sampled_from(ZONES), st.integers(0, 23), st.integers(0, 59), st.integers(2024, 2027))
def test_a_fixed_time_comes_once_each_day_of_a_year(
    zone: str, hour: int, minute: int, year: int
) -> None:
    """With or without clock changes."""
    schedule, there = Schedule("s", f"{minute} {hour} * * *", time_zone=zone), ZoneInfo(zone)
    begin, end = (datetime(y, 1, 1, tzinfo=there).astimezone(UTC) for y in (year, year + 1))
    at, days = begin - timedelta(seconds=1), []
    while (at := schedule.next_after(at)) < end:
        days.append(at.astimezone(there).date())
    assert len(days) == len(set(days)) == (end - begin + timedelta(hours=3)).days


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cron", "61 * * * *", "bad minute"),
        ("cron", "* * *", "wrong number of fields.*minute hour day month weekday"),
        ("cron", "* * * * * *", "wrong number of fields"),
        ("cron", "0 0 30 2 *", "bad day-of-month"),
        ("cron", "@never", "wrong number of fields"),
        ("cron", "", "wrong number of fields"),
        ("time_zone", "Europe/Berlim", r"not a time zone \(did you mean Europe/Berlin\?\)"),
        ("time_zone", "Europe", "not a time zone"),
        ("time_zone", "../../etc/passwd", "not a time zone"),
        ("jitter", timedelta(minutes=15), "shorter than the 0:15:00 between"),
        ("name", "My schedule", "not a schedule name"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said_when_it_is_made(
    field: str, value: object, message: str
) -> None:
    """And not when it would tick."""
    with pytest.raises(ValueError, match=message):
        Schedule(**{"name": "s", "cron": "*/15 * * * *", field: value})  # type: ignore[arg-type]


def test_words_stand_for_what_is_asked_for_most_often() -> None:
    """As in cron."""
    assert Schedule("s", "@daily") == Schedule("s", " 0 0  * * * ")


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90s", 90), ("5m", 300), ("1h", 3600)])
def test_a_jitter_is_read(text: str, seconds: int) -> None:
    """With its unit."""
    assert parse_jitter(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["5", "-5m", "1d", "m", "", "5 m", "٣m"])
def test_what_is_no_jitter_is_refused(text: str) -> None:
    """A number without a unit may mean anything."""
    with pytest.raises(ValueError, match="not a delay"):
        parse_jitter(text)
