"""Units per second with one, two and four workers, against a source that takes its time.

    python benchmarks/workers.py        # by itself, about two minutes; `make bench` calls it, too

A backfill is put on the queue, the workers are started, and the clock runs from when the first
unit began to when the last one ended, as the runs table has it. So the start of the processes does
not count, and what is left is how well the waits for the source overlap.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.request import Request, urlopen

import asyncpg

from etl.loaders.embedded import EmbeddedPostgres

WORKERS = (1, 2, 4)
RECORDINGS, DAYS, PAGE = 6000, 1400, 20
LATENCY_S = 0.1


@dataclass(frozen=True)
class Throughput:
    """What so many workers did: units, requests, seconds."""

    workers: int
    units: int
    requests: int
    seconds: float


@contextmanager
def slow_sandbox() -> Iterator[str]:
    """Run a sandbox whose every answer takes a while."""
    line = [sys.executable, "-m", "etl", "sandbox", "--clock", "frozen", "--port", "0"]
    line += ["--recordings", str(RECORDINGS), "--days", str(DAYS)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        rules = json.dumps([{"match": {}, "fault": {"latency_s": LATENCY_S}}]).encode()
        headers = {"Content-Type": "application/json"}
        urlopen(Request(f"{url}/_sandbox/faults", rules, headers, method="POST")).close()
        yield url
    finally:
        process.terminate()
        process.wait()


async def measure(url: str, server: EmbeddedPostgres, count: int) -> Throughput:
    """Load everything with `count` workers into a database of its own."""
    name = f"workers_{count}"
    admin = await asyncpg.connect(server.dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    environment = {
        **os.environ,
        "POSTHOG_HOST": url,
        "POSTHOG_PERSONAL_API_KEY": "phx_sandbox",
        "POSTHOG_PROJECT_ID": "1",
        "DATABASE_URL": server.dsn.replace("/postgres?", f"/{name}?"),
        "POSTHOG_ETL_PLAN": "unlimited",
        "POSTHOG_ETL_PAGE_SIZE_RECORDS": str(PAGE),
    }
    command = [sys.executable, "-m", "etl"]
    backfill = [*command, "backfill", "session_recordings", "--since", _days_ago(url, DAYS)]
    # So that what the source does and how much it holds is known, and all jobs are queued at once.
    newest = [*command, "backfill", "session_recordings", "--since", _days_ago(url, 60)]
    subprocess.run([*newest, "--window", "7d"], check=True, env=environment, capture_output=True)
    subprocess.run([*backfill, "--window", "7d", "--enqueue"], check=True, env=environment)
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    started = "SELECT coalesce(max(started_at), 'epoch') FROM posthog_etl.runs"
    before = await connection.fetchval(started)
    processes = [
        subprocess.Popen([*command, "worker"], env=environment, stderr=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        while await connection.fetchval("SELECT count(*) FROM posthog_etl.pgqueuer"):
            await asyncio.sleep(0.1)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    row = await connection.fetchrow(
        "SELECT count(*) AS units, sum(requests)::int AS requests, "
        "extract(epoch FROM max(ended_at) - min(started_at))::float AS seconds "
        "FROM posthog_etl.runs WHERE status = 'succeeded' AND started_at > $1",
        before,
    )
    assert row is not None
    await connection.close()
    return Throughput(count, row["units"], row["requests"], row["seconds"])


def _days_ago(url: str, days: int) -> str:
    with urlopen(f"{url}/_sandbox/state") as answer:
        now = datetime.fromisoformat(json.load(answer)["now"])
    return (now - timedelta(days=days)).date().isoformat()


async def measure_all() -> list[Throughput]:
    """Measure every number of workers, one after the other."""
    found = []
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        slow_sandbox() as url,
    ):
        Path(name).chmod(0o711)
        with EmbeddedPostgres.start(Path(name) / "postgres") as server:
            for count in WORKERS:
                found.append(await measure(url, server, count))
                print(found[-1], flush=True)
    return found


def section(found: list[Throughput]) -> list[str]:
    """Return the results as lines of Markdown."""
    one = found[0]
    return [
        "## Workers",
        "",
        f"A backfill of {one.units} windows off the queue, {PAGE} recordings a page, and a source "
        f"that takes {LATENCY_S * 1000:.0f} ms for an answer.",
        "",
        "| workers | units/s | ratio | seconds | requests |",
        "|---|---|---|---|---|",
        *(
            f"| {each.workers} | {each.units / each.seconds:.1f} | "
            f"{one.seconds / each.seconds:.2f} | {each.seconds:.1f} | {each.requests} |"
            for each in found
        ),
        "",
    ]


if __name__ == "__main__":
    print("\n".join(section(asyncio.run(measure_all()))))
