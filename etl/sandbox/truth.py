"""What a perfect reader would have now, computed directly from pieces and persons.

It shares nothing with the code that answers requests, so that it can find mistakes there: it uses
no views, windows, pages or readings, and formats its own rows.
"""

import heapq
import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from etl.sandbox.ids import is_legacy
from etl.sandbox.options import PageVersion, SandboxOptions
from etl.sandbox.people import Person
from etl.sandbox.pieces import Piece
from etl.sandbox.traits import Traits
from etl.sandbox.truth_people import PEOPLE_TABLES, PeopleTruth
from etl.sandbox.truth_store import STORE_TABLES, StoreTruth
from etl.sandbox.world import ADDED, Project

STREAMS = (
    "session_recordings", "persons", "person_distinct_ids", "persons_listed",
    "distinct_ids_listed", *PEOPLE_TABLES, *STORE_TABLES,
)  # fmt: skip
Row = dict[str, Any]


class Truth:
    """The truth about one project at one instant (microseconds since 1970)."""

    def __init__(self, project: Project, options: SandboxOptions, now_us: int) -> None:
        """Later changes to the data show in what is read later."""
        project.columns.grow_to(now_us)
        self._project = project
        self._options = options
        self._now_us = now_us
        self._now = _instant(now_us)
        self._store = StoreTruth(project.store, project.id, options, self.recording_ids)

    def rows(self, stream: str) -> Iterator[Row]:
        """All rows of a stream in the order of their key. Raises KeyError for another name."""
        if stream in STORE_TABLES:
            return self._store.rows(stream)
        if stream in PEOPLE_TABLES:
            return PeopleTruth(self._project).rows(stream)
        return {
            "session_recordings": self.recordings,
            "persons": self.persons,
            "person_distinct_ids": self.distinct_ids,
            "persons_listed": self.persons_listed,
            "distinct_ids_listed": self.distinct_ids_listed,
        }[stream]()

    def recordings(self) -> Iterator[Row]:
        """Every recording that can be seen, whole, in the order of ids."""
        for number in self._numbers_by_id():
            visible = self._visible(number)
            if visible is not None:
                yield self._recording(number, *visible)

    def recording_ids(self) -> Iterator[str]:
        """The id of every recording that can be seen, in order."""
        for number in self._numbers_by_id():
            if self._visible(number) is not None:
                yield self._project.recording_id(number)

    def persons(self) -> Iterator[Row]:
        """Every person who owns a recording that can be seen, in the order of UUIDs."""
        owners = set(self._makers().values())
        people = [(self._project.owners.person(owner), owner) for owner in owners]
        for person, owner in sorted(people, key=lambda pair: pair[0].uuid):
            yield self._person(person, self._version(owner))

    def distinct_ids(self) -> Iterator[Row]:
        """Every distinct id that a reader of all recordings sees, in the order of ids."""
        owner_of = self._makers()
        for owner in set(owner_of.values()):
            if self._shows_all_ids(owner):
                shown = self._project.owners.ids_of(owner)[:10]
                owner_of.update(dict.fromkeys(shown, owner))
        for distinct_id in sorted(owner_of):
            uuid = self._project.owners.uuid(owner_of[distinct_id])
            yield {"distinct_id": distinct_id, "person_uuid": uuid}

    def persons_listed(self) -> Iterator[Row]:
        """Every person, as the list of persons shows them; the numeric id is not there."""
        for person in sorted(self._listed(), key=lambda each: each.uuid):
            row = self._person(person, "D") | {"id": None}
            yield row | {"is_identified": bool(person.properties.get("is_signed_up"))}

    def distinct_ids_listed(self) -> Iterator[Row]:
        """Every distinct id that the list of persons shows, in the order of ids."""
        shown = [(each, p.uuid) for p in self._listed() for each in p.distinct_ids[:1000]]
        for distinct_id, uuid in sorted(shown):
            yield {"distinct_id": distinct_id, "person_uuid": uuid}

    def _listed(self) -> Iterator[Person]:
        owners = self._project.owners
        people = (owners.person(number) for number in owners.numbers())
        return (each for each in people if each.created_us <= self._now_us)

    def _numbers_by_id(self) -> Iterator[int]:
        """All numbers in the order of their ids, without holding the ids."""
        project, start_us = self._project, self._project.columns.start_us
        odd = sorted(
            (project.recording_id(n), n)
            for n in [*range(len(start_us)), *(n for n in project.changed if n >= ADDED)]
            if n >= ADDED or is_legacy(project.columns.id_bits[n])
        )
        regular = (n for n in project.by_start() if not is_legacy(project.columns.id_bits[n]))

        def by_id() -> Iterator[tuple[str, int]]:
            # These ids begin with their start in milliseconds.
            for _, group in itertools.groupby(regular, key=lambda n: start_us[n] // 1000):
                yield from sorted((project.recording_id(n), n) for n in group)

        for _, number in heapq.merge(by_id(), odd):
            yield number

    def _visible(self, number: int) -> tuple[list[Piece], Traits] | None:
        """The pieces that have arrived, if the recording can be seen at all."""
        project = self._project
        if project.is_deleted(number):
            return None
        arrived = [p for p in project.pieces(number) if p.arrives_us <= self._now_us]
        if not arrived:
            return None
        arrived.sort(key=lambda piece: piece.start_us)
        traits = project.traits(number)
        if self._now >= _expiry(_instant(arrived[0].start_us), traits.retention_days):
            return None
        return arrived, traits

    def _makers(self) -> dict[str, int]:
        """The owner of each distinct id that made a visible recording, if it has one."""
        project = self._project
        owners: dict[str, int] = {}
        for number in [*range(len(project.columns)), *(n for n in project.changed if n >= ADDED)]:
            distinct_id, owner = project.owner(number)
            if owner is not None and distinct_id not in owners and self._visible(number):
                owners[distinct_id] = owner
        return owners

    def _version(self, chooser: int) -> PageVersion:
        """The shape of a record, chosen by its owner, or by its own number if it has none."""
        mixed = self._options.page_version == "mixed"
        return ("A", "C", "D")[chooser % 3] if mixed else self._options.page_version

    def _shows_all_ids(self, owner: int) -> bool:
        return self._options.flavour == "docs" and self._version(owner) != "A"

    def _recording(self, number: int, pieces: list[Piece], traits: Traits) -> Row:
        distinct_id, owner = self._project.owner(number)
        begin, end = _instant(pieces[0].start_us), _instant(max(p.end_us for p in pieces))
        active = timedelta(milliseconds=sum(p.activity.active_ms for p in pieces))
        length_s, active_s = (end - begin) // _SECOND, active // _SECOND
        row: Row = {
            "id": self._project.recording_id(number),
            "distinct_id": distinct_id,
            "person_uuid": None if owner is None else self._project.owners.uuid(owner),
            "viewed": traits.viewed,
            "viewers": list(traits.viewers),
            "recording_duration": length_s,
            "active_seconds": active_s,
            "inactive_seconds": (_whole_ms(end - begin) - active) // _SECOND,
            "start_time": _text(begin),
            "end_time": _text(end),
            "start_url": None if pieces[0].start_url is None else pieces[0].start_url[:512],
            "snapshot_source": traits.source,
        }
        for name in _COUNTS:
            row[name] = sum(getattr(piece.activity, name) for piece in pieces)
        newest = _instant(max(p.arrives_us for p in pieces))
        row["ongoing"] = self._now - newest <= timedelta(minutes=5)
        row["activity_score"] = _score(row, active) if traits.scored else None
        expiry = _expiry(begin, traits.retention_days)
        modern = {
            "viewers": row.pop("viewers"),
            "retention_period_days": traits.retention_days,
            "expiry_time": _text(expiry),
            "recording_ttl": (expiry.date() - self._now.date()).days,
            "snapshot_library": traits.recorder,
            "external_references": [],
        }
        if self._options.flavour == "cloud":
            return (
                row
                | modern
                | {
                    "has_summary": traits.has_summary,
                    "summary_outcome": None,
                    "matches_filters": True,
                    "total_size": None,
                    "event_count": None,
                }
            )
        return self._documented(
            row, modern, traits, self._version(number if owner is None else owner)
        )

    def _documented(self, row: Row, modern: Row, traits: Traits, version: PageVersion) -> Row:
        if version == "D":
            return row | modern | {"recording_ttl": f"{modern['recording_ttl']}"}
        row["storage"] = traits.storage
        if version == "C":
            return row | {"viewers": modern["viewers"]}
        if row["activity_score"] is not None:
            row["activity_score"] = math.floor(row["activity_score"])
        return row

    def _person(self, person: Person, version: PageVersion) -> Row:
        documented = self._options.flavour == "docs"
        names = [person.properties.get("email"), person.properties.get("name")]
        shown = [str(name) for name in (*names, *person.distinct_ids, person.uuid) if name]
        seen_us = person.last_seen_us
        if documented and version != "D":
            seen_us = None
        return {
            "uuid": person.uuid,
            "id": person.id,
            "name": shown[0],
            "properties": None if documented and version == "A" else person.properties,
            "created_at": _text(_instant(person.created_us)),
            "last_seen_at": None if seen_us is None else _text(_instant(seen_us)),
        }


_SECOND = timedelta(seconds=1)
_COUNTS = (
    "click_count", "keypress_count", "mouse_activity_count",
    "console_log_count", "console_warn_count", "console_error_count",
)  # fmt: skip


def _instant(instant_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant_us)


def _text(instant: datetime) -> str:
    return instant.isoformat().removesuffix("+00:00") + "Z"


def _whole_ms(length: timedelta) -> timedelta:
    return timedelta(milliseconds=length // timedelta(milliseconds=1))


def _expiry(begin: datetime, retention_days: int) -> datetime:
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=retention_days)


def _score(row: Row, active: timedelta) -> float | None:
    """Activity in per cent of time and noise, to two places."""
    quiet = sum(
        row[name]
        for name in (
            "mouse_activity_count", "recording_duration", "console_error_count",
            "console_log_count", "console_warn_count",
        )
    )  # fmt: skip
    if quiet == 0:
        return None
    busy = active.total_seconds() + row["click_count"]
    busy += row["keypress_count"] + row["console_error_count"]
    return float(round(100 * (busy / quiet), 2))
