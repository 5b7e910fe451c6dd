"""What users make in a project besides recordings: subscriptions, groups, insights and so on.

Fields have the API's names. Values that the server computes for an answer (a schedule's summary,
the name of a subscription's insight) are not fields here.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Instant = datetime | None


@dataclass(slots=True)
class User:
    """A user of PostHog, the same in every project."""

    id: int
    uuid: str = ""
    distinct_id: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    is_email_verified: bool | None = None
    hedgehog_config: dict[str, Any] | None = None
    role_at_organization: str | None = None


@dataclass(slots=True)
class Subscription:
    """What is sent to whom, and when. `created_by` and the like are ids of users."""

    id: int
    dashboard: int | None = None
    insight: int | None = None
    target_type: str = "email"
    target_value: str = "team@sandbox.example"
    frequency: str = "weekly"
    interval: int = 1
    byweekday: list[str] | None = None
    bysetpos: int | None = None
    count: int | None = None
    start_date: Instant = None
    until_date: Instant = None
    created_at: Instant = None
    created_by: int | None = 1
    deleted: bool = False
    title: str | None = None
    content_type: str | None = None
    dashboard_export_insights: list[int] = field(default_factory=list)
    prompt: str | None = None
    ai_config: dict[str, Any] | None = None
    enabled: bool = True
    integration_id: int | None = None
    summary_enabled: bool = False
    summary_prompt_guide: str | None = None


@dataclass(slots=True)
class GroupType:
    """One of the at most five kinds of groups."""

    group_type_index: int
    group_type: str = ""
    name_singular: str | None = None
    name_plural: str | None = None
    detail_dashboard: int | None = None
    default_columns: list[str] | None = None
    created_at: Instant = None


@dataclass(slots=True)
class Group:
    """A group. `notebook`: made when a request does not say otherwise."""

    group_type_index: int
    group_key: str
    group_properties: dict[str, Any] = field(default_factory=dict)
    created_at: Instant = None
    notebook: str | None = None
    updated_at: Instant = None
    """When it last changed, which only queries tell; None: when it was made."""


@dataclass(slots=True)
class GroupActivity:
    """An entry of the activity log of a group."""

    id: int
    group_type_index: int
    group_key: str
    created_at: Instant = None
    activity: str = "update_property"
    scope: str = "Group"
    item_id: str | None = None
    detail: dict[str, Any] | None = None
    user: int | None = 1
    is_system: bool = False
    unread: bool = False


@dataclass(slots=True)
class Insight:
    """An insight. Its result is computed for each answer."""

    id: int
    short_id: str = ""
    name: str | None = ""
    derived_name: str | None = None
    description: str | None = ""
    query: dict[str, Any] | None = None
    filters: dict[str, Any] = field(default_factory=dict)
    dashboards: list[int] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    saved: bool = True
    favorited: bool = False
    deleted: bool = False
    created_at: Instant = None
    created_by: int | None = 1
    last_modified_at: Instant = None
    last_modified_by: int | None = 1


@dataclass(slots=True)
class Cohort:
    """A set of persons, as it was last calculated. `persons`: their UUIDs."""

    id: int
    name: str | None = ""
    description: str = ""
    groups: list[Any] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] | None = None
    deleted: bool = False
    is_static: bool = False
    created_at: Instant = None
    created_by: int | None = 1
    last_calculation: Instant = None
    version: int | None = 1
    errors_calculating: int = 0
    last_error_message: str | None = None
    cohort_type: str | None = None
    condition_type: str | None = None
    experiment_set: list[int] = field(default_factory=list)
    persons: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Playlist:
    """A collection, or a saved filter."""

    short_id: str
    id: int = 0
    name: str | None = ""
    derived_name: str | None = None
    description: str = ""
    type: str | None = "collection"
    pinned: bool = False
    deleted: bool = False
    filters: dict[str, Any] = field(default_factory=dict)
    created_at: Instant = None
    created_by: int | None = 1
    last_modified_at: Instant = None
    last_modified_by: int | None = 1
    is_synthetic: bool = False


@dataclass(slots=True)
class PlaylistItem:
    """A recording in a collection, whether the recording still exists or not."""

    short_id: str
    recording_id: str


@dataclass(slots=True)
class SecretKey:
    """A secret API key of the project. Its value is told once and not kept."""

    id: str
    label: str = ""
    mask_value: str = "phs_...0000"
    created_at: Instant = None
    created_by: int | None = 1
    last_used_at: Instant = None
    """When it was last used, before the clock's start: used keys are used again every hour."""
    last_rolled_at: Instant = None
    scopes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Sharing:
    """How a recording, an insight or a dashboard is shared, since sharing was first switched on."""

    resource_type: str
    resource_id: str
    enabled: bool = True
    created_at: Instant = None
    access_token: str = field(default="", repr=False)
    settings: dict[str, Any] | None = None
    password_required: bool = False


@dataclass(slots=True)
class SharePassword:
    """A password of something shared. `created_by` None is a user who is gone."""

    id: int
    resource_type: str
    resource_id: str
    created_at: Instant = None
    note: str | None = None
    created_by: int | None = 1
    is_active: bool = True
