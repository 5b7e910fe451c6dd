"""The few SQL queries that the sandbox understands: literals, and counts of a table's rows."""

import re
from typing import Any

from etl.sandbox.endpoints import Call
from etl.sandbox.errors import ApiError
from etl.sandbox.views import Window

Answer = tuple[list[str], list[str], list[Any]]
"""Columns, their types, and the one row."""

_COUNT = re.compile(r"select\s+count\(\s*\*?\s*\)\s+from\s+([a-z_.]+)", re.IGNORECASE)
_LITERALS = re.compile(r"select\s+(.+)", re.IGNORECASE | re.DOTALL)
_LITERAL = re.compile(
    r"(-?\d{1,18}|'[^'\\]*'|null|true|false)(?:\s+as\s+([a-z_]\w*))?", re.IGNORECASE
)
_LIMIT = re.compile(r"\s+limit\s+\d+\s*$", re.IGNORECASE)
_OFFSET = re.compile(r"\boffset\b", re.IGNORECASE)
_WORDS: dict[str, tuple[Any, str]] = {
    "null": (None, "Nullable(Nothing)"),
    "true": (True, "Bool"),
    "false": (False, "Bool"),
}


def run_hogql(call: Call, sql: str) -> Answer:
    """The answer to a query. Raises ApiError 400, with the reason, for what it can't answer."""
    if _OFFSET.search(sql):
        raise _refused("OFFSET is not supported for queries sent with a personal API key.")
    text = _LIMIT.sub("", sql.strip().rstrip(";"))
    if counted := _COUNT.fullmatch(text):
        return ["count()"], ["UInt64"], [_count(call, counted[1].lower())]
    if listed := _LITERALS.fullmatch(text):
        found = [_LITERAL.fullmatch(part.strip()) for part in listed[1].split(",")]
        if all(found):
            columns, types, row = [], [], []
            for each in found:
                assert each is not None
                value, kind = _value(each[1])
                columns.append(each[2] or each[1])
                types.append(kind)
                row.append(value)
            return columns, types, row
    raise _refused("The sandbox answers only SELECT of literals and SELECT count() FROM a table.")


def _value(text: str) -> tuple[Any, str]:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    return (text[1:-1], "String") if text.startswith("'") else (int(text), "Int64")


def _count(call: Call, table: str) -> int:
    store = call.store
    if table in ("session_replay_events", "raw_session_replay_events", "system.session_recordings"):
        return len(call.project.views.view(Window(), "start_time", call.now_us).numbers)
    tables = {
        "groups": store.groups,
        "raw_groups": store.groups,
        "system.insights": {k for k, each in store.insights.items() if not each.deleted},
        "system.session_recording_playlists": store.playlists,
    }
    if table not in tables:
        raise _refused(f"Unknown table `{table}`.")
    return len(tables[table])


def _refused(detail: str) -> ApiError:
    return ApiError(400, "validation_error", "illegal_hogql", detail)
