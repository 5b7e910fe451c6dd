"""Ask the server how much there is, in few requests, where nothing is known yet.

`plan` does, and a first load whose share is shown on a terminal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import TypeVar

import structlog
from msgspec import Struct

from etl.core.amount import Amount, Glimpse, amount_of, amount_query, read_amount
from etl.core.budget import QUERY
from etl.core.coverage import Span
from etl.core.forecast import Number, Sure, by_offset
from etl.core.stream import Address, Mode, Resource, Stream
from etl.core.walk import Ask
from etl.errors import BudgetSpent, KeyRefused, SourceError
from etl.extractors.protocol import page_request, parse_page
from etl.extractors.queries import Queries
from etl.extractors.query_protocol import Query
from etl.extractors.recordings import RecordingsReader
from etl.extractors.single import SingleReader
from etl.runs.work import RunOptions, Tools

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# How many pages of the list of recordings are looked at, at most: it has few requests an hour.
_LOOKS = 5
# So many rows show the pace of a day as well as a whole page does.
_ROWS_A_LOOK = 100


class ListAmount(Struct, frozen=True):
    """What is known of lists: their rows, and how many requests it takes to read them."""

    rows: Number
    requests: Number

    def __add__(self, other: ListAmount) -> ListAmount:
        return ListAmount(self.rows + other.rows, self.requests + other.requests)


class Asked(Struct, frozen=True):
    """How many recordings a range of dates has."""

    span: Span
    rows: Number

    def within(self, since: datetime, until: datetime | None) -> Number:
        """Return how many of them a part of the dates has, by its length. until: None: its end."""
        end = self.span.until if until is None else min(until, self.span.until)
        part = (end - max(since, self.span.since)) / (self.span.until - self.span.since)
        if part >= 1:
            return self.rows
        return Number(round(self.rows.value * max(0.0, part)), min(self.rows.sure, Sure.ABOUT))


class Asking:
    """Asks how much there is, and keeps the answers.

    sent: how many requests it has sent. unasked: how many it did not send, as they were too many,
    by stream. refused: why a stream could not be asked about, by project and stream.
    """

    def __init__(self, tools: Tools, options: RunOptions, most: int) -> None:
        """Prepare to send `most` requests at most."""
        self._tools = tools
        self._options = options
        self._most = most
        self.sent = 0
        self.unasked: dict[str, int] = {}
        self.refused: dict[tuple[int, str], str] = {}
        self._recordings: dict[tuple[int, str], Asked] = {}
        self._lists: dict[tuple[int, str], ListAmount] = {}

    def recordings(self, project_id: int, stream: Stream) -> Asked | None:
        """Return how many recordings its dates have; None if that was not asked."""
        return self._recordings.get((project_id, stream.name))

    def lists(self, project_id: int, resource: Resource) -> ListAmount | None:
        """Return what the lists of a resource hold; None if that was not asked."""
        return self._lists.get((project_id, resource.tables[0].name))

    def rows(self, project_id: int, table: str) -> Number | None:
        """Return how many rows a table will have; None if that was not asked."""
        found = self._lists.get((project_id, table))
        return None if found is None else found.rows

    async def ask_recordings(self, stream: Stream, project_id: int, span: Span) -> None:
        """Ask how many recordings these dates have: by a query, else by some pages of the list.

        Raises KeyRefused and DestinationError.
        """
        if self.sent >= self._most:
            self._leave(stream, 1)
            return
        amount = await self.by_query(stream, project_id, span)
        try:
            amount = amount or await self._by_looks(stream, project_id, span)
        except KeyRefused:
            raise
        except (SourceError, BudgetSpent) as exc:
            self.refused[project_id, stream.name] = exc.message
        if amount is not None:
            rows = Number(amount.rows, Sure.EXACT if amount.exact else Sure.ABOUT)
            self._recordings[project_id, stream.name] = Asked(span, rows)
            table = stream.tables[0].name
            self._lists[project_id, table] = ListAmount(rows, Number(0))

    async def ask_lists(self, stream: Stream, project_id: int, resource: Resource) -> None:
        """Ask each list of a resource how many rows it has. Raises KeyRefused, DestinationError."""
        if self.sent + len(resource.lists) > self._most:
            self._leave(stream, len(resource.lists))
            return
        if (project_id, stream.name) in self.refused:
            return
        found: ListAmount | None = None
        try:
            for address in resource.lists:
                each = await self._ask_list(resource, address, project_id)
                found = each if found is None else found + each
        except KeyRefused:
            raise
        except (SourceError, BudgetSpent) as exc:
            self.refused[project_id, stream.name] = exc.message
            return
        assert found is not None
        self._lists[project_id, resource.tables[0].name] = found

    def _leave(self, stream: Stream, requests: int) -> None:
        self.unasked[stream.name] = self.unasked.get(stream.name, 0) + requests

    async def by_query(self, stream: Stream, project_id: int, span: Span) -> Amount | None:
        """Return the amount by one query; None if the key or the server allows none.

        Raises KeyRefused and DestinationError.
        """
        expiry, tools = stream.tables[0].expiry, self._tools
        if expiry is None or not await self._may_ask((QUERY,)):
            return None
        queries = Queries(tools.client, _NoSlots(), project_id, self._options.prefix)
        before = tools.client.requests
        try:
            answered = await queries.ask(Query(*amount_query(span)), attempts=1, waits=False)
            rows = read_amount(answered.rows.rows, expiry, tools.client.source_now)
        except KeyRefused:
            raise
        except (SourceError, BudgetSpent, ValueError) as exc:
            _log.debug("amount.unavailable", reason=str(exc))
            return None
        finally:
            self.sent += tools.client.requests - before
        return Amount(rows, exact=False, look_at=None)

    async def _by_looks(self, stream: Stream, project_id: int, span: Span) -> Amount | None:
        """Return the amount by pages of the list: the newest one, then some from further back."""
        tools, options = self._tools, self._options
        reader = RecordingsReader(
            tools.client,
            stream,
            project_id,
            prefix=options.prefix,
            page_size_records=options.page_size_records,
        )
        glimpses: list[Glimpse] = []
        amount: Amount | None = None
        until, limit = span.until, options.page_size_records
        for _ in range(_LOOKS):
            if not await self._may_ask(stream.budget_classes):
                break
            seen = await self._counted(reader.glimpse(span.since, until, limit))
            if seen.rows is not None:
                return Amount(seen.rows, exact=True, look_at=None)
            starts = [at for at in seen.starts if span.since <= at <= until]
            # Of the newest page: up to the newest recording, which may be dated ahead.
            high = until if glimpses else min([until, max(starts, default=until)])
            low = min(starts, default=span.since)
            glimpses.append(Glimpse(high, low, len(starts), seen.more and bool(starts)))
            amount = amount_of(glimpses, span.since)
            if amount.look_at is None:
                break
            until, limit = amount.look_at, min(limit, _ROWS_A_LOOK)
        return amount

    async def _ask_list(self, resource: Resource, address: Address, project_id: int) -> ListAmount:
        """Ask one list for its count. Raises SourceError and BudgetSpent."""
        tools, options = self._tools, self._options
        single = SingleReader(tools.client, resource, project_id, prefix=options.prefix)
        path, params = single.address(address, {})
        ask = Ask(1) if resource.paged else None
        request = page_request(path, params, ask, resource.budget_classes)
        if not await tools.budget.has_room(resource.budget_classes):
            raise BudgetSpent("The request budget is spent", wait_s=0.0)
        answer = await self._counted(
            tools.client.fetch(request, shrinkable=True, attempts=1, waits=False)
        )
        listed = parse_page(answer.body, resource.records)
        if resource.project is not None:
            rows = Number(1)  # the records of other projects are left out
        elif listed.count is not None:
            rows = Number(listed.count)
        else:
            rows = Number(len(listed.records), Sure.LEAST if listed.more else Sure.EXACT)
        if not resource.paged:
            return ListAmount(rows, Number(1))
        requests = by_offset(rows.value, options.page_size_records)
        return ListAmount(rows, Number(requests, min(rows.sure, Sure.ABOUT)))

    async def _may_ask(self, classes: Sequence[str]) -> bool:
        """Tell whether one request more may be sent now. Raises DestinationError."""
        return self.sent < self._most and await self._tools.budget.has_room(classes)

    async def _counted(self, asking: Awaitable[T]) -> T:
        """Wait for an answer, and count the requests that it took."""
        before = self._tools.client.requests
        try:
            return await asking
        finally:
            self.sent += self._tools.client.requests - before


class _NoSlots:
    """Lets each query go: one more than ours at once is what PostHog leaves to people."""

    def held(self, _project_id: int) -> AbstractAsyncContextManager[None]:
        """Hold nothing, so that nothing is written."""
        return nullcontext()


async def ask_ahead(
    asking: Asking,
    project_id: int,
    streams: Sequence[Stream],
    spans: Mapping[str, Span],
    unread: Iterable[str],
) -> None:
    """Ask about each stream of which nothing is known, the most telling first.

    spans: the dates that are asked about, of streams by time. unread: the streams whose lists were
    never read. Raises KeyRefused and DestinationError.
    """
    for stream in streams:
        if stream.name in spans:
            await asking.ask_recordings(stream, project_id, spans[stream.name])
    fathers = {
        resource.parents.table
        for stream in streams
        for resource in stream.resources
        if resource.parents is not None
    }
    names = set(unread)
    lists = [
        (stream, resource)
        for stream in streams
        if stream.mode is Mode.SNAPSHOT and stream.name in names
        for resource in stream.resources
        if resource.parents is None
    ]
    # How many rows these have decides how many requests others take.
    lists.sort(key=lambda each: each[1].tables[0].name not in fathers)
    for stream, resource in lists:
        await asking.ask_lists(stream, project_id, resource)
