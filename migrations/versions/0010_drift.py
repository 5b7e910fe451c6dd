"""Fields and types that the catalogue did not expect; and how many records were read fast."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table(
        "drift",
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
            "table_name",
            sa.Text(),
            nullable=False,
            comment="Data table that the field belongs to.",
        ),
        sa.Column(
            "field",
            sa.Text(),
            nullable=False,
            comment="Name of the field, cut to 200 characters.",
        ),
        sa.Column(
            "expected",
            sa.Text(),
            nullable=True,
            comment="JSON type in the catalogue; null: it has no such field.",
        ),
        sa.Column("found", sa.Text(), nullable=False, comment="JSON type that came first."),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was first seen.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "table_name", "field", name="drift_pkey"),
        schema=book,
        comment="Fields and types that the catalogue did not expect; no values.",
    )
    op.add_column(
        "runs",
        sa.Column(
            "records_read_fast",
            sa.BigInteger(),
            nullable=False,
            server_default=sa.text("0"),
            comment="Records typed from their bytes, a count; 0 in streams whose records never "
            "are.",
        ),
        schema=book,
    )


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.drop_column("runs", "records_read_fast", schema=book)
    op.drop_table("drift", schema=book)
