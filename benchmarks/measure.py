"""Runs a command against the bench's server and Postgres, and says what it cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.request import urlopen

import psutil
from records import Records, Shape, Truth
from server import Kind, hour_of_newest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_LOOK_EVERY_S = 0.02


class CommandFailed(SystemExit):
    """A command that is measured has failed; the bench ends with its last words."""


@dataclass(frozen=True)
class Measure:
    """What one run of a command cost.

    client_cpu_s: of its whole process tree. peak_mb: the sum over its tree of each one's peak.
    server_cpu_s: of the bench's server, which is meant to be next to nothing.
    rows_written: rows of data that were inserted, updated or deleted; only counted where it says.
    """

    wall_s: float
    client_cpu_s: float
    postgres_cpu_s: float
    peak_mb: float
    requests: int
    server_cpu_s: float
    rows_written: int = 0


@dataclass(frozen=True)
class RunningServer:
    """The bench's server in a process of its own.

    truth: what a complete copy of it holds.
    """

    url: str
    kind: Kind
    truth: Truth

    def used(self) -> tuple[int, float]:
        """Return the requests so far and the CPU seconds of the server."""
        with urlopen(f"{self.url}/_bench/used") as answer:
            said = json.load(answer)
        return said["requests"], said["cpu_s"]

    def wait_before_answers(self, seconds: float) -> None:
        """Let every answer take so much longer."""
        urlopen(f"{self.url}/_bench/latency?s={seconds}").close()


@contextmanager
def running_server(
    recordings: int, kind: Kind, shape: Shape, per_hour: int = 100, *options: str
) -> Iterator[RunningServer]:
    """Run a server as long as it is needed."""
    hour_at = hour_of_newest()
    line = [sys.executable, str(HERE / "server.py"), "--recordings", str(recordings)]
    line += ["--list", kind, "--shape", shape, "--per-hour", str(per_hour)]
    line += ["--hour-at", hour_at.isoformat(), *options]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        truth = Records(recordings, shape, hour_at, per_hour, keep_blocks=1).truth()
        yield RunningServer(url, kind, truth)
    finally:
        process.terminate()
        process.wait()


def run_measured(
    line: Sequence[str],
    environment: Mapping[str, str],
    server: RunningServer,
    postgres_pid: int,
    watch: Callable[[], None] = lambda: None,
) -> Measure:
    """Run a command to its end. Raises CommandFailed if its exit code is not 0.

    watch: called every 20 ms while it runs.
    """
    requests, server_cpu_s = server.used()
    postgres_s = postgres_cpu_s(postgres_pid)
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(
            line,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        peaks_kb: dict[int, int] = {}
        ended = 0
        try:
            while not ended:
                for pid in _tree(process.pid):
                    peaks_kb[pid] = max(peaks_kb.get(pid, 0), _peak_kb(pid))
                watch()
                time.sleep(_LOOK_EVERY_S)
                ended, status, used = os.wait4(process.pid, os.WNOHANG)
        finally:
            if not ended:
                process.kill()
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            words = said.read().decode(errors="replace")[-2000:]
            raise CommandFailed(f"{' '.join(line)} ended with {process.returncode}:\n{words}")
    requests_after, server_cpu_after_s = server.used()
    return Measure(
        wall_s=wall_s,
        client_cpu_s=used.ru_utime + used.ru_stime,
        postgres_cpu_s=postgres_cpu_s(postgres_pid) - postgres_s,
        peak_mb=sum(peaks_kb.values()) / 1024,
        requests=requests_after - requests,
        server_cpu_s=server_cpu_after_s - server_cpu_s,
    )


def end_cleanly_on_sigterm() -> None:
    """Let SIGTERM end the bench as Ctrl-C does, so that it leaves no servers behind."""

    def end(*_: object) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


def postgres_cpu_s(pid: int) -> float:
    """Return the CPU seconds of the server and all it has started, the ended ones included."""
    postmaster = psutil.Process(pid)
    own = postmaster.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in postmaster.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended meanwhile, so the postmaster has its time
            times = child.cpu_times()
            total += times.user + times.system
    return total


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and its living descendants."""
    yield pid
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _tree(int(child))


def _peak_kb(pid: int) -> int:
    """Return the peak memory of a process that runs, in kB.

    Not ru_maxrss, which begins at what its parent had before the program was loaded.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
