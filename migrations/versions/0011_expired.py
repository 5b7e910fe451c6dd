"""An index of expired rows, so that marks that a wrong clock set are found without a scan."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    data, _ = schemas(op.get_context())
    op.create_index(
        "session_recordings_by_expired",
        "session_recordings",
        ["project_id", "_expired_at"],
        schema=data,
        postgresql_where=sa.text("_expired_at IS NOT NULL"),
    )


def downgrade() -> None:
    data, _ = schemas(op.get_context())
    op.drop_index("session_recordings_by_expired", "session_recordings", schema=data)
