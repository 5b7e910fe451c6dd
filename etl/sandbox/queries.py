"""The query endpoint: answers at once, or in the background with a status to ask for."""

import secrets
from typing import Any

from aiohttp import web

from etl.sandbox.bodies import an_object, maybe, one_of, read_body, text
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import ApiError, invalid, json_response, not_found, required
from etl.sandbox.hogql import run_hogql
from etl.sandbox.jobs import KEPT_US, Job

READ = "query:read"
_LIMIT = 100
_IN_BACKGROUND = ("async", "lazy_async", "force_async")
_REFRESH = (
    "blocking", "force_blocking", "force_cache", "async_except_on_cache_miss", *_IN_BACKGROUND,
)  # fmt: skip


async def _create(call: Call) -> web.Response:
    body = await read_body(call)
    sql, refresh = _sql(body), _refresh(body)
    job_id = maybe(text)("client_query_id", body.get("client_query_id"), 0)
    if refresh not in _IN_BACKGROUND:
        return json_response(_answer(call, sql))
    job = _known(call, job_id) if job_id and refresh != "force_async" else None
    if job is None:
        job_id = job_id or secrets.token_hex(16)
        job = Job(job_id, sql, call.now_us, secrets.token_hex(16))
        call.project.jobs[job_id] = job
    return json_response(job.status(call.project.id), 202 if job.ended_us is None else 200)


def _sql(body: dict[str, Any]) -> str:
    if "query" not in body:
        raise required("query")
    query = an_object("query", body["query"])
    if query.get("kind") != "HogQLQuery":
        raise invalid("query__kind", "The sandbox answers only HogQLQuery.")
    return text("query__query", query.get("query"))


def _refresh(body: dict[str, Any]) -> str:
    if body.get("async") is True:
        return "async"
    refresh = body.get("refresh")
    if refresh is None or isinstance(refresh, bool):
        return "force_blocking" if refresh else "blocking"
    return str(one_of(*_REFRESH)("refresh", refresh, 0))


def _answer(call: Call, sql: str) -> dict[str, Any]:
    columns, types, row = run_hogql(call, sql)
    return {
        "results": [row],
        "columns": columns,
        "types": [[name, kind] for name, kind in zip(columns, types, strict=True)],
        "hasMore": False,
        "limit": _LIMIT,
        "offset": 0,
        "query": sql,
        "hogql": sql,
        "clickhouse": None,
        "timings": [],
        "modifiers": {},
        "metadata": None,
        "explain": None,
        "error": None,
        "is_cached": False,
        "cache_key": None,
        "last_refresh": call.now,
        "timezone": "UTC",
    }


def _known(call: Call, job_id: str) -> Job | None:
    """The query with this id unless it is forgotten by now."""
    job = call.project.jobs.get(job_id)
    if job is not None and call.now_us >= job.begun_us + KEPT_US:
        del call.project.jobs[job_id]
        return None
    return job


def _asked(call: Call) -> Job:
    job_id = call.request.match_info["id"]
    job = _known(call, job_id)
    if job is None:
        raise not_found(f"Query {job_id} not found for team {call.project.id}")
    return job


async def _retrieve(call: Call) -> web.Response:
    job = _asked(call)
    if job.ended_us is None:
        job.ended_us = call.now_us
        try:
            job.results = _answer(call, job.sql)
        except ApiError as error:
            job.error_message = str(error)
    return json_response(job.status(call.project.id), 200 if job.error_message is None else 400)


async def _cancel(call: Call) -> web.Response:
    """Also for an unknown id (PostHog source, execute_async.py)."""
    job_id = call.request.match_info["id"]
    job = _known(call, job_id)
    call.project.jobs.pop(job_id, None)
    if not call.is_cloud:
        return web.Response(status=204)
    if job is not None and job.ended_us is not None:
        return json_response({"message": "Query already complete"})
    if call.request.query.get("dequeue_only") == "true":
        message = "Only tried to dequeue, not cancelling query on clickhouse"
        return json_response({"message": message})
    return json_response({"message": "Query task revoked"})


ENDPOINTS = (
    Endpoint("POST", "/query", READ, _create, ("query",)),
    Endpoint("GET", "/query/{id}", READ, _retrieve, ("query",)),
    Endpoint("DELETE", "/query/{id}", READ, _cancel, ("query",)),
)
