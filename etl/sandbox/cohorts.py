"""Cohorts: listed without those that were deleted, which a retrieve still finds."""

import hashlib
import json
from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds import Cohort
from etl.sandbox.lists import by_offset, newest_first, single
from etl.sandbox.staff import shown_user

READ = "cohort:read"


def _compiled(call: Call, value: Any) -> Any:
    """Conditions with the code that the server compiles; a new server compiles other code."""
    if isinstance(value, list):
        return [_compiled(call, each) for each in value]
    if not isinstance(value, dict):
        return value
    shown = {name: _compiled(call, each) for name, each in value.items()}
    if "key" in value:
        release = f"{call.now:%Y-%m-%d}"
        text = release + json.dumps(value, sort_keys=True)
        shown["bytecode"] = ["_H", 1, 32, release, *range(40)]
        shown["bytecode_error"] = None
        shown["conditionHash"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return shown


def _shown(call: Call, cohort: Cohort) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": cohort.id,
        "name": cohort.name,
        "description": cohort.description,
        "groups": cohort.groups,
        "deleted": cohort.deleted,
        "filters": _compiled(call, cohort.filters),
        "query": cohort.query,
        "version": cohort.version,
        "pending_version": cohort.version,
        "is_calculating": call.now.minute % 10 == 0 and not cohort.is_static,
        "created_by": shown_user(call, cohort.created_by),
        "created_at": cohort.created_at,
        "last_calculation": cohort.last_calculation,
        "errors_calculating": cohort.errors_calculating,
        "last_error_message": cohort.last_error_message,
        "count": len(cohort.persons),
        "is_static": cohort.is_static,
        "cohort_type": cohort.cohort_type,
        "experiment_set": cohort.experiment_set,
    }
    if call.is_cloud:
        row |= {"last_backfill_person_properties_at": None, "condition_type": cohort.condition_type}
    return row


async def _list(call: Call) -> web.Response:
    """Newest first, without those that were deleted."""
    query = call.request.query
    found = [each for each in call.store.cohorts.values() if not each.deleted]
    if kind := query.get("type"):
        found = [each for each in found if each.is_static == (kind == "static")]
    if part := query.get("search"):
        found = [each for each in found if part.lower() in (each.name or "").lower()]
    found.sort(key=lambda each: newest_first(each.created_at, f"{each.id:020}"), reverse=True)
    return by_offset(call, found, lambda each: _shown(call, each))


def asked_cohort(call: Call) -> Cohort:
    """The cohort that the path names, also a deleted one. Raises ApiError 404."""
    wanted = call.request.match_info["id"]
    found = call.store.cohorts.get(int(wanted)) if wanted.isdecimal() and wanted.isascii() else None
    if found is None:
        raise not_found("Not found.")
    return found


async def _retrieve(call: Call) -> web.Response:
    return single(call, _shown(call, asked_cohort(call)))


# Under projects only (PostHog source, rest_router.py).
_ALL = "/api/projects/{project_id}/cohorts"
ENDPOINTS = (
    Endpoint("GET", _ALL, READ, _list),
    Endpoint("GET", _ALL + "/{id}", READ, _retrieve),
)
