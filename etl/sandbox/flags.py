"""Feature flags. A newer server leaves out archived ones unless it is asked for these alone."""

from typing import Any

from aiohttp import web

from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.kinds_product import FeatureFlag
from etl.sandbox.lists import by_offset, newest_first, single
from etl.sandbox.staff import shown_user

READ = "feature_flag:read"
_STARS = "********* (encrypted)"
_PLAIN = (
    "id", "name", "key", "deleted", "active", "created_at", "version",
    "ensure_experience_continuity", "rollback_conditions", "performed_rollback", "tags",
    "usage_dashboard", "analytics_dashboards", "has_enriched_analytics", "is_remote_configuration",
    "has_encrypted_payloads",
)  # fmt: skip
_NEWER = (
    "archived", "updated_at", "evaluation_contexts", "evaluation_runtime", "bucketing_identifier",
)  # fmt: skip


def shown_flag_inside(call: Call, flag_id: int | None) -> dict[str, Any] | None:
    """A flag as surveys and experiments show it; None if there is none."""
    flag = call.store.feature_flags.get(flag_id or 0)
    if flag is None:
        return None
    row: dict[str, Any] = {name: getattr(flag, name) for name in _PLAIN[:5]}
    return row | {"team_id": call.project.id, "filters": _filters(call, flag)}


def _filters(call: Call, flag: FeatureFlag) -> dict[str, Any]:
    """The filters with the names of cohorts and groups, and with stars for secrets."""
    filters = dict(flag.filters)
    if "groups" in filters:
        filters["groups"] = [
            {**group, "properties": [_named(call, each) for each in group["properties"]]}
            for group in filters["groups"]
        ]
    if flag.has_encrypted_payloads:
        filters["payloads"] = dict.fromkeys(filters.get("payloads", {}), _STARS)
    return filters


def _named(call: Call, condition: dict[str, Any]) -> dict[str, Any]:
    if condition["type"] == "cohort":
        cohort = call.store.cohorts.get(condition["value"])
        return {**condition, "cohort_name": cohort.name if cohort else None}
    if condition["type"] == "group":
        return {**condition, "group_key_names": {key: f"{key} Inc." for key in condition["value"]}}
    return condition


def _shown(call: Call, flag: FeatureFlag) -> dict[str, Any]:
    experiments = [
        each
        for each in call.store.experiments.values()
        if each.feature_flag == flag.id and not each.deleted
    ]
    surveys = [each for each in call.store.surveys.values() if each.linked_flag == flag.id]
    row: dict[str, Any] = {name: getattr(flag, name) for name in _PLAIN}
    row |= {
        "filters": _filters(call, flag),
        "created_by": shown_user(call, flag.created_by),
        "last_modified_by": shown_user(call, flag.last_modified_by),
        "experiment_set": [each.id for each in experiments],
        "surveys": [
            {"id": each.id, "name": each.name, "questions": each.questions} for each in surveys
        ],
        "features": [],
        "can_edit": True,
    }
    if call.is_cloud:
        row |= {name: getattr(flag, name) for name in _NEWER}
        row |= {
            "experiment_set_metadata": [{"id": e.id, "name": e.name} for e in experiments],
            "user_access_level": "editor",
            "status": "ACTIVE" if call.now.hour % 2 else "STALE",
            "last_called_at": flag.last_called_at,
            "is_used_in_replay_settings": call.now.hour % 3 == 0,
        }
    return row


async def _list(call: Call) -> web.Response:
    """Newest first; deleted ones are left out."""
    found = [each for each in call.store.feature_flags.values() if not each.deleted]
    if call.is_cloud:
        archived = call.request.query.get("archived", "").lower() == "true"
        found = [each for each in found if each.archived == archived]
    found.sort(key=lambda each: newest_first(each.created_at, f"{each.id:020}"), reverse=True)
    return by_offset(call, found, lambda each: _shown(call, each))


async def _retrieve(call: Call) -> web.Response:
    """Also one that was deleted or archived."""
    wanted = call.request.match_info["id"]
    for each in call.store.feature_flags.values():
        if str(each.id) == wanted:
            return single(call, _shown(call, each))
    raise not_found("Not found.")


ENDPOINTS = (
    Endpoint("GET", "/api/projects/{project_id}/feature_flags", READ, _list),
    Endpoint("GET", "/api/projects/{project_id}/feature_flags/{id}", READ, _retrieve),
)
