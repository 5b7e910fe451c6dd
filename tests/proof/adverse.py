"""Sequences against the adversary server: its data, its answers, its faults.

The server uses the true clock, so no time passes. What is drawn here does not exist in the sandbox:
ties whose order depends on the offset, clamped pages, rows that change places between two requests,
wrong clocks, answers of proxies.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from etl.errors import EXIT_PARTIAL
from etl.runs.report import Ending
from tests.adversary import foreign
from tests.adversary.rows import Piece, Recording, person_of, recording
from tests.adversary.server import Asked
from tests.proof.claims import Copy, Found, Truth, is_alive
from tests.proof.rig import AdversaryRig, Kill
from tests.proof.sequence import (
    LOOKBACKS,
    MAYBE_KILLED,
    MOST_RECORDINGS,
    NUMBERS,
    Sequence,
)

_PERSONS = 8
_LONGEST = timedelta(hours=23)
_YEAR = timedelta(days=365)

# Mostly larger pages: with pages of a few rows most ties cross pages.
PAGE_SIZES = st.sampled_from([5, 10, 20, 20, 50, 50])
SERVERS = st.one_of(
    st.just({"envelope": "cursor", "dates": "honoured"}),
    st.just({"envelope": "older", "dates": "honoured"}),
    st.fixed_dictionaries(
        {
            "envelope": st.just("documented"),
            "dates": st.sampled_from(["honoured", "ignored", "refused"]),
            "counts": st.booleans(),
        }
    ),
)
MANNERS = st.fixed_dictionaries(
    {
        "ties": st.sampled_from(["by offset", "by offset", "stable"]),
        "clamp": st.sampled_from([None, 15, 25, 25]),
        "bare_ids": st.booleans(),
        "shuffle": st.integers(0, 99),
    }
)
# By how much the Date header of the nth request, or of all (0), is off. None: no header.
DATES = st.one_of(
    st.none(),
    st.none(),
    st.tuples(
        st.integers(0, 5),
        st.sampled_from([None, timedelta(minutes=2), timedelta(hours=-3), _YEAR, -_YEAR]),
    ),
)
ANSWERS: dict[str, foreign.Answer] = {
    "firewall 403": foreign.page(403),
    "firewall 404": foreign.page(404),
    "firewall 429": foreign.page(429),
    "proxy 502": foreign.page(502),
    "query timeout": foreign.throttled(),
    "at capacity": foreign.throttled("ClickHouse is at capacity. Try again later."),
    "server error": foreign.document({"error": "surprise"}, status=500),
    "no list": foreign.document({"detail": "odd"}),
    "half": foreign.half,
    "cut": foreign.cut,
}
# What happens before the nth request for a page: at most one change between two requests.
CHANGES = ["insert", "insert old", "delete", "early", "later", "swap"]
TROUBLE = st.one_of(
    st.just({}),
    st.dictionaries(
        st.integers(1, 6),
        st.tuples(st.sampled_from([*CHANGES, *CHANGES, *ANSWERS]), NUMBERS),
        min_size=1,
        max_size=2,
    ),
)


class AdverseMachine(Sequence):
    """A sequence against the adversary server."""

    rig: AdversaryRig

    def __init__(self) -> None:
        super().__init__()
        self.all: dict[str, Recording] = {}
        self.met = 0
        self.changed = False
        self.pages = 0

    @initialize(
        count=st.sampled_from([0, 10, 30]),
        ties=st.sampled_from([0, 25, 40]),
        server=SERVERS,
        manners=MANNERS,
    )
    def begin(self, count: int, ties: int, server: dict[str, Any], manners: dict[str, Any]) -> None:
        """Any number of recordings, many with one start; any kind of server."""
        self.rig.open(0)
        self.persons = [person_of(number) for number in range(1, _PERSONS + 1)]
        self._answer_as(server, manners)
        self._add(count, timedelta(hours=1), timedelta(hours=7))
        self._add(ties, timedelta(days=4), timedelta(0))
        self.copy = Copy.read(self.rig.stored)
        self._look()

    @rule(
        count=st.sampled_from([1, 5, 12, 25]),
        ago_h=st.integers(0, 600),
        step_s=st.sampled_from([0, 0, 60, 40_000]),
    )
    def start(self, count: int, ago_h: int, step_s: int) -> None:
        """Add recordings that begin one after the other or at one instant, some long ago."""
        self._add(count, timedelta(hours=ago_h), timedelta(seconds=step_s))

    @rule(which=NUMBERS, name=st.sampled_from([*CHANGES, "delete many", "change person"]))
    def change(self, which: int, name: str) -> None:
        """Make a change between two runs: one of those made while a list is read, or another."""
        self._say(f"change {name} {which}")
        if name == "change person":
            self.persons[which % _PERSONS]["properties"] = {"step": len(self.log)}
        elif name == "delete many":
            for key in sorted(self.server.recordings)[which % 40 : which % 40 + 30]:
                del self.server.recordings[key]
        else:
            self._do(name, which)

    @rule(server=SERVERS, manners=MANNERS)
    def change_server(self, server: dict[str, Any], manners: dict[str, Any]) -> None:
        """Replace the server by another version over the same data."""
        self._answer_as(server, manners)

    @rule(page=PAGE_SIZES, lookback=LOOKBACKS, trouble=TROUBLE, dates=DATES, kill=MAYBE_KILLED)
    def sync(
        self, page: int, lookback: str, trouble: dict[int, Any], dates: Any, kill: Kill | None
    ) -> None:
        """Sync from a server that may fail; perhaps kill the sync."""
        before = self._prepare([trouble, dates])
        self._say(f"sync page={page} lookback={lookback} {trouble} dates={dates} kill={kill}")
        self._sync(before, page, lookback, kill)

    @rule(
        page=PAGE_SIZES,
        since_d=st.integers(1, 30),
        length_h=st.one_of(st.none(), st.integers(1, 25 * 24)),
        newest_first=st.booleans(),
        trouble=TROUBLE,
        kill=MAYBE_KILLED,
    )
    def backfill(
        self,
        page: int,
        since_d: int,
        length_h: int | None,
        newest_first: bool,
        trouble: dict[int, Any],
        kill: Kill | None,
    ) -> None:
        """Backfill a range."""
        before = self._prepare([trouble, None])
        past = self._past(since_d, length_h, 72, newest_first, True)
        self._say(f"backfill page={page} {past} {trouble} kill={kill}")
        self._backfill(before, page, past, kill)

    # What differs from the sandbox

    @property
    def server(self) -> Any:
        """The server."""
        return self.rig.server

    def _prepare(self, faults: list[Any]) -> Truth:
        trouble, dates = faults or ({}, None)
        self.rig.let_leases_run_out()
        self.rig.let_pauses_pass()
        self.pages, self.met, self.changed = 0, 0, False
        self.server.requests.clear()
        changes = {n: what for n, what in trouble.items() if what[0] in CHANGES}
        if changes:
            self.server.before_list.append(lambda asked: self._between(asked, changes))
        for nth, (name, _) in trouble.items():
            if name in ANSWERS:
                self.server.when(self._nth(nth), ANSWERS[name], times=1)
        if dates is not None:
            at, off = dates
            self.server.skew = lambda n: off if at in (0, n) else timedelta(0)
        self._look()
        return self.truth

    def _end_faults(self) -> bool:
        met = self.met + sum(times == 0 for _, _, times in self.server.rules)
        self.counts["faults hit"] += met
        self.counts["requests"] += len(self.server.requests)
        self.server.rules.clear()
        self.server.before_list.clear()
        self.server.skew = lambda _number: timedelta(0)
        return self.changed

    def _read_truth(self) -> Truth:
        now = self.rig.now
        found = [each for each in self.server.recordings.values() if each.expires_at > now]
        return Truth.read(
            {
                "now": now.isoformat(),
                "session_recordings": [
                    {**each.row(now), "person_uuid": each.person["uuid"]} for each in found
                ],
                "persons": list({each.person["uuid"]: each.person for each in found}.values()),
                "person_distinct_ids": [
                    {"distinct_id": name, "person_uuid": uuid}
                    for name, uuid in sorted(
                        {(each.person["distinct_ids"][0], each.person["uuid"]) for each in found}
                    )
                ],
            }
        )

    def _fate(self, key: str) -> str | None:
        if key not in self.all:
            return None
        return "there or expired" if key in self.server.recordings else "deleted"

    def _steady_page(self, ending: Ending) -> int | None:
        if ending.exit_code != EXIT_PARTIAL or self.server.ties != "by offset":
            return None
        # With these ties no two answers need to agree, and a run that says so is honest.
        self.server.ties, self.server.clamp = "stable", None
        return 200

    def _compare(
        self,
        found: Found,
        before: Truth,
        wanted: Callable[[Any], bool],
        *,
        whole: bool = False,
    ) -> None:
        """Compare as usual. Rows that changed meanwhile but existed throughout must be stored."""
        super()._compare(found, before, wanted, whole=whole)
        for key, row in self.truth.recordings.items():
            old = before.recordings.get(key)
            if old is None or old == row:
                continue
            have = self.copy.recordings.get(key)
            kept = wanted(old["start_time"]) and wanted(row["start_time"])
            if kept and (have is None or not is_alive(have)):
                found.lost.append(f"{key} changed meanwhile and is missing")

    # Helpers

    def _answer_as(self, server: dict[str, Any], manners: dict[str, Any]) -> None:
        self._say(f"server {server} {manners}")
        for name, value in {"counts": True, **server, **manners}.items():
            setattr(self.server, name, value)

    def _add(self, count: int, ago: timedelta, step: timedelta) -> None:
        count = min(count, MOST_RECORDINGS - len(self.all))
        self._say(f"start {count} ago={ago} step={step}")
        newest = self.rig.now - ago
        for each in range(count):
            self._add_one(newest - each * step)

    def _add_one(self, start: Any) -> None:
        number = len(self.all)
        person = self.persons[number % _PERSONS]
        # One is null in the answer for one record, the other would change during the test.
        steady = {"activity_score": None, "ongoing": False}
        made = recording(f"r{number:03}", start, person=person, **steady)
        self.all[made.id] = made
        self.server.add(made)

    def _nth(self, nth: int) -> foreign.Predicate:
        return lambda asked: asked.number == nth

    def _between(self, _asked: Asked, changes: dict[int, Any]) -> None:
        self.pages += 1
        if self.pages in changes:
            self.met += 1
            self.changed = True
            self._do(*changes[self.pages])

    def _do(self, name: str, which: int) -> None:
        """Make one change. Rows move forward only if the server keeps no place by the order."""
        there = sorted(self.server.recordings)
        if name in ("insert", "insert old"):
            self._add_one(self.rig.now - timedelta(hours=which if name == "insert old" else 0))
        elif there:
            one = self.server.recordings[there[which % len(there)]]
            other = self.server.recordings[there[(which * 7 + 1) % len(there)]]
            if name == "delete":
                del self.server.recordings[one.id]
            elif name == "early":
                _add_piece(one, -timedelta(minutes=1 + which * 5))
            elif self.server.envelope == "cursor":
                _add_piece(one, timedelta(minutes=20))
            elif name == "later":
                one.move(min(timedelta(hours=which), self.rig.now - one.start))
            elif one.start != other.start:
                one.pieces, other.pieces = other.pieces, one.pieces


def _add_piece(one: Recording, after: timedelta) -> None:
    """Add a piece before or after, if the session stays within a day."""
    start = one.start + after
    ends = [start + timedelta(minutes=1), *(piece.end for piece in one.pieces)]
    if max(ends) - min(start, one.start) < _LONGEST:
        one.pieces = [*one.pieces, Piece(start, ends[0])]
