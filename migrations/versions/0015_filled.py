"""Which fields the list fills of a row that differs, so that a repair loads them, too."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.add_column(
        "differences",
        sa.Column(
            "filled",
            sa.ARRAY(sa.Text()),
            nullable=False,
            server_default=sa.text("'{}'"),
            comment="Fields that the list fills and the answer for one record may leave null.",
        ),
        schema=book,
    )


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.drop_column("differences", "filled", schema=book)
