"""Measures how a copy grows: 1, 3 and 10 million recordings, each loaded into a new database.

    python benchmarks/growth.py --millions 10      # about an hour; 40 GB of disk

Against the bench's server, a cursor list, 1,000 recordings an hour. Says of each million how fast
it came, and of each size its peak memory, Postgres's CPU time, the size on disk, and what a quiet
sync and `status` take. Writes benchmarks/GROWTH.md. Ends with 1 if a copy is not complete.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from databases import Databases, running_databases
from lineup import posthog_etl
from measure import (
    HERE,
    Measure,
    RunningServer,
    end_cleanly_on_sigterm,
    postgres_cpu_s,
    run_measured,
    running_server,
)
from records import ROWS

SIZES = (1, 3, 10)
MILLION = 1_000_000
PER_HOUR = 1000
LEAST_SPEED = 0.9
MOST_PEAK_MB = 120
_SAMPLE_EVERY_S = 1.0
_TABLES = ("session_recordings", "persons", "person_distinct_ids")
_DATABASE = "growth"


@dataclass(frozen=True)
class Sample:
    """A moment of a load: seconds, rows that the server has sent, CPU seconds of Postgres."""

    at_s: float
    rows: float
    postgres_cpu_s: float


@dataclass(frozen=True)
class Pace:
    """How a million rows came."""

    rows_per_s: float
    postgres_us_per_row: float


@dataclass(frozen=True)
class Size:
    """What was measured at one size of the copy. Bytes are of all three tables."""

    millions: int
    load: Measure
    paces: list[Pace]
    table_bytes: int
    index_bytes: int
    quiet: Measure
    status: Measure


class Samples:
    """Looks once a second at what was sent and what Postgres has used."""

    def __init__(self, server: RunningServer, postgres_pid: int) -> None:
        self._server = server
        self._postgres_pid = postgres_pid
        self._first_requests = server.used()[0]
        self._next_s = 0.0
        self.all: list[Sample] = []

    def take(self) -> None:
        """Take a sample if the last one is a second old."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _SAMPLE_EVERY_S
            rows = (self._server.used()[0] - self._first_requests) * ROWS
            self.all.append(Sample(time.monotonic(), rows, postgres_cpu_s(self._postgres_pid)))

    def paces(self, millions: int) -> list[Pace]:
        """Return the pace of each million. The last page of all is sent just before the end."""
        self._next_s = 0.0
        self.take()
        edges = [self._at(number * MILLION) for number in range(millions)]
        edges.append(self.all[-1])
        return [
            Pace(
                MILLION / (after.at_s - before.at_s),
                # Seconds for a million rows are microseconds for one.
                after.postgres_cpu_s - before.postgres_cpu_s,
            )
            for before, after in pairwise(edges)
        ]

    def _at(self, rows: int) -> Sample:
        """Return the moment at which so many rows were sent, between two samples."""
        after = next(number for number, each in enumerate(self.all) if each.rows >= rows)
        if after == 0:
            return self.all[0]
        low, high = self.all[after - 1], self.all[after]
        share = (rows - low.rows) / (high.rows - low.rows)
        return Sample(
            low.at_s + share * (high.at_s - low.at_s),
            rows,
            low.postgres_cpu_s + share * (high.postgres_cpu_s - low.postgres_cpu_s),
        )


def measure(databases: Databases, millions: int) -> Size:
    """Load so many millions into a new database, then sync once more and ask for the status."""
    with running_server(millions * MILLION, "cursor", "today", PER_HOUR, "--render") as server:
        dsn = databases.make(_DATABASE, migrated=True)
        command, environment = posthog_etl(server.url, dsn)
        samples = Samples(server, databases.postgres_pid)

        def run(*arguments: str, watched: bool = False) -> Measure:
            line, pid = [command, *arguments], databases.postgres_pid
            if watched:
                return run_measured(line, environment, server, pid, samples.take)
            return run_measured(line, environment, server, pid)

        load = run("sync", "session_recordings", watched=True)
        paces = samples.paces(millions)
        tables = "posthog.session_recordings", "posthog.persons"
        copied = databases.copied(_DATABASE, *tables, server.truth)
        if copied != server.truth:
            raise SystemExit(f"{millions} million: {copied} is not {server.truth}")
        databases.settle()
        quiet = run("sync", "session_recordings")
        status = run("status")
        sizes = databases.fetch(
            _DATABASE,
            "SELECT sum(pg_table_size(t))::bigint, sum(pg_indexes_size(t))::bigint "
            f"FROM unnest('{{{','.join('posthog.' + each for each in _TABLES)}}}'::regclass[]) t",
        )
        databases.drop(_DATABASE)
    table_bytes, index_bytes = sizes
    return Size(millions, load, paces, table_bytes, index_bytes, quiet, status)


def report(sizes: list[Size]) -> str:
    """Return what was measured as Markdown."""
    largest = sizes[-1]
    return "\n".join(
        [
            "# Growth",
            "",
            f"`python benchmarks/growth.py --millions {largest.millions}` on {os.cpu_count()} "
            "cores, which other work may have shared: trust the ratios, not the seconds. "
            "Recordings of 1.35 kB, a fifth as many persons, 1,000 recordings an hour, a cursor "
            "list.",
            "",
            *_goals(largest),
            "## Sizes",
            "",
            "Postgres's CPU time is of the first load, per recording with its person. A quiet sync "
            "reads the lookback again, so it depends on recordings an hour, not on the size.",
            "",
            "| million | load s | client CPU s | peak MB | Postgres µs/row | tables MB | "
            "indexes MB | quiet sync s | its CPU s | status s | its CPU s |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *map(_size_line, sizes),
            "",
            f"## Each million of {largest.millions}",
            "",
            "| million | rows/s | to the first | Postgres µs/row |",
            "|---|---|---|---|",
            *(
                f"| {number} | {pace.rows_per_s:,.0f} | "
                f"{pace.rows_per_s / largest.paces[0].rows_per_s:.2f} | "
                f"{pace.postgres_us_per_row:.1f} |"
                for number, pace in enumerate(largest.paces, 1)
            ),
            "",
        ]
    )


def _size_line(size: Size) -> str:
    load, quiet, status = size.load, size.quiet, size.status
    return (
        f"| {size.millions} | {load.wall_s:.0f} | {load.client_cpu_s:.0f} | {load.peak_mb:.0f} | "
        f"{load.postgres_cpu_s / size.millions:.1f} | {size.table_bytes / 1e6:,.0f} | "
        f"{size.index_bytes / 1e6:,.0f} | {quiet.wall_s:.2f} | {quiet.client_cpu_s:.2f} | "
        f"{status.wall_s:.2f} | {status.client_cpu_s:.2f} |"
    )


def _goals(largest: Size) -> Iterator[str]:
    speed = largest.paces[-1].rows_per_s / largest.paces[0].rows_per_s
    peak_mb = largest.load.peak_mb
    yield (
        f"- {_verdict(speed >= LEAST_SPEED)}: rows/s of the last million to the first: "
        f"{speed:.2f}, at least {LEAST_SPEED}."
    )
    yield (
        f"- {_verdict(peak_mb <= MOST_PEAK_MB)}: peak memory: {peak_mb:.0f} MB, at most "
        f"{MOST_PEAK_MB} MB."
    )
    yield ""


def _verdict(met: bool) -> str:
    return "Met" if met else "Missed"


def main() -> None:
    """Measure the sizes up to the one asked for, print the report and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--millions", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "GROWTH.md")
    arguments = parser.parse_args()
    end_cleanly_on_sigterm()
    sizes = []
    with running_databases() as (databases, _):
        for millions in sorted({*(s for s in SIZES if s < arguments.millions), arguments.millions}):
            sizes.append(measure(databases, millions))
            print(sizes[-1], flush=True)
    text = report(sizes)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
