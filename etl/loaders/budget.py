"""The request budget in Postgres: all processes share it, and it outlives them.

It logs the requests of two hours and counts them over the same sliding windows as the server. A
token bucket would let too many through at first, or fewer than allowed in the long run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from etl.core.budget import Limit, Limits, about, wait_of
from etl.core.forecast import least_s
from etl.errors import BudgetSpent
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables
from etl.waits import Cause, Waits

_HOUR = timedelta(hours=1)
# Twice the longest window, so that the page can show how much of it was used an hour ago.
_KEPT = 2 * _HOUR
_ASKED = Cause("PostHog to allow requests again", "it answered 429")


class Used(Struct, frozen=True):
    """What was used of a class of requests.

    by_minute: how many requests were sent within each minute of the last two hours, by its start;
    those without are left out. in_window: how many within the last 60 and 3,600 seconds, by that
    number; oldest_at: the first of them. blocked_until: until when the server asked to wait.
    """

    by_minute: Mapping[datetime, int]
    in_window: Mapping[int, int]
    oldest_at: Mapping[int, datetime]
    blocked_until: datetime | None


async def used(database: Database, tables: Tables) -> tuple[datetime, Mapping[str, Used]]:
    """Return the database's time, and what was used of each class. Raises DestinationError."""
    book = quoted(tables.bookkeeping)
    async with database.transaction() as connection:
        driver = await driver_of(connection)
        now: datetime = await driver.fetchval("SELECT clock_timestamp()")
        rows = await driver.fetch(
            "SELECT class, date_trunc('minute', at, 'UTC'), count(*), "
            "count(*) FILTER (WHERE at > $1::timestamptz - interval '1 minute'), "
            "count(*) FILTER (WHERE at > $1::timestamptz - interval '1 hour'), "
            "min(at) FILTER (WHERE at > $1::timestamptz - interval '1 minute'), "
            "min(at) FILTER (WHERE at > $1::timestamptz - interval '1 hour') "
            f"FROM {book}.requests WHERE at > $1::timestamptz - $2::interval "
            "GROUP BY 1, 2 ORDER BY 1, 2",
            *(now, _KEPT),
        )
        blocks = await driver.fetch(
            f"SELECT class, blocked_until FROM {book}.request_blocks "
            "WHERE blocked_until > $1::timestamptz",
            now,
        )
    blocked = dict(blocks)
    found = {}
    for name in sorted({*blocked, *(row[0] for row in rows)}):
        own = [row for row in rows if row[0] == name]
        oldest = {
            window_s: min((row[place] for row in own if row[place] is not None), default=None)
            for window_s, place in ((60, 5), (3600, 6))
        }
        found[name] = Used(
            by_minute={row[1]: row[2] for row in own},
            in_window={60: sum(row[3] for row in own), 3600: sum(row[4] for row in own)},
            oldest_at={window_s: at for window_s, at in oldest.items() if at is not None},
            blocked_until=blocked.get(name),
        )
    return now, found


class PostgresBudget:
    """Lets a request go when every class it draws from has room; until then it waits.

    max_wait_s: the longest wait, in seconds. If more is needed, the run pauses instead. waits: are
    told of each wait.
    """

    def __init__(
        self,
        database: Database,
        tables: Tables,
        limits: Limits,
        max_wait_s: float,
        waits: Waits,
    ) -> None:
        self._database = database
        self._tables = tables
        self.limits = limits
        self._max_wait_s = max_wait_s
        self._waits = waits
        # When requests were sent, by class: as the log had it, and what was sent here since.
        self._sent: dict[str, deque[datetime]] = {}
        # The database's time when it was last read, and `time.monotonic` then.
        self._read_at: tuple[datetime, float] | None = None

    async def acquire(self, classes: Sequence[str]) -> None:
        """Return when the next request may be sent; it is counted as sent.

        Raises BudgetSpent if the wait would be longer than `max_wait_s`. A wait that is cancelled
        counts nothing.
        """
        while (needed := await self._try_spend(classes)) is not None:
            wait_s, cause = needed
            if wait_s > self._max_wait_s:
                until = datetime.now(UTC) + timedelta(seconds=wait_s)
                raise BudgetSpent(
                    f"The request budget is spent until {until:%Y-%m-%d %H:%M:%S} UTC",
                    wait_s=wait_s,
                )
            await self._waits.sleep(cause, wait_s)
            # Other processes may have sent some.
            self._sent.clear()

    def least_s(self, requests: int, classes: Sequence[str]) -> float:
        """Return how many seconds pass at least until the last of `requests` may be sent.

        What other processes have sent since the last wait is left out: nothing is queried.
        """
        if self._read_at is None:
            return 0.0
        at, read_s = self._read_at
        now = at + timedelta(seconds=time.monotonic() - read_s)
        sent = {name: tuple(self._sent.get(name, ())) for name in classes}
        return least_s(requests, classes, self.limits, sent, now)

    async def has_room(self, classes: Sequence[str]) -> bool:
        """Tell whether a request could be sent at once. Counts nothing. Raises DestinationError."""
        return await self._try_spend(classes, spend=False) is None

    async def block(self, classes: Sequence[str], seconds: float) -> None:
        """Delay all requests of `classes`, in all processes, as the server asked.

        Safe to repeat: the longer of two waits counts. Raises DestinationError.
        """
        for attempt in self._database.attempts():
            async with attempt:
                await self._block(classes, seconds)

    async def spent(self, classes: Sequence[str]) -> Mapping[str, Sequence[datetime]]:
        """Return when the requests of the last hour were sent, by class.

        Raises DestinationError.
        """
        requests = self._tables.requests
        spent: dict[str, list[datetime]] = {name: [] for name in classes}
        async with self._database.transaction() as connection:
            found = await connection.execute(
                select(requests.c["class"], requests.c.at).where(
                    requests.c["class"].in_(list(classes)), requests.c.at >= func.now() - _HOUR
                )
            )
            for name, at in found:
                spent[name].append(at)
        return spent

    async def _block(self, classes: Sequence[str], seconds: float) -> None:
        blocks = self._tables.request_blocks
        until = func.clock_timestamp() + timedelta(seconds=seconds)
        async with self._database.transaction() as connection:
            for name in sorted(classes):
                row = upsert(blocks).values({"class": name, "blocked_until": until})
                await connection.execute(
                    row.on_conflict_do_update(
                        constraint="request_blocks_pkey",
                        set_={
                            "blocked_until": func.greatest(
                                blocks.c.blocked_until, row.excluded.blocked_until
                            )
                        },
                    )
                )

    async def _try_spend(
        self, classes: Sequence[str], *, spend: bool = True
    ) -> tuple[float, Cause] | None:
        """Return for how many seconds to wait, and why; None: no wait, and the request is counted.

        spend: whether it is.
        """
        for attempt in self._database.attempts():
            async with attempt:
                needed = await self._spend(classes, spend=spend)
        return needed

    async def _spend(self, classes: Sequence[str], *, spend: bool) -> tuple[float, Cause] | None:
        requests, blocks = self._tables.requests, self._tables.request_blocks
        counted = sorted(name for name in classes if self.limits.get(name))
        blocked = select(func.clock_timestamp(), func.max(blocks.c.blocked_until)).where(
            blocks.c["class"].in_(list(classes))
        )
        limits = [(name, limit) for name in counted for limit in self.limits[name]]
        async with self._database.transaction() as connection:
            if counted:
                # One lock for all classes cannot deadlock, and it is held for about a millisecond.
                await connection.execute(
                    select(
                        func.pg_advisory_xact_lock(
                            func.hashtextextended(f"{self._tables.bookkeeping}.requests", 0)
                        )
                    )
                )
            now, blocked_until = (await connection.execute(blocked)).one()
            self._read_at = (now, time.monotonic())
            spent: list[tuple[Limit, datetime | None]] = []
            for name, limit in limits:
                at = await connection.execute(
                    select(requests.c.at)
                    .where(requests.c["class"] == name)
                    .order_by(requests.c.at.desc())
                    .offset(limit.requests - 1)
                    .limit(1)
                )
                spent.append((limit, at.scalar_one_or_none()))
            wait_s, index = wait_of(now, spent, blocked_until)
            if wait_s > 0.0:
                return wait_s, _ASKED if index is None else _cause(*limits[index])
            if counted and spend:
                await self._recall(connection, counted)
                await connection.execute(
                    insert(requests), [{"class": name, "at": now} for name in counted]
                )
                await connection.execute(
                    delete(requests).where(
                        requests.c["class"].in_(counted), requests.c.at < now - _KEPT
                    )
                )
        if spend:
            for name in counted:
                if name in self._sent:
                    self._sent[name].append(now)
        return None

    async def _recall(self, connection: AsyncConnection, classes: Iterable[str]) -> None:
        """Read when requests of these classes were sent, unless that is known."""
        requests = self._tables.requests
        for name in classes:
            if name in self._sent:
                continue
            most = max(each.requests for each in self.limits[name])
            latest = (
                select(requests.c.at)
                .where(requests.c["class"] == name)
                .order_by(requests.c.at.desc())
                .limit(most)
            )
            found = (await connection.execute(latest)).scalars().all()
            self._sent[name] = deque(reversed(found), maxlen=most)


def _cause(name: str, limit: Limit) -> Cause:
    what, short = about(name, limit)
    # As many as there may be at a time: else nobody would have to wait.
    return Cause(what, f"{limit.requests:,} of {limit.requests:,} requests used", short)
