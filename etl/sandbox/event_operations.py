"""Changes to events, as the control endpoint names them."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from etl.sandbox.clock import SECOND_US, Clock
from etl.sandbox.dates import read_date
from etl.sandbox.events import Event
from etl.sandbox.people import mix
from etl.sandbox.world import Project

Spec = Mapping[str, Any]


class EventOperations:
    """Adds and deletes events of one project, at the sandbox's present instant."""

    def __init__(self, project: Project, clock: Clock) -> None:
        """Changes nothing yet."""
        self._project, self._clock = project, clock
        self._named = 0
        self.kinds: Mapping[str, Callable[[Spec], dict[str, Any]]] = {
            "add_events": self._add,
            "delete_events": self._delete,
        }

    def _instant(self, spec: Spec, name: str, default_us: int) -> int:
        if name not in spec:
            return default_us
        return read_date(str(spec[name]), self._clock.now_us(), is_end=False)

    def _add(self, spec: Spec) -> dict[str, Any]:
        """Adds `count` events with one `created_at` (now) and one `timestamp` (the same).

        step_s: from one timestamp to the next. visible_after_s: from created_at until queries show
        them. copies: how often each is stored. properties: an object, or JSON as text.
        """
        now_us = self._clock.now_us()
        created_us = self._instant(spec, "created_at", now_us)
        timestamp_us = self._instant(spec, "timestamp", created_us)
        step_us = round(float(spec.get("step_s", 0)) * SECOND_US)
        visible_us = created_us + round(float(spec.get("visible_after_s", 0)) * SECOND_US)
        given = spec.get("properties", {})
        properties = given if isinstance(given, str) else orjson.dumps(given).decode()
        events = self._project.events
        distinct_id = str(spec.get("distinct_id") or self._project.owners.drawn_ids(0)[0])
        session_id = spec.get("session_id")
        count = int(spec.get("count", 1))
        if "uuid" in spec and count != 1:
            raise ValueError("only one event can have a given uuid")
        uuids = [str(spec["uuid"]) if "uuid" in spec else self._new_uuid() for _ in range(count)]
        for nth, uuid in enumerate(uuids):
            event = Event(
                uuid=uuid,
                event=str(spec.get("event", "added")),
                properties=properties,
                timestamp_us=timestamp_us + nth * step_us,
                created_us=created_us,
                visible_us=visible_us,
                distinct_id=distinct_id,
                drawn_person=events.drawn(distinct_id),
                session_id=None if session_id is None else str(session_id),
            )
            for _ in range(int(spec.get("copies", 1))):
                events.add(event)
        return {"uuids": uuids}

    def _new_uuid(self) -> str:
        """A version 4 UUID in form, so that its order tells nothing about time."""
        self._named += 1
        head, tail = f"{mix(-self._named):016x}", f"{mix(self._named << 20):016x}"
        return f"{head[:8]}-{head[8:12]}-4{head[12:15]}-9{tail[:3]}-{tail[3:15]}"

    def _delete(self, spec: Spec) -> dict[str, Any]:
        """Deletes events by their `uuids`, or all of a `distinct_id`."""
        uuids, distinct_id = set(spec.get("uuids", ())), spec.get("distinct_id")
        if not uuids and distinct_id is None:
            raise ValueError("delete_events needs uuids or distinct_id")
        events = self._project.events
        found = {e.uuid for e in events.all() if e.uuid in uuids or e.distinct_id == distinct_id}
        if missing := uuids - found:
            raise ValueError(f"no event {min(missing)!r}")
        events.delete(found)
        return {"count": len(found)}
