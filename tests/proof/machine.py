"""Sequences against the sandbox: data, clock, source and pipeline change in any order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from etl.errors import EXIT_SUCCEEDED
from etl.runs.report import Ending
from tests.proof.claims import Copy, Truth
from tests.proof.faults import RULES
from tests.proof.rig import Kill, SandboxRig
from tests.proof.sequence import (
    EVERYTHING,
    LOOKBACKS,
    MAYBE_KILLED,
    MOST_RECORDINGS,
    NUMBERS,
    PAGE_SIZES,
    Sequence,
)
from tests.support.truth import TABLES

HOUR_S, DAY_S = 3600, 86_400
_NO_TIE_BREAK = ("no two passes agreed", "the same page for different offsets")
FAULTS = st.one_of(st.just([]), st.lists(RULES, min_size=1, max_size=2))
SERVERS: list[dict[str, Any]] = [
    {"flavour": "cloud", "server_version": "current", "date_filter": None},
    {"flavour": "cloud", "server_version": "offset_only", "date_filter": None},
    {"flavour": "docs", "date_filter": "honoured"},
    {"flavour": "docs", "date_filter": "ignored"},
    {"flavour": "docs", "date_filter": "refused"},
]


class Machine(Sequence):
    """A sequence against the sandbox."""

    rig: SandboxRig

    # What happens to the data

    @initialize(seed=st.integers(0, 50), server=st.sampled_from(SERVERS))
    def begin(self, seed: int, server: dict[str, Any]) -> None:
        """Any data, any kind of server; half of the sequences begin with the current one."""
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
        """Add a session that is over or goes on. One that began long ago arrives only now."""
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
        """Add many recordings with one start, more than fit on a page."""
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
        """Add a piece that arrives late; it may begin before the session's start."""
        self._tick()
        self._change(*self._late_piece(which, early=early, arrives_s=arrives_s))

    @rule(which=NUMBERS)
    def end_session(self, which: int) -> None:
        """End a session: no more pieces come."""
        self._tick()
        if (key := self._recording(which)) in self.truth.recordings:
            self._change({"op": "end_session", "id": key})

    @rule(which=NUMBERS, by=st.sampled_from(["owner", "eve@example.com", "zoe@example.com"]))
    def view(self, which: int, by: str) -> None:
        """Let somebody watch a recording."""
        self._tick()
        self._change({"op": "view", "id": self._recording(which), "by": by})

    @rule(which=NUMBERS, into=NUMBERS, how=st.sampled_from(["change", "merge", "delete", "move"]))
    def persons(self, which: int, into: int, how: str) -> None:
        """Change a person, merge it into another, delete it, or remove a distinct id."""
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
        """Delete one recording, a few, or more than the guard believes."""
        self._tick()
        begin = which % len(self.keys)
        doomed = self.keys[begin : begin + count]
        self._change(*({"op": "delete_recording", "id": key} for key in doomed))

    @rule(days=st.sampled_from([7, 30, 60, 365]))
    def retention(self, days: int) -> None:
        """Set the retention of all recordings to so many days."""
        self._tick()
        self._change({"op": "set_retention", "days": days})

    @rule(
        by_s=st.one_of(
            st.sampled_from([60, 299, 301, HOUR_S, DAY_S, 40 * DAY_S]),
            st.integers(60, 3 * DAY_S),
        )
    )
    def move_clock(self, by_s: int) -> None:
        """Let time pass, so that sessions go on, arrive and expire, and leases expire."""
        self._tick(by_s)
        self.rig.let_leases_run_out()
        self.rig.let_pauses_pass()
        self._say(f"move_clock by_s={by_s} now={self.rig.now}")

    @rule(server=st.sampled_from(SERVERS))
    def change_server(self, server: dict[str, Any]) -> None:
        """Replace the server by another version or kind over the same data."""
        self._tick()
        self.rig.control.answer_as(**server)
        self._say(f"change_server {server}")

    # What the pipeline does

    @rule(page=PAGE_SIZES, lookback=LOOKBACKS, faults=FAULTS, kill=MAYBE_KILLED)
    def sync(self, page: int, lookback: str, faults: list[Any], kill: Kill | None) -> None:
        """Sync from a source that may fail; perhaps kill the sync."""
        self._tick()
        before = self._prepare(faults)
        self._say(f"sync page={page} lookback={lookback} faults={faults} kill={kill}")
        self._sync(before, page, lookback, kill)

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
        self._backfill(before, page, past, kill)

    @rule(page=PAGE_SIZES, since_d=st.integers(1, 30), newest_first=st.booleans(), faults=FAULTS)
    def side_by_side(self, page: int, since_d: int, newest_first: bool, faults: list[Any]) -> None:
        """Sync and backfill at the same time."""
        self._tick()
        before = self._prepare(faults)
        past = self._past(since_d, None, 72, newest_first, True)
        self._say(f"side_by_side page={page} {past} faults={faults}")
        marks, began_at = self._watermark(), self._oldest_reading("unit <> $1")
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
        """Plan. It changes nothing."""
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
        """Sync without a fault. Then the copy must equal the truth."""
        self._tick()
        self._quiet_sync(page)

    # What differs from the adversary server

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

    def _end_faults(self) -> bool:
        control = self.rig.control
        self.counts["faults hit"] += sum(rule["hits"] for rule in control.faults())
        self.counts["requests"] += control.state()["requests"]["total"]
        control.reset_requests()
        changed = any(rule["hits"] and "then" in rule["fault"] for rule in control.faults())
        control.clear_faults()
        return changed

    def _read_truth(self) -> Truth:
        # Only what is compared: to compute all tables takes longer than all else in a sequence.
        control = self.rig.control
        rows = {name: control.truth_rows(name) for name in TABLES}
        return Truth.read({"now": control.state()["now"], **rows})

    def _steady_page(self, ending: Ending) -> int | None:
        # On this server recordings with one start come in another order each time, and a run that
        # says so is honest. A larger page shows them all.
        unsure = any(words in (ending.reason or "") for words in _NO_TIE_BREAK)
        return 1000 if unsure else None

    def _fate(self, key: str) -> str | None:
        """Return what happened to a recording at the source; None if it never existed."""
        number = self.rig.project.find(key)
        if number is None:
            return None
        return "deleted" if self.rig.project.is_deleted(number) else "there or expired"

    # Helpers

    def _tick(self, by_s: int = 3) -> None:
        """Advance the clock: no two steps share an instant, and none is just before midnight."""
        control = self.rig.control
        control.advance(by_s)
        if self.rig.now.hour == 23 and self.rig.now.minute == 59:
            control.advance(120)

    def _change(self, *specs: Mapping[str, Any]) -> None:
        if specs:
            self._say(f"{self.rig.now:%m-%d %H:%M:%S} {len(specs)} x {dict(specs[0])}")
            done = self.rig.control.change(*specs)
            self.keys += [one["id"] for one in done if one["op"] == "start_session"]

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
