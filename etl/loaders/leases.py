"""One writer per unit (P10): leases, and the fence that makes them safe.

A lease alone cannot stop a runner that stood still while its lease ran out. So every takeover
raises the unit's fence, and the last statement of every batch updates the checkpoint under the
fence its runner holds: exactly one row, or the whole transaction is rolled back.
All clocks are the database's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Table,
    Update,
    and_,
    cast,
    exists,
    extract,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert

from etl.core.statuses import Fault
from etl.core.stream import TAIL
from etl.errors import CommitsLost, EtlError, LeaseHeld, LeaseLost
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.run_files import RunFile, RunFiles
from etl.loaders.tables import Tables

_log = structlog.get_logger(__name__)

# The columns of a run that waits for nothing.
NO_WAIT: Mapping[str, Any] = dict.fromkeys(("waiting_for", "waiting_since", "waiting_until"))


class Unit(Struct, frozen=True):
    """project x stream x window: what is leased, checkpointed and reported."""

    project_id: int
    stream: str
    name: str = TAIL

    @property
    def key(self) -> dict[str, Any]:
        """The unit's primary key in the bookkeeping tables."""
        return {"project_id": self.project_id, "stream": self.stream, "unit": self.name}

    def of(self, table: Table) -> ColumnElement[bool]:
        """Return the condition that finds the unit in a bookkeeping table."""
        return and_(*(table.c[name] == value for name, value in self.key.items()))


class Lease(Struct):
    """A unit held by a run: `fence` to commit under, `batch` the number of the last one committed.

    position is where an unfinished reading goes on, None when there is none.
    """

    unit: Unit
    run_id: str
    fence: int
    batch: int
    position: Mapping[str, Any] | None
    command: str


class Leases:
    """Takes, renews and gives back leases of `ttl_s` seconds.

    run_files: by them a holder that died on this machine is known before its lease is out; without
    them every lease has to run out.
    """

    def __init__(
        self,
        database: Database,
        tables: Tables,
        ttl_s: float,
        run_files: RunFiles | None = None,
    ) -> None:
        self._database = database
        self._tables = tables
        self._run_files = run_files
        self._locked: dict[str, RunFile] = {}
        self.ttl_s = ttl_s

    async def acquire(self, unit: Unit, run_id: str, command: str) -> Lease:
        """Take the unit and open its run, closing the stream's runs that died. Raises LeaseHeld.

        Safe to repeat under the same run_id, also when the answer to the first COMMIT was lost.
        Whoever is done, or could not take it, calls `forget`.
        """
        if self._run_files is not None and run_id not in self._locked:
            created = await asyncio.to_thread(self._run_files.create, run_id)
            if created is not None:
                self._locked[run_id] = created
        try:
            return await self._acquire(unit, run_id, command)
        except LeaseHeld:
            found = await self._dead_holder(unit)
            if found is None:
                await self._remove_file(run_id)
                raise
        holder, file = found
        try:
            lease = await self._acquire(unit, run_id, command, dead=holder)
            _log.info("lease.inherited", holder=holder)
        except LeaseHeld:
            file.close()
            await self._remove_file(run_id)
            raise
        except BaseException:
            file.close()
            raise
        file.remove()
        return lease

    def forget(self, run_id: str) -> None:
        """Unlock the file of a run that is over. Safe to repeat.

        The file stays where the lease could not be given back, so that the next run need not wait.
        """
        if (file := self._locked.pop(run_id, None)) is not None:
            file.close()

    async def _remove_file(self, run_id: str) -> None:
        if (file := self._locked.pop(run_id, None)) is not None:
            await asyncio.to_thread(file.remove)

    async def _dead_holder(self, unit: Unit) -> tuple[str, RunFile] | None:
        """Return the run that holds the unit and its file, locked, when it certainly is dead."""
        leases = self._tables.leases
        async with self._database.transaction() as connection:
            found = await connection.execute(
                select(leases.c.holder, leases.c.run_file).where(unit.of(leases))
            )
            row = found.first()
        if self._run_files is None or row is None or row.holder is None or row.run_file is None:
            return None
        file = await asyncio.to_thread(self._run_files.of_dead_run, row.run_file, row.holder)
        return None if file is None else (row.holder, file)

    async def _acquire(
        self, unit: Unit, run_id: str, command: str, *, dead: str | None = None
    ) -> Lease:
        """Take the unit if it is free, if its lease is out, or if `dead` holds it."""
        runs = self._tables.runs
        async with self._database.transaction() as connection:
            taken = await connection.execute(self._taking(unit, run_id, dead))
            if taken.rowcount == 0:
                raise LeaseHeld(
                    f"Another run holds {unit.stream} of project {unit.project_id}",
                    remedy="Wait for it, or look at it with `posthog-etl status`",
                )
            row = (await connection.execute(self._fencing(unit))).one()
            await connection.execute(self._closing_the_dead(unit))
            await connection.execute(
                insert(runs)
                .values(**new_run(unit, run_id, command))
                .on_conflict_do_nothing(constraint="runs_pkey")
            )
        return Lease(unit, run_id, fence=row.fence, batch=0, position=row.position, command=command)

    def _taking(self, unit: Unit, run_id: str, dead: str | None) -> Insert:
        """Return the statement that takes the lease; it changes no row when another holds it."""
        leases, file = self._tables.leases, self._locked.get(run_id)
        ours = {
            "holder": run_id,
            "expires_at": self._expiry(),
            "run_file": None if file is None else str(file.path),
        }
        return (
            insert(leases)
            .values(**unit.key, **ours)
            .on_conflict_do_update(
                constraint="leases_pkey",
                set_=ours,
                where=or_(
                    leases.c.holder.is_(None),
                    leases.c.holder == run_id,
                    leases.c.expires_at < func.clock_timestamp(),
                    *([] if dead is None else [leases.c.holder == dead]),
                ),
            )
        )

    def _fencing(self, unit: Unit) -> ReturningInsert[Any]:
        """Return the statement that raises the fence, and returns it with the position."""
        checkpoints = self._tables.checkpoints
        return (
            insert(checkpoints)
            .values(**unit.key, fence=_new_fence(), batch=0, position=None, updated_at=func.now())
            .on_conflict_do_update(
                constraint="checkpoints_pkey",
                set_={
                    "fence": func.greatest(checkpoints.c.fence + 1, _new_fence()),
                    "batch": 0,
                    "updated_at": func.now(),
                },
            )
            .returning(checkpoints.c.fence, checkpoints.c.position)
        )

    def _closing_the_dead(self, unit: Unit) -> Update:
        """Return the statement that closes the stream's runs whose lease is out or another's."""
        leases, runs = self._tables.leases, self._tables.runs
        return (
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
                fault=Fault.DIED,
                **NO_WAIT,
            )
        )

    async def renew(self, lease: Lease) -> bool:
        """Prolong the lease; False when it is not ours any more (`loss`). Safe to repeat.

        Raises DestinationError.
        """
        leases = self._tables.leases
        async with self._database.transaction() as connection:
            renewed = await connection.execute(
                update(leases)
                .where(lease.unit.of(leases), leases.c.holder == lease.run_id)
                .values(expires_at=self._expiry())
            )
        return renewed.rowcount == 1

    async def loss(self, lease: Lease) -> EtlError:
        """Return why a lease is not ours any more; see `loss_of`. Raises DestinationError."""
        async with self._database.transaction() as connection:
            return await loss_of(connection, self._tables, lease)

    async def release(self, lease: Lease) -> None:
        """Give the unit back; does nothing when it is no longer ours. Safe to repeat.

        Raises DestinationError.
        """
        leases = self._tables.leases
        async with self._database.transaction() as connection:
            await connection.execute(
                update(leases)
                .where(lease.unit.of(leases), leases.c.holder == lease.run_id)
                .values(holder=None)
            )
        await self._remove_file(lease.run_id)

    async def held(self, unit: Unit) -> bool:
        """Tell whether a living run holds the unit. Raises DestinationError."""
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

    async def held_units(self, project_id: int, stream: str) -> list[str]:
        """Return the units of a stream that living runs hold. Raises DestinationError."""
        leases = self._tables.leases
        async with self._database.transaction() as connection:
            found = await connection.execute(
                select(leases.c.unit).where(
                    leases.c.project_id == project_id,
                    leases.c.stream == stream,
                    leases.c.holder.is_not(None),
                    leases.c.expires_at >= func.clock_timestamp(),
                )
            )
        return list(found.scalars())

    def _expiry(self) -> ColumnElement[Any]:
        return func.clock_timestamp() + timedelta(seconds=self.ttl_s)


def new_run(unit: Unit, run_id: str, command: str) -> dict[str, Any]:
    """Return the row of a run that begins now."""
    counts = ("records_read", "rows_inserted", "rows_updated", "rejected", "requests", "bytes_read")
    return {
        **unit.key,
        "id": run_id,
        "command": command,
        "status": "running",
        "started_at": func.clock_timestamp(),
        **dict.fromkeys(counts, 0),
        "waited_s": 0.0,
    }


def _new_fence() -> ColumnElement[int]:
    """Return a fence that was never given out before, in microseconds since 1970.

    Counting up from the stored one would give out the same one twice, once a server has crashed
    and lost a commit that it had confirmed.
    """
    return cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger())


async def loss_of(connection: AsyncConnection, tables: Tables, lease: Lease) -> EtlError:
    """Return why the unit is not held under this fence: LeaseLost or CommitsLost.

    A checkpoint that is behind what we have committed, or gone, was not moved by another run.
    """
    checkpoints, unit = tables.checkpoints, lease.unit
    found = await connection.execute(
        select(checkpoints.c.fence, checkpoints.c.batch).where(unit.of(checkpoints))
    )
    row = found.first()
    if row is not None and tuple(row) >= (lease.fence, lease.batch):
        return LeaseLost(
            f"Another run has taken over {unit.stream} of project {unit.project_id}, so nothing "
            "more was committed here"
        )
    return CommitsLost(
        f"Postgres has lost what this run of {unit.stream} had committed: the server crashed or "
        "was set back, with commits that were not on its disk",
        remedy="The next run reads that again. Set synchronous_commit to on at the server",
    )
