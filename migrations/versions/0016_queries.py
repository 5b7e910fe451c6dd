"""Configured queries: places for those that run, and what the server read for a run's queries."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table(
        "query_slots",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("place", sa.BigInteger(), nullable=False, comment="Number of the place, from 1."),
        sa.Column(
            "holder", sa.Uuid(as_uuid=False), comment="The query that holds it; null when free."
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When another query may take it over.",
        ),
        sa.PrimaryKeyConstraint("project_id", "place", name="query_slots_pkey"),
        schema=book,
        comment="The queries of a project that run now, for all processes of this database.",
    )
    op.add_column(
        "runs",
        sa.Column(
            "query_bytes_read",
            sa.BigInteger(),
            comment="Bytes the server read for queries; null: none.",
        ),
        schema=book,
    )
    op.add_column(
        "runs",
        sa.Column(
            "query_bytes_left",
            sa.BigInteger(),
            comment="Bytes that the server's budget for queries had left; null where it does not "
            "say.",
        ),
        schema=book,
    )


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.drop_column("runs", "query_bytes_left", schema=book)
    op.drop_column("runs", "query_bytes_read", schema=book)
    op.drop_table("query_slots", schema=book)
