"""Give each tick of a schedule to exactly one of several `serve` processes.

The ticks are given by the caller; all other times are the database's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from etl.loaders.database import Database
from etl.loaders.tables import Tables

# If the last tick is later than this one by more than this, a wrong clock took the last one.
WRONG_CLOCK = timedelta(days=1)


class Taken(Struct, frozen=True):
    """The state of a schedule's latest tick.

    held_for_s: for how many seconds its holder may still be silent; None if no process works on it.
    unfinished: its holder died, or was stopped before the end.
    """

    ticked_at: datetime
    held_for_s: float | None
    unfinished: bool


class Schedules:
    """Takes, holds and closes ticks for one process. `holder`: the id of the process, a UUID."""

    def __init__(self, database: Database, tables: Tables, holder: str, ttl_s: float) -> None:
        self._database = database
        self._table = tables.schedules
        self._holder = holder
        self.ttl_s = ttl_s

    async def latest(self, name: str) -> Taken | None:
        """Return the state of the schedule's latest tick; None if it never had one.

        Raises DestinationError.
        """
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
        """Take a tick. False if another process has taken it, or works on an earlier one.

        Safe to repeat, also if the answer to the first COMMIT was lost. Raises DestinationError.
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
                        # It was begun and not ended, so it may be taken again.
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
        """Extend our hold. False if another process has taken the schedule over. Safe to repeat.

        Raises DestinationError.
        """
        return await self._update(name, {"expires_at": self._expiry()})

    async def close(self, name: str, tick: datetime) -> None:
        """Note that the work is done; `tick` is the last tick that passed meanwhile.

        Raises DestinationError.
        """
        last = func.greatest(self._table.c.ticked_at, tick)
        await self._update(name, {"ticked_at": last, "holder": None})

    async def leave(self, name: str) -> None:
        """Give up before the end; the next process runs the tick. Safe to repeat.

        Raises DestinationError.
        """
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
