"""The page of runs: the newest first, with filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etl.core.statuses import DIED, RUNNING
from etl.loaders.listing import Listed, Turn
from etl.service.page.filters import STATUSES, Asked
from etl.service.page.overview import state_of

SHOWN = 50

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in the list. reason: why it did not succeed; None if it did, or runs."""

    run: Row
    state: str
    reason: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list. newer, older: the addresses of the parts beside it, None if none is.

    streams, projects: what the form offers.
    """

    at: datetime
    asked: Asked
    newer: str | None
    older: str | None
    streams: Sequence[str]
    projects: Sequence[int]


@dataclass(frozen=True, slots=True)
class RunsPage(Part):
    """A part of the runs."""

    runs: Sequence[ListedRun]

    @property
    def statuses(self) -> Sequence[str]:
        """What the form offers."""
        return STATUSES

    @property
    def moving(self) -> bool:
        """Whether one of them runs."""
        return any(each.state == RUNNING for each in self.runs)


def runs_page(
    asked: Asked, listed: Listed, streams: Sequence[str], projects: Sequence[int]
) -> RunsPage:
    """Return the page of a part of the list."""
    newer, older = addresses("runs", asked, listed, ("started_at", "id"))
    return RunsPage(
        at=listed.at,
        asked=asked,
        runs=[listed_run(run, listed.at) for run in listed.rows],
        newer=newer,
        older=older,
        streams=streams,
        projects=projects,
    )


def addresses(
    page: str, asked: Asked, listed: Listed, key: Sequence[str]
) -> tuple[str | None, str | None]:
    """Return where the newer and the older part of a list are; None: there is none."""

    def beside(row: Row, *, newer: bool) -> str:
        return asked.address(page, Turn(tuple(row[name] for name in key), newer))

    if not listed.rows:
        return (asked.address(page) if asked.turn is not None else None), None
    return (
        beside(listed.rows[0], newer=True) if listed.newer else None,
        beside(listed.rows[-1], newer=False) if listed.older else None,
    )


def listed_run(run: Row, at: datetime) -> ListedRun:
    """Return a run, with `held`, as it is shown."""
    state = state_of(run)
    died = run["status"] == RUNNING and state != RUNNING
    return ListedRun(
        run=run,
        state=state,
        reason=DIED if died else run["reason"],
        seconds=max(0.0, ((run["ended_at"] or at) - run["started_at"]).total_seconds()),
    )
