"""How a backfill is split into jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etl.core.coverage import Span, split
from etl.loaders.history import Watermark
from etl.service.queue import PORTION, QueuedWork, portion_length, portions

DAY = timedelta(days=1)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
WINDOWS = split(Span(SINCE, SINCE + 100 * DAY), 7 * DAY)


@pytest.mark.parametrize("newest_first", [True, False])
def test_portions_cover_every_window_once_and_keep_the_order(newest_first: bool) -> None:
    """None is longer than asked for, and they leave no gaps."""
    windows = WINDOWS[::-1] if newest_first else WINDOWS
    spans = portions(windows, 30 * DAY)
    assert all(span.until - span.since <= 30 * DAY for span in spans)
    assert spans == sorted(spans, reverse=newest_first)
    assert sum((span.until - span.since for span in spans), timedelta()) == 100 * DAY
    assert len(spans) == 4


def test_a_hole_between_windows_ends_a_portion() -> None:
    """What is already complete is not read again."""
    windows = [WINDOWS[0], WINDOWS[1], WINDOWS[3]]
    assert portions(windows) == [Span(WINDOWS[0].since, WINDOWS[1].until), WINDOWS[3]]


def test_a_window_longer_than_a_portion_is_one_by_itself() -> None:
    """A job has at least one window."""
    year = Span(SINCE, SINCE + 365 * DAY)
    assert portions([year], 60 * DAY) == [year]


@pytest.mark.parametrize(
    ("traits", "known", "rows", "length"),
    [
        (None, timedelta(), 0, PORTION),
        ({"date_filter": "honoured"}, 60 * DAY, 0, timedelta.max),
        ({"date_filter": "honoured"}, 60 * DAY, 60_000, PORTION),
        ({"date_filter": "honoured"}, 60 * DAY, 6_000, 200 * DAY),
        ({"date_filter": "honoured"}, 60 * DAY, 1, 36_500 * DAY),
        ({"date_filter": "ignored"}, 60 * DAY, 60_000, timedelta.max),
        ({"date_filter": "refused"}, timedelta(), 0, timedelta.max),
    ],
)
def test_a_job_is_as_long_as_its_data_is_thin(
    traits: dict[str, str] | None, known: timedelta, rows: int, length: timedelta
) -> None:
    """At least twenty pages; everything if the server ignores dates."""
    found = portion_length(Watermark(traits=traits), known, rows, 1000)
    assert abs(found - length) < timedelta(seconds=1)


def test_a_job_reads_what_it_was_written_as() -> None:
    """All its fields, also the span of its windows."""
    job = QueuedWork(1, "session_recordings", str(WINDOWS[0]), "backfill", 3600.0, False, True)
    assert QueuedWork.read(dict(job.as_new().document)) == job
    assert (job.past.since, job.past.window) == (SINCE, timedelta(hours=1))
