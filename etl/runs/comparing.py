"""Compare source and destination: each way of reading, with a loader that compares.

A comparison reads as a sync or a backfill reads. What differs is asked for by its key once more,
and counts only if the destination, read after that answer, still differs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from etl.core.coverage import Coverage, Span, joined, split
from etl.core.digest import Doubtful, Outcome
from etl.core.expected import lacking_after
from etl.core.forecast import Forecast
from etl.core.page import Page, Record
from etl.core.place import Evidence, Place, RecordingsPlace, SnapshotPlace
from etl.core.reconciling import Found, How
from etl.core.slices import DAY
from etl.core.stream import (
    COMPARISONS,
    TAIL,
    VERIFY,
    VERIFY_DEEP,
    VERIFY_SLICE,
    Mode,
    Parents,
    Resource,
    TableSpec,
)
from etl.core.window import Window
from etl.errors import EXIT_PARTIAL, StreamUnavailable
from etl.extractors.protocol import id_batches
from etl.extractors.recordings import RecordingsReader, started_at
from etl.extractors.single import SingleReader
from etl.extractors.snapshot import SnapshotReader
from etl.loaders.comparing import ComparingLoader, Reconciling
from etl.loaders.history import Watermark
from etl.loaders.leases import Lease, Unit
from etl.loaders.loader import ExpiryQuery
from etl.loaders.parents import Parent
from etl.loaders.reconciliations import Comparison
from etl.runs.digest import DayComparer
from etl.runs.judging import AT_ONCE, WITNESSES, Accepted, Ask
from etl.runs.load import Answers, Work
from etl.runs.report import PARTIAL, Ending, ending_of_comparison
from etl.runs.rotation import RotationWork
from etl.runs.snapshot import FEW, SnapshotWork
from etl.runs.windows import WindowsWork
from etl.runs.work import Assignment, Tools, stopped
from etl.streams import STREAMS
from etl.transformers.recordings import PERSONS

_log = structlog.get_logger(__name__)

MakeComparer = Callable[[str, Resource], ComparingLoader]


class Request(Struct, frozen=True):
    """What is to be compared.

    deep: contents, too. since, until: the time of recordings; None: from where, and up to where, it
    is known complete. before: what was found before it was repaired, None if nothing was. by_id:
    whether then only the records are asked for that differed, by their ids. slice: whether it is a
    slice of the past, whose checkpoint is not that of a command. by_query: whether a query may find
    which days are equal.
    comparer: makes the loader that compares.
    """

    comparer: MakeComparer
    deep: bool = False
    since: datetime | None = None
    until: datetime | None = None
    before: Found | None = None
    by_id: bool = False
    slice: bool = False
    by_query: bool = False

    @property
    def unit(self) -> str:
        """The unit that does it."""
        if self.slice:
            return VERIFY_SLICE
        return VERIFY_DEEP if self.deep else VERIFY

    @property
    def how(self) -> How:
        """What is compared of a list."""
        return How.CONTENTS if self.deep else How.IDS


class Comparing(Work):
    """A way of reading that compares instead of loading."""

    def __init__(self, given: Assignment, lease: Lease, request: Request) -> None:
        self._given = given
        self._request = request
        super().__init__(given, lease)
        self.found: Found | None = None
        # Whether what was found to differ is asked for once more.
        self._confirming = False
        # See `Found`; only a rotation draws.
        self._drawn: tuple[int, int] | None = None

    async def _nothing_known(self) -> Ending:
        """Return how it ends where nothing was read yet; why, if the source refused to show it."""
        unit = replace(self.lease.unit, name=self.stream.unit)
        why = await self._tools.history.why_unavailable(unit)
        if why is None:
            return Ending(
                PARTIAL,
                EXIT_PARTIAL,
                "None of this was read to its end yet, so there is nothing to compare with. Run "
                f"`posthog-etl sync {self.stream.name}` first",
            )
        return Ending(PARTIAL, EXIT_PARTIAL, why, cause=StreamUnavailable)

    def _turn_to(self, resource: Resource) -> None:
        self._resource = resource
        self._comparer = self._request.comparer(self.stream.name, resource)
        self._loader = self._comparer

    async def _begin(self) -> None:
        """Forget what an earlier comparison has found."""
        from_the_start = self._request.since is None
        await self._comparer.differences.begin(self.lease.unit, without_start=from_the_start)

    async def _confirm(self, ask: Ask, place: Place | None, at_once: int = AT_ONCE) -> None:
        """Ask for the records that differ by their keys, as many as one run may.

        What is left counts as found, but is said to be unconfirmed.
        """
        client, differences = self._tools.client, self._comparer.differences
        known = await self._loader.known(self.lease, WITNESSES)
        failed, most = list[str](), self._options.confirm_requests
        asked_before = client.requests
        self._confirming = True
        while client.requests - asked_before < most and (
            keys := await differences.unconfirmed(self.lease.unit, at_once, failed)
        ):
            if self._stop.is_set():
                raise stopped()
            keys = next(id_batches(keys))
            found = await ask(keys, [key for key in known if key not in keys])
            if not found.proven:
                break
            # A record that is gone by now may have shown a person that others show, too.
            failed += [*found.failed, *found.gone]
            answers = Answers(gone=found.gone, existing=found.existing, failed=found.failed)
            await self._load([found.page], place, answers=answers)
            asked = [key for key in keys if key not in failed]
            await differences.confirm(self.lease.unit, asked)
        self._confirming = False

    async def _load(
        self,
        pages: Sequence[Page],
        place: Place | None,
        after: asyncio.Task[bool] | None = None,
        answers: Answers | None = None,
    ) -> bool:
        """Compare pages; see `Work`. answers: to questions for single records, if they are."""
        self._comparer.expect(answers=answers is not None, confirming=self._confirming)
        return await super()._load(pages, place, after, answers or Answers())

    async def _conclude(
        self,
        counted: Sequence[TableSpec],
        windows: Sequence[Span] | None,
        how: How,
        days: Outcome | None = None,
    ) -> Ending:
        """Count what was found, and keep the result. days: what digests say of days."""
        unit, leases = self.lease.unit, self._tools.leases
        differences = self._comparer.differences
        await differences.drop_settled(unit, self.stream.tables)
        if windows is not None and (self._request.since or self._request.until):
            await differences.drop_outside(unit, windows)  # of a server that ignores dates
        unresolved = await self._tools.history.unresolved_count(unit.project_id, unit.stream)
        self._tally.rejected = max(self._tally.rejected, unresolved)
        held = await leases.held_units(unit.project_id, unit.stream)
        watermark = await self._watermark()
        lookback = self._options.lookback.grades
        young = self._young(watermark, lookback[0].age) if windows is not None else None
        compared = Comparison(
            how,
            self.stream.tables,
            counted,
            windows,
            held=[self._range_of(name, watermark) for name in held if name not in COMPARISONS],
            young_since=young,
            by_digest={} if days is None else days.equal,
        )
        verifiable = PERSONS not in self.stream.tables or await self._lists_persons()
        persons = None if verifiable else (self.stream.tables[0], PERSONS)
        closing = Reconciling(
            complete=[],
            tail_until=None,
            swept=None,
            traits={},
            compared=compared,
            at=await self._tools.history.database_now(),
            now=self._tools.client.source_now,
            persons=persons,
            before=self._request.before,
            same=() if days is None else days.same,
            doubtful={} if days is None or self._tally.rejected else days.doubtful,
        )
        await self._close(closing)
        self.found = self._comparer.found
        assert self.found is not None
        self.found.drawn = self._drawn
        _log.info(
            "comparison.closed",
            how=str(how),
            differences=self.found.differences,
            on_their_way=self.found.on_their_way,
        )
        return self._ending_of(self.found)

    def _ending_of(self, found: Found | None) -> Ending:
        return ending_of_comparison(found, self._tally, self.stream.name, deep=self._request.deep)

    def _young(self, watermark: Watermark, age: timedelta) -> datetime | None:
        """Return the start from which on a sync reads again what is up to `age` old."""
        return None if watermark.tail_until is None else watermark.tail_until - age

    def _range_of(self, name: str, watermark: Watermark) -> tuple[datetime | None, datetime | None]:
        """Return the starts of what a run of this unit reads."""
        ignored = (watermark.traits or {}).get("date_filter") in ("refused", "ignored")
        if self.stream.mode is not Mode.WINDOWS or ignored:
            return None, None
        try:
            return Span.parse(name)
        except ValueError:
            if name != TAIL:
                return None, None
        return self._young(watermark, self._options.lookback.grades[-1].age), None

    async def _lists_persons(self) -> bool:
        """Tell whether all persons are read as a list, which shows each of them."""
        for stream in STREAMS.values():
            if PERSONS in stream.mirrored:
                unit = Unit(self.lease.unit.project_id, stream.name, stream.unit)
                if (await self._tools.history.watermark(unit)).tail_until is not None:
                    return True
        return False


class KeptDays(Struct, frozen=True):
    """What a checkpoint keeps of an `Outcome`."""

    equal: Sequence[tuple[Span, int]]
    same: Sequence[Span]
    doubtful: Sequence[tuple[Span, Doubtful]]

    @classmethod
    def of(cls, outcome: Outcome) -> KeptDays:
        """Return what is to be kept."""
        return cls([*outcome.equal.items()], outcome.same, [*outcome.doubtful.items()])

    @property
    def outcome(self) -> Outcome:
        """What was kept."""
        return Outcome(dict(self.equal), self.same, dict(self.doubtful))


class CompareCheckpoint(Struct, frozen=True):
    """What a checkpoint keeps of a comparison of recordings.

    spans: what is compared by the list, the newest first. since, until: as they were asked for.
    days: what the digests say of days, in those parts of an `Outcome` that are needed later.
    """

    spans: Sequence[tuple[datetime, datetime]]
    since: datetime | None
    until: datetime | None
    place: Mapping[str, Any]
    days: KeptDays | None = None


class CompareWindows(Comparing, WindowsWork):
    """Compares recordings, in the stretches of time that are known complete.

    Where it may, a query finds which days are equal, and the list has to show only the others.
    """

    # What the list has to show, the newest first.
    _spans: Sequence[Span] = ()
    # What the digests say of the other days, and of these.
    _days: Outcome | None = None
    _day_comparer: DayComparer | None = None

    @property
    def query_bytes(self) -> tuple[int, int | None] | None:
        """See `RunEnd`."""
        if self._day_comparer is None:
            return None
        return self._day_comparer.queries.bytes

    async def run(self) -> Ending:
        """Read and compare, on from where an earlier run was interrupted. Raises EtlError."""
        watermark = await self._watermark()
        self.accepted = Accepted()
        self._traits = dict(watermark.traits or {})
        reader = self._chain.reader = self._new_reader()
        if self._request.before is not None and self._request.by_id:
            return await self._once_more(reader, self._request.before)
        kept = self._kept()
        left = None if kept is None else reader.resume(kept.place)
        if kept is not None and left is not None:
            self._spans = [Span(*span) for span in kept.spans]
            if kept.days is not None:
                self._believe(kept.days.outcome)
            ahead = [span for span in self._spans if span.until <= left.window.since]
        else:
            left = None
            self._spans = ahead = self._known_spans(watermark)
            if not ahead:
                return await self._nothing_known()
            await self._begin()
            if self._may_query():
                self._day_comparer = DayComparer(self._given, self.lease.unit)
                if (outcome := await self._day_comparer.compare(ahead)) is not None:
                    self._believe(outcome)
                    self._spans = ahead = outcome.left
        if left is not None:
            # What was found before may have been loaded since.
            await self._comparer.differences.doubt(self.lease.unit)
            await self._compare(reader, left.window, watermark, left)
        if ahead and self._traits.get("date_filter") in ("refused", "ignored"):
            ahead = [Span(ahead[-1].since, ahead[0].until)]  # it shows everything at once
        for span in ahead:
            if self._tally.complete:
                window = Window(*span, starts_only=self._days is not None)
                await self._compare(reader, window, watermark, None)
        if not self._spans:
            await self._judge_without_start(reader)
        by_digest = {} if self._days is None else self._days.equal
        windows = [part for span in self._spans for part in split(span, DAY)]
        windows += by_digest
        if not self._tally.complete or self._clocks_disagree():
            await self._leave()
            return self._ending_of(None)
        ending = await self._conclude(
            self.stream.tables[:1], sorted(windows), self._request.how, self._days
        )
        return self._with_holes(ending)

    def _with_holes(self, ending: Ending) -> Ending:
        """Say if a part of the time that was asked for is not known complete."""
        compared = joined([*self._spans, *(self._days.equal if self._days else ())])
        asked = Span(
            self._request.since or compared[0].since, self._request.until or compared[-1].until
        )
        if not Coverage(compared).holes(asked):
            return ending
        said = (
            "A part of this time is not known complete, so it was not compared. See "
            "`posthog-etl status`"
        )
        reason = f"{ending.reason.rstrip('.')}. {said}" if ending.reason else said
        return Ending(PARTIAL, EXIT_PARTIAL, reason)

    def _known_spans(self, watermark: Watermark) -> list[Span]:
        complete = watermark.complete
        since = self._request.since or complete.since
        until = self._request.until or complete.until
        if since is None or until is None or since >= until:
            return []
        return list(Coverage(complete.spans).within(Span(since, until)))[::-1]

    def _kept(self) -> CompareCheckpoint | None:
        try:
            kept = msgspec.convert(self.lease.position, CompareCheckpoint)
        except ValueError:
            return None
        asked = (self._request.since, self._request.until)
        return kept if (kept.since, kept.until) == asked else None

    def _position(self, place: Place | None) -> Mapping[str, Any]:
        kept = CompareCheckpoint(
            self._spans,
            self._request.since,
            self._request.until,
            super()._position(place),
            None if self._days is None else KeptDays.of(self._days),
        )
        return dict(msgspec.to_builtins(kept))

    def _may_query(self) -> bool:
        """Tell whether a query may find the days that are equal: it compares ids of days."""
        ignored = self._traits.get("date_filter") in ("refused", "ignored")
        request = self._request
        return request.by_query and not (request.deep or request.slice or ignored)

    def _believe(self, days: Outcome) -> None:
        """Go by what the digests say; of the other days the starts are compared, too."""
        self._days = days
        self._comparer.compare_starts()

    async def _judge_without_start(self, reader: RecordingsReader) -> None:
        """Ask for the records that have no start, where no list is read: they are on no day."""
        await self._loader.expire(self.lease, ExpiryQuery(self._tools.client.source_now), None)
        absence = await self._weigh()
        if absence is not None and absence.suspects:
            known = await self._loader.known(self.lease, WITNESSES)
            place = place_of(reader, [*self._days.equal] if self._days else [], known)
            await self._ask_for(absence, AT_ONCE, partial(reader.confirm, place), None)

    async def _compare(
        self,
        reader: RecordingsReader,
        window: Window,
        watermark: Watermark,
        left: RecordingsPlace | None,
    ) -> None:
        """Compare a stretch of time."""
        self._chain.place = None
        place = await self._read(reader, window, watermark, left)
        self._tally.complete &= place.complete
        if place.complete:
            await self._confirm(partial(reader.confirm, place), place)

    async def _load_pages(
        self, pages: AsyncIterator[Page], place: Place | None = None, *, kept: Place | None = None
    ) -> Any:
        """Compare pages, without what starts outside the time that is compared.

        A server that does not filter shows it, too.
        """
        name = self.stream.started or ""

        def is_in(record: Record) -> bool:
            at = started_at(record, name)
            return at is None or any(span.since <= at < span.until for span in self._spans)

        async def shown() -> AsyncIterator[Page]:
            async for page in pages:
                yield replace(page, records=[*filter(is_in, page.records)])

        return await super()._load_pages(shown(), place, kept=kept)

    async def _close_window(self, *_: Any) -> None:
        """Move no watermark: nothing was loaded."""

    async def _once_more(self, reader: RecordingsReader, before: Found) -> Ending:
        """Ask for all that differed once more, after it was repaired."""
        windows = before.windows
        if before.how is How.DIGEST:
            self._comparer.compare_starts()
        await self._comparer.differences.doubt(self.lease.unit)
        known = await self._loader.known(self.lease, WITNESSES)
        await self._confirm(partial(reader.confirm, place_of(reader, windows, known)), None)
        return await self._conclude(self.stream.tables[:1], windows, before.how)


class CompareSnapshot(Comparing, SnapshotWork):
    """Compares lists without windows: all of each."""

    _bounded = False
    # How many parents could not be looked at.
    _refused = 0

    async def run(self) -> Ending:
        """Read and compare. Raises EtlError."""
        if (await self._watermark()).tail_until is None:
            return await self._nothing_known()
        await self._begin()
        return await super().run()

    def _resumed(self, fingerprint: str) -> SnapshotPlace | None:
        """Return None: what was compared before an interruption may have been loaded since."""
        return None

    async def _go_through(self, place: SnapshotPlace) -> Ending:
        await super()._go_through(place)
        return self._ending

    async def _judge(
        self, single: SingleReader, reader: SnapshotReader, first: SnapshotPlace
    ) -> SnapshotPlace:
        """Find what is surplus, and ask for what differs once more.

        If the API has no request for one record, all are read a second time.
        """
        differences, parents = self._comparer.differences, self._resource.parents
        self._refused += first.refused
        if parents is not None:
            # Children of a parent that is not stored as it is were not all asked for.
            owners = await differences.owners(self.lease.unit, parents.table)
            unjudged = [json.loads(key) if key.startswith("[") else [key] for key in owners]
            evidence = Evidence([], unjudged=[[*map(str, parts)] for parts in unjudged])
            nothing = Page([], False, self._tools.client.now, 0, evidence=evidence)
            await self._load([nothing], first)
        place = await super()._judge(single, reader, first)
        if not place.complete:
            return place
        if self._resource.one is not None:
            await self._confirm(single.confirm, place, FEW)
        elif await differences.unconfirmed(self.lease.unit, 1, ()):
            self._confirming = True
            pages = reader.pages(first.begin_stage(), doubts=False)
            second: SnapshotPlace = await self._load_pages(pages, kept=first)
            self._confirming = False
            if second.complete:
                await differences.keep_confirmed(self.lease.unit)
        return place

    async def _close_snapshot(self, place: SnapshotPlace) -> None:
        """Keep the result, if every row is vouched for."""
        self._tally.complete &= place.complete
        self._tally.cut = place.cut
        self._tally.lacking = [*lacking_after(self._lacking, place.lacking).values()]
        if place.skipped:
            self._tally.skipped = (place.skipped, "something other than PostHog answered")
        if not self._tally.complete or self._clocks_disagree():
            await self._leave()
            self._ending = self._ending_of(None)
            return
        counted = [resource.tables[0] for resource in self.stream.resources]
        self._ending = await self._conclude(counted, None, self._request.how)
        if self.found is not None:
            self.found.refused = self._refused


class CompareRotation(Comparing, RotationWork):
    """Compares what has a request for each resource: all that is watched, and some of the rest."""

    async def run(self) -> Ending:
        """Ask about the resources, and about those that differ once more. Raises EtlError."""
        unit, parents = self.lease.unit, self._resource.parents
        assert parents is not None
        # A sync that found nothing to ask about has checked nothing, and nothing is to be compared.
        has_run = (await self._watermark()).tail_until is not None
        if not has_run and not (await self._rotation_state(parents)).oldest_check:
            return await self._nothing_known()
        differences, before = self._comparer.differences, self._request.before
        if before is None:
            await self._begin()
            how = await self._compare_some(parents)
        else:
            # After a repair only what differed is compared.
            self._drawn, how = before.drawn, before.how
            await differences.doubt(unit)
        if found := await differences.unconfirmed(unit, AT_ONCE, ()):
            self._confirming = True
            skipped = self._tally.skipped
            again = await parents_of(self._tools, self._resource, unit.project_id, found)
            await self._check(parents, again, answered=True)
            if self._tally.skipped is None:
                await differences.keep_confirmed(unit)
            self._tally.skipped = self._tally.skipped or skipped
        await differences.note_orphans(unit)
        if self._clocks_disagree():
            await self._leave()
            return self._ending_of(None)
        return await self._conclude((), None, how)

    async def _compare_some(self, parents: Parents) -> How:
        """Compare what is watched, and some of the rest; tell what was compared."""
        unit, most = self.lease.unit, self._options.rotation_requests
        for attempt in self._tools.database.attempts():
            async with attempt:
                watched, drawn, others = await self._tools.parents.checked_parents(
                    unit.project_id, unit.stream, parents, most
                )
        turn = [*watched, *drawn]
        self._expect(Forecast(len(turn), exact=True))
        await self._check(parents, turn, answered=True)
        self._drawn = (len(drawn), others) if len(drawn) < others else None
        return self._request.how if self._drawn is None else How.SAMPLE


async def parents_of(
    tools: Tools, resource: Resource, project_id: int, keys: Sequence[str]
) -> list[Parent]:
    """Return the parents of the records with these keys. Raises DestinationError."""
    parents = resource.parents
    assert parents is not None
    ((name, _),) = parents.fields.items()
    place = resource.key.index(name)
    named = [str(json.loads(key)[place]) for key in keys]
    for attempt in tools.database.attempts():
        async with attempt:
            found = await tools.parents.of_keys(project_id, parents, named)
    return found


def place_of(
    reader: RecordingsReader, windows: Sequence[Span], known: Sequence[str]
) -> RecordingsPlace:
    """Return a place for questions about single records, without a reading before them.

    known: keys of records that are there. Without one an answer is not believed.
    """
    place = reader.beginning(Window(windows[0].since, windows[-1].until))
    return replace(place, witness=known[0] if known else None)
