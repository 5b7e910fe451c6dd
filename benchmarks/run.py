"""Measures posthog-etl beside a plain script, dlt and the ceiling, in one run; writes RESULTS.md.

    make bench                       # all of it, about ten minutes
    python benchmarks/run.py --recordings 5000 --rounds 1

Every contender is a process of its own against the same sandbox (a process too) and the same
Postgres, in a database of its own. They take turns, round by round, so that a machine that changes
its speed changes it for all. What counts are the ratios of one run; the medians are quoted. After
every first load the content is compared with the sandbox's truth, not only the number of rows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import asyncpg
import psutil
import workers

from etl.loaders.address import parse_database_url
from etl.loaders.database import Database, Timeouts
from etl.loaders.embedded import EmbeddedPostgres
from etl.loaders.migrate import migrate
from etl.loaders.tables import Tables

HERE = Path(__file__).resolve().parent
CONTENDERS = ("posthog-etl", "plain script", "dlt")


@dataclass(frozen=True)
class Measure:
    """One run of a command: seconds (wall, CPU of client and server), peak memory, requests.

    rows_written: rows of its tables that were inserted, updated or deleted, as Postgres counts.
    """

    wall_s: float
    client_cpu_s: float
    postgres_cpu_s: float
    peak_mb: float
    requests: int
    rows_written: int = 0


@contextmanager
def sandbox(recordings: int) -> Iterator[str]:
    """Run a sandbox with a frozen clock in a process of its own."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "etl", "sandbox", "--clock", "frozen", "--port", "0"),
            *("--recordings", str(recordings)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


class Bench:
    """A sandbox, a Postgres, and the commands that are measured between them."""

    def __init__(self, url: str, server: EmbeddedPostgres, state: Path) -> None:
        self.url = url
        self.server = server
        self.state = state

    def dsn(self, name: str) -> str:
        """Return the DSN of a database of this server."""
        return self.server.dsn.replace("/postgres?", f"/{name}?")

    async def fresh(self, name: str, *, migrated: bool) -> None:
        """Make the database anew."""
        connection = await asyncpg.connect(self.server.dsn)
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()
        if migrated:
            database = Database(parse_database_url(self.dsn(name)), Timeouts())
            await migrate(database, Tables("posthog"))
            await database.close()

    async def warm_up(self) -> None:
        """Let the sandbox make all its data once, so that the first contender does not pay."""
        await self.fresh("ceiling", migrated=True)
        self.ceiling()

    def command(self, contender: str, scenario: str) -> tuple[list[str], dict[str, str]]:
        """Return the command line of a contender and its environment."""
        name = contender.replace(" ", "_").replace("-", "_")
        dsn = self.dsn(name)
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        if contender == "posthog-etl":
            environment |= {
                "POSTHOG_HOST": self.url,
                "POSTHOG_PERSONAL_API_KEY": "phx_sandbox",
                "POSTHOG_PROJECT_ID": "1",
                "DATABASE_URL": dsn,
                "POSTHOG_ETL_PLAN": "unlimited",
            }
            if scenario == "re-read, nothing changed":
                environment["POSTHOG_ETL_LOOKBACK"] = "3650d"
            return [sys.executable, "-m", "etl", "sync", "session_recordings"], environment
        if contender == "plain script":
            line = [sys.executable, str(HERE / "contenders/plain.py"), self.url, dsn]
            if scenario == "incremental, nothing new":
                line.append(_three_days_ago(self.url))
            return line, environment
        line = [sys.executable, str(HERE / "contenders/dlt_rest.py"), self.url, dsn]
        environment["BENCH_STATE"] = str(self.state)
        return [*line, "incremental"], environment

    async def rows_written(self, contender: str) -> int:
        """Return how many rows of the contender's data were ever written."""
        name = contender.replace(" ", "_").replace("-", "_")
        connection = await asyncpg.connect(self.dsn(name))
        # The bookkeeping is not data; a process that has ended has told all its counts.
        count = await connection.fetchval(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables "
            "WHERE schemaname NOT LIKE '%\\_etl' AND schemaname NOT LIKE 'pg\\_temp%'"
        )
        await connection.close()
        return count or 0

    async def measure(self, contender: str, scenario: str) -> Measure:
        """Run the contender once."""
        before = await self.rows_written(contender)
        measure = self.run_once(contender, scenario)
        return replace(measure, rows_written=await self.rows_written(contender) - before)

    def run_once(self, contender: str, scenario: str) -> Measure:
        """Run the contender and return all but the rows written."""
        line, environment = self.command(contender, scenario)
        postgres = _postgres_cpu_s(self.server.server_pid)
        requests = _requests(self.url)
        began = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                line, env=environment, stdout=subprocess.DEVNULL, stderr=said
            )
            peak_kb, ended = 0, 0
            while not ended:
                peak_kb = max(peak_kb, _peak_kb(process.pid))
                ended, status, used = os.wait4(process.pid, os.WNOHANG)
                time.sleep(0.01)
            wall_s = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                said.seek(0)
                raise SystemExit(f"{contender}, {scenario}: {said.read().decode()[-2000:]}")
        return Measure(
            wall_s=wall_s,
            client_cpu_s=used.ru_utime + used.ru_stime,
            postgres_cpu_s=_postgres_cpu_s(self.server.server_pid) - postgres,
            peak_mb=peak_kb / 1024,
            requests=_requests(self.url) - requests,
        )

    def ceiling(self) -> float:
        """Return the seconds that loading the same rows from memory takes."""
        line = [sys.executable, str(HERE / "contenders/ceiling.py"), self.url, self.dsn("ceiling")]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(line, env=environment, capture_output=True, check=True)
        return float(json.loads(done.stdout)["seconds"])

    async def differences(self, contender: str) -> int:
        """Return how many recordings are missing or differ from the truth in what is compared."""
        with urlopen(f"{self.url}/_sandbox/truth?project=1") as answer:
            truth = json.loads(answer.read())["session_recordings"]
        name = contender.replace(" ", "_").replace("-", "_")
        table = {"posthog-etl": "posthog.session_recordings", "plain script": "recordings"}.get(
            contender, "bench.recordings"
        )
        compared = ("id", "start_time", "end_time", "click_count", "distinct_id", "activity_score")
        connection = await asyncpg.connect(self.dsn(name))
        rows = await connection.fetch(f"SELECT {', '.join(compared)} FROM {table}")
        await connection.close()
        here = {row["id"]: tuple(row) for row in rows}
        there = {
            record["id"]: tuple(_typed(field, record[field]) for field in compared)
            for record in truth
        }
        return sum(here.get(key) != value for key, value in there.items()) + len(
            here.keys() - there.keys()
        )


def _typed(field: str, value: object) -> object:
    return datetime.fromisoformat(str(value)) if field.endswith("_time") else value


def _three_days_ago(url: str) -> str:
    with urlopen(f"{url}/_sandbox/state") as answer:
        now = datetime.fromisoformat(json.loads(answer.read())["now"])
    return datetime.fromtimestamp(now.timestamp() - 72 * 3600, UTC).isoformat()


def _requests(url: str) -> int:
    with urlopen(f"{url}/_sandbox/state") as answer:
        return int(json.loads(answer.read())["requests"]["total"])


def _latency(url: str, seconds: float) -> None:
    path = f"{url}/_sandbox/faults"
    urlopen(Request(path, method="DELETE")).close()
    if seconds:
        rule = [{"match": {"path": "session_recordings"}, "fault": {"latency_s": seconds}}]
        body = json.dumps(rule).encode()
        headers = {"Content-Type": "application/json"}
        urlopen(Request(path, body, headers, method="POST")).close()


def _peak_kb(pid: int) -> int:
    """Return the peak memory of a process that runs, in kB.

    Not ru_maxrss, which begins at what its parent had before the program was loaded.
    """
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _postgres_cpu_s(pid: int) -> float:
    """Return the CPU seconds of the server and all it has started, the ended ones included."""
    server = psutil.Process(pid)
    own = server.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in server.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended meanwhile, so the server has its time
            times = child.cpu_times()
            total += times.user + times.system
    return float(total)


SCENARIOS = (
    "first load",
    "re-read, nothing changed",
    "incremental, nothing new",
    "first load, 50 ms latency",
)


async def run(recordings: int, rounds: int) -> str:
    """Measure everything and return the report."""
    results: dict[tuple[str, str], list[Measure]] = {}
    ceilings: list[float] = []
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        sandbox(recordings) as url,
    ):
        Path(name).chmod(0o711)
        with EmbeddedPostgres.start(Path(name) / "postgres") as server:
            await Bench(url, server, Path(name)).warm_up()
            for number in range(rounds):
                bench = Bench(url, server, Path(name) / f"state{number}")
                for scenario in SCENARIOS:
                    _latency(url, 0.05 if "latency" in scenario else 0)
                    if scenario == "first load, 50 ms latency":
                        bench.state = Path(name) / f"state{number}-latency"
                    for contender in CONTENDERS:
                        ours = contender == "posthog-etl"
                        if scenario.startswith("first load"):
                            database = contender.replace(" ", "_").replace("-", "_")
                            await bench.fresh(database, migrated=ours)
                        measure = await bench.measure(contender, scenario)
                        results.setdefault((scenario, contender), []).append(measure)
                        print(f"{number + 1} {scenario:26} {contender:13} {measure}", flush=True)
                        if scenario == "first load":
                            wrong = await bench.differences(contender)
                            if wrong:
                                raise SystemExit(f"{contender}: {wrong} recordings differ")
                _latency(url, 0)
                await bench.fresh("ceiling", migrated=True)
                ceilings.append(bench.ceiling())
    return report(recordings, rounds, results, ceilings)


def report(
    recordings: int,
    rounds: int,
    results: dict[tuple[str, str], list[Measure]],
    ceilings: list[float],
) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Results",
        "",
        f"`python benchmarks/run.py --recordings {recordings} --rounds {rounds}` on "
        f"{os.cpu_count()} shared cores; medians, the whole process from start to end. Trust the "
        "ratios, not the seconds.",
        "",
    ]
    for scenario in SCENARIOS:
        lines += [
            f"## {scenario[0].upper()}{scenario[1:]}",
            "",
            "| | seconds | ratio | client CPU s per 100k rows | Postgres CPU s | peak MB | "
            "requests |",
            "|---|---|---|---|---|---|---|",
        ]
        ours = results[scenario, "posthog-etl"]
        for contender in CONTENDERS:
            measures = results[scenario, contender]
            ratio = statistics.median(
                theirs.wall_s / mine.wall_s for theirs, mine in zip(measures, ours, strict=True)
            )
            cpu = statistics.median(m.client_cpu_s for m in measures) * 100_000 / recordings
            lines.append(
                f"| {contender} | {statistics.median(m.wall_s for m in measures):.2f} | "
                f"{ratio:.2f} | {cpu:.1f} | "
                f"{statistics.median(m.postgres_cpu_s for m in measures):.2f} | "
                f"{statistics.median(m.peak_mb for m in measures):.0f} | "
                f"{statistics.median(m.requests for m in measures):.0f} |"
            )
        lines.append("")
    ceiling = statistics.median(ceilings)
    first = statistics.median(m.wall_s for m in results["first load", "posthog-etl"])
    lines += [
        "## The ceiling",
        "",
        f"Loading the same typed rows from memory, by COPY and the same upsert, takes "
        f"{ceiling:.2f} s ({recordings / ceiling:,.0f} recordings/s with their persons); our first "
        f"load takes {first / ceiling:.1f} times as long, start of the process included.",
        "",
        "## Goals",
        "",
        *goals(results),
        "",
    ]
    return "\n".join(lines)


def goals(results: dict[tuple[str, str], list[Measure]]) -> list[str]:
    """Return which goals this run met and which it missed, one line each."""
    first, again = "first load", "re-read, nothing changed"

    def ratio(scenario: str, contender: str, value: Callable[[Measure], float]) -> float:
        pairs = zip(results[scenario, contender], results[scenario, "posthog-etl"], strict=True)
        return statistics.median(value(theirs) / value(mine) for theirs, mine in pairs)

    def seconds(measure: Measure) -> float:
        return measure.wall_s

    def cpu(measure: Measure) -> float:
        return measure.client_cpu_s

    ours = [m for (_, name), measures in results.items() if name == "posthog-etl" for m in measures]
    written = sum(m.rows_written for m in results[again, "posthog-etl"])
    peak_mb = max(measure.peak_mb for measure in ours)
    plain, dlt = "plain script", "dlt"
    factors = [
        ("First load, plain script's seconds to ours", 2.2, ratio(first, plain, seconds)),
        ("First load, dlt's seconds to ours", 5, ratio(first, dlt, seconds)),
        ("First load, plain script's client CPU to ours", 2, ratio(first, plain, cpu)),
        ("Re-read, plain script's seconds to ours", 5, ratio(again, plain, seconds)),
    ]
    return [
        *(
            f"- {_verdict(value >= goal)}: {about}: {value:.2f}, the goal is {goal}."
            for about, goal, value in factors
        ),
        f"- {_verdict(written == 0)}: Re-read, rows written: {written}, the goal is 0.",
        f"- {_verdict(peak_mb <= 130)}: Peak memory, worst run: {peak_mb:.0f} MB, the goal is 130.",
    ]


def _verdict(met: bool) -> str:
    return "Met" if met else "Missed"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    text = asyncio.run(run(arguments.recordings, arguments.rounds))
    text += "\n" + "\n".join(workers.section(asyncio.run(workers.measure_all())))
    (HERE / "RESULTS.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
