"""Dashboards, and who may edit them. Which insights are on them, the insights say."""

from dataclasses import dataclass, field

from etl.sandbox.kinds import Instant


@dataclass(slots=True)
class Dashboard:
    """A dashboard. Whether it is shared is computed for each answer."""

    id: int
    name: str | None = ""
    description: str = ""
    pinned: bool = False
    created_at: Instant = None
    created_by: int | None = 1
    deleted: bool = False
    creation_mode: str = "default"
    tags: list[str] = field(default_factory=list)
    restriction_level: int = 21
    folder: str | None = None
    last_accessed_at: Instant = None


@dataclass(slots=True)
class Collaborator:
    """A user who may edit a dashboard. `is_active`: False once the user was deactivated."""

    id: str
    dashboard_id: int
    user: int = 1
    level: int = 37
    added_at: Instant = None
    updated_at: Instant = None
    is_active: bool = True
