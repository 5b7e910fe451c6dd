"""Decide which failures still count: until the same unit was read without a fault. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

from etl.core.coverage import Coverage, Span
from etl.core.stream import REPAIR, RESYNC, TAIL, VERIFY, VERIFY_DEEP, VERIFY_SLICE, Mode

Row = Mapping[str, Any]

FAILED, PARTIAL, PAUSED, RUNNING, SUCCEEDED = "failed", "partial", "paused", "running", "succeeded"
# The unit of `rejects retry`, beside the units that are read.
REJECTS = "rejects"
# Begins the reason of a run whose only fault is rejected records.
SET_ASIDE = "Records that could not be stored: "
DIED = "The process ended without a word; the next run goes on"
_WORST_FIRST = (FAILED, PARTIAL, PAUSED)


class Fault(StrEnum):
    """What is at fault if a run did not succeed, as far as it is one of these."""

    KEY = "key"
    UNAVAILABLE = "unavailable"
    SOURCE = "source"
    DATABASE = "database"
    DEFECT = "defect"
    DIED = "died"
    STOPPED = "stopped"
    WITHHELD = "withheld"
    REJECTS = "rejects"


class Chosen(Struct, frozen=True):
    """Which runs are shown. What is empty or None leaves out nothing.

    since, until: when they began; until is not included.
    """

    streams: Sequence[str] = ()
    statuses: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self == Chosen()

    def has(self, row: Row) -> bool:
        """Tell whether a stream is shown, by the status and the last run that `status` shows."""
        status, began = shown_status(row), row["started_at"]
        return (
            (not self.streams or row["stream"] in self.streams)
            and (not self.statuses or status in self.statuses)
            and (self.since is None or began >= self.since)
            and (self.until is None or began < self.until)
        )


def shown_status(row: Row) -> str:
    """Return the status of a stream; failed if its run no longer holds the unit it works on."""
    died = row["status"] == RUNNING and not row["held"]
    return FAILED if died else str(row["status"])


def shown_run(row: Row) -> dict[str, Any]:
    """Return a run, with `held`, as it is shown: one that no longer holds its unit has failed."""
    shown = {name: value for name, value in row.items() if name != "held"}
    if shown_status(row) != row["status"]:
        shown |= {"status": FAILED, "reason": DIED, "fault": Fault.DIED.value}
    return shown


_WORDS = {
    **dict.fromkeys((TAIL, *(mode.value for mode in Mode)), "sync"),
    REJECTS: "retry of rejects",
    RESYNC: "resync",
    VERIFY: "verify",
    VERIFY_DEEP: "verify --deep",
    VERIFY_SLICE: "verify, a part",
    REPAIR: "repair",
}


def work_of(unit: str) -> str:
    """Return what a run of this unit does, in words: sync, resync, or the dates of a window."""
    window = _span(unit)
    if window is None:
        return _WORDS.get(unit, unit)
    since, until = (
        _plain(at).removesuffix("Z").removesuffix(":00").removesuffix("T00:00") for at in window
    )
    return f"{since} to {until}"


def asked_share(resources: int, never_checked: int) -> str | None:
    """Return which part of the resources of a rotation was asked about, in words.

    None if it is everything, or if there is nothing to ask about.
    """
    if not never_checked or not resources:
        return None
    percent = 100 * (resources - never_checked) / resources
    return f"{percent:.0f} % asked" if percent >= 1 else f"{percent:.1g} % asked"


def is_first_load(status: str, known_until: datetime | None) -> bool:
    """Tell whether a stream is being read of which nothing is known complete yet."""
    return known_until is None and status in (RUNNING, PAUSED)


class Failure(Struct, frozen=True):
    """A unit whose latest run failed or was partial. `retry`: the command that reads it again.

    fault: what is at fault; None if it is no `Fault`.
    """

    unit: str
    status: str
    reason: str
    started_at: datetime
    retry: str
    fault: str | None = None

    @property
    def about(self) -> str:
        """What the failed run was to do, in words."""
        if self.unit == REJECTS:
            return "The replay of rejects"
        if self.unit == RESYNC:
            return "The resync"
        span = _span(self.unit)
        if span is None:
            return "The last sync"
        since, until = (_plain(at) for at in span)
        return f"The backfill from {since} to {until}"

    @property
    def again(self) -> str:
        """What is to be said of it while it is read again."""
        ended = "failed" if self.status == FAILED else f"was {self.status}"
        return f"{self.about} {ended}, and runs again now: {self.reason}"


def failures(
    stream: str, latest: Sequence[Row], complete: Coverage, rejects: int, *, filters: bool
) -> list[Failure]:
    """Return the failures of a stream that still count, the newest first.

    latest: the latest run of each unit; `held` tells whether it still holds the unit.
    rejects: how many records are rejected now.
    filters: whether the server filters by date. If it does not, a sync reads what a window would.
    """
    found = []
    for run in sorted(latest, key=lambda run: run["started_at"], reverse=True):
        status = shown_status(run)
        died = status != run["status"]
        if status not in (FAILED, PARTIAL):
            continue
        reason = DIED if died else str(run["reason"] or status)
        only_rejects = reason.startswith(SET_ASIDE) or run["unit"] == REJECTS
        if (only_rejects and not rejects) or _read_since(run, latest, filters=filters):
            continue
        retry = _retry(stream, run["unit"], complete)
        fault = Fault.DIED if died else run.get("fault")
        found.append(Failure(run["unit"], status, reason, run["started_at"], retry, fault))
    return found


def retried(stream: str, latest: Sequence[Row], rejects: int) -> Failure | None:
    """Return the failure of a unit that is being read again right now; None if there is none.

    latest: the latest run of each unit, with the latest one before it that has ended: `was_status`,
    `was_reason` and `was_started_at`.
    """
    for run in latest:
        status, reason = run["was_status"], str(run["was_reason"] or "")
        if shown_status(run) != RUNNING or status not in (FAILED, PARTIAL):
            continue
        if reason.startswith(SET_ASIDE) and not rejects:
            continue
        retry = _retry(stream, run["unit"], Coverage())
        return Failure(run["unit"], status, reason or status, run["was_started_at"], retry)
    return None


def state_of(row: Row, found: Sequence[Failure]) -> dict[str, Any]:
    """Return `status` and `reason` of a stream: those of its last run or of its worst failure.

    row: the last run, with `held`.
    """
    if row["status"] == RUNNING and row["held"]:
        return {"status": RUNNING, "reason": None}
    worst = min(found, key=lambda each: _WORST_FIRST.index(each.status), default=None)
    paused = row["status"] == PAUSED
    if worst is None or (paused and worst.status != FAILED):
        return {"status": row["status"], "reason": row["reason"]}
    if worst.unit == row["unit"]:
        return {"status": worst.status, "reason": worst.reason}
    reason = f"{worst.about}: {worst.reason.rstrip('.')}. Then: `{worst.retry}`"
    return {"status": worst.status, "reason": reason}


def _read_since(run: Row, latest: Sequence[Row], *, filters: bool) -> bool:
    """Tell whether later runs have read all of the failed run's window without a fault."""
    span = _span(run["unit"])
    if span is None:
        return False
    later = [
        each
        for each in latest
        if each["status"] == SUCCEEDED and each["started_at"] > run["started_at"]
    ]
    if not filters and any(_span(each["unit"]) is None for each in later):
        return True
    spans = sorted(found for each in later if (found := _span(each["unit"])) is not None)
    return not Coverage(_united(spans)).holes(span)


def _united(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Join spans that overlap or touch. `spans` are sorted."""
    united: list[Span] = []
    for span in spans:
        if united and span.since <= united[-1].until:
            united[-1] = Span(united[-1].since, max(united[-1].until, span.until))
        else:
            united.append(span)
    return tuple(united)


def _retry(stream: str, unit: str, complete: Coverage) -> str:
    if unit == REJECTS:
        return f"posthog-etl rejects retry {stream}"
    if unit == RESYNC:
        return f"posthog-etl resync {stream}"
    span = _span(unit)
    if span is None:
        return f"posthog-etl sync {stream}"
    since, until = (_plain(at) for at in span)
    again = " --again" if complete.covers(span) else ""
    return f"posthog-etl backfill {stream} --since {since} --until {until}{again}"


def _span(unit: str) -> Span | None:
    """Return the time range of a window; None for other units."""
    try:
        return Span.parse(unit)
    except ValueError:
        return None


def _plain(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
