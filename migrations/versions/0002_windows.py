"""Coverage as stretches of time, lookback in grades, deletions and expiry."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    data, book = schemas(op.get_context())
    op.create_table(
        "sightings",
        sa.Column(
            "project_id", sa.BigInteger(), nullable=False, comment="PostHog's numeric project id."
        ),
        sa.Column("table_name", sa.Text(), nullable=False, comment="Data table of the row."),
        sa.Column("row_key", sa.Text(), nullable=False, comment="Key of the row."),
        sa.Column(
            "observed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the row was last seen unchanged.",
        ),
        sa.PrimaryKeyConstraint("project_id", "table_name", "row_key", name="sightings_pkey"),
        schema=book,
        comment="Rows that were seen unchanged while another run read the same stream.",
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "suspects",
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
            "unit",
            sa.Text(),
            nullable=False,
            comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        ),
        sa.Column(
            "record_key",
            sa.Text(),
            nullable=False,
            comment="Key of a stored record that was not seen.",
        ),
        sa.PrimaryKeyConstraint("project_id", "stream", "unit", "record_key", name="suspects_pkey"),
        schema=book,
        comment="Stored records that a reading did not show; empty but while one is under way.",
        prefixes=["UNLOGGED"],
    )
    op.add_column(
        "session_recordings",
        sa.Column(
            "_expired_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the source dropped the row by its own rule.",
        ),
        schema=data,
    )
    op.create_index(
        "session_recordings_by_expiry",
        "session_recordings",
        ["project_id", "expiry_time"],
        unique=False,
        schema=data,
        postgresql_where=sa.text("_expired_at IS NULL AND _deleted_at IS NULL"),
    )
    op.create_index(
        "session_recordings_by_start",
        "session_recordings",
        ["project_id", "start_time"],
        unique=False,
        schema=data,
    )
    op.alter_column(
        "checkpoints",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "leases",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.add_column(
        "runs",
        sa.Column(
            "forecast_requests",
            sa.BigInteger(),
            nullable=True,
            comment="Requests expected beforehand, a count.",
        ),
        schema=book,
    )
    op.add_column(
        "runs",
        sa.Column(
            "forecast_exact",
            sa.Boolean(),
            nullable=True,
            comment="Whether that was an estimate, not a lower bound.",
        ),
        schema=book,
    )
    op.alter_column(
        "runs",
        "command",
        existing_type=sa.TEXT(),
        comment="sync, backfill or rejects retry.",
        existing_comment="sync or rejects retry.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "runs",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.add_column(
        "watermarks",
        sa.Column(
            "complete",
            postgresql.TSTZMULTIRANGE(),
            nullable=False,
            server_default=sa.text("'{}'"),
            comment="Stretches of time known complete.",
        ),
        schema=book,
    )
    op.alter_column("watermarks", "complete", server_default=None, schema=book)
    op.add_column(
        "watermarks",
        sa.Column(
            "tail_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Where sync goes on; null before its first end.",
        ),
        schema=book,
    )
    op.add_column(
        "watermarks",
        sa.Column(
            "swept",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="When each grade of the lookback was read, by its seconds.",
        ),
        schema=book,
    )
    marks = sa.table(
        "watermarks",
        *map(sa.column, ("complete", "tail_until", "complete_since", "complete_until")),
        schema=book,
    )
    op.execute(
        marks.update()
        .where(marks.c.complete_until.is_not(None))
        .values(
            tail_until=marks.c.complete_until,
            complete=sa.func.tstzmultirange(
                sa.func.tstzrange(marks.c.complete_since, marks.c.complete_until)
            ),
        )
    )
    op.drop_column("watermarks", "complete_until", schema=book)
    op.drop_column("watermarks", "complete_since", schema=book)


def downgrade() -> None:
    data, book = schemas(op.get_context())
    op.add_column(
        "watermarks",
        sa.Column(
            "complete_until",
            postgresql.TIMESTAMP(timezone=True),
            autoincrement=False,
            nullable=True,
            comment="Highest instant known complete.",
        ),
        schema=book,
    )
    op.add_column(
        "watermarks",
        sa.Column(
            "complete_since",
            postgresql.TIMESTAMP(timezone=True),
            autoincrement=False,
            nullable=True,
            comment="Lowest instant known complete.",
        ),
        schema=book,
    )
    marks = sa.table(
        "watermarks",
        *map(sa.column, ("complete", "tail_until", "complete_since", "complete_until")),
        schema=book,
    )
    op.execute(
        marks.update().values(
            complete_since=sa.func.lower(marks.c.complete), complete_until=marks.c.tail_until
        )
    )
    op.drop_column("watermarks", "swept", schema=book)
    op.drop_column("watermarks", "tail_until", schema=book)
    op.drop_column("watermarks", "complete", schema=book)
    op.alter_column(
        "runs",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "runs",
        "command",
        existing_type=sa.TEXT(),
        comment="sync or rejects retry.",
        existing_comment="sync, backfill or rejects retry.",
        existing_nullable=False,
        schema=book,
    )
    op.drop_column("runs", "forecast_exact", schema=book)
    op.drop_column("runs", "forecast_requests", schema=book)
    op.alter_column(
        "leases",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.alter_column(
        "checkpoints",
        "unit",
        existing_type=sa.TEXT(),
        comment="`tail`: the moving end that sync follows; `rejects`: what was set aside.",
        existing_comment="`tail`: the moving end that sync follows; SINCE/UNTIL: a window that backfill loads; `rejects`: what was set aside.",
        existing_nullable=False,
        schema=book,
    )
    op.drop_index("session_recordings_by_start", table_name="session_recordings", schema=data)
    op.drop_index(
        "session_recordings_by_expiry",
        table_name="session_recordings",
        schema=data,
        postgresql_where=sa.text("_expired_at IS NULL AND _deleted_at IS NULL"),
    )
    op.drop_column("session_recordings", "_expired_at", schema=data)
    op.drop_table("suspects", schema=book)
    op.drop_table("sightings", schema=book)
