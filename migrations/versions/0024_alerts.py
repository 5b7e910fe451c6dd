"""Alerts, what was told of them, and what is at fault if a run did not succeed."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0024"
down_revision = "0023"

_PROJECT = "PostHog's numeric project id; 0: @current, before its number is known."
_STREAM = "Name of the stream, as `posthog-etl streams` lists it."
_INSTANT = sa.DateTime(timezone=True)


def _column(name: str, kind: object, comment: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, kind, nullable=nullable, comment=comment)


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table(
        "alerts",
        _column("id", sa.Uuid(as_uuid=False), "Id of the alert."),
        _column("project_id", sa.BigInteger(), _PROJECT),
        _column("stream", sa.Text(), _STREAM),
        _column(
            "kind",
            sa.Text(),
            "failed, partial, stale, rejects, withheld, differences or drift.",
        ),
        _column("subject", sa.Text(), "TABLE.FIELD of a drift; empty for other kinds."),
        _column("detail", sa.Text(), "What is told of it, in one line; no personal data."),
        _column("began_at", _INSTANT, "When it was first found."),
        _column("ended_at", _INSTANT, "When it was found over; null while it is open.", True),
        _column(
            "unwatched", sa.Boolean(), "Whether it ended because the settings leave it out now."
        ),
        sa.PrimaryKeyConstraint("id", name="alerts_pkey"),
        schema=book,
        comment="What needs somebody's attention, and what did until everyone was told of its end.",
    )
    op.create_index(
        "alerts_open",
        "alerts",
        ["project_id", "stream", "kind", "subject"],
        unique=True,
        schema=book,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "alert_messages",
        _column("project_id", sa.BigInteger(), _PROJECT),
        _column("alert_id", sa.Uuid(as_uuid=False), "Id of the alert."),
        _column("channel", sa.Text(), "webhook or email."),
        _column("event", sa.Text(), "began or ended."),
        _column(
            "holder",
            sa.Uuid(as_uuid=False),
            "Which process is telling it; null: none, or it is told.",
            True,
        ),
        _column("expires_at", _INSTANT, "Until when that process may take.", True),
        _column("tried", sa.Boolean(), "Whether it may have been told already."),
        _column("told_at", _INSTANT, "When it was told; null until then.", True),
        sa.PrimaryKeyConstraint("alert_id", "channel", "event", name="alert_messages_pkey"),
        schema=book,
        comment="What is told of each alert by each channel.",
    )
    op.create_table(
        "watched_streams",
        _column("project_id", sa.BigInteger(), _PROJECT),
        _column("stream", sa.Text(), _STREAM),
        _column("since", _INSTANT, "When its success was first waited for."),
        sa.PrimaryKeyConstraint("project_id", "stream", name="watched_streams_pkey"),
        schema=book,
        comment="Streams that are to succeed again and again: one that never did is stale, too.",
    )
    op.add_column(
        "runs",
        _column(
            "fault",
            sa.Text(),
            "What is at fault if it did not succeed: key, unavailable (to this key), source, "
            "database, defect, died, stopped, withheld (deletions), rejects; null: none of these.",
            True,
        ),
        schema=book,
    )


def downgrade() -> None:
    _, book = schemas(op.get_context())
    op.drop_column("runs", "fault", schema=book)
    for name in ("watched_streams", "alert_messages", "alerts"):
        op.drop_table(name, schema=book)
