"""Measures `verify` of a million recordings beside the `sync` that loaded them.

    python benchmarks/verify.py            # about half an hour; 6 GB of disk
    python benchmarks/verify.py --thousands 50 --list cursor

Both lists, a tenth first and then all. Of the whole copy 300 rows are then damaged, a third each
deleted, altered and invented; `verify --deep --repair` has to repair them. Writes
benchmarks/VERIFY.md. Ends with 1 if a command does.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from databases import Databases, running_databases
from lineup import posthog_etl
from measure import HERE, Measure, end_cleanly_on_sigterm, run_measured, running_server
from records import ROWS
from server import Kind

PER_HOUR = 1000
MOST_REQUESTS = 1.05
MOST_PEAK = 1.1
_DATABASE = "verified"
_STREAM = "session_recordings"
_SOME = f"(SELECT id FROM posthog.{_STREAM} WHERE id LIKE '%-00{{:02x}}-%' ORDER BY id LIMIT 100)"
_DAMAGE = (
    f"DELETE FROM posthog.{_STREAM} WHERE id IN {_SOME.format(1)}",
    f"UPDATE posthog.{_STREAM} SET click_count = click_count + 1 WHERE id IN {_SOME.format(2)}",
    f"INSERT INTO posthog.{_STREAM} (project_id, id, start_time, expiry_time, _observed_at, "
    "_first_seen_at, _updated_at, _xid) SELECT project_id, id || '-not', start_time, expiry_time, "
    f"_observed_at, _first_seen_at, _updated_at, _xid FROM posthog.{_STREAM} "
    f"WHERE id IN {_SOME.format(3)}",
)
_COMMANDS = (
    ("sync", ["sync", _STREAM]),
    ("verify", ["verify", _STREAM]),
    ("verify --deep", ["verify", _STREAM, "--deep"]),
)
_REPAIR = "verify --deep --repair"


@dataclass(frozen=True)
class Copy:
    """What each command cost over one list."""

    kind: Kind
    recordings: int
    costs: dict[str, Measure]


def measure(databases: Databases, kind: Kind, recordings: int, *, repair: bool) -> Copy:
    """Load a list into a new database, verify it, and repair damage."""
    costs = {}
    with running_server(recordings, kind, "today", PER_HOUR, "--render") as server:
        dsn = databases.make(_DATABASE, migrated=True)
        command, environment = posthog_etl(server.url, dsn)
        # The list is measured, and this server answers no query.
        environment = {**environment, "POSTHOG_ETL_VERIFY_BY_QUERY": "false"}

        def run(name: str, line: list[str]) -> None:
            databases.settle()
            pid = databases.postgres_pid
            costs[name] = run_measured([command, *line], environment, server, pid)
            print(kind, recordings, name, costs[name], flush=True)

        for name, line in _COMMANDS:
            run(name, line)
        if repair:
            for statement in _DAMAGE:
                databases.fetch(_DATABASE, f"{statement} RETURNING 1")
            run(_REPAIR, [*_REPAIR.split(), _STREAM])
        copied = databases.copied(
            _DATABASE,
            f"posthog.{_STREAM} WHERE _deleted_at IS NULL",
            "posthog.persons",
            server.truth,
        )
        if copied != server.truth:
            raise SystemExit(f"{kind}, {recordings}: {copied} is not {server.truth}")
        databases.drop(_DATABASE)
    return Copy(kind, recordings, costs)


def report(copies: list[Copy]) -> str:
    """Return what was measured as Markdown."""
    return "\n".join(
        [
            "# Verify",
            "",
            f"`python benchmarks/verify.py` on {os.cpu_count()} cores, which other work may have "
            "shared: trust the ratios, not the seconds. Recordings of 1.35 kB, 1,000 an hour, all "
            "read from the list. `verify` compares ids, `verify --deep` every value; the last one "
            "repairs 300 damaged rows.",
            "",
            *_goals(copies),
            "",
            "| list | recordings | command | s | rows/s | client CPU s | Postgres CPU s | "
            "peak MB | requests | to the pages |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(_line(copy, name, cost) for copy in copies for name, cost in copy.costs.items()),
            "",
        ]
    )


def _line(copy: Copy, name: str, cost: Measure) -> str:
    pages = copy.recordings / ROWS
    return (
        f"| {copy.kind} | {copy.recordings:,} | `{name}` | {cost.wall_s:.0f} | "
        f"{copy.recordings / cost.wall_s:,.0f} | {cost.client_cpu_s:.0f} | "
        f"{cost.postgres_cpu_s:.0f} | {cost.peak_mb:.0f} | {cost.requests:,} | "
        f"{cost.requests / pages:.3f} |"
    )


def _goals(copies: list[Copy]) -> Iterator[str]:
    for copy in copies:
        load, deep = copy.costs["sync"], copy.costs["verify --deep"]
        requests, peak = deep.requests / load.requests, deep.peak_mb / load.peak_mb
        which = f"{copy.kind}, {copy.recordings:,}"
        yield (
            f"- {_verdict(requests <= MOST_REQUESTS)}: {which}: requests of `verify --deep` to "
            f"those of the load: {requests:.3f}, at most {MOST_REQUESTS}."
        )
        yield (
            f"- {_verdict(peak <= MOST_PEAK)}: {which}: peak memory of `verify --deep` to that of "
            f"the load: {peak:.2f}, at most {MOST_PEAK}."
        )


def _verdict(met: bool) -> str:
    return "Met" if met else "Missed"


def main() -> None:
    """Measure, print the report and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--thousands", type=int, default=1000, help="recordings of each list")
    parser.add_argument("--list", choices=get_args(Kind), help="only this one")
    parser.add_argument("--out", type=Path, default=HERE / "VERIFY.md")
    arguments = parser.parse_args()
    end_cleanly_on_sigterm()
    copies = []
    with running_databases() as (databases, _):
        for kind in [arguments.list] if arguments.list else get_args(Kind):
            for thousands in (max(1, arguments.thousands // 10), arguments.thousands):
                repair = thousands == arguments.thousands
                copies.append(measure(databases, kind, thousands * ROWS, repair=repair))
    text = report(copies)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
