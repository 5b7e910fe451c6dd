"""Who is measured, and the command line of each in each scenario."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from measure import HERE
from server import NEWEST_AGE, Kind

Scenario = Literal["first load", "re-read", "quiet", "latency"]
"""`re-read`: all of it, unchanged. `quiet`: nothing new. `latency`: a first load, slow answers."""

# How far those look back that have no lookback of their own; as far as ours does.
LOOKBACK_H = 26


@dataclass(frozen=True)
class Job:
    """What a contender is to do: from which server into which database, its own state aside."""

    scenario: Scenario
    url: str
    kind: Kind
    dsn: str
    state: Path
    oldest_at: datetime


Command = tuple[Sequence[str], Mapping[str, str]]


@dataclass(frozen=True)
class Contender:
    """A program: its command line with its environment, and the tables that it fills."""

    name: str
    command: Callable[[Job], Command]
    recordings: str
    persons: str | None
    migrated: bool = False

    @property
    def database(self) -> str:
        """The name of its database."""
        return self.name.replace(" ", "_").replace("-", "_")


def posthog_etl(url: str, dsn: str) -> tuple[str, dict[str, str]]:
    """Return the installed command and what it is configured with."""
    environment = {
        "POSTHOG_HOST": url,
        "POSTHOG_PERSONAL_API_KEY": "phx_bench",
        "POSTHOG_PROJECT_ID": "1",
        "DATABASE_URL": dsn,
        "POSTHOG_ETL_PLAN": "unlimited",
    }
    return str(Path(sys.executable).with_name("posthog-etl")), environment


def _ours(job: Job) -> Command:
    command, environment = posthog_etl(job.url, job.dsn)
    if job.scenario == "re-read":
        since = (job.oldest_at - timedelta(days=1)).date().isoformat()
        again = ["backfill", "session_recordings", "--since", since, "--again"]
        return [command, *again], environment
    return [command, "sync", "session_recordings"], environment


def _script(name: str) -> Callable[[Job], Command]:
    def command(job: Job) -> Command:
        line = [sys.executable, str(HERE / "contenders" / name), job.url, job.dsn, job.kind]
        if job.scenario == "quiet":
            line.append((datetime.now(UTC) - timedelta(hours=LOOKBACK_H)).isoformat())
        return line, {}

    return command


def _dlt(job: Job) -> Command:
    line = [sys.executable, str(HERE / "contenders/dlt_rest.py"), job.url, job.dsn, job.kind]
    line.append(str(job.state))
    if job.kind == "cursor" and job.scenario != "re-read":
        # Its lag counts from the newest row, which is hours old.
        line.append(str(LOOKBACK_H - int(NEWEST_AGE.total_seconds() // 3600)))
    return line, {}


OURS, BASE = "posthog-etl", "prototype"
PLAIN, DLT = "plain script", "dlt"
CONTENDERS = (
    Contender(OURS, _ours, "posthog.session_recordings", "posthog.persons", migrated=True),
    Contender(BASE, _script("prototype.py"), "recordings", "persons"),
    Contender(PLAIN, _script("plain.py"), "recordings", "persons"),
    Contender(DLT, _dlt, "bench.recordings", None),
)


def ceiling(url: str, dsn: str, kind: Kind) -> Sequence[str]:
    """Return the command that loads the rows from memory and prints the seconds as JSON."""
    return [sys.executable, str(HERE / "contenders/ceiling.py"), url, dsn, kind]
