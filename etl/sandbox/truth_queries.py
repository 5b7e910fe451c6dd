"""What a perfect reader of the query endpoint would have now.

It shares nothing with the code that answers queries: it uses no SQL, and formats its own rows.
Columns have the names of the API, without the dollar. Instants have the digits that ClickHouse
keeps. Events come once, however often they are stored; `properties` of events is text.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from etl.sandbox.events import Event
from etl.sandbox.world import ADDED, Project

QUERY_STREAMS = (
    "events", "sessions", "persons_by_query", "distinct_ids_by_query", "groups_by_query",
    "cohorts_by_query", "cohort_people", "replays_by_query",
)  # fmt: skip
Row = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class QueryTruth:
    """The truth about one project at one instant (microseconds since 1970)."""

    def __init__(self, project: Project, now_us: int) -> None:
        """Later changes to the data show in what is read later."""
        project.columns.grow_to(now_us)
        self._project, self._now_us = project, now_us

    def rows(self, stream: str) -> Iterator[Row]:
        """All rows of a stream in the order of their key."""
        return {
            "events": self.events,
            "sessions": self.sessions,
            "persons_by_query": self.persons,
            "distinct_ids_by_query": self.distinct_ids,
            "groups_by_query": self.groups,
            "cohorts_by_query": self.cohorts,
            "cohort_people": self.members,
            "replays_by_query": self.replays,
        }[stream]()

    def _seen(self) -> dict[str, Event]:
        now_us = self._now_us
        return {e.uuid: e for e in self._project.events.all() if e.visible_us <= now_us}

    def events(self) -> Iterator[Row]:
        """Every event that can be seen, of deleted recordings and persons too."""
        for uuid, event in sorted(self._seen().items()):
            yield {
                "uuid": uuid,
                "event": event.event,
                "properties": event.properties,
                "timestamp": _text(event.timestamp_us),
                "created_at": _text(event.created_us),
                "distinct_id": event.distinct_id,
                "person_id": self._project.person_of(event.distinct_id, event.drawn_person),
                "person_mode": "full" if event.drawn_person is not None else "propertyless",
                "session_id": event.session_id,
                "window_id": event.session_id,
                "elements_chain": "",
            }

    def sessions(self) -> Iterator[Row]:
        """Every session with a UUIDv7 of which an event can be seen."""
        events: dict[str, list[Event]] = {}
        for event in self._seen().values():
            if event.session_id is not None and _is_uuid7(event.session_id):
                events.setdefault(event.session_id, []).append(event)
        for session_id in sorted(events):
            yield self._session(session_id, events[session_id])

    def _session(self, session_id: str, events: list[Event]) -> Row:
        first = min(events, key=lambda event: (event.timestamp_us, event.uuid))
        begun_us = min(event.timestamp_us for event in events)
        ended_us = max(event.timestamp_us for event in events)
        located = sorted(
            (event.timestamp_us, event.uuid, str(url))
            for event in events
            if (url := json.loads(event.properties).get("$current_url"))
        )
        entry, end = (located[0][2], located[-1][2]) if located else (None, None)
        names = [event.event for event in events]
        return {
            "session_id": session_id,
            "distinct_id": first.distinct_id,
            "person_id": self._project.person_of(first.distinct_id, first.drawn_person),
            "start_timestamp": _text(begun_us),
            "end_timestamp": _text(ended_us),
            "max_inserted_at": _text(max(event.created_us for event in events)),
            "entry_current_url": entry,
            "entry_pathname": None if entry is None else urlsplit(entry).path,
            "entry_hostname": None if entry is None else urlsplit(entry).netloc,
            "end_current_url": end,
            "num_uniq_urls": len({url for *_, url in located}),
            "pageview_count": names.count("$pageview"),
            "autocapture_count": names.count("$autocapture"),
            "screen_count": names.count("$screen"),
            "session_duration": (ended_us - begun_us) // 1_000_000,
        }

    def persons(self) -> Iterator[Row]:
        """Every person there is, with or without recordings."""
        owners = self._project.owners
        people = [owners.person(number) for number in owners.numbers()]
        for person in sorted(people, key=lambda each: each.uuid):
            seen_us = person.last_seen_us
            yield {
                "uuid": person.uuid,
                "created_at": _text(person.created_us, 1000),
                "properties": person.properties,
                "is_identified": bool(person.properties.get("is_signed_up")),
                "last_seen_at": None if seen_us is None else _text(seen_us, 1000),
            }

    def distinct_ids(self) -> Iterator[Row]:
        """Every distinct id that a person owns."""
        owners = self._project.owners
        owned = [(each, n) for n in owners.numbers() for each in owners.ids_of(n)]
        for distinct_id, owner in sorted(owned):
            yield {"distinct_id": distinct_id, "person_uuid": owners.uuid(owner)}

    def groups(self) -> Iterator[Row]:
        """Every group, of types that there are no more too."""
        for (index, key), each in sorted(self._project.store.groups.items()):
            made_us = _micros(each.created_at or _EPOCH)
            changed = each.updated_at or each.created_at or _EPOCH
            yield {
                "group_type_index": index,
                "group_key": key,
                "group_properties": each.group_properties,
                "created_at": _text(made_us, 1000),
                "updated_at": _text(_micros(changed), 1_000_000),
            }

    def cohorts(self) -> Iterator[Row]:
        """Live and deleted ones."""
        for number, each in sorted(self._project.store.cohorts.items()):
            calculated = each.last_calculation
            yield {
                "id": number,
                "name": each.name,
                "description": each.description,
                "deleted": each.deleted,
                "filters": each.filters,
                "groups": each.groups,
                "query": each.query,
                "is_static": each.is_static,
                "created_at": _text(_micros(each.created_at)) if each.created_at else None,
                "last_calculation": _text(_micros(calculated)) if calculated else None,
                "version": each.version,
                "count": len(each.persons),
            }

    def members(self) -> Iterator[Row]:
        """The persons of every cohort that was not deleted."""
        for number, each in sorted(self._project.store.cohorts.items()):
            for uuid in [] if each.deleted else sorted(each.persons):
                yield {"cohort_id": number, "person_uuid": uuid}

    def replays(self) -> Iterator[Row]:
        """Every recording of which anything has arrived, deleted and expired ones too."""
        project, found = self._project, {}
        added = [number for number in project.changed if number >= ADDED]
        for number in [*range(len(project.columns)), *added]:
            arrived = [p for p in project.pieces(number) if p.arrives_us <= self._now_us]
            if arrived:
                found[project.recording_id(number)] = {
                    "session_id": project.recording_id(number),
                    "distinct_id": project.maker(number)[0],
                    "start_time": _text(min(p.start_us for p in arrived)),
                    "end_time": _text(max(p.end_us for p in arrived)),
                    "click_count": sum(p.activity.click_count for p in arrived),
                    "active_milliseconds": sum(p.activity.active_ms for p in arrived),
                    "is_deleted": project.is_deleted(number),
                }
        for session_id in sorted(found):
            yield found[session_id]


def _is_uuid7(text: str) -> bool:
    try:
        return str(UUID(text)) == text and UUID(text).version == 7
    except ValueError:
        return False


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _text(instant_us: int, unit_us: int = 1) -> str:
    at = _EPOCH + timedelta(microseconds=instant_us // unit_us * unit_us)
    return at.isoformat().removesuffix("+00:00") + "Z"
