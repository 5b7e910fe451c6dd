"""The queue: PgQueuer's own tables, in the bookkeeping schema. Also how long a run waited."""

import sqlalchemy as sa
from alembic import op
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

from etl.loaders.migrate import schemas
from etl.loaders.queue import queue_script, queue_settings
from etl.loaders.statements import quoted

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    _, book = schemas(op.get_context())
    waited = sa.Column(
        "waited_s",
        sa.Double(),
        nullable=False,
        server_default="0",
        comment="Waited for the request budget, in seconds.",
    )
    op.add_column("runs", waited, schema=book)
    _run(queue_script(book))


def downgrade() -> None:
    _, book = schemas(op.get_context())
    _run(QueryBuilderEnvironment(queue_settings(book)).build_uninstall_query())
    op.drop_column("runs", "waited_s", schema=book)


def _run(script: str) -> None:
    """Run PgQueuer's SQL. It does not quote a schema, so the search path names it."""
    _, book = schemas(op.get_context())
    bind = op.get_bind()
    before = bind.execute(sa.text("SELECT current_setting('search_path')")).scalar_one()
    _search(bind, quoted(book))
    # The text holds several statements, which a prepared statement cannot.
    bind.connection.dbapi_connection.run_async(lambda connection: connection.execute(script))
    _search(bind, before)


def _search(bind, path: str) -> None:
    bind.execute(sa.text("SELECT set_config('search_path', :path, true)"), {"path": path})
