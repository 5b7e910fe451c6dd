"""How many queries of a project run at once, for all processes that share one database.

PostHog runs three at once for a project (posthog/clickhouse/client/limit.py); one of these is left
to people. A place is leased: if its holder dies, it is free again after `TTL_S`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import func, or_, update
from sqlalchemy.dialects.postgresql import insert

from etl.errors import DestinationUnavailable
from etl.loaders.database import Database
from etl.loaders.tables import Tables
from etl.tasks import beside
from etl.waits import Cause, Waits

PLACES = 2
TTL_S = 60.0
_POLL_S = 0.5
_TAKEN = Cause("a place among the queries", f"{PLACES} of this project are running")


class PostgresSlots:
    """Hands out the places. waits: are told of each wait."""

    def __init__(self, database: Database, tables: Tables, waits: Waits) -> None:
        self._database = database
        self._slots = tables.query_slots
        self._waits = waits

    @asynccontextmanager
    async def held(self, project_id: int) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises DestinationError."""
        holder = str(uuid.uuid4())
        if not await self._take(project_id, holder):
            async with self._waits.during(_TAKEN):
                while True:
                    await asyncio.sleep(_POLL_S)
                    if await self._take(project_id, holder):
                        break
        try:
            async with beside(self._renew(project_id, holder)):
                yield
        finally:
            await asyncio.shield(self._give_back(project_id, holder))

    async def _take(self, project_id: int, holder: str) -> bool:
        for attempt in self._database.attempts():
            async with attempt:
                taken = await self._try_to_take(project_id, holder)
        return taken

    async def _try_to_take(self, project_id: int, holder: str) -> bool:
        slots = self._slots
        until = func.clock_timestamp() + timedelta(seconds=TTL_S)
        async with self._database.transaction() as connection:
            for place in range(1, PLACES + 1):
                row = insert(slots).values(
                    project_id=project_id, place=place, holder=holder, expires_at=until
                )
                taken = await connection.execute(
                    row.on_conflict_do_update(
                        constraint="query_slots_pkey",
                        set_={"holder": holder, "expires_at": until},
                        where=or_(
                            slots.c.holder.is_(None),
                            slots.c.holder == holder,
                            slots.c.expires_at <= func.clock_timestamp(),
                        ),
                    )
                )
                if taken.rowcount == 1:
                    return True
        return False

    async def _renew(self, project_id: int, holder: str) -> None:
        until = func.clock_timestamp() + timedelta(seconds=TTL_S)
        while True:
            await asyncio.sleep(TTL_S / 3)
            try:
                await self._set(project_id, holder, {"expires_at": until})
            except DestinationUnavailable:
                continue  # without it one query more may run; the server refuses a fourth

    async def _give_back(self, project_id: int, holder: str) -> None:
        try:
            await self._set(project_id, holder, {"holder": None})
        except DestinationUnavailable:
            return  # it runs out by itself

    async def _set(self, project_id: int, holder: str, values: Mapping[str, object]) -> None:
        slots = self._slots
        async with self._database.transaction() as connection:
            await connection.execute(
                update(slots)
                .where(slots.c.project_id == project_id, slots.c.holder == holder)
                .values(dict(values))
            )
