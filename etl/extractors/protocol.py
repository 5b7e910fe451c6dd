"""PostHog's API without I/O: how to ask, and what an answer means, for all kinds of servers.

The documentation promises {count, next, previous, results} with limit and offset. Real servers
answer the recordings list with {results, has_next, next_cursor} (PostHog source,
session_recording_api.py). This module reads both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from msgspec import Raw, Struct

from etl.core.budget import CRUD
from etl.core.document import decode, decode_list
from etl.core.page import Record
from etl.core.walk import Ask
from etl.core.window import FAR_AHEAD, LONG_AGO
from etl.errors import (
    ForeignAnswer,
    KeyRefused,
    RequestRefused,
    SourceError,
    SourceOverloaded,
    SourceUnavailable,
    StreamUnavailable,
    Throttled,
)

_AVAILABLE_IN = re.compile(r"available in ([0-9]+) second")
_MISSING_SCOPE = re.compile(r"missing required scope '([^']+)'")
# PostHog's types of errors (PostHog/drf-exceptions-hog, exceptions_hog/handler.py).
_ERROR_TYPES = frozenset(
    {
        "authentication_error",
        "invalid_request",
        "server_error",
        "throttled_error",
        "validation_error",
    }
)
# A 429 with these words means that a query is too large, not that requests are too frequent
# (PostHog source, session_recording_api.py).
_TOO_SLOW = re.compile("timeout exceeded|max execution time|too slow", re.IGNORECASE)
_OF_THE_KEY = re.compile(r"\b(scopes?|api key|project|plan)\b", re.IGNORECASE)
_NO_ENDPOINT = re.compile(r"\bendpoint\b", re.IGNORECASE)
_OF_THE_PROJECT = re.compile(r"\bproject\b", re.IGNORECASE)
_LONGEST_TEXT = 200
HIDDEN = "•••"
# Text that may be a secret: an address, a key or a random word. A UUID does not match.
_SECRETIVE = re.compile(
    r"https?://[^\s'\"]+"
    r"|\bph[a-z]_\w+"
    r"|(?<![\w-])(?![0-9a-f]+(?:-[0-9a-f]+){4}\b)(?=[\w-]*[0-9])(?=[\w-]*[A-Za-z])[\w-]{20,}"
)
# If a server asks for more than an hour, we ask again after an hour.
LONGEST_WAIT_S = 3_600.0

# Load balancers accept addresses of about 8 kB. PostHog's limit is unknown.
LONGEST_IDS_BYTES = 6_000
GROUPS_CURSOR = "cursor"
# Begins the remedy if the server does not show the project.
CHECK_PROJECT = "Check POSTHOG_PROJECT_ID"

ReadError = Callable[[int, Mapping[str, str], bytes], SourceError]


class Request(Struct, frozen=True):
    """A request: the path below the host with its last slash, parameters, budget classes.

    method, body: of a query, which is JSON sent by POST. answers: the statuses that answer it; any
    other is an error. read_error: returns what that error means; None: `error_of`.
    """

    path: str
    params: Sequence[tuple[str, str]]
    budget_classes: Sequence[str]
    method: str = "GET"
    body: bytes | None = None
    answers: Sequence[int] = (200,)
    read_error: ReadError | None = None


class Answer(Struct, frozen=True):
    """An answer, not decoded, and when its request was sent.

    source_at: the time on which the clocks agreed when it arrived; None if no two agreed.
    """

    body: bytes
    requested_at: datetime
    source_at: datetime | None
    status: int = 200
    headers: Mapping[str, str] = {}


class RecordList(Struct, frozen=True):
    """A list answer: its records, and what it says about the list.

    by_cursor: whether it has the form of real servers (has_next), not the documented one.
    cursor_name: the parameter that takes the cursor.
    current: False if the answer is marked as refreshing (`refreshing`). It may be incomplete.
    by_count: it has no end mark but its count: `more` is true of a list that begins with this page.
    next_offset: the offset at which `next` says the list goes on.
    """

    records: list[Any]
    dirty: bool
    by_cursor: bool
    more: bool
    cursor: str | None
    count: int | None
    cursor_name: str = "after"
    current: bool = True
    by_count: bool = False
    next_offset: int | None = None


def list_request(
    path: str,
    ask: Ask,
    dates: tuple[datetime, datetime] | None,
    budget_classes: Sequence[str],
) -> Request:
    """Return the request for a page of a list.

    It has only parameters that every server knows, because an unknown one is a 400. So the order is
    the default one: newest start first, in every version. A server that filters by date always gets
    `dates`, because without them it searches only three days.
    """
    params = []
    if dates is not None:
        params += [("date_from", _instant(dates[0])), ("date_to", _instant(dates[1]))]
    params.append(("limit", str(ask.limit)))
    if ask.after is not None:
        params.append(("after", ask.after))
    elif ask.offset is not None:
        params.append(("offset", str(ask.offset)))
    return Request(path, params, budget_classes)


def ids_request(path: str, ids: Sequence[str], budget_classes: Sequence[str]) -> Request:
    """Return the request for these recordings, whatever their dates are.

    It sends dates because older servers apply their default range here too, and a limit because
    rows outside long-term storage obey the default limit (PostHog source,
    session_recording_api.py). An array is sent as one JSON array in one parameter.
    """
    params = [
        ("date_from", _instant(LONG_AGO)),
        ("date_to", _instant(FAR_AHEAD)),
        ("limit", str(len(ids))),
        ("session_ids", json.dumps(list(ids), ensure_ascii=False, separators=(",", ":"))),
    ]
    return Request(path, params, budget_classes)


def id_batches(ids: Iterable[str]) -> Iterator[list[str]]:
    """Split `ids` into batches that fit into an address."""
    batch: list[str] = []
    size_bytes = 0
    for each in ids:
        # In quotes: %22 on both sides, and %2C after it.
        length = len(quote(each, safe="")) + 9
        if batch and size_bytes + length > LONGEST_IDS_BYTES:
            yield batch
            batch, size_bytes = [], 0
        batch.append(each)
        size_bytes += length
    if batch:
        yield batch


def retrieve_request(path: str, key: str, budget_classes: Sequence[str]) -> Request:
    """Return the request for one record of the list at `path`."""
    return Request(f"{path}{quote(key, safe='')}/", (), budget_classes)


def parse_record(body: bytes) -> tuple[Mapping[str, Any], bool]:
    """Return a record and whether it is dirty. Raises SourceUnavailable if it is not an object."""
    document, dirty = _document(body)
    if not isinstance(document, dict):
        raise _unreadable("The server's answer is JSON but not an object")
    return document, dirty


def is_record_gone(error: SourceError) -> bool:
    """Tell whether PostHog's 404 says that there is no such record.

    A 404 that names the endpoint or the project does not say so: see `names_the_project`.
    """
    return (
        error.status == 404
        and error.code == "not_found"
        and _NO_ENDPOINT.search(error.message) is None
        and _OF_THE_PROJECT.search(error.message) is None
    )


def is_record_closed(error: SourceError) -> bool:
    """Tell whether PostHog's 403 says that the key's owner may not see one record."""
    return (
        error.status == 403 and error.code is not None and _OF_THE_KEY.search(error.message) is None
    )


def is_about_the_stream(error: SourceError) -> bool:
    """Tell whether PostHog's error is about the key or the plan, so that every record gets it.

    Never True for a 404: one that names the project needs to be confirmed (`names_the_project`).
    """
    if error.code is None:
        return False
    return error.status in (401, 402) or (
        error.status == 403 and _OF_THE_KEY.search(error.message) is not None
    )


def names_the_project(error: SourceError) -> bool:
    """Tell whether PostHog's 404 names a project.

    Only believe it if the project itself is not found either: a record may have such a name.
    """
    return (
        error.status == 404
        and error.code is not None
        and _OF_THE_PROJECT.search(error.message) is not None
    )


def project_request(project_id: int) -> Request:
    """Return the request for the project itself."""
    return Request(f"/api/projects/{project_id}/", (), (CRUD,))


def parse_list(body: bytes, read: Callable[[Raw], Record] | None = None) -> RecordList:
    """Return the list in an answer, with each record as `read` returns it; None: decoded.

    Raises SourceUnavailable if it is not a list: ask again.
    """
    document, dirty = _document(body, decode if read is None else partial(decode_list, read=read))
    if isinstance(document, list):
        return RecordList(document, dirty, by_cursor=False, more=False, cursor=None, count=None)
    if not isinstance(document, dict) or not isinstance(document.get("results"), list):
        raise _unreadable("The server's answer is JSON but not a list")
    records = document["results"]
    by_cursor = document.get("has_next") is not None
    cursor, count = document.get("next_cursor"), document.get("count")
    # Without any end mark, only an empty page is the end.
    more = bool(document["has_next"] if by_cursor else document.get("next", records))
    return RecordList(
        records=records,
        dirty=dirty,
        by_cursor=by_cursor,
        more=more,
        cursor=cursor if isinstance(cursor, str) and cursor else None,
        count=count if type(count) is int else None,
    )


def page_request(
    path: str,
    params: Sequence[tuple[str, str]],
    ask: Ask | None,
    budget_classes: Sequence[str],
    cursor_name: str = "after",
) -> Request:
    """Return the request for a page of a list without dates. If `ask` is None, it has no pages."""
    asked = list(params)
    if ask is not None:
        asked.append(("limit", str(ask.limit)))
        if ask.after is not None:
            asked.append((cursor_name, ask.after))
        elif ask.offset is not None:
            asked.append(("offset", str(ask.offset)))
    return Request(path, asked, budget_classes)


def parse_page(
    body: bytes, records_of: Callable[[Any], list[Any] | None], *, decoded: bool = True
) -> RecordList:
    """Return the list in an answer; `records_of` finds its records.

    decoded: False if the records of a usual list may be left as bytes.

    There is a third form besides the two of the module, in the groups list: `next` holds the whole
    address of the next page, with a cursor in it (PostHog source, ee/clickhouse/views/groups.py).
    Only the cursor is used; the address may name another host.
    Raises SourceUnavailable if it is not a list: ask again.
    """
    document, dirty = _document(body, decode if decoded else _decode_envelope)
    records = records_of(document)
    if records is None:
        raise _unreadable("The server's answer is JSON but not a list")
    said = document if isinstance(document, dict) else {}
    count = said.get("count")
    count = count if type(count) is int else None
    following = said.get("next")
    cursor, cursor_name, next_offset = said.get("next_cursor"), "after", None
    by_cursor = said.get("has_next") is not None
    by_count = False
    if by_cursor:
        more = bool(said["has_next"])
    elif "next" in said:
        more = bool(following)
        query = _query_of(following)
        cursor, next_offset = query.get(GROUPS_CURSOR), _number(query.get("offset"))
        if cursor is not None:
            by_cursor, cursor_name = True, GROUPS_CURSOR
    else:
        # Without any end mark this is the whole list, unless the server counts more rows.
        by_count = count is not None
        more = count is not None and len(records) < count
    return RecordList(
        records=records,
        dirty=dirty,
        by_cursor=by_cursor,
        more=more,
        cursor=cursor if isinstance(cursor, str) and cursor else None,
        count=count,
        cursor_name=cursor_name,
        current=said.get("refreshing") is not True,
        by_count=by_count,
        next_offset=next_offset,
    )


def _decode_envelope(body: bytes) -> tuple[Any, bool]:
    return decode_list(body, lambda raw: raw)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch("[0-9]{1,15}", text) else None


def _query_of(address: Any) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(urlsplit(address).query)) if isinstance(address, str) else {}
    except ValueError:
        return {}


def parse_object(body: bytes) -> Mapping[str, Any]:
    """Return the object in an answer. Raises SourceUnavailable if it is none: ask again."""
    return parse_record(body)[0]


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
    """Return what an answer other than 200 means.

    The status decides, because types and codes vary. But a status that decides about a record, a
    stream or the key counts only in PostHog's own form, because proxies and firewalls send the same
    ones.
    """
    said, code = said_in(body), _code(body)
    told = f"The API answered {status}" + (f": {said}" if said else "")
    named_s = _named_wait_s(headers, said if status == 429 else "")
    wait_s = None if named_s is None else min(named_s, LONGEST_WAIT_S)
    kind: type[SourceError]
    if status in (401, 402, 403, 404, 410) and code is None:
        told = f"Something other than PostHog answered {status}: {said or 'without a reason'}"
        kind, remedy = ForeignAnswer, _CHECK_THE_WAY
    elif status == 401:
        told, kind, remedy = f"The API refused the key: {said}", KeyRefused, _SET_THE_KEY
    elif status in (402, 403, 404, 410):
        kind, remedy = StreamUnavailable, _stream_remedy(status, said)
    elif status in (504, 512, 513) or (status == 429 and _TOO_SLOW.search(said)):
        # 512 and 513 are PostHog's own: the estimated time is too long, the memory limit is
        # reached.
        kind, remedy = SourceOverloaded, _ASK_LATER
    elif status == 429:
        kind, remedy = Throttled, ""
    elif status >= 500 or status == 408:
        kind, remedy = SourceUnavailable, _ASK_LATER
    elif 300 <= status < 400:
        told = f"The server redirects to {_host_of(headers.get('Location', ''))}"
        kind, remedy = RequestRefused, "Set POSTHOG_HOST to the address that it redirects to"
    else:
        kind, remedy = RequestRefused, _UNKNOWN_SERVER
    return kind(told, remedy=remedy, status=status, code=code, wait_s=wait_s, named_wait_s=named_s)


def source_clock(headers: Mapping[str, str]) -> datetime | None:
    """Return the server's time from its Date header; None if there is no readable one."""
    return _http_date(headers.get("Date", ""))


_SET_THE_KEY = "Set POSTHOG_PERSONAL_API_KEY to a personal key (phx_…) of this host's region"
_CHECK_THE_WAY = "Check POSTHOG_HOST, and what a proxy or a firewall before it lets through"
_CHECK_HOST = "Check that POSTHOG_HOST is the address of the PostHog app"
_ASK_LATER = "Run it again later: what was read is kept"
_UNKNOWN_SERVER = "It may be of a version not known here, or no PostHog: check POSTHOG_HOST"
_WEB_PAGE = "a web page instead of JSON"


def _document(body: bytes, read: Callable[[bytes], tuple[Any, bool]] = decode) -> tuple[Any, bool]:
    try:
        return read(body)
    except (ValueError, RecursionError) as exc:
        start = body[:200].lstrip()
        if _is_web_page(start):
            raise _unreadable(
                "The server answered with a web page instead of JSON (a login page or a proxy?)"
            ) from exc
        what = "incomplete JSON" if start else "empty"
        raise _unreadable(f"The server's answer is {what}") from exc


def _unreadable(message: str) -> SourceUnavailable:
    return SourceUnavailable(message, remedy=_CHECK_HOST, status=200)


def _is_web_page(body: bytes) -> bool:
    return body[:200].lstrip().lower().startswith((b"<!doctype", b"<html"))


def said_in(body: bytes) -> str:
    """Return the reason in an error body as one line; empty if there is none."""
    try:
        document, _ = decode(body)
    except (ValueError, RecursionError):
        return _WEB_PAGE if _is_web_page(body) else ""
    if not isinstance(document, dict):
        return ""
    text = document.get("detail") or document.get("error") or ""
    # Errors are logged and stored, and a server may quote a secret in them.
    text = _SECRETIVE.sub(HIDDEN, str(text)[: 10 * _LONGEST_TEXT])
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"


def _code(body: bytes) -> str | None:
    """Return PostHog's code of an error; None if the body is not in PostHog's form.

    `{"error": …}` is not that form, although some handlers send it: of the requests sent here
    PostHog answers only a 500 so, and a proxy may send it too.
    """
    try:
        document, _ = decode(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    kind, code, detail = (document.get(name) for name in ("type", "code", "detail"))
    if not (isinstance(kind, str) and isinstance(code, str) and isinstance(detail, str)):
        return None
    # Some errors have a type of their own, with the other fields of the form.
    return code if kind in _ERROR_TYPES or "attr" in document else None


def _named_wait_s(headers: Mapping[str, str], said: str) -> float | None:
    """Return the wait an answer names, from its header or else its text; 0 if it names none."""
    after = headers.get("Retry-After", "").strip()
    found = _AVAILABLE_IN.search(said)
    if after.isascii() and after.isdigit():
        wait_s = float(after)
    elif (at := _http_date(after)) is not None:
        wait_s = (at - (source_clock(headers) or datetime.now(UTC))).total_seconds()
    else:
        wait_s = float(found.group(1)) if found else 0.0
    return wait_s if wait_s > 0 else None


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _stream_remedy(status: int, said: str) -> str:
    if scope := _MISSING_SCOPE.search(said):
        return f"Add the scope {scope.group(1)} to the personal API key"
    if status == 402:
        return "Upgrade the PostHog plan, or switch this stream off"
    if "personal api key access" in said.lower():
        return "This server opens it to no personal key: switch this stream off"
    if status == 403:
        return "Give the key access to this project, or switch this stream off"
    if "project" in said.lower():
        return f"{CHECK_PROJECT}: the number in the project's settings"
    return "This server does not offer the stream: switch it off, or upgrade the server"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _host_of(location: str) -> str:
    return location.split("?")[0][:100] or "another address"
