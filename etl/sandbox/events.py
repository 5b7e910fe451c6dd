"""The events of one project: a few for each generated recording, and those added later.

Events outlive their recording, and changes to a recording do not change them.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson

from etl.sandbox.clock import HOUR_US, SECOND_US
from etl.sandbox.generate import BLOCK, NO_PERSON, Columns
from etl.sandbox.ids import generated_id
from etl.sandbox.owners import Owners
from etl.sandbox.people import mix
from etl.sandbox.pieces import page_url

_NAMES = ("$pageview", "$autocapture", "$pageview", "order placed", "$pageleave")
_ODD = (
    b'"odd":"a\\u0000b"',
    b'"odd":"half \\ud83d"',
    b'"odd":{"\\u0000":[1,null,"\\udc00"]}',
)
"""JSON that Postgres does not take: NUL, and halves of a surrogate pair."""


class Event(NamedTuple):
    """An event as stored. Instants are microseconds since 1970; it can be read from `visible_us`.

    drawn_person: whom it was stored for, before merges; None for nobody.
    properties: JSON as text.
    """

    uuid: str
    event: str
    properties: str
    timestamp_us: int
    created_us: int
    visible_us: int
    distinct_id: str
    drawn_person: int | None
    session_id: str | None


class Events:
    """All events of a project, in no particular order. `version` grows with every change."""

    def __init__(self, columns: Columns, owners: Owners, per_recording: int, ties: int) -> None:
        """per_recording: how many are generated. ties: so many neighbours share a created_at."""
        self._columns, self._owners = columns, owners
        self._per_recording, self._ties = per_recording, ties
        self._added: list[Event] = []
        self._gone: set[str] = set()
        self._shared = (-1, 0)
        self.version = 0

    def all(self) -> Iterator[Event]:
        """Every event of the recordings that are drawn, those of the future too."""
        for number in range(len(self._columns)):
            for event in self._of_recording(number):
                if not self._gone or event.uuid not in self._gone:
                    yield event
        yield from (each for each in self._added if each.uuid not in self._gone)

    def add(self, event: Event) -> None:
        """Adds one, perhaps a second time: a server may show an event twice for a while."""
        if event.uuid in self._gone:  # what was deleted does not come back with it
            self._added = [each for each in self._added if each.uuid != event.uuid]
        self._added.append(event)
        self._gone.discard(event.uuid)
        self.version += 1

    def delete(self, uuids: Iterable[str]) -> None:
        """Removes events, all copies of each."""
        self._gone.update(uuids)
        self.version += 1

    def drawn(self, distinct_id: str) -> int | None:
        """Whom an event of this distinct id is stored for now."""
        return self._owners.owner_of(distinct_id)

    def _created_us(self, index: int) -> int:
        """When the server stored the n-th of all generated events: seconds or hours later."""
        number, nth = divmod(index, self._per_recording)
        bits = mix(self._columns.id_bits[number] ^ nth * 0x9E37)
        late_us = HOUR_US * (1 + bits % 7) if bits >> 8 & 31 == 7 else 0
        return (
            self._timestamp_us(number, nth) + late_us + SECOND_US + (bits >> 13) % (8 * SECOND_US)
        )

    def _shared_us(self, index: int) -> int:
        """When a group of neighbours was stored: as the last of them."""
        # Groups end with a block of recordings, because recordings are drawn in blocks.
        block = BLOCK * self._per_recording
        begin = index - index % block
        first = index - (index - begin) % self._ties
        if self._shared[0] != first:
            group = range(first, min(first + self._ties, begin + block))
            self._shared = (first, max(self._created_us(each) for each in group))
        return self._shared[1]

    def _timestamp_us(self, number: int, nth: int) -> int:
        length_us = self._columns.duration_ms[number] * 1000
        return self._columns.start_us[number] + length_us * nth // max(1, self._per_recording - 1)

    def _of_recording(self, number: int) -> Iterator[Event]:
        columns, slot = self._columns, self._columns.slot[number]
        person = None if slot == NO_PERSON else columns.person[number]
        if person is None:
            distinct_id = f"anon-{columns.id_bits[number]:x}"
        else:
            distinct_id = self._owners.drawn_ids(person)[slot]
        session_id = generated_id(columns, number)
        for nth in range(self._per_recording):
            index = number * self._per_recording + nth
            created_us = self._created_us(index) if self._ties == 1 else self._shared_us(index)
            timestamp_us = self._timestamp_us(number, nth)
            bits = mix(columns.id_bits[number] + nth + 1)
            ms = f"{timestamp_us // 1000:012x}"
            yield Event(
                uuid=f"{ms[:8]}-{ms[8:]}-7{bits & 0xFFF:03x}-{0x8000 | bits >> 12 & 0x3FFF:04x}"
                f"-{bits >> 16:012x}",
                event=_NAMES[(bits >> 3) % len(_NAMES)] if nth else "$pageview",
                properties=_properties(session_id, page_url(columns.url[number], nth), bits),
                timestamp_us=timestamp_us,
                created_us=created_us,
                # Stored first, and seen a moment later.
                visible_us=created_us + (bits >> 20) % (2 * SECOND_US),
                distinct_id=distinct_id,
                drawn_person=person,
                session_id=session_id,
            )


def _properties(session_id: str, url: str | None, bits: int) -> str:
    known = {"$session_id": session_id, "$lib": "web", "$browser_version": 90 + bits % 50}
    if url is not None:
        known["$current_url"] = url
    text = orjson.dumps(known)
    if bits % 16 == 3:
        text = text[:-1] + b"," + _ODD[(bits >> 4) % len(_ODD)] + b"}"
    return text.decode()
