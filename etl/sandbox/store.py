"""The records that users made in one project, by key. API and control endpoint change them."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from etl.sandbox.clock import to_datetime
from etl.sandbox.dates import read_date
from etl.sandbox.kinds import (
    Cohort,
    Group,
    GroupActivity,
    GroupType,
    Insight,
    Instant,
    Playlist,
    PlaylistItem,
    SecretKey,
    SharePassword,
    Sharing,
    Subscription,
    User,
)
from etl.sandbox.kinds_dashboards import Collaborator, Dashboard
from etl.sandbox.kinds_definitions import EventDefinition, PropertyDefinition
from etl.sandbox.kinds_organization import Delivery, LogEntry, Member, ProjectRow
from etl.sandbox.kinds_people import GroupPerson
from etl.sandbox.kinds_product import (
    Action,
    Annotation,
    Comment,
    Experiment,
    FeatureFlag,
    Survey,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of record: where the store keeps it, and which fields are its key."""

    place: str
    record: type[Any]
    key: tuple[str, ...]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "user": Kind("users", User, ("id",)),
        "subscription": Kind("subscriptions", Subscription, ("id",)),
        "group_type": Kind("group_types", GroupType, ("group_type_index",)),
        "group": Kind("groups", Group, ("group_type_index", "group_key")),
        "group_activity": Kind("group_activity", GroupActivity, ("id",)),
        "group_person": Kind(
            "group_persons", GroupPerson, ("group_type_index", "group_key", "uuid")
        ),
        "cohort": Kind("cohorts", Cohort, ("id",)),
        "insight": Kind("insights", Insight, ("id",)),
        "dashboard": Kind("dashboards", Dashboard, ("id",)),
        "collaborator": Kind("collaborators", Collaborator, ("id",)),
        "event_definition": Kind("event_definitions", EventDefinition, ("id",)),
        "property_definition": Kind("property_definitions", PropertyDefinition, ("id",)),
        "playlist": Kind("playlists", Playlist, ("short_id",)),
        "playlist_item": Kind("playlist_items", PlaylistItem, ("short_id", "recording_id")),
        "secret_key": Kind("secret_keys", SecretKey, ("id",)),
        "sharing": Kind("sharings", Sharing, ("resource_type", "resource_id")),
        "share_password": Kind("share_passwords", SharePassword, ("id",)),
        "annotation": Kind("annotations", Annotation, ("id",)),
        "action": Kind("actions", Action, ("id",)),
        "feature_flag": Kind("feature_flags", FeatureFlag, ("id",)),
        "survey": Kind("surveys", Survey, ("id",)),
        "experiment": Kind("experiments", Experiment, ("id",)),
        "comment": Kind("comments", Comment, ("id",)),
        "project": Kind("projects", ProjectRow, ("id",)),
        "member": Kind("members", Member, ("id",)),
        "log_entry": Kind("log_entries", LogEntry, ("id",)),
        "delivery": Kind("deliveries", Delivery, ("id",)),
    }
)
_FIRST_ADDED = 900_000
_RESOURCES = ("recording", "insight", "dashboard")
_STAMPS = ("created_at", "last_modified_at", "added_at", "joined_at")


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(22)


class Store:
    """The records of one project. The keys of the dictionaries are those of `KINDS`."""

    def __init__(self) -> None:
        """Empty at first."""
        self.users: dict[int, User] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.group_types: dict[int, GroupType] = {}
        self.groups: dict[tuple[int, str], Group] = {}
        self.group_activity: dict[int, GroupActivity] = {}
        self.group_persons: dict[tuple[int, str, str], GroupPerson] = {}
        self.cohorts: dict[int, Cohort] = {}
        self.insights: dict[int, Insight] = {}
        self.dashboards: dict[int, Dashboard] = {}
        self.collaborators: dict[str, Collaborator] = {}
        self.event_definitions: dict[str, EventDefinition] = {}
        self.property_definitions: dict[str, PropertyDefinition] = {}
        self.playlists: dict[str, Playlist] = {}
        self.playlist_items: dict[tuple[str, str], PlaylistItem] = {}
        self.secret_keys: dict[str, SecretKey] = {}
        self.sharings: dict[tuple[str, str], Sharing] = {}
        self.share_passwords: dict[int, SharePassword] = {}
        self.annotations: dict[int, Annotation] = {}
        self.actions: dict[int, Action] = {}
        self.feature_flags: dict[int, FeatureFlag] = {}
        self.surveys: dict[str, Survey] = {}
        self.experiments: dict[int, Experiment] = {}
        self.comments: dict[str, Comment] = {}
        self.projects: dict[int, ProjectRow] = {}
        self.members: dict[str, Member] = {}
        self.log_entries: dict[str, LogEntry] = {}
        self.deliveries: dict[str, Delivery] = {}
        self._added = 0

    def add(self, record: Any) -> None:
        """Adds a record, or replaces the one with its key."""
        kind = _KIND_OF[type(record)]
        getattr(self, kind.place)[_key(kind, record)] = record

    def new_id(self) -> int:
        """An id that no record has had."""
        self._added += 1
        return _FIRST_ADDED + self._added

    def put(self, name: str, given: Mapping[str, Any], now_us: int) -> dict[str, Any]:
        """Creates a record or changes fields of the one with this key; returns its key.

        Fields that are not given keep their value, or have that of a new record; instants are
        text. Raises ValueError for an unknown kind or field, KeyError for a key that is missing.
        """
        kind = _kind(name)
        types = {each.name: each.type for each in fields(kind.record)}
        if unknown := given.keys() - types.keys():
            raise ValueError(f"unknown in a {name}: {', '.join(sorted(unknown))}")
        values = {
            field: read_instant(value, now_us) if types[field] == Instant else value
            for field, value in given.items()
        }
        if name in ("sharing", "share_password"):
            values = _with_resource(values)
        if name in _TOUCHED:
            values.setdefault("updated_at", to_datetime(now_us))
        self._fill_key(kind, values)
        found = getattr(self, kind.place).get(_key_of(kind, values))
        if name == "cohort" and "persons" in values:
            # Other members mean that the cohort was calculated again.
            values.setdefault("last_calculation", to_datetime(now_us))
            values.setdefault("version", 1 + ((found.version if found else 0) or 0))
        if found is not None:
            for field, value in values.items():
                setattr(found, field, value)
        else:
            for field in _STAMPS:
                if field in types:
                    values.setdefault(field, to_datetime(now_us))
            for field, made in _MADE.get(name, {}).items():
                values.setdefault(field, made(values))
            try:
                self.add(kind.record(**values))
            except TypeError as exc:
                raise ValueError(f"a new {name} needs more: {exc}") from exc
        return {field: values[field] for field in kind.key}

    def remove(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Deletes a record and what belongs to it; returns its key.

        The key is given by its fields, or as `id` if it is one field. Raises ValueError for an
        unknown kind or record, KeyError if a part of the key is missing.
        """
        kind = _kind(name)
        asked = dict(given)
        if len(kind.key) == 1 and "id" in asked:
            asked[kind.key[0]] = asked.pop("id")
        if name == "sharing":
            asked = _with_resource(asked)
        if unknown := asked.keys() - set(kind.key):
            raise ValueError(f"no part of the key of a {name}: {', '.join(sorted(unknown))}")
        key = _key_of(kind, asked)
        if key not in getattr(self, kind.place):
            raise ValueError(f"no {name} {key!r}")
        del getattr(self, kind.place)[key]
        if name in ("insight", "dashboard"):
            gone = [s.id for s in self.subscriptions.values() if getattr(s, name) == key]
            for each in gone:
                self.remove("subscription", {"id": each})
        if name == "dashboard":
            of_it = [c.id for c in self.collaborators.values() if c.dashboard_id == key]
            for collaborator in of_it:
                del self.collaborators[collaborator]
        return asked

    def user_id(self, user: int | None) -> int | None:
        """Returns the id of a user who still exists; None otherwise."""
        return user if user in self.users else None

    def passwords_of(self, resource: tuple[str, str]) -> list[SharePassword]:
        """The active passwords of something shared, oldest first."""
        found = self.share_passwords.values()
        return [p for p in found if (p.resource_type, p.resource_id) == resource and p.is_active]

    def _fill_key(self, kind: Kind, values: dict[str, Any]) -> None:
        """Gives a new record without a key an id."""
        (first, *others) = kind.key
        if not others and first in ("id", "short_id") and first not in values:
            number = self.new_id()
            values[first] = _NEW_IDS.get(kind.place, int)(number)


def short_id(number: int) -> str:
    """Eight letters and digits, as addresses have them."""
    return hashlib.sha256(f"short:{number}".encode()).hexdigest()[:8]


def uuid_text(number: int) -> str:
    """A UUID that looks drawn, always the same for a number."""
    drawn = hashlib.sha256(f"uuid:{number}".encode()).digest()[:16]
    return str(UUID(bytes=drawn, version=4))


def read_instant(value: Any, now_us: int) -> datetime | None:
    """An instant from text, or None. Raises ValueError if it is neither."""
    if value is None or isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError(f"no instant: {value!r}")
    return to_datetime(read_date(value, now_us, is_end=False))


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ValueError(f"unknown kind {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]


def _with_resource(values: dict[str, Any]) -> dict[str, Any]:
    """The id of what is shared as text; it may be given as a number."""
    if values.get("resource_type", "recording") not in _RESOURCES:
        raise ValueError(f"resource_type must be one of {', '.join(_RESOURCES)}")
    if "resource_id" in values:
        values["resource_id"] = str(values["resource_id"])
    return values


def _key_of(kind: Kind, values: Mapping[str, Any]) -> Any:
    parts = tuple(values[name] for name in kind.key)
    return parts if len(parts) > 1 else parts[0]


def _key(kind: Kind, record: Any) -> Any:
    return _key_of(kind, {name: getattr(record, name) for name in kind.key})


_KIND_OF = {kind.record: kind for kind in KINDS.values()}
_NEW_IDS: Mapping[str, Callable[[int], Any]] = {
    "playlists": short_id,
    "secret_keys": short_id,
    "collaborators": uuid_text,
    "event_definitions": uuid_text,
    "property_definitions": uuid_text,
    "surveys": uuid_text,
    "comments": uuid_text,
    **dict.fromkeys(("members", "log_entries", "deliveries"), uuid_text),
}
# Whatever changes one of these sets `updated_at`.
_TOUCHED = ("group", "annotation", "feature_flag", "experiment")
_MADE: Mapping[str, Mapping[str, Any]] = {
    "insight": {"short_id": lambda values: short_id(values["id"])},
    "playlist": {
        "id": lambda values: int(hashlib.sha256(values["short_id"].encode()).hexdigest()[:7], 16)
    },
    "sharing": {"access_token": lambda values: new_token()},
    "subscription": {"start_date": lambda values: values["created_at"]},
    "user": {"email": lambda values: f"user{values['id']}@sandbox.example"},
}
