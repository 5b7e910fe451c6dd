"""The state machine: data, clock, source and pipeline, in any order."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from etl.core.lookback import Lookback
from etl.errors import EXIT_SUCCEEDED
from etl.loaders.leases import TAIL
from etl.runs.backfill import Past
from etl.runs.report import Report
from tests.proof.claims import Copy, Found, Truth, compare, compare_marks
from tests.proof.counts import Counts
from tests.proof.faults import RULES
from tests.proof.rig import START, STREAM, Kill, Rig

HOUR_S, DAY_S = 3600, 86_400
EVERYTHING = "3650d"
_NO_TIE_BREAK = ("no two passes agreed", "the same page for different offsets")
# A sequence is to be over soon: no run sends many more requests than this.
_MOST_PAGES = 10
_MOST_WINDOWS = 5
MOST_RECORDINGS = 150

NUMBERS = st.integers(0, 200)
PAGE_SIZES = st.sampled_from([1, 2, 3, 5, 7, 10, 20, 50])
LOOKBACKS = st.sampled_from([EVERYTHING, EVERYTHING, EVERYTHING, "1d", "6h, 5d every 6h"])
KILLS = st.builds(Kill, st.sampled_from(["request", "commit"]), st.integers(1, 15), st.booleans())
MAYBE_KILLED = st.one_of(st.none(), st.none(), KILLS)
FAULTS = st.one_of(st.just([]), st.lists(RULES, min_size=1, max_size=2))
SERVERS: list[dict[str, Any]] = [
    {"flavour": "cloud", "server_version": "current", "date_filter": None},
    {"flavour": "cloud", "server_version": "offset_only", "date_filter": None},
    {"flavour": "docs", "date_filter": "honoured"},
    {"flavour": "docs", "date_filter": "ignored"},
    {"flavour": "docs", "date_filter": "refused"},
]


class Machine(RuleBasedStateMachine):
    """One sequence. `rig` makes what it acts on, `counts` is where it counts."""

    make_rig: ClassVar[Callable[[], Rig]]
    counts: ClassVar[Counts]

    def __init__(self) -> None:
        super().__init__()
        self.rig = type(self).make_rig()
        self.log: list[str] = []
        self.keys: list[str] = []
        self.broken = False
        self.names = itertools.count(1)
        # Since when each recording has been visible with its present start.
        self.since: dict[str, tuple[datetime, datetime]] = {}

    # What happens to the data

    @initialize(seed=st.integers(0, 50), server=st.sampled_from(SERVERS))
    def begin(self, seed: int, server: dict[str, Any]) -> None:
        """Any data, any server; half of the sequences begin with the current one."""
        self.rig.open(seed)
        self.rig.control.answer_as(**(server if seed % 2 else SERVERS[0]))
        self._say(f"begin seed={seed} server={server if seed % 2 else SERVERS[0]}")
        self.copy = Copy.read(self.rig.stored)
        self._look()

    @rule(
        length_s=st.sampled_from([1, 60, 1800, 5 * HOUR_S, 23 * HOUR_S, DAY_S]),
        ago_s=st.sampled_from([0, 30, HOUR_S, DAY_S, 2 * DAY_S, 9 * DAY_S, 29 * DAY_S, -HOUR_S]),
        late=st.booleans(),
        who=NUMBERS,
    )
    def start_session(self, length_s: int, ago_s: int, late: bool, who: int) -> None:
        """A session that is over, or goes on; one that began long ago arrives only now."""
        self._tick()
        spec: dict[str, Any] = {
            "op": "start_session",
            "start_time": _text(self.rig.now - timedelta(seconds=ago_s)),
            "duration_s": length_s,
            "distinct_id": self._distinct_id(who),
        }
        if late:
            spec["arrives_s"] = 3600
        self._change(spec)

    @rule(count=st.sampled_from([3, 12, 12, 25, 25, 60]), ago_s=st.integers(0, 20 * DAY_S))
    def tie(self, count: int, ago_s: int) -> None:
        """Many recordings with one start, more than fit on a page."""
        self._tick()
        if len(self.keys) > MOST_RECORDINGS:
            return
        start = _text(self.rig.now - timedelta(seconds=ago_s))
        self._change(
            *(
                {"op": "start_session", "id": f"tie{next(self.names)}", "start_time": start}
                for _ in range(count)
            )
        )

    @rule(which=NUMBERS, early=st.booleans(), arrives_s=st.sampled_from([0, 0, HOUR_S]))
    def late_piece(self, which: int, early: bool, arrives_s: int) -> None:
        """A piece that comes late, also one from before the start."""
        self._tick()
        self._change(*self._late_piece(which, early=early, arrives_s=arrives_s))

    @rule(which=NUMBERS)
    def end_session(self, which: int) -> None:
        """Nothing more of this one comes."""
        self._tick()
        if (key := self._recording(which)) in self.truth.recordings:
            self._change({"op": "end_session", "id": key})

    @rule(which=NUMBERS, by=st.sampled_from(["owner", "eve@example.com", "zoe@example.com"]))
    def view(self, which: int, by: str) -> None:
        """Somebody watches a recording."""
        self._tick()
        self._change({"op": "view", "id": self._recording(which), "by": by})

    @rule(which=NUMBERS, into=NUMBERS, how=st.sampled_from(["change", "merge", "delete", "move"]))
    def persons(self, which: int, into: int, how: str) -> None:
        """A person is changed, merged into another one, deleted, or loses a distinct id."""
        self._tick()
        owners = self.rig.project.owners
        people = [owners.uuid(n) for n in range(8) if owners.number_of(owners.uuid(n)) is not None]
        if len(people) < 2:
            return
        one = people[which % len(people)]
        other = [each for each in people if each != one][into % (len(people) - 1)]
        specs: dict[str, dict[str, Any]] = {
            "change": {"op": "change_person", "uuid": one, "set": {"step": len(self.log)}},
            "merge": {"op": "merge_persons", "from": one, "into": other},
            "delete": {"op": "delete_person", "uuid": one},
            "move": {
                "op": "move_distinct_id",
                "distinct_id": self._distinct_id(into),
                "to": one,
            },
        }
        self._change(specs[how])

    @rule(which=NUMBERS, count=st.sampled_from([1, 1, 5, 15, 30]))
    def delete(self, which: int, count: int) -> None:
        """One recording is deleted, or a handful, or more than the guard believes."""
        self._tick()
        begin = which % len(self.keys)
        doomed = self.keys[begin : begin + count]
        self._change(*({"op": "delete_recording", "id": key} for key in doomed))

    @rule(days=st.sampled_from([7, 30, 60, 365]))
    def retention(self, days: int) -> None:
        """Every recording is kept for so many days from now on."""
        self._tick()
        self._change({"op": "set_retention", "days": days})

    @rule(
        by_s=st.one_of(
            st.sampled_from([60, 299, 301, HOUR_S, DAY_S, 40 * DAY_S]),
            st.integers(60, 3 * DAY_S),
        )
    )
    def move_clock(self, by_s: int) -> None:
        """Time goes by, so that sessions go on, arrive and expire, and leases run out."""
        self._tick(by_s)
        self.rig.let_leases_run_out()
        self.rig.let_pauses_pass()
        self._say(f"move_clock by_s={by_s} now={self.rig.now}")

    @rule(server=st.sampled_from(SERVERS))
    def change_server(self, server: dict[str, Any]) -> None:
        """Another version of the server, or another server, over the same data."""
        self._tick()
        self.rig.control.answer_as(**server)
        self._say(f"change_server {server}")

    # What the pipeline does

    @rule(page=PAGE_SIZES, lookback=LOOKBACKS, faults=FAULTS, kill=MAYBE_KILLED)
    def sync(self, page: int, lookback: str, faults: list[Any], kill: Kill | None) -> None:
        """Sync, from a source that may be in trouble, and perhaps killed."""
        self._tick()
        before = self._prepare(faults)
        self._say(f"sync page={page} lookback={lookback} faults={faults} kill={kill}")
        settings = self.rig.settings(self._page(page), lookback)
        marks = self._watermark()
        began_at = self.rig.now
        reports = self.rig.sync(settings, kill=kill)
        self.counts["syncs"] += 1
        found = self._conclude(reports, before, marks, began_at)
        for report in reports or ():
            if report.ending.exit_code == EXIT_SUCCEEDED:
                self._compare_tail(found, before, lookback, marks)
        self._judge(found)

    @rule(
        page=PAGE_SIZES,
        since_d=st.integers(1, 30),
        length_h=st.one_of(st.none(), st.integers(1, 25 * 24)),
        window_h=st.sampled_from([7, 24, 72, 7 * 24, 30 * 24]),
        newest_first=st.booleans(),
        again=st.booleans(),
        faults=FAULTS,
        kill=MAYBE_KILLED,
    )
    def backfill(
        self,
        page: int,
        since_d: int,
        length_h: int | None,
        window_h: int,
        newest_first: bool,
        again: bool,
        faults: list[Any],
        kill: Kill | None,
    ) -> None:
        """Backfill a range."""
        self._tick()
        before = self._prepare(faults)
        past = self._past(since_d, length_h, window_h, newest_first, again)
        self._say(f"backfill page={page} {past} faults={faults} kill={kill}")
        marks, began_at = self._watermark(), self._oldest_reading(but=TAIL)
        reports = self.rig.backfill(
            self.rig.settings(self._page(page), EVERYTHING), past, kill=kill
        )
        self.counts["backfills"] += 1
        found = self._conclude(reports, before, marks, began_at)
        for report in reports or ():
            if report.ending.exit_code == EXIT_SUCCEEDED and began_at == before.at:
                since, until = (datetime.fromisoformat(at) for at in report.unit.split("/"))
                self._compare(found, before, lambda at, s=since, u=until: s <= at < u)
        self._judge(found)

    @rule(page=PAGE_SIZES, since_d=st.integers(1, 30), newest_first=st.booleans(), faults=FAULTS)
    def side_by_side(self, page: int, since_d: int, newest_first: bool, faults: list[Any]) -> None:
        """Sync and backfill at once."""
        self._tick()
        before = self._prepare(faults)
        past = self._past(since_d, None, 72, newest_first, True)
        self._say(f"side_by_side page={page} {past} faults={faults}")
        marks, began_at = self._watermark(), self._oldest_reading(but=TAIL)
        settings = self.rig.settings(self._page(page), EVERYTHING)
        synced, filled = self.rig.both(settings, past)
        self.counts["syncs"] += 1
        self.counts["backfills"] += 1
        found = self._conclude([*synced, *filled], before, marks, began_at)
        if all(report.ending.exit_code == EXIT_SUCCEEDED for report in synced):
            self._compare(found, before, lambda at: True, whole=True)
        self._judge(found)

    @rule(page=PAGE_SIZES, since_d=st.integers(1, 30), past=st.booleans())
    def plan(self, page: int, since_d: int, past: bool) -> None:
        """Plan; nothing is changed by it."""
        self._tick()
        before = self._prepare([])
        self._say(f"plan page={page} since_d={since_d} past={past}")
        self.rig.plan(
            self.rig.settings(page, EVERYTHING),
            self._past(since_d, None, 24, True, False) if past else None,
        )
        self.counts["plans"] += 1
        found = self._conclude([], before, self._watermark(), before.at)
        self._judge(found)

    @rule(page=PAGE_SIZES)
    def quiet_sync(self, page: int) -> None:
        """A sync that nothing disturbs: then the copy is true."""
        self._tick()
        self._quiet_sync(page)

    def teardown(self) -> None:
        """Every sequence ends with a copy that is true."""
        try:
            if self.log and not self.broken:
                self._tick()
                self._quiet_sync(20)
                self.counts["sequences"] += 1
        finally:
            self.rig.close()

    def _quiet_sync(self, page: int) -> None:
        self.rig.let_leases_run_out()
        self.rig.let_pauses_pass()
        self._say(f"quiet_sync page={page}")
        before, marks = self._prepare([]), self._watermark()
        settings = self.rig.settings(self._page(page), EVERYTHING)
        (report,) = self.rig.sync(settings) or ()
        self.counts["syncs"] += 1
        found = self._conclude([report], before, marks, before.at)
        if "vanished at once" in (report.ending.reason or ""):
            (report,) = self.rig.sync(settings, accept=[STREAM]) or ()
            self._say(f"  accepted: {report.ending}")
            self.counts["syncs"] += 1
        if any(words in (report.ending.reason or "") for words in _NO_TIE_BREAK):
            # Recordings with one start come in another order each time on this server: a sync
            # that says so is honest. A greater page shows them all.
            (report,) = self.rig.sync(self.rig.settings(1000, EVERYTHING), accept=[STREAM]) or ()
            self._say(f"  on one page: {report.ending}")
            self.counts["syncs"] += 1
        if report.ending.exit_code != EXIT_SUCCEEDED:
            found.false.append(f"a quiet sync ends {report.ending}")
        self._compare(found, before, lambda at: True, whole=True)
        running = self.rig.select(
            "SELECT unit, command, started_at FROM posthog_etl.runs WHERE status = 'running'"
        )
        found.false += [f"a dead run is still running: {dict(row)}" for row in running]
        self._judge(found)

    # How it is judged

    def _prepare(self, faults: list[Any]) -> Truth:
        control = self.rig.control
        control.clear_faults()
        if not any("429_header" in str(each) for each in faults):
            self.rig.let_pauses_pass()
        for each in faults:
            fault = dict(each["fault"])
            if "then" in fault:
                fault["then"] = [o for op in fault["then"] for o in self._operation(*op)]
                if not fault["then"]:
                    continue
            control.add_faults({**each, "fault": fault})
        self._look()
        return self.truth

    def _conclude(
        self,
        reports: list[Report] | None,
        before: Truth,
        marks: Mapping[str, Any],
        began_at: datetime,
    ) -> Found:
        """Look at everything after a run; what holds whatever became of it is checked here."""
        control = self.rig.control
        self.counts["kills"] += reports is None
        self.counts["faults hit"] += sum(rule["hits"] for rule in control.faults())
        self.counts["requests"] += control.state()["requests"]["total"]
        control.reset_requests()
        changed = any(rule["hits"] and "then" in rule["fault"] for rule in control.faults())
        control.clear_faults()
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
        marked = compare_marks(held, self.copy, self.truth, self._fate)
        for name in ("lost", "doubled", "stale", "false"):
            getattr(found, name).extend(getattr(marked, name))
        self._check_growth(found, marks, since, min(began_at, before.at))
        return found

    def _fate(self, key: str) -> str | None:
        """Return what became of a recording at the source; None when it never was there."""
        number = self.rig.project.find(key)
        if number is None:
            return None
        return "deleted" if self.rig.project.is_deleted(number) else "there or expired"

    def _check_growth(
        self,
        found: Found,
        marks: Mapping[str, Any],
        since: Mapping[str, tuple[datetime, datetime]],
        began_at: datetime,
    ) -> None:
        """What became known complete holds all that was there when the reading began."""
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
        self, found: Found, before: Truth, lookback: str, marks: Mapping[str, Any]
    ) -> None:
        since = START
        if marks["tail_until"] is not None:
            age = Lookback.parse(lookback).grades[0].age
            since = max(START, marks["tail_until"] - age)
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
        compared = compare(before, self.truth, self.copy, wanted, whole=whole)
        for name in ("lost", "doubled", "stale"):
            getattr(found, name).extend(getattr(compared, name))

    def _judge(self, found: Found) -> None:
        self.counts["lost"] += len(found.lost)
        self.counts["doubled"] += len(found.doubled)
        self.counts["stale"] += len(found.stale) + len(found.false)
        if words := found.words():
            self.broken = True
            raise AssertionError("\n".join([*self.log, "", *words[:12], f"({len(words)} in all)"]))

    # Small things

    def _say(self, line: str) -> None:
        self.counts["steps"] += not line.startswith(" ")
        self.log.append(line)
        if os.environ.get("PROOF_TALKS"):
            print(line, flush=True)  # noqa: T201

    def _tick(self, by_s: int = 3) -> None:
        """Let no two steps share an instant, and none be close before a midnight."""
        control = self.rig.control
        control.advance(by_s)
        if self.rig.now.hour == 23 and self.rig.now.minute == 59:
            control.advance(120)

    def _change(self, *specs: Mapping[str, Any]) -> None:
        if specs:
            self._say(f"{self.rig.now:%m-%d %H:%M:%S} {len(specs)} x {dict(specs[0])}")
            done = self.rig.control.change(*specs)
            self.keys += [one["id"] for one in done if one["op"] == "start_session"]

    def _look(self) -> None:
        """Note the truth of now, and since when each recording stands as it does."""
        self.truth = Truth.read(self.rig.control.truth())
        self.keys = sorted({*self.keys, *self.truth.recordings})
        since = {}
        for key, row in self.truth.recordings.items():
            old = self.since.get(key)
            start = row["start_time"]
            since[key] = old if old and old[0] == start else (start, self.truth.at)
        self.since = since

    def _watermark(self) -> Mapping[str, Any]:
        rows = self.rig.select("SELECT complete, tail_until FROM posthog_etl.watermarks")
        return rows[0] if rows else {"complete": None, "tail_until": None}

    def _oldest_reading(self, *, but: str) -> datetime:
        """Return when the oldest unfinished reading began; now when there is none."""
        rows = self.rig.select(
            "SELECT position ->> 'began_at' AS at FROM posthog_etl.checkpoints "
            "WHERE position ->> 'began_at' IS NOT NULL AND unit <> $1",
            but,
        )
        return min([self.rig.now, *(datetime.fromisoformat(row["at"]) for row in rows)])

    def _page(self, wanted: int) -> int:
        return max(wanted, len(self.keys) // _MOST_PAGES)

    def _past(
        self, since_d: int, length_h: int | None, window_h: int, newest_first: bool, again: bool
    ) -> Past:
        since = self.rig.now - timedelta(days=since_d)
        until = None if length_h is None else since + timedelta(hours=length_h)
        if until is None and self._watermark()["tail_until"] is None:
            # Else up to now, by the database's clock: the source's is not known before a request.
            until = self.rig.now
        fewest_h = ((until or self.rig.now) - since) // timedelta(hours=_MOST_WINDOWS)
        window = timedelta(hours=max(window_h, fewest_h))
        return Past(since, until, window, newest_first, again)

    def _recording(self, which: int) -> str:
        return self.keys[which % len(self.keys)]

    def _distinct_id(self, which: int) -> str:
        if which % 9 == 0:
            return f"visitor-{which}"
        ids = self.rig.project.owners.drawn_ids(which % 8)
        return ids[which % len(ids)]

    def _late_piece(self, which: int, *, early: bool, arrives_s: int) -> list[dict[str, Any]]:
        """Return the piece, if the session stays within a day with it."""
        key = self._recording(which)
        number = self.rig.project.find(key)
        assert number is not None
        pieces = self.rig.project.pieces(number)
        first, last = min(p.start_us for p in pieces), max(p.end_us for p in pieces)
        begin = first - (1 + which) * 300_000_000 if early else last + which * 60_000_000
        if max(last, begin + 60_000_000) - min(first, begin) > DAY_S * 1_000_000:
            return []
        start = datetime.fromtimestamp(begin / 1_000_000, UTC)
        return [{"op": "add_piece", "id": key, "start_time": _text(start), "arrives_s": arrives_s}]

    def _operation(self, name: str, which: int) -> list[dict[str, Any]]:
        """Return what happens while a list is read."""
        key = self._recording(which)
        if name == "start":
            start = self.rig.now - timedelta(hours=which)
            new = f"meanwhile{next(self.names)}"
            return [{"op": "start_session", "id": new, "start_time": _text(start)}]
        if name == "delete":
            return [{"op": "delete_recording", "id": key}]
        if name == "view":
            return [{"op": "view", "id": key, "by": "eve@example.com"}]
        return self._late_piece(which, early=name == "early", arrives_s=0)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
