"""Into Postgres: the only package that executes SQL."""
