"""Keeps persons who were forgotten away from what is loaded.

`posthog_etl.forgotten` holds keyed hashes of their identifiers, so that the table itself names
nobody. Every load looks into it, in the transaction that writes its rows, before it locks anything
else. `forget` locks the table, so it waits for the loads in hand, and later loads wait for it.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import sha256

import structlog
from msgspec.structs import replace

from etl.core.identity import (
    Identifier,
    Names,
    cleaned,
    connected,
    is_owned,
    own_names,
    telling_texts,
    texts_in,
    without_texts,
)
from etl.core.page import Batch, Row
from etl.core.stream import TableSpec
from etl.errors import ConfigurationError
from etl.loaders import audit
from etl.loaders.connection import AsyncConnection
from etl.loaders.database import Database
from etl.loaders.driver import driver_of
from etl.loaders.erasing import PersonRows
from etl.loaders.statements import quoted
from etl.loaders.tables import Tables

_log = structlog.get_logger(__name__)

_KEY_BYTES = 32


class Forgotten:
    """Who was forgotten. Runs in transactions that others open.

    key: the key of the hashes, if a setting names it; None: the one in the database.
    """

    def __init__(self, tables: Tables, key: str | None = None) -> None:
        book = quoted(tables.bookkeeping)
        self._table, self._key_table = f"{book}.forgotten", f"{book}.forget_key"
        self._given = None if key is None else key.encode()
        self._tables = tables
        self._rows = PersonRows(tables)

    async def known_key(self, connection: AsyncConnection) -> bytes | None:
        """Return the key; None if nobody was forgotten. Raises ConfigurationError."""
        driver = await driver_of(connection)
        key_id = await driver.fetchval(f"SELECT key_id FROM {self._table} LIMIT 1")
        return None if key_id is None else await self._key(connection, key_id)

    async def has(
        self, connection: AsyncConnection, project_id: int, identifiers: Collection[Identifier]
    ) -> bool:
        """Tell whether one of these names was forgotten in the project.

        Raises ConfigurationError.
        """
        key = await self.known_key(connection)
        return key is not None and bool(await self._known(connection, project_id, key, identifiers))

    async def anybody(self, connection: AsyncConnection, project_id: int) -> str | None:
        """Return the id of the key if anybody of the project was forgotten, else None.

        It holds up `lock` until this transaction ends, so it must come before anything is locked.
        """
        driver = await driver_of(connection)
        # A row has to be locked, so that the table is locked against `lock`.
        found: str | None = await driver.fetchval(
            f"SELECT key_id FROM {self._table} WHERE project_id = $1 LIMIT 1 FOR KEY SHARE",
            project_id,
        )
        return found

    async def keep_away(
        self,
        connection: AsyncConnection,
        project_id: int,
        key_id: str,
        tables: Sequence[TableSpec],
        batch: Batch,
    ) -> Batch:
        """Return the batch without what belongs to persons who were forgotten.

        A further name of such a person is kept, and what is stored under it is deleted. key_id:
        what `anybody` has returned. Raises ConfigurationError.
        """
        key = await self._key(connection, key_id)
        named = {
            spec.name: [spec.identifiers_of(row) for row in batch.rows.get(spec.name, ())]
            for spec in tables
            if spec.identities
        }
        own = [row for rows in named.values() for row in rows]
        own += [own_names(item.payload) for item in batch.rejected]
        asked = {each for row in own for each in row}
        asked |= {(names, text) for text in _texts(tables, batch) for names in Names}
        known = await self._known(connection, project_id, key, asked)
        if not known:
            return batch
        gone = connected(own, known)
        if gone > known:
            # The load before may not have known this name, and may have written its rows already.
            await self.lock(connection)
            gone = await self._learn(connection, project_id, key, own, known)
        return _without(batch, tables, named, gone)

    async def _learn(
        self,
        connection: AsyncConnection,
        project_id: int,
        key: bytes,
        own: Sequence[Sequence[Identifier]],
        known: Collection[Identifier],
    ) -> set[Identifier]:
        """Delete what is stored under names that are new, and keep these. Returns all names."""
        settled, gone = set(known), connected(own, known)
        rows = Counter[str]()
        while new := gone - settled:
            stored = await self._rows.erase(connection, project_id, new)
            rows.update(stored.rows)
            settled |= new | stored.identifiers
            gone = connected(own, settled)
        await self.add(connection, project_id, gone - set(known), key)
        if rows:
            await audit.note(connection, self._tables, "forget", project_id, rows)
        return gone

    async def add(
        self,
        connection: AsyncConnection,
        project_id: int,
        identifiers: Collection[Identifier],
        key: bytes,
    ) -> None:
        """Keep these away from now on. Safe to repeat."""
        driver = await driver_of(connection)
        hashes = sorted(_hash(key, project_id, each) for each in identifiers)
        await driver.execute(
            f"INSERT INTO {self._table} SELECT $1, h, $3, now() FROM unnest($2::bytea[]) AS h "
            "ON CONFLICT DO NOTHING",
            project_id,
            hashes,
            key_id_of(key),
        )

    async def lock(self, connection: AsyncConnection) -> None:
        """Wait for the loads in hand, and hold up further ones until this transaction ends.

        Those who only read the table, such as a dump, do not wait.
        """
        driver = await driver_of(connection)
        await driver.execute(f"LOCK TABLE {self._table} IN EXCLUSIVE MODE")

    async def key(self, connection: AsyncConnection) -> bytes:
        """Return the key for new hashes; a new one is made and kept if there is none.

        Raises ConfigurationError if earlier hashes were made with another one.
        """
        key = await self.known_key(connection) or self._given or await self._stored(connection)
        if key is None:
            await self._require_rights(connection)
            # As text, so that it can be moved into the setting.
            key, driver = secrets.token_hex(_KEY_BYTES).encode(), await driver_of(connection)
            await driver.execute(f"INSERT INTO {self._key_table} VALUES ($1, now())", key)
        return key

    async def _key(self, connection: AsyncConnection, key_id: str) -> bytes:
        """Return the key with this id. Raises ConfigurationError."""
        key = self._given or await self._stored(connection)
        if key is None:
            await self._require_rights(connection)
            raise ConfigurationError(
                "Persons were forgotten, and the key of their hashes is missing",
                remedy="Set POSTHOG_ETL_FORGET_KEY to the key that `forget` was run with",
            )
        if key_id_of(key) == key_id:
            return key
        if self._given:
            raise ConfigurationError(
                "POSTHOG_ETL_FORGET_KEY is not the key with which persons were forgotten",
                remedy="Set it to that key; if `forget` was run without the setting, remove it",
            )
        raise ConfigurationError(
            "Persons were forgotten with another key than the one in the database",
            remedy="Set POSTHOG_ETL_FORGET_KEY to the key that `forget` was run with",
        )

    async def _may(self, connection: AsyncConnection, rights: str) -> bool:
        """Tell whether this role has these rights on the table of the key."""
        driver = await driver_of(connection)
        return bool(
            await driver.fetchval(
                "SELECT has_table_privilege($1::regclass, $2)", self._key_table, rights
            )
        )

    async def _require_rights(self, connection: AsyncConnection) -> None:
        """Raise ConfigurationError if this role may not read and write the key."""
        if not (await self._may(connection, "SELECT") and await self._may(connection, "INSERT")):
            raise ConfigurationError(
                f"The database role may not use {self._key_table}, where the key of forgotten "
                "persons is",
                remedy="Set POSTHOG_ETL_FORGET_KEY (the key in that table, if there is one), or "
                "grant SELECT and INSERT on it",
            )

    async def _stored(self, connection: AsyncConnection) -> bytes | None:
        """Return the key in the database; None if there is none, or this role may not read it."""
        if not await self._may(connection, "SELECT"):
            return None
        driver = await driver_of(connection)
        found = await driver.fetchval(f"SELECT key FROM {self._key_table} LIMIT 1")
        return None if found is None else bytes(found)

    async def _known(
        self,
        connection: AsyncConnection,
        project_id: int,
        key: bytes,
        identifiers: Iterable[Identifier],
    ) -> set[Identifier]:
        """Return which of these are known to be forgotten."""
        driver = await driver_of(connection)
        hashes = {_hash(key, project_id, each): each for each in identifiers}
        found = await driver.fetch(
            f"SELECT hash FROM {self._table} WHERE project_id = $1 AND hash = ANY ($2::bytea[])",
            project_id,
            list(hashes),
        )
        return {hashes[bytes(each)] for (each,) in found}


async def require_forget_key(database: Database, tables: Tables, key: str | None) -> None:
    """Raise ConfigurationError if anybody was forgotten and the key is missing or another.

    key: as for `Forgotten`. Also raises DestinationError.
    """
    for attempt in database.attempts():
        async with attempt, database.transaction() as connection:
            await Forgotten(tables, key).known_key(connection)


def key_id_of(key: bytes) -> str:
    """Return a text by which a key is recognised, and from which it cannot be found."""
    return hmac.digest(key, b"posthog-etl forget key", sha256).hex()[:16]


def _hash(key: bytes, project_id: int, identifier: Identifier) -> bytes:
    names, text = identifier
    value = f"{project_id}\0{names.value}\0{text}"
    return hmac.digest(key, value.encode("utf-8", "surrogatepass"), sha256)


def _texts(tables: Sequence[TableSpec], batch: Batch) -> Iterator[str]:
    """Yield the texts that may name somebody without being in a column of their own."""
    for item in batch.rejected:
        yield item.key
        payload = item.payload
        yield from texts_in(payload) if isinstance(payload, str) else telling_texts(payload)
    for document in _documents(tables, batch):
        yield from texts_in(document)


def _documents(tables: Sequence[TableSpec], batch: Batch) -> Iterator[str]:
    for spec in tables:
        places = [spec.columns.index(name) for name in spec.documents]
        for row in batch.rows.get(spec.name, ()):
            for place in places:
                if row[place] is not None:
                    yield _as_text(row[place])


def _as_text(document: str | bytes) -> str:
    return document if isinstance(document, str) else document.decode("utf-8", "replace")


def _without(
    batch: Batch,
    tables: Sequence[TableSpec],
    named: dict[str, list[list[Identifier]]],
    gone: Collection[Identifier],
) -> Batch:
    """Return the batch without the rows and rejects of those who are gone."""
    texts = {text for _, text in gone}
    left = Batch(
        batch.records,
        rejected=[
            replace(item, payload=cleaned(item.payload, texts))
            for item in batch.rejected
            if not is_owned(item.key, item.payload, gone)
        ],
        whole=batch.whole,
        read_fast=batch.read_fast,
        drift=batch.drift,
    )
    dropped = len(batch.rejected) - len(left.rejected)
    for spec in tables:
        rows = batch.rows.get(spec.name, [])
        owners = named.get(spec.name)
        kept = [
            place
            for place in range(len(rows))
            if owners is None or not any(each in gone for each in owners[place])
        ]
        dropped += len(rows) - len(kept)
        if not kept:
            continue
        left.rows[spec.name] = [_cleaned(spec, rows[place], texts) for place in kept]
        left.origins[spec.name] = [batch.origins[spec.name][place] for place in kept]
        if instants := batch.observed_at.get(spec.name):
            left.observed_at[spec.name] = [instants[place] for place in kept]
        if hashes := batch.hashes.get(spec.name):
            left.hashes[spec.name] = [hashes[place] for place in kept]
    _log.debug("persons.omitted", rows=dropped)
    return left


def _cleaned(spec: TableSpec, row: Row, texts: Collection[str]) -> Row:
    """Return a row whose documents name nobody who is gone."""
    values = list(row)
    for name in spec.documents:
        place = spec.columns.index(name)
        if values[place] is not None:
            values[place] = without_texts(_as_text(values[place]), texts)
    return tuple(values)
