"""A rotation: one request a resource, so at every sync some of them, each one in its turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from etl.core.forecast import Forecast
from etl.core.page import Batch, Page, Record
from etl.core.stream import Parents
from etl.errors import (
    EtlError,
    RequestRefused,
    SourceError,
    SourceUnavailable,
    StreamUnavailable,
)
from etl.extractors.client import Client
from etl.extractors.protocol import Answer, is_about_the_stream, is_record_closed
from etl.extractors.snapshot import GATHERED_S, SnapshotExtractor
from etl.loaders.loader import Closing, Commit
from etl.loaders.parents import Parent, Turns
from etl.runs.prefetch import prefetched
from etl.runs.report import Ending, honest_ending
from etl.runs.work import Work, stopped

ANSWERS_A_BATCH = 50
# After so many failures one after the other it is the server, and not the resources.
FAILURES_IN_A_ROW = 3
# If so many resources and no fewer are refused at once, it is not only some that may not be seen.
TELLING = 10


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
        before = await self._turns(parents)
        known = before.never_checked < before.resources
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
            self._pages(extractor, turn, known=known), plan.buffer_bytes, self._stop
        ) as fetched:
            async for page in fetched:
                asked = self._asked.popleft()
                await self._commit(loader, page, resource.transform(page), checked=asked)
        if self._stop.is_set():
            raise stopped()
        turns = await self._turns(parents)
        # Everything is known as of the oldest check, and not before each one had its turn.
        known_at = began_at if turns.resources == 0 else turns.oldest_check
        if self._clocks_disagree():
            known_at = None
        elif known_at is not None:
            known_at = min(known_at, tools.client.source_now)
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

    async def _turns(self, parents: Parents) -> Turns:
        tools, unit = self._tools, self.lease.unit
        return await tools.database.repeat(
            lambda: tools.parents.turns(
                unit.project_id, unit.stream, parents, self._plan.recheck_after
            )
        )

    async def _pages(
        self, extractor: SnapshotExtractor, turn: Sequence[Parent], *, known: bool
    ) -> AsyncIterator[Page]:
        """Yield the answers for these resources, some at a time.

        One that is refused or fails has had its turn, and keeps no other waiting, as soon as
        anything is answered; until then it may be the stream that is not to be had. known: whether
        anything was answered in an earlier turn. What is answered is kept whatever comes after it.
        """
        trouble = _Trouble(answered=known)
        (name,) = extractor.parent_fields
        part = _Part(self._tools.client)
        try:
            for parent in turn:
                try:
                    found = await extractor.object_of(parent)
                except (StreamUnavailable, SourceUnavailable, RequestRefused) as exc:
                    trouble.note(exc)
                else:
                    trouble.end()
                    if found is not None:  # else its own stream finds out that it is gone
                        part.add(*found)
                part.asked.append(str(parent[name]))
                if trouble.answered and part.is_full:
                    self._asked.append(part.asked)
                    yield part.page()
                    part = _Part(self._tools.client)
            trouble.judge(len(turn))
        except EtlError as exc:
            about_all = isinstance(exc, SourceError) and is_about_the_stream(exc)
            if part.asked and (trouble.answered or not (about_all or _is_closed(exc))):
                self._asked.append(part.asked)
                yield part.page()
            raise
        self._tally.passed_over = trouble.passed_over
        if part.asked:
            self._asked.append(part.asked)
            yield part.page()


class _Part:
    """The answers that one page holds."""

    def __init__(self, client: Client) -> None:
        self._observed_at, self._source_at = client.now, client.source_now
        self._began_s = time.monotonic()
        self._records: list[Record] = []
        self._is_dirty = False
        self._size_bytes = 0
        self.asked: list[str] = []

    def add(self, record: Record, answer: Answer, dirty: bool) -> None:
        self._records.append(record)
        self._is_dirty |= dirty
        self._size_bytes += len(answer.body)

    @property
    def is_full(self) -> bool:
        return len(self.asked) >= ANSWERS_A_BATCH or time.monotonic() - self._began_s >= GATHERED_S

    def page(self) -> Page:
        return Page(
            self._records,
            self._is_dirty,
            self._observed_at,
            self._size_bytes,
            position={},
            last=False,
            source_at=self._source_at,
        )


class _Trouble:
    """Tells the trouble of one resource from that of the stream."""

    def __init__(self, *, answered: bool) -> None:
        self.answered = answered
        self.passed_over: tuple[int, str] | None = None
        self._in_a_row = 0
        self._refused: list[SourceError] = []

    def end(self) -> None:
        """Note an answer."""
        self.answered, self._in_a_row = True, 0

    def note(self, exc: SourceError) -> None:
        """Note a failure; raises it when it is the stream's, or the server's."""
        if is_record_closed(exc):
            self._refused.append(exc)
            return  # the key's owner may not see this one, and that is no fault
        self._in_a_row += 1
        if is_about_the_stream(exc) or self._in_a_row >= FAILURES_IN_A_ROW:
            raise exc
        count = 0 if self.passed_over is None else self.passed_over[0]
        self.passed_over = (count + 1, exc.message)

    def judge(self, resources: int) -> None:
        """Raise the last refusal when all of these resources were refused."""
        everything = self._refused and len(self._refused) == resources
        if everything and (not self.answered or resources >= TELLING):
            raise self._refused[-1]


def _is_closed(exc: EtlError) -> bool:
    return isinstance(exc, SourceError) and is_record_closed(exc)


async def _no_parents(place: Sequence[Any] | None, limit: int) -> Sequence[Parent]:
    return ()
