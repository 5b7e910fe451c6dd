"""What holds in every transaction, with a pool and with a connection for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import literal, select, text

from etl.loaders.database import Database
from etl.loaders.driver import driver_of


async def test_the_server_compiles_no_statement_of_ours(database: Database) -> None:
    """Up to Postgres 17 a forced plan looks costly, and the server would compile every batch."""
    async with database.transaction() as connection:
        assert (await connection.execute(text("SHOW jit"))).scalar_one() == "off"


@pytest.mark.parametrize(
    "at",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=-3.5))),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    ids=str,
)
async def test_an_instant_arrives_to_the_microsecond(database: Database, at: datetime) -> None:
    """Also in a range. We encode instants ourselves, as Postgres means them."""
    statement = (
        "SELECT $1::timestamptz, to_char($1::timestamptz AT TIME ZONE 'UTC', "
        "'YYYY-MM-DD\"T\"HH24:MI:SS.US'), tstzrange($1::timestamptz, NULL)"
    )
    async with database.transaction() as connection:
        found, as_text, span = await (await driver_of(connection)).fetchrow(statement, at)
        with_sqlalchemy = (await connection.execute(select(literal(at)))).scalar_one()
    assert (found, with_sqlalchemy, span.lower) == (at, at, at)
    assert datetime.fromisoformat(as_text + "+00:00") == at
