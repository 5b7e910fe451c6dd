"""What a perfect reader would have now of definitions of events and properties."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from etl.sandbox.store import Store
from etl.sandbox.truth_groups import time_text

Row = dict[str, Any]

_PAID = ("description", "updated_at", "updated_by", "verified", "verified_at", "verified_by",
         "hidden")  # fmt: skip
_PAID_OF_EVENTS = ("owner", "primary_property", "default_columns")
_USERS = ("owner", "updated_by", "verified_by")
_INSTANTS = ("created_at", "updated_at", "verified_at")
# What is no property of an event for users.
_INTERNAL = {"$set", "$set_once", "distinct_id", "$initial_referrer", "$initial_referring_domain"}
_INTERNAL |= {"$groups", "$group_type", "$group_key", "$group_set"}
_INTERNAL |= {"$group_0", "$group_1", "$group_2", "$group_3", "$group_4"}


class DefinitionTruth:
    """The truth about the definitions of one project. paid: whether its plan describes them."""

    def __init__(self, store: Store, *, paid: bool) -> None:
        """Nothing is read yet."""
        self._store = store
        self._paid = paid

    def event_definitions(self) -> Iterator[Row]:
        """All of them, hidden ones too. None is an action."""
        for key in sorted(self._store.event_definitions):
            row = self._made(asdict(self._store.event_definitions[key]), _PAID_OF_EVENTS)
            del row["last_seen_at"]
            row |= {"is_action": False, "action_id": None, "post_to_slack": False}
            yield row | {"created_by": None}

    def property_definitions(self) -> Iterator[Row]:
        """Those of all types, and those that the server computes, whatever group types exist."""
        rows = [self._made(asdict(each)) for each in self._store.property_definitions.values()]
        found = [
            row | {"virtual": None}
            for row in rows
            if not (row["type"] == "event" and row["name"] in _INTERNAL)
        ]
        found.append(_computed("person", -1, "$virt_initial_channel_type", "String"))
        found.append(_computed("person", -1, "$virt_revenue", "Numeric"))
        found += [_computed("group", index, "$virt_revenue", "Numeric") for index in range(5)]
        for row in sorted(found, key=lambda row: (row["type"], row["group_type_index"], row["id"])):
            yield row | {"is_seen_on_filtered_events": None}

    def named_users(self) -> set[int | None]:
        """The users whom they name."""
        rows = [*self.event_definitions(), *self.property_definitions()]
        return {row.get(name) for row in rows for name in _USERS}

    def _made(self, row: Row, paid: tuple[str, ...] = ()) -> Row:
        for name in _INSTANTS:
            if name in row:
                row[name] = time_text(row[name])
        for name in _USERS:
            if name in row:
                row[name] = self._store.user_id(row[name])
        if not self._paid:
            row |= dict.fromkeys((*_PAID, *paid))
        return row


def _computed(type: str, index: int, name: str, kind: str) -> Row:
    return {
        "type": type,
        "group_type_index": index,
        "id": f"$builtin_{name}",
        "name": name,
        "property_type": kind,
        "is_numerical": kind == "Numeric",
        "tags": [],
        "virtual": True,
        **dict.fromkeys(_PAID),
    }
