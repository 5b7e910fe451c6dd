"""What product teams make in a project: annotations, actions, flags, surveys and so on.

Fields have the API's names. Values that the server computes for an answer are not fields here.
"""

from dataclasses import dataclass, field
from typing import Any

from etl.sandbox.kinds import Instant


@dataclass(slots=True)
class Annotation:
    """A note on a date."""

    id: int
    content: str | None = ""
    date_marker: Instant = None
    creation_type: str = "USR"
    dashboard_item: int | None = None
    dashboard_id: int | None = None
    created_at: Instant = None
    created_by: int | None = 1
    updated_at: Instant = None
    deleted: bool = False
    scope: str = "project"
    emoji: str | None = None
    hidden_in_user_interface: bool | None = None
    tags: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Action:
    """Events that are put together under one name."""

    id: int
    name: str | None = ""
    description: str = ""
    tags: list[str] = field(default_factory=list)
    post_to_slack: bool = False
    slack_message_format: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    created_at: Instant = None
    created_by: int | None = 1
    deleted: bool = False
    last_calculated_at: Instant = None
    """When it was last calculated before the clock's start; since then it is every hour."""
    pinned_at: Instant = None


@dataclass(slots=True)
class FeatureFlag:
    """A feature flag."""

    id: int
    key: str = ""
    name: str = ""
    filters: dict[str, Any] = field(default_factory=dict)
    deleted: bool = False
    active: bool = True
    archived: bool = False
    created_at: Instant = None
    created_by: int | None = 1
    updated_at: Instant = None
    version: int | None = 1
    last_modified_by: int | None = 1
    ensure_experience_continuity: bool | None = False
    rollback_conditions: list[Any] | None = None
    performed_rollback: bool | None = False
    tags: list[str] = field(default_factory=list)
    evaluation_contexts: list[str] = field(default_factory=list)
    usage_dashboard: int | None = None
    analytics_dashboards: list[int] = field(default_factory=list)
    has_enriched_analytics: bool | None = False
    is_remote_configuration: bool | None = False
    has_encrypted_payloads: bool | None = False
    evaluation_runtime: str | None = "all"
    bucketing_identifier: str | None = "distinct_id"
    last_called_at: Instant = None
    """When an application last asked for it; None: never."""


@dataclass(slots=True)
class Survey:
    """A survey. `linked_flag` and the like are ids of flags, `actions` those of actions."""

    id: str
    name: str = ""
    description: str = ""
    type: str = "popover"
    schedule: str | None = "once"
    linked_flag: int | None = None
    linked_insight_id: int | None = None
    targeting_flag: int | None = None
    internal_targeting_flag: int | None = None
    questions: list[dict[str, Any]] = field(default_factory=list)
    conditions: dict[str, Any] | None = None
    actions: list[int] = field(default_factory=list)
    appearance: dict[str, Any] | None = None
    created_at: Instant = None
    created_by: int | None = 1
    start_date: Instant = None
    end_date: Instant = None
    archived: bool = False
    responses_limit: int | None = None
    iteration_count: int | None = None
    iteration_frequency_days: int | None = None
    iteration_start_dates: list[str] | None = None
    response_sampling_start_date: Instant = None
    response_sampling_interval_type: str | None = None
    response_sampling_interval: int | None = None
    response_sampling_limit: int | None = None
    response_sampling_daily_limits: dict[str, Any] | None = None
    enable_partial_responses: bool | None = True
    enable_iframe_embedding: bool | None = False
    translations: dict[str, Any] | None = None
    form_content: dict[str, Any] | None = None


@dataclass(slots=True)
class Experiment:
    """An experiment. `feature_flag` is the id of its flag, `holdout` that of its holdout."""

    id: int
    name: str = ""
    description: str | None = None
    start_date: Instant = None
    end_date: Instant = None
    feature_flag: int | None = None
    holdout: int | None = None
    exposure_cohort: int | None = None
    parameters: dict[str, Any] | None = None
    running_time_calculation: dict[str, Any] | None = None
    excluded_variants: list[str] | None = None
    secondary_metrics: list[Any] | None = None
    saved_metrics: list[dict[str, Any]] = field(default_factory=list)
    saved_metrics_ids: list[Any] | None = None
    filters: dict[str, Any] = field(default_factory=dict)
    archived: bool = False
    deleted: bool = False
    created_at: Instant = None
    created_by: int | None = 1
    updated_at: Instant = None
    type: str | None = "product"
    exposure_criteria: dict[str, Any] | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    metrics_secondary: list[dict[str, Any]] = field(default_factory=list)
    stats_config: dict[str, Any] | None = None
    scheduling_config: dict[str, Any] | None = None
    conclusion: str | None = None
    conclusion_comment: str | None = None
    primary_metrics_ordered_uuids: list[str] | None = None
    secondary_metrics_ordered_uuids: list[str] | None = None
    only_count_matured_users: bool = False


@dataclass(slots=True)
class Comment:
    """A comment on a recording, a notebook, an insight and so on."""

    id: str
    content: str | None = ""
    rich_content: dict[str, Any] | None = None
    version: int = 0
    created_at: Instant = None
    created_by: int | None = 1
    item_id: str | None = None
    item_context: dict[str, Any] | None = None
    scope: str = "Replay"
    source_comment: str | None = None
    deleted: bool | None = False
