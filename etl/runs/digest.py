"""Find by query which days are equal, so that the list has to show only the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from msgspec.structs import replace

from etl.core.coverage import Span
from etl.core.digest import (
    HASHES,
    Digest,
    Outcome,
    compare,
    days_in,
    digest_query,
    halves,
    portions,
    read_digests,
)
from etl.errors import BudgetSpent, RequestRefused, SourceError, SourceOverloaded
from etl.extractors.queries import Queries
from etl.extractors.query_protocol import Query
from etl.loaders.digest import DayDigests
from etl.loaders.leases import Unit
from etl.runs.work import Assignment, stopped
from etl.tasks import race

_log = structlog.get_logger(__name__)

# How often a query is sent whose answer does not come.
_ATTEMPTS = 3
# How often what is asked for is halved where it is too much.
_HALVINGS = 3


class DayComparer:
    """Compares days of a stream by the digests of their ids. queries: those it asks."""

    def __init__(self, given: Assignment, unit: Unit) -> None:
        self._given = given
        self._unit = unit
        self._hashes = list(HASHES)
        tools = given.tools
        self.queries = Queries(tools.client, tools.slots, unit.project_id, given.options.prefix)

    async def compare(self, spans: Sequence[Span]) -> Outcome | None:
        """Return what the digests say of these spans; None if a query is no use here.

        It is none if the list takes fewer requests. What cannot be asked is left to the list, with
        one line in the log. Raises Stopped and DestinationError. Safe to repeat.
        """
        given, tools = self._given, self._given.tools
        days, rest = days_in(spans)
        if not days:
            return None
        digests = DayDigests(tools.database, tools.tables)
        table = given.stream.tables[0]
        explained = await digests.explained(self._unit)
        here = await digests.stored(self._unit.project_id, table, days, tools.client.source_now)
        asked = portions(days, here)
        pages = sum(each.records for each in here.values()) / given.options.page_size_records
        if len(asked) > max(1.0, pages):
            return None
        source: dict[Span, Digest] = {}
        try:
            for portion in asked:
                source |= await self._ask(portion, here)
        except (SourceError, BudgetSpent, ValueError) as exc:
            _log.warning("digest.unavailable", reason=str(exc))
        if not source:
            return None
        outcome = compare(days, source, here, explained)
        _log.info(
            "digest.compared",
            equal=len(outcome.equal),
            explained=len(outcome.equal) - len(outcome.same),
            differing=len(outcome.doubtful),
            unanswered=len(outcome.unanswered) + len(rest),
        )
        return replace(outcome, unanswered=[*outcome.unanswered, *rest])

    async def _ask(
        self, days: Sequence[Span], here: Mapping[Span, Digest], halvings: int = _HALVINGS
    ) -> dict[Span, Digest]:
        """Return the digests of the source. Asks for less if that is too much."""
        try:
            return await self._fetch(days)
        except SourceOverloaded:
            if len(days) == 1 or not halvings:
                raise
        found: dict[Span, Digest] = {}
        for part in halves(days, here):
            found |= await self._ask(part, here, halvings - 1)
        return found

    async def _fetch(self, days: Sequence[Span]) -> dict[Span, Digest]:
        while True:
            query = Query(*digest_query(days, self._hashes[0]))
            asking = self.queries.ask(query, attempts=_ATTEMPTS, waits=False)
            async with race(asking, self._given.stop.wait()) as (answer, _):
                if not answer.done():
                    raise stopped()
                try:
                    return read_digests(answer.result().rows.rows, days)
                except RequestRefused:
                    if len(self._hashes) == 1:
                        raise
                    # The server may know the function only by its other name.
                    self._hashes.pop(0)
