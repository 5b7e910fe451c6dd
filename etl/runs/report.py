"""What a run says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from etl.core.standing import SET_ASIDE
from etl.errors import (
    EXIT_FAILED,
    EXIT_PARTIAL,
    EXIT_SUCCEEDED,
    BudgetSpent,
    EtlError,
    LeaseHeld,
    ListingBroken,
    Stopped,
    StreamUnavailable,
)
from etl.loaders.loader import Absence

SUCCEEDED, PARTIAL, PAUSED, FAILED, HELD = "succeeded", "partial", "paused", "failed", "held"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a unit ended: a status, the exit code it earns, and why in one line.

    cause: the error that broke it off; None when it was read to its end.
    """

    status: str
    exit_code: int
    reason: str | None = None
    paused_for_s: float | None = None
    cause: type[BaseException] | None = None


@dataclass(slots=True)
class Report:
    """The outcome of one unit. Counts are of this run; `rows` is what each table holds now."""

    project_id: int | str
    stream: str
    unit: str
    ending: Ending
    run_id: str | None = None
    seconds: float = 0.0
    records_read: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rejected: int = 0
    requests: int = 0
    bytes_read: int = 0
    waited_s: float = 0.0
    paused_until: datetime | None = None
    complete_until: datetime | None = None
    forecast_requests: int | None = None
    forecast_exact: bool | None = None
    rows: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "project_id": self.project_id,
            "stream": self.stream,
            "unit": self.unit,
            "status": self.ending.status,
            "reason": self.ending.reason,
            "run_id": self.run_id,
            "seconds": round(self.seconds, 3),
            "records_read": self.records_read,
            "rows_inserted": self.rows_inserted,
            "rows_updated": self.rows_updated,
            "rejected": self.rejected,
            "requests": self.requests,
            "bytes_read": self.bytes_read,
            "waited_s": round(self.waited_s, 3),
            "paused_until": _text(self.paused_until),
            "forecast_requests": self.forecast_requests,
            "forecast_exact": self.forecast_exact,
            "complete_until": _text(self.complete_until),
            "rows": dict(self.rows),
        }


def ending_of(exc: EtlError) -> Ending:
    """Return how a unit ends that was broken off by `exc`."""
    status, paused_for_s = FAILED, None
    if isinstance(exc, BudgetSpent):
        status, paused_for_s = PAUSED, exc.wait_s
    elif isinstance(exc, LeaseHeld):
        status = HELD
    elif isinstance(exc, StreamUnavailable | ListingBroken | Stopped):
        status = PARTIAL
    return Ending(status, exc.exit_code, str(exc), paused_for_s, type(exc))


def not_begun() -> Stopped:
    """Return the error of a unit whose turn did not come before the request to stop."""
    return Stopped("Stopped before it began; the next run goes on there")


@dataclass(slots=True)
class Tally:
    """What a reading to the end has to own up to.

    complete: whether it vouches for every row. rejected: records newly set aside. withheld: what
    vanished, when that was too much to believe. unjudged: whether something vanished that may also
    be a record that could not be read. cut: a list showed less than it has. passed_over: resources
    that could not be asked about, and why the last one.
    """

    complete: bool = True
    rejected: int = 0
    withheld: Absence | None = None
    unjudged: bool = False
    cut: bool = False
    passed_over: tuple[int, str] | None = None


def honest_ending(tally: Tally, stream: str = "") -> Ending:
    """Return how a unit of `stream` ends that was read to its end and committed."""
    reasons = []
    if not tally.complete:
        reasons.append(
            "The list kept changing while it was read: no two passes agreed, so rows may be "
            "missing. The next run reads it again"
        )
    if tally.withheld is not None:
        reasons.append(
            f"{tally.withheld.suspects:,} of {tally.withheld.alive:,} records have vanished at "
            "once, so none of them was marked deleted. If that is right, run "
            f"`posthog-etl sync --accept-deletions {stream}`"
        )
    if tally.unjudged:
        reasons.append(
            "Something is not in the list any more, and a record in it does not tell which one it "
            "is, so nothing was marked deleted. See `posthog-etl rejects list`"
        )
    if tally.cut:
        reasons.append(
            "Some lists have more than one answer shows, and no further pages: their oldest "
            "entries are missing"
        )
    if tally.passed_over is not None:
        count, why = tally.passed_over
        reasons.append(f"{count:,} could not be asked about and wait for their next turn: {why}")
    if tally.rejected:
        reasons.append(f"{SET_ASIDE}{tally.rejected}. See `posthog-etl rejects list`")
    if reasons:
        return Ending(PARTIAL, EXIT_PARTIAL, ". ".join(reasons))
    return Ending(SUCCEEDED, EXIT_SUCCEEDED)


def defect_ending(exc: BaseException) -> Ending:
    """Return how a unit ends that met a defect of ours."""
    return Ending(FAILED, EXIT_FAILED, f"Unexpected {type(exc).__name__}: {exc}", cause=type(exc))


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
