"""The request budget in Postgres: all processes share it, and it outlives them.

It logs the requests of the last hour and counts them over the same sliding windows as the server. A
token bucket would let too many through at first, or fewer than allowed in the long run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from etl.core.budget import Limit, Limits, wait_s
from etl.errors import BudgetSpent
from etl.loaders.database import Database
from etl.loaders.tables import Tables

_KEPT = timedelta(hours=1)


class PostgresBudget:
    """Lets a request go when every class it draws from has room; until then it waits.

    max_wait_s: the longest wait, in seconds. If more is needed, the run pauses instead.
    """

    def __init__(
        self, database: Database, tables: Tables, limits: Limits, max_wait_s: float
    ) -> None:
        self._database = database
        self._tables = tables
        self._limits = limits
        self._max_wait_s = max_wait_s
        self.waited_s = 0.0

    async def acquire(self, classes: Sequence[str]) -> None:
        """Return when the next request may be sent; it is counted as sent.

        Raises BudgetSpent if the wait would be longer than `max_wait_s`. A wait that is cancelled
        counts nothing.
        """
        while wait := await self._try_spend(classes):
            if wait > self._max_wait_s:
                until = datetime.now(UTC) + timedelta(seconds=wait)
                raise BudgetSpent(
                    f"The request budget is spent until {until:%Y-%m-%d %H:%M:%S} UTC",
                    wait_s=wait,
                )
            await asyncio.sleep(wait)
            self.waited_s += wait

    async def has_room(self, classes: Sequence[str]) -> bool:
        """Tell whether a request could be sent at once. Counts nothing. Raises DestinationError."""
        return not await self._try_spend(classes, spend=False)

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
                    requests.c["class"].in_(list(classes)), requests.c.at >= func.now() - _KEPT
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

    async def _try_spend(self, classes: Sequence[str], *, spend: bool = True) -> float:
        """Return for how many seconds to wait; if 0, the request is counted. `spend`: or not."""
        for attempt in self._database.attempts():
            async with attempt:
                wait = await self._spend(classes, spend=spend)
        return wait

    async def _spend(self, classes: Sequence[str], *, spend: bool) -> float:
        requests, blocks = self._tables.requests, self._tables.request_blocks
        counted = sorted(name for name in classes if self._limits.get(name))
        blocked = select(func.clock_timestamp(), func.max(blocks.c.blocked_until)).where(
            blocks.c["class"].in_(list(classes))
        )
        async with self._database.transaction() as connection:
            if not counted:
                now, blocked_until = (await connection.execute(blocked)).one()
                return wait_s(now, [], blocked_until)
            # One lock for all classes cannot deadlock, and it is held for about a millisecond.
            await connection.execute(
                select(
                    func.pg_advisory_xact_lock(
                        func.hashtextextended(f"{self._tables.bookkeeping}.requests", 0)
                    )
                )
            )
            now, blocked_until = (await connection.execute(blocked)).one()
            spent: list[tuple[Limit, datetime | None]] = []
            for name in counted:
                for limit in self._limits[name]:
                    at = await connection.execute(
                        select(requests.c.at)
                        .where(requests.c["class"] == name)
                        .order_by(requests.c.at.desc())
                        .offset(limit.requests - 1)
                        .limit(1)
                    )
                    spent.append((limit, at.scalar_one_or_none()))
            wait = wait_s(now, spent, blocked_until)
            if wait == 0.0 and spend:
                await connection.execute(
                    insert(requests), [{"class": name, "at": now} for name in counted]
                )
                await connection.execute(
                    delete(requests).where(
                        requests.c["class"].in_(counted), requests.c.at < now - _KEPT
                    )
                )
            return wait
