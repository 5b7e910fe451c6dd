"""A rotation: one request per resource, so each sync checks only some of the resources."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from etl.core.forecast import Forecast
from etl.core.page import Page, Record
from etl.core.stream import Parents
from etl.errors import (
    EtlError,
    RequestRefused,
    SourceError,
    SourceUnavailable,
    StreamUnavailable,
)
from etl.extractors.client import Client
from etl.extractors.protocol import Answer, is_about_the_stream, is_record_closed, names_the_project
from etl.extractors.single import SingleReader
from etl.extractors.snapshot import GATHERED_S
from etl.loaders.loader import Closing
from etl.loaders.parents import Parent, RotationState
from etl.runs.load import Work
from etl.runs.report import Ending, ending_of_tally

ANSWERS_A_BATCH = 50
# After so many failures in a row the cause is the server, not the resources.
FAILURES_IN_A_ROW = 3
# If at least this many resources are refused or not found, and none is answered, the cause is the
# stream.
TELLING = 10


class RotationWork(Work):
    """One execution of a rotation. Which resources were checked commits with their rows."""

    async def run(self) -> Ending:
        """Check the resources that are due. Raises EtlError."""
        tools, parents = self._tools, self._resource.parents
        assert parents is not None
        began_at = tools.client.source_now
        turn = await self._turn(parents)
        before = await self._rotation_state(parents)
        self._expect(Forecast(len(turn), exact=True))
        await self._check(parents, turn, answered=before.never_checked < before.resources)
        return await self._close_rotation(parents, began_at)

    async def _close_rotation(self, parents: Parents, began_at: datetime) -> Ending:
        """Say as of when everything is known. began_at: start of this run, by the agreed time."""
        tools = self._tools
        turns = await self._rotation_state(parents)
        # Everything is known as of the oldest check, once each resource was checked.
        known_at = began_at if turns.resources == 0 else turns.oldest_check
        if self._clocks_disagree():
            known_at = None
        elif known_at is not None:
            known_at = min(known_at, tools.client.source_now)
        tail_until = None if turns.never_checked else known_at
        await self._close(
            Closing(complete=[], tail_until=tail_until, swept=None, traits={}),
            follow_parents=True,
        )
        return ending_of_tally(self._tally, self.stream.name)

    async def _turn(self, parents: Parents) -> list[Parent]:
        """Return the resources to check."""
        options, unit = self._options, self.lease.unit
        for attempt in self._tools.database.attempts():
            async with attempt:
                turn = await self._tools.parents.due_parents(
                    unit.project_id,
                    unit.stream,
                    parents,
                    options.rotation_requests,
                    options.recheck_after,
                )
        return turn

    async def _check(self, parents: Parents, turn: Sequence[Parent], *, answered: bool) -> None:
        """Ask about these resources. answered: whether any resource was, in an earlier sync."""
        client, options = self._tools.client, self._options
        single = SingleReader(
            client,
            self._resource,
            self.lease.unit.project_id,
            prefix=options.prefix,
            keep_fields=options.keep_fields,
        )
        failures = _Failures(answered=answered)
        await self._load_pages(_pages(client, single, parents, turn, failures))
        if failures.skipped is not None:
            before = self._tally.skipped[0] if self._tally.skipped else 0
            self._tally.skipped = (before + failures.skipped[0], failures.skipped[1])

    async def _rotation_state(self, parents: Parents) -> RotationState:
        tools, unit = self._tools, self.lease.unit
        for attempt in tools.database.attempts():
            async with attempt:
                state = await tools.parents.rotation_state(
                    unit.project_id, unit.stream, parents, self._options.recheck_after
                )
        return state


async def _pages(
    client: Client,
    single: SingleReader,
    parents: Parents,
    turn: Sequence[Parent],
    failures: _Failures,
) -> AsyncIterator[Page]:
    """Yield the answers for these resources, some at a time, and which ones each page is about.

    A resource that PostHog refuses counts as checked once another resource was answered; before
    that the whole stream may be unavailable. A resource whose request fails stays due, and the
    next one is asked for. Answers are kept whatever follows them.
    """
    (name,) = parents.fields
    part = _Part(client)
    try:
        for parent in turn:
            key = str(parent[name])
            try:
                found = await single.object_of(parent)
            except (StreamUnavailable, SourceUnavailable, RequestRefused) as exc:
                if names_the_project(exc) and await single.is_project_gone():
                    raise
                if is_record_closed(exc):
                    # The key's owner may not see this one, and that is no fault.
                    part.checked.append(key)
                elif not is_about_the_stream(exc):
                    part.tried.append(key)
                failures.note(exc, key)
            else:
                failures.end()
                part.checked.append(key)
                if found is not None:  # else its own stream finds out that it is gone
                    part.add(*found)
            if failures.answered and part.is_full:
                yield part.page()
                part = _Part(client)
        failures.judge(len(turn))
    except EtlError as exc:
        refused = isinstance(exc, SourceError) and (
            is_about_the_stream(exc) or is_record_closed(exc)
        )
        if refused and not failures.answered:
            part.checked.clear()
        if part.keys:
            yield part.page()
        raise
    # Where others were answered, an address that leads nowhere is that of one resource.
    part.checked += failures.unplaced
    if part.keys:
        yield part.page()


class _Part:
    """The answers that one page holds."""

    def __init__(self, client: Client) -> None:
        self._observed_at, self._source_at = client.now, client.source_now
        self._began_s = time.monotonic()
        self._records: list[Record] = []
        self._is_dirty = False
        self._size_bytes = 0
        self.checked: list[str] = []
        self.tried: list[str] = []

    def add(self, record: Record, answer: Answer, dirty: bool) -> None:
        self._records.append(record)
        self._is_dirty |= dirty
        self._size_bytes += len(answer.body)

    @property
    def keys(self) -> list[str]:
        return [*self.checked, *self.tried]

    @property
    def is_full(self) -> bool:
        waited_s = time.monotonic() - self._began_s
        return len(self.keys) >= ANSWERS_A_BATCH or waited_s >= GATHERED_S

    def page(self) -> Page:
        return Page(
            self._records,
            self._is_dirty,
            self._observed_at,
            self._size_bytes,
            source_at=self._source_at,
            checked=self.checked,
            tried=self.tried,
        )


class _Failures:
    """Tells whether a failure is about one resource or about the whole stream.

    answered: whether any resource was answered, now or in an earlier sync.
    """

    def __init__(self, *, answered: bool) -> None:
        self.answered = answered
        self._answered_now = False
        self._failed: dict[str, SourceError] = {}
        self._unplaced: dict[str, SourceError] = {}
        self._in_a_row = 0
        self._refused: list[SourceError] = []

    def end(self) -> None:
        """Note an answer."""
        self.answered = self._answered_now = True
        self._in_a_row = 0

    def note(self, exc: SourceError, key: str) -> None:
        """Note a failure; raises it when it is the stream's, or the server's."""
        if is_record_closed(exc):
            self._refused.append(exc)
            return
        if isinstance(exc, StreamUnavailable) and not is_about_the_stream(exc):
            # PostHog says that there is nothing: of one resource, or of all, which others tell.
            self._unplaced[key] = exc
            if not self._answered_now and len(self._unplaced) >= TELLING:
                raise exc
            return
        self._failed[key] = exc
        self._in_a_row += 1
        if is_about_the_stream(exc) or self._in_a_row >= FAILURES_IN_A_ROW:
            raise exc

    @property
    def unplaced(self) -> Sequence[str]:
        """Resources whose address leads nowhere, where those of others were answered."""
        return list(self._unplaced) if self.answered else ()

    @property
    def skipped(self) -> tuple[int, str] | None:
        """How many resources stay due, and why the last one; None when none does."""
        left = self._failed if self.answered else {**self._failed, **self._unplaced}
        return (len(left), list(left.values())[-1].message) if left else None

    def judge(self, resources: int) -> None:
        """Raise the last refusal when all of these resources were refused."""
        everything = self._refused and len(self._refused) == resources
        if everything and (not self.answered or resources >= TELLING):
            raise self._refused[-1]
