"""Access to the asyncpg connection of a SQLAlchemy transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from etl.loaders.connection import AsyncConnection


async def driver_of(connection: AsyncConnection) -> Any:
    """Return the asyncpg connection. A first statement must have opened the transaction."""
    return connection.driver()


def count_of(tag: str) -> int:
    """Return how many rows a command changed, from its command tag."""
    return int(tag.rpartition(" ")[2])


def text_array(keys: Collection[str]) -> str:
    """Return keys as the text of a Postgres array. To send a list takes the driver far longer."""
    text = '","'.join(keys)
    if "\\" in text or text.count('"') > 2 * (len(keys) - 1):
        text = '","'.join(key.replace("\\", "\\\\").replace('"', '\\"') for key in keys)
    return f'{{"{text}"}}' if keys else "{}"
