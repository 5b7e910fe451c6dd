"""Failed checks of resources; and comments of columns."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0006"
down_revision = "0005"

_COMMENTS = {
    ("session_recordings", "snapshot_source"): (
        "web, mobile or unknown; from PostHog's own servers always web, since their list does "
        "not load it.",
        "web, mobile or unknown.",
    ),
    ("session_recordings", "snapshot_library"): (
        "Library that recorded; from PostHog's own servers always null, since their list does "
        "not load it.",
        "Library that recorded.",
    ),
    ("subscriptions", "ai_config"): (
        "How that text is made, as JSON; of text in it only hash and length.",
        "How that text is made, as JSON.",
    ),
    ("sharing_configurations", "settings"): (
        "How it is shown, as JSON; of text in it only hash and length.",
        "How it is shown, as JSON.",
    ),
    ("users", "hedgehog_config"): (
        "The user's hedgehog, as JSON; of text beside colour, skin, accessories and direction "
        "only hash and length.",
        "The user's hedgehog, as JSON.",
    ),
}
_CHECKED = (
    "When it last had its turn; null before the first.",
    "When it was last asked about.",
)


def upgrade() -> None:
    data, book = schemas(op.get_context())
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
    for (table, column), (comment, _) in _COMMENTS.items():
        op.alter_column(table, column, comment=comment, schema=data)


def downgrade() -> None:
    data, book = schemas(op.get_context())
    checks = sa.table("checks", sa.column("checked_at"), schema=book)
    op.execute(sa.delete(checks).where(checks.c.checked_at.is_(None)))
    op.alter_column("checks", "checked_at", nullable=False, comment=_CHECKED[1], schema=book)
    op.drop_column("checks", "tried_at", schema=book)
    for (table, column), (_, comment) in _COMMENTS.items():
        op.alter_column(table, column, comment=comment, schema=data)
