"""The Loader protocol: its contract in words. `tests/contract` checks every loader against it."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from etl.core.coverage import Span
from etl.core.drift import Drift
from etl.core.growing import ListRead
from etl.core.hashes import NONE_UNCHANGED, Rows, Unchanged
from etl.core.page import Batch
from etl.core.place import Evidence, WholeLists
from etl.loaders.leases import Lease


class Closing(Struct, frozen=True):
    """What becomes true when a reading ends.

    complete: the stretches of time that are now known complete; empty if the reading could not
    vouch for every row. In that case tail_until and swept are None.
    tail_until: where the next sync goes on; None if the window was not the tail.
    swept: see `Lookback.sweep`.
    traits: how the server was found to behave, kept for the next run.
    """

    complete: Sequence[Span]
    tail_until: datetime | None
    swept: Mapping[str, datetime] | None
    traits: Mapping[str, Any]


class CutRecord(NamedTuple):
    """A record that a request showed without its beginning or its end.

    seen: a hash of what the request showed of it.
    """

    key: str
    seen: str


class Commit(Struct, frozen=True):
    """Everything that one transaction writes besides the rows.

    observed_at: when the request of the last page was sent, by the database's clock.
    source_at: the time on which the clocks agreed then; None if no request was sent or none agreed.
    position: where a later run goes on; None if the reading has ended.
    requests, bytes_read: counted since the last commit.
    evidence: what each page says about stored records that are not on it.
    gone: keys of records that were asked for and do not exist.
    checked: keys of resources that were checked, and of suspects that were asked for and are not
    gone.
    tried: keys of resources whose check failed; they stay due.
    follow_parents: whether to mark rows deleted whose parents or owners are gone.
    asked: the (date_from, date_to) of the request. A record that these dates cut does not replace
    the stored row; it is noted instead (`Loader.cut`).
    settled: cut records that were asked for by key.
    resolved: keys of rejects that this batch loads again. They are marked resolved unless Postgres
    refuses their rows again.
    unchanged: records that the pages show and that need no writing.
    read: lists that grow and end with these pages.
    whole: the lists of parents, of which all was read with these pages. They count as read only
    once a commit has `settles_lists`.
    opens_lists: note of each parent in which state it is, before any of its lists is read; from
    then on it is fixed which lists this reading leaves out.
    settles_lists: what the lists did not show is judged.
    after: the load of the batch before; it returns whether it changed any row. Rows are staged
    while it runs, and written once it has committed; if it fails, nothing is written.
    """

    observed_at: datetime
    position: Mapping[str, Any] | None
    requests: int
    bytes_read: int
    source_at: datetime | None = None
    evidence: Sequence[Evidence] = ()
    gone: Sequence[str] = ()
    checked: Sequence[str] = ()
    tried: Sequence[str] = ()
    follow_parents: bool = False
    closing: Closing | None = None
    asked: tuple[datetime, datetime] | None = None
    settled: Sequence[CutRecord] = ()
    resolved: Sequence[str] = ()
    unchanged: Unchanged = NONE_UNCHANGED
    read: Sequence[ListRead] = ()
    whole: Sequence[WholeLists] = ()
    opens_lists: bool = False
    settles_lists: bool = False
    after: Task[bool] | None = None


# A dataclass, because only what it changed is compared.
@dataclass(frozen=True, slots=True)
class Loaded:
    """What a batch changed. `rejected` counts only records that were not rejected before.

    drift: how its records differ from the catalogue, as far as that was not known.
    records: how many were shown; unchanged: how many of them needed no writing; counts.
    """

    inserted: int = 0
    updated: int = 0
    rejected: int = 0
    drift: Sequence[Drift] = ()
    records: int = field(default=0, compare=False)
    unchanged: int = field(default=0, compare=False)


class ExpiryQuery(Struct, frozen=True):
    """Which records have expired: those past their time that the unit's reading did not show.

    A record that the reading showed after its time is alive.

    now: the time on which the clocks agree.
    started_before: records that start before it were not read. Such a record also counts if its
    time came after `after`, or if it is in `gone`. None: no such records.
    after: None means any time.
    gone: keys of records that the server does not have.
    recalls: whether to also find records that a wrong clock marked before their time; they are
    alive.
    """

    now: datetime
    started_before: datetime | None = None
    after: datetime | None = None
    gone: Sequence[str] = ()
    recalls: bool = False


class UnseenCounts(Struct, frozen=True):
    """How many stored records the unit's reading did not show.

    suspects: their number.
    alive: how many records are not gone; counted only if there are suspects.
    unasked: how many suspects were never asked for by key since they vanished.
    lost: how many records were marked deleted within a day, by any command; counted only if there
    are suspects.
    """

    suspects: int
    alive: int
    unasked: int = 0
    lost: int = 0


class ExpiringCounts(Struct, frozen=True):
    """How many records are past their time and not marked, and how many are not gone.

    sample: keys of some of the former.
    """

    rows: int
    alive: int
    sample: Sequence[str]


Stored = Mapping[str, set[Any]]
"""By table, the keys of rows that are stored and not gone, with the hash that a batch shows."""

NONE_STORED: Stored = {}

# Returns the batch and its commit. Is called again if the load is repeated.
BatchOf = Callable[[Stored], tuple[Batch, Commit]]


class Loader(Protocol):
    """Loads batches of one resource of a stream.

    After `load` returns, all of a batch is visible; if it raises, nothing of it ever is. Rows,
    rejects, run counters and checkpoint commit together. Loading the same batch again changes
    nothing. Of two readings of a row the one observed later wins, in whatever order they are
    loaded. A row that Postgres refuses is rejected; the others load.
    """

    async def load(self, lease: Lease, batch: Batch, commit: Commit) -> Loaded:
        """Load one batch. Raises LeaseLost (nothing was written) and DestinationError."""
        ...

    async def load_changed(self, lease: Lease, rows: Rows, batch_of: BatchOf) -> Loaded:
        """Load what `batch_of` returns for those of the rows that are stored like this.

        Otherwise as `load`.
        """
        ...

    async def expire(
        self, lease: Lease, outdated: ExpiryQuery, most: int | None
    ) -> ExpiringCounts | None:
        """Mark what the source has dropped by its own rule. Returns None if that is done.

        most: if more records than this would be marked, none is, and they are returned instead.
        None: no limit. Safe to repeat. Raises LeaseLost and DestinationError.
        """
        ...

    async def weigh(self, lease: Lease, accepted_at: datetime | None) -> UnseenCounts:
        """Count what the unit's reading did not show.

        Also forgets, for all other records, that they were asked for by key.
        accepted_at: what was marked deleted before this instant does not count as lost.
        Safe to repeat. Raises LeaseLost and DestinationError.
        """
        ...

    async def suspects(self, lease: Lease, after: str, limit: int) -> Sequence[str]:
        """Return the next suspects after the key `after`. Raises DestinationError."""
        ...

    async def cut(self, lease: Lease, limit: int, failed: Sequence[str]) -> Sequence[CutRecord]:
        """Return records of the stream that came cut and are to be asked for by key.

        It leaves out records that were asked for and came cut in the same way again, and those in
        `failed`, which the next run asks for. Raises DestinationError.
        """
        ...

    async def due(self, lease: Lease, limit: int, failed: Sequence[str]) -> Sequence[str]:
        """Return keys of suspects to ask for; first those never asked for, or whose request failed.

        It leaves out suspects that were asked for within a day and exist or are hidden, and those
        in `failed`, which the next run asks for. Raises DestinationError.
        """
        ...

    async def unasked(self, lease: Lease) -> int:
        """Return how many suspects are left that were never asked for. Raises DestinationError."""
        ...

    async def known(self, lease: Lease, limit: int) -> Sequence[str]:
        """Return keys of stored records that are neither gone nor suspects, the latest first.

        Raises DestinationError.
        """
        ...

    async def withhold(self, lease: Lease) -> None:
        """Leave what the unit's reading did not show to the next sync, which asks again.

        Safe to repeat. Raises LeaseLost and DestinationError.
        """
        ...
