"""Actions: events that are put together under one name."""

from typing import Any

from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows
from etl.transformers.reduced import without, without_inside

ACTION_TABLE = TableSpec(
    name="actions",
    about="One row per action.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the action."),
        Field("name", Kind.TEXT, "Name."),
        Field("description", Kind.TEXT, "Description.", null_keeps=True),
        Field("tags", Kind.TEXTS, "Tags.", null_keeps=True),
        Field("steps", Kind.JSON, "Which events it matches, as JSON; one of the steps is enough."),
        Field("post_to_slack", Kind.BOOLEAN, "Whether Slack is told about each event."),
        Field("slack_message_format", Kind.TEXT, "How that message is written."),
        Field("pinned_at", Kind.INSTANT, "When it was pinned; null if it is not."),
        Field("team_id", Kind.BIGINT, "Id of the project's team.", null_keeps=True),
        Field("is_action", Kind.BOOLEAN, "Always true in the API's answers.", null_keeps=True),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field(
            "deleted",
            Kind.BOOLEAN,
            "Whether a user deleted it; seen if it was stored before.",
            null_keeps=True,
        ),
        Field(
            "is_calculating",
            Kind.BOOLEAN,
            "Always false in the API's answers.",
            volatile=True,
            null_keeps=True,
        ),
        Field(
            "last_calculated_at",
            Kind.INSTANT,
            "When it was last calculated; only as fresh as _updated_at.",
            volatile=True,
        ),
        Field(
            "bytecode_error",
            Kind.TEXT,
            "Why PostHog could not compile it.",
            volatile=True,
        ),
        Field(
            "user_access_level",
            Kind.TEXT,
            "What the key's owner may do.",
            volatile=True,
            null_keeps=True,
        ),
    ),
)


def drop_computed(record: dict[str, Any]) -> dict[str, Any]:
    """Return an action without what the server computes for each answer.

    `selector_regex` is made of the selector of a step, and other versions make another one;
    `creation_context` is always null (PostHog source, products/actions/backend/api/action.py).
    """
    record = without(record, "creation_context")
    if "steps" in record:
        record["steps"] = without_inside(record["steps"], "selector_regex")
    return record


ACTIONS = Stream(
    name="actions",
    about="Actions, and the users who made them",
    scope="action:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # The list leaves out deleted ones, but a single one is still found by its id (PostHog
            # source, products/actions/backend/api/action.py).
            lists=(Address("actions/", prefix="projects"),),
            one=Address("actions/{id}/", prefix="projects"),
            key=("id",),
            created="created_at",
            order="last_calculated_at",
            tables=(ACTION_TABLE, USERS),
            redact=drop_computed,
            transform=object_rows(ACTION_TABLE, users=("created_by",)),
        ),
    ),
)
