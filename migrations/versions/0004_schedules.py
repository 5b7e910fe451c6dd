"""The last tick of each schedule."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table(
        "schedules",
        sa.Column(
            "name", sa.Text(), nullable=False, comment="Name of the schedule; `:prune` is ours."
        ),
        sa.Column(
            "ticked_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="The latest tick that was taken, or passed over.",
        ),
        sa.Column(
            "holder",
            sa.Uuid(as_uuid=False),
            nullable=True,
            comment="The `serve` at work on it; null when it is done.",
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When another `serve` may take it over.",
        ),
        sa.PrimaryKeyConstraint("name", name="schedules_pkey"),
        schema=book,
        comment="Which tick of each schedule was the last, for all `serve` of this database.",
    )


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.drop_table("schedules", schema=book)
