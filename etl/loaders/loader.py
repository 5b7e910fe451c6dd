"""The Loader protocol: the contract in words. `tests/contract` holds every loader to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from etl.core.coverage import Span
from etl.core.page import Batch
from etl.core.place import Sighting
from etl.loaders.leases import Lease


@dataclass(frozen=True, slots=True)
class Closing:
    """What becomes true when a reading is at its end.

    complete: the stretches of time now known complete. tail_until: where the next sync goes on;
    None when the window was not the moving end. swept: see `Lookback.sweep`. Where the reading
    could not vouch for every row, `complete` is empty and the others are None. traits: what the
    server was found to do, kept for the next run.
    """

    complete: Sequence[Span]
    tail_until: datetime | None
    swept: Mapping[str, datetime] | None
    traits: Mapping[str, Any]


class CutRecord(NamedTuple):
    """A record that a request showed without its beginning or end.

    seen: a hash of what the request showed of it.
    """

    key: str
    seen: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything one transaction writes beside the rows.

    observed_at: when the request of the batch went out, by the database's clock; source_at: what
    clocks agreed on then, None where nothing was asked or no two agreed. position: where a later
    run goes on, None when the reading is at its end. requests and bytes_read are counted since the
    last commit. sighting: what the page says about stored records that are not on it. gone: keys of
    records that were asked for and are not there. checked: keys of resources that had their
    turn, or of suspects that were asked for by their key and are not gone; tried: of those that
    were asked about in vain and stay due. follow_parents: mark what belongs to parents that are
    gone. asked: the (date_from, date_to) of the request: a record that these cut does not replace
    the stored one, it is noted instead (`Loader.cut`). settled: cut records that were asked for by
    key. resolved: keys in the rejects table that this batch replays and that are to be marked
    resolved unless Postgres refuses their rows again.
    """

    observed_at: datetime
    position: Mapping[str, Any] | None
    requests: int
    bytes_read: int
    source_at: datetime | None = None
    sighting: Sighting | None = None
    gone: Sequence[str] = ()
    checked: Sequence[str] = ()
    tried: Sequence[str] = ()
    follow_parents: bool = False
    closing: Closing | None = None
    asked: tuple[datetime, datetime] | None = None
    settled: Sequence[CutRecord] = ()
    resolved: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a batch changed; `rejected` counts only records not set aside before."""

    inserted: int = 0
    updated: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Outdated:
    """Which records have expired: those that the unit's reading did not show, and past their time.

    now: what clocks agree on. Besides, those that start before `started_before`, where the reading
    shows nothing, and whose time has come after `after` (None: ever) or that are among `gone`, the
    keys of what the server does not have. What a reading has shown after its time lives on.
    started_before None: none besides. recalls: whether what was marked before its time, by a wrong
    clock, is to be found and lives on, too.
    """

    now: datetime
    started_before: datetime | None = None
    after: datetime | None = None
    gone: Sequence[str] = ()
    recalls: bool = False


@dataclass(frozen=True, slots=True)
class Absence:
    """How many stored records the unit's reading did not show, of how many that are not gone.

    unasked: those among them that were never asked for by their key since they vanished. lost: how
    many records were marked deleted within a day, whatever command did it. alive and lost are only
    counted where there are suspects.
    """

    suspects: int
    alive: int
    unasked: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Expiring:
    """How many records are past their time and not marked, of how many that are not gone.

    sample: keys of some of them.
    """

    rows: int
    alive: int
    sample: Sequence[str]


class Loader(Protocol):
    """Loads batches of one resource of a stream.

    All of a batch is visible after `load` returns, or nothing of it ever is: rows, rejects, run
    counters and checkpoint commit together. Loading the same batch again changes nothing. Of two
    readings of a row the one observed later stays, whichever is loaded first. A row that Postgres
    refuses is set aside and does not keep the others out.
    """

    async def load(self, lease: Lease, batch: Batch, commit: Commit) -> Loaded:
        """Load one batch. Raises LeaseLost (nothing was written) and DestinationError."""
        ...

    async def expire(self, lease: Lease, outdated: Outdated, most: int | None) -> Expiring | None:
        """Mark what the source has dropped by its own rule; None when that is done.

        most: where more records than this would be marked, none is, and they are returned. None:
        however many. Safe to repeat. Raises LeaseLost and DestinationError.
        """
        ...

    async def weigh(self, lease: Lease, accepted_at: datetime | None) -> Absence:
        """Weigh what the unit's reading did not show.

        Forgets of all other records that they were asked for by their key. accepted_at: what was
        marked deleted before is not counted as lost. Safe to repeat. Raises LeaseLost and
        DestinationError.
        """
        ...

    async def suspects(self, lease: Lease, after: str, limit: int) -> Sequence[str]:
        """Return the next keys after `after` of records that the unit's reading did not show."""
        ...

    async def cut(self, lease: Lease, limit: int, failed: Sequence[str]) -> Sequence[CutRecord]:
        """Return records of the stream that came cut and are to be asked for by key.

        A record that comes again cut in the same way is not among them; nor are those in `failed`,
        which are left to the next run.
        """
        ...

    async def due(self, lease: Lease, limit: int, failed: Sequence[str]) -> Sequence[str]:
        """Return keys of suspects to ask for: first those that were never asked for, or in vain.

        One that was asked for within a day, and was there or hidden, is not among them; nor are
        those in `failed`, which are left to the next run.
        """
        ...

    async def unasked(self, lease: Lease) -> int:
        """Return how many suspects are left that were never asked for."""
        ...

    async def known(self, lease: Lease, limit: int) -> Sequence[str]:
        """Return keys of stored records that are not gone and no suspects, the latest first."""
        ...

    async def withhold(self, lease: Lease) -> None:
        """Leave what the unit's reading did not show to the next sync, which asks again.

        Safe to repeat. Raises LeaseLost and DestinationError.
        """
        ...
