"""Tables and progress: layout at any width."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.console import say, show_rows
from etl.console.lines import reading_line, waiting_line
from etl.runs.work import ReadingProgress
from etl.waits import Cause, Wait

NAMES = ("name", "count", "note", "rest")
ROWS = [("first", 1_000, "short", "x" * 30), ("second", 7, "", "y")]


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide terminal."""
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal with room for two columns."""
    monkeypatch.setenv("COLUMNS", "16")


def test_a_table_is_aligned_with_numbers_at_the_right(
    wide: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty cell keeps its place; no line ends in blanks."""
    show_rows(NAMES, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "name    count  note   rest",
        "first   1,000  short  " + "x" * 30,
        "second      7         y",
    ]


def test_what_does_not_fit_stands_below_and_is_folded_when_it_must(
    narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost, and empty fields are left out."""
    show_rows(NAMES, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "name    count",
        "first   1,000",
        "  note short",
        "  rest",
        "  " + "x" * 14,
        "  " + "x" * 14,
        "  xx",
        "second      7",
        "  rest y",
    ]


def test_an_answer_without_rows_is_its_header(
    wide: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """So one can see that it is empty."""
    show_rows(NAMES, [])
    assert capsys.readouterr().out == "name  count  note  rest\n"


def test_a_line_with_a_command_is_whole_on_a_narrow_terminal(
    narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The terminal wraps it, so that it can be copied; another line is folded."""
    command = "posthog-etl backfill session_recordings --since 2026-01-01"
    say(command, folded=False)
    assert capsys.readouterr().out == f"{command}\n"
    say(command)
    folded = capsys.readouterr().out.splitlines()
    assert max(map(len, folded)) <= 16
    assert "".join(folded).replace(" ", "") == command.replace(" ", "")


# --- progress -----------------------------------------------------------------------------------


def wait(cause: Cause, seconds: float | None) -> Wait:
    """A wait that has just begun."""
    now_s = time.monotonic()
    return Wait(cause, now_s, None if seconds is None else now_s + seconds)


HOURLY = Cause(
    "PostHog's hourly limit for the list of recordings",
    "60 of 60 requests used",
    "PostHog's hourly limit",
)


def test_a_line_says_pace_share_and_what_is_left() -> None:
    """By the pace so far."""
    reached = ReadingProgress(12_400, 25, share=0.25)
    assert reading_line("session_recordings", reached, 40, 0, None, 78) == (
        "session_recordings  12,400 records  310/s  25 requests  25 %  2.0 min left"
    )
    of_windows = ReadingProgress(9_000, 1, share=0.5, window=(2, 5))
    assert reading_line("session_recordings", of_windows, 10, 0, None, 100) == (
        "session_recordings  window 2 of 5  9,000 records  900/s  1 request  50 %  10 s left"
    )
    assert reading_line("session_recordings", of_windows, 10, 0, None, 78) == (
        "session_recordings  window 2 of 5  900 records/s  1 request  50 %  10 s left"
    )


def test_what_is_left_takes_no_less_than_the_budget_and_the_wait_allow() -> None:
    """A first minute at full speed promises nothing for the hours after it."""
    reached = ReadingProgress(12_000, 12, share=0.1, least_s=7200)
    assert reading_line("s", reached, 6, 0, None, 78).endswith("10 %  2.0 h left")
    assert reading_line("s", reached, 66, 3600, None, 78).endswith("10 %  1.0 h left")
    near = ReadingProgress(12_000, 12, share=0.9)
    assert reading_line("s", near, 6, 0, wait(HOURLY, 1801), 78).endswith("90 %  30.0 min left")


def test_a_wait_that_is_over_does_not_slow_down_what_is_left() -> None:
    """Two thirds were read in five minutes and an hour's wait: the rest takes minutes."""
    reached = ReadingProgress(60_000, 60, share=2 / 3)
    line = reading_line("s", reached, 3_600, 0, None, 78, waited_s=3_300)
    assert line.endswith("67 %  2.5 min left")


def test_without_a_count_a_line_says_how_long_it_takes_so_far() -> None:
    """Nobody knows what is left."""
    reached = ReadingProgress(2_000, 4)
    assert reading_line("s", reached, 4, 0, None, 78) == (
        "s  2,000 records  500/s  4 requests  for 4 s"
    )
    assert reading_line("s", None, 4, 0, None, 78) == "s  for 4 s"


@given(
    st.integers(1, 120),
    st.integers(0, 10**9),
    st.none() | st.floats(0, 1),
    st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
    st.text("name_", min_size=1, max_size=60),
)
def test_a_line_is_never_wider_than_the_terminal(
    width: int, count: int, share: float | None, window: tuple[int, int] | None, name: str
) -> None:
    """What is less important is left out."""
    reached = ReadingProgress(count, count, datetime(2026, 1, 1, tzinfo=UTC), share, 0.0, window)
    assert len(reading_line(name, reached, 60, 0, None, width)) <= width
    assert len(waiting_line(wait(HOURLY, count), width)) <= width


def test_a_wait_is_said_in_one_line_with_its_end_by_the_clock_of_the_wall() -> None:
    """Or without an end, if nobody knows it."""
    line = waiting_line(wait(HOURLY, 120), 78)
    at = (datetime.now().astimezone() + timedelta(seconds=120)).strftime("%H:%M")
    assert line.startswith(
        f"waiting for PostHog's hourly limit: 60 of 60 requests used, next at {at[:2]}"
    )
    place = Cause("a place among the queries", "2 of this project are running")
    assert waiting_line(wait(place, None), 78) == (
        "waiting for a place among the queries: 2 of this project are running"
    )
