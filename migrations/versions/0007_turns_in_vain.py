"""Which resources were asked about in vain, and what some columns of recordings can tell."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0007"
down_revision = "0005"

_CHECKED = (
    "When it last had its turn; null before the first.",
    "When it was last asked about.",
)


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.add_column(
        "checks",
        sa.Column(
            "tried_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last asked about in vain: it stays due.",
        ),
        schema=book,
    )
    op.alter_column("checks", "checked_at", nullable=True, comment=_CHECKED[0], schema=book)


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.execute(f'DELETE FROM "{book}".checks WHERE checked_at IS NULL')
    op.alter_column("checks", "checked_at", nullable=False, comment=_CHECKED[1], schema=book)
    op.drop_column("checks", "tried_at", schema=book)
