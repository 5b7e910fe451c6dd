"""What /metrics shows, in Prometheus' text format. Each request reads it from the bookkeeping.

So it covers every process of the deployment: this one, workers, and syncs from cron.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import asdict
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from etl import __version__
from etl.core.statuses import Fault
from etl.loaders.queue import Jobs

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Row = Mapping[str, Any]

_STREAM = ("project", "stream")
_WAIT = (*_STREAM, "waiting_for")
_DURATIONS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600)
# Columns of `runs` that only grow; the counter of each, and its help.
_COUNTED = (
    ("records_read", "records_read", "Records received."),
    ("records_read_fast", "records_read_fast", "Records typed from their bytes."),
    ("rows_inserted", "rows_inserted", "Rows inserted, over all tables."),
    ("rows_updated", "rows_updated", "Rows changed, over all tables."),
    ("rejected", "records_rejected", "Records newly rejected."),
    ("requests", "requests", "Requests sent to the API."),
    ("bytes_read", "received_bytes", "Size of the answers."),
    ("query_bytes_read", "query_bytes", "Bytes that the server read for queries."),
    ("waited_s", "wait_seconds", "Time waited for limits, for a place, or to try again."),
)
# `ended_at` is set before the commit, so other processes see it a moment later.
_SEEN_LATE = timedelta(minutes=1)


class Metrics:
    """Counters of this process, and gauges of what the database held when it was last read."""

    def __init__(self) -> None:
        # Not the default registry: any library may add metrics to that one.
        self._registry = registry = CollectorRegistry()
        # Series of creation times would double the number of series.
        disable_created_metrics()  # type: ignore[no-untyped-call]

        def counter(name: str, about: str, labels: Sequence[str] = _STREAM) -> Counter:
            return Counter(f"posthog_etl_{name}", about, labels, registry=registry)

        def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"posthog_etl_{name}", about, labels, registry=registry)

        # From 0 when this process starts.
        self._counters = {column: counter(name, about) for column, name, about in _COUNTED}
        self._runs = counter("runs", "Runs, by status at their end.", (*_STREAM, "status"))
        self._durations = Histogram(
            "posthog_etl_run_duration_seconds",
            "Duration of runs.",
            _STREAM,
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._counted: dict[str, Row] = {}
        # Runs that ended before this instant have been counted.
        self.counted_until: datetime | None = None
        self._ticks = counter("ticks", "Ticks of schedules, by outcome.", ("schedule", "outcome"))
        self._next = gauge(
            "next_tick_timestamp_seconds", "Time of the next tick of the schedule.", ("schedule",)
        )
        # When each schedule ticks next; the page shows it, too.
        self.next_ticks: dict[str, datetime] = {}
        gauge("info", "The version that is running.", ("version",)).labels(__version__).set(1)
        self._database_up = gauge("database_up", "1 if the database answered last time, else 0.")
        self._freshness = gauge(
            "freshness_seconds",
            "Age of the instant up to which the stream is complete; +Inf if it never was.",
            _STREAM,
        )
        self._succeeded = gauge(
            "last_success_timestamp_seconds",
            "When the stream was last brought up to date; 0: never.",
            _STREAM,
        )
        self._unavailable = gauge(
            "unavailable",
            "1 if the key was never able to read the stream, and nobody asked for it by name.",
            _STREAM,
        )
        self._rejects = gauge("rejects_unresolved", "Rejects that are not resolved.", _STREAM)
        self._drift = gauge(
            "drift_fields", "Fields that the catalogue does not know or expects otherwise.", _STREAM
        )
        self._verified = gauge(
            "verified_timestamp_seconds", "When source and destination were last compared.", _STREAM
        )
        self._differences = gauge(
            "differences",
            "Rows that differed in the latest comparison and are not repaired.",
            _STREAM,
        )
        self._bytes_left = gauge(
            "query_bytes_left",
            "Bytes that the server's budget for queries had left after the latest run.",
            _STREAM,
        )
        self._failures = gauge(
            "failures_unresolved",
            "Units that failed and have not succeeded since.",
            _STREAM,
        )
        self._held = gauge("leases_held", "Units that a run holds now.", _STREAM)
        self._waiting = gauge("waiting_runs", "Runs that wait now, by what for.", _WAIT)
        self._waiting_until = gauge(
            "waiting_until_timestamp_seconds",
            "When the latest of these waits ends; no series if nobody knows.",
            _WAIT,
        )
        self._jobs = gauge("queue_jobs", "Jobs on the queue.", ("project", "state"))
        self._of_the_database = (
            *(
                self._succeeded,
                self._unavailable,
                self._freshness,
                self._rejects,
                self._drift,
                self._failures,
                self._held,
                self._jobs,
            ),
            *(self._verified, self._differences, self._bytes_left),
            *(self._waiting, self._waiting_until),
        )

    def begin(self, runs: Sequence[Row], now: datetime) -> None:
        """Begin to count at `now`, by the database's clock. Later calls change nothing.

        runs: the runs that have not ended.
        """
        if self.counted_until is None:
            self.counted_until = now
            self._counted = {run["id"]: run for run in runs}

    def count(self, runs: Sequence[Row], now: datetime) -> None:
        """Add what is new in `runs` since the last call.

        runs: the runs that have not ended, or that ended at `counted_until` or later.
        now: when they were queried, by the database's clock.
        """
        self.begin(runs, now)
        for run in runs:
            before = self._counted.get(run["id"], {})
            labels = (str(run["project_id"]), run["stream"])
            for column, counter in self._counters.items():
                # What a run waited that died is not noted, so it may be less than before.
                more = (run[column] or 0) - (before.get(column) or 0)
                counter.labels(*labels).inc(max(0, more))
            if run["ended_at"] is not None and before.get("ended_at") is None:
                self._runs.labels(*labels, run["status"]).inc()
                seconds = (run["ended_at"] - run["started_at"]).total_seconds()
                self._durations.labels(*labels).observe(seconds)
        self._counted = {run["id"]: run for run in runs}
        self.counted_until = max(self.counted_until or now, now - _SEEN_LATE)

    def next_tick(self, schedule: str, at: datetime) -> None:
        """Set when the schedule ticks next."""
        self._next.labels(schedule).set(at.timestamp())
        self.next_ticks[schedule] = at

    def ticked(self, schedule: str, outcome: str, count: int = 1) -> None:
        """Count ticks of the schedule. outcome: ran, skipped or failed."""
        self._ticks.labels(schedule, outcome).inc(count)

    def seen(
        self,
        rows: Sequence[Row],
        held: Mapping[tuple[int, str], int],
        jobs: Mapping[int, Jobs],
        now: datetime,
        expected: Collection[tuple[str, str]] = (),
        named: Collection[str] = (),
    ) -> None:
        """Set the gauges to what the database holds now.

        expected: project and name of the streams that are to be read; they may have no row yet.
        named: the streams that somebody asked for by name.
        """
        for gauge in self._of_the_database:
            gauge.clear()
        self._database_up.set(1)
        for each in expected:
            self._freshness.labels(*each).set(math.inf)
            self._succeeded.labels(*each).set(0)
            self._unavailable.labels(*each).set(0)
        for row in rows:
            labels = (str(row["project_id"]), row["stream"])
            until = row["complete"].until or row["tail_until"]
            if until is not None:
                self._freshness.labels(*labels).set((now - until).total_seconds())
            if row["succeeded_at"] is not None:
                self._succeeded.labels(*labels).set(row["succeeded_at"].timestamp())
            if labels in expected:
                refused = any(each.fault == Fault.UNAVAILABLE for each in row["failures"])
                excused = refused and until is None and row["stream"] not in named
                self._unavailable.labels(*labels).set(int(excused))
            self._rejects.labels(*labels).set(row["rejects"])
            self._drift.labels(*labels).set(len(row["drift"]))
            self._failures.labels(*labels).set(len(row["failures"]))
            if row["verified"] is not None:
                self._verified.labels(*labels).set(row["verified"].checked_at.timestamp())
                self._differences.labels(*labels).set(row["verified"].differences)
            if row["query_bytes_left"] is not None:
                self._bytes_left.labels(*labels).set(row["query_bytes_left"])
            for wait in row["waiting"]:
                self._waiting.labels(*labels, wait.what).inc()
                if wait.until is not None:
                    until = max(w.until for w in row["waiting"] if w.what == wait.what and w.until)
                    self._waiting_until.labels(*labels, wait.what).set(until.timestamp())
            self._held.labels(*labels).set(held.get((row["project_id"], row["stream"]), 0))
        for project_id, of_project in jobs.items():
            for state, number in asdict(of_project).items():
                self._jobs.labels(str(project_id), state).set(number)

    def unseen(self) -> None:
        """Remove the gauges of the database while it does not answer: old values mislead."""
        for gauge in self._of_the_database:
            gauge.clear()
        self._database_up.set(0)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
