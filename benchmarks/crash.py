"""Kills the command hundreds of times while it loads a million recordings, then compares all.

    python benchmarks/crash.py                                # about 40 minutes; 6 GB of disk
    python benchmarks/crash.py --recordings 20000 --kills 20  # a try

Two lists, one after the other, each into a database of its own: by cursor (`sync` and `backfill`
in turns), and by limit and offset with count (`sync`). Every run of the command ends by SIGKILL at
a random instant: every fifth while it starts, the others after their first request. Postgres is
killed, or stopped at once, too: every other time under a running command. When both the kills and
the load are done, `verify --deep` is killed several times and then ends by itself. At the end every
value is compared with what the server would send, without any code of the pipeline.

Ends with 1 if a row differs, if `verify` finds a difference, or if a run ended in a way that no
kill explains.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import asyncpg
import psutil
from comparison import Compared, compare
from lineup import posthog_etl
from measure import ROOT, RunningServer, end_cleanly_on_sigterm, running_server
from records import ROWS, Records
from server import Kind

from etl.loaders.embedded import EmbeddedPostgres

PER_HOUR = 1000
# So that Postgres recovers from its own crashes within seconds.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "1GB"}
VERIFY_KILLS = 10
_STARTING = 0.2  # the share of kills before the first request
_RUNS_PER_RESTART = 15
# Pages that a run has asked for and not stored when it is killed.
_UNSTORED_PAGES = 1.5
_PAGE_S = 0.3
_LOOK_EVERY_S = 0.02
_MOST_FAULTS = 5
_LONGEST_RUN_S = 900.0
_STREAM = "session_recordings"


class Server:
    """A Postgres that is killed now and then."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._share = EmbeddedPostgres.start(directory, options=SETTINGS)
        self.restarts: Counter[str] = Counter()

    def dsn(self, name: str) -> str:
        """Return the DSN of a database."""
        return self._share.dsn.replace("/postgres?", f"/{name}?")

    def restart(self) -> None:
        """End it at once, by SIGKILL or by an immediate shutdown, and start it again."""
        killed = bool(random.getrandbits(1))
        postmaster = psutil.Process(self._share.server_pid)
        postmaster.send_signal(signal.SIGKILL if killed else signal.SIGQUIT)
        postmaster.wait()
        share = EmbeddedPostgres.start(self._directory, options=SETTINGS)
        self._share.close()
        self._share = share
        self.restarts["killed" if killed else "stopped at once"] += 1

    def close(self) -> None:
        """Stop it."""
        self._share.close()

    def fetch(self, name: str, statement: str) -> Any:
        """Return the first row of a query."""
        return asyncio.run(self._fetch(self.dsn(name), statement))

    async def _fetch(self, dsn: str, statement: str) -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchrow(statement)
        finally:
            await connection.close()


@dataclass
class Tally:
    """What happened to one list. requests: of all runs; needed: pages of the list."""

    recordings: int
    needed: int = 0
    requests: int = 0
    verify_requests: int = 0
    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    runs_that_loaded: int = 0
    verified: str = ""
    compared: Compared | None = None

    @property
    def all_kills(self) -> int:
        """Return the number of kills."""
        return sum(self.kills.values())


class Crashes:
    """One list, read by runs that are killed."""

    def __init__(self, postgres: Server, server: RunningServer, tally: Tally, kills: int) -> None:
        self.postgres, self.server, self.tally = postgres, server, tally
        self._kills = kills
        self._database = server.kind
        self._command, self._environment = posthog_etl(server.url, postgres.dsn(server.kind))
        oldest_at, newest_at = server.truth.oldest_at, server.truth.newest_at
        middle_at = oldest_at + (newest_at - oldest_at) / 2
        oldest, middle = f"{oldest_at - timedelta(days=1):%Y-%m-%d}", f"{middle_at:%Y-%m-%d}"
        self._jobs = [["sync", _STREAM]]
        if server.kind == "cursor":
            self._environment["POSTHOG_ETL_START"] = middle
            past = ["backfill", _STREAM, "--since", oldest, "--until", middle, "--window", "3d"]
            self._jobs.append(past)
        # Until the first request: a first guess, then measured.
        self._start_s = 2.0

    def run(self) -> None:
        """Load and verify under kills, then compare."""
        began, tally = time.monotonic(), self.tally
        subprocess.run([self._command, "migrate"], env=self._surroundings(), check=True)
        left = [*self._jobs]
        while (left or tally.all_kills < self._kills) and len(tally.faults) < _MOST_FAULTS:
            job = random.choice(left or self._jobs)
            pages = self._pages_a_kill() if tally.all_kills < self._kills else None
            if self._attempt(job, pages) and job in left:
                left.remove(job)
            if tally.runs % 10 == 0:
                self._say()
        tally.requests = self.server.used()[0]
        tally.runs_that_loaded = self._number(
            "SELECT count(*) FROM posthog_etl.runs WHERE records_read > 0"
        )
        self._verify()
        tally.verify_requests = self.server.used()[0] - tally.requests
        tally.seconds = time.monotonic() - began
        tally.faults += self._left_behind()
        hour_at = self.server.truth.newest_at.replace(minute=0, second=0, microsecond=0)
        records = Records(tally.recordings, "today", hour_at, PER_HOUR, keep_blocks=8)
        tally.compared = asyncio.run(compare(self.postgres.dsn(self._database), records))

    def _pages_a_kill(self) -> float:
        """Return how many pages a run may ask for, so that kills and load are done at once."""
        stored = self._number(f"SELECT count(*) FROM posthog.{_STREAM}")
        left = (self.tally.recordings - stored) / ROWS
        return _UNSTORED_PAGES + left / (self._kills - self.tally.all_kills) / (1 - _STARTING)

    def _attempt(self, job: Sequence[str], pages: float | None) -> bool:
        """Run a job, and kill it when it has asked for about so many pages.

        pages: None if it is not to be killed. Tells whether it succeeded.
        """
        self.tally.runs += 1
        if self.tally.runs % (2 * _RUNS_PER_RESTART) == 0:
            self.postgres.restart()
        under_way = (
            pages is not None and self.tally.runs % (2 * _RUNS_PER_RESTART) == _RUNS_PER_RESTART
        )
        with tempfile.TemporaryFile() as said:
            process = self._start(job, said)
            if pages is not None:
                self._wait_for_an_instant(process, pages, restarts=under_way)
                if process.poll() is None:
                    process.kill()
            code = process.wait(timeout=_LONGEST_RUN_S)
            if code == -signal.SIGKILL:
                return False
            if code and not under_way:
                said.seek(0)
                words = said.read().decode(errors="replace").strip()[-1500:]
                self.tally.faults.append(f"{' '.join(job)} ended with {code}: {words}")
            return code == 0

    def _wait_for_an_instant(
        self, process: subprocess.Popen[bytes], pages: float, *, restarts: bool
    ) -> None:
        """Return at a random instant of the run, or when it has ended."""
        began, before = time.monotonic(), self.server.used()[0]
        is_early = random.random() < _STARTING
        ends_at = began + random.uniform(0, self._start_s) if is_early else float("inf")
        if not self._asks(process, before + 1, ends_at):
            if process.poll() is None:
                self.tally.kills["while it started"] += 1
            return
        self._start_s += 0.1 * (time.monotonic() - began - self._start_s)
        if restarts:
            self.postgres.restart()
        if self._asks(process, before + random.uniform(1, 2 * pages), float("inf")):
            # Anywhere between two pages.
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=random.uniform(0, _PAGE_S))
        if process.poll() is None:
            self.tally.kills["while it loaded"] += 1

    def _asks(self, process: subprocess.Popen[bytes], requests: float, ends_at: float) -> bool:
        """Wait until the server had so many requests; False if the run ends, or the time."""
        while self.server.used()[0] < requests:
            if process.poll() is not None or time.monotonic() >= ends_at:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def _verify(self) -> None:
        """Verify under kills, then to its end."""
        pages = self.tally.recordings / ROWS / VERIFY_KILLS
        kills, job = Counter[str](), ["verify", _STREAM, "--deep"]
        counted, self.tally.kills = self.tally.kills, kills
        while self.tally.all_kills < VERIFY_KILLS and not self._attempt(job, pages):
            pass
        self.tally.kills = counted
        self.tally.kills["while it verified"] += sum(kills.values())
        line = [self._command, *job, "--json"]
        done = subprocess.run(line, env=self._surroundings(), capture_output=True, check=False)
        if done.returncode:
            self.tally.faults.append(
                f"verify ended with {done.returncode}: {done.stdout[-1500:]!r}"
            )
            self.tally.verified = f"exit {done.returncode}"
            return
        (report,) = json.loads(done.stdout)["reports"]
        counts = [each for each in report["windows"] if each["table"] == _STREAM]
        source, stored = (
            sum(each[name] for each in counts) for name in ("source_count", "destination_count")
        )
        self.tally.verified = f"equal: {source:,} at the source, {stored:,} here, exit 0"

    def _left_behind(self) -> list[str]:
        """Return what no run may leave behind."""
        left = {
            # One that was killed after it closed its last window keeps its lease until that ends.
            "leases in force": (
                "SELECT count(*) FROM posthog_etl.leases "
                "WHERE holder IS NOT NULL AND expires_at > clock_timestamp()"
            ),
            "runs called running": (
                "SELECT count(*) FROM posthog_etl.runs WHERE status = 'running'"
            ),
            "staging tables": "SELECT count(*) FROM pg_class WHERE relname LIKE 'stage\\_%'",
            "rejects": "SELECT count(*) FROM posthog_etl.rejects",
        }
        counts = {name: self._number(statement) for name, statement in left.items()}
        return [f"{count} {name}" for name, count in counts.items() if count]

    def _start(self, job: Sequence[str], said: IO[bytes]) -> subprocess.Popen[bytes]:
        line = [self._command, *job]
        environment = self._surroundings()
        return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=said)

    def _surroundings(self) -> dict[str, str]:
        # The DSN stays the same: the socket of the restarted server lies in the same place.
        return {**os.environ, "PYTHONPATH": str(ROOT), **self._environment}

    def _number(self, statement: str) -> int:
        return int(self.postgres.fetch(self._database, statement)[0])

    def _say(self) -> None:
        stored = self._number(f"SELECT count(*) FROM posthog.{_STREAM}")
        print(
            f"{self.server.kind}: {self.tally.all_kills} kills, {stored:,} recordings, "
            f"{self.tally.runs} runs, {self._start_s:.1f} s to the first request",
            flush=True,
        )


def crash(postgres: Server, kind: Kind, recordings: int, kills: int) -> Tally:
    """Load one list under kills."""
    postgres.fetch("postgres", "SELECT 1")
    asyncio.run(_create(postgres.dsn("postgres"), kind))
    tally = Tally(recordings, needed=-(-recordings // ROWS))
    before = Counter(postgres.restarts)
    with running_server(recordings, kind, "today", PER_HOUR) as server:
        Crashes(postgres, server, tally, kills).run()
    tally.restarts = postgres.restarts - before
    return tally


async def _create(dsn: str, name: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()


def report(tallies: dict[Kind, Tally]) -> str:
    """Return what happened as Markdown."""
    lines = [
        f"| | {' | '.join(tallies)} |",
        f"|---|{'---:|' * len(tallies)}",
    ]

    def add(name: str, values: Sequence[object]) -> None:
        lines.append(f"| {name} | {' | '.join(map(str, values))} |")

    each = tallies.values()
    add("recordings at the source", [f"{one.recordings:,}" for one in each])
    add("runs of the command", [one.runs for one in each])
    add("runs that stored something", [one.runs_that_loaded for one in each])
    for when in ("while it started", "while it loaded", "while it verified"):
        add(f"killed {when}", [one.kills[when] for one in each])
    for how in ("killed", "stopped at once"):
        add(f"Postgres {how}", [one.restarts[how] for one in each])
    add("requests sent : needed, load", [_ratio(one.requests, one.needed) for one in each])
    add("the same, `verify`", [_ratio(one.verify_requests, one.needed) for one in each])
    add("minutes", [f"{one.seconds / 60:.1f}" for one in each])
    add("recordings compared", [f"{_compared(one).recordings:,}" for one in each])
    add("persons compared", [f"{_compared(one).persons:,}" for one in each])
    add("rows that differ from the truth", [_compared(one).wrong for one in each])
    add("`verify --deep`", [one.verified for one in each])
    return "\n".join(lines)


def _compared(tally: Tally) -> Compared:
    assert tally.compared is not None
    return tally.compared


def _ratio(sent: int, needed: int) -> str:
    return f"{sent:,} : {needed:,} = {sent / needed:.2f}"


def main() -> None:
    """Do it for both lists and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recordings", type=int, default=1_000_000, help="of both lists together")
    parser.add_argument("--kills", type=int, default=500, help="while both lists are loaded")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end_cleanly_on_sigterm()
    random.seed(arguments.seed)
    print(f"seed {arguments.seed}", flush=True)
    kinds: list[Kind] = ["cursor", "offset"]
    tallies: dict[Kind, Tally] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # Postgres may run as another user
        os.environ["POSTHOG_ETL_DATA_DIR"] = f"{name}/data"
        postgres = Server(Path(name) / "postgres")
        try:
            for kind in kinds:
                half = arguments.recordings // 2 // ROWS * ROWS
                tallies[kind] = crash(postgres, kind, half, -(-arguments.kills // 2))
        finally:
            postgres.close()
    print(report(tallies))
    faults = [words for one in tallies.values() for words in (*one.faults, *_compared(one).words)]
    print("\n".join(faults))
    raise SystemExit(1 if faults or any(_compared(one).wrong for one in tallies.values()) else 0)


if __name__ == "__main__":
    main()
