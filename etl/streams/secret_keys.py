"""A project's secret API keys, without their values."""

from typing import Any

from etl.core.stream import (
    Address,
    Field,
    Kind,
    Mode,
    Resource,
    Secrets,
    Stream,
    TableSpec,
)
from etl.transformers.objects import USERS, object_rows
from etl.transformers.secrets import drop_named, known_fields

SECRET_KEY_TABLE = TableSpec(
    name="project_secret_api_keys",
    about="One row per secret API key of the project; never the key itself.",
    key=("id",),
    fields=(
        Field("id", Kind.TEXT, "PostHog's id of the key."),
        Field("label", Kind.TEXT, "Label."),
        Field("mask_value", Kind.TEXT, "First and last characters, as PostHog shows them."),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field(
            "last_used_at",
            Kind.INSTANT,
            "When it was last used; only as fresh as _updated_at.",
            volatile=True,
        ),
        Field("last_rolled_at", Kind.INSTANT, "When it was last exchanged for a new one."),
        Field("scopes", Kind.TEXTS, "What it may do."),
    ),
)


def drop_value(record: dict[str, Any]) -> dict[str, Any]:
    """Return a key without its value. Safe to repeat."""
    return drop_named(record, ("value",))


PROJECT_SECRET_API_KEYS = Stream(
    name="project_secret_api_keys",
    about="Secret API keys of the project, without their value",
    scope="project:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            lists=(Address("project_secret_api_keys/"),),
            one=Address("project_secret_api_keys/{id}/"),
            key=("id",),
            created="created_at",
            tables=(SECRET_KEY_TABLE, USERS),
            secrets=Secrets(drop_value, known_fields(SECRET_KEY_TABLE, created_by=USERS)),
            transform=object_rows(SECRET_KEY_TABLE, users=("created_by",)),
        ),
    ),
)
