"""How runs are counted, from one reading of the database to the next."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from etl.core.coverage import Coverage
from etl.loaders.seen_runs import RunWait
from etl.service.metrics import Metrics

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
READ = "posthog_etl_records_read_total"
ENDED = "posthog_etl_runs_total"


def run(name: str, read: int, ended_at: datetime | None = None) -> dict[str, Any]:
    """A run's row."""
    counts = ("records_read_fast", "rows_inserted", "rows_updated", "rejected", "requests")
    return {
        "id": name,
        "project_id": 1,
        "stream": "insights",
        "started_at": NOW - MINUTE,
        "ended_at": ended_at,
        "status": "running" if ended_at is None else "succeeded",
        "records_read": read,
        **dict.fromkeys([*counts, "bytes_read", "query_bytes_read", "waited_s"], 0),
    }


def shown(metrics: Metrics, name: str) -> float:
    """The sum of a figure over all its labels."""
    lines = metrics.text().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))


def test_a_run_is_counted_while_it_runs_and_once_when_it_has_ended() -> None:
    """However often the figures are read, and however late its end is seen."""
    metrics = Metrics()
    metrics.begin([], NOW)
    seen = []
    for at, row in [
        (0, run("a", 10)),
        (1, run("a", 25)),
        (2, run("a", 30, NOW + 1.9 * MINUTE)),
        (2.5, run("a", 30, NOW + 1.9 * MINUTE)),
    ]:
        metrics.count([row], NOW + at * MINUTE)
        seen.append((shown(metrics, READ), shown(metrics, ENDED)))
    assert seen == [(10, 0), (25, 0), (30, 1), (30, 1)]
    assert metrics.counted_until == NOW + 1.5 * MINUTE


def test_what_was_done_before_is_not_counted_again() -> None:
    """Of a run that is active when the service starts, only what comes later counts."""
    metrics = Metrics()
    metrics.begin([run("a", 200)], NOW)
    metrics.count([run("a", 240)], NOW + MINUTE)
    assert shown(metrics, READ) == 40
    metrics.count([run("a", 250, NOW + 2 * MINUTE)], NOW + 2 * MINUTE)
    assert (shown(metrics, READ), shown(metrics, ENDED)) == (50, 1)


def test_a_run_that_nobody_looked_at_is_counted_by_the_next_look() -> None:
    """From its beginning to its end."""
    metrics = Metrics()
    metrics.begin([], NOW)
    metrics.count([], NOW + MINUTE)
    metrics.count([run("a", 7, NOW + 5 * MINUTE)], NOW + 60 * MINUTE)
    assert (shown(metrics, READ), shown(metrics, ENDED)) == (7, 1)


def test_a_wait_is_shown_with_its_end_and_only_while_it_lasts() -> None:
    """By stream and by what for; one whose end nobody knows has no end."""
    metrics = Metrics()
    row = {
        **run("a", 10),
        **dict.fromkeys(("tail_until", "verified", "query_bytes_left"), None),
        "complete": Coverage(),
        "rejects": 0,
        "drift": [],
        "failures": [],
    }
    limit = RunWait("a", "sync", "tail", "the limit: 9 of 9 used", NOW, NOW + MINUTE)
    place = RunWait("b", "sync", "tail", "a place: 2 are running", NOW, None)
    metrics.seen([{**row, "waiting": [limit, place]}], {}, {}, NOW)
    text = metrics.text().decode()
    labels = '{project="1",stream="insights",waiting_for="the limit"}'
    assert f"posthog_etl_waiting_runs{labels} 1.0" in text
    ends = re.findall(r"posthog_etl_waiting_until_timestamp_seconds({.*}) (\S+)", text)
    assert [(of, float(at)) for of, at in ends] == [(labels, (NOW + MINUTE).timestamp())]
    assert 'waiting_for="a place"} 1.0' in text
    metrics.seen([{**row, "waiting": []}], {}, {}, NOW)
    assert "waiting_for=" not in metrics.text().decode()


def test_a_run_that_died_while_it_waited_takes_nothing_back() -> None:
    """Its wait was counted while it lasted; its row does not have it."""
    metrics = Metrics()
    metrics.begin([], NOW)
    metrics.count([{**run("a", 10), "waited_s": 300.0}], NOW + MINUTE)
    metrics.count([{**run("a", 10, NOW + 1.5 * MINUTE), "waited_s": 2.0}], NOW + 2 * MINUTE)
    assert shown(metrics, "posthog_etl_wait_seconds_total") == 300
