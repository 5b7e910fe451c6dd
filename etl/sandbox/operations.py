"""Changes to the data, as the control endpoint names them."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from etl.sandbox.clock import SECOND_US, Clock, to_text
from etl.sandbox.dates import read_date
from etl.sandbox.event_operations import EventOperations
from etl.sandbox.people import mix
from etl.sandbox.pieces import Activity, Piece, count_pieces, piece_start_us
from etl.sandbox.world import Project

Spec = Mapping[str, Any]
_DEFAULT_S = 60.0
_LAG_US = 5 * SECOND_US


class Operations:
    """Carries out changes on one project, at the sandbox's present instant."""

    def __init__(self, project: Project, clock: Clock) -> None:
        """Changes nothing yet."""
        self._project = project
        self._clock = clock
        self._events = EventOperations(project, clock)
        self._named = 0

    def apply(self, spec: Spec) -> dict[str, Any]:
        """Applies one operation and returns its result.

        Raises ValueError, and changes nothing, if it is invalid.
        """
        kinds: dict[str, Callable[[Spec], dict[str, Any]]] = {
            "start_session": self._start_session,
            "add_piece": self._add_piece,
            "end_session": self._end_session,
            "delete_recording": self._delete_recording,
            "restore_recording": self._restore_recording,
            "view": self._view,
            "shift": self._shift,
            "change_person": self._change_person,
            "add_person": self._add_person,
            "merge_persons": self._merge_persons,
            "delete_person": self._delete_person,
            "move_distinct_id": self._move_distinct_id,
            "set_retention": self._set_retention,
            "put": self._put,
            "remove": self._remove,
            **self._events.kinds,
        }
        name = spec.get("op")
        if name not in kinds:
            raise ValueError(f"unknown operation {name!r}; there are {', '.join(kinds)}")
        try:
            return {"op": name, **kinds[name](spec)}
        except KeyError as exc:
            raise ValueError(f"{name} needs {exc}") from exc

    def _instant(self, text: str) -> int:
        return read_date(text, self._clock.now_us(), is_end=False)

    def _recording(self, spec: Spec) -> int:
        number = self._project.find(str(spec["id"]))
        if number is None:
            raise ValueError(f"no recording {spec['id']!r}")
        return number

    def _person(self, uuid: Any) -> int:
        number = self._project.owners.number_of(str(uuid))
        if number is None:
            raise ValueError(f"no person {uuid!r}")
        return number

    def _start_session(self, spec: Spec) -> dict[str, Any]:
        """A new recording. Without `arrives_s`, pieces in the past have already arrived."""
        now_us = self._clock.now_us()
        duration_ms = round(float(spec.get("duration_s", _DEFAULT_S)) * 1000)
        begin_us = now_us - duration_ms * 1000
        if "start_time" in spec:
            begin_us = self._instant(spec["start_time"])
        recording_id = str(spec.get("id") or self._new_id(begin_us))
        distinct_id = str(spec.get("distinct_id") or self._project.owners.drawn_ids(0)[0])
        count = count_pieces(duration_ms)
        edges = [piece_start_us(begin_us, duration_ms, nth) for nth in range(count)]
        edges.append(begin_us + duration_ms * 1000)
        pieces = []
        for nth, (piece_us, end_us) in enumerate(pairwise(edges)):
            if "arrives_s" in spec:
                arrives_us = now_us + round(float(spec["arrives_s"]) * SECOND_US)
            else:
                arrives_us = now_us if nth == 0 or end_us <= now_us else end_us + _LAG_US
            pieces.append(_piece(spec, piece_us, end_us, arrives_us))
        self._project.add(recording_id, distinct_id, pieces)
        return {"id": recording_id, "distinct_id": distinct_id, "start_time": to_text(begin_us)}

    def _new_id(self, begin_us: int) -> str:
        self._named += 1
        bits = f"{mix(self._named):016x}"
        ms = f"{begin_us // 1000:012x}"
        return f"{ms[:8]}-{ms[8:]}-7{bits[:3]}-b{bits[3:6]}-{bits[4:16]}"

    def _add_piece(self, spec: Spec) -> dict[str, Any]:
        """One more piece; without `start_time` it follows the last one."""
        number = self._recording(spec)
        pieces = self._project.pieces(number)
        begin_us = max(piece.end_us for piece in pieces)
        if "start_time" in spec:
            begin_us = self._instant(spec["start_time"])
        end_us = begin_us + round(float(spec.get("duration_s", _DEFAULT_S)) * SECOND_US)
        arrives_us = self._clock.now_us() + round(float(spec.get("arrives_s", 0)) * SECOND_US)
        added = _piece(spec, begin_us, end_us, arrives_us)
        self._project.replace_pieces(number, [*pieces, added])
        return {"id": spec["id"], "start_time": to_text(begin_us), "pieces": len(pieces) + 1}

    def _end_session(self, spec: Spec) -> dict[str, Any]:
        """No more pieces arrive. Five minutes later the recording is no longer ongoing."""
        number = self._recording(spec)
        now_us = self._clock.now_us()
        arrived = [p for p in self._project.pieces(number) if p.arrives_us <= now_us]
        if not arrived:
            raise ValueError(f"nothing of {spec['id']!r} has arrived")
        self._project.replace_pieces(number, arrived)
        return {"id": spec["id"], "pieces": len(arrived)}

    def _delete_recording(self, spec: Spec) -> dict[str, Any]:
        self._project.open(self._recording(spec)).deleted = True
        return {"id": spec["id"]}

    def _restore_recording(self, spec: Spec) -> dict[str, Any]:
        """Undoes a deletion. No real server can do this, but an answer may have been wrong."""
        self._project.open(self._recording(spec)).deleted = False
        return {"id": spec["id"]}

    def _view(self, spec: Spec) -> dict[str, Any]:
        by = str(spec.get("by", "owner"))
        self._project.view(self._recording(spec), by)
        return {"id": spec["id"], "by": by}

    def _shift(self, spec: Spec) -> dict[str, Any]:
        """Moves all pieces so that the first begins at `start_time`; arrivals stay."""
        number = self._recording(spec)
        pieces = self._project.pieces(number)
        by_us = self._instant(spec["start_time"]) - min(piece.start_us for piece in pieces)
        self._project.replace_pieces(
            number,
            [p._replace(start_us=p.start_us + by_us, end_us=p.end_us + by_us) for p in pieces],
        )
        return {"id": spec["id"], "moved_s": by_us / SECOND_US}

    def _change_person(self, spec: Spec) -> dict[str, Any]:
        """Sets (`set`) and removes (`unset`) properties, and moves `last_seen_at`."""
        seen = spec.get("last_seen_at")
        self._project.owners.change(
            self._person(spec["uuid"]),
            dict(spec.get("set", {})),
            list(spec.get("unset", [])),
            None if seen is None else self._instant(seen),
        )
        return {"uuid": spec["uuid"]}

    def _add_person(self, spec: Spec) -> dict[str, Any]:
        """A new person, who owns the distinct ids that a generated one would."""
        made = self._instant(spec["created_at"]) if "created_at" in spec else self._clock.now_us()
        owners = self._project.owners
        return {"uuid": owners.uuid(owners.add(made))}

    def _merge_persons(self, spec: Spec) -> dict[str, Any]:
        gone, kept = self._person(spec["from"]), self._person(spec["into"])
        if gone == kept:
            raise ValueError("a person can't be merged into itself")
        self._project.owners.merge(gone, kept, lingers=bool(spec.get("lingers")))
        return {"from": spec["from"], "into": spec["into"]}

    def _delete_person(self, spec: Spec) -> dict[str, Any]:
        gone = self._person(spec["uuid"])
        self._project.owners.delete(gone, lingers=bool(spec.get("lingers")))
        return {"uuid": spec["uuid"]}

    def _move_distinct_id(self, spec: Spec) -> dict[str, Any]:
        self._project.owners.move(str(spec["distinct_id"]), self._person(spec["to"]))
        return {"distinct_id": spec["distinct_id"], "to": spec["to"]}

    def _set_retention(self, spec: Spec) -> dict[str, Any]:
        self._project.set_retention(int(spec["days"]))
        return {"days": int(spec["days"])}

    def _put(self, spec: Spec) -> dict[str, Any]:
        """Creates or changes a record that users make, see `store.KINDS`."""
        kind = str(spec["kind"])
        return {"kind": kind, **self._project.store.put(kind, _given(spec), self._clock.now_us())}

    def _remove(self, spec: Spec) -> dict[str, Any]:
        """Deletes such a record."""
        kind = str(spec["kind"])
        return {"kind": kind, **self._project.store.remove(kind, _given(spec))}


def _given(spec: Spec) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in ("op", "kind", "project")}


def _piece(spec: Spec, begin_us: int, end_us: int, arrives_us: int) -> Piece:
    counts = [int(spec.get(name, 1)) for name in Activity._fields[1:]]
    activity = Activity((end_us - begin_us) // 2000, *counts)
    url = spec.get("start_url", "https://app.example.com/added")
    return Piece(begin_us, end_us, arrives_us, activity, url)
