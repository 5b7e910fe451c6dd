"""Access to the asyncpg connection of a SQLAlchemy transaction."""

from __future__ import annotations

import struct
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from etl.loaders.connection import AsyncConnection

# Postgres counts instants from here, in microseconds.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT8 = struct.Struct("!q")


def encode_instants_fast(engine: Engine) -> None:
    """Let new connections encode aware datetimes here: asyncpg takes three times as long.

    A third of the client's work on COPY was this.
    """

    @event.listens_for(engine, "connect")
    def on_connect(connection: DBAPIConnection, _record: object) -> None:
        connection.run_async(_set_codec)


async def _set_codec(driver: Any) -> None:
    await driver.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=lambda at: _INT8.pack((at - _EPOCH) // _MICROSECOND),
        decoder=lambda sent: _EPOCH + timedelta(microseconds=_INT8.unpack(sent)[0]),
        format="binary",
    )


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
