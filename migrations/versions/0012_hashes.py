"""Hashes of what rows were made of, so that a record that did not change is recognised."""

import sqlalchemy as sa
from alembic import op

from etl.loaders.migrate import schemas

revision = "0012"
down_revision = "0011"

_TABLES = ("session_recordings", "persons", "person_distinct_ids")


def upgrade() -> None:
    data, _ = schemas(op.get_context())
    for name in _TABLES:
        op.add_column(
            name,
            sa.Column(
                "_hash",
                sa.BigInteger(),
                nullable=True,
                comment="Hash of what the row was made of, without volatile fields; null: it is "
                "not known.",
            ),
            schema=data,
        )


def downgrade() -> None:
    data, _ = schemas(op.get_context())
    for name in _TABLES:
        op.drop_column(name, "_hash", schema=data)
