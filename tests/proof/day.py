"""A day of service within minutes: `serve --enqueue`, three workers, and what goes wrong in a day.

    python -m tests.proof.day          # `make day`

The processes are real, and so are Postgres and HTTP; only the clock is moved, by a quarter of an
hour at a time (see `tests.proof.moved`). Each step waits until the tick was taken and the queue is
empty, or for a few seconds while a trouble lasts. The trouble: the key is rotated, a scope is lost
and given back, Postgres is restarted twice, and the source is down for an hour.

Ends with 1 if anything is not as it must be at the end of the day.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import asyncpg
import psutil

from etl.core.schedule import VERIFY
from etl.loaders.embedded import EmbeddedPostgres
from etl.sandbox.options import SandboxOptions
from etl.sandbox.server import RunningSandbox, running
from etl.streams import STREAMS
from tests.proof import moved
from tests.support.sql import select, value
from tests.support.streams import untruths

Number = TypeVar("Number", int, float)

WATCHED = ("session_recordings", "subscriptions", "insights", "insight_sharing")
WORKERS = 3
STEP = timedelta(minutes=15)
OLD_KEY, NEW_KEY = "phx_sandbox", "phx_rotated"
# When the service verifies a part of the past.
NIGHT = 3.5
# The last quarter of the day may take so much more memory than the first.
MOST_GROWTH = 1.1
# The pool of each process keeps up to four open; a worker has another one for the queue.
_MOST_CONNECTIONS = 5 * (WORKERS + 1)
_SCOPE = "subscription:read"
_SCOPES = (
    "session_recording:read", "insight:read", "sharing_configuration:read", "project:read",
    "person:read", "user:read", _SCOPE,
)  # fmt: skip
_TROUBLED_S = 4.0
# It looks into each database every minute.
_AUTOVACUUM_S = 150.0
_LONGEST_STEP_S = 180.0
_CONNECTED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
_LEFT = {
    "jobs on the queue": "SELECT count(*) FROM posthog_etl.pgqueuer",
    "leases held": "SELECT count(*) FROM posthog_etl.leases WHERE holder IS NOT NULL",
    "runs called running": "SELECT count(*) FROM posthog_etl.runs WHERE status = 'running'",
    "rejects": "SELECT count(*) FROM posthog_etl.rejects WHERE resolved_at IS NULL",
}
_STAGING = "SELECT count(*) FROM pg_class WHERE relname LIKE 'stage\\_%'"


class Day:
    """The service, its source and its database, and what was seen of them."""

    def __init__(self, directory: Path, sandbox: RunningSandbox, began_at: datetime) -> None:
        self.directory, self.sandbox, self.now = directory, sandbox, began_at
        self.began_at = began_at
        self.postgres = EmbeddedPostgres.start(directory / "postgres")
        self.processes: dict[str, psutil.Popen] = {}
        # By process: hour of the day and MB.
        self.memory: dict[str, list[tuple[float, float]]] = defaultdict(list)
        # Connections of the idle service, by the hour of the day.
        self.connected: list[tuple[float, int]] = []
        self.lines: list[str] = []
        self.troubled = False
        self._clock = directory / "ahead"
        self._key = directory / "key"
        self._key.write_text(OLD_KEY)
        moved.set_clock(self._clock, began_at)

    @property
    def dsn(self) -> str:
        """The database."""
        return self.postgres.dsn

    @property
    def hour(self) -> float:
        """The hour of the day."""
        return (self.now - self.began_at).total_seconds() / 3600

    def say(self, what: str) -> None:
        """Note what happens."""
        self.lines.append(f"| {self.now:%H:%M} | {what} |")
        print(f"{self.now:%H:%M} {what}", flush=True)

    # The processes

    def start(self) -> None:
        """Start the service and the workers."""
        self._start("serve", "serve", "--enqueue", "--port", "0")
        for number in range(1, WORKERS + 1):
            self._start(f"worker {number}", "worker")

    def stop(self) -> list[int]:
        """End them as an operator does; return their exit codes."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(60) for process in self.processes.values()]

    def kill(self) -> None:
        """Make sure that none is left."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = psutil.Popen(
                [sys.executable, "-m", "tests.proof.moved", *arguments],
                env=self._environment(),
                stdout=log,
                stderr=log,
            )

    async def run(self, *arguments: str) -> int:
        """Run another command to its end; return its exit code."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.proof.moved", *arguments),
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        if process.returncode:
            print(out.decode()[-3000:], flush=True)
        return process.returncode or 0

    def _environment(self) -> dict[str, str]:
        others = ",".join(name for name in STREAMS if name not in WATCHED)
        return {
            **os.environ,
            moved.VARIABLE: str(self._clock),
            "POSTHOG_HOST": self.sandbox.url,
            "POSTHOG_PERSONAL_API_KEY_FILE": str(self._key),
            "POSTHOG_PROJECT_ID": "1",
            "DATABASE_URL": self.dsn,
            "POSTHOG_ETL_PLAN": "unlimited",
            "POSTHOG_ETL_DISABLED_STREAMS": others,
            "POSTHOG_ETL_DATA_DIR": str(self.directory / "data"),
            # Waits go by the true clock.
            "POSTHOG_ETL_REQUEST_ATTEMPTS": "2",
            "POSTHOG_ETL_LEASE_S": "5",
        }

    # Time

    async def step(self) -> None:
        """Let a quarter of an hour pass, and wait until what is due was done."""
        self.now += STEP
        self.sandbox.control.set_clock(self.now)
        self._change()
        moved.set_clock(self._clock, self.now)
        longest_s = _TROUBLED_S if self.troubled else _LONGEST_STEP_S
        done = await _within(longest_s, self._is_done)
        if not done and not self.troubled:
            self.say("what was due was not done in time")
        for name, process in self.processes.items():
            if process.poll() is not None:
                self.say(f"{name} has ended with {process.returncode}")
            else:
                self.memory[name].append((self.hour, process.memory_info().rss / 1e6))
        if done:
            self.connected.append((self.hour, await value(self.dsn, _CONNECTED)))

    async def _is_done(self) -> bool:
        """Tell whether the ticks were taken and have ended, and no job is left."""
        due = ["all", *([VERIFY] if self.hour == NIGHT else [])]
        try:
            ticked = await value(
                self.dsn,
                "SELECT count(*) FROM posthog_etl.schedules "
                "WHERE name = ANY ($1) AND ticked_at >= $2 AND holder IS NULL",
                due,
                self.now,
            )
            return ticked == len(due) and not await value(self.dsn, _LEFT["jobs on the queue"])
        except (OSError, asyncpg.PostgresError):
            return False

    def _change(self) -> None:
        """Change the source: new recordings come by themselves as its clock moves."""
        control, since = self.sandbox.control, self.now - timedelta(hours=20)
        young = [
            row
            for row in control.truth_rows("session_recordings")
            if datetime.fromisoformat(row["start_time"]) > since
        ]
        if not young:
            return
        number = int(self.hour * 4)
        one, other = young[number % len(young)], young[(7 * number) % len(young)]
        control.change({"op": "view", "id": one["id"], "by": "eve@example.com"})
        if other["person_uuid"]:
            person = {"uuid": other["person_uuid"], "set": {"quarter": number}}
            control.change({"op": "change_person", **person})
        if number % 4 == 0:
            control.change({"op": "delete_recording", "id": one["id"]})

    # Trouble

    async def restart_postgres(self, how: signal.Signals) -> None:
        """End Postgres at once while a tick is worked on, and start it again."""
        self.say(f"Postgres gets {how.name} and is started again")
        postmaster = psutil.Process(self.postgres.server_pid)
        postmaster.send_signal(how)
        await asyncio.to_thread(postmaster.wait)
        share = await asyncio.to_thread(EmbeddedPostgres.start, self.directory / "postgres")
        self.postgres.close()
        self.postgres = share

    async def step_under_restart(self, how: signal.Signals) -> None:
        """Let time pass, and restart Postgres soon after the tick is due."""

        async def restart() -> None:
            await asyncio.sleep(0.5)
            await self.restart_postgres(how)

        await asyncio.gather(self.step(), restart())

    def refuse_old_key(self) -> None:
        """Let the source accept only the new key."""
        self.say("the source refuses the old key")
        self.sandbox.control.put_key(NEW_KEY)
        self.sandbox.control.put_key(OLD_KEY, active=False)
        self.troubled = True

    def rotate_key(self) -> None:
        """Put the new key into its file, and restart the processes: they read it at their start."""
        self._key.write_text(NEW_KEY)
        codes = self.stop()
        self.start()
        self.say(f"the new key is in the file; all processes were restarted (they ended {codes})")
        self.troubled = False

    def lose_scope(self) -> None:
        """Take a scope from the key."""
        self.say(f"the key loses {_SCOPE}")
        kept = [scope for scope in _SCOPES if scope != _SCOPE]
        self.sandbox.control.put_key(NEW_KEY, kept)

    def regain_scope(self) -> None:
        """Give it back."""
        self.say(f"the key has {_SCOPE} again")
        self.sandbox.control.put_key(NEW_KEY)

    def go_down(self) -> None:
        """Let every request to the source fail."""
        self.say("the source is down")
        self.sandbox.control.add_faults({"match": {}, "fault": {"status": 503}})
        self.troubled = True

    def come_up(self) -> None:
        """Let the source answer again."""
        self.say("the source answers again")
        self.sandbox.control.clear_faults()
        self.troubled = False

    # The end

    async def endings(self) -> str:
        """Return how many runs ended how."""
        rows = await select(
            self.dsn, "SELECT status, count(*) FROM posthog_etl.runs GROUP BY 1 ORDER BY 2 DESC"
        )
        return ", ".join(f"{row['count']} {row['status']}" for row in rows)

    async def say_what_was_verified(self) -> None:
        """Say what the service has verified in the night."""
        (row,) = await select(
            self.dsn,
            "SELECT coalesce(sum(source_count), 0) AS rows, coalesce(sum(missing + surplus + "
            "different), 0) AS differences, string_agg(DISTINCT stream, ', ') AS streams "
            "FROM posthog_etl.reconciliations",
        )
        self.say(
            f"the service has verified {row['rows']} records of {row['streams']}: "
            f"{row['differences']} differences"
        )

    async def reasons(self) -> None:
        """Say why runs did not succeed."""
        for row in await select(
            self.dsn,
            "SELECT status, left(reason, 90) AS reason, count(*), min(started_at) FROM "
            "posthog_etl.runs WHERE status <> 'succeeded' GROUP BY 1, 2 ORDER BY 4",
        ):
            self.say(f"{row['count']} {row['status']}: {row['reason']}…")

    async def faults(self) -> list[str]:
        """Return what is not as it must be."""
        found = [
            f"{count} {name}"
            for name, statement in _LEFT.items()
            if (count := await value(self.dsn, statement))
        ]
        await self.reasons()
        early, late = _most(self.connected)
        self.say(f"connections when idle: at most {early} from 2:00 to 6:00, {late} from 18:00")
        found += [f"{late} connections"] if late > _MOST_CONNECTIONS else []
        for name, seen in self.memory.items():
            first, last = _most(seen)
            self.say(f"{name}: at most {first:.1f} MB from 2:00 to 6:00, {last:.1f} MB from 18:00")
            found += [f"{name} takes {last / first:.2f} times the memory"] * (
                last > first * MOST_GROWTH
            )
        code = await self.run("verify", *WATCHED, "--deep")
        self.say(f"`verify --deep` of {', '.join(WATCHED)}: exit {code}")
        found += [f"verify ends with {code}"] if code else []
        # The table also holds the sharing of others, which is not watched here.
        untrue = [
            words
            for words in await untruths(self.dsn, self.sandbox, *WATCHED)
            if " recording/" not in words and " dashboard/" not in words
        ]
        self.say(f"values that differ from the truth: {len(untrue)}")
        found += untrue[:10]
        codes = self.stop()
        found += [f"a process ended with {code}" for code in codes if code]
        await _within(10.0, self._nobody_connected)
        # Temporary tables of a Postgres that was killed are left to autovacuum.
        await _within(_AUTOVACUUM_S, self._nothing_staged)
        connected, staging = await value(self.dsn, _CONNECTED), await value(self.dsn, _STAGING)
        self.say(f"stopped, exit {codes}: {connected} connections, {staging} staging tables")
        found += ["connections or staging tables are left"] if connected or staging else []
        return found

    async def _nobody_connected(self) -> bool:
        return not await value(self.dsn, _CONNECTED)

    async def _nothing_staged(self) -> bool:
        return not await value(self.dsn, _STAGING)


def _most(seen: Sequence[tuple[float, Number]]) -> tuple[Number, Number]:
    """Return the most in the first quarter of the day, after the restart, and in the last."""
    return (
        max(each for hour, each in seen if 2 <= hour <= 6),
        max(each for hour, each in seen if hour > 18),
    )


async def _within(seconds: float, condition: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until `condition` holds, at most so long; whether it does."""
    ends_at = time.monotonic() + seconds
    while not (holds := await condition()) and time.monotonic() < ends_at:
        await asyncio.sleep(0.1)
    return holds


async def live(day: Day) -> list[str]:
    """Live through the day; return what was wrong at its end."""
    at_hour: dict[float, Callable[[], None]] = {
        1.0: day.refuse_old_key,
        1.5: day.rotate_key,
        6.0: day.lose_scope,
        8.0: day.regain_scope,
        12.0: day.go_down,
        13.0: day.come_up,
    }
    restarts = {9.0: signal.SIGQUIT, 17.0: signal.SIGKILL}
    day.start()
    while day.hour < 24:
        if act := at_hour.get(day.hour):
            act()
        if how := restarts.get(day.hour):
            await day.step_under_restart(how)
        else:
            await day.step()
        if day.hour == NIGHT:
            await day.say_what_was_verified()
        if day.hour % 4 == 0:
            day.say(f"runs so far: {await day.endings()}")
    return await day.faults()


async def main() -> int:
    """Live through a day and print it; return the exit code."""
    began, began_at = (
        time.monotonic(),
        datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0),
    )
    options = SandboxOptions(
        recordings=3000, days=10.0, port=0, now=began_at, clock="frozen", subscriptions=30,
        insights=20,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        directory = Path(name)
        directory.chmod(0o711)  # Postgres may run as another user
        day = Day(directory, await stack.enter_async_context(running(options)), began_at)
        try:
            faults = await live(day)
        finally:
            day.kill()
            day.postgres.close()
    print("\n".join(["", "| time | |", "|---|---|", *day.lines]))
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes; wrong: {faults or 'nothing'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
