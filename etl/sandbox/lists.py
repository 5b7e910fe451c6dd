"""Answers lists of any records, and applies the active faults to them."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from aiohttp import web
from yarl import URL

from etl.sandbox.clock import EPOCH
from etl.sandbox.endpoints import Call
from etl.sandbox.errors import json_response
from etl.sandbox.faulty import mutate_rows

DEFAULT_LIMIT = 100
_PAGING = ("limit", "offset", "cursor", "page")
Record = TypeVar("Record")
Position = tuple[datetime, str]
"""Where a record stands in a list: when it was made, and its key."""


def whole(text: str | None) -> int:
    """Returns a parameter as a number; 0 if it is not a number."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 20 else 0


def bend(call: Call, rows: list[Any], place: str | None = None) -> list[Any]:
    """Returns the rows of a page with the faults applied.

    place: the list whose last page `repeat_page` repeats; by default the path.
    """
    fault, last_rows = call.fault, call.state.faults.last_rows
    place = call.request.path if place is None else place
    if fault.empty_page:
        rows = []
    if fault.omit and rows:
        left_out = {each % len(rows) for each in fault.omit}
        rows = [row for each, row in enumerate(rows) if each not in left_out]
    if fault.repeat_page:
        rows = last_rows.get(place, rows)
    if fault.duplicate_rows:
        rows = [row for row in rows for _ in range(2)]
    last_rows[place] = rows
    return mutate_rows(rows, fault.mutate) if fault.mutate else rows


def single(call: Call, row: Any, status: int = 200) -> web.Response:
    """Returns one object, with the active faults applied."""
    return json_response(mutate_rows([row], call.fault.mutate)[0], status)


def size_of_page(call: Call, limit: int) -> int:
    """Returns how many rows a page has if so many were asked for."""
    fault = call.fault
    return min(limit, fault.clamp_limit or limit, fault.short_page or limit)


def link(call: Call, changes: Mapping[str, str | None], origin: str | None = None) -> str:
    """The address of the request with other parameters, perhaps on another host."""
    url = call.request.url
    for name, value in changes.items():
        url = url.without_query_params(name) if value is None else url.update_query({name: value})
    if origin is not None:
        other = URL(origin)
        url = url.with_scheme(other.scheme).with_host(other.host or "").with_port(other.port)
    return str(url)


def page_link(call: Call, limit: int, offset: int | None, origin: str | None = None) -> str:
    """The address of another page by limit and offset."""
    shown = None if offset is None else str(offset)
    return link(call, {"limit": str(limit), "offset": shown}, origin)


def by_offset(
    call: Call,
    records: Sequence[Record],
    show: Callable[[Record], Any],
    at_end: Sequence[Any] = (),
    *,
    default: int = DEFAULT_LIMIT,
) -> web.Response:
    """A page with count, next and previous; `default` rows unless `limit` says.

    at_end: rows that come with the last page, however long it is already.
    """
    fault, query = call.fault, call.request.query
    asked = whole(query.get("limit")) or default
    wanted = whole(query.get("offset"))
    offset = 0 if fault.restart_cursor else wanted
    limit = min(asked, fault.clamp_limit or asked)
    cut = records[offset : offset + size_of_page(call, asked)]
    following = offset + len(cut)
    more = following < len(records)
    if fault.empty_page or fault.repeat_cursor:
        more, following = True, wanted
    elif offset > len(records):
        more = False
    rows = [*(show(record) for record in cut), *(() if more else at_end)]
    # Rows that a fault leaves out are not counted either.
    left_out = {each % len(rows) for each in fault.omit} if rows else set()
    previous = None
    if offset > 0:
        previous = page_link(call, limit, max(0, offset - limit) or None)
    return json_response(
        {
            "count": len(records) + len(at_end) - len(left_out),
            "next": page_link(call, limit, following, fault.next_host) if more else None,
            "previous": previous,
            "results": bend(call, rows, _place(call)),
        }
    )


def by_cursor(
    call: Call,
    records: Sequence[Record],
    position: Callable[[Record], Position],
    show: Callable[[Record], Any],
    page_rows: int = DEFAULT_LIMIT,
) -> web.Response:
    """A page of so many rows with `next` alone; `records` descend by position.

    A cursor that can't be read is ignored: the answer is page one (PostHog source, ee/clickhouse/
    views/groups.py).
    """
    fault = call.fault
    sent = call.request.query.get("cursor")
    after = None if fault.restart_cursor else _read_cursor(sent)
    first = 0
    if after is not None:
        first = sum(1 for record in records if position(record) >= after)
    cut = records[first : first + size_of_page(call, page_rows)]
    cursor = None
    if fault.repeat_cursor and sent is not None:
        cursor = sent
    elif fault.empty_page:
        # An empty page must not hide rows for good: its cursor leads to the rows it did not show.
        cursor = _write_cursor(position(records[first - 1])) if first else "first"
    elif first + len(cut) < len(records):
        cursor = _write_cursor(position(cut[-1]))
    following = None if cursor is None else link(call, {"cursor": cursor}, fault.next_host)
    rows = bend(call, [show(record) for record in cut], _place(call))
    return json_response({"next": following, "previous": None, "results": rows})


def bare(call: Call, rows: list[Any]) -> web.Response:
    """Returns a bare array."""
    return json_response(bend(call, rows, _place(call)))


def newest_first(created_at: datetime | None, key: str) -> Position:
    """The position of a record in a list that begins with the newest."""
    return created_at or EPOCH, key


def _place(call: Call) -> str:
    """The list that a request reads, whatever page of it."""
    query = sorted((k, v) for k, v in call.request.query.items() if k not in _PAGING)
    return json.dumps([call.request.path, query])


def _write_cursor(position: Position) -> str:
    at, key = position
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), key]).encode()).decode()


def _read_cursor(text: str | None) -> Position | None:
    try:
        at, key = json.loads(base64.urlsafe_b64decode(text or ""))
        instant = datetime.fromisoformat(at)
        return (instant, str(key)) if instant.tzinfo is not None else None
    except (ValueError, TypeError):
        return None
