"""People."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    data, _ = schemas(op.get_context())
    op.create_table(
        "cohorts",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("id", sa.BigInteger(), nullable=False, comment="PostHog's id of the cohort."),
        sa.Column("name", sa.Text(), nullable=True, comment="Name."),
        sa.Column("description", sa.Text(), nullable=True, comment="Description."),
        sa.Column(
            "filters",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Who belongs to it, as JSON; without compiled code.",
        ),
        sa.Column(
            "groups",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Who belongs to it, in the old form, as JSON.",
        ),
        sa.Column(
            "query",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The query it was made from, as JSON.",
        ),
        sa.Column(
            "is_static",
            sa.Boolean(),
            nullable=True,
            comment="Whether its persons were listed once and for all.",
        ),
        sa.Column("cohort_type", sa.Text(), nullable=True, comment="How it is calculated."),
        sa.Column("condition_type", sa.Text(), nullable=True, comment="Which conditions it has."),
        sa.Column(
            "experiment_set",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Ids of experiments that use it.",
        ),
        sa.Column(
            "deleted",
            sa.Boolean(),
            nullable=True,
            comment="Whether a user deleted it. PostHog does not list deleted ones, so those that were deleted before the first sync are not here.",
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
            "version",
            sa.BigInteger(),
            nullable=True,
            comment="Number of the calculation that is shown.",
        ),
        sa.Column(
            "last_calculation",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last calculated.",
        ),
        sa.Column(
            "count",
            sa.BigInteger(),
            nullable=True,
            comment="Persons in it, a count; only as fresh as _updated_at.",
        ),
        sa.Column(
            "pending_version",
            sa.BigInteger(),
            nullable=True,
            comment="Number of the calculation that was begun last; only as fresh as _updated_at.",
        ),
        sa.Column(
            "last_backfill_person_properties_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last filled from person properties; only as fresh as _updated_at.",
        ),
        sa.Column(
            "is_calculating",
            sa.Boolean(),
            nullable=True,
            comment="Whether it is being calculated; only as fresh as _updated_at.",
        ),
        sa.Column(
            "errors_calculating",
            sa.BigInteger(),
            nullable=True,
            comment="Calculations that failed in a row, a count; only as fresh as _updated_at.",
        ),
        sa.Column(
            "last_error_message",
            sa.Text(),
            nullable=True,
            comment="Why the last calculation failed; only as fresh as _updated_at.",
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
        sa.PrimaryKeyConstraint("project_id", "id", name="cohorts_pkey"),
        schema=data,
        comment="One row per cohort; who is in it, cohort_members tells.",
    )
    op.create_table_comment(
        "person_distinct_ids",
        "Which person a distinct id belongs to, as last seen: in a recording, or in the list of persons if the stream persons is enabled. PostHog shows at most ten ids of a person in a recording, and at most 1,000 in the list, so an id that is not here may exist.",
        existing_comment="Which person a distinct id belongs to, as last seen inside a recording. PostHog lists at most ten ids of a person, so an id that is not here may exist.",
        schema=data,
    )
    op.alter_column(
        "persons",
        "id",
        existing_type=sa.BIGINT(),
        comment="PostHog's numeric id of the person; the list of persons does not tell it.",
        existing_comment="PostHog's numeric id of the person.",
        existing_nullable=True,
        schema=data,
    )
    op.create_table_comment(
        "persons",
        "One row per person, as last seen: in a recording, or in the list of persons if the stream persons is enabled. Without that stream only the persons of recordings are here, and none is marked deleted.",
        existing_comment="One row per person that a recording belongs to, as last seen inside a recording.",
        schema=data,
    )


def downgrade() -> None:
    data, _ = schemas(op.get_context())
    op.create_table_comment(
        "persons",
        "One row per person that a recording belongs to, as last seen inside a recording.",
        existing_comment="One row per person, as last seen: in a recording, or in the list of persons if the stream persons is enabled. Without that stream only the persons of recordings are here, and none is marked deleted.",
        schema=data,
    )
    op.alter_column(
        "persons",
        "id",
        existing_type=sa.BIGINT(),
        comment="PostHog's numeric id of the person.",
        existing_comment="PostHog's numeric id of the person; the list of persons does not tell it.",
        existing_nullable=True,
        schema=data,
    )
    op.create_table_comment(
        "person_distinct_ids",
        "Which person a distinct id belongs to, as last seen inside a recording. PostHog lists at most ten ids of a person, so an id that is not here may exist.",
        existing_comment="Which person a distinct id belongs to, as last seen: in a recording, or in the list of persons if the stream persons is enabled. PostHog shows at most ten ids of a person in a recording, and at most 1,000 in the list, so an id that is not here may exist.",
        schema=data,
    )
    op.drop_table("cohorts", schema=data)
