"""Tables: layout at any width."""

from __future__ import annotations

import pytest

from etl.console import say, show_rows

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
