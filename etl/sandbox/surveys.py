"""Surveys: in no order, so that each answer may have another one."""

import random
from typing import Any

from aiohttp import web

from etl.sandbox.actions import shown_action
from etl.sandbox.endpoints import Call, Endpoint
from etl.sandbox.errors import not_found
from etl.sandbox.flags import shown_flag_inside
from etl.sandbox.kinds_product import Survey
from etl.sandbox.lists import by_offset, single
from etl.sandbox.staff import shown_user

READ = "survey:read"
_FLAGS = ("linked_flag", "targeting_flag", "internal_targeting_flag")
_PLAIN = (
    "id", "name", "description", "type", "schedule", "linked_insight_id", "questions",
    "appearance", "created_at", "start_date", "end_date", "archived", "responses_limit",
    "iteration_count", "iteration_frequency_days", "iteration_start_dates",
    "response_sampling_start_date", "response_sampling_interval_type",
    "response_sampling_interval", "response_sampling_limit", "response_sampling_daily_limits",
    "enable_partial_responses",
)  # fmt: skip
_NEWER = ("enable_iframe_embedding", "translations", "form_content")


def _shown(call: Call, survey: Survey) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(survey, name) for name in _PLAIN}
    flags = {name: shown_flag_inside(call, getattr(survey, name)) for name in _FLAGS}
    conditions = survey.conditions
    actions = [call.store.actions[each] for each in survey.actions if each in call.store.actions]
    if actions:
        shown = {"values": [shown_action(call, each) for each in actions]}
        conditions = {**(conditions or {}), "actions": shown}
    row |= flags
    row |= {
        "linked_flag_id": survey.linked_flag if flags["linked_flag"] else None,
        "conditions": conditions,
        "created_by": shown_user(call, survey.created_by),
        "feature_flag_keys": [
            {"key": f"{name}_key", "value": flag["key"] if flag else None}
            for name, flag in flags.items()
        ],
        "current_iteration": call.now.hour if survey.iteration_count else None,
        "current_iteration_start_date": call.now if survey.iteration_count else None,
    }
    if call.is_cloud:
        row |= {name: getattr(survey, name) for name in _NEWER}
        row["user_access_level"] = "editor"
    return row


async def _list(call: Call) -> web.Response:
    """Living and archived ones. Each answer has an order of its own."""
    found = list(call.store.surveys.values())
    random.Random(call.state.traffic.total).shuffle(found)
    return by_offset(call, found, lambda each: _shown(call, each))


async def _retrieve(call: Call) -> web.Response:
    wanted = call.request.match_info["id"]
    if wanted not in call.store.surveys:
        raise not_found("Not found.")
    return single(call, _shown(call, call.store.surveys[wanted]))


ENDPOINTS = (
    Endpoint("GET", "/api/projects/{project_id}/surveys", READ, _list),
    Endpoint("GET", "/api/projects/{project_id}/surveys/{id}", READ, _retrieve),
)
