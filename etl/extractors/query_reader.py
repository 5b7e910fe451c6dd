"""Reads a configured query page by page, and asks for less when the server stops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from etl.core.document import decode
from etl.core.page import Confirmation, Page
from etl.core.place import Evidence
from etl.core.query import (
    QueryPlace,
    QuerySpec,
    digits_of,
    keys_query,
    kind_of,
    page_query,
    table_of,
)
from etl.core.stream import Kind, TableSpec, key_text
from etl.errors import RequestRefused, SourceOverloaded
from etl.extractors.client import Client
from etl.extractors.queries import Answered, Queries
from etl.extractors.query_protocol import Query
from etl.transformers.fields import is_storable

# Of a second, in Python and so in PostHog's answers.
SHOWN_DIGITS = 6

_log = structlog.get_logger(__name__)


class QueryPage(Struct, frozen=True):
    """A page of a query, the table that its rows fit into, and the place after it."""

    page: Page
    table: TableSpec
    place: QueryPlace


class QueryReader:
    """Reads one configured query.

    whole: whether a reading shows all rows there are, so that others are gone.
    """

    def __init__(self, client: Client, queries: Queries, spec: QuerySpec, *, whole: bool) -> None:
        self._client = client
        self._queries = queries
        self._spec = spec
        self._whole = whole

    async def page(self, place: QueryPlace) -> QueryPage:
        """Return the page at a place. Raises RequestRefused if the query is wrong, SourceError."""
        while True:
            try:
                answered = await self._queries.ask(Query(*page_query(self._spec, place)))
                break
            except SourceOverloaded as exc:
                if not place.shortens:
                    raise
                place = place.shortened()
                _log.warning("query.shortened", rows=place.rows, reason=exc.message)
            except RequestRefused as exc:
                raise self._broken(exc.message, exc) from exc
        return self._taken(place, answered)

    async def confirm(self, place: QueryPlace, keys: Sequence[str]) -> Confirmation:
        """Ask for the rows with these keys. Raises SourceError.

        Those that do not come are gone only if none comes: LIMIT may be lowered without a word, and
        copies of some rows may leave no room for others. So the caller asks for the rest again.
        """
        parts = [_key_of(key, len(self._spec.key)) for key in keys]
        try:
            answered = await self._queries.ask(Query(*keys_query(self._spec, place, parts)))
        except RequestRefused as exc:
            raise self._broken(exc.message, exc) from exc
        records, dirty = self._records(answered)
        shown = [self._key(record) for record in records]
        page = self._page(answered, records, place, Evidence(shown), dirty=dirty)
        return Confirmation(page, [] if shown else list(keys), [], [])

    def _taken(self, place: QueryPlace, answered: Answered) -> QueryPage:
        rows = answered.rows
        types = dict(zip(rows.columns, rows.types, strict=True))
        if len(types) != len(rows.columns):
            raise self._broken("two of its columns have the same name")
        try:
            table = table_of(self._spec, types)
        except ValueError as exc:
            raise self._broken(str(exc)) from exc
        records, dirty = self._records(answered)
        keys = [self._key(record) for record in records]
        pairs = list(zip(keys, records, strict=True))
        self._refuse_doubles(pairs)
        evidence = None
        if self._whole:
            # Keys that Postgres cannot hold are rejected, and would stop the evidence of others.
            known = [key for key, record in pairs if self._is_storable(record)]
            # A whole reading doubts every stored row at its first page.
            evidence = Evidence(known, begins=not place.begun)
        if rows.rows:
            places = [rows.columns.index(name) for name in self._spec.order]
            last = [rows.rows[-1][at] for at in places]
            if last == place.after and (column := self._shortened(types)) is not None:
                raise self._broken(
                    f"the answer shows fewer digits of its column {column!r} than it has; write "
                    f"toDateTime64({column}, 6, 'UTC') AS {column} in the query"
                )
            if any(value is None for value in last) or last == place.after:
                raise self._broken("it does not come in the order that was asked for")
            kinds = {name: types[name] for name in self._spec.order}
            size = len(answered.answer.body)
            place = place.past(last, kinds, len(rows.rows), size)
        else:
            # LIMIT may be lowered without a word, so a page that is not full is no end.
            kinds = {name: types[name] for name in self._spec.order}
            place = replace(place, types=kinds)
            place = place.past_part() or replace(place, ended=True, begun=True)
        return QueryPage(self._page(answered, records, place, evidence, dirty=dirty), table, place)

    def _page(
        self,
        answered: Answered,
        records: list[Any],
        place: QueryPlace,
        evidence: Evidence | None,
        *,
        dirty: bool,
    ) -> Page:
        answer = answered.answer
        return Page(
            records=records,
            dirty=dirty,
            observed_at=answer.requested_at,
            size_bytes=len(answer.body),
            place=place,
            source_at=answer.source_at,
            evidence=evidence,
        )

    def _records(self, answered: Answered) -> tuple[list[Any], bool]:
        """Return the rows as objects, JSON inside of text read, and whether any is dirty."""
        rows, dirty = answered.rows, answered.rows.dirty
        documents = [name for name in self._spec.documents if name in rows.columns]
        as_text = [
            name
            for name, kind in zip(rows.columns, rows.types, strict=True)
            if name in self._spec.key and kind_of(kind, is_key=True) is Kind.TEXT
        ]
        records = [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]
        for record in records:
            for name in documents:
                record[name], half = _document(record[name])
                dirty = dirty or half
            for name in as_text:
                if record[name] is not None and not isinstance(record[name], str):
                    record[name] = str(record[name])
        return records, dirty

    def _key(self, record: Mapping[str, Any]) -> str:
        return key_text([record[name] for name in self._spec.key])

    def _is_storable(self, record: Mapping[str, Any]) -> bool:
        return all(is_storable(str(record[name])) for name in self._spec.key)

    def _shortened(self, types: Mapping[str, str]) -> str | None:
        """Return the first column by which is ordered that may have more digits than are shown."""
        return next((c for c in self._spec.order if digits_of(types[c]) > SHOWN_DIGITS), None)

    def _refuse_doubles(self, pairs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Refuse a key that names two rows.

        The same row twice is harmless, and so is a copy of it with another time: an event that was
        sent twice is there twice until the server merges them. The later one stays.
        """
        cursor = self._spec.cursor
        seen: dict[str, Mapping[str, Any]] = {}
        for key, record in pairs:
            earlier = seen.get(key)
            seen[key] = record
            if earlier is None or earlier == record:
                continue
            is_copy = cursor is not None and (
                earlier[cursor] != record[cursor]
                if self._spec.later_wins
                else {**earlier, cursor: None} == {**record, cursor: None}
            )
            if not is_copy:
                named = ", ".join(self._spec.key)
                raise self._broken(f"its key ({named}) names two different rows: {key[:100]}")

    def _broken(self, why: str, exc: RequestRefused | None = None) -> RequestRefused:
        return RequestRefused(
            f"The query {self._spec.name} is wrong: {why}",
            remedy=f"Correct {self._spec.place or self._spec.name}",
            status=None if exc is None else exc.status,
            code=None if exc is None else exc.code,
        )


def _document(value: Any) -> tuple[Any, bool]:
    """Return the JSON inside of a text, and whether it holds what Postgres cannot."""
    if not isinstance(value, str):
        return value, False
    try:
        return decode(value.encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return value, False


def _key_of(text: str, columns: int) -> list[Any]:
    if columns == 1:
        return [text]
    found = decode(text.encode("utf-8", "surrogatepass"))[0]
    assert isinstance(found, list)
    return found
