"""Persons who stay away after `forget`, the key of their hashes, and what was destroyed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from etl.loaders.migrate import schemas
from etl.loaders.statements import literal, quoted

revision = "0014"
down_revision = "0013"

_INSTANT = sa.DateTime(timezone=True)
_PROJECT = "PostHog's numeric project id."
_UNIT_BEFORE = (
    "`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; "
    "`rotation`: some resources at a time; `rejects`: the rejects of the stream; `verify`, "
    "`verify deep`: a comparison of source and destination."
)
_UNIT = (
    "`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; "
    "`rotation`: some resources at a time; `rejects`: the rejects of the stream; `verify`, "
    "`verify deep`, `verify slice`: a comparison of source and destination; `resync`: a stream "
    "that is read anew."
)
# (Table, column): (new comment, old comment).
_COMMENTS = {
    **{
        (table, "unit"): (_UNIT, _UNIT_BEFORE)
        for table in ("checkpoints", "differences", "leases", "runs", "suspects")
    },
    ("runs", "command"): (
        "sync, backfill, resync, verify or rejects retry.",
        "sync, backfill, verify or rejects retry.",
    ),
}
# Privileges that the database gives to others on each new table.
_ONLY_THE_OWNER = """
DO $$
DECLARE
    key regclass := {table};
    given record;
BEGIN
    FOR given IN
        SELECT DISTINCT a.grantee FROM pg_catalog.pg_class AS c,
            pg_catalog.aclexplode(c.relacl) AS a
        WHERE c.oid = key AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', key,
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
    END LOOP;
END $$
"""


def _column(
    name: str, kind: sa.types.TypeEngine, comment: str, nullable: bool = False
) -> sa.Column:
    return sa.Column(name, kind, nullable=nullable, comment=comment)


def upgrade() -> None:
    _, book = schemas(op.get_context())
    op.create_table(
        "forgotten",
        _column("project_id", sa.BigInteger(), _PROJECT),
        _column(
            "hash",
            sa.LargeBinary(),
            "Keyed hash (HMAC-SHA256) of a uuid, a distinct id or a recording id.",
        ),
        _column("key_id", sa.Text(), "Which key the hash was made with; tells nothing of it."),
        _column("added_at", _INSTANT, "When it was added."),
        sa.PrimaryKeyConstraint("project_id", "hash", name="forgotten_pkey"),
        schema=book,
        comment="Whom `posthog-etl forget` keeps away from later loads; no personal data.",
    )
    op.create_table(
        "forget_key",
        _column("key", sa.LargeBinary(), "The key; 32 random bytes."),
        _column("made_at", _INSTANT, "When it was made."),
        schema=book,
        comment="Key of the hashes in `forgotten` if POSTHOG_ETL_FORGET_KEY is not set; at most "
        "one row, which only the owner of the table may read.",
    )
    # As the driver takes it: a name may hold what SQLAlchemy reads as a parameter.
    table = literal(f"{quoted(book)}.forget_key")
    op.get_bind().exec_driver_sql(_ONLY_THE_OWNER.format(table=table))
    op.create_table(
        "audit",
        _column("at", _INSTANT, "When it was done."),
        _column("command", sa.Text(), "forget, remove or migrate."),
        _column(
            "project_id",
            sa.BigInteger(),
            "PostHog's numeric project id; null if it concerns all.",
            nullable=True,
        ),
        _column("rows", JSONB(), "By table, how many rows were deleted or changed."),
        schema=book,
        comment="What commands that destroy data have done; no personal data.",
    )
    for (table, column), (comment, _) in _COMMENTS.items():
        op.alter_column(table, column, comment=comment, schema=book)


def downgrade() -> None:
    _, book = schemas(op.get_context())
    for (table, column), (_, comment) in _COMMENTS.items():
        op.alter_column(table, column, comment=comment, schema=book)
    for table in ("audit", "forget_key", "forgotten"):
        op.drop_table(table, schema=book)
