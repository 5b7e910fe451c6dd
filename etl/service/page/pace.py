"""Computes the pace of a backfill from its runs, and when it will be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from etl.core.coverage import Span

# Runs that are further apart than this belong to different backfills.
_APART = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of a backfill: what it has read so far, and when the rest will be done.

    loaded, left: lengths of time, of the windows it has read and of all that is missing.
    done_at: when the rest is done at this pace; None before anything was read.
    """

    began_at: datetime
    windows: int
    loaded: timedelta
    left: timedelta
    low: datetime | None
    requests: int
    paused_until: datetime | None
    done_at: datetime | None


def pace_of(runs: Sequence[Mapping[str, Any]], holes: Sequence[Span], now: datetime) -> Pace | None:
    """Return the pace of the backfill that the newest of `runs` (newest first) belongs to."""
    current = _current(runs, now)
    if not current:
        return None
    began_at = current[-1]["started_at"]
    read = [span for run in current if (span := _read(run)) is not None]
    loaded = sum((span.until - span.since for span in read), timedelta())
    left = sum((hole.until - hole.since for hole in holes), timedelta())
    # The part of an unfinished window that was read counts as loaded, but is still a hole.
    left -= min(left, sum((s.until - s.since for s in _in_hand(current)), timedelta()))
    took = now - began_at
    paused_until = max((run["paused_until"] for run in current if _waits(run, now)), default=None)
    done_at = None
    if loaded > timedelta(0):
        done_at = max(now, paused_until or now) + took * min(left / loaded, 1e5)
    return Pace(
        began_at=began_at,
        windows=sum(run["status"] in ("succeeded", "partial") for run in current),
        loaded=loaded,
        left=left,
        low=min((span.since for span in read), default=None),
        requests=sum(run["requests"] for run in current),
        paused_until=paused_until,
        done_at=done_at,
    )


def _current(runs: Sequence[Mapping[str, Any]], now: datetime) -> list[Mapping[str, Any]]:
    """Return the runs of the current backfill, the newest first; empty if there is none."""
    if not any(run["status"] == "running" or _waits(run, now) for run in runs):
        return []
    current: list[Mapping[str, Any]] = []
    reached = now
    for run in runs:
        ended = run["paused_until"] or run["ended_at"] or now
        if current and reached - ended > _APART:
            break
        current.append(run)
        reached = min(reached, run["started_at"])
    return current


def _waits(run: Mapping[str, Any], now: datetime) -> bool:
    until = run["paused_until"]
    return run["status"] == "paused" and until is not None and until > now


def _in_hand(runs: Sequence[Mapping[str, Any]]) -> list[Span]:
    ended = ("succeeded", "partial")
    return [s for run in runs if run["status"] not in ended and (s := _read(run)) is not None]


def _read(run: Mapping[str, Any]) -> Span | None:
    """Return the part of its window that a run has read, None if nothing."""
    span = span_of(run["unit"])
    if span is None:
        return None
    if run["status"] == "succeeded":
        return span
    low = run.get("low")
    if run["status"] not in ("running", "paused") or low is None:
        return None
    since = max(span.since, datetime.fromisoformat(low))
    return Span(since, span.until) if since < span.until else None


def span_of(unit: str) -> Span | None:
    """Return the window that a unit's name stands for, None if it stands for none."""
    try:
        return Span.parse(unit)
    except (TypeError, ValueError):
        return None
