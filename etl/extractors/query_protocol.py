"""The query endpoint without I/O: what is sent, and what each answer means.

A query is answered at once, or it goes on in the background and is asked after. Every form below is
of PostHog's source: posthog/api/query.py, execute_async.py, hogql_queries/query_runner.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct

from etl.core.budget import QUERY
from etl.core.document import decode
from etl.errors import (
    RequestRefused,
    SourceError,
    SourceOverloaded,
    SourceUnavailable,
    StreamUnavailable,
)
from etl.extractors.protocol import Answer, Request, error_of, said_in

BYTES_READ = "X-PostHog-Query-Bytes-Read"
BYTES_LEFT = "X-PostHog-Query-Budget-Remaining-Bytes"

# A query that the server stopped, or that it would not begin: less has to be asked for. It is never
# sent again unchanged, because failures are cached, too.
_TOO_MUCH = re.compile(
    "killed|cancelled|timeout|timed out|execution time|too slow|still running|estimated"
    "|memory limit|too many (rows|bytes)|TOO_MANY_(ROWS|BYTES)|query size|query scope",
    re.IGNORECASE,
)
# A query that is wrong, whatever the name is that it does not resolve.
_WRONG = re.compile(
    r"(unable to resolve|unresolved|unknown|field not found|unsupported|syntax error|mismatched"
    "|no viable|extraneous|can't )",
    re.IGNORECASE,
)
_SWITCH_OFF = "Take the query out of query_presets or [[queries]], or ask PostHog"
_ASK_LESS = "Run it again later, or let the query read less"


class Query(Struct, frozen=True):
    """A HogQL query: its text, and the values that fill `{name}` in it."""

    text: str
    values: Mapping[str, Any] = {}


class QueryRows(Struct, frozen=True):
    """The rows of a result. types: the ClickHouse type of each column."""

    columns: Sequence[str]
    types: Sequence[str]
    rows: Sequence[Sequence[Any]]
    dirty: bool


class QueryState(Struct, frozen=True):
    """What an answer says of a query. rows: None while it runs."""

    id: str
    rows: QueryRows | None = None


def query_request(path: str, query: Query, query_id: str, *, in_background: bool) -> Request:
    """Return the request that begins a query. Answers are never taken from the cache.

    query_id: must be new, or an older query answers.
    """
    body = {
        "query": {
            "kind": "HogQLQuery",
            "query": query.text,
            "values": dict(query.values),
            # Else instants come in the project's zone.
            "modifiers": {"convertToProjectTimezone": False},
        },
        "refresh": "force_async" if in_background else "force_blocking",
        "client_query_id": query_id,
        # Is shown in PostHog's query log.
        "name": "posthog-etl",
    }
    return Request(
        path,
        (),
        (QUERY,),
        method="POST",
        body=_json(body),
        answers=(200, 202),
        read_error=query_error,
    )


def status_request(path: str, query_id: str) -> Request:
    """Return the request that asks after a query."""
    return Request(f"{path}{query_id}/", (), (QUERY,), answers=(200, 202), read_error=query_error)


def cancel_request(path: str, query_id: str) -> Request:
    """Return the request that cancels a query. It is answered also for an unknown one."""
    return Request(f"{path}{query_id}/", (), (QUERY,), method="DELETE", answers=(200, 204))


def read_state(answer: Answer) -> QueryState:
    """Return what an answer says of its query.

    Raises SourceUnavailable if it is no such answer, and what `query_error` returns for a query
    that failed.
    """
    document, dirty = _object_in(answer.body)
    status = document.get("query_status")
    if isinstance(status, dict) and document.get("results") is None:
        if (failure := _failure_of(answer.status, status)) is not None:
            raise failure
        query_id = status.get("id")
        if not isinstance(query_id, str) or not query_id:
            raise _unreadable("It names no query")
        # Stored statuses of older servers say error without complete.
        if not status.get("complete"):
            return QueryState(query_id)
        found = status.get("results")
        if not isinstance(found, dict):
            raise _unreadable("The query is complete but has no results")
        return QueryState(query_id, _rows_of(found, dirty))
    return QueryState("", _rows_of(document, dirty))


def query_error(status: int, headers: Mapping[str, str], body: bytes) -> SourceError:
    """Return what an error of the query endpoint means.

    SourceOverloaded: ask for less. RequestRefused: the query is wrong, in the server's words.
    """
    error = error_of(status, headers, body)
    document = _lenient(body)
    found = document.get("query_status")
    if isinstance(found, dict):
        return _failure_of(status, found) or error
    extra = document.get("extra")
    scan = extra.get("query_scan") if isinstance(extra, dict) else None
    killed = isinstance(scan, dict) and bool(scan.get("killed"))
    if isinstance(error, StreamUnavailable):
        if "scope" not in error.remedy:
            # PostHog may close the endpoint to a project; no other key opens it.
            error.remedy = _SWITCH_OFF
        return error
    said = said_in(body)
    if killed or (status in (400, 500) and _is_too_much(said)):
        return SourceOverloaded(
            f"The server stopped the query: {said}", remedy=_ASK_LESS, status=status
        )
    return error


def _failure_of(status: int, found: Mapping[str, Any]) -> SourceError | None:
    """Return the error of a query that failed; None if it did not. An error wins over complete."""
    results = found.get("results")
    late = results.get("error") if isinstance(results, dict) else None
    if not (found.get("error") or late):
        return None
    said = said_in(orjson.dumps({"detail": found.get("error_message") or late or ""}))
    scan = found.get("query_scan")
    killed = isinstance(scan, dict) and bool(scan.get("killed"))
    if killed or not said or _is_too_much(said):
        why = said or "it did not say why"
        return SourceOverloaded(
            f"The query failed: {why}", remedy=_ASK_LESS, status=status, code="query_failed"
        )
    return RequestRefused(f"The query failed: {said}", status=status, code="query_failed")


def _is_too_much(said: str) -> bool:
    return _TOO_MUCH.search(said) is not None and _WRONG.match(said) is None


def _json(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # a half surrogate in a key, or an integer beyond 64 bits
        return json.dumps(body).encode()


def _rows_of(found: Mapping[str, Any], dirty: bool) -> QueryRows:
    """Return the rows of a result. Raises SourceUnavailable if it is none.

    `error` can be an empty text without any failure; else this raises it.
    """
    if found.get("error"):
        raise _failure_of(200, {"error": True, "error_message": found["error"]}) or _unreadable("")
    rows, types = found.get("results"), found.get("types")
    if not isinstance(rows, list) or not isinstance(types, list):
        raise _unreadable("It has no rows and types")
    pairs = [each for each in types if isinstance(each, list) and len(each) == 2]
    columns = found.get("columns") or [name for name, _ in pairs]
    if len(pairs) != len(types) or len(columns) != len(types):
        raise _unreadable("Its columns and types do not fit")
    if any(not isinstance(row, list) or len(row) != len(columns) for row in rows):
        raise _unreadable("Its rows do not fit its columns")
    return QueryRows([str(name) for name in columns], [str(kind) for _, kind in pairs], rows, dirty)


def _object_in(body: bytes) -> tuple[Mapping[str, Any], bool]:
    try:
        document, dirty = decode(body)
    except (ValueError, RecursionError) as exc:
        raise _unreadable("It is not JSON") from exc
    if not isinstance(document, dict):
        raise _unreadable("It is JSON but not an object")
    return document, dirty


def _lenient(body: bytes) -> Mapping[str, Any]:
    try:
        return _object_in(body)[0]
    except SourceUnavailable:
        return {}


def _unreadable(why: str) -> SourceUnavailable:
    return SourceUnavailable(f"The answer to a query cannot be read. {why}".strip(), status=200)
