"""Days that the list has explained, for comparisons by digest."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0017"
down_revision = "0016"

_HOW_BEFORE = "ids: keys were compared; contents: rows; sample: some rows."
_HOW = (
    "ids: keys were compared; digest: number and digest of the keys; contents: rows; "
    "sample: some rows."
)


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table(
        "explained_days",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column(
            "stream",
            sa.Text(),
            nullable=False,
            comment="Name of the stream, as `posthog-etl streams` lists it.",
        ),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the day, or of the part of it that is known.",
        ),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False, comment="End of it."),
        sa.Column(
            "source_count",
            sa.BigInteger(),
            nullable=False,
            comment="Records at the source, hidden ones too.",
        ),
        sa.Column("source_digest", sa.Text(), nullable=False, comment="Digest of their ids."),
        sa.Column(
            "destination_count",
            sa.BigInteger(),
            nullable=False,
            comment="Records stored and not gone.",
        ),
        sa.Column("destination_digest", sa.Text(), nullable=False, comment="Digest of their ids."),
        sa.Column(
            "explained_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the list showed what is stored.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "since", name="explained_days_pkey"),
        schema=book,
        comment="Days of which the list shows what is stored, though a query of the source counts "
        "what the list hides. Not looked into again as long as both digests stay the same.",
    )
    op.alter_column(
        "reconciliations",
        "how",
        existing_type=sa.TEXT(),
        comment=_HOW,
        existing_comment=_HOW_BEFORE,
        existing_nullable=False,
        schema=book,
    )


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.alter_column(
        "reconciliations",
        "how",
        existing_type=sa.TEXT(),
        comment=_HOW_BEFORE,
        existing_comment=_HOW,
        existing_nullable=False,
        schema=book,
    )
    op.drop_table("explained_days", schema=book)
