"""What /metrics shows, in the format of Prometheus: read from the bookkeeping when it is asked for.

So it is of every process that works on the deployment: this one, workers, a sync from cron.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

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
from etl.loaders.queue import Jobs

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Row = Mapping[str, Any]

_STREAM = ("project", "stream")
_DURATIONS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600)
# What is in a run's row and only grows, and the counter of that.
_COUNTED = (
    ("records_read", "records_read", "Records received."),
    ("records_read_fast", "records_read_fast", "Records typed from their bytes."),
    ("rows_inserted", "rows_inserted", "Rows inserted, over all tables."),
    ("rows_updated", "rows_updated", "Rows changed, over all tables."),
    ("rejected", "records_rejected", "Records newly set aside."),
    ("requests", "requests", "Requests sent to the API."),
    ("bytes_read", "received_bytes", "Size of the answers."),
    ("waited_s", "budget_wait_seconds", "Waited for the request budget."),
)
# A run says when it ended a moment before others can see that.
_SEEN_LATE = timedelta(minutes=1)


class Metrics:
    """The figures of one process, and those of the database as they were last seen."""

    def __init__(self) -> None:
        # Of our own: the default one would show what any library puts there.
        self._registry = registry = CollectorRegistry()
        # When each series began doubles their number, and nobody asks.
        disable_created_metrics()  # type: ignore[no-untyped-call]

        def counter(name: str, about: str, labels: Sequence[str] = _STREAM) -> Counter:
            return Counter(f"posthog_etl_{name}", about, labels, registry=registry)

        def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"posthog_etl_{name}", about, labels, registry=registry)

        # From 0 when this process starts.
        self._counters = {column: counter(name, about) for column, name, about in _COUNTED}
        self._runs = counter("runs", "Runs by how they ended.", (*_STREAM, "status"))
        self._durations = Histogram(
            "posthog_etl_run_duration_seconds",
            "How long runs take.",
            _STREAM,
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._counted: dict[str, Row] = {}
        # Runs that ended before this are counted.
        self.counted_until: datetime | None = None
        self._ticks = counter("ticks", "Ticks by what became of them.", ("schedule", "outcome"))
        self._next = gauge(
            "next_tick_timestamp_seconds", "When the schedule ticks next.", ("schedule",)
        )
        gauge("info", "The version at work.", ("version",)).labels(__version__).set(1)
        self._database_up = gauge("database_up", "1 when the figures of the database are current.")
        self._freshness = gauge(
            "freshness_seconds", "Since the instant up to which the stream is complete.", _STREAM
        )
        self._set_aside = gauge("rejects_unresolved", "Records that are set aside now.", _STREAM)
        self._drift = gauge(
            "drift_fields", "Fields that the catalogue does not know or expects otherwise.", _STREAM
        )
        self._failures = gauge(
            "failures_unresolved",
            "Units that failed and were not read without fault since.",
            _STREAM,
        )
        self._held = gauge("leases_held", "Units that are worked on now.", _STREAM)
        self._jobs = gauge("queue_jobs", "Jobs on the queue.", ("project", "state"))
        self._of_the_database = (
            *(self._freshness, self._set_aside, self._drift),
            *(self._failures, self._held, self._jobs),
        )

    def begin(self, runs: Sequence[Row], now: datetime) -> None:
        """Count from now on, on the database's clock. runs: those that have not ended."""
        if self.counted_until is None:
            self.counted_until = now
            self._counted = {run["id"]: run for run in runs}

    def count(self, runs: Sequence[Row], now: datetime) -> None:
        """Count what is new in `runs`: those that have not ended, or not before `counted_until`.

        now: the instant on the database's clock before it was asked for them.
        """
        self.begin(runs, now)
        for run in runs:
            before = self._counted.get(run["id"], {})
            labels = (str(run["project_id"]), run["stream"])
            for column, counter in self._counters.items():
                counter.labels(*labels).inc(run[column] - before.get(column, 0))
            if run["ended_at"] is not None and before.get("ended_at") is None:
                self._runs.labels(*labels, run["status"]).inc()
                seconds = (run["ended_at"] - run["started_at"]).total_seconds()
                self._durations.labels(*labels).observe(seconds)
        self._counted = {run["id"]: run for run in runs}
        self.counted_until = max(self.counted_until or now, now - _SEEN_LATE)

    def next_tick(self, schedule: str, at: datetime) -> None:
        """The schedule's next tick is then."""
        self._next.labels(schedule).set(at.timestamp())

    def ticked(self, schedule: str, outcome: str, count: int = 1) -> None:
        """So many ticks ended so: ran, skipped or failed."""
        self._ticks.labels(schedule, outcome).inc(count)

    def seen(
        self,
        rows: Sequence[Row],
        held: Mapping[tuple[int, str], int],
        jobs: Mapping[int, Jobs],
        now: datetime,
    ) -> None:
        """Take over what the database says, in place of what it said before."""
        for gauge in self._of_the_database:
            gauge.clear()
        self._database_up.set(1)
        for row in rows:
            labels = (str(row["project_id"]), row["stream"])
            until = row["complete"].until or row["tail_until"]
            if until is not None:
                self._freshness.labels(*labels).set((now - until).total_seconds())
            self._set_aside.labels(*labels).set(row["rejects"])
            self._drift.labels(*labels).set(len(row["drift"]))
            self._failures.labels(*labels).set(len(row["failures"]))
            self._held.labels(*labels).set(held.get((row["project_id"], row["stream"]), 0))
        for project_id, of_project in jobs.items():
            for state, number in asdict(of_project).items():
                self._jobs.labels(str(project_id), state).set(number)

    def unseen(self) -> None:
        """Say nothing of the database: it does not answer, and old figures would look current."""
        for gauge in self._of_the_database:
            gauge.clear()
        self._database_up.set(0)

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self._registry)
