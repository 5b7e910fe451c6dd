"""Deletes what is stored of a person, or of a project, in every table of ours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from etl.core.identity import (
    Identifier,
    Identity,
    Names,
    by_names,
    cleaned,
    is_owned,
    is_shared,
    is_telling,
    own_names,
    without_texts,
)
from etl.core.stream import Kind, TableSpec
from etl.loaders.connection import AsyncConnection
from etl.loaders.driver import count_of, driver_of
from etl.loaders.query_tables import all_specs
from etl.loaders.statements import XID, literal, quoted
from etl.loaders.tables import Tables

# The tables of the bookkeeping that name rows: their columns with keys, and whether they say of
# which table.
_KEYS = {
    "suspects": (("record_key",), False),
    "cuts": (("record_key",), False),
    "checks": (("record_key",), False),
    "sightings": (("row_key",), True),
    "differences": (("row_key", "record_key"), True),
}
# Of each name, its place among the parameters and the type of its columns.
_PARAMETERS = {
    Names.PERSON: "$2::uuid[]",
    Names.DISTINCT_ID: "$3::text[]",
    Names.RECORDING: "$4::text[]",
}
# Gives the types of parameters that the rest of a statement does not use.
_GIVEN = f"WITH given AS (SELECT {', '.join(_PARAMETERS.values())})"


class Stored(Struct, frozen=True):
    """What is stored of a person.

    identifiers: all that name the person, those asked for included. rows: by table, how many rows
    are the person's, or name the person.
    """

    identifiers: frozenset[Identifier]
    rows: Mapping[str, int]


class PersonRows:
    """The rows that belong to a person. Runs in transactions that others open.

    There is no index on persons, so each method reads the table of recordings as a whole, some
    times; but not if it is only asked for recordings.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables, self._book = tables, quoted(tables.bookkeeping)

    async def find(
        self, connection: AsyncConnection, project_id: int, start: Collection[Identifier]
    ) -> Stored:
        """Return what is stored of the person that these identifiers name."""
        specs = await all_specs(connection, self._tables)
        person = _Person(await self._reached(connection, project_id, start, specs))
        rows, driver = Counter[str](), await driver_of(connection)
        for spec in specs:
            if not spec.identities:
                continue
            rows[spec.name] += await driver.fetchval(
                f"{_GIVEN} SELECT count(*) FROM {self._table(spec)} AS t "
                f"WHERE t.project_id = $1 AND ({person.owns(spec)})",
                project_id,
                *person.given,
            )
        for spec in specs:
            rows[spec.name] += await driver.fetchval(
                f"SELECT count(*) FROM {self._table(spec)} AS t "
                f"WHERE t.project_id = $1 AND ({_mentions(spec)})",
                project_id,
                person.telling,
            )
        rows["rejects"] += len(await self._rejects(driver, project_id, person))
        return Stored(frozenset(person.identifiers), +rows)

    async def erase(
        self, connection: AsyncConnection, project_id: int, start: Collection[Identifier]
    ) -> Stored:
        """Delete what is stored of the person, and return what it was. Safe to repeat.

        Rows of others that mention the person stay, without the mention.
        """
        specs = await all_specs(connection, self._tables)
        person = _Person(await self._reached(connection, project_id, start, specs))
        rows, driver = Counter[str](), await driver_of(connection)
        for spec in specs:
            if not spec.identities:
                continue
            tag = await driver.execute(
                f"{_GIVEN} DELETE FROM {self._table(spec)} AS t "
                f"WHERE t.project_id = $1 AND ({person.owns(spec)})",
                project_id,
                *person.given,
            )
            rows[spec.name] += count_of(tag)
        if person.is_known:
            for spec in specs:
                rows[spec.name] += await self._clean(driver, project_id, spec, person.telling)
            rows["rejects"] += await self._erase_rejects(driver, project_id, person)
        await self._forget_keys(driver, project_id, person, specs)
        return Stored(frozenset(person.identifiers), +rows)

    async def _reached(
        self,
        connection: AsyncConnection,
        project_id: int,
        start: Collection[Identifier],
        specs: Sequence[TableSpec],
    ) -> set[Identifier]:
        """Return all identifiers that stored rows connect with these."""
        driver = await driver_of(connection)
        reached, new = set(start), set(start)
        while new:
            person, found = _Person(new), set[Identifier]()
            for spec in specs:
                if len(spec.identities) <= 1:
                    continue
                columns = [_named(each) for each in spec.identities]
                rows = await driver.fetch(
                    f"{_GIVEN} SELECT {', '.join(columns)} FROM {self._table(spec)} AS t "
                    f"WHERE t.project_id = $1 AND ({person.owns(spec)})",
                    project_id,
                    *person.given,
                )
                for row in rows:
                    named = zip(spec.identities, row, strict=True)
                    found |= {(each.names, text) for each, text in named if text is not None}
            for _, key, payload in await self._rejects(driver, project_id, person):
                if is_owned(key, payload, new):
                    found |= set(own_names(payload))
            new = {each for each in found - reached if not is_shared(each)}
            reached |= new
        return reached

    async def _rejects(
        self, driver: Any, project_id: int, person: _Person
    ) -> list[tuple[str, str, Any]]:
        """Return the rejects that name the person: place, key and payload."""
        found = await driver.fetch(
            f"SELECT t.ctid::text, t.record_key, t.payload::text FROM {self._book}.rejects AS t "
            f"WHERE t.project_id = $1 AND ({_is_key('t.record_key')} OR {_holds('t.payload')} "
            f"OR {_holds_distinct_id('t.payload')} OR jsonb_typeof(t.payload) = 'string')",
            project_id,
            person.telling,
            person.escaped,
            person.distinct_ids,
        )
        texts = {*person.telling}
        rejects = [(at, key, json.loads(payload)) for at, key, payload in found]
        return [
            (at, key, payload)
            for at, key, payload in rejects
            if is_owned(key, payload, person.identifiers) or cleaned(payload, texts) != payload
        ]

    async def _erase_rejects(self, driver: Any, project_id: int, person: _Person) -> int:
        """Delete the rejects of the person, and clean those of others; return how many."""
        texts, found = {*person.telling}, await self._rejects(driver, project_id, person)
        for ctid, key, payload in found:
            if is_owned(key, payload, person.identifiers):
                await driver.execute(
                    f"DELETE FROM {self._book}.rejects WHERE ctid = $1::text::tid", ctid
                )
            else:
                await driver.execute(
                    f"UPDATE {self._book}.rejects SET payload = $2::text::jsonb "
                    "WHERE ctid = $1::text::tid",
                    ctid,
                    json.dumps(cleaned(payload, texts)),
                )
        return len(found)

    async def _clean(
        self, driver: Any, project_id: int, spec: TableSpec, texts: Collection[str]
    ) -> int:
        """Remove from the documents of a table what names the person; return of how many rows."""
        columns = ", ".join(f"t.{quoted(name)}::text" for name in spec.documents)
        found = await driver.fetch(
            f"SELECT t.ctid::text, {columns} FROM {self._table(spec)} AS t "
            f"WHERE t.project_id = $1 AND ({_mentions(spec)}) FOR UPDATE",
            project_id,
            texts,
        )
        changes = ", ".join(
            f"{quoted(name)} = ${place}::text::jsonb"
            for place, name in enumerate(spec.documents, start=2)
        )
        gone = set(texts)
        for ctid, *documents in found:
            await driver.execute(
                f"UPDATE {self._table(spec)} AS t SET {changes}, _updated_at = now(), "
                f"_xid = {XID} WHERE t.ctid = $1::text::tid",
                ctid,
                *(None if each is None else without_texts(each, gone) for each in documents),
            )
        return len(found)

    async def _forget_keys(
        self, driver: Any, project_id: int, person: _Person, specs: Sequence[TableSpec]
    ) -> None:
        """Delete what the bookkeeping notes about single rows of the person."""
        for name, (columns, knows_table) in _KEYS.items():
            condition = " OR ".join(_is_key(f"t.{column}") for column in columns)
            given = [project_id, person.telling, person.escaped]
            if knows_table:
                # Short distinct ids, too: of these tables a key can be nothing else.
                own = " OR ".join(f"t.{column} = ANY ($4::text[])" for column in columns)
                condition += f" OR (t.table_name = ANY ($5::text[]) AND ({own}))"
                given += [
                    person.distinct_ids,
                    [spec.unique_name for spec in specs if spec.identities],
                ]
            await driver.execute(
                f"DELETE FROM {self._book}.{name} AS t WHERE t.project_id = $1 AND ({condition})",
                *given,
            )
        # A reading whose place names a recording begins anew.
        await driver.execute(
            f"UPDATE {self._book}.checkpoints AS t SET position = NULL WHERE t.project_id = $1 "
            f"AND {_holds('t.position')}",
            project_id,
            person.telling,
        )

    def _table(self, spec: TableSpec) -> str:
        tables = self._tables.queried if spec.queried else self._tables
        return f"{quoted(tables.schema)}.{quoted(spec.name)}"


class _Person:
    """The identifiers of a person, as statements need them.

    given: the parameters after the project. telling: those that name the person wherever they
    stand; escaped: the same, as they stand inside of JSON. is_known: whether more than recordings
    are known.
    """

    def __init__(self, identifiers: Collection[Identifier]) -> None:
        self.identifiers = identifiers
        self._texts = by_names(identifiers)
        self.given = [self._texts[names] for names in _PARAMETERS]
        self.distinct_ids = self._texts[Names.DISTINCT_ID]
        self.telling = sorted({text for _, text in identifiers if is_telling(text)})
        self.escaped = [json.dumps(text, ensure_ascii=False)[1:-1] for text in self.telling]
        self.is_known = any(names is not Names.RECORDING for names, _ in identifiers)

    def owns(self, spec: TableSpec) -> str:
        """Return the condition that row `t` is the person's."""
        conditions, kinds = [], {field.name: field.kind for field in spec.fields}
        for each in spec.identities:
            if not self._texts[each.names]:
                continue  # else Postgres would read the whole table for it
            kind = kinds[each.column].value
            given, column = f"{_PARAMETERS[each.names]}::{kind}[]", f"t.{quoted(each.column)}"
            if each.names is Names.PERSON and kinds[each.column] is Kind.TEXT:
                # A column of text may name persons among others, and in capitals.
                column = f"lower({column})"
            condition = f"{column} = ANY ({given})"
            if each.when is not None:
                condition = f"t.{quoted(each.when[0])} = {literal(each.when[1])} AND {condition}"
            conditions.append(f"({condition})")
        return " OR ".join(conditions) or "false"


def _named(identity: Identity) -> str:
    """Return what a column of row `t` names, as text; null if it names something else there."""
    text = f"t.{quoted(identity.column)}::text"
    if identity.when is None:
        return text
    column, value = identity.when
    return f"CASE WHEN t.{quoted(column)} = {literal(value)} THEN {text} END"


def _holds(document: str) -> str:
    """Return the condition that JSON holds one of the texts $2, the names of values aside."""
    texts = f"jsonb_path_query({document}, 'strict $.** ? (@.type() == \"string\")')"
    return f"EXISTS (SELECT FROM {texts} AS v WHERE v #>> '{{}}' = ANY ($2::text[]))"


def _mentions(spec: TableSpec) -> str:
    """Return the condition that a document of row `t` holds one of the texts $2."""
    columns = [f"t.{quoted(name)}" for name in spec.documents]
    return " OR ".join(f"({each} IS NOT NULL AND {_holds(each)})" for each in columns)


def _is_key(column: str) -> str:
    """Return the condition that a key is one of the texts $2, or holds one of the texts $3."""
    parts = rf"""regexp_matches({column}, '"((?:[^"\\]|\\.)*)"', 'g')"""
    return (
        f"({column} = ANY ($2::text[]) OR (left({column}, 1) = '[' AND EXISTS "
        f"(SELECT FROM {parts} AS m WHERE m[1] = ANY ($3::text[]))))"
    )


def _holds_distinct_id(document: str) -> str:
    """Return the condition that a record holds one of the distinct ids $4."""
    fields = " UNION ALL ".join(
        f"SELECT v FROM jsonb_path_query({document}, 'lax $.**.{name}[*]') AS v"
        for name in ("distinct_id", "distinct_ids")
    )
    return f"EXISTS (SELECT FROM ({fields}) AS f WHERE v #>> '{{}}' = ANY ($4::text[]))"
