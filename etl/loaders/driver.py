"""Access to the asyncpg connection of a SQLAlchemy transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection


async def driver_of(connection: AsyncConnection) -> Any:
    """Return the asyncpg connection. A first statement must have opened the transaction."""
    return (await connection.get_raw_connection()).driver_connection


def count_of(tag: str) -> int:
    """Return how many rows a command changed, from its command tag."""
    return int(tag.rpartition(" ")[2])
