"""Up to when a run left its stream complete; runs by time; requests of two hours."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0025"
down_revision = "0024"

_ONE_HOUR = "Requests of the last hour, for all processes that share this database."
_TWO_HOURS = "Requests of the last two hours, for all processes that share this database."


def upgrade() -> None:
    _, book = schemas(op.get_context())
    column = sa.Column(
        "complete_until",
        sa.DateTime(timezone=True),
        comment="Up to when the stream was known complete at the end of the run; null: not known.",
    )
    op.add_column("runs", column, schema=book)
    op.create_index("runs_by_start", "runs", ["started_at", "id"], schema=book)
    op.create_table_comment("requests", _TWO_HOURS, existing_comment=_ONE_HOUR, schema=book)


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table_comment("requests", _ONE_HOUR, existing_comment=_TWO_HOURS, schema=book)
    op.drop_index("runs_by_start", table_name="runs", schema=book)
    op.drop_column("runs", "complete_until", schema=book)
