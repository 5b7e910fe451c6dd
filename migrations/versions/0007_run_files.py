"""The file that shows whether the holder of a lease is dead."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    _, book = schemas(op.get_context())
    column = sa.Column(
        "run_file",
        sa.Text(),
        nullable=True,
        comment="File that the holder keeps locked while it lives; null when there is none.",
    )
    op.add_column("leases", column, schema=book)


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.drop_column("leases", "run_file", schema=book)
