"""Annotations: notes on a date."""

from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.transformers.objects import USERS, object_rows

ANNOTATION_TABLE = TableSpec(
    name="annotations",
    about="One row per annotation. Those of the organization are in each of its projects.",
    key=("id",),
    fields=(
        Field("id", Kind.BIGINT, "PostHog's id of the annotation."),
        Field("content", Kind.TEXT, "What it says."),
        Field("date_marker", Kind.INSTANT, "What it is about."),
        Field("creation_type", Kind.TEXT, "USR: a user made it; GIT: a deployment."),
        Field("scope", Kind.TEXT, "organization, project, dashboard, dashboard_item or recording."),
        Field("dashboard_item", Kind.BIGINT, "Id of the insight it was made on, see insights."),
        Field("insight_short_id", Kind.TEXT, "Short id of that insight."),
        Field("insight_name", Kind.TEXT, "Name of that insight.", volatile=True),
        Field(
            "insight_derived_name",
            Kind.TEXT,
            "Name of that insight made from its query.",
            volatile=True,
        ),
        Field(
            "dashboard_id",
            Kind.BIGINT,
            "Id of the dashboard it was made on.",
        ),
        Field("dashboard_name", Kind.TEXT, "Name of that dashboard.", volatile=True),
        Field("emoji", Kind.TEXT, "Emoji that is shown for it."),
        Field(
            "hidden_in_user_interface",
            Kind.BOOLEAN,
            "Whether only the API shows it.",
        ),
        Field("tags", Kind.TEXTS, "Tags.", null_keeps=True),
        Field("created_at", Kind.INSTANT, "When it was made."),
        Field("created_by", Kind.BIGINT, "Id of the user who made it, see users."),
        Field("updated_at", Kind.INSTANT, "When it was last changed."),
        Field("deleted", Kind.BOOLEAN, "Whether a user deleted it.", null_keeps=True),
    ),
)

ANNOTATIONS = Stream(
    name="annotations",
    about="Annotations, and the users who made them",
    scope="annotation:read",
    mode=Mode.SNAPSHOT,
    resources=(
        Resource(
            # No request shows those that are deleted, nor those of an insight or a dashboard that
            # is deleted: they get `_deleted_at`, and lose it when they are back (PostHog source,
            # products/annotations/backend/api/annotation.py).
            lists=(Address("annotations/", prefix="projects"),),
            one=Address("annotations/{id}/", prefix="projects"),
            key=("id",),
            created="created_at",
            order="date_marker",
            tables=(ANNOTATION_TABLE, USERS),
            transform=object_rows(ANNOTATION_TABLE, users=("created_by",)),
        ),
    ),
)
