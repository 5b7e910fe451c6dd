"""Which windows a backfill has left, and which of them share a cursor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etl.core.coverage import Coverage, Span
from etl.loaders.history import Watermark
from etl.runs.backfill import BackfillRange, Whole, chained, windows_left
from etl.runs.report import Ending, Report
from etl.runs.work import Progress, ReadingProgress

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
MIDNIGHT = NOON - 12 * HOUR
NOW = NOON + timedelta(minutes=34)


@pytest.mark.parametrize(
    ("since", "tail", "end"),
    [
        (NOON - 3 * DAY, NOON - DAY, NOON - DAY),
        (NOON - 3 * DAY, None, NOON),
        (NOON - HOUR, NOON - DAY, NOON),
        (NOON + HOUR / 4, NOON - DAY, NOW),
        (NOON + HOUR / 4, None, NOW),
    ],
    ids=["where sync goes on", "no sync yet", "after that", "in this hour", "in this hour, first"],
)
def test_without_an_end_a_backfill_goes_up_to_where_sync_goes_on_or_to_now(
    since: datetime, tail: datetime | None, end: datetime
) -> None:
    """Later time is not treated as known."""
    watermark = Watermark(tail_until=tail)
    left = windows_left(BackfillRange(since, None, 30 * DAY), watermark, NOW)
    assert (left[-1].since, left[0].until) == (since, end)


def test_what_is_known_complete_cuts_the_chain() -> None:
    """Two stretches, each under its own cursor, the oldest first."""
    known = Watermark(Coverage((Span(MIDNIGHT - 4 * DAY, MIDNIGHT - 2 * DAY),)), MIDNIGHT)
    past = BackfillRange(MIDNIGHT - 6 * DAY, None, DAY)
    newest_first = windows_left(past, known, NOW)
    assert [len(chain) for chain in chained(newest_first)] == [2, 2]
    oldest_first = windows_left(
        BackfillRange(past.since, None, DAY, newest_first=False), known, NOW
    )
    assert oldest_first == newest_first[::-1]
    assert [len(chain) for chain in chained(oldest_first)] == [1] * 4
    assert len(windows_left(BackfillRange(past.since, None, DAY, again=True), known, NOW)) == 6


def test_the_progress_of_a_window_is_told_as_that_of_all() -> None:
    """Which window of how many, and the share of the whole time."""
    told: list[ReadingProgress] = []

    class Told(Progress):
        def reached(self, progress: ReadingProgress) -> None:
            told.append(progress)

    older, newer = Span(NOON - 4 * DAY, NOON - 2 * DAY), Span(NOON - 2 * DAY, NOON)
    whole = Whole([newer, older], Told())
    whole.within(newer)
    whole.close(newer, Report(1, "s", str(newer), Ending("succeeded", 0), None, 1.0, 70))
    whole.within(older).reached(ReadingProgress(5, 2, low=NOON - 3 * DAY))
    assert [(each.window, each.share, each.records) for each in told] == [
        ((1, 2), None, 0),
        ((2, 2), 0.5, 70),
        ((2, 2), 0.75, 75),
    ]
