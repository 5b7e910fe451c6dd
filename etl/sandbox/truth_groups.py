"""What a perfect reader would have now of groups, and of the properties of sessions."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from etl.sandbox.session_properties import PROPERTIES, VALUES
from etl.sandbox.store import Store

Row = dict[str, Any]
_LISTED_VALUES = 20


def time_text(instant: datetime | None) -> str | None:
    """An instant as the server writes it."""
    return None if instant is None else instant.isoformat().removesuffix("+00:00") + "Z"


def with_times(row: Row) -> Row:
    """The row with instants as the server writes them."""
    return {k: time_text(v) if isinstance(v, datetime) else v for k, v in row.items()}


def sha256_text(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def json_text(value: Any) -> str:
    """Text as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


class GroupTruth:
    """The truth about the groups of one project."""

    def __init__(self, store: Store) -> None:
        """Reads the store when it is asked."""
        self._store = store

    def group_types(self) -> Iterator[Row]:
        """All of them."""
        for _, each in sorted(self._store.group_types.items()):
            yield {
                "group_type_index": each.group_type_index,
                "group_type": each.group_type,
                "name_singular": each.name_singular,
                "name_plural": each.name_plural,
                "detail_dashboard": each.detail_dashboard,
                "default_columns": each.default_columns,
                "created_at": time_text(each.created_at),
            }

    def groups(self) -> Iterator[Row]:
        """The groups of every type that there is: a reader asks type by type."""
        for (index, key), each in sorted(self._store.groups.items()):
            if index in self._store.group_types:
                yield {
                    "group_type_index": index,
                    "group_key": key,
                    "group_properties": each.group_properties,
                    "created_at": time_text(each.created_at),
                }

    def group_property_definitions(self) -> Iterator[Row]:
        """How many groups have each property."""
        having: dict[tuple[int, str], int] = {}
        for (index, _), each in self._store.groups.items():
            for name in each.group_properties:
                having[index, name] = having.get((index, name), 0) + 1
        for (index, name), count in sorted(having.items()):
            yield {"group_type_index": index, "name": name, "count": count}

    def group_property_values(self) -> Iterator[Row]:
        """The 20 most frequent values of each property, nulls not counted."""
        having: dict[tuple[int, str], dict[str, int]] = {}
        for (index, _), each in self._store.groups.items():
            for name, value in each.group_properties.items():
                if value is not None:
                    found = having.setdefault((index, name), {})
                    found[json_text(value)] = found.get(json_text(value), 0) + 1
        rows = []
        for (index, key), found in having.items():
            frequent = sorted(found, key=lambda text: (-found[text], text))[:_LISTED_VALUES]
            rows += [(index, key, value, found[value]) for value in frequent]
        for index, key, value, count in sorted(rows):
            yield {"group_type_index": index, "key": key, "value": value, "count": count}

    def group_activity(self) -> Iterator[Row]:
        """What was done to the groups that there are."""
        rows = {}
        for each in self._store.group_activity.values():
            place = (each.group_type_index, each.group_key)
            if place not in self._store.groups or place[0] not in self._store.group_types:
                continue
            at = time_text(each.created_at)
            about = [at, each.activity, each.scope, each.item_id, each.detail]
            entry = "sha256:" + sha256_text(orjson.dumps(about).decode())
            user = self._store.users.get(each.user) if each.user is not None else None
            names = ("first_name", "last_name", "email")
            rows[*place, entry] = {
                "group_type_index": each.group_type_index,
                "group_key": each.group_key,
                "entry": entry,
                "created_at": at,
                "activity": each.activity,
                "scope": each.scope,
                "item_id": each.item_id,
                "detail": each.detail,
                "user": None if user is None else {name: getattr(user, name) for name in names},
                "is_system": each.is_system,
            }
        for _, row in sorted(rows.items()):
            yield row

    def session_property_definitions(self) -> Iterator[Row]:
        """The same in every project."""
        for name, (kind, number) in sorted(PROPERTIES.items()):
            yield {
                "name": name,
                "id": name,
                "property_type": kind,
                "is_numerical": number,
                "is_seen_on_filtered_events": None,
                "tags": [],
            }

    def session_property_values(self) -> Iterator[Row]:
        """All values that were seen."""
        for key in sorted(PROPERTIES):
            for value in sorted(json_text(each) for each in VALUES.get(key, ())):
                yield {"key": key, "value": value}
