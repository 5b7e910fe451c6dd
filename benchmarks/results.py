"""What was measured, its ratios and the goals, as Markdown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from lineup import BASE, CONTENDERS, OURS, Scenario
from measure import Measure
from records import Shape
from server import Kind

_TITLES: dict[Scenario, str] = {
    "first load": "first load",
    "re-read": "re-read of everything, unchanged",
    "quiet": "quiet sync, nothing new",
    "latency": "first load, every answer 50 ms later",
}


@dataclass(frozen=True)
class Case:
    """A kind of list and the fields of its records, and what is measured there."""

    title: str
    kind: Kind
    shape: Shape
    scenarios: tuple[Scenario, ...] = ("first load",)


TODAY = Case(
    "Cursor list, today's fields", "cursor", "today", ("first load", "re-read", "quiet", "latency")
)
UNKNOWN = Case("Cursor list, two unknown fields", "cursor", "unknown")
DOCUMENTED = Case("List by limit and offset, documented types", "offset", "documented")
CASES = (TODAY, UNKNOWN, DOCUMENTED)

Value = Callable[[Measure], float]


@dataclass
class Results:
    """All measures of a run, in the order of the rounds."""

    recordings: int
    rounds: int
    measures: dict[tuple[Case, Scenario, str], list[Measure]] = field(default_factory=dict)
    ceilings_s: dict[Case, list[float]] = field(default_factory=dict)

    def ours(self, case: Case, scenario: Scenario, value: Value) -> float:
        """Return our median."""
        return median(map(value, self.measures[case, scenario, OURS]))

    def ratio(self, case: Case, scenario: Scenario, name: str, value: Value) -> float:
        """Return the median of the ratios to the prototype, each of one round."""
        pairs = zip(
            self.measures[case, scenario, name], self.measures[case, scenario, BASE], strict=True
        )
        return median(value(mine) / value(base) for mine, base in pairs)


def wall(measure: Measure) -> float:
    """Return the seconds from start to end."""
    return measure.wall_s


def client(measure: Measure) -> float:
    """Return the CPU seconds of the command."""
    return measure.client_cpu_s


def postgres(measure: Measure) -> float:
    """Return the CPU seconds of Postgres."""
    return measure.postgres_cpu_s


def report(results: Results) -> str:
    """Return the whole report."""
    every = [one for measures in results.measures.values() for one in measures]
    page_ms = 1000 * sum(one.server_cpu_s for one in every) / sum(one.requests for one in every)
    lines = [
        "# Results",
        "",
        f"`python benchmarks/run.py --recordings {results.recordings} --rounds {results.rounds}` "
        f"on {os.cpu_count()} cores, which other work may have shared: trust the ratios, not the "
        "seconds. Medians of the rounds, in which the contenders take turns; a process counts from "
        "its start to its end. The columns x are ratios to the prototype of the same round. The "
        f"server is `benchmarks/server.py`: {page_ms:.1f} ms of CPU an answer.",
        "",
        *_goals(results),
    ]
    for case in CASES:
        for scenario in case.scenarios:
            lines += [f"## {case.title}: {_TITLES[scenario]}", "", *_table(results, case, scenario)]
            if scenario == "first load":
                lines += _ceiling(results, case)
    return "\n".join(lines)


def _table(results: Results, case: Case, scenario: Scenario) -> Iterator[str]:
    yield "| | wall s | x | client CPU s | x | Postgres CPU s | x | peak MB | requests |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name in (contender.name for contender in CONTENDERS):
        measures = results.measures.get((case, scenario, name))
        if measures:
            cells = [name]
            for value in (wall, client, postgres):
                cells.append(f"{median(map(value, measures)):.2f}")
                cells.append(f"{results.ratio(case, scenario, name, value):.2f}")
            cells.append(f"{median(one.peak_mb for one in measures):.0f}")
            cells.append(f"{median(one.requests for one in measures):.0f}")
            yield f"| {' | '.join(cells)} |"
    yield ""


def _ceiling(results: Results, case: Case) -> Iterator[str]:
    seconds = median(results.ceilings_s[case])
    times = results.ours(case, "first load", wall) / seconds
    yield (
        f"The ceiling: loading our rows from memory, by COPY and our upsert, takes {seconds:.2f} s "
        f"({results.recordings / seconds:,.0f} recordings/s with their persons). Our first load "
        f"takes {times:.1f} times as long, start of the process included."
    )
    yield ""


def _goals(results: Results) -> Iterator[str]:
    """Yield the goals as a table, and the names of those that are missed."""
    missed = []
    yield "## Goals"
    yield ""
    yield "| goal for posthog-etl | at most | measured | |"
    yield "|---|---|---|---|"
    for about, most, measured in _measured_goals(results):
        met = measured <= most
        yield f"| {about} | {most:g} | {measured:.2f} | {'met' if met else '**missed**'} |"
        if not met:
            missed.append(about)
    yield ""
    yield f"Missed: {'; '.join(missed) or 'none'}."
    yield ""


def _measured_goals(results: Results) -> Iterator[tuple[str, float, float]]:
    first: Scenario = "first load"

    def times(case: Case, scenario: Scenario, value: Value) -> float:
        return results.ratio(case, scenario, OURS, value)

    ours = [one for key, measures in results.measures.items() if key[2] == OURS for one in measures]
    pages = results.recordings / 1000
    yield "first load, today's fields: wall, x prototype's", 1.6, times(TODAY, first, wall)
    yield "first load, today's fields: client CPU, x prototype's", 1.6, times(TODAY, first, client)
    yield (
        "first load, today's fields: Postgres CPU, x prototype's",
        1.5,
        times(TODAY, first, postgres),
    )
    yield "first load, unknown fields: wall, x prototype's", 1.8, times(UNKNOWN, first, wall)
    yield "first load, limit and offset: wall, x prototype's", 1.8, times(DOCUMENTED, first, wall)
    yield (
        "first load, limit and offset: requests per 100 pages",
        105,
        results.ours(DOCUMENTED, first, lambda one: one.requests) * 100 / pages,
    )
    yield "re-read: wall, x prototype's", 1.3, times(TODAY, "re-read", wall)
    written = [one.rows_written for one in results.measures[TODAY, "re-read", OURS]]
    yield "re-read: rows of data written", 0, max(written)
    yield "quiet sync: client CPU, seconds", 0.5, results.ours(TODAY, "quiet", client)
    yield "peak memory of any run, MB", 120, max(one.peak_mb for one in ours)
