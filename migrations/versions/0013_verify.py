"""What `verify` finds: the differences in hand, and the results. The table of each reject."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0013"
down_revision = "0012"

_INSTANT = sa.DateTime(timezone=True)
_PROJECT = "PostHog's numeric project id."
_STREAM = "Name of the stream, as `posthog-etl streams` lists it."
_UNIT_BEFORE = (
    "`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; "
    "`rotation`: some resources at a time; `rejects`: the rejects of the stream."
)
_UNIT = f"{_UNIT_BEFORE[:-1]}; `verify`, `verify deep`: a comparison of source and destination."
# (Table, column): (new comment, old comment).
_COMMENTS = {
    ("checkpoints", "unit"): (_UNIT, _UNIT_BEFORE),
    ("leases", "unit"): (_UNIT, _UNIT_BEFORE),
    ("runs", "unit"): (_UNIT, _UNIT_BEFORE),
    ("suspects", "unit"): (_UNIT, _UNIT_BEFORE),
    ("runs", "command"): (
        "sync, backfill, verify or rejects retry.",
        "sync, backfill or rejects retry.",
    ),
}


def _column(
    name: str, kind: sa.types.TypeEngine, comment: str, nullable: bool = False
) -> sa.Column:
    return sa.Column(name, kind, nullable=nullable, comment=comment)


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table(
        "differences",
        _column("project_id", sa.BigInteger(), _PROJECT),
        _column("stream", sa.Text(), _STREAM),
        _column("unit", sa.Text(), _UNIT),
        _column("table_name", sa.Text(), "Data table of the row."),
        _column("row_key", sa.Text(), "Key of the row."),
        _column("record_key", sa.Text(), "Key of the record that the row comes from."),
        _column(
            "kind",
            sa.Text(),
            "missing: not stored; surplus: not at the source; different: stored otherwise; "
            "expired: past its time, and not marked yet.",
        ),
        _column(
            "started",
            _INSTANT,
            "The instant by which windows are cut, if the row has one.",
            nullable=True,
        ),
        _column(
            "only_fills",
            sa.Boolean(),
            "Whether it differs only in fields that are null here and not at the source.",
        ),
        _column("confirmed", sa.Boolean(), "Whether it was found again when asked for by key."),
        sa.PrimaryKeyConstraint(
            "project_id", "stream", "unit", "table_name", "row_key", name="differences_pkey"
        ),
        schema=book,
        comment="What the latest `verify` of a stream found; keys only, no content.",
    )
    op.create_index(
        "differences_by_record",
        "differences",
        ["project_id", "stream", "unit", "record_key"],
        schema=book,
    )
    op.create_table(
        "reconciliations",
        _column("project_id", sa.BigInteger(), _PROJECT),
        _column("stream", sa.Text(), _STREAM),
        _column("table_name", sa.Text(), "Data table that was compared."),
        _column(
            "since",
            _INSTANT,
            "Start of the window; null if the stream has no windows.",
            nullable=True,
        ),
        _column(
            "until",
            _INSTANT,
            "End of the window; null if the stream has no windows.",
            nullable=True,
        ),
        _column("how", sa.Text(), "ids: keys were compared; contents: rows; sample: some rows."),
        _column(
            "source_count",
            sa.BigInteger(),
            "Records that the source showed; null for a table that it does not count.",
            nullable=True,
        ),
        _column(
            "destination_count",
            sa.BigInteger(),
            "Records stored and not gone; null likewise.",
            nullable=True,
        ),
        _column("missing", sa.BigInteger(), "Rows at the source that were not stored."),
        _column("surplus", sa.BigInteger(), "Stored rows that the source does not have."),
        _column("different", sa.BigInteger(), "Rows that were stored otherwise."),
        _column("checked_at", _INSTANT, "When they were compared."),
        _column(
            "repaired_at",
            _INSTANT,
            "When `--repair` had made them equal; null otherwise.",
            nullable=True,
        ),
        schema=book,
        comment="What `verify` has found: one row per table and window of each comparison.",
    )
    op.create_index(
        "reconciliations_by_stream",
        "reconciliations",
        ["project_id", "stream", "checked_at"],
        schema=book,
    )
    op.add_column(
        "rejects",
        _column(
            "table_name",
            sa.Text(),
            "Data table of such records; null if it is not known.",
            nullable=True,
        ),
        schema=book,
    )
    for (table, column), (comment, _) in _COMMENTS.items():
        op.alter_column(table, column, comment=comment, schema=book)


def downgrade() -> None:
    _, book = schemas(op.get_context())
    for (table, column), (_, comment) in _COMMENTS.items():
        op.alter_column(table, column, comment=comment, schema=book)
    op.drop_column("rejects", "table_name", schema=book)
    op.drop_table("reconciliations", schema=book)
    op.drop_table("differences", schema=book)
