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
