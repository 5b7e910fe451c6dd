"""One writer per unit (P10): leases, and the fence that makes them safe.

A lease alone cannot stop a runner that stood still while its lease ran out. So every takeover
raises the unit's fence, and the last statement of every batch updates the checkpoint under the
fence its runner holds: exactly one row, or the whole transaction is rolled back.
All clocks are the database's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from etl.core.stream import TAIL
from etl.errors import LeaseHeld
from etl.loaders.database import Database
from etl.loaders.tables import Tables


@dataclass(frozen=True, slots=True)
class Unit:
    """project x stream x window: what is leased, checkpointed and reported."""

    project_id: int
    stream: str
    window: str = TAIL

    @property
    def key(self) -> dict[str, Any]:
        """The unit's primary key in the bookkeeping tables."""
        return {"project_id": self.project_id, "stream": self.stream, "unit": self.window}

    def of(self, table: Table) -> ColumnElement[bool]:
        """Return the condition that finds the unit in a bookkeeping table."""
        return and_(*(table.c[name] == value for name, value in self.key.items()))


@dataclass(slots=True)
class Lease:
    """A unit held by a run: `fence` to commit under, `batch` the number of the last one committed.

    position is where an unfinished reading goes on, None when there is none.
    """

    unit: Unit
    run_id: str
    fence: int
    batch: int
    position: Mapping[str, Any] | None


class Leases:
    """Takes, renews and gives back leases of `ttl_s` seconds."""

    def __init__(self, database: Database, tables: Tables, ttl_s: float) -> None:
        self._database = database
        self._tables = tables
        self.ttl_s = ttl_s

    async def acquire(self, unit: Unit, run_id: str, command: str) -> Lease:
        """Take the unit and open its run, closing the stream's runs that died. Raises LeaseHeld.

        Safe to repeat under the same run_id, also when the answer to the first COMMIT was lost.
        """
        async with self._database.transaction() as connection:
            leases, checkpoints, runs = (
                self._tables.leases,
                self._tables.checkpoints,
                self._tables.runs,
            )
            take = insert(leases).values(**unit.key, holder=run_id, expires_at=self._expiry())
            taken = await connection.execute(
                take.on_conflict_do_update(
                    constraint="leases_pkey",
                    set_={"holder": run_id, "expires_at": self._expiry()},
                    where=or_(
                        leases.c.holder.is_(None),
                        leases.c.holder == run_id,
                        leases.c.expires_at < func.clock_timestamp(),
                    ),
                )
            )
            if taken.rowcount == 0:
                raise LeaseHeld(
                    f"Another run holds {unit.stream} of project {unit.project_id}",
                    remedy="Wait for it, or look at it with `posthog-etl status`",
                )
            fenced = insert(checkpoints).values(
                **unit.key, fence=1, batch=0, position=None, updated_at=func.now()
            )
            row = (
                await connection.execute(
                    fenced.on_conflict_do_update(
                        constraint="checkpoints_pkey",
                        set_={
                            "fence": checkpoints.c.fence + 1,
                            "batch": 0,
                            "updated_at": func.now(),
                        },
                    ).returning(checkpoints.c.fence, checkpoints.c.position)
                )
            ).one()
            await connection.execute(
                update(runs)
                .where(
                    runs.c.project_id == unit.project_id,
                    runs.c.stream == unit.stream,
                    runs.c.status == "running",
                    # Also those of other windows, which nobody may ever take again.
                    ~exists().where(
                        leases.c.project_id == runs.c.project_id,
                        leases.c.stream == runs.c.stream,
                        leases.c.unit == runs.c.unit,
                        leases.c.holder == runs.c.id,
                        leases.c.expires_at >= func.clock_timestamp(),
                    ),
                )
                .values(
                    status="failed",
                    ended_at=func.clock_timestamp(),
                    reason="the process ended without a word",
                )
            )
            await connection.execute(
                insert(runs)
                .values(
                    **unit.key,
                    id=run_id,
                    command=command,
                    status="running",
                    started_at=func.clock_timestamp(),
                    records_read=0,
                    rows_inserted=0,
                    rows_updated=0,
                    rejected=0,
                    requests=0,
                    bytes_read=0,
                    waited_s=0.0,
                )
                .on_conflict_do_nothing(constraint="runs_pkey")
            )
        return Lease(unit, run_id, fence=row.fence, batch=0, position=row.position)

    async def renew(self, lease: Lease) -> bool:
        """Prolong the lease; False when another run has taken the unit over. Safe to repeat."""
        leases = self._tables.leases
        async with self._database.transaction() as connection:
            renewed = await connection.execute(
                update(leases)
                .where(lease.unit.of(leases), leases.c.holder == lease.run_id)
                .values(expires_at=self._expiry())
            )
        return renewed.rowcount == 1

    async def release(self, lease: Lease) -> None:
        """Give the unit back; does nothing when it is no longer ours. Safe to repeat."""
        leases = self._tables.leases
        async with self._database.transaction() as connection:
            await connection.execute(
                update(leases)
                .where(lease.unit.of(leases), leases.c.holder == lease.run_id)
                .values(holder=None)
            )

    async def held(self, unit: Unit) -> bool:
        """Tell whether a living run holds the unit."""
        leases = self._tables.leases
        async with self._database.transaction() as connection:
            found = await connection.execute(
                select(leases.c.holder).where(
                    unit.of(leases),
                    leases.c.holder.is_not(None),
                    leases.c.expires_at >= func.clock_timestamp(),
                )
            )
        return found.first() is not None

    def _expiry(self) -> ColumnElement[Any]:
        return func.clock_timestamp() + timedelta(seconds=self.ttl_s)
