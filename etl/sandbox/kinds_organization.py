"""What belongs to the project as a whole: itself, the members of its organization, its logs."""

from dataclasses import dataclass, field
from typing import Any

from etl.sandbox.kinds import Instant


@dataclass(slots=True)
class ProjectRow:
    """The project itself, as lists show it. Its tokens are made for each answer."""

    id: int
    uuid: str = ""
    organization: str = ""
    name: str = ""
    timezone: str = "UTC"
    is_demo: bool = False
    ingested_event: bool = True
    completed_snippet_onboarding: bool = True
    has_completed_onboarding_for: dict[str, Any] | None = None
    access_control: bool = False


@dataclass(slots=True)
class Member:
    """A user's membership. A member whose user is gone is not listed."""

    id: str
    user: int = 1
    level: int = 1
    joined_at: Instant = None
    updated_at: Instant = None
    is_2fa_enabled: bool = False
    has_social_auth: bool = False
    last_login: Instant = None


@dataclass(slots=True)
class LogEntry:
    """An entry of the project's activity log; it never changes."""

    id: str
    user: int | None = 1
    activity: str = "updated"
    scope: str = "FeatureFlag"
    item_id: str | None = None
    detail: dict[str, Any] | None = None
    created_at: Instant = None
    was_impersonated: bool = False
    is_system: bool = False
    unread: bool = False


@dataclass(slots=True)
class Delivery:
    """One delivery of a subscription; it changes until `finished_at` is set."""

    id: str
    subscription: int = 0
    trigger_type: str = "scheduled"
    scheduled_at: Instant = None
    target_type: str = "email"
    target_value: str = "team@sandbox.example"
    exported_asset_ids: list[int] = field(default_factory=list)
    content_snapshot: dict[str, Any] | None = None
    recipient_results: list[Any] = field(default_factory=list)
    status: str = "completed"
    error: dict[str, Any] | None = None
    created_at: Instant = None
    last_updated_at: Instant = None
    finished_at: Instant = None
