"""The Loader protocol: the contract in words. `tests/contract` holds every loader to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from etl.core.page import Batch
from etl.loaders.leases import Lease


@dataclass(frozen=True, slots=True)
class Closing:
    """What becomes true when the window closes: complete over [since, until], read to its end.

    vouched is False when the reading ended without agreement; the watermarks then stay.
    traits: what the server was found to do, kept for the next run.
    """

    since: datetime
    until: datetime
    vouched: bool
    traits: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything one transaction writes beside the rows.

    observed_at: when the request of the batch went out, by the database's clock. position: where a
    later run goes on, None when the reading is at its end. requests and bytes_read are counted
    since the last commit. resolved: keys in the rejects table that this batch replays and that
    are to be marked resolved unless Postgres refuses their rows again.
    """

    observed_at: datetime
    position: Mapping[str, Any] | None
    requests: int
    bytes_read: int
    closing: Closing | None = None
    resolved: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a batch changed; `rejected` counts only records not set aside before."""

    inserted: int = 0
    updated: int = 0
    rejected: int = 0


class Loader(Protocol):
    """Loads batches of one stream.

    All of a batch is visible after `load` returns, or nothing of it ever is: rows, rejects, run
    counters and checkpoint commit together. Loading the same batch again changes nothing. Of two
    readings of a row the one observed later stays, whichever is loaded first. A row that Postgres
    refuses is set aside and does not keep the others out.
    """

    async def load(self, lease: Lease, batch: Batch, commit: Commit) -> Loaded:
        """Load one batch. Raises LeaseLost (nothing was written) and DestinationError."""
        ...
