"""Access to the asyncpg connection of a SQLAlchemy transaction."""

from __future__ import annotations

from typing import Any

from etl.loaders.connection import AsyncConnection


async def driver_of(connection: AsyncConnection) -> Any:
    """Return the asyncpg connection. A first statement must have opened the transaction."""
    return connection.driver()


def count_of(tag: str) -> int:
    """Return how many rows a command changed, from its command tag."""
    return int(tag.rpartition(" ")[2])
