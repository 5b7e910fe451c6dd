"""A snapshot: everything a stream has, read as a whole at every sync.

A list without a change marker does not say what changed, so all of it is read; unchanged rows are
not touched. What a complete reading did not show is looked at once more before it is marked
deleted: asked for by its key where the API offers that (`Resource.one`), else by a second reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from etl.core.expected import accepted_of, lacking_after, lacking_of
from etl.core.forecast import Forecast
from etl.core.page import Batch, Page
from etl.core.place import Evidence, Place, SnapshotPlace
from etl.errors import KeyRefused, SourceError, StreamUnavailable
from etl.extractors.single import SingleReader
from etl.extractors.snapshot import SnapshotReader, fingerprint_of
from etl.loaders.loader import Closing, Commit
from etl.loaders.parents import Parent
from etl.runs.forecasts import forecast_snapshot
from etl.runs.judging import Accepted, Judging
from etl.runs.load import Answers
from etl.runs.report import Ending, ending_of_tally

_log = structlog.get_logger(__name__)

# So many suspects are asked for before what was learnt is committed, a count.
FEW = 20


class SnapshotCheckpoint(Struct, frozen=True):
    """What a checkpoint keeps of a snapshot.

    vouches: False once a record was met that does not tell which one it is.
    """

    place: Mapping[str, Any]
    vouches: bool


class SnapshotWork(Judging):
    """One execution of a snapshot: what is left of a broken one, else all of it."""

    _vouches = True
    # Whether of a list that grows only what is new is read, and lists whose parent is unchanged are
    # left out.
    _bounded = True

    async def run(self) -> Ending:
        """Read and load every resource of the stream. Raises EtlError."""
        options, client = self._options, self._tools.client
        watermark = await self._watermark()
        self.accepted = Accepted.of(watermark.traits)
        self._lacking = lacking_of(watermark.traits)
        self._accepted_counts = accepted_of(watermark.traits)
        if self.stream.name in options.accept_counts:
            for name, lacking in self._lacking.items():
                self._accepted_counts[name] = self._accepted_counts.get(name, 0) + lacking.rows
        fingerprint = fingerprint_of(self.stream, options.prefix, options.page_size_records)
        forecast = await forecast_snapshot(
            self._tools, self.stream, self.lease.unit.project_id, watermark, spares=self._bounded
        )
        place = self._resumed(fingerprint)
        self._expect(Forecast(forecast.requests, forecast.exact and place is None))
        if place is not None:
            try:
                return await self._go_through(place)
            except SourceError as exc:
                # The error may be permanent, so earlier stages are read again too.
                if isinstance(exc, KeyRefused):
                    raise
                _log.warning("snapshot.restarted", reason=exc.message)
        self._vouches = True
        place = SnapshotPlace(fingerprint=fingerprint, began_at=client.source_now, at=client.now)
        return await self._go_through(place)

    def _resumed(self, fingerprint: str) -> SnapshotPlace | None:
        """Return where a broken snapshot goes on; None if there is none worth going on from."""
        try:
            kept = msgspec.convert(self.lease.position, SnapshotCheckpoint)
        except ValueError:
            return None
        place = SnapshotPlace.resume_at(kept.place, fingerprint, self._tools.client.now)
        if place is None or place.is_beginning:
            return None
        self._vouches = kept.vouches
        return place

    async def _go_through(self, place: SnapshotPlace) -> Ending:
        while place.stage < len(self.stream.resources):
            resource = self.stream.resources[place.stage]
            self._turn_to(resource)
            single = SingleReader(
                self._tools.client,
                resource,
                self.lease.unit.project_id,
                prefix=self._options.prefix,
                keep_fields=self._options.keep_fields,
            )
            reader = self._reader(single)
            spares = self._bounded and resource.skips
            if spares and place.parents == 0 and not place.ended:
                # Before any list is asked for, as its parent may change while it is read.
                await self._commit_alone(place, opens_lists=True, follow_parents=True)
            pages = reader.pages(place, doubts=resource.mirrors)
            try:
                place = await self._load_pages(pages, place)
            except StreamUnavailable:
                if not reader.has_read:
                    # Or the next sync would ask here, fail again, and ask for everything anew.
                    await self._leave()
                raise
            if place.complete:
                place = await self._judge(single, reader, place)
                if resource.owned:
                    await self._commit_alone(place, follow_parents=True)
                if spares and place.complete and self._vouches:
                    await self._commit_alone(place, settles_lists=True)
            place, self._vouches = place.next_stage(), True
        self._turn_to(self.stream.resources[-1])
        await self._close_snapshot(place)
        return ending_of_tally(self._tally, self.stream.name)

    def _reader(self, single: SingleReader) -> SnapshotReader:
        project_id = self.lease.unit.project_id
        spares = self._bounded and single.resource.skips
        spared_by = self.stream.name if spares else None

        async def next_parents(after: Sequence[Any] | None, limit: int) -> Sequence[Parent]:
            parents = single.resource.parents
            assert parents is not None
            for attempt in self._tools.database.attempts():
                async with attempt:
                    found = await self._tools.parents.after(
                        project_id, parents, after, limit, spared_by
                    )
            return found

        async def bound_of(parent: Parent) -> datetime | None:
            if not self._bounded:
                return None
            for attempt in self._tools.database.attempts():
                async with attempt:
                    state = await self._tools.growing.state(
                        self.lease.unit, single.resource, parent
                    )
            return state.bound(self._tools.client.clocks.latest)

        return SnapshotReader(
            self._tools.client,
            single,
            self._options.page_size_records,
            next_parents,
            self._accepted_counts,
            bound_of,
            spares,
        )

    def _note(self, page: Page, batch: Batch) -> Sequence[str]:
        # A record that does not tell its key may be any of those that are stored.
        self._vouches &= all(item.named for item in batch.rejected)
        rows = batch.rows.get(self._resource.tables[0].name, [])
        return [*map(self._resource.row_key, rows), *(item.key for item in batch.rejected)]

    def _position(self, place: Place | None) -> Mapping[str, Any]:
        checkpoint = SnapshotCheckpoint(super()._position(place), self._vouches)
        return dict(msgspec.to_builtins(checkpoint))

    async def _judge(
        self, single: SingleReader, reader: SnapshotReader, first: SnapshotPlace
    ) -> SnapshotPlace:
        """Mark what is gone: what this reading did not show, and a second look does not either.

        Each record is asked for by its own request; only where the API offers none does a second
        reading decide. Returns the place after both.
        """
        if not self._resource.mirrors:
            return first
        absence = await self._weigh()
        if absence is None or not absence.suspects:
            return first
        # Each answer below renews the age of what is read.
        first = replace(first, at=self._tools.client.now)
        asks, place = self._resource.one is not None, first
        if not asks or first.records == 0:
            # Also an answer without any record is believed only when it is given twice.
            pages = reader.pages(first.begin_stage(), doubts=False)
            second: SnapshotPlace = await self._load_pages(pages, kept=first)
            place = replace(second, pages=first.pages, parents=first.parents)
            if not place.complete:
                return place
        if asks:
            await self._ask_for(absence, FEW, single.confirm, first)
        elif not self._vouches:
            self._tally.unjudged = True
        else:
            async for keys in self._suspects():
                nothing = Page([], False, self._tools.client.now, 0, evidence=Evidence([]))
                await self._load([nothing], first, answers=Answers(gone=keys))
        return place

    async def _commit_alone(
        self,
        place: SnapshotPlace,
        *,
        follow_parents: bool = False,
        opens_lists: bool = False,
        settles_lists: bool = False,
    ) -> None:
        """Commit `place` without any page; the others are as in `Commit`."""
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=self._tools.client.now,
            position=self._position(place),
            requests=requests,
            bytes_read=bytes_read,
            follow_parents=follow_parents,
            opens_lists=opens_lists,
            settles_lists=settles_lists,
        )
        await self._loader.load(self.lease, Batch([]), commit)

    async def _close_snapshot(self, place: SnapshotPlace) -> None:
        """Say as of when everything is known."""
        self._tally.complete &= place.complete
        self._tally.cut = place.cut
        lacking = lacking_after(self._lacking, place.lacking)
        self._tally.lacking = list(lacking.values())
        if place.skipped:
            why = "something other than PostHog answered"
            self._tally.skipped = (place.skipped + len(self._unanswered), why)
        known = place.complete and not self._clocks_disagree()
        began_at = min(place.began_at, self._tools.client.source_now)
        await self._note_accepted()
        closing = Closing(
            complete=[],
            tail_until=began_at if known else None,
            swept=None,
            traits={
                "took": place.took,
                "lacking": {name: each.as_json() for name, each in lacking.items()},
                "accepted_count": self._accepted_counts,
                **self.accepted.traits(),
            },
        )
        await self._close(closing)
        _log.info("snapshot.closed", complete=place.complete)
