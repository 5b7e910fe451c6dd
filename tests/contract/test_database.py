"""Settings of every transaction, with a pool and with a connection for each."""

from __future__ import annotations

from sqlalchemy import text

from etl.loaders.database import Database


async def test_the_server_compiles_no_statement_of_ours(database: Database) -> None:
    """Up to Postgres 17 a forced plan looks costly, and the server would compile every batch."""
    async with database.transaction() as connection:
        assert (await connection.execute(text("SHOW jit"))).scalar_one() == "off"
