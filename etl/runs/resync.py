"""Read a stream anew: everything it has, whatever is stored and whatever was read before.

The rows stay while it is read. Each is compared in full with what is stored (hashes are not
believed), and at the end what is gone is marked. It is a unit of its own, so an interrupted one
goes on, and a sync may run beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from etl.core.coverage import Span
from etl.core.place import Place
from etl.core.stream import RESYNC, Mode, Parents
from etl.core.window import Window
from etl.loaders.history import Watermark
from etl.loaders.leases import Lease
from etl.loaders.parents import Parent
from etl.runs.judging import AT_ONCE, Accepted
from etl.runs.load import Work
from etl.runs.query import ResyncQuery
from etl.runs.report import Ending, Report, ending_of_tally
from etl.runs.rotation import RotationWork
from etl.runs.snapshot import SnapshotWork
from etl.runs.sync import execute_unit
from etl.runs.windows import WindowsWork
from etl.runs.work import Assignment

_HOUR = timedelta(hours=1)


async def resync_stream(given: Assignment) -> Report:
    """Read the stream anew. Never raises EtlError. Safe to repeat: an interrupted one goes on."""
    options = replace(given.options, believes_hashes=False)
    make = _WORK[given.stream.mode]
    return await execute_unit(replace(given, options=options), RESYNC, RESYNC, make)


class ResyncWindows(WindowsWork):
    """Reads all recordings up to where the next sync goes on, as one window."""

    async def run(self) -> Ending:
        """Read and load it, on from where an earlier run was interrupted. Raises EtlError."""
        watermark = await self._watermark()
        self.accepted = Accepted.of(watermark.traits)
        self._traits = dict(watermark.traits or {})
        reader = self._chain.reader = self._new_reader()
        left = reader.resume(self.lease.position)
        window = Window(*self._everything(watermark)) if left is None else left.window
        await self._read(reader, window, watermark, left)
        return ending_of_tally(self._tally, self.stream.name)

    def _everything(self, watermark: Watermark) -> Span:
        """Return the time that a first sync would read, and what backfills have read before it."""
        now = self._tools.client.source_now
        until = watermark.tail_until or now
        since = min(self._options.start, watermark.complete.since or until)
        return Span(since, max(until, since + _HOUR))


class ResyncRotation(RotationWork):
    """Asks about every resource once more."""

    def __init__(self, given: Assignment, lease: Lease) -> None:
        super().__init__(given, lease)
        began = (lease.position or {}).get("began_at")
        self._began_at = datetime.fromisoformat(began) if began else self._tools.client.now

    async def run(self) -> Ending:
        """Ask about those that were not asked about since this resync began. Raises EtlError."""
        parents = self._resource.parents
        assert parents is not None
        source_at = self._tools.client.source_now
        asked = set[str]()
        while turn := await self._next(parents, asked):
            before = await self._rotation_state(parents)
            await self._check(parents, turn, answered=before.never_checked < before.resources)
        return await self._close_rotation(parents, source_at)

    async def _next(self, parents: Parents, asked: set[str]) -> list[Parent]:
        """Return the next resources to ask about, none of them twice."""
        unit, (name,) = self.lease.unit, parents.fields
        for attempt in self._tools.database.attempts():
            async with attempt:
                found = await self._tools.parents.unchecked_since(
                    unit.project_id, unit.stream, parents, self._began_at, AT_ONCE
                )
        turn = [parent for parent in found if str(parent[name]) not in asked]
        asked.update(str(parent[name]) for parent in turn)
        return turn

    def _position(self, place: Place | None) -> Mapping[str, Any]:
        return {"began_at": self._began_at.isoformat()}


class ResyncSnapshot(SnapshotWork):
    """Reads every list to its end."""

    _bounded = False


_WORK: Mapping[Mode, type[Work]] = {
    Mode.WINDOWS: ResyncWindows,
    Mode.SNAPSHOT: ResyncSnapshot,
    Mode.ROTATION: ResyncRotation,
    Mode.QUERY: ResyncQuery,
}
