"""Session recordings: the list of both kinds of server, and one recording by its id."""

from dataclasses import replace
from typing import Any

from aiohttp import web

from etl.sandbox.bodies import boolean, read_body
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import invalid, json_response, not_found, surprise
from etl.sandbox.lists import bend, page_link, single, size_of_page
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


def list_only(call: Call, ids: tuple[str, ...]) -> web.Response:
    """The same answer for these recordings only, whatever their dates."""
    call.project.lists_answered += 1
    if call.state.options.flavour == "docs":
        return _list_documented(call, ids)
    return _list_cloud(call, ids)


def _asked(call: Call) -> View:
    """A view of the one recording that the address names. Raises ApiError 404."""
    wanted = call.request.match_info["id"]
    view = call.project.views.picked((wanted,), Window(), "start_time", call.now_us)
    if not view.numbers:
        raise not_found("Recording not found")
    return view


async def _retrieve(call: Call) -> web.Response:
    view, project = _asked(call), call.project
    number = view.numbers[0]
    row = project.shapes.retrieved(number, view.readings[number], call.now_us)
    return single(call, row)


def _list_cloud(call: Call, only: tuple[str, ...] | None = None) -> web.Response:
    project, fault, options = call.project, call.fault, call.state.options
    query = _narrowed(read_strictly(call.request.query, options, call.now_us), only)
    view = _view(call, query)
    size = size_of_page(call, query.limit)
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
        # An empty page must not hide rows for good: its cursor leads to the rows it did not show.
        first = project.views.key(view, numbers[0])
        cursor = write_cursor_before(view, first, descending=query.descending)
    elif by_cursor and more:
        cursor = write_cursor(view, project.views.key(view, numbers[-1]))
    if only is None and query.session_ids is not None and options.server_version == "current":
        numbers = _as_asked_for(call, numbers, query.session_ids)
    rows = [project.shapes.cloud(n, project.views.reading(view, n), call.now_us) for n in numbers]
    if query.extra_id is not None:
        rows = _with_extra(call, query.extra_id, numbers, rows)
    if fault.repeat_cursor and query.after:
        more, cursor = True, query.after
    body: dict[str, Any] = {"results": bend(call, rows), "has_next": more or fault.empty_page}
    if cursor is not None:
        body["next_cursor"] = cursor
    return json_response({**body, "version": VERSION})


def _list_documented(call: Call, only: tuple[str, ...] | None = None) -> web.Response:
    project, fault = call.project, call.fault
    query = read_leniently(call.request.query, call.state.options, call.now_us)
    query = _narrowed(query, only)
    view = _view(call, query)
    offset = 0 if fault.restart_cursor else query.offset or 0
    limit = min(query.limit, fault.clamp_limit or query.limit)
    numbers, more = _cut_at_offset(call, view, query, size_of_page(call, query.limit))
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
        previous = page_link(call, limit, max(0, offset - limit) or None)
    return json_response(
        {
            "count": len(view.numbers),
            "next": page_link(call, limit, following, fault.next_host) if more else None,
            "previous": previous,
            "results": bend(call, rows),
        }
    )


def _narrowed(query: RecordingsQuery, only: tuple[str, ...] | None) -> RecordingsQuery:
    """The query for these recordings only, without the filter by date."""
    if only is None:
        return query
    asked = query.session_ids
    ids = only if asked is None else tuple(each for each in only if each in asked)
    return replace(query, session_ids=ids, window=Window())


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


def _cut_at_offset(
    call: Call, view: View, query: RecordingsQuery, size: int
) -> tuple[list[int], bool]:
    options = call.state.options
    offset = 0 if call.fault.restart_cursor else query.offset or 0
    # Only the current server has a tie-break; servers that only know offset have none.
    no_tie_break = options.flavour == "docs" or options.server_version == "offset_only"
    salt = call.project.lists_answered if no_tie_break else None
    return cut_at(call.project.views, view, offset, size, descending=query.descending, salt=salt)


def _as_asked_for(call: Call, numbers: list[int], ids: tuple[str, ...]) -> list[int]:
    places = {each: place for place, each in enumerate(ids)}
    return sorted(numbers, key=lambda n: places[call.project.data.recording_id(n)])


def _with_extra(call: Call, extra_id: str, numbers: list[int], rows: list[Any]) -> list[Any]:
    """Puts one more recording first, even one outside the filters."""
    project = call.project
    view = project.views.picked((extra_id,), Window(), "start_time", call.now_us)
    if not view.numbers:
        return rows
    number = view.numbers[0]
    front = project.shapes.extra(
        number, view.readings[number], call.now_us, matches=number in numbers
    )
    return [front, *(row for n, row in zip(numbers, rows, strict=True) if n != number)]


async def _update(call: Call) -> web.Response:
    """Real servers mark it viewed; by the documentation they answer the recording."""
    body = await read_body(call)
    number = _asked(call).numbers[0]
    if call.is_cloud:
        marks = [boolean(name, body[name]) for name in ("viewed", "analyzed") if name in body]
        if not any(marks):
            raise invalid("non_field_errors", "Must provide at least one of viewed or analyzed.")
        call.project.data.view(number, "owner")
        return json_response({"success": True})
    return await _retrieve(call)


async def _delete(call: Call) -> web.Response:
    """Deletes it for good. Deleting it again is no error."""
    data = call.project.data
    number = data.find(call.request.match_info["id"])
    if number is None:
        raise not_found("Recording not found")
    if not data.is_deleted(number):
        data.open(number).deleted = True
    return web.Response(status=204)


_ONE = "/session_recordings/{id}"
WRITE = "session_recording:write"
ENDPOINTS = (
    Endpoint("GET", "/session_recordings", SCOPE, _list, ("recordings_list", "clickhouse")),
    Endpoint("GET", _ONE, SCOPE, _retrieve, ("clickhouse",)),
    Endpoint("PATCH", _ONE, WRITE, _update),
    Endpoint("DELETE", _ONE, WRITE, _delete),
)
