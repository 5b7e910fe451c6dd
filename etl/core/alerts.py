"""Decide which alerts are open, what began and what ended, and what is told of it. Pure.

No text holds a value of a record, an answer of the server or a key: messages leave the deployment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec import Struct, field

from etl.core.statuses import FAILED, Fault

NO_PROJECT = 0  # @current, before its number is known
# The name of a field, as APIs have them. Anything else may be a value of somebody.
_FIELD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,63}")


class Kind(StrEnum):
    """What an alert is about."""

    FAILED = "failed"
    PARTIAL = "partial"
    STALE = "stale"
    REJECTS = "rejects"
    WITHHELD = "withheld"
    DIFFERENCES = "differences"
    DRIFT = "drift"


class Event(StrEnum):
    """What is told of an alert. Its beginning is told before its end."""

    BEGAN = "began"
    ENDED = "ended"


class Key(NamedTuple):
    """What an alert is about; at most one of each is open. subject: TABLE.FIELD of a drift."""

    project_id: int
    stream: str
    kind: Kind
    subject: str = ""


class Trouble(Struct, frozen=True):
    """A unit whose latest run that counts failed or was partial. retry: what reads it again."""

    status: str
    fault: str | None
    retry: str


class Facts(Struct, frozen=True):
    """What the bookkeeping knows of one stream of one project.

    rejects: unresolved ones. drift: table and field of each. differences: rows that `verify` found
    and nobody repaired. succeeded_at: when the latest run that succeeded has ended. watched_since:
    since when successes are waited for; None: they are not. unavailable: nobody asked for this
    stream by name, and the key was never able to read it.
    """

    project_id: int
    stream: str
    troubles: Sequence[Trouble] = ()
    rejects: int = 0
    drift: Sequence[tuple[str, str]] = ()
    differences: int = 0
    succeeded_at: datetime | None = None
    watched_since: datetime | None = None
    unavailable: bool = False


class Rules(Struct, frozen=True):
    """What is an alert.

    stale_after: by stream, how long without a success is too long; under "" for all others. None:
    however long. every: how much longer it may be for a stream that is not read at every sync.
    """

    kinds: Collection[Kind]
    stale_after: Mapping[str, timedelta | None]
    rejects_above: int = 0
    every: Mapping[str, timedelta] = field(default_factory=dict)

    def patience(self, stream: str) -> timedelta | None:
        """Return how long a stream may be without a success; None: however long."""
        after = self.stale_after.get(stream, self.stale_after.get(""))
        return None if after is None else after + self.every.get(stream, timedelta(0))


class Changes(Struct, frozen=True):
    """What an evaluation has found. began: with what is told of each."""

    began: Mapping[Key, str]
    ended: Collection[Key]


_WHY: Mapping[str | None, str] = {
    Fault.KEY: "PostHog refuses the key; set another",
    Fault.UNAVAILABLE: "this key, plan or server does not offer it; see `posthog-etl check`",
    Fault.SOURCE: "PostHog did not answer as expected",
    Fault.DATABASE: "Postgres refused, or the connection to it was lost",
    Fault.DEFECT: "a defect of posthog-etl; please report it",
    Fault.DIED: "the process ended without a word",
}


def found(facts: Collection[Facts], rules: Rules, now: datetime) -> dict[Key, str]:
    """Return the alerts that are open by these facts, each with what is told of it in one line."""
    every: dict[Key, str] = {}
    for each in facts:
        for kind, subject, detail in _of_stream(each, rules, now):
            if kind in rules.kinds:
                every.setdefault(Key(each.project_id, each.stream, kind, subject), detail)
    return every


def changes(open_now: Collection[Key], found: Mapping[Key, str]) -> Changes:
    """Return what began and what ended. open_now: what was open before."""
    began = {key: detail for key, detail in found.items() if key not in open_now}
    return Changes(began, [key for key in open_now if key not in found])


def _of_stream(each: Facts, rules: Rules, now: datetime) -> list[tuple[Kind, str, str]]:
    alerts = []
    for trouble in () if each.unavailable else each.troubles:
        if trouble.fault == Fault.REJECTS:
            continue  # the rule about rejects decides
        kind = Kind.FAILED if trouble.status == FAILED else Kind.PARTIAL
        why = _WHY.get(trouble.fault, "see `posthog-etl status`")
        if trouble.fault == Fault.WITHHELD and Kind.WITHHELD in rules.kinds:
            accept = f"posthog-etl sync --accept-deletions {each.stream}"
            said = f"more records vanished than are believed. If that is right: `{accept}`"
            alerts.append((Kind.WITHHELD, "", said))
            continue
        alerts.append((kind, "", f"{why}. To try again: `{trouble.retry}`"))
    if each.rejects > rules.rejects_above:
        said = f"{_count(each.rejects, 'record')} could not be stored. See `posthog-etl rejects`"
        alerts.append((Kind.REJECTS, "", said))
    if each.differences:
        repair = f"posthog-etl verify {each.stream} --deep --repair"
        said = f"`verify` found {_count(each.differences, 'row')} that differ. To repair: "
        alerts.append((Kind.DIFFERENCES, "", f"{said}`{repair}`"))
    for table, name in each.drift:
        named = _FIELD.fullmatch(name)
        subject = f"{table}.{name}" if named else table
        said = f"{subject}: {'this field' if named else 'a field'} is new, or of another type"
        alerts.append((Kind.DRIFT, subject, said))
    if (stale := _stale(each, rules, now)) is not None:
        alerts.append((Kind.STALE, "", stale))
    return alerts


def _stale(each: Facts, rules: Rules, now: datetime) -> str | None:
    patience = rules.patience(each.stream)
    since = each.succeeded_at or each.watched_since
    if each.watched_since is None or each.unavailable or patience is None or since is None:
        return None
    if now - since <= patience:
        return None
    if each.succeeded_at is None:
        return f"never read to its end; waited for since {plain(each.watched_since)}"
    return f"not read to its end since {plain(each.succeeded_at)}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


class Line(Struct, frozen=True):
    """What is told of one alert. repeated: whether it may have been told before."""

    alert_id: str
    key: Key
    event: Event
    detail: str
    began_at: datetime
    ended_at: datetime | None = None
    unwatched: bool = False
    repeated: bool = False

    @property
    def text(self) -> str:
        """The line, for people."""
        project = "@current" if self.key.project_id == NO_PROJECT else self.key.project_id
        about = f"{self.key.kind}: {self.key.stream}, project {project}"
        again = " (this may be a repetition)" if self.repeated else ""
        if self.event is Event.BEGAN:
            return f"{about}: {self.detail}{again}"
        subject = f", {self.key.subject}" if self.key.subject else ""
        how = "No longer watched" if self.unwatched else "Over"
        return f"{how}: {about}{subject}, since {plain(self.began_at)}{again}"

    def as_json(self) -> dict[str, Any]:
        """Return the line as a JSON document."""
        return {
            "id": self.alert_id,
            "event": str(self.event),
            "kind": str(self.key.kind),
            "project_id": self.key.project_id or None,
            "stream": self.key.stream,
            "subject": self.key.subject or None,
            "detail": self.detail,
            "began_at": self.began_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "unwatched": self.unwatched,
            "repeated": self.repeated,
        }


class Message(Struct, frozen=True):
    """What one channel is told at once. host: the PostHog that the deployment reads."""

    host: str
    lines: Sequence[Line] = ()

    @property
    def subject(self) -> str:
        """What it is about, in a few words."""
        counts = {event: sum(line.event is event for line in self.lines) for event in Event}
        said = [
            f"{_count(count, 'alert')}{'' if event is Event.BEGAN else ' over'}"
            for event, count in counts.items()
            if count
        ]
        return f"posthog-etl ({self.host}): {', '.join(said) or 'a test message'}"

    @property
    def text(self) -> str:
        """All of it, for people."""
        lines = [line.text for line in self.lines] or ["This is a test. Alerts arrive here."]
        return "\n".join([self.subject, *lines])

    def as_json(self) -> dict[str, Any]:
        """Return the message as a JSON document."""
        return {
            "sender": "posthog-etl",
            "host": self.host,
            "test": not self.lines,
            "text": self.text,
            "alerts": [line.as_json() for line in self.lines],
        }


def plain(at: datetime) -> str:
    """Return an instant for people."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
