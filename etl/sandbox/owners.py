"""Which person owns which distinct id now: the generated persons and later changes."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from etl.sandbox.people import People, Person


@dataclass(slots=True)
class _Change:
    properties: dict[str, Any] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    last_seen_us: int | None = None


class Owners:
    """The persons of one project as they are now. A person is a number in the pool."""

    def __init__(self, people: People) -> None:
        """Starts with the pool as generated."""
        self._people = people
        self._moved: dict[str, int] = {}
        self._merged: dict[int, int] = {}
        self._deleted: set[int] = set()
        self._bare: set[int] = set()
        self._changes: dict[int, _Change] = {}
        self._by_distinct_id: dict[str, int] | None = None
        self._by_uuid: dict[str, int] | None = None
        self.version = 0

    @property
    def untouched(self) -> bool:
        """Whether nothing was changed since the start."""
        return self.version == 0

    def resolve(self, distinct_id: str, drawn: int | None) -> int | None:
        """The owner of a distinct id that was generated for person `drawn`; None if nobody."""
        number = self._moved.get(distinct_id, drawn)
        while number in self._merged:
            number = self._merged[number]
        return None if number in self._deleted else number

    def of_event(self, distinct_id: str, drawn: int | None) -> int | None:
        """Whom an event that was stored for person `drawn` shows now: merges count, deletions not.

        PostHog source, hogql/database/schema/events.py: overrides of the stored person.
        """
        number = self._moved.get(distinct_id, drawn)
        return None if number is None else self._heir(number)

    def numbers(self) -> Iterator[int]:
        """All persons that there are now."""
        gone = self._deleted | self._merged.keys()
        return (number for number in range(self._people.size) if number not in gone)

    def listed(self) -> list[int]:
        """The persons whose ids a list of persons goes through, newest first, then by UUID.

        PostHog takes the ids from one store and the rows from another, so some of these persons
        are gone (PostHog source, posthog/queries/actor_base_query.py).
        """
        kept = (self._deleted | self._merged.keys()) - self._bare
        numbers = (number for number in range(self._people.size) if number not in kept)
        made = self._people.created_us
        return sorted(numbers, key=lambda n: (made(n), self._people.uuid(n)), reverse=True)

    def created_us(self, number: int) -> int:
        """When a person was created."""
        return self._people.created_us(number)

    def is_there(self, number: int) -> bool:
        """Whether the person has a row."""
        return number not in self._deleted and number not in self._merged

    def add(self, created_us: int) -> int:
        """One more person; returns the number."""
        self._by_distinct_id = self._by_uuid = None
        self.version += 1
        return self._people.add(created_us)

    def lost(self) -> list[int]:
        """All persons that were deleted or merged away."""
        return sorted(self._deleted | self._merged.keys())

    def names(self) -> Iterator[tuple[str, int]]:
        """Every distinct id that a person owns now, with the person."""
        drawn = (each for n in range(self._people.size) for each in self._people.distinct_ids(n))
        for distinct_id in dict.fromkeys((*drawn, *self._moved)):
            owner = self.owner_of(distinct_id)
            if owner is not None:
                yield distinct_id, owner

    def owner_of(self, distinct_id: str) -> int | None:
        """The owner of any distinct id; None if nobody."""
        if self._by_distinct_id is None:
            self._by_distinct_id = {
                each: number
                for number in range(self._people.size)
                for each in self._people.distinct_ids(number)
            }
        return self.resolve(distinct_id, self._by_distinct_id.get(distinct_id))

    def number_of(self, uuid: str) -> int | None:
        """The person with this UUID; None if there is none, or it was merged away or deleted."""
        if self._by_uuid is None:
            self._by_uuid = {self._people.uuid(n): n for n in range(self._people.size)}
        number = self._by_uuid.get(uuid)
        return None if number in self._deleted or number in self._merged else number

    def uuid(self, number: int) -> str:
        """The UUID of a person."""
        return self._people.uuid(number)

    def drawn_ids(self, number: int) -> tuple[str, ...]:
        """The distinct ids that a person was generated with, whoever owns them now."""
        return self._people.distinct_ids(number)

    def ids_of(self, number: int) -> tuple[str, ...]:
        """All distinct ids that a person owns now."""
        own = self._people.distinct_ids(number)
        if self.untouched:
            return own
        sources = [number, *(n for n in self._merged if self._heir(n) == number)]
        drawn = [each for n in sources for each in self._people.distinct_ids(n)]
        candidates = dict.fromkeys([*drawn, *self._moved])
        return tuple(each for each in candidates if self.owner_of(each) == number)

    def person(self, number: int) -> Person:
        """A person as they are now, with all the distinct ids they own."""
        person = self._people.person(number)
        if self.untouched:
            return person
        change = self._changes.get(number)
        if change is not None:
            merged = {**person.properties, **change.properties}
            person = replace(
                person,
                properties={k: v for k, v in merged.items() if k not in change.removed},
                last_seen_us=change.last_seen_us or person.last_seen_us,
            )
        return replace(person, distinct_ids=self.ids_of(number))

    def change(
        self,
        number: int,
        properties: dict[str, Any],
        removed: list[str],
        last_seen_us: int | None,
    ) -> None:
        """Sets and removes properties of a person."""
        change = self._changes.setdefault(number, _Change())
        change.properties.update(properties)
        change.removed = (change.removed - properties.keys()) | set(removed)
        change.last_seen_us = last_seen_us or change.last_seen_us
        self.version += 1

    def merge(self, number: int, into: int, *, lingers: bool = False) -> None:
        """Gives all distinct ids of a person to another one; the first is gone.

        lingers: the list of persons still counts the id, see `listed`.
        """
        self._merged[number] = into
        self._bare |= {number} if lingers else set()
        self.version += 1

    def delete(self, number: int, *, lingers: bool = False) -> None:
        """Forgets a person; their distinct ids belong to nobody. lingers: as for `merge`."""
        self._deleted.add(number)
        self._bare |= {number} if lingers else set()
        self.version += 1

    def move(self, distinct_id: str, to: int) -> None:
        """Gives one distinct id, known before or not, to a person."""
        self._moved[distinct_id] = to
        self.version += 1

    def _heir(self, number: int) -> int:
        while number in self._merged:
            number = self._merged[number]
        return number
