"""A snapshot: everything a stream has, read as a whole at every sync.

A list without a change marker does not say what changed, so all of it is read; unchanged rows are
not touched. What a complete reading did not show is looked at once more before it is marked
deleted: asked for by its key where the API offers that (`Resource.one`), else by a second reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from etl.core.expected import Lacking, accepted_of, lacking_after, lacking_of
from etl.core.forecast import Forecast
from etl.core.page import Batch, Page, Sighting
from etl.core.stream import Resource
from etl.errors import KeyRefused, SourceError
from etl.extractors.snapshot import Snapshot, SnapshotExtractor, fingerprint_of
from etl.loaders.history import Watermark
from etl.loaders.loader import Closing, Commit, Loader
from etl.loaders.parents import Parent
from etl.runs.judging import Accepted, Judging
from etl.runs.prefetch import prefetched
from etl.runs.report import Ending, honest_ending
from etl.runs.work import stopped

_log = structlog.get_logger(__name__)

# So many suspects are asked for before what was learnt is committed, a count.
FEW = 20


class SnapshotWork(Judging):
    """One execution of a snapshot: what is left of a broken one, else all of it."""

    # By list: what it lacked in the last run, and how many rows it may count and not show.
    _lacking: dict[str, Lacking]
    _accepted_counts: dict[str, int]

    async def run(self) -> Ending:
        """Read and load every resource of the stream. Raises EtlError."""
        plan, client = self._plan, self._tools.client
        watermark = await self._watermark()
        self.accepted = Accepted.of(watermark.traits)
        self._lacking = lacking_of(watermark.traits)
        self._accepted_counts = accepted_of(watermark.traits)
        if self.stream.name in plan.accept_counts:
            for name, lacking in self._lacking.items():
                self._accepted_counts[name] = self._accepted_counts.get(name, 0) + lacking.rows
        fingerprint = fingerprint_of(self.stream, plan.prefix, plan.page_size_records)
        self._expect(await foresee(self._tools, self.stream, self.lease.unit.project_id, watermark))
        resumed = Snapshot.resume(self.lease.position, fingerprint, client.now)
        if resumed is not None and self.forecast is not None:
            self.forecast = replace(self.forecast, exact=False)
            try:
                return await self._go_through(resumed)
            except SourceError as exc:
                # It may be so every time; what was read before must not stay as it was for that.
                if isinstance(exc, KeyRefused):
                    raise
                _log.warning("snapshot.restarted", reason=exc.message)
        return await self._go_through(Snapshot(fingerprint, began_at=client.source_now))

    async def _go_through(self, snapshot: Snapshot) -> Ending:
        while snapshot.stage < len(self.stream.resources):
            resource = self.stream.resources[snapshot.stage]
            loader = self._tools.loader(self.stream.name, resource)
            extractor = self._extractor(resource)
            await self._read(extractor, loader, resource, snapshot)
            if resource.mirrors and snapshot.complete:
                await self._judge_absent(extractor, loader, resource, snapshot)
            snapshot.next_stage()
        await self._close(snapshot)
        return honest_ending(self._tally, self.stream.name)

    def _extractor(self, resource: Resource) -> SnapshotExtractor:
        project_id = self.lease.unit.project_id

        async def next_parents(place: Sequence[Any] | None, limit: int) -> Sequence[Parent]:
            parents = resource.parents
            assert parents is not None
            return await self._tools.database.repeat(
                lambda: self._tools.parents.after(project_id, parents, place, limit)
            )

        return SnapshotExtractor(
            self._tools.client,
            resource,
            project_id,
            prefix=self._plan.prefix,
            page_size_records=self._plan.page_size_records,
            next_parents=next_parents,
            accepted=self._accepted_counts,
            keep_fields=self._plan.keep_fields,
        )

    async def _read(
        self,
        extractor: SnapshotExtractor,
        loader: Loader,
        resource: Resource,
        snapshot: Snapshot,
        *,
        again: bool = False,
    ) -> None:
        """Read the resource to its end and load it.

        again: to look for what the first reading did not show; the place kept is then the end of
        that one.
        """
        ended = snapshot.position(self._tools.client.now) if again else None
        vouches = True
        if again:
            snapshot.begin_stage()
        pages = extractor.pages(snapshot)
        async with prefetched(pages, self._plan.buffer_bytes, self._stop) as fetched:
            async for page in fetched:
                batch = resource.transform(page)
                # A record that does not tell its key may be any of those that are stored.
                vouches &= all(item.named for item in batch.rejected)
                position = dict(ended or page.position)
                position["vouches"] &= vouches
                sighting = page.sighting or Sighting([])
                begins = sighting.begins and resource.mirrors and not again
                sighting = replace(sighting, keys=_seen(resource, batch), begins=begins)
                page = replace(page, position=position, sighting=sighting)
                await self._commit(loader, page, batch)
                if self._stop.is_set():
                    break
        if self._stop.is_set():
            raise stopped()
        snapshot.vouches &= vouches

    async def _judge_absent(
        self,
        extractor: SnapshotExtractor,
        loader: Loader,
        resource: Resource,
        snapshot: Snapshot,
    ) -> None:
        """Mark what is gone: what this reading did not show, and a second look does not either.

        Where the API offers a request by key, each record is asked for by its own; only where it
        offers none does a second reading decide.
        """
        table = resource.tables[0].name
        absence = await self._weigh(loader, table)
        if absence is None or not absence.suspects:
            return
        asks = resource.one is not None
        position = snapshot.position(self._tools.client.now)
        if not asks or snapshot.records == 0:
            # Also an answer without any record is believed only when it is given twice.
            first = replace(snapshot)
            await self._read(extractor, loader, resource, snapshot, again=True)
            snapshot.pages, snapshot.parents = first.pages, first.parents
            if not snapshot.complete:
                return

        async def take(
            page: Page, gone: Sequence[str], there: Sequence[str], failed: Sequence[str]
        ) -> None:
            batch = resource.transform(page)
            sighting = Sighting([*_seen(resource, batch), *there])
            page = replace(page, position=position, sighting=sighting)
            await self._commit(loader, page, batch, gone=gone, checked=there, tried=failed)

        if asks:
            await self._ask_for(loader, table, absence, FEW, extractor.confirm, take)
            return
        if not snapshot.vouches:
            self._tally.unjudged = True
            return
        async for keys in self._suspects(loader):
            await take(_nothing(self._tools.client.now), keys, (), ())

    async def _close(self, snapshot: Snapshot) -> None:
        """Say as of when everything is known; the watermark moves here and nowhere else."""
        self._tally.complete &= snapshot.complete
        self._tally.cut = snapshot.cut
        lacking = lacking_after(self._lacking, snapshot.lacking)
        self._tally.lacking = list(lacking.values())
        if snapshot.passed_over:
            why = "something other than PostHog answered"
            self._tally.passed_over = (snapshot.passed_over + len(self._unanswered), why)
        known = snapshot.complete and not self._clocks_disagree()
        began_at = min(snapshot.began_at, self._tools.client.source_now)
        await self._note_accepted()
        loader = self._tools.loader(self.stream.name, self.stream.resources[-1])
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=self._tools.client.now,
            position=None,
            requests=requests,
            bytes_read=bytes_read,
            closing=Closing(
                complete=[],
                tail_until=began_at if known else None,
                swept=None,
                traits={
                    "took": snapshot.took,
                    "lacking": {name: each.as_json() for name, each in lacking.items()},
                    "accepted_count": self._accepted_counts,
                    **self.accepted.traits(),
                },
            ),
        )
        await loader.load(self.lease, Batch([]), commit)
        _log.info("snapshot.closed", complete=snapshot.complete)


async def foresee(tools: Any, stream: Any, project_id: int, watermark: Watermark) -> Forecast:
    """Return how many requests a snapshot takes: what the last one took, for as many parents.

    A lower bound before the first one. Raises DestinationError.
    """
    took = (watermark.traits or {}).get("took")
    if not isinstance(took, list) or len(took) != len(stream.resources):
        return Forecast(sum(len(r.lists) for r in stream.resources if r.parents is None), False)
    requests = 0
    for resource, (pages, parents) in zip(stream.resources, took, strict=True):
        if resource.parents is None:
            requests += pages
        else:
            now = await tools.parents.count(project_id, resource.parents)
            requests += round(pages * now / parents) if parents else now * len(resource.lists)
    return Forecast(requests, True)


def _seen(resource: Resource, batch: Batch) -> list[str]:
    rows = batch.rows.get(resource.tables[0].name, [])
    return [*map(resource.row_key, rows), *(item.key for item in batch.rejected)]


def _nothing(at: Any) -> Page:
    return Page([], False, at, size_bytes=0, position={}, last=False)
