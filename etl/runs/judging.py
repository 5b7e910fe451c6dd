"""Finds out which of the stored records that a complete reading did not show are gone.

Absence is a suspicion. Each suspect is asked for by its key where the API offers that; only a list
whose records have no address of their own is read a second time instead (see `runs.snapshot`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from etl.core.page import Confirmation
from etl.core.place import Place
from etl.errors import RequestRefused, SourceError, SourceUnavailable
from etl.extractors.protocol import id_batches
from etl.loaders.leases import Lease
from etl.loaders.loader import ExpiryQuery, UnseenCounts
from etl.runs.load import Answers, Work
from etl.runs.work import Assignment, stopped

_log = structlog.get_logger(__name__)

# So many records that are there show whether the server answers by key.
WITNESSES = 3
# So many records are taken from the database at once, to be asked for, a count.
AT_ONCE = 1000

Ask = Callable[[Sequence[str], Sequence[str] | None], Awaitable[Confirmation]]


class Accepted(Struct):
    """What a user has accepted to vanish (`sync --accept-deletions`), as traits keep it.

    at: what was marked deleted until then counts no more.
    remaining: by table, how many accepted suspects are still to be asked for.
    """

    at: datetime | None = None
    remaining: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, traits: Mapping[str, Any] | None) -> Accepted:
        """Return what is in `traits`."""
        kept = (traits or {}).get("accepted") or {}
        at = kept.get("at")
        return cls(None if at is None else datetime.fromisoformat(at), dict(kept.get("left") or {}))

    def traits(self) -> dict[str, Any]:
        """Return what traits keep of it: nothing where nothing was ever accepted."""
        if self.at is None:
            return {}
        left = {table: count for table, count in self.remaining.items() if count}
        return {"accepted": {"at": self.at.isoformat(), "left": left}}


class Judging(Work):
    """A way of reading after which absence is judged.

    Answers about single records commit with `place`, where the reading ended.
    """

    accepted: Accepted

    def __init__(self, given: Assignment, lease: Lease) -> None:
        super().__init__(given, lease)
        # How many requests for single records this run has sent.
        self._questions = 0
        # The cut records that could not be asked about in this run, and why.
        self._cut_left: dict[str, str] = {}

    @property
    def _accepts(self) -> bool:
        return self.stream.name in self._options.accept_deletions

    async def _expire(self, outdated: ExpiryQuery, ask: Ask, place: Place) -> bool:
        """Mark what has expired; tell whether it was believed.

        Where more would expire than the guard allows, some of it is asked for: what is still there
        shows that a clock or the expiry is wrong.
        """
        guard, loader = self._options.guard, self._loader
        most = None if self._accepts else guard.rows
        expiring = await loader.expire(self.lease, outdated, most)
        if expiring is None:
            return True
        if guard.trips(expiring.rows, expiring.alive):
            known = await loader.known(self.lease, WITNESSES)
            known = [key for key in known if key not in expiring.sample]
            try:
                found = await ask(expiring.sample, known)
            except SourceError as exc:
                # Nothing is known then, and other streams go on.
                _log.warning("expiry.unconfirmed", reason=exc.message)
                self._tally.expiry_withheld = expiring
                return False
            await self._load([found.page], place)
            if set(found.gone) < set(expiring.sample):
                _log.warning("expiry.withheld", rows=expiring.rows, alive=expiring.alive)
                self._tally.expiry_withheld = expiring
                return False
        await loader.expire(self.lease, outdated, None)
        return True

    async def _expire_outlived(self, outdated: ExpiryQuery, ask: Ask, place: Place) -> None:
        """Mark what was shown after its time, where no reading shows it again, and is gone now.

        Each by its own answer, some at a time, and on with the next while all of them are gone: a
        server may go on to list what has expired.
        """
        outlived, client = replace(outdated, after=None), self._tools.client
        known, loader = None, self._loader
        while self._questions < self._options.confirm_requests and not self._stop.is_set():
            some = await loader.expire(self.lease, outlived, 0)
            if some is None:
                return
            if known is None:
                known = await loader.known(self.lease, WITNESSES)
            sample = some.sample[: self._options.confirm_requests - self._questions]
            before = client.requests
            try:
                found = await ask(sample, [key for key in known if key not in sample])
            except SourceError as exc:
                # The next sync asks again. Nothing else depends on the answer.
                _log.warning("expiry.unconfirmed", reason=exc.message)
                return
            self._questions += max(1, client.requests - before)
            await self._load([found.page], place)
            await loader.expire(self.lease, replace(outdated, gone=found.gone), None)
            if set(found.gone) < set(sample):
                return  # the server still has what has expired

    async def _weigh(self) -> UnseenCounts | None:
        """Return what the reading did not show; None if the guard does not believe it.

        What the stream lost within a day counts, whatever commands did it. What is known to be
        hidden has not vanished, and what was accepted does not count again.
        """
        absence = await self._loader.weigh(self.lease, self.accepted.at)
        allowed = self.accepted.remaining.get(self._resource.tables[0].name, 0)
        vanished = max(0, absence.unasked - allowed)
        if vanished and self._is_too_much(vanished, absence):
            self._withhold(vanished, absence)
            return None
        return absence

    async def _ask_for(
        self, absence: UnseenCounts, at_once: int, ask: Ask, place: Place | None
    ) -> None:
        """Ask for the suspects by their keys, as many as one run may, and mark those gone.

        What is left is asked for by the next runs, before what was asked for already.
        """
        client, most = self._tools.client, self._options.confirm_requests
        loader, table = self._loader, self._resource.tables[0].name
        known = None if self._accepts else await loader.known(self.lease, WITNESSES)
        allowed = self.accepted.remaining.get(table, 0)
        gone, failed, why = 0, list[str](), ""
        while self._questions < most and (keys := await loader.due(self.lease, at_once, failed)):
            if self._stop.is_set():
                raise stopped()
            before = client.requests
            batch = next(id_batches(keys))[: most - self._questions]
            found = await ask(batch, known)
            self._questions += max(1, client.requests - before)
            failed, why = [*failed, *found.failed], found.why_failed or why
            if not found.proven:
                self._tally.unproven = True
            lost = max(0, gone + len(found.gone) - allowed)
            if found.gone and lost and self._is_too_much(lost, absence):
                self._withhold(lost, absence)
                break
            gone += len(found.gone)
            answers = Answers(gone=found.gone, existing=found.existing, failed=found.failed)
            await self._load([found.page], place, answers=answers)
            if not found.proven:
                break
        if failed:
            self._skip(failed, why)
        unasked = await loader.unasked(self.lease)
        self._tally.unasked = unasked if self._questions >= most else 0
        if self._accepts:
            self.accepted.remaining[table] = unasked
        elif allowed:
            self.accepted.remaining[table] = max(0, min(unasked, allowed - gone))
            if gone:
                # Or what was accepted would count as lost.
                self.accepted.at = await self._tools.history.database_now()

    async def _ask_for_cut(self, ask: Ask, place: Place) -> None:
        """Ask by key for the records that the dates of a request cut, and load them whole.

        A record that is gone stays as it is: what vanished is found elsewhere. One that could not
        be asked about is left to the next run, and so are all when nothing is answered.
        """
        left = self._cut_left
        while cut := await self._loader.cut(self.lease, AT_ONCE, list(left)):
            seen = {each.key: each for each in cut}
            known = await self._loader.known(self.lease, AT_ONCE)
            known = [key for key in known if key not in seen][:WITNESSES]
            rest = set(seen)
            for keys in id_batches(seen):
                if self._stop.is_set():
                    raise stopped()
                try:
                    found = await ask(keys, known)
                except (SourceUnavailable, RequestRefused) as exc:
                    left |= dict.fromkeys(rest, exc.message)
                    break
                rest -= set(keys)
                page, why = found.page, found.why_failed or "none is found by its key"
                _log.info("cuts.asked", records=len(keys), found=len(page.records))
                shown = page.evidence.keys if page.evidence else ()
                answered = {*shown, *found.gone, *found.existing}
                left |= {key: why for key in keys if key not in answered}
                settled = [seen[key] for key in keys if key in answered]
                await self._load([page], place, answers=Answers(settled=settled))
        if left:
            self._skip(left, [*left.values()][-1])

    async def _suspects(self) -> AsyncIterator[list[str]]:
        """Yield the keys of what was not seen, as many as fit into a request."""
        after = ""
        while keys := await self._loader.suspects(self.lease, after, AT_ONCE):
            after = keys[-1]
            for batch in id_batches(keys):
                if self._stop.is_set():
                    raise stopped()
                yield batch

    async def _note_accepted(self) -> None:
        """Note that what was marked deleted so far was accepted, where it was."""
        if self._accepts:
            self.accepted.at = await self._tools.history.database_now()

    def _is_too_much(self, vanished: int, absence: UnseenCounts) -> bool:
        trips = self._options.guard.trips(vanished + absence.lost, absence.alive + absence.lost)
        return trips and not self._accepts

    def _withhold(self, vanished: int, absence: UnseenCounts) -> None:
        _log.warning("deletions.withheld", absent=vanished, rows=absence.alive, lost=absence.lost)
        self._tally.withheld = UnseenCounts(vanished, absence.alive, lost=absence.lost)
