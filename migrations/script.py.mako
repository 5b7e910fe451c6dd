"""${message}."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from etl.loaders.migrate import schemas

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    data, book = schemas(op.get_context())
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    data, book = schemas(op.get_context())
    ${downgrades if downgrades else "pass"}
