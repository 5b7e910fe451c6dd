"""The state of a sequence and how it is judged, for any server."""

from __future__ import annotations

import itertools
import os
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from etl.core.lookback import Lookback
from etl.errors import EXIT_SUCCEEDED
from etl.loaders.leases import TAIL
from etl.runs.backfill import BackfillRange
from etl.runs.report import Ending, Report
from etl.settings import Settings
from tests.proof.claims import Copy, Found, Truth, compare, compare_marks
from tests.proof.counts import Counts
from tests.proof.damage import REMOVE_INVENTED, STATEMENTS, WITHHELD, damaged_rows, misjudged
from tests.proof.rig import STREAM, Kill, Rig
from tests.support.sql import count_earlier

EVERYTHING = "3650d"
# So that a sequence ends soon, no run sends many more requests than this.
_MOST_PAGES = 10
_MOST_WINDOWS = 5
# In one sequence of so many the copy is damaged and repaired.
_DAMAGED_EVERY = 4
MOST_RECORDINGS = 150

NUMBERS = st.integers(0, 200)
PAGE_SIZES = st.sampled_from([1, 2, 3, 5, 7, 10, 20, 50])
LOOKBACKS = st.sampled_from([EVERYTHING, EVERYTHING, EVERYTHING, "1d", "6h, 5d every 6h"])
KILLS = st.builds(Kill, st.sampled_from(["request", "commit"]), st.integers(1, 15), st.booleans())
MAYBE_KILLED = st.one_of(st.none(), st.none(), KILLS)


class AbstractMachineMeta(ABCMeta, type(RuleBasedStateMachine)):
    """The metaclass of a state machine whose subclasses have to define its abstract methods."""


class Sequence(RuleBasedStateMachine, metaclass=AbstractMachineMeta):
    """One sequence. `make_rig` makes what it acts on; `counts` collects its counts."""

    make_rig: ClassVar[Callable[[], Rig]]
    counts: ClassVar[Counts]

    def __init__(self) -> None:
        super().__init__()
        self.rig = type(self).make_rig()
        self.log: list[str] = []
        self.keys: list[str] = []
        self.broken = False
        self.names = itertools.count(1)
        # Since when each recording has been visible with its current start.
        self.since: dict[str, tuple[datetime, datetime]] = {}
        self.truth: Truth
        self.copy: Copy

    # What depends on the server

    def _tick(self) -> None:
        """Advance time, so that no two steps share an instant."""

    @abstractmethod
    def _prepare(self, faults: list[Any]) -> Truth:
        """Prepare these faults for a run; return the truth before it."""

    @abstractmethod
    def _end_faults(self) -> bool:
        """Count the faults that a run met and end them; tell whether the data changed meanwhile."""

    @abstractmethod
    def _read_truth(self) -> Truth:
        """Return what a perfect reader would store now."""

    @abstractmethod
    def _fate(self, key: str) -> str | None:
        """Return what happened to a recording at the source; None if it never existed."""

    @abstractmethod
    def _steady_page(self, ending: Ending) -> int | None:
        """Return the page size for a second try if a run said that it is unsure, else None."""

    # What all servers share

    def teardown(self) -> None:
        """Check that the copy equals the truth at the end of the sequence."""
        try:
            if self.log and not self.broken:
                self._tick()
                self._quiet_sync(20)
                self._verify(20)
                self.counts["sequences"] += 1
        finally:
            self.rig.close()

    def _sync(self, before: Truth, page: int, lookback: str, kill: Kill | None) -> None:
        settings = self.rig.settings(self._page(page), lookback)
        marks = self._watermark()
        began_at = self.rig.now
        oldest = self._oldest_reading("unit = $1")
        unfinished = oldest if oldest < before.at else None
        reports = self.rig.sync(settings, kill=kill)
        self.counts["syncs"] += 1
        found = self._conclude(reports, before, marks, began_at)
        for report in reports or ():
            if report.ending.exit_code == EXIT_SUCCEEDED:
                self._compare_tail(found, before, lookback, marks["tail_until"] or unfinished)
        self._judge(found)

    def _backfill(self, before: Truth, page: int, past: BackfillRange, kill: Kill | None) -> None:
        marks, began_at = self._watermark(), self._oldest_reading("unit <> $1")
        resumes = began_at < before.at
        reports = self.rig.backfill(
            self.rig.settings(self._page(page), EVERYTHING), past, kill=kill
        )
        self.counts["backfills"] += 1
        found = self._conclude(reports, before, marks, began_at)
        for report in reports or ():
            if report.ending.exit_code == EXIT_SUCCEEDED and not resumes:
                since, until = (datetime.fromisoformat(at) for at in report.unit.split("/"))
                self._compare(found, before, lambda at, s=since, u=until: s <= at < u)
        self._judge(found)

    def _quiet_sync(self, page: int) -> None:
        self.rig.let_leases_run_out()
        self.rig.let_pauses_pass()
        self._say(f"quiet_sync page={page}")
        before, marks = self._prepare([]), self._watermark()
        settings = self.rig.settings(self._page(page), EVERYTHING)
        # So that a server that ignores dates is read whole.
        self.rig.execute(count_earlier(hours=25))
        (report,) = self.rig.sync(settings) or ()
        self.counts["syncs"] += 1
        found = self._conclude([report], before, marks, before.at)
        if "have vanished" in (report.ending.reason or ""):  # at once, or within a day
            (report,) = self.rig.sync(settings, accept=[STREAM]) or ()
            self._say(f"  accepted: {report.ending}")
            self.counts["syncs"] += 1
        if larger := self._steady_page(report.ending):
            (report,) = self.rig.sync(self.rig.settings(larger, EVERYTHING), accept=[STREAM]) or ()
            self._say(f"  in a steady order: {report.ending}")
            self.counts["syncs"] += 1
        if report.ending.exit_code != EXIT_SUCCEEDED:
            found.false.append(f"a quiet sync ends {report.ending}")
        self._compare(found, before, lambda at: True, whole=True)
        running = self.rig.select(
            "SELECT unit, command, started_at FROM posthog_etl.runs WHERE status = 'running'"
        )
        found.false += [f"a dead run is still running: {dict(row)}" for row in running]
        self._judge(found)

    def _verify(self, page: int) -> None:
        """Verify the copy, which is equal. In some sequences damage it, and repair it."""
        self._say(f"verify page={page}")
        before, known = self._prepare([]), self._known_complete()
        settings = self.rig.settings(self._page(page), EVERYTHING)
        report = self.rig.verify(settings)
        if larger := self._steady_page(report.ending):
            settings = self.rig.settings(larger, EVERYTHING)
            report = self.rig.verify(settings)
        self._count_verified(known)
        found = Found(false=[*misjudged(report, len(known), {})])
        if self.counts["sequences"] % _DAMAGED_EVERY == _DAMAGED_EVERY - 1:
            self._damage(found, known, settings)
        self._end_faults()
        self._compare(found, before, lambda at: True, whole=True)
        self._judge(found)

    def _damage(self, found: Found, known: list[str], settings: Settings) -> None:
        """Damage the copy. Verify finds each damaged row, and repairs it and no other."""
        held, damaged = self.copy.recordings, damaged_rows(known)
        for kind, keys in damaged.items():
            self.rig.select(STATEMENTS[kind], keys)
        report = self.rig.verify(settings, repair=True)
        if WITHHELD in (report.ending.reason or ""):
            self.rig.execute(REMOVE_INVENTED)
            return
        wanted = {kind: len(keys) for kind, keys in damaged.items()}
        found.false += misjudged(report, len(known), wanted)
        copy = Copy.read(self.rig.stored).recordings
        meant = {*damaged["missing"], *damaged["different"]}
        found.false += [
            f"{key} was written again without need"
            for key, row in held.items()
            if key not in meant and (key not in copy or row["_xid"] != copy[key]["_xid"])
        ]
        self._count_verified(known)
        self.counts["rows damaged"] += sum(wanted.values())

    def _count_verified(self, known: list[str]) -> None:
        self.counts["verifications"] += 1
        self.counts["rows verified"] += len(known)

    def _known_complete(self) -> list[str]:
        """Return the recordings that start within a time that is known complete."""
        spans = self._watermark()["complete"] or []
        return [
            key
            for key, row in sorted(self.truth.recordings.items())
            if any(span.lower <= row["start_time"] < span.upper for span in spans)
        ]

    # How a sequence is judged

    def _conclude(
        self,
        reports: list[Report] | None,
        before: Truth,
        marks: Mapping[str, Any],
        began_at: datetime,
    ) -> Found:
        """Check everything after a run; also what must hold however the run ended."""
        self.counts["kills"] += reports is None
        changed = self._end_faults()
        found = Found()
        for report in reports or ():
            self._say(f"  {report.unit}: {report.ending.status} {report.ending.reason or ''}")
            if report.ending.reason and report.ending.reason.startswith("Unexpected"):
                found.false.append(f"a defect: {report.ending.reason}")
        if reports is None:
            self._say("  killed")
        held = self.copy
        self.copy = Copy.read(self.rig.stored)
        since = dict(self.since)
        if changed or reports is None:
            self._look()
        self.counts["rows compared"] += len(self.copy.recordings)
        found.add(compare_marks(held, self.copy, self.truth, self._fate))
        self._check_growth(found, marks, since, min(began_at, before.at))
        return found

    def _check_growth(
        self,
        found: Found,
        marks: Mapping[str, Any],
        since: Mapping[str, tuple[datetime, datetime]],
        began_at: datetime,
    ) -> None:
        """Check that what became known complete holds all that existed when the reading began."""
        grown = self.rig.select(
            "SELECT part FROM posthog_etl.watermarks, "
            "unnest(complete - $1::tstzmultirange) AS part",
            marks["complete"] or [],
        )
        for row in grown:
            part = row["part"]
            for key, (start, seen_at) in since.items():
                if (
                    seen_at < began_at
                    and part.lower <= start < part.upper
                    and (
                        key not in self.copy.recordings and self.since.get(key) == (start, seen_at)
                    )
                ):
                    found.lost.append(f"{key} starts within {part}, which is called complete")

    def _compare_tail(
        self, found: Found, before: Truth, lookback: str, known_until: datetime | None
    ) -> None:
        """Compare what a sync reads again: what is known until then, back by the lookback.

        A first sync that goes on after an interruption does not read again what it has read.
        """
        since = self.rig.start
        if known_until is not None:
            age = Lookback.parse(lookback).grades[0].age
            since = max(self.rig.start, known_until - age)
        self._compare(found, before, lambda at: at >= since, whole=lookback == EVERYTHING)

    def _compare(
        self,
        found: Found,
        before: Truth,
        wanted: Callable[[datetime], bool],
        *,
        whole: bool = False,
    ) -> None:
        self.copy = Copy.read(self.rig.stored)
        found.add(compare(before, self.truth, self.copy, wanted, whole=whole))

    def _judge(self, found: Found) -> None:
        self.counts["lost"] += len(found.lost)
        self.counts["doubled"] += len(found.doubled)
        self.counts["stale"] += len(found.stale) + len(found.false)
        if words := found.words():
            self.broken = True
            raise AssertionError("\n".join([*self.log, "", *words[:12], f"({len(words)} in all)"]))

    def _look(self) -> None:
        """Note the present truth, and since when each recording has been so."""
        self.truth = self._read_truth()
        self.keys = sorted({*self.keys, *self.truth.recordings})
        since = {}
        for key, row in self.truth.recordings.items():
            old = self.since.get(key)
            start = row["start_time"]
            since[key] = old if old and old[0] == start else (start, self.truth.at)
        self.since = since

    # Helpers

    def _say(self, line: str) -> None:
        self.counts["steps"] += not line.startswith(" ")
        self.log.append(line)
        if os.environ.get("PROOF_TALKS"):
            print(line, flush=True)  # noqa: T201

    def _watermark(self) -> Mapping[str, Any]:
        rows = self.rig.select("SELECT complete, tail_until FROM posthog_etl.watermarks")
        return rows[0] if rows else {"complete": None, "tail_until": None}

    def _oldest_reading(self, where: str) -> datetime:
        """Return when the oldest unfinished reading began; now if there is none.

        where: a condition on its unit; $1 is the tail.
        """
        rows = self.rig.select(
            "SELECT position ->> 'began_at' AS at FROM posthog_etl.checkpoints "
            f"WHERE position ->> 'began_at' IS NOT NULL AND {where}",
            TAIL,
        )
        return min([self.rig.now, *(datetime.fromisoformat(row["at"]) for row in rows)])

    def _page(self, wanted: int) -> int:
        return max(wanted, len(self.keys) // _MOST_PAGES)

    def _past(
        self, since_d: int, length_h: int | None, window_h: int, newest_first: bool, again: bool
    ) -> BackfillRange:
        since = self.rig.now - timedelta(days=since_d)
        until = None if length_h is None else since + timedelta(hours=length_h)
        if until is None and self._watermark()["tail_until"] is None:
            # Otherwise up to now by the database's clock: before a request the source's is unknown.
            until = self.rig.now
        fewest_h = ((until or self.rig.now) - since) // timedelta(hours=_MOST_WINDOWS)
        window = timedelta(hours=max(window_h, fewest_h))
        return BackfillRange(since, until, window, newest_first, again)

    def _recording(self, which: int) -> str:
        return self.keys[which % len(self.keys)]
