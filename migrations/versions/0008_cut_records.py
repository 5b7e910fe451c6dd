"""Records that the dates of a request cut, so that each cut answer is asked about only once."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table(
        "cuts",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "stream",
            sa.Text(),
            nullable=False,
            comment="Name of the stream, as `posthog-etl streams` lists it.",
        ),
        sa.Column("record_key", sa.Text(), nullable=False, comment="Key of the record."),
        sa.Column(
            "seen",
            sa.Text(),
            nullable=False,
            comment="Hash of what the request showed of it.",
        ),
        sa.Column(
            "owed",
            sa.Boolean(),
            nullable=False,
            comment="Whether it is still to be asked for by its key.",
        ),
        sa.Column(
            "noted_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When this was first seen.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "record_key", name="cuts_pkey"),
        schema=book,
        comment="Records that the dates of a request cut; the stored ones stayed as they were.",
    )


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.drop_table("cuts", schema=book)
