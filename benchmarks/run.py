"""Measures posthog-etl beside a prototype, a plain script, dlt and the ceiling; writes RESULTS.md.

    make bench                       # all of it, in less than twenty minutes
    python benchmarks/run.py --recordings 5000 --rounds 1 --no-workers

Every contender is a process of its own against the same server (a process too) and the same
Postgres, in a database of its own. They take turns, round by round, so that a machine that changes
its speed changes it for all. After every first load and every re-read the copy is compared with
what the server holds. Ends with 1 if a contender fails or its copy is not complete.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import workers
from databases import Databases, running_databases
from lineup import CONTENDERS, DLT, Contender, Job, Scenario, ceiling
from measure import (
    HERE,
    ROOT,
    Measure,
    RunningServer,
    end_cleanly_on_sigterm,
    run_measured,
    running_server,
)
from results import CASES, Case, Results, report

LATENCY_S = 0.05


class Bench:
    """The servers and the Postgres between which commands are measured."""

    def __init__(
        self,
        servers: Mapping[Case, RunningServer],
        databases: Databases,
        directory: Path,
        results: Results,
    ) -> None:
        self._servers = servers
        self._databases = databases
        self._directory = directory
        self._results = results

    def round(self, number: int, contenders: Sequence[Contender]) -> None:
        """Measure every case, every scenario and every contender once."""
        for case in CASES:
            for scenario in case.scenarios:
                late = scenario == "latency"
                self._servers[case].wait_before_answers(LATENCY_S if late else 0)
                for contender in contenders:
                    if not (late and contender.name == DLT):  # half a minute for what is known
                        measure = self._measure(case, scenario, contender, number)
                        key = (case, scenario, contender.name)
                        self._results.measures.setdefault(key, []).append(measure)
                        print(
                            f"{number} {case.title}: {scenario}: {contender.name}: {measure}",
                            flush=True,
                        )
            self._servers[case].wait_before_answers(0)
            self._results.ceilings_s.setdefault(case, []).append(self._ceiling(case))

    def _measure(
        self, case: Case, scenario: Scenario, contender: Contender, number: int
    ) -> Measure:
        name, server = contender.database, self._servers[case]
        if scenario in ("first load", "latency"):
            dsn = self._databases.make(name, migrated=contender.migrated)
        else:
            dsn = self._databases.dsn(name)
            self._databases.settle()
        state = self._directory / f"state-{number}-{CASES.index(case)}"
        job = Job(scenario, server.url, server.kind, dsn, state, server.truth.oldest_at)
        before = self._databases.rows_written(name)
        line, environment = contender.command(job)
        measure = run_measured(line, environment, server, self._databases.postgres_pid)
        written = self._databases.rows_written(name) - before
        tables = contender.recordings, contender.persons
        copied = self._databases.copied(name, *tables, server.truth)
        if copied != server.truth:
            raise SystemExit(f"{contender.name}, {scenario}: {copied} is not {server.truth}")
        return dataclasses.replace(measure, rows_written=written)

    def _ceiling(self, case: Case) -> float:
        dsn = self._databases.make("ceiling", migrated=True)
        line = ceiling(self._servers[case].url, dsn, case.kind)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, check=True)
        return float(json.loads(done.stdout)["seconds"])


def run(recordings: int, rounds: int, contenders: Sequence[Contender]) -> Results:
    """Measure everything."""
    results = Results(recordings, rounds)
    with ExitStack() as stack:
        databases, directory = stack.enter_context(running_databases())
        servers = {
            case: stack.enter_context(running_server(recordings, case.kind, case.shape))
            for case in CASES
        }
        bench = Bench(servers, databases, directory, results)
        for number in range(1, rounds + 1):
            bench.round(number, contenders)
    return results


def main() -> None:
    """Measure, print the report and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recordings", type=int, default=100_000, help="thousands")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-workers", action="store_true", help="leave out the queue's workers")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    arguments = parser.parse_args()
    end_cleanly_on_sigterm()
    text = report(run(arguments.recordings, arguments.rounds, CONTENDERS))
    if not arguments.no_workers:
        text += "\n" + "\n".join(workers.section(asyncio.run(workers.measure_all())))
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
