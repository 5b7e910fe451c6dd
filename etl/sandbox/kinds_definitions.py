"""Definitions of events and properties. The fields from `description` on are of a paid plan."""

from dataclasses import dataclass, field

from etl.sandbox.kinds import Instant


@dataclass(slots=True)
class EventDefinition:
    """The name of an event. `last_seen_at` moves on by itself, unless it is null."""

    id: str
    name: str = ""
    created_at: Instant = None
    last_seen_at: Instant = None
    tags: list[str] = field(default_factory=list)
    enforcement_mode: str = "allow"
    primary_property: str | None = None
    description: str | None = None
    owner: int | None = None
    updated_at: Instant = None
    updated_by: int | None = None
    verified: bool = False
    verified_at: Instant = None
    verified_by: int | None = None
    hidden: bool = False
    default_columns: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PropertyDefinition:
    """A property of events, persons, sessions, or groups of one type (-1: no groups)."""

    id: str
    name: str = ""
    type: str = "event"
    group_type_index: int = -1
    property_type: str | None = "String"
    is_numerical: bool = False
    tags: list[str] = field(default_factory=list)
    description: str | None = None
    updated_at: Instant = None
    updated_by: int | None = None
    verified: bool = False
    verified_at: Instant = None
    verified_by: int | None = None
    hidden: bool = False
