"""Alembic's environment. `etl` passes the connection and the schemas.

Each script asks for its schemas (`etl.loaders.migrate.schemas`). The first script was written for
posthog and posthog_etl; these names are replaced for another deployment.
"""

from alembic import context

from etl.loaders.migrate import ours
from etl.loaders.tables import Tables
from etl.loaders.version import VERSION_TABLE

tables = context.config.attributes["tables"]
written = Tables("posthog")

context.configure(
    connection=context.config.attributes["connection"].execution_options(
        schema_translate_map={
            written.schema: tables.schema,
            written.bookkeeping: tables.bookkeeping,
        }
    ),
    target_metadata=tables.metadata,
    version_table=VERSION_TABLE,
    version_table_schema=tables.bookkeeping,
    include_schemas=True,
    include_name=lambda name, kind, _: ours(tables, name, kind),
    compare_type=True,
)
context.run_migrations()
