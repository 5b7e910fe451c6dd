"""The catalogue: every stream there is. A new stream is one entry here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etl.core.budget import CLICKHOUSE, RECORDINGS_LIST
from etl.core.stream import Stream, TableSpec
from etl.transformers import recordings

SESSION_RECORDINGS = Stream(
    name="session_recordings",
    about="Session recordings, their persons and the persons' distinct ids",
    path="session_recordings/",
    scope="session_recording:read",
    key="id",
    started="start_time",
    budget_classes=(RECORDINGS_LIST, CLICKHOUSE),
    retrieve_classes=(CLICKHOUSE,),
    tables=recordings.TABLES,
    transform=recordings.transform,
    read=recordings.read,
)

STREAMS: Mapping[str, Stream] = {stream.name: stream for stream in (SESSION_RECORDINGS,)}

TABLE_SPECS: Mapping[str, TableSpec] = {
    table.name: table for stream in STREAMS.values() for table in stream.tables
}


def catalogue() -> list[dict[str, Any]]:
    """Return every stream with its tables, the scope a key needs, and how it is read."""
    return [
        {
            "stream": stream.name,
            "about": stream.about,
            "tables": [table.name for table in stream.tables],
            "scope": stream.scope,
            "mode": f"windows by {stream.started}",
            "cursor": "the server's, else limit and offset",
        }
        for stream in STREAMS.values()
    ]
