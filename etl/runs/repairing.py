"""Repair a copy: load again what a comparison found to differ, and mark what is gone."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from etl.core.place import SnapshotPlace
from etl.core.stream import Parents
from etl.extractors.protocol import id_batches
from etl.loaders.leases import Lease
from etl.loaders.parents import Parent
from etl.runs.comparing import Request, parents_of, place_of
from etl.runs.judging import AT_ONCE, WITNESSES, Accepted
from etl.runs.report import Ending, ending_of_tally
from etl.runs.rotation import RotationWork
from etl.runs.snapshot import SnapshotWork
from etl.runs.windows import WindowsWork
from etl.runs.work import Assignment, stopped


class RepairWindows(WindowsWork):
    """Loads again what differs, and marks deleted what the source does not have."""

    def __init__(self, given: Assignment, lease: Lease, request: Request) -> None:
        super().__init__(given, lease)
        self._differences = request.comparer(self.stream.name, self._resource).differences
        self._compared = replace(lease.unit, name=request.unit)
        assert request.before is not None
        self._windows = request.before.windows

    async def run(self) -> Ending:
        """Ask for the records that differ by their keys, and load them. Raises EtlError."""
        watermark = await self._watermark()
        self.accepted = Accepted.of(watermark.traits)
        self._traits = dict(watermark.traits or {})
        reader = self._new_reader()
        known = await self._loader.known(self.lease, WITNESSES)
        place = place_of(reader, self._windows, known)
        ask = partial(reader.confirm, place)
        await self._differences.suspect_surplus(self._compared, self.lease.unit)
        absence = await self._weigh()
        if absence is not None and absence.suspects:
            await self._ask_for(absence, AT_ONCE, ask, place)
        await self._loader.withhold(self.lease)
        done: list[str] = []
        while keys := await self._differences.to_load(self._compared, AT_ONCE, done):
            if self._stop.is_set():
                raise stopped()
            keys = next(id_batches(keys))
            found = await ask(keys, [key for key in known if key not in keys])
            if found.failed:
                self._skip(found.failed, found.why_failed)
            await self._load([found.page], place)
            done += keys
        await self._leave()
        return ending_of_tally(self._tally, self.stream.name)


class RepairRotation(RotationWork):
    """Checks again the resources that differ."""

    def __init__(self, given: Assignment, lease: Lease, request: Request) -> None:
        super().__init__(given, lease)
        self._differences = request.comparer(self.stream.name, self._resource).differences
        self._compared = replace(lease.unit, name=request.unit)

    async def _turn(self, parents: Parents) -> list[Parent]:
        found = await self._differences.to_load(self._compared, AT_ONCE, ())
        project_id = self.lease.unit.project_id
        return await parents_of(self._tools, self._resource, project_id, found)


class RepairSnapshot(SnapshotWork):
    """Reads all lists again, from the first on and to their ends."""

    _bounded = False

    def _resumed(self, fingerprint: str) -> SnapshotPlace | None:
        """Return None: what an interrupted sync has passed may differ, too."""
        return None
