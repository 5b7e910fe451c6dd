"""The rows of HogQL's tables, from the data of a project, in the order of their columns."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from etl.sandbox.clock import EPOCH, HOUR_US, SECOND_US, to_us
from etl.sandbox.hogql_sessions import session_rows
from etl.sandbox.pieces import Piece
from etl.sandbox.world import ADDED, Project

Row = Iterable[Any]
WITH_FUTURE = ("events",)


def _us(instant: datetime | None) -> int | None:
    return None if instant is None else to_us(instant)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


class Rows:
    """Reads the rows of one project at one instant.

    until_us: until when what was read stays true, unless the data changes.
    """

    def __init__(self, project: Project, now_us: int, timezone: str) -> None:
        """Nothing is read yet."""
        project.columns.grow_to(now_us)
        self._project, self._now_us, self._timezone = project, now_us, timezone
        self.until_us = now_us + (1 << 62)

    def of(self, table: str) -> Iterator[Row]:
        """All rows of a table. Those of `WITH_FUTURE` end with the instant from which on they show.

        They are so many that they are not read again whenever one more shows.
        """
        return _READERS[table](self)

    def _has_come(self, at_us: int) -> bool:
        if at_us > self._now_us:
            self.until_us = min(self.until_us, at_us)
        return at_us <= self._now_us

    def _events(self) -> Iterator[Row]:
        project = self._project
        person_of = lru_cache(maxsize=4096)(project.person_of)
        for each in project.events.all():
            person = person_of(each.distinct_id, each.drawn_person)
            mode = "propertyless" if each.drawn_person is None else "full"
            yield (
                each.uuid, each.event, each.properties, each.timestamp_us, project.id,
                each.distinct_id, "", each.created_us, each.session_id, each.session_id,
                mode, person, "", "", "", "", "", each.visible_us,
            )  # fmt: skip

    def _sessions(self) -> Iterator[Row]:
        seen = (e for e in self._project.events.all() if self._has_come(e.visible_us))
        return session_rows(self._project, seen)

    def _persons(self) -> Iterator[Row]:
        return (self._person(number) for number in self._project.owners.numbers())

    def _person(self, number: int) -> tuple[Any, ...]:
        person = self._project.owners.person(number)
        seen_us = person.last_seen_us
        return (
            person.uuid, person.created_us // 1000 * 1000, self._project.id,
            _json(person.properties), bool(person.properties.get("is_signed_up")),
            None if seen_us is None else seen_us // 1000 * 1000,
        )  # fmt: skip

    def _raw_persons(self) -> Iterator[Row]:
        owners = self._project.owners
        for number in owners.numbers():
            yield *self._person(number), 0, 0
        for number in owners.lost():
            # What marks a deletion has no properties (PostHog source, models/person/util.py).
            person = self._project.owners.person(number)
            yield (
                person.uuid,
                person.created_us // 1000 * 1000,
                self._project.id,
                "{}",
                0,
                None,
                1,
                100,
            )

    def _person_distinct_ids(self) -> Iterator[Row]:
        owners = self._project.owners
        for distinct_id, owner in owners.names():
            yield distinct_id, owners.uuid(owner), self._project.id

    def _cohort_people(self) -> Iterator[Row]:
        return self._members(static=False)

    def _static_cohort_people(self) -> Iterator[Row]:
        return self._members(static=True)

    def _members(self, static: bool) -> Iterator[Row]:
        """Persons as they were calculated; of cohorts that were not deleted."""
        for cohort in self._project.store.cohorts.values():
            if cohort.is_static == static and not cohort.deleted:
                for uuid in cohort.persons:
                    yield uuid, cohort.id, self._project.id

    def _groups(self) -> Iterator[Row]:
        for (index, key), each in self._project.store.groups.items():
            made = each.created_at or EPOCH
            changed = each.updated_at or made
            yield (
                index, self._project.id, key, to_us(made) // 1000 * 1000,
                to_us(changed) // SECOND_US * SECOND_US, _json(each.group_properties),
            )  # fmt: skip

    def _arrived(self) -> Iterator[tuple[int, list[Piece]]]:
        """Each recording of which anything has arrived, deleted and expired ones too."""
        project = self._project
        added = (number for number in project.changed if number >= ADDED)
        for number in itertools.chain(range(len(project.columns)), added):
            pieces = [p for p in project.pieces(number) if self._has_come(p.arrives_us)]
            if pieces:
                yield number, pieces

    def _replays(self) -> Iterator[Row]:
        """One row for each session (PostHog source, schema/session_replay_events.py)."""
        project = self._project
        for number, pieces in self._arrived():
            traits = project.traits(number)
            counts = [sum(values) for values in zip(*(p.activity for p in pieces), strict=True)]
            active_ms, clicks, keys, mouse, logs, warns, errors = counts
            first = min(pieces, key=lambda piece: piece.start_us)
            events = sum(counts[1:])
            yield (
                project.recording_id(number), project.id, project.maker(number)[0],
                first.start_us, max(p.end_us for p in pieces), first.start_url,
                _json(list(dict.fromkeys(p.start_url for p in pieces if p.start_url))),
                clicks, keys, mouse, logs, warns, errors, active_ms, 1000 + 350 * events, events,
                len(pieces), traits.source, traits.recorder, traits.retention_days,
                project.is_deleted(number),
            )  # fmt: skip

    def _pieces(self) -> Iterator[Row]:
        """Every piece. A deletion is a piece of its own, of the time at which it was made.

        (PostHog source, session-block-metadata.ts.) The sandbox keeps no such time: it is now.
        """
        project, now_us = self._project, self._now_us
        for number, pieces in self._arrived():
            name, maker = project.recording_id(number), project.maker(number)[0]
            for each in pieces:
                active_ms, clicks, keys, mouse, logs, warns, errors = each.activity
                yield (
                    name, project.id, maker, each.start_us, each.end_us, clicks, keys, mouse,
                    logs, warns, errors, active_ms, sum(each.activity[1:]),
                    each.arrives_us // SECOND_US * SECOND_US, False,
                )  # fmt: skip
            if project.is_deleted(number):
                yield (
                    name, project.id, maker, now_us, now_us, 0, 0, 0, 0, 0, 0, 0, 0,
                    now_us // SECOND_US * SECOND_US, True,
                )  # fmt: skip

    def _recordings(self) -> Iterator[Row]:
        """Those that somebody watched, collected or deleted: Postgres has no others."""
        project = self._project
        collected = {each for _, each in project.store.playlist_items}
        for row, (number, _) in zip(self._replays(), self._arrived(), strict=True):
            found = list(row)
            deleted, traits = project.is_deleted(number), project.traits(number)
            if not (deleted or traits.viewed or traits.viewers or found[0] in collected):
                continue
            start_us, end_us, active_s = found[3], found[4], found[13] // 1000
            length_s = (end_us - start_us) // SECOND_US
            yield (
                f"{project.id:08x}-0000-4000-8000-{number:012x}", project.id, found[0], found[2],
                length_s, active_s, length_s - active_s, start_us, end_us, *found[7:13], found[5],
                deleted, end_us, traits.retention_days,
            )  # fmt: skip

    def _insights(self) -> Iterator[Row]:
        for each in self._project.store.insights.values():
            yield (
                each.id, self._project.id, each.short_id, each.name, each.description,
                _json(each.filters), None if each.query is None else _json(each.query),
                each.deleted, each.saved, each.favorited, *_stamps(each),
                _us(each.last_modified_at),
            )  # fmt: skip

    def _playlists(self) -> Iterator[Row]:
        for each in self._project.store.playlists.values():
            if not each.is_synthetic:
                yield (
                    each.id, self._project.id, each.short_id, each.name, each.derived_name,
                    each.description, each.pinned, each.deleted, _json(each.filters), each.type,
                    *_stamps(each),
                )  # fmt: skip

    def _cohorts(self) -> Iterator[Row]:
        for each in self._project.store.cohorts.values():
            yield (
                each.id, self._project.id, each.name, each.description, each.deleted,
                _json(each.filters), _json(each.groups),
                None if each.query is None else _json(each.query), _us(each.created_at),
                _us(each.last_calculation), each.version, len(each.persons), each.is_static,
            )  # fmt: skip

    def _group_types(self) -> Iterator[Row]:
        for index, each in self._project.store.group_types.items():
            yield (
                self._project.id * 10 + index, self._project.id, each.group_type,
                each.name_singular, each.name_plural,
            )  # fmt: skip

    def _teams(self) -> Iterator[Row]:
        project = self._project
        made_us = project.started_us - 1000 * HOUR_US
        yield project.id, f"Sandbox {project.id}", self._timezone, "[]", made_us, made_us


def _stamps(made: Any) -> tuple[Any, ...]:
    return (
        _us(made.created_at), made.created_by, _us(made.last_modified_at), made.last_modified_by
    )  # fmt: skip


_READERS: Mapping[str, Callable[[Rows], Iterator[Row]]] = {
    "events": Rows._events,
    "persons": Rows._persons,
    "raw_persons": Rows._raw_persons,
    "person_distinct_ids": Rows._person_distinct_ids,
    "cohort_people": Rows._cohort_people,
    "static_cohort_people": Rows._static_cohort_people,
    "groups": Rows._groups,
    "raw_groups": Rows._groups,
    "sessions": Rows._sessions,
    "session_replay_events": Rows._replays,
    "raw_session_replay_events": Rows._pieces,
    "system.session_recordings": Rows._recordings,
    "system.insights": Rows._insights,
    "system.session_recording_playlists": Rows._playlists,
    "system.cohorts": Rows._cohorts,
    "system.group_type_mappings": Rows._group_types,
    "system.teams": Rows._teams,
}
