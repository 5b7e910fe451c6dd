"""From an answer to a batch, as the pipeline does it on the way to the loader."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from etl.core.page import Batch, Page
from etl.core.stream import Kind, Mode, Resource, Stream
from etl.extractors.protocol import parse_list, parse_page, parse_record
from etl.streams import STREAMS, TABLE_SPECS
from etl.transformers.secrets import withhold

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

# Every resource beside the recordings, by the table that its records fill; both kinds of sharing
# fill the same one.
RESOURCES: Mapping[str, tuple[Stream, Resource]] = {
    resource.tables[0].name: (stream, resource)
    for stream in STREAMS.values()
    for resource in stream.resources
    if stream.mode is not Mode.WINDOWS
}


def prepared(resource: Resource, record: Any, parent: Mapping[str, Any]) -> Any:
    """Return a record without its secrets, and with what it belongs to."""
    if resource.secrets is not None:
        record = withhold(record, resource.secrets)
    if not isinstance(record, dict):
        return record
    if resource.redact is not None:
        record = resource.redact(record)
    return {**record, **parent}


def batch_of(
    resource: Resource, records: Sequence[Any], parent: Mapping[str, Any], *, dirty: bool = False
) -> Batch:
    """Return what records become, as they stand in a list."""
    ready = [prepared(resource, record, parent) for record in records]
    return resource.transform(Page(ready, dirty, NOON, 0))


def batch_of_answer(
    resource: Resource, body: bytes, parent: Mapping[str, Any], observed_at: datetime = NOON
) -> Batch:
    """Return what an answer becomes."""
    if resource.reader is not None:
        listed = parse_list(body)
        records, dirty = listed.records, listed.dirty
    elif "{resource_id}" in resource.lists[0].path:
        record, dirty = parse_record(body)
        records = [record]
    else:
        page = parse_page(body, resource.records)
        records, dirty = page.records, page.dirty
    ready = [prepared(resource, record, parent) for record in records]
    return resource.transform(Page(ready, dirty, observed_at, len(body)))


def rows_of(batch: Batch, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table without their nulls; JSON columns as values."""
    spec = TABLE_SPECS[table]
    json_columns = {f.name for f in spec.fields if f.kind is Kind.JSON} | {"extra"}
    return [
        {
            name: json.loads(value) if name in json_columns else value
            for name, value in zip(spec.columns, row, strict=True)
            if value is not None
        }
        for row in batch.rows[table]
    ]
