"""What /metrics shows, in the format of Prometheus: counted here, or read from the bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
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
from etl.runs.report import Report

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_STREAM = ("project", "stream")
_DURATIONS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600)


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

        # What this process did; from 0 when it starts.
        self._read = counter("records_read", "Records received.")
        self._inserted = counter("rows_inserted", "Rows inserted, over all tables.")
        self._updated = counter("rows_updated", "Rows changed, over all tables.")
        self._rejected = counter("records_rejected", "Records newly set aside.")
        self._requests = counter("requests", "Requests sent to the API.")
        self._bytes = counter("received_bytes", "Size of the answers.")
        self._waited = counter("budget_wait_seconds", "Waited for the request budget.")
        self._runs = counter("runs", "Runs by how they ended.", (*_STREAM, "status"))
        self._durations = Histogram(
            "posthog_etl_run_duration_seconds",
            "How long runs take.",
            _STREAM,
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._ticks = counter("ticks", "Ticks by what became of them.", ("schedule", "outcome"))
        self._next = gauge(
            "next_tick_timestamp_seconds", "When the schedule ticks next.", ("schedule",)
        )
        gauge("info", "The version at work.", ("version",)).labels(__version__).set(1)
        # What the database says, of every process; set when somebody asks.
        self._database_up = gauge("database_up", "1 when the figures of the database are current.")
        self._freshness = gauge(
            "freshness_seconds", "Since the instant up to which the stream is complete.", _STREAM
        )
        self._set_aside = gauge("rejects_unresolved", "Records that are set aside now.", _STREAM)
        self._held = gauge("leases_held", "Units that are worked on now.", _STREAM)

    def ran(self, report: Report) -> None:
        """Count what a run of ours did."""
        labels = (str(report.project_id), report.stream)
        for counter, number in (
            (self._read, report.records_read),
            (self._inserted, report.rows_inserted),
            (self._updated, report.rows_updated),
            (self._rejected, report.rejected),
            (self._requests, report.requests),
            (self._bytes, report.bytes_read),
            (self._waited, report.waited_s),
        ):
            counter.labels(*labels).inc(number)
        self._runs.labels(*labels, report.ending.status).inc()
        if report.run_id is not None:
            self._durations.labels(*labels).observe(report.seconds)

    def next_tick(self, schedule: str, at: datetime) -> None:
        """The schedule's next tick is then."""
        self._next.labels(schedule).set(at.timestamp())

    def ticked(self, schedule: str, outcome: str, count: int = 1) -> None:
        """So many ticks ended so: ran, skipped or failed."""
        self._ticks.labels(schedule, outcome).inc(count)

    def seen(
        self, rows: Sequence[Mapping[str, Any]], held: Mapping[tuple[int, str], int], now: datetime
    ) -> None:
        """Take over what the database says, in place of what it said before."""
        for gauge in (self._freshness, self._set_aside, self._held):
            gauge.clear()
        self._database_up.set(1)
        for row in rows:
            labels = (str(row["project_id"]), row["stream"])
            until = row["complete"].until or row["tail_until"]
            if until is not None:
                self._freshness.labels(*labels).set((now - until).total_seconds())
            self._set_aside.labels(*labels).set(row["rejects"])
            self._held.labels(*labels).set(held.get((row["project_id"], row["stream"]), 0))

    def unseen(self) -> None:
        """Say nothing of the database: it does not answer, and old figures would look current."""
        for gauge in (self._freshness, self._set_aside, self._held):
            gauge.clear()
        self._database_up.set(0)

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self._registry)
