"""A Postgres of our own, kept in the data directory: its programs, its user, its start and end."""

from etl.loaders.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
