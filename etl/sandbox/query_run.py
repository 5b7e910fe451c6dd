"""Carries out a query for a request: from the cache, within the limits, with the faults."""

import asyncio
from datetime import timedelta
from typing import Any, NoReturn

from etl.sandbox.endpoints import Call
from etl.sandbox.errors import ApiError
from etl.sandbox.faults import TOO_MANY, Fault
from etl.sandbox.hogql import DEFAULT_LIMIT
from etl.sandbox.hogql_database import Outcome
from etl.sandbox.query_answers import Asked

_KILLED = {
    # PostHog source, exceptions.py: the first has no code of its own, the second is a
    # validation error.
    "time": (504, "server_error", "error", "Query has hit the max execution time before "
             "completing. See our docs for how to improve your query performance. You may need "
             "to materialize."),
    "bytes": (400, "validation_error", "too_many_bytes", "Limit for rows or bytes to read "
              "exceeded."),
}  # fmt: skip
Result = tuple[dict[str, Any], int]
"""The body of the answer, and how many bytes were read for it."""


async def run_query(call: Call, asked: Asked, fault: Fault, *, forced: bool) -> Result:
    """The answer to a query. Raises ApiError for whatever prevents it.

    forced: a cached answer won't do.
    """
    project, key = call.project, asked.cache_key(call.project.id)
    project.answers.check(key, call.now_us)
    if not forced and (kept := project.answers.result(key, call.now_us)) is not None:
        return kept, 0
    options = call.state.options
    project.budget.check(options.query_budget_bytes, call.now_us)
    if project.running >= options.query_concurrency:
        # A real server lets it wait for up to 30 s first (PostHog source, clickhouse/limit.py).
        raise ApiError(429, "throttled_error", "throttled", TOO_MANY)
    project.running += 1
    try:
        await asyncio.sleep(fault.query_s)
        return _calculated(call, asked, fault, key)
    finally:
        project.running -= 1


def budget_headers(call: Call, bytes_read: int) -> dict[str, str]:
    """What the answer to a key says about the bytes read (PostHog source, api queries budget)."""
    hourly_bytes = call.state.options.query_budget_bytes
    headers = {"X-PostHog-Query-Bytes-Read": str(bytes_read)}
    if hourly_bytes:
        left = call.project.budget.left(hourly_bytes, call.now_us)
        headers["X-PostHog-Query-Budget-Remaining-Bytes"] = str(max(0, left))
    return headers


def _calculated(call: Call, asked: Asked, fault: Fault, key: str) -> Result:
    project, options = call.project, call.state.options
    if fault.failed:
        raise ApiError(500, "server_error", "error", "A server error occurred.")
    cap = min(options.query_cap_rows, fault.clamp_limit or options.query_cap_rows)
    converts = asked.modifiers.get("convertToProjectTimezone") is not False
    found = project.database.run(
        asked.sql, asked.values, options, call.now_us, cap=cap, converts=converts
    )
    project.budget.take(found.bytes_read, options.query_budget_bytes, call.now_us)
    most = fault.killed_above_rows
    if fault.killed or (most is not None and found.rows_read > most):
        _kill(call, key, found, fault.killed or "time")
    result = _body(call, asked, found, key)
    project.answers.keep(key, result, call.now_us)
    return result, found.bytes_read


def _kill(call: Call, key: str, found: Outcome, limit: str) -> NoReturn:
    """Raises the error of a query that hit a limit; an equal one gets it at once."""
    error = ApiError(*_KILLED[limit])
    scan = {"rows_read": found.rows_read, "duration_ms": 10_000, "killed": True}
    error.body["extra"] = {"cache_key": key, "query_scan": scan}
    call.project.answers.keep_failure(key, error, call.now_us)
    raise error


def _body(call: Call, asked: Asked, found: Outcome, key: str) -> dict[str, Any]:
    query, rows = found.query, found.rows
    limit = {} if query.limited else {
        "hasMore": len(rows) > DEFAULT_LIMIT, "limit": DEFAULT_LIMIT, "offset": 0,
    }  # fmt: skip
    shown = asked.sql.strip().rstrip(";")
    return {
        "results": rows if query.limited else rows[:DEFAULT_LIMIT],
        "columns": query.columns,
        "types": [[name, kind] for name, kind in zip(query.columns, query.types, strict=True)],
        **limit,
        "query": asked.sql,
        "hogql": shown if query.limited else f"{shown} LIMIT {DEFAULT_LIMIT}",
        "clickhouse": query.sql,
        "timings": [],
        "modifiers": dict(asked.modifiers),
        "metadata": None,
        "explain": None,
        "error": None,
        "is_cached": False,
        "cache_key": key,
        "last_refresh": call.now,
        "cache_target_age": call.now + timedelta(days=1),
        "next_allowed_client_refresh": call.now + timedelta(minutes=3),
        "query_status": None,
        "timezone": call.state.options.timezone,
    }
