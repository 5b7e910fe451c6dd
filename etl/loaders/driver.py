"""Access to asyncpg's own connection inside a transaction of SQLAlchemy."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection


async def driver_of(connection: AsyncConnection) -> Any:
    """Return asyncpg's connection. A statement must have opened the transaction before."""
    return (await connection.get_raw_connection()).driver_connection


def count_of(tag: str) -> int:
    """Return how many rows a command changed, from its command tag."""
    return int(tag.rpartition(" ")[2])
