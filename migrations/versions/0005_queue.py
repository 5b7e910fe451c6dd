"""The queue: PgQueuer's own tables, in the bookkeeping schema. Also how long a run waited."""

import sqlalchemy as sa
from alembic import op
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

from etl.loaders.migrate import schemas
from etl.loaders.queue import queue_settings
from etl.loaders.statements import quoted

revision = "0005"
down_revision = "0004"

TABLES = {
    "pgqueuer": "Units of work that wait for a worker, or that one has taken",
    "pgqueuer_log": "What became of the jobs of the last day",
    "pgqueuer_schedules": "Not used here",
    "pgqueuer_statistics": "Not used here",
}


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
    _run(lambda builder: builder.build_install_query(create_schema=False))
    for table, about in TABLES.items():
        op.create_table_comment(table, f"{about} (PgQueuer's table).", schema=book)


def downgrade() -> None:
    _run(lambda builder: builder.build_uninstall_query())
    _, book = schemas(op.get_context())
    op.drop_column("runs", "waited_s", schema=book)


def _run(script) -> None:
    """Run PgQueuer's SQL. It does not quote a schema, so the search path names it."""
    _, book = schemas(op.get_context())
    bind = op.get_bind()
    before = bind.execute(sa.text("SELECT current_setting('search_path')")).scalar_one()
    _search(bind, quoted(book))
    text = script(QueryBuilderEnvironment(queue_settings(book)))
    # The text holds several statements, which a prepared statement cannot.
    bind.connection.dbapi_connection.run_async(lambda connection: connection.execute(text))
    _search(bind, before)


def _search(bind, path: str) -> None:
    bind.execute(sa.text("SELECT set_config('search_path', :path, true)"), {"path": path})
