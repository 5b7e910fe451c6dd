"""Streams of configured queries. Their columns are known only from the answers."""

from __future__ import annotations

from etl.core.budget import QUERY
from etl.core.query import PREFIX, QuerySpec, query_table
from etl.core.stream import Address, Field, Kind, Mode, Resource, Stream, TableSpec
from etl.streams import STREAMS
from etl.transformers.objects import object_rows

SCOPE = "query:read"


def query_stream(spec: QuerySpec) -> Stream:
    """Return the stream of a configured query. Its table has no more than the key at first."""
    fields = [Field(name, Kind.TEXT, "A column of the key.") for name in spec.key]
    return Stream(
        name=spec.stream,
        about=spec.about or f"Configured query, by {spec.cursor or 'a whole reading'}",
        scope=SCOPE,
        mode=Mode.QUERY,
        resources=(resource_of(query_table(spec.name, spec.about, spec.key, fields)),),
        query=spec,
    )


def resource_of(table: TableSpec) -> Resource:
    """Return the resource that fills the table of a query."""
    return Resource(
        lists=(Address("query/"),),
        tables=(table,),
        key=table.key,
        budget_classes=(QUERY,),
        retrieve_classes=(QUERY,),
        transform=object_rows(table),
    )


def stream_named(name: str) -> Stream | None:
    """Return the stream of this name, also of a query that is no longer configured."""
    known = STREAMS.get(name)
    if known is not None or not name.startswith(PREFIX):
        return known
    return query_stream(QuerySpec(name.removeprefix(PREFIX), "SELECT 1", key=("key",)))
