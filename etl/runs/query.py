"""A configured query: read in increments by its cursor, or as a whole, into a table of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from msgspec.structs import replace

from etl.core.forecast import Forecast
from etl.core.query import QueryPlace, QuerySpec, increment, is_due
from etl.core.stream import Resource, Stream
from etl.errors import RequestRefused, SourceOverloaded
from etl.extractors.protocol import id_batches
from etl.extractors.queries import Queries
from etl.extractors.query_reader import QueryPage, QueryReader
from etl.loaders.database import Database
from etl.loaders.history import Watermark
from etl.loaders.leases import Lease
from etl.loaders.loader import Closing
from etl.loaders.query_tables import is_there, shaped, tables_there
from etl.loaders.tables import Tables
from etl.runs.forecasts import forecast_query
from etl.runs.judging import Accepted, Judging
from etl.runs.load import Answers
from etl.runs.report import Ending, ending_of_tally
from etl.runs.work import Assignment, stopped
from etl.streams.queries import resource_of
from etl.tasks import race

_log = structlog.get_logger(__name__)

# When a query that the server refused as wrong is tried again: it may be newer by then.
_TRIED_AGAIN = timedelta(days=7)
# So many rows that were not shown are asked for at once, a count.
ASKED_AT_ONCE = 100


class QueryWork(Judging):
    """One execution of a query: what is left of a broken one, else what is due.

    anew: all of it is read, whatever was read before.
    """

    anew = False

    def __init__(self, given: Assignment, lease: Lease) -> None:
        super().__init__(given, lease)
        assert given.stream.query is not None
        self._spec: QuerySpec = given.stream.query
        self._queries = Queries(
            given.tools.client, given.tools.slots, lease.unit.project_id, given.options.prefix
        )
        self._shape: Resource | None = None

    @property
    def query_bytes(self) -> tuple[int, int | None] | None:
        """See `RunEnd`."""
        return self._queries.bytes

    @property
    def _whole(self) -> bool:
        """Whether the reading shows every row there is."""
        return self.anew or self._spec.cursor is None

    async def run(self) -> Ending:
        """Read and load what is due. Raises EtlError."""
        watermark = await self._watermark()
        self.accepted = Accepted.of(watermark.traits)
        traits = watermark.traits or {}
        # Somebody may have dropped the table. What was read into it is then read anew.
        lost = not await self._has_table()
        if not (lost or self._is_due(traits)):
            self._expect(Forecast(0, exact=True))
            return ending_of_tally(self._tally, self.stream.name)
        choices = [self._spec, *self._spec.others]
        first = self._first_choice(traits, len(choices))
        for number, spec in enumerate(choices[first:], first):
            left = QueryPlace.resume(self.lease.position, spec.fingerprint)
            begins = left is None or lost
            place = self._begin(spec, watermark, anew=lost) if left is None or lost else left
            self._expect(forecast_query())
            try:
                place = await self._read(spec, place)
            except RequestRefused as exc:
                if number + 1 == len(choices) or not begins or self._records:
                    raise
                _log.warning("query.replaced", reason=exc.message)
                continue
            at = place.began_at.isoformat() if first == 0 else traits.get("chosen_at")
            chosen = {"variant": number, "chosen_at": at}
            return await self._close_query(spec, place, watermark, chosen)
        raise AssertionError("unreachable")

    def _first_choice(self, traits: Mapping[str, Any], choices: int) -> int:
        """Return which query to try first; once in a while the first one, for a newer server."""
        at = traits.get("chosen_at")
        if at is None or self.lease.position is not None:
            return min(int(traits.get("variant", 0)), choices - 1)
        passed = self._tools.client.now - datetime.fromisoformat(at)
        return 0 if passed >= _TRIED_AGAIN else min(int(traits["variant"]), choices - 1)

    def _is_due(self, traits: Mapping[str, Any]) -> bool:
        forced = self.anew or self.stream.name in self._options.at_once
        going_on = self.lease.position is not None
        specs = (self._spec, *self._spec.others)
        changed = traits.get("fingerprint") not in {spec.fingerprint for spec in specs}
        now = self._tools.client.now
        return forced or going_on or changed or is_due(self._spec, traits, now)

    async def _has_table(self) -> bool:
        for attempt in self._tools.database.attempts():
            async with attempt, self._tools.database.transaction() as connection:
                there = await is_there(connection, self._tools.tables, self._spec.name)
        return there

    def _begin(self, spec: QuerySpec, watermark: Watermark, *, anew: bool) -> QueryPlace:
        """Return the beginning of what is due. anew: whatever was read before."""
        now = self._tools.client.source_now
        first = QueryPlace(fingerprint=spec.fingerprint, began_at=now)
        if spec.cursor is None:
            return first
        same = (watermark.traits or {}).get("fingerprint") == spec.fingerprint
        known = watermark.tail_until if same and not (self.anew or anew) else None
        since, until, age = increment(spec, known, watermark.swept, self._options.start, now)
        reach = None if age is None else age.total_seconds()
        return replace(first, since=since, until=until, part=until, reach=reach)

    async def _read(self, spec: QuerySpec, place: QueryPlace) -> QueryPlace:
        """Read and load page by page, up to the end."""
        reader = QueryReader(self._tools.client, self._queries, spec, whole=self._whole)
        if place.ended and self._shape is None:
            await self._know(spec)
        while not place.ended:
            async with race(reader.page(place), self._stop.wait()) as (asking, _):
                if not asking.done():
                    raise stopped()
                found = asking.result()
            await self._fit(found)
            place = found.place
            await self._load([found.page], place)
            if self._stop.is_set() and not place.ended:
                raise stopped()
        if self._whole:
            await self._judge(reader, place)
        return place

    async def _know(self, spec: QuerySpec) -> None:
        """Take the table as it is: an earlier run has read everything, so no answer shows it."""
        async with self._tools.database.transaction() as connection:
            there = await tables_there(connection, self._tools.tables, spec.name)
        for table in there:
            self._shape = resource_of(table)
            self._turn_to(self._shape)

    async def _fit(self, found: QueryPage) -> None:
        """Make the table of the query, or widen it, where an answer has columns it lacks."""
        held = None if self._shape is None else self._shape.tables[0]
        known = set() if held is None else {field.name for field in held.fields}
        if held is not None and {field.name for field in found.table.fields} <= known:
            return
        table = await shaped(self._tools.database, self._tools.tables, found.table)
        self._shape = resource_of(table)
        self._turn_to(self._shape)

    async def _judge(self, reader: QueryReader, place: QueryPlace) -> None:
        """Mark the rows that a whole reading did not show and that are not there when asked for."""
        absence = await self._weigh()
        if absence is None or not absence.suspects:
            return
        most = self._options.confirm_requests
        async for keys in self._suspects():
            for some in id_batches(keys):
                if self._questions >= most:
                    self._tally.unasked += len(some)
                    continue
                for few in _parts(some, ASKED_AT_ONCE):
                    await self._ask_until_known(reader, place, few)

    async def _ask_until_known(
        self, reader: QueryReader, place: QueryPlace, keys: Sequence[str]
    ) -> None:
        """Ask for rows by their keys, and again for those that an answer had no room for."""
        left = list(keys)
        most = len(left)
        while left:
            if self._stop.is_set():
                raise stopped()
            some = left[:most]
            try:
                found = await reader.confirm(place, some)
            except SourceOverloaded as exc:
                if most == 1:
                    self._skip(left, exc.message)
                    break
                most = max(1, min(most, len(left)) // 2)
                continue
            self._questions += 1
            await self._load([found.page], place, answers=Answers(gone=found.gone))
            shown = found.page.evidence.keys if found.page.evidence else ()
            answered = {*found.gone, *shown}.intersection(some)
            if not answered:
                self._skip(left, "the server shows other rows than those that were asked for")
                break
            left = [key for key in left if key not in answered]

    async def _close_query(
        self,
        spec: QuerySpec,
        place: QueryPlace,
        watermark: Watermark,
        chosen: Mapping[str, Any],
    ) -> Ending:
        """Say as of when everything is known. chosen: which query it was, and since when."""
        known = not self._clocks_disagree()
        await self._note_accepted()
        swept = None
        if spec.reach is not None and place.until is not None:
            age = timedelta.max if place.reach is None else timedelta(seconds=place.reach)
            swept = spec.reach.sweep(watermark.swept, age, place.until)
        closing = Closing(
            complete=[],
            tail_until=(place.until or place.began_at) if known else None,
            swept=swept if known else None,
            traits={
                "queried_at": place.began_at.isoformat(),
                "fingerprint": spec.fingerprint,
                **chosen,
                **self.accepted.traits(),
            },
        )
        await self._close(closing)
        return ending_of_tally(self._tally, self.stream.name)


class ResyncQuery(QueryWork):
    """Reads all of a query anew."""

    anew = True


async def with_its_table(database: Database, tables: Tables, stream: Stream) -> Stream:
    """Return the stream with its table as it is; a query's columns are not in the configuration.

    Raises DestinationError.
    """
    if stream.query is None:
        return stream
    async with database.transaction() as connection:
        there = await tables_there(connection, tables, stream.query.name)
    return replace(stream, resources=tuple(map(resource_of, there))) if there else stream


def _parts(keys: Sequence[str], most: int) -> list[Sequence[str]]:
    return [keys[at : at + most] for at in range(0, len(keys), most)]
