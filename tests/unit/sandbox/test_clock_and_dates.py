"""The sandbox's clock and how it reads dates."""

from datetime import UTC, datetime, timedelta

import pytest

from etl.sandbox.clock import DAY_US, HOUR_US, MINUTE_US, Clock, to_text, to_us
from etl.sandbox.dates import read_date

_NOW = datetime(2026, 5, 4, 12, 0, 0, 250_000, tzinfo=UTC)


def test_a_frozen_clock_moves_only_when_told() -> None:
    """Forward and back."""
    clock = Clock(_NOW, "frozen")
    assert clock.now() == clock.now() == _NOW
    clock.advance(-0.5)
    assert clock.now() == _NOW - timedelta(seconds=0.5)
    clock.set(to_us(_NOW) + 1)
    assert clock.now_us() == to_us(_NOW) + 1


def test_a_running_clock_runs_until_it_is_stopped() -> None:
    """It starts again from the same instant."""
    clock = Clock(_NOW, "running")
    first = clock.now_us()
    while clock.now_us() == first:
        pass
    clock.switch("frozen")
    stood = clock.now_us()
    assert stood == clock.now_us() > first
    clock.switch("running")
    assert clock.now_us() - stood < MINUTE_US


def test_without_a_start_the_clock_shows_the_real_time_to_the_second() -> None:
    """So instants computed from it have no fractions."""
    clock = Clock(None, "frozen")
    assert clock.now().microsecond == 0
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_instants_are_written_as_the_server_writes_them() -> None:
    """With six digits or none."""
    assert to_text(to_us(_NOW)) == "2026-05-04T12:00:00.250000Z"
    assert to_text(0) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("-3d", to_us(_NOW) - 3 * DAY_US),
        ("-24h", to_us(_NOW) - DAY_US),
        ("-90M", to_us(_NOW) - 90 * MINUTE_US),
        ("-1w", to_us(_NOW) - 7 * DAY_US),
        ("2026-05-01T10:00:00Z", to_us(datetime(2026, 5, 1, 10, tzinfo=UTC))),
        ("2026-05-01T10:00:00.000001+02:00", to_us(datetime(2026, 5, 1, 8, tzinfo=UTC)) + 1),
        ("2026-05-01 10:00", to_us(datetime(2026, 5, 1, 10, tzinfo=UTC))),
        ("2026-05-01", to_us(datetime(2026, 5, 1, tzinfo=UTC))),
    ],
)
def test_dates_are_instants_days_or_relative(text: str, expected_us: int) -> None:
    """UTC unless they name a zone."""
    assert read_date(text, to_us(_NOW), is_end=False) == expected_us


def test_a_day_as_an_end_includes_the_whole_day() -> None:
    """To its last microsecond. An instant at midnight means only that instant."""
    end_us = read_date("2026-05-01", 0, is_end=True)
    assert end_us == to_us(datetime(2026, 5, 2, tzinfo=UTC)) - 1
    assert read_date("2026-05-01T00:00:00Z", 0, is_end=True) == end_us + 1 - 24 * HOUR_US


@pytest.mark.parametrize("text", ["", "yesterday", "-3", "3d", "2026-13-01", "-7q"])
def test_anything_else_is_no_date(text: str) -> None:
    """It raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        read_date(text, 0, is_end=False)
