"""The query endpoint: answers at once, or in the background with a status to ask for."""

import secrets
from dataclasses import replace
from typing import Any

from aiohttp import web

from etl.sandbox.bodies import an_object, maybe, one_of, read_body, text
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import ApiError, forbidden, json_response, not_found, required
from etl.sandbox.jobs import KEPT_US, Job
from etl.sandbox.query_answers import Asked
from etl.sandbox.query_run import budget_headers, run_query

READ = "query:read"
_IN_BACKGROUND = ("async", "lazy_async", "force_async")
_REFRESH = (
    "blocking", "force_blocking", "force_cache", "async_except_on_cache_miss", *_IN_BACKGROUND,
)  # fmt: skip
_MOST_JOBS = 100
"""More are not kept, because each may hold a large result."""
_FORCED = ("force_blocking", "force_async")


async def _create(call: Call) -> web.Response:
    _check_access(call)
    body = await read_body(call)
    asked, refresh = _asked(body), _refresh(body)
    job_id = maybe(text)("client_query_id", body.get("client_query_id"), 0)
    forced = refresh in _FORCED
    if refresh not in _IN_BACKGROUND:
        result, bytes_read = await run_query(call, asked, call.fault, forced=forced)
        return json_response(result, headers=budget_headers(call, bytes_read))
    job = _known(call, job_id) if job_id and not forced else None
    if job is None:
        job_id = job_id or secrets.token_hex(16)
        # How long it takes in the background is told by the number of polls.
        polls, fault = call.state.options.query_polls, replace(call.fault, query_s=0)
        polls = polls if fault.polls is None else fault.polls
        job = Job(job_id, asked, forced, call.now_us, secrets.token_hex(16), polls, fault)
        jobs = call.project.jobs
        jobs[job_id] = job
        while len(jobs) > _MOST_JOBS:
            del jobs[next(iter(jobs))]
    return _about(call, job)


def _check_access(call: Call) -> None:
    """Raises ApiError if the project refuses the endpoint."""
    access = call.state.options.query_access
    if access == "forbidden":
        raise forbidden(f"API key missing required scope '{READ}'")
    if access == "paid":
        detail = "This feature is part of a paid plan."
        raise ApiError(402, "server_error", "payment_required", detail)
    if access == "missing":
        raise not_found("Endpoint not found.")


def _asked(body: dict[str, Any]) -> Asked:
    if "query" not in body:
        raise required("query")
    query = an_object("query", body["query"])
    if query.get("kind") != "HogQLQuery":
        detail = "The sandbox answers only HogQLQuery."
        raise ApiError(400, "validation_error", "parse_error", detail)
    objects = {
        name: maybe(an_object)(f"query__{name}", query.get(name), 0) or {}
        for name in ("values", "modifiers")
    }
    return Asked(text("query__query", query.get("query")), **objects)


def _refresh(body: dict[str, Any]) -> str:
    if body.get("async") is True:
        return "async"
    refresh = body.get("refresh")
    if refresh is None or isinstance(refresh, bool):
        return "force_blocking" if refresh else "blocking"
    return str(one_of(*_REFRESH)("refresh", refresh, 0))


def _about(call: Call, job: Job) -> web.Response:
    headers = {} if job.ended_us is None else budget_headers(call, job.bytes_read)
    return json_response(job.status(call.project.id), job.status_code, headers)


def _known(call: Call, job_id: str) -> Job | None:
    """The query with this id unless it is forgotten by now."""
    job = call.project.jobs.get(job_id)
    if job is not None and (call.fault.lost or call.now_us >= job.begun_us + KEPT_US):
        del call.project.jobs[job_id]
        return None
    return job


async def _retrieve(call: Call) -> web.Response:
    _check_access(call)
    job_id = call.request.match_info["id"]
    job = _known(call, job_id)
    if job is None:
        raise not_found(f"Query {job_id} not found for team {call.project.id}")
    if job.ended_us is None and job.polls > 0:
        job.polls -= 1
    elif job.ended_us is None:
        job.ended_us = call.now_us
        try:
            job.results, job.bytes_read = await run_query(
                call, job.asked, job.fault, forced=job.forced
            )
        except ApiError as error:
            job.error = error
    return _about(call, job)


async def _cancel(call: Call) -> web.Response:
    """Also for an unknown id (PostHog source, execute_async.py)."""
    _check_access(call)
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
