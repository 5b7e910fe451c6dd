"""What product teams make."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    data, _ = schemas(op.get_context())
    op.create_table(
        "actions",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the action."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
        sa.Column(
            "steps",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Which events it matches, as JSON; one of the steps is enough.",
        ),
        sa.Column(
            "post_to_slack",
            sa.Boolean(),
            nullable=True,
            comment="Whether Slack is told about each event.",
        ),
        sa.Column(
            "slack_message_format", sa.Text(), nullable=True, comment="How that message is written."
        ),
        sa.Column(
            "pinned_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was pinned; null if it is not.",
        ),
        sa.Column("team_id", sa.BigInteger(), nullable=True, comment="Id of the project's team."),
        sa.Column(
            "is_action", sa.Boolean(), nullable=True, comment="Always true in the API's answers."
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=True, comment="When it was made."
        ),
        sa.Column(
            "created_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who made it, see users.",
        ),
        sa.Column(
            "deleted",
            sa.Boolean(),
            nullable=True,
            comment="Whether a user deleted it; seen if it was stored before.",
        ),
        sa.Column(
            "is_calculating",
            sa.Boolean(),
            nullable=True,
            comment="Always false in the API's answers.",
        ),
        sa.Column(
            "last_calculated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last calculated; only as fresh as _updated_at.",
        ),
        sa.Column(
            "bytecode_error", sa.Text(), nullable=True, comment="Why PostHog could not compile it."
        ),
        sa.Column(
            "user_access_level", sa.Text(), nullable=True, comment="What the key's owner may do."
        ),
        sa.Column(
            "extra",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Fields that the catalogue does not know, as JSON.",
        ),
        sa.Column(
            "_repaired",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Fields in which something that Postgres cannot hold was replaced.",
        ),
        sa.Column(
            "_observed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the request for this content was sent.",
        ),
        sa.Column(
            "_first_seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the row was first written here.",
        ),
        sa.Column(
            "_updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the content last changed here.",
        ),
        sa.Column(
            "_xid",
            sa.BigInteger(),
            nullable=False,
            comment="Transaction that last changed the row here.",
        ),
        sa.Column(
            "_deleted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the row was found gone at the source.",
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name="actions_pkey"),
        schema=data,
        comment="One row per action.",
    )
    op.create_table(
        "annotations",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the annotation."),
        sa.Column("content", sa.Text(), nullable=True, comment="What it says."),
        sa.Column(
            "date_marker", sa.DateTime(timezone=True), nullable=True, comment="What it is about."
        ),
        sa.Column(
            "creation_type",
            sa.Text(),
            nullable=True,
            comment="USR: a user made it; GIT: a deployment.",
        ),
        sa.Column(
            "scope",
            sa.Text(),
            nullable=True,
            comment="organization, project, dashboard, dashboard_item or recording.",
        ),
        sa.Column(
            "dashboard_item",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the insight it was made on, see insights.",
        ),
        sa.Column(
            "insight_short_id", sa.Text(), nullable=True, comment="Short id of that insight."
        ),
        sa.Column("insight_name", sa.Text(), nullable=True, comment="Name of that insight."),
        sa.Column(
            "insight_derived_name",
            sa.Text(),
            nullable=True,
            comment="Name of that insight made from its query.",
        ),
        sa.Column(
            "dashboard_id",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the dashboard it was made on.",
        ),
        sa.Column("dashboard_name", sa.Text(), nullable=True, comment="Name of that dashboard."),
        sa.Column("emoji", sa.Text(), nullable=True, comment="Emoji that is shown for it."),
        sa.Column(
            "hidden_in_user_interface",
            sa.Boolean(),
            nullable=True,
            comment="Whether only the API shows it.",
        ),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True, comment="Tags."),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=True, comment="When it was made."
        ),
        sa.Column(
            "created_by",
            sa.BigInteger(),
            nullable=True,
            comment="Id of the user who made it, see users.",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last changed.",
        ),
        sa.Column("deleted", sa.Boolean(), nullable=True, comment="Whether a user deleted it."),
        sa.Column(
            "extra",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Fields that the catalogue does not know, as JSON.",
        ),
        sa.Column(
            "_repaired",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="Fields in which something that Postgres cannot hold was replaced.",
        ),
        sa.Column(
            "_observed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the request for this content was sent.",
        ),
        sa.Column(
            "_first_seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the row was first written here.",
        ),
        sa.Column(
            "_updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the content last changed here.",
        ),
        sa.Column(
            "_xid",
            sa.BigInteger(),
            nullable=False,
            comment="Transaction that last changed the row here.",
        ),
        sa.Column(
            "_deleted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the row was found gone at the source.",
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name="annotations_pkey"),
        schema=data,
        comment="One row per annotation. Those of the organization are in each of its projects.",
    )


def downgrade() -> None:
    data, _ = schemas(op.get_context())
    op.drop_table("annotations", schema=data)
    op.drop_table("actions", schema=data)
