"""Which tick of a schedule is whose: of several `serve` processes exactly one takes it.

All clocks but the ticks themselves are the database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from etl.loaders.database import Database
from etl.loaders.tables import Tables

# A tick so much older than the last one says that the last one was taken by a wrong clock.
WRONG_CLOCK = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a schedule's latest tick.

    held_for_s: how long its holder may stand still, in seconds; None when nobody is at work on it.
    unfinished: whoever was at work on it died, or was stopped before the end.
    """

    ticked_at: datetime
    held_for_s: float | None
    unfinished: bool


class Schedules:
    """Takes, holds and closes ticks on behalf of one process, whose id is `holder`, a UUID."""

    def __init__(self, database: Database, tables: Tables, holder: str, ttl_s: float) -> None:
        self._database = database
        self._table = tables.schedules
        self._holder = holder
        self.ttl_s = ttl_s

    async def latest(self, name: str) -> Taken | None:
        """Return what is known of the schedule's latest tick, None when it never had one."""
        table = self._table
        left = func.extract("epoch", table.c.expires_at - func.clock_timestamp())
        query = select(table.c.ticked_at, table.c.holder, left.label("left")).where(
            table.c.name == name
        )
        async with self._database.transaction() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        free = row.holder is None or row.left <= 0
        return Taken(
            row.ticked_at,
            held_for_s=None if free else float(row.left),
            unfinished=free and row.holder is not None,
        )

    async def take(self, name: str, tick: datetime) -> bool:
        """Take a tick; False when another has it, or is at work on an earlier one.

        Safe to repeat, also when the answer to the first COMMIT was lost.
        """
        table = self._table
        mine = {"ticked_at": tick, "holder": self._holder, "expires_at": self._expiry()}
        row = (
            insert(table)
            .values(name=name, **mine)
            .on_conflict_do_update(
                constraint="schedules_pkey",
                set_=mine,
                where=and_(
                    or_(
                        table.c.ticked_at < tick,
                        table.c.ticked_at > tick + WRONG_CLOCK,
                        # It was begun, and is to be ended.
                        and_(table.c.ticked_at == tick, table.c.holder.is_not(None)),
                    ),
                    or_(
                        table.c.holder.is_(None),
                        table.c.holder == self._holder,
                        table.c.expires_at < func.clock_timestamp(),
                    ),
                ),
            )
        )
        async with self._database.transaction() as connection:
            return (await connection.execute(row)).rowcount == 1

    async def renew(self, name: str) -> bool:
        """Prolong our hold; False when another has taken the schedule over. Safe to repeat."""
        return await self._update(name, {"expires_at": self._expiry()})

    async def close(self, name: str, tick: datetime) -> None:
        """Note that the work is done, and that `tick` was the last to pass meanwhile."""
        last = func.greatest(self._table.c.ticked_at, tick)
        await self._update(name, {"ticked_at": last, "holder": None})

    async def leave(self, name: str) -> None:
        """Give up before the end: whoever comes next catches it up. Safe to repeat."""
        await self._update(name, {"expires_at": func.clock_timestamp()})

    async def _update(self, name: str, values: dict[str, Any]) -> bool:
        table = self._table
        change = (
            update(table)
            .where(table.c.name == name, table.c.holder == self._holder)
            .values(**values)
        )
        async with self._database.transaction() as connection:
            return (await connection.execute(change)).rowcount == 1

    def _expiry(self) -> ColumnElement[Any]:
        return func.clock_timestamp() + timedelta(seconds=self.ttl_s)
