"""What a run waits for, and until when."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0023"
down_revision = "0022"

_WAITED_BEFORE = "Time waited for the request budget, in seconds."
_WAITED = (
    "Time waited for limits, a place among the queries or a source that does not answer, in "
    "seconds; without a wait under way."
)


def upgrade() -> None:
    _, book = schemas(op.get_context())
    for name, kind, comment in (
        ("waiting_for", sa.Text(), "What the run waits for; null: for nothing."),
        ("waiting_since", sa.DateTime(timezone=True), "When this wait began."),
        ("waiting_until", sa.DateTime(timezone=True), "When it ends; null: nobody knows."),
    ):
        op.add_column("runs", sa.Column(name, kind, comment=comment), schema=book)
    op.alter_column(
        "runs",
        "waited_s",
        existing_type=sa.Double(),
        comment=_WAITED,
        existing_comment=_WAITED_BEFORE,
        existing_nullable=False,
        existing_server_default=sa.text("0"),
        schema=book,
    )


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.alter_column(
        "runs",
        "waited_s",
        existing_type=sa.Double(),
        comment=_WAITED_BEFORE,
        existing_comment=_WAITED,
        existing_nullable=False,
        existing_server_default=sa.text("0"),
        schema=book,
    )
    for name in ("waiting_until", "waiting_since", "waiting_for"):
        op.drop_column("runs", name, schema=book)
