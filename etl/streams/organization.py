"""The project itself, and the members of its organization."""

from typing import Any

from etl.core.stream import (
    Address,
    Field,
    Kind,
    Mode,
    Parents,
    Resource,
    Secrets,
    Stream,
    TableSpec,
)
from etl.transformers.objects import USERS, object_rows
from etl.transformers.secrets import drop_named, known_fields

PROJECT_TABLE = TableSpec(
    name="projects",
    about="The project itself: one row, without its tokens.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the project."),
        Field("uuid", Kind.UUID, "Its uuid."),
        Field(
            "organization",
            Kind.UUID,
            "Id of the organization that it belongs to.",
            null_keeps=True,
        ),
        Field("name", Kind.TEXT, "Name."),
        Field("timezone", Kind.TEXT, "Time zone in which PostHog shows instants."),
        Field("is_demo", Kind.BOOLEAN, "Whether its data is made up."),
        Field(
            "ingested_event",
            Kind.BOOLEAN,
            "Whether it ever received an event.",
            null_keeps=True,
        ),
        Field(
            "completed_snippet_onboarding",
            Kind.BOOLEAN,
            "Whether a user said that the snippet is installed.",
            null_keeps=True,
        ),
        Field(
            "has_completed_onboarding_for",
            Kind.JSON,
            "Products whose introduction was completed, as JSON.",
            null_keeps=True,
        ),
        Field(
            "access_control",
            Kind.BOOLEAN,
            "Whether only some members may see it.",
            null_keeps=True,
        ),
    ),
)

# `api_token` is the public token, which can write events. The others are shown by a retrieve, which
# is never sent, and may be shown by other versions (PostHog source, posthog/api/project.py).
# `project_id` equals `id`, and every table has a column of this name.
_LEFT_OUT = (
    "api_token",
    "secret_api_token",
    "secret_api_token_backup",
    "live_events_token",
    "slack_incoming_webhook",
    "project_id",
)


def drop_tokens(record: dict[str, Any]) -> dict[str, Any]:
    """Return a project without its tokens. Safe to repeat."""
    return drop_named(record, _LEFT_OUT)


PROJECTS = Stream(
    name="projects",
    about="The project itself, without its tokens",
    scope="project:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # All projects that the key may see. A retrieve shows secrets and makes a new token.
            lists=(Address("/api/projects/"),),
            key=("id",),
            project="id",
            # A key that is limited to other projects does not see this one.
            mirrors=False,
            tables=(PROJECT_TABLE,),
            secrets=Secrets(drop_tokens, known_fields(PROJECT_TABLE)),
            transform=object_rows(PROJECT_TABLE),
        ),
    ),
)

MEMBER_TABLE = TableSpec(
    name="organization_members",
    about="One row per member of the project's organization.",
    key=("organization", "id"),
    fields=(
        Field("organization", Kind.UUID, "Id of the organization, see projects."),
        Field("id", Kind.UUID, "PostHog's id of the membership."),
        Field("user", Kind.BIGINT, "Id of the user, see users."),
        Field("level", Kind.BIGINT, "1 is a member, 8 an administrator, 15 an owner."),
        Field("joined_at", Kind.INSTANT, "When the user joined."),
        Field("updated_at", Kind.INSTANT, "When the membership was last changed."),
        Field(
            "is_2fa_enabled",
            Kind.BOOLEAN,
            "Whether the user logs in with a second factor.",
            null_keeps=True,
        ),
        Field(
            "has_social_auth",
            Kind.BOOLEAN,
            "Whether the user logs in by another service.",
            null_keeps=True,
        ),
        Field(
            "last_login",
            Kind.INSTANT,
            "When the user last logged in; only as fresh as _updated_at.",
            volatile=True,
            null_keeps=True,
        ),
    ),
)

ORGANIZATION_MEMBERS = Stream(
    name="organization_members",
    about="Members of the project's organization, and their users; personal data",
    scope="organization_member:read",
    mode=Mode.SNAPSHOT,
    off=True,
    resources=(
        Resource(
            # The list has a parameter `updated_after`, but it shows no member who was removed, and
            # no changed name (PostHog source, posthog/api/organization_member.py). So all is read.
            lists=(Address("/api/organizations/{organization}/members/"),),
            key=("organization", "id"),
            created="joined_at",
            parents=Parents("projects", {"organization": "organization"}),
            tables=(MEMBER_TABLE, USERS),
            transform=object_rows(MEMBER_TABLE, users=("user",)),
        ),
    ),
)
