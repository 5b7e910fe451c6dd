"""The project itself, members, activity log and deliveries; who did what."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    data, _ = schemas(op.get_context())
    op.create_table(
        "organization_members",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "organization",
            sa.Uuid(as_uuid=False),
            nullable=False,
            comment="Id of the organization, see projects.",
        ),
        sa.Column(
            "id", sa.Uuid(as_uuid=False), nullable=False, comment="PostHog's id of the membership."
        ),
        sa.Column("user", sa.BigInteger(), nullable=True, comment="Id of the user, see users."),
        sa.Column(
            "level",
            sa.BigInteger(),
            nullable=True,
            comment="1 is a member, 8 an administrator, 15 an owner.",
        ),
        sa.Column(
            "joined_at", sa.DateTime(timezone=True), nullable=True, comment="When the user joined."
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the membership was last changed.",
        ),
        sa.Column(
            "is_2fa_enabled",
            sa.Boolean(),
            nullable=True,
            comment="Whether the user logs in with a second factor.",
        ),
        sa.Column(
            "has_social_auth",
            sa.Boolean(),
            nullable=True,
            comment="Whether the user logs in by another service.",
        ),
        sa.Column(
            "last_login",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the user last logged in; only as fresh as _updated_at.",
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
        sa.PrimaryKeyConstraint(
            "project_id", "organization", "id", name="organization_members_pkey"
        ),
        schema=data,
        comment="One row per member of the project's organization.",
    )
    op.create_table(
        "projects",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the project."),
        sa.Column("uuid", sa.Uuid(as_uuid=False), nullable=True, comment="Its uuid."),
        sa.Column(
            "organization",
            sa.Uuid(as_uuid=False),
            nullable=True,
            comment="Id of the organization that it belongs to.",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column(
            "timezone",
            sa.Text(),
            nullable=True,
            comment="Time zone in which PostHog shows instants.",
        ),
        sa.Column("is_demo", sa.Boolean(), nullable=True, comment="Whether its data is made up."),
        sa.Column(
            "ingested_event",
            sa.Boolean(),
            nullable=True,
            comment="Whether it ever received an event.",
        ),
        sa.Column(
            "completed_snippet_onboarding",
            sa.Boolean(),
            nullable=True,
            comment="Whether a user said that the snippet is installed.",
        ),
        sa.Column(
            "has_completed_onboarding_for",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Products whose introduction was completed, as JSON.",
        ),
        sa.Column(
            "access_control",
            sa.Boolean(),
            nullable=True,
            comment="Whether only some members may see it.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="projects_pkey"),
        schema=data,
        comment="The project itself: one row, without its tokens.",
    )


def downgrade() -> None:
    data, _ = schemas(op.get_context())
    op.drop_table("projects", schema=data)
    op.drop_table("organization_members", schema=data)
