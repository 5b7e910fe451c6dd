"""What a run says of itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from etl.core.expected import RUNS_BEFORE_ACCEPTING, Lacking
from etl.core.reconciling import Found
from etl.core.statuses import SET_ASIDE, Fault
from etl.errors import (
    EXIT_FAILED,
    EXIT_PARTIAL,
    EXIT_SUCCEEDED,
    BudgetSpent,
    DestinationError,
    EtlError,
    KeyRefused,
    LeaseHeld,
    ListingBroken,
    SourceError,
    Stopped,
    StreamUnavailable,
)
from etl.loaders.loader import ExpiringCounts, UnseenCounts
from etl.loaders.row_counts import Count

# The first one that an error belongs to.
_FAULTS: Mapping[type[EtlError], Fault] = {
    KeyRefused: Fault.KEY,
    StreamUnavailable: Fault.UNAVAILABLE,
    SourceError: Fault.SOURCE,
    DestinationError: Fault.DATABASE,
    Stopped: Fault.STOPPED,
}
SUCCEEDED, PARTIAL, PAUSED, FAILED, HELD = "succeeded", "partial", "paused", "failed", "held"


class Ending(Struct, frozen=True):
    """How a unit ended: a status, the exit code it earns, and why in one line.

    cause: the error that broke it off; None when it was read to its end. fault: what is at fault,
    see `etl.core.statuses.Fault`; None if it is none of these.
    """

    status: str
    exit_code: int
    reason: str | None = None
    paused_for_s: float | None = None
    cause: type[BaseException] | None = None
    fault: Fault | None = None


class Report(Struct):
    """The outcome of one unit. Counts are of this run; `rows` is what each table holds now.

    found: what a comparison has found.
    """

    project_id: int | str
    stream: str
    unit: str
    ending: Ending
    run_id: str | None = None
    seconds: float = 0.0
    records_read: int = 0
    records_read_fast: int = 0
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
    rows: Mapping[str, Count] = field(default_factory=dict)
    found: Found | None = None

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
            "records_read_fast": self.records_read_fast,
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
            "rows": {name: count.rows for name, count in self.rows.items()},
            "rows_estimated": [name for name, count in self.rows.items() if not count.exact],
            **({} if self.found is None else _found_as_json(self.found)),
        }


def _found_as_json(found: Found) -> dict[str, Any]:
    return {
        "how": str(found.how),
        "checked_at": _text(found.checked_at),
        "missing": found.total("missing"),
        "surplus": found.total("surplus"),
        "different": found.total("different"),
        "repaired": found.repaired,
        "on_their_way": found.on_their_way,
        "young": found.young,
        "unconfirmed": found.unconfirmed,
        "expired": found.expired,
        "unverifiable_persons": found.unverifiable,
        "drawn": None if found.drawn is None else found.drawn[0],
        "drawn_from": None if found.drawn is None else found.drawn[1],
        "windows": [
            {
                "table": table,
                "since": None if span is None else _text(span.since),
                "until": None if span is None else _text(span.until),
                "source_count": each.source,
                "destination_count": each.destination,
                "missing": each.missing,
                "surplus": each.surplus,
                "different": each.different,
                "how": str(found.how_of(span)),
            }
            for (table, span), each in found.counts.items()
        ],
        "differences": [each._asdict() for each in found.sample],
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
    fault = next((fault for kind, fault in _FAULTS.items() if isinstance(exc, kind)), None)
    return Ending(status, exc.exit_code, str(exc), paused_for_s, type(exc), fault)


def codes_of_streams(reports: Sequence[Report], named: Collection[str]) -> list[int]:
    """Return the exit codes that the streams of a sync or a comparison add to the command's.

    named: the streams that the user asked for by name. A stream that nobody named and that was
    never available adds none, unless nothing else is available either.
    """
    available = {
        each.stream
        for each in reports
        if each.ending.cause is not StreamUnavailable or each.complete_until is not None
    }
    excused = {each.stream for each in reports} - available - set(named)
    if not available:
        excused = set()
    return [each.ending.exit_code for each in reports if each.stream not in excused]


def code_of_slice(report: Report) -> int:
    """Return the exit code that a slice of a verification adds to that of a sync.

    A slice that was not finished goes on later, and what a sync is to blame for it reports itself.
    """
    found = report.found
    if found is not None and found.differences and not found.repaired:
        return EXIT_PARTIAL
    return report.ending.exit_code if report.ending.status == FAILED else EXIT_SUCCEEDED


def not_begun() -> Stopped:
    """Return the error of a unit that had not begun when the run was stopped."""
    return Stopped("Stopped before it began; the next run goes on there")


class Tally(Struct):
    """What a reading to the end has to own up to.

    complete: whether it vouches for every row. rejected: records newly rejected. withheld: what
    vanished, when that was too much to believe; expiry_withheld: what would expire, likewise.
    unasked: how many records that a list did not show are still to be asked for. unproven: whether
    the server does not answer questions for single records. unjudged: whether something vanished
    that may also be a record that could not be read. cut: a list showed less than it has.
    skipped: resources or records that could not be asked about, and why the last one. clocks:
    what each one says, when no two agree. lacking: of lists that show less than they count, how
    much less. miscounted: how many rows more, or less, a list counts than was expected of what is
    new. ahead: why what is dated far ahead could not be read.
    """

    complete: bool = True
    rejected: int = 0
    withheld: UnseenCounts | None = None
    expiry_withheld: ExpiringCounts | None = None
    unasked: int = 0
    unproven: bool = False
    unjudged: bool = False
    cut: bool = False
    skipped: tuple[int, str] | None = None
    ahead: str | None = None
    clocks: str | None = None
    lacking: Sequence[Lacking] = ()
    miscounted: int = 0


def ending_of_tally(tally: Tally, stream: str = "") -> Ending:
    """Return how a unit of `stream` ends that was read to its end and committed."""
    reasons = []
    if tally.lacking:
        reasons.append(_lacking(tally.lacking, stream))
    elif not tally.complete:
        reasons.append(
            "The list kept changing while it was read: no two passes agreed, so rows may be "
            "missing. The next run reads it again"
        )
    if tally.miscounted:
        more = "more" if tally.miscounted > 0 else "fewer"
        reasons.append(
            f"The server counts {_rows(abs(tally.miscounted))} {more} than is explained by what is "
            "new and what has expired. A sync reads everything again within 6 hours"
        )
    if tally.clocks is not None:
        reasons.append(
            f"No two clocks agree, so nobody knows as of when this is complete: {tally.clocks}. "
            "Set them right"
        )
    if tally.withheld is not None:
        lost, there = tally.withheld.lost, tally.withheld.alive + tally.withheld.lost
        within = f"within a day, {lost:,} of them marked before" if lost else "at once"
        reasons.append(
            f"{tally.withheld.suspects + lost:,} of {there:,} records have vanished {within}, so "
            f"{'no more' if lost else 'none'} of them was marked deleted. If that is right, run "
            f"`posthog-etl sync --accept-deletions {stream}`"
        )
    if tally.expiry_withheld is not None:
        reasons.append(
            f"{tally.expiry_withheld.rows:,} of {tally.expiry_withheld.alive:,} records would "
            "expire at once, and the server still has some of them, so none was marked expired: a "
            "clock or their expiry_time is wrong. If they have expired, run "
            f"`posthog-etl sync --accept-deletions {stream}`"
        )
    if tally.unasked:
        reasons.append(
            f"{tally.unasked:,} records that the list did not show are still to be asked for by "
            "their keys; the next runs go on"
        )
    if tally.unproven:
        reasons.append(
            "The server does not find even a record that is there by its key, so what the list did "
            "not show was not marked deleted. If it is gone, run "
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
    if tally.skipped is not None:
        count, why = tally.skipped
        reasons.append(f"{count:,} could not be asked about; the next run asks again: {why}")
    if tally.ahead is not None:
        reasons.append(
            "Recordings dated more than a day ahead could not be read, and are asked for again in "
            f"an hour: {tally.ahead}"
        )
    if tally.rejected:
        reasons.append(f"{SET_ASIDE}{tally.rejected}. See `posthog-etl rejects list`")
    if reasons:
        fault = None
        if tally.withheld is not None or tally.expiry_withheld is not None:
            fault = Fault.WITHHELD
        elif tally.rejected and len(reasons) == 1:
            fault = Fault.REJECTS
        return Ending(PARTIAL, EXIT_PARTIAL, ". ".join(reasons), fault=fault)
    return Ending(SUCCEEDED, EXIT_SUCCEEDED)


def ending_of_comparison(found: Found | None, tally: Tally, stream: str, *, deep: bool) -> Ending:
    """Return how a comparison of `stream` ends. found: None if it could not vouch for every row.

    deep: whether contents were compared.
    """
    ending = ending_of_tally(tally, stream)
    reasons = [ending.reason] if ending.reason else []
    if found is None:
        reasons.append("So nothing was compared to its end; run it again")
    elif found.differences:
        counts = [(found.total(name), name) for name in ("missing", "surplus", "different")]
        said = " and ".join(f"{count:,} {name}" for count, name in counts if count)
        young = f"; of these the next sync reads {found.young:,} again" if found.young else ""
        if found.unconfirmed:
            young += f"; {found.unconfirmed:,} were not asked for by their keys"
        reasons.insert(
            0,
            f"Source and destination differ: {said}{young}. To repair: "
            f"`posthog-etl verify {stream} {'--deep ' if deep else ''}--repair`",
        )
    if reasons:
        return Ending(PARTIAL, EXIT_PARTIAL, ". ".join(each.rstrip(".") for each in reasons))
    return ending


def _lacking(lacking: Sequence[Lacking], stream: str) -> str:
    """Return what is to be said of lists that show less than they count."""
    total = sum(each.rows for each in lacking)
    said = (
        f"The server counts {_rows(total)} more than it showed, so rows may be missing. The next "
        "run reads it again"
    )
    runs = min(each.runs for each in lacking)
    if runs >= RUNS_BEFORE_ACCEPTING:
        said += (
            f". It was the same in the last {runs} runs: if this server always counts so, run "
            f"`posthog-etl sync --accept-count {stream}`"
        )
    return said


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def defect_ending(exc: BaseException) -> Ending:
    """Return how a unit ends that met a defect of ours."""
    said = f"Unexpected {type(exc).__name__}: {exc}"
    return Ending(FAILED, EXIT_FAILED, said, cause=type(exc), fault=Fault.DEFECT)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
