"""A rotation: one request a resource, so at every sync some of them, each one in its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from etl.core.forecast import Forecast
from etl.core.page import Batch, Page, Record
from etl.errors import StreamUnavailable
from etl.extractors.protocol import is_record_closed
from etl.extractors.snapshot import SnapshotExtractor
from etl.loaders.loader import Closing, Commit
from etl.loaders.parents import Parent
from etl.runs.prefetch import prefetched
from etl.runs.report import Ending, honest_ending
from etl.runs.work import Work, stopped

ANSWERS_A_BATCH = 50


class RotationWork(Work):
    """One execution of a rotation. Which resources had their turn commits with their rows."""

    # What the pages that are fetched and not loaded yet are about, in their order.
    _asked: deque[list[str]]

    async def run(self) -> Ending:
        """Ask for the resources whose turn it is. Raises EtlError."""
        plan, tools, unit = self._plan, self._tools, self.lease.unit
        (resource,) = self.stream.resources
        parents = resource.parents
        assert parents is not None
        self._asked = deque()
        began_at = tools.client.source_now
        turn = await tools.database.repeat(
            lambda: tools.parents.in_turn(
                unit.project_id,
                unit.stream,
                parents,
                plan.rotation_requests,
                plan.recheck_after,
            )
        )
        self._expect(Forecast(len(turn), exact=True))
        extractor = SnapshotExtractor(
            tools.client,
            resource,
            unit.project_id,
            prefix=plan.prefix,
            page_size_records=plan.page_size_records,
            next_parents=_no_parents,
        )
        loader = tools.loader(unit.stream, resource)
        async with prefetched(
            self._pages(extractor, turn), plan.buffer_bytes, self._stop
        ) as fetched:
            async for page in fetched:
                asked = self._asked.popleft()
                await self._commit(loader, page, resource.transform(page), checked=asked)
        if self._stop.is_set():
            raise stopped()
        turns = await tools.database.repeat(
            lambda: tools.parents.turns(unit.project_id, unit.stream, parents, plan.recheck_after)
        )
        # Everything is known as of the oldest check, and not before each one had its turn.
        known_at = began_at if turns.resources == 0 else turns.oldest_check
        requests, bytes_read = self.spent()
        commit = Commit(
            observed_at=tools.client.now,
            position=None,
            requests=requests,
            bytes_read=bytes_read,
            follow_parents=True,
            closing=Closing(
                complete=[],
                tail_until=None if turns.never_checked else known_at,
                swept=None,
                traits={},
            ),
        )
        await loader.load(self.lease, Batch([]), commit)
        return honest_ending(self._tally, self.stream.name)

    async def _pages(
        self, extractor: SnapshotExtractor, turn: Sequence[Parent]
    ) -> AsyncIterator[Page]:
        """Yield the answers for these resources, some at a time.

        What the key's owner may not see has had its turn as soon as anything else is answered;
        until then it may be that nothing can be seen at all.
        """
        refused: StreamUnavailable | None = None
        answered = False
        (name,) = extractor.parent_fields
        asked: list[str] = []
        for first in range(0, len(turn), ANSWERS_A_BATCH):
            part = turn[first : first + ANSWERS_A_BATCH]
            observed_at, source_at = self._tools.client.now, self._tools.client.source_now
            records: list[Record] = []
            is_dirty, size_bytes = False, 0
            for parent in part:
                try:
                    found = await extractor.object_of(parent)
                except StreamUnavailable as exc:
                    if not is_record_closed(exc):
                        raise
                    refused = exc
                    continue
                answered = True
                if found is not None:  # else its own stream finds out that it is gone
                    record, answer, dirty = found
                    records.append(record)
                    is_dirty |= dirty
                    size_bytes += len(answer.body)
            asked += [str(parent[name]) for parent in part]
            if not answered:
                continue
            self._asked.append(asked)
            asked = []
            yield Page(
                records,
                is_dirty,
                observed_at,
                size_bytes,
                position={},
                last=False,
                source_at=source_at,
            )
        if refused is not None and not answered:
            raise refused


async def _no_parents(place: Sequence[Any] | None, limit: int) -> Sequence[Parent]:
    return ()
