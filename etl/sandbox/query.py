"""Reads the parameters of the recordings list: strictly as the real server, or leniently."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etl.sandbox.dates import read_date
from etl.sandbox.errors import ApiError, invalid_input
from etl.sandbox.options import SandboxOptions
from etl.sandbox.views import ORDERS, Window

DEFAULT_LIMIT = 50
DOCS_DEFAULT_LIMIT = 100
# HogQL's own ceiling (PostHog source, hogql/constants.py).
MOST_ROWS = 50_000

_TEXT, _TEXTS, _INT, _ANY = "string", "list", "int", "any"
_KINDS = {
    "date_from": _TEXT, "date_to": _TEXT, "order": _TEXT, "order_direction": _TEXT,
    "person_uuid": _TEXT, "session_recording_id": _TEXT, "after": _TEXT, "limit": _INT,
    "offset": _INT, "session_ids": _TEXTS, "distinct_ids": _TEXTS, "events": _ANY,
    "actions": _ANY, "properties": _ANY, "console_log_filters": _ANY, "having_predicates": _ANY,
    "comment_text": _ANY, "filter_test_accounts": _ANY, "operand": _ANY,
    "hide_viewed_recordings": _ANY,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RecordingsQuery:
    """What one request asks of the list."""

    window: Window
    limit: int
    offset: int | None = None
    after: str | None = None
    order: str = "start_time"
    descending: bool = True
    session_ids: tuple[str, ...] | None = None
    distinct_ids: frozenset[str] | None = None
    person_uuid: str | None = None
    extra_id: str | None = None


def read_strictly(
    query: Mapping[str, str], options: SandboxOptions, now_us: int
) -> RecordingsQuery:
    """Reads as the real server does: every value as JSON first, then by its type.

    Raises ApiError 400 with a JSON list inside a string (PostHog source,
    session_recordings/utils.py).
    """
    known = dict(_KINDS)
    if options.server_version == "offset_only":
        del known["after"]
    values = {
        name: _decode(text)
        for name, text in query.items()
        if name not in ("personal_api_key", "token")
    }
    complaints = [c for name, value in values.items() for c in _complaints(name, value, known)]
    if complaints:
        raise invalid_input(json.dumps(complaints))
    limit = values.get("limit") or DEFAULT_LIMIT
    distinct_ids, session_ids = values.get("distinct_ids"), values.get("session_ids")
    offset = values.get("offset")
    if options.server_version == "offset_only":
        offset = offset or 0
    default_direction = "DESC" if options.default_order == "newest" else "ASC"
    return RecordingsQuery(
        window=_window(values, options, now_us, strict=True),
        limit=min(limit if limit > 0 else DEFAULT_LIMIT, MOST_ROWS),
        offset=None if offset is None else max(0, offset),
        after=values.get("after") or None,
        order=values.get("order") or "start_time",
        descending=values.get("order_direction", default_direction) != "ASC",
        session_ids=tuple(dict.fromkeys(session_ids)) if session_ids else None,
        distinct_ids=frozenset(distinct_ids) if distinct_ids else None,
        person_uuid=values.get("person_uuid"),
        extra_id=values.get("session_recording_id"),
    )


def read_leniently(
    query: Mapping[str, str], options: SandboxOptions, now_us: int
) -> RecordingsQuery:
    """Reads as the documentation promises: limit and offset; what else is sent is ignored.

    Whether dates are read too is an option. Raises ApiError 400 for a date that can't be read.
    """
    limit, offset = (_whole(query.get(name)) for name in ("limit", "offset"))
    dates = {n: query[n] for n in ("date_from", "date_to") if n in query}
    return RecordingsQuery(
        window=_window(dates, options, now_us, strict=False),
        limit=limit or DOCS_DEFAULT_LIMIT,
        offset=offset,
        descending=options.default_order == "newest",
    )


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _complaints(name: str, value: Any, known: Mapping[str, str]) -> list[dict[str, Any]]:
    kind = known.get(name)
    if kind is None:
        return [_complaint("extra_forbidden", name, value, "Extra inputs are not permitted")]
    if value is None or kind == _ANY:
        return []
    if kind == _INT and (isinstance(value, bool) or not isinstance(value, int)):
        return [_complaint("int_type", name, value, "Input should be a valid integer")]
    if kind == _TEXT and not isinstance(value, str):
        return [_complaint("string_type", name, value, "Input should be a valid string")]
    if kind == _TEXTS and not isinstance(value, list):
        return [_complaint("list_type", name, value, "Input should be a valid list")]
    if kind == _TEXTS and not all(isinstance(item, str) for item in value):
        return [_complaint("string_type", name, value, "Input should be a valid string")]
    allowed = {"order": ORDERS, "order_direction": ("ASC", "DESC")}.get(name)
    if allowed and value not in allowed:
        message = f"Input should be one of {', '.join(allowed)}"
        return [_complaint("enum", name, value, message)]
    return []


def _complaint(type: str, name: str, value: Any, message: str) -> dict[str, Any]:
    return {"type": type, "loc": [name], "msg": message, "input": value}


def _window(
    values: Mapping[str, Any], options: SandboxOptions, now_us: int, *, strict: bool
) -> Window:
    given = values.keys() & {"date_from", "date_to"}
    if options.dates == "refused" and given:
        names = ", ".join(sorted(given))
        raise ApiError(400, "validation_error", "invalid_input", f"Unknown parameter: {names}")
    if options.dates != "honoured":
        return Window()
    window = Window()
    begin, end = values.get("date_from"), values.get("date_to")
    if strict and begin is None:
        begin = "-7d" if "date_from" in values else "-3d"
        by_ids = values.get("session_ids") and options.server_version == "current"
        if by_ids and "date_from" not in values:
            begin = "all"
    try:
        if begin and begin != "all":
            window = Window(read_date(begin, now_us, is_end=False), window.to_us)
        if end:
            window = Window(window.from_us, read_date(end, now_us, is_end=True))
    except ValueError:
        raise invalid_input("date_from and date_to must be dates") from None
    return window
