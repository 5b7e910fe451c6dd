"""Everything the sandbox knows: per project the generated recordings and what was changed."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from etl.sandbox.clock import DAY_US, MINUTE_US, Clock
from etl.sandbox.events import Events
from etl.sandbox.furnish import furnish
from etl.sandbox.furnish_cohorts import furnish_cohorts
from etl.sandbox.furnish_dashboards import furnish_dashboards
from etl.sandbox.furnish_definitions import furnish_definitions
from etl.sandbox.furnish_organization import furnish_organization
from etl.sandbox.furnish_people import furnish_group_persons
from etl.sandbox.furnish_product import furnish_product
from etl.sandbox.generate import LONGEST_MS, NO_PERSON, RETENTIONS_DAYS, Columns
from etl.sandbox.ids import find_generated, generated_id
from etl.sandbox.options import SandboxOptions
from etl.sandbox.owners import Owners
from etl.sandbox.people import People, missing_uuid
from etl.sandbox.pieces import SLOWEST_US, Piece, all_arrived_us, generated_pieces
from etl.sandbox.store import Store
from etl.sandbox.traits import OWNER_EMAIL, PLAIN, Traits, generated_traits

ADDED = 1 << 30
"""Numbers from here on belong to recordings that were added through the control endpoint."""

ONGOING_US = 5 * MINUTE_US
FURNISHED = 24
"""So many of the newest recordings may be shared or be in a collection."""
_HORIZON_US = 10 * MINUTE_US


@dataclass(slots=True)
class Changed:
    """A recording that the control endpoint added or changed."""

    id: str
    distinct_id: str
    drawn_person: int | None
    pieces: list[Piece]
    traits: Traits
    deleted: bool = False


class Project:
    """The data of one project. A recording is a number, see `Columns` and `ADDED`.

    `version` grows with every change to recordings; persons have their own in `owners`.
    """

    def __init__(self, number: int, options: SandboxOptions, clock: Clock) -> None:
        """Generates everything that exists at the clock's start."""
        self.id = number
        self.started_us = clock.started_us
        self._options = options
        self.columns = Columns(options, number, clock.started_us)
        people = People(options.seed, number, options.person_pool, clock.started_us, options.days)
        self.owners = Owners(people)
        self.changed: dict[int, Changed] = {}
        self.version = 0
        self.expires_by_piece = options.expires_by_piece
        self._retention_days: int | None = None
        self._added: dict[str, int] = {}
        self._by_start: array[int] = array("i")
        self._living: tuple[object, array[int]] = (None, array("i"))
        self._unsettled: tuple[int, int, list[int]] = (0, -1, [])

    @cached_property
    def store(self) -> Store:
        """What people made in the project, generated when it is first asked for."""
        # The youngest at the clock's start have the highest numbers.
        newest = range(self._options.recordings - 1, -1, -1)[:FURNISHED]
        ids = [generated_id(self.columns, number) for number in newest]
        store = furnish(self._options, self.id, self.started_us, ids)
        furnish_cohorts(store, self._options, self.id, self.started_us, self.owners.uuid)
        furnish_group_persons(store, self._options, self.id, self.owners.uuid)
        furnish_dashboards(store, self._options, self.id, self.started_us)
        furnish_definitions(store, self._options, self.id, self.started_us)
        furnish_product(store, self._options, self.id, self.started_us)
        furnish_organization(store, self._options, self.id, self.started_us)
        return store

    @cached_property
    def events(self) -> Events:
        """What persons did; generated whenever it is read."""
        options = self._options
        return Events(
            self.columns, self.owners, options.events_per_recording, options.event_ties
        )  # fmt: skip

    def person_of(self, distinct_id: str, drawn: int | None) -> str:
        """The UUID of the person whom an event shows now that was stored for person `drawn`."""
        number = self.owners.of_event(distinct_id, drawn)
        return missing_uuid(self.id, distinct_id) if number is None else self.owners.uuid(number)

    def by_start(self) -> "array[int]":
        """All generated recordings, future ones too, by true start and then id."""
        columns, numbers = self.columns, self._by_start
        if len(numbers) != len(columns):
            start_us = columns.start_us
            ordered = sorted(range(len(columns)), key=start_us.__getitem__)
            ties = [
                at for at in range(1, len(ordered))
                if start_us[ordered[at]] == start_us[ordered[at - 1]]
            ]  # fmt: skip
            for at in ties:
                # Few, and runs are short: insertion keeps each run of equal starts sorted by id.
                while (
                    at and start_us[ordered[at]] == start_us[ordered[at - 1]]
                    and generated_id(columns, ordered[at]) < generated_id(columns, ordered[at - 1])
                ):  # fmt: skip
                    ordered[at - 1], ordered[at] = ordered[at], ordered[at - 1]
                    at -= 1
            self._by_start = numbers = array("i", ordered)
        return numbers

    def living(self, now_us: int) -> "array[int]":
        """As `by_start`, without what has expired; the same array until that changes."""
        state = (now_us // DAY_US, len(self.columns), self._retention_days)
        if state != self._living[0]:
            oldest_us = self.oldest_us(now_us)
            start_us, retention, order = (
                self.columns.start_us, self.columns.retention, self.by_start()
            )  # fmt: skip
            doubtful = self.position(max(oldest_us))
            fresh = [n for n in order[:doubtful] if start_us[n] >= oldest_us[retention[n]]]
            self._living = (state, array("i", fresh) + order[doubtful:])
        return self._living[1]

    def oldest_us(self, now_us: int) -> list[int]:
        """From which start on recordings have not expired, for each retention there is."""
        kept_for = [self._retention_days or days for days in RETENTIONS_DAYS]
        return [(now_us // DAY_US - days + 1) * DAY_US for days in kept_for]

    def position(self, instant_us: int) -> int:
        """How many generated recordings start before an instant."""
        return bisect_left(self.by_start(), instant_us, key=self.columns.start_us.__getitem__)

    def unsettled(self, now_us: int) -> list[int]:
        """Generated recordings of which a piece is under way or arrived within 5 minutes.

        May name some that have settled meanwhile; those that start after now need not be named.
        """
        since_us, size, numbers = self._unsettled
        if size != len(self.columns) or not since_us <= now_us <= since_us + _HORIZON_US:
            self.columns.grow_to(now_us + 2 * _HORIZON_US)
            order, columns = self.by_start(), self.columns
            first = self.position(now_us - ONGOING_US - LONGEST_MS * 1000 - SLOWEST_US)
            last = self.position(now_us + _HORIZON_US + 1)
            border_us = now_us - ONGOING_US
            numbers = [n for n in order[first:last] if all_arrived_us(columns, n) > border_us]
            self._unsettled = (now_us, len(columns), numbers)
        return numbers

    @property
    def unsettled_until_us(self) -> int:
        """Until when the last answer of `unsettled` holds."""
        return self._unsettled[0] + _HORIZON_US

    def find(self, recording_id: str) -> int | None:
        """The number of a recording, visible or not; None if there never was one."""
        number = self._added.get(recording_id)
        if number is None:
            number = find_generated(self.columns, self.by_start(), recording_id)
        return number

    def recording_id(self, number: int) -> str:
        """The id of a recording."""
        if number >= ADDED:
            return self.changed[number].id
        return generated_id(self.columns, number)

    def is_deleted(self, number: int) -> bool:
        """Whether somebody deleted the recording."""
        changed = self.changed.get(number)
        return changed is not None and changed.deleted

    def pieces(self, number: int) -> list[Piece]:
        """All pieces of a recording, arrived or not."""
        changed = self.changed.get(number)
        return changed.pieces if changed else generated_pieces(self.columns, number)

    def traits(self, number: int) -> Traits:
        """What is true of the recording apart from its pieces."""
        changed = self.changed.get(number)
        traits = changed.traits if changed else generated_traits(self.columns, number)
        if self._retention_days is not None:
            return traits._replace(retention_days=self._retention_days)
        return traits

    def is_expired(self, number: int, start_us: int, now_us: int) -> bool:
        """Whether a recording with this start is past midnight of its start day + retention."""
        return start_us // DAY_US + self.traits(number).retention_days <= now_us // DAY_US

    def maker(self, number: int) -> tuple[str, int | None]:
        """The distinct id that made the recording, and the person it was generated for."""
        changed = self.changed.get(number)
        if changed:
            return changed.distinct_id, changed.drawn_person
        columns = self.columns
        slot, person = columns.slot[number], columns.person[number]
        if slot == NO_PERSON:
            return f"anon-{columns.id_bits[number]:x}", None
        return self.owners.drawn_ids(person)[slot], person

    def owner(self, number: int) -> tuple[str, int | None]:
        """The distinct id that made the recording, and the person who owns it now."""
        distinct_id, drawn = self.maker(number)
        return distinct_id, self.owners.resolve(distinct_id, drawn)

    def add(self, recording_id: str, distinct_id: str, pieces: list[Piece]) -> None:
        """Adds a recording. Raises ValueError if the id is taken."""
        if self.find(recording_id) is not None:
            raise ValueError(f"there is a recording {recording_id!r} already")
        number = ADDED + len(self._added)
        drawn = self.owners.owner_of(distinct_id)
        self._added[recording_id] = number
        self.changed[number] = Changed(recording_id, distinct_id, drawn, pieces, PLAIN)
        self.version += 1

    def open(self, number: int) -> Changed:
        """The recording in a form that can be changed; counts as a change."""
        if number not in self.changed:
            distinct_id, drawn = self.maker(number)
            self.changed[number] = Changed(
                self.recording_id(number),
                distinct_id,
                drawn,
                self.pieces(number),
                generated_traits(self.columns, number),
            )
        self.version += 1
        return self.changed[number]

    def view(self, number: int, by: str) -> None:
        """Notes that somebody watched the recording: `owner`, or the email of another user."""
        changed = self.open(number)
        traits = changed.traits
        if by in ("owner", OWNER_EMAIL):
            changed.traits = traits._replace(viewed=True)
        elif by not in traits.viewers:
            changed.traits = traits._replace(viewers=(*traits.viewers, by))

    def replace_pieces(self, number: int, pieces: Iterable[Piece]) -> None:
        """Stores other pieces for a recording."""
        self.open(number).pieces = list(pieces)

    def set_retention(self, days: int) -> None:
        """Keeps every recording, old and new, for so many days."""
        self._retention_days = days
        self.version += 1


class World:
    """The projects by their number, and the clock they share."""

    def __init__(self, options: SandboxOptions) -> None:
        """Generates all projects."""
        self.options = options
        self.clock = Clock(options.now, options.clock)
        # Started once more from the real clock, so that the time spent generating does not count.
        self.projects = {n: Project(n, options, self.clock) for n in options.projects}
        if options.clock == "running":
            self.clock.set(self.clock.started_us)
