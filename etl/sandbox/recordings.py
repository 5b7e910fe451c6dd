"""Session recordings: the list in both flavours, and one by its id."""

from typing import Any

from aiohttp import web
from yarl import URL

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import json_response, not_found, surprise
from etl.sandbox.faulty import mutate_rows
from etl.sandbox.paging import cut_after, cut_at, read_cursor, write_cursor, write_cursor_before
from etl.sandbox.query import RecordingsQuery, read_leniently, read_strictly
from etl.sandbox.views import View, Window

VERSION = 4
SCOPE = "session_recording:read"


async def _list(call: Call) -> web.Response:
    call.project.lists_answered += 1
    if call.state.options.flavour == "docs":
        return _list_documented(call)
    return _list_cloud(call)


async def _retrieve(call: Call) -> web.Response:
    project = call.project
    wanted = call.request.match_info["id"]
    view = project.views.picked((wanted,), Window(), "start_time", call.now_us)
    if not view.numbers:
        raise not_found("Recording not found")
    number = view.numbers[0]
    row = project.shapes.retrieved(number, view.readings[number], call.now_us)
    return json_response(mutate_rows([row], call.fault.mutate)[0])


def _list_cloud(call: Call) -> web.Response:
    project, fault, options = call.project, call.fault, call.state.options
    query = read_strictly(call.request.query, options, call.now_us)
    view = _view(call, query)
    size = _page_size(call, query.limit)
    by_cursor = query.offset is None
    if by_cursor:
        try:
            after = read_cursor(view, query.after) if query.after else None
            after = None if fault.restart_cursor else after
            found = cut_after(project.views, view, after, size, descending=query.descending)
        except (ValueError, KeyError, TypeError):
            return surprise()
    else:
        found = _cut_at_offset(call, view, query, size)
    numbers, more = found
    cursor = None
    if by_cursor and numbers and fault.empty_page:
        # An empty page hides nothing for good: its cursor leads to the rows it did not show.
        first = project.views.key(view, numbers[0])
        cursor = write_cursor_before(view, first, descending=query.descending)
    elif by_cursor and more:
        cursor = write_cursor(view, project.views.key(view, numbers[-1]))
    if query.session_ids is not None and options.server_version == "current":
        numbers = _as_asked_for(call, numbers, query.session_ids)
    rows = [project.shapes.cloud(n, project.views.reading(view, n), call.now_us) for n in numbers]
    if query.extra_id is not None:
        rows = _with_extra(call, query.extra_id, numbers, rows)
    if fault.repeat_cursor and query.after:
        more, cursor = True, query.after
    body: dict[str, Any] = {"results": _bent(call, rows), "has_next": more or fault.empty_page}
    if cursor is not None:
        body["next_cursor"] = cursor
    return json_response({**body, "version": VERSION})


def _list_documented(call: Call) -> web.Response:
    project, fault = call.project, call.fault
    query = read_leniently(call.request.query, call.state.options, call.now_us)
    view = _view(call, query)
    offset = 0 if fault.restart_cursor else query.offset or 0
    limit = min(query.limit, fault.clamp_limit or query.limit)
    numbers, more = _cut_at_offset(call, view, query, _page_size(call, query.limit))
    version = call.state.options.page_version
    rows = [
        project.shapes.documented(n, project.views.reading(view, n), call.now_us, version)
        for n in numbers
    ]
    following = offset + len(numbers)
    if fault.empty_page or fault.repeat_cursor:
        more, following = True, query.offset or 0
    elif offset > len(view.numbers):
        more = False
    previous = None
    if offset > 0:
        previous = _link(call, limit, max(0, offset - limit) or None)
    return json_response(
        {
            "count": len(view.numbers),
            "next": _link(call, limit, following, fault.next_host) if more else None,
            "previous": previous,
            "results": _bent(call, rows),
        }
    )


def _view(call: Call, query: RecordingsQuery) -> View:
    views, owners = call.project.views, call.project.data.owners
    distinct_ids = query.distinct_ids
    if query.person_uuid is not None:
        number = owners.number_of(query.person_uuid)
        owned = frozenset(owners.ids_of(number)) if number is not None else frozenset()
        distinct_ids = owned if distinct_ids is None else distinct_ids & owned
    if query.session_ids is not None:
        return views.picked(query.session_ids, query.window, query.order, call.now_us, distinct_ids)
    return views.view(query.window, query.order, call.now_us, distinct_ids)


def _page_size(call: Call, limit: int) -> int:
    fault = call.fault
    return min(limit, fault.clamp_limit or limit, fault.short_page or limit)


def _cut_at_offset(
    call: Call, view: View, query: RecordingsQuery, size: int
) -> tuple[list[int], bool]:
    options = call.state.options
    offset = 0 if call.fault.restart_cursor else query.offset or 0
    # Servers that know only offset have no tie-break; only the current one has.
    no_tie_break = options.flavour == "docs" or options.server_version == "offset_only"
    salt = call.project.lists_answered if no_tie_break else None
    return cut_at(call.project.views, view, offset, size, descending=query.descending, salt=salt)


def _as_asked_for(call: Call, numbers: list[int], ids: tuple[str, ...]) -> list[int]:
    places = {each: place for place, each in enumerate(ids)}
    return sorted(numbers, key=lambda n: places[call.project.data.recording_id(n)])


def _with_extra(call: Call, extra_id: str, numbers: list[int], rows: list[Any]) -> list[Any]:
    """One more recording in front, even one outside the filters."""
    project = call.project
    view = project.views.picked((extra_id,), Window(), "start_time", call.now_us)
    if not view.numbers:
        return rows
    number = view.numbers[0]
    front = project.shapes.extra(
        number, view.readings[number], call.now_us, matches=number in numbers
    )
    return [front, *(row for n, row in zip(numbers, rows, strict=True) if n != number)]


def _bent(call: Call, rows: list[Any]) -> list[Any]:
    """The rows with the faults done to them."""
    fault, last_rows = call.fault, call.state.faults.last_rows
    path = call.request.path
    if fault.empty_page:
        rows = []
    if fault.omit and rows:
        left_out = {place % len(rows) for place in fault.omit}
        rows = [row for place, row in enumerate(rows) if place not in left_out]
    if fault.repeat_page:
        rows = last_rows.get(path, rows)
    if fault.duplicate_rows:
        rows = [row for row in rows for _ in range(2)]
    last_rows[path] = rows
    return mutate_rows(rows, fault.mutate) if fault.mutate else rows


def _link(call: Call, limit: int, offset: int | None, origin: str | None = None) -> str:
    """The address of another page on the host that the request was sent to, or on another one."""
    url = call.request.url.update_query(limit=str(limit))
    url = url.without_query_params("offset") if offset is None else url.update_query(offset=offset)
    if origin is not None:
        other = URL(origin)
        url = url.with_scheme(other.scheme).with_host(other.host or "").with_port(other.port)
    return str(url)


ENDPOINTS = (
    Endpoint("GET", "/session_recordings", SCOPE, _list, ("recordings_list", "clickhouse")),
    Endpoint("GET", "/session_recordings/{id}", SCOPE, _retrieve, ("clickhouse",)),
)
